//! What lives apart from containers: volumes, bind mounts, memory.

use serde_json::json;

use crate::context::Result;
use crate::prelude::*;
use crate::product::{BASE, Product};

/// What people are told about volumes and mounts.
pub(in crate::cases) const SEED: &[Case] = &[
    Case {
        id: "seed/16-volumes-outlive-containers",
        spec: "A named volume survives the containers that use it, begins with what the image has there, and a write to it copies nothing up.",
        see: &["docs.docker.com, storage, Volumes"],
        catalogue: &["S16"],
        impact: Impact::DataLoss,
        run: Some(volumes_outlive_containers),
        ..super::BASE
    },
    Case {
        id: "seed/17-anonymous-volumes-and-those-of-another",
        spec: "A VOLUME of an image makes a volume with a random name that can be used by it, unless a volume is named for its path, and a container can have the volumes of another.",
        see: &[
            "docs.docker.com, Dockerfile reference, VOLUME",
            "docs.docker.com, docker container run, --volumes-from",
        ],
        catalogue: &["S17"],
        impact: Impact::DataLoss,
        run: Some(anonymous_volumes_and_those_of_another),
        ..super::BASE
    },
    Case {
        id: "seed/18-bind-mounts-show-both-ways",
        spec: "A bind mount hides what the image has there, shows changes both ways, may be one file, and may be read-only.",
        see: &["docs.docker.com, storage, Bind mounts"],
        catalogue: &["S18"],
        impact: Impact::Isolation,
        run: Some(bind_mounts_show_both_ways),
        ..super::BASE
    },
    Case {
        id: "seed/19-tmpfs-leaves-nothing",
        spec: "What is written to a tmpfs mount is gone when the container ends, and never was in its writable layer.",
        see: &["docs.docker.com, storage, tmpfs mounts"],
        catalogue: &["S19"],
        impact: Impact::Isolation,
        run: Some(tmpfs_leaves_nothing),
        ..super::BASE
    },
];

fn volumes_outlive_containers(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.ok(&["volume", "create", "data"])?;
    let with = |name: &str, at: &str, script: &str| {
        let volume = format!("data:{at}");
        product.ok(&[
            "run", "--name", name, "-v", &volume, BASE, "sh", "-c", script,
        ])
    };
    // Empty, it takes what the image has, with owner and mode. A directory's list would begin with blocks, of which ZFS
    // knows after a while.
    let list = "ls -dln /srv/*";
    let listed = with("first", "/srv", &format!("{list}; echo first >/srv/mine"))?;
    let plain = product.ok(&["run", "--rm", BASE, "sh", "-c", list])?;
    expect("data", "content at first", plain, listed)?;
    product.says(&["diff", "first"], "")?;
    product.run(&["volume", "rm", "data"])?.refused(1, "data")?;
    product.ok(&["rm", "-v", "first"])?;
    expect(
        "data",
        "content",
        "first".to_owned(),
        with(
            "second",
            "/d",
            "cat /d/mine; rm /d/mine; echo second >/d/mine",
        )?,
    )?;
    // What the image has does not come again.
    expect(
        "data",
        "content",
        "data\nmine\nsecond".to_owned(),
        with("third", "/srv", "ls /srv; cat /srv/mine")?,
    )?;
    product.says(&["volume", "ls", "-q"], "data")?;
    product.ok(&["rm", "second", "third"])?;
    product.ok(&["volume", "rm", "data"])?;
    product.says(&["volume", "ls", "-q"], "")
}

fn anonymous_volumes_and_those_of_another(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.load("db", &json!({"Volumes": {"/data": {}}}))?;
    let write = ["sh", "-c", "echo kept >/data/f"];
    let read = ["cat", "/data/f"];
    product.ok(&[&["run", "--name", "t1", "db"], &write[..]].concat())?;
    let volume = product.ok(&["volume", "ls", "-q"])?;
    expect("volume", "digits of its name", 64, volume.len())?;
    product.says(
        &[&["run", "--rm", "--volumes-from", "t1", BASE], &read[..]].concat(),
        "kept",
    )?;
    product.ok(&["rm", "t1"])?;
    let again = format!("{volume}:/data");
    product.says(
        &[&["run", "--rm", "-v", &again, "db"], &read[..]].concat(),
        "kept",
    )?;
    product.says(&["volume", "ls", "-q"], &volume)?;
    // A named one takes the place of the anonymous one.
    product.ok(&[
        &["run", "--name", "t2", "-v", "named:/data", "db"],
        &write[..],
    ]
    .concat())?;
    let mut names = [volume.as_str(), "named"];
    names.sort_unstable();
    product.says(&["volume", "ls", "-q"], &names.join("\n"))?;
    // Removed with its container, or when nobody has it.
    product.ok(&[&["run", "--rm", "db"], &write[..]].concat())?;
    product.says(&["volume", "ls", "-q"], &names.join("\n"))?;
    product.ok(&["volume", "prune", "-f"])?;
    product.says(&["volume", "ls", "-q"], "named")
}

fn bind_mounts_show_both_ways(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let host = context.dir().join("host");
    std::fs::create_dir(&host)?;
    std::fs::write(host.join("f"), "host")?;
    let (whole, single) = (
        format!("{}:/etc", host.display()),
        format!("{}/f:/testfile:ro", host.display()),
    );
    product.ok(&[
        "run", "-d", "--name", "con", "-v", &whole, "-v", &single, BASE, "sleep", "1000",
    ])?;
    let exec = |script: &str| product.run(&["exec", "con", "sh", "-c", script]);
    let says = |script: &str, expected: &str| -> Result<()> {
        expect(script, "output", expected.to_owned(), exec(script)?.ok()?)
    };
    says("ls /etc; cat /etc/f /testfile", "f\nhosthost")?;
    exec("echo container >/etc/g")?.ok()?;
    expect(
        "g",
        "content",
        "container\n".to_owned(),
        std::fs::read_to_string(host.join("g"))?,
    )?;
    std::fs::write(host.join("f"), "again")?;
    says("cat /etc/f /testfile", "againagain")?;
    exec("echo x >/testfile")?.refused(2, "ead-only")?;
    product.says(&["diff", "con"], "")?;
    // Made for whoever writes `-v`, as docker does it; `--mount` names what is not there.
    let missing = host.join("missing").display().to_string();
    let mount = format!("type=bind,source={missing},target=/d");
    product
        .run(&["run", "--rm", "--mount", &mount, BASE, "true"])?
        .refused(2, "missing")
}

fn tmpfs_leaves_nothing(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.ok(&[
        "run",
        "-d",
        "--name",
        "con",
        "--tmpfs",
        "/scratch",
        "--mount",
        "type=tmpfs,target=/etc",
        BASE,
        "sleep",
        "1000",
    ])?;
    product.says(
        &[
            "exec",
            "con",
            "sh",
            "-c",
            "ls /etc; echo x >/scratch/f; cat /scratch/f",
        ],
        "x",
    )?;
    product.says(&["diff", "con"], "")?;
    product.ok(&["stop", "-t", "0", "con"])?;
    product.ok(&["start", "con"])?;
    product.says(&["exec", "con", "ls", "/scratch"], "")
}
