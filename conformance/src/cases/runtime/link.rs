//! Symbolic links: at, above and below mount points, and where programs, directories and copies lead.

use crate::context::Result;
use crate::prelude::*;
use crate::product::{BASE, Product};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/mounts-at-and-below-links",
        spec: "Of mounts whose paths lead through one another by symbolic links the deeper one is on top, in any order of the flags.",
        see: &["opencontainers/runc, securejoin in libcontainer/rootfs_linux.go"],
        catalogue: &["S18"],
        impact: Impact::AppVisible,
        run: Some(mounts_at_and_below_links),
        ..super::BASE
    },
    Case {
        id: "runtime/a-mount-brings-what-links-lead-to",
        spec: "A program, a working directory and the list of users are found where links of the image lead into a volume.",
        see: &["path_resolution(7)"],
        catalogue: &["S16", "S18"],
        impact: Impact::AppVisible,
        run: Some(a_mount_brings_what_links_lead_to),
        ..super::BASE
    },
    Case {
        id: "runtime/links-that-dangle-get-their-targets",
        spec: "Mount points, a working directory and /etc/resolv.conf that are links to nothing are made where the links lead, and the links stay.",
        see: &["opencontainers/runc, securejoin in libcontainer/rootfs_linux.go"],
        catalogue: &["S18"],
        impact: Impact::AppVisible,
        run: Some(links_that_dangle_get_their_targets),
        ..super::BASE
    },
    Case {
        id: "runtime/cp-writes-through-links",
        spec: "`cp` to a link writes what the link leads to, in the container and on the host, dangling or not; a link in the directory that receives is replaced.",
        see: &["moby/go-archive, copy.go, CopyInfoDestinationPath"],
        catalogue: &["S18"],
        impact: Impact::DataLoss,
        run: Some(cp_writes_through_links),
        ..super::BASE
    },
];

/// An image with links, made from the base by a container.
fn linked(context: &mut Context, script: &str) -> Result<Product> {
    let product = Product::new(context)?;
    product.ok(&["run", "--name", "maker", BASE, "sh", "-c", script])?;
    product.ok(&["commit", "maker", "linked"])?;
    product.ok(&["rm", "maker"])?;
    Ok(product)
}

fn mounts_at_and_below_links(context: &mut Context) -> Result<()> {
    let product = linked(
        context,
        "mkdir -p /z/y /run /var; ln -s /z/y /a; ln -s /run /var/run",
    )?;
    for (index, (outer, inner, look)) in [
        ("/run", "/var/run/x/y", "/run/x/y"),
        ("/z/y", "/a/x", "/z/y/x"),
        ("/var", "/var/run/x", "/var/run/x"),
    ]
    .into_iter()
    .enumerate()
    {
        let (outside, inside) = (format!("o{index}:{outer}"), format!("i{index}:{inner}"));
        let mounts = ["-v", &inside, "-v", &outside];
        let run = |more: &[&str]| -> Result<String> {
            product.ok(&[
                &["run", "--rm"],
                more,
                &["linked", "cat", &format!("{look}/f")],
            ]
            .concat())
        };
        let made = format!("echo inner >{look}/f");
        let first = [
            &["run", "--rm"],
            &mounts[..],
            &["linked", "sh", "-c", &made],
        ]
        .concat();
        product.ok(&first)?;
        let turned = ["-v", &outside, "-v", &inside];
        expect(inner, "content", "inner".to_owned(), run(&turned)?)?;
        expect(inner, "content", "inner".to_owned(), run(&mounts)?)?;
        let alone = format!("i{index}:/d");
        product.says(
            &["run", "--rm", "-v", &alone, "linked", "cat", "/d/f"],
            "inner",
        )?;
    }
    Ok(())
}

fn a_mount_brings_what_links_lead_to(context: &mut Context) -> Result<()> {
    let product = linked(
        context,
        "ln -s /vol/true /tool; ln -s /vol/sub /work; ln -sf /vol/passwd /etc/passwd",
    )?;
    let fill =
        "cp -L /bin/true /vol/true; mkdir /vol/sub; echo 'you:x:77:78::/:/bin/sh' >/vol/passwd";
    product.ok(&["run", "--rm", "-v", "data:/vol", BASE, "sh", "-c", fill])?;
    let with = ["run", "--rm", "-v", "data:/vol:ro"];
    product.ok(&[&with[..], &["linked", "/tool"]].concat())?;
    product.ok(&[&with[..], &["-e", "PATH=/", "linked", "tool"]].concat())?;
    product.says(
        &[&with[..], &["-w", "/work", "linked", "sh", "-c", "pwd -P"]].concat(),
        "/vol/sub",
    )?;
    product.says(
        &[
            &with[..],
            &[
                "-u",
                "you",
                "linked",
                "sh",
                "-c",
                "touch /tmp/f; stat -c %u /tmp/f",
            ],
        ]
        .concat(),
        "77",
    )
}

fn links_that_dangle_get_their_targets(context: &mut Context) -> Result<()> {
    let product = linked(
        context,
        "mkdir -p /run; ln -s /run/none /point; ln -s /run/work /work",
    )?;
    // While it runs cowlab's own file is mounted there.
    let link = context.dir().join("resolv.conf");
    std::os::unix::fs::symlink("../run/made/resolv.conf", &link)?;
    product.ok(&["create", "--name", "maker", "linked", "true"])?;
    product.ok(&["cp", &link.display().to_string(), "maker:/etc/"])?;
    product.ok(&["commit", "maker", "linked"])?;
    let script = "echo x >/point/f && readlink /point && pwd -P && test -f /etc/resolv.conf && readlink /etc/resolv.conf";
    let run = [
        "run",
        "--rm",
        "-v",
        "data:/point",
        "-w",
        "/work",
        "linked",
        "sh",
        "-c",
        script,
    ];
    product.says(&run, "/run/none\n/run/work\n../run/made/resolv.conf")?;
    product.says(&["run", "--rm", "-v", "data:/d", BASE, "cat", "/d/f"], "x")?;
    // What is mounted there first is what the link leads into.
    let test = "test -f /run/made/resolv.conf";
    let on_memory = ["run", "--rm", "--tmpfs", "/run", "linked", "sh", "-c", test];
    product.ok(&on_memory)?;
    Ok(())
}

fn cp_writes_through_links(context: &mut Context) -> Result<()> {
    let product = linked(
        context,
        "mkdir /real; echo old >/real/file; ln -s /real/file /tofile; ln -s real/new /dangling; ln -s /real /todir; ln -s /etc/none /real/name",
    )?;
    let name = context.dir().join("name");
    std::fs::write(&name, "new")?;
    let source = name.display().to_string();
    product.ok(&["run", "-d", "--name", "con", "linked", "sleep", "1000"])?;
    for target in ["/tofile", "/dangling", "/todir"] {
        product.ok(&["cp", &source, &format!("con:{target}")])?;
    }
    let look = "readlink /tofile /dangling /todir; cat /real/file /real/new /real/name; test -e /etc/none || echo .none";
    let links = "/real/file\nreal/new\n/real\nnewnewnew.none";
    product.says(&["exec", "con", "sh", "-c", look], links)?;
    let (link, there) = (context.dir().join("link"), context.dir().join("there"));
    std::fs::write(&there, "before")?;
    std::os::unix::fs::symlink("there", &link)?;
    product.ok(&["cp", "con:/real/file", &link.display().to_string()])?;
    expect("the host's link", "is one", true, link.is_symlink())?;
    expect(
        "the host's file",
        "content",
        "new".to_owned(),
        std::fs::read_to_string(&there)?,
    )
}
