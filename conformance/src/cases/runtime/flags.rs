//! Flags and exit codes as hands that know docker write and read them.

use std::fs;

use cowlab_sys::cmd::Cmd;
use cowlab_sys::mount::{self, MountSpec};

use crate::context::Result;
use crate::prelude::*;
use crate::product::{BASE, Product, program};
use cowlab_tarball::{Entry, archive};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/read-only-binds-to-the-bottom",
        spec: "What is mounted below the source of a read-only bind mount comes along, and cannot be written either.",
        see: &["docs.docker.com, storage, Bind mounts, Recursive mounts"],
        catalogue: &["S18"],
        impact: Impact::Isolation,
        run: Some(read_only_binds_to_the_bottom),
        ..super::BASE
    },
    Case {
        id: "runtime/options-of-volumes-on-other-hosts",
        spec: "Options of volumes that mean nothing here are taken, those that would mean something are refused with the reason, and --mount is a line of CSV.",
        see: &["docs.docker.com, docker container run, --volume, --mount"],
        catalogue: &["S16", "S18"],
        impact: Impact::AppVisible,
        program: &[
            file("a,b/f", "host"),
            run("run --rm -v {dir}/a,b:/x/../m:z base cat /m/f").prints("host"),
            run("run --rm -v {dir}/a,b:/x/../m:Z base cat /m/f").prints("host"),
            run("run --rm -v {dir}/a,b:/x/../m:ro,z base cat /m/f").prints("host"),
            run("run --rm -v {dir}/a,b:/x/../m:cached base cat /m/f").prints("host"),
            run("run --rm -v {dir}/a,b:/x/../m:delegated base cat /m/f").prints("host"),
            run("run --rm -v {dir}/a,b:/x/../m:consistent base cat /m/f").prints("host"),
            run("run --rm -v {dir}/a,b:/x/../m:rprivate base cat /m/f").prints("host"),
            run("run --rm -v {dir}/a,b:/x/../m:private base cat /m/f").prints("host"),
            run("run --rm -v {dir}/a,b:/m:shared base cat /m/f").fails(125, &["private"]),
            run("run --rm -v {dir}/a,b:/m:rslave base cat /m/f").fails(125, &["private"]),
            run("run --rm --mount 'type=bind,\"source={dir}/a,b\",target=/m,consistency=cached' base cat /m/f").prints("host"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/flags-before-the-verb",
        spec: "--root, --driver and --json mean the same before the verb as after it.",
        see: &["podman(1), GLOBAL OPTIONS"],
        catalogue: &["S18"],
        impact: Impact::AppVisible,
        program: &[
            run("volume create data"),
            script(r#"root=$COWLAB_ROOT; unset COWLAB_ROOT COWLAB_DRIVER; "$COWLAB" --root "$root" --json volume ls"#)
                .json(&[("/0/name", "data")]),
            script(r#"root=$COWLAB_ROOT; unset COWLAB_ROOT COWLAB_DRIVER; "$COWLAB" --json volume --root "$root" ls"#)
                .json(&[("/0/name", "data")]),
            script(r#"root=$COWLAB_ROOT; unset COWLAB_ROOT COWLAB_DRIVER; "$COWLAB" volume ls --json --root "$root""#)
                .json(&[("/0/name", "data")]),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/a-run-that-fails-before-its-program",
        spec: "`run` ends with 125 for whatever fails before its program starts: a flag, an image, a mount, a file of variables.",
        see: &["docs.docker.com, docker container run, Exit status"],
        catalogue: &["S06"],
        impact: Impact::AppVisible,
        program: &[
            run("run --rm no-image true").fails(125, &["no-image"]),
            run("run --no-such-flag base true").fails(125, &["--no-such-flag"]),
            run("run -p 80:80 base true").fails(125, &["--network host"]),
            run("run --rm -v data:/proc/x base true").fails(125, &["inside /proc"]),
            run("run --rm --env-file /no/file base true").fails(125, &["/no/file"]),
            run("run --rm base sh -c 'exit 2'").exits(2),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/variables-of-a-file-are-as-written",
        spec: "A file of variables has a name and all that follows `=` a line; a comment begins a line, and a blank in a name is refused.",
        see: &["docs.docker.com, docker container run, --env-file"],
        catalogue: &["S06"],
        impact: Impact::AppVisible,
        program: &[
            file("variables", "\u{feff}A=\"x\" # y\n  # none\nB= z=\n"),
            run("run --rm --env-file {dir}/variables base sh -c 'echo \"$A|$B|\"'").prints("\"x\" # y| z=|"),
            file("variables", "export C=1"),
            run("run --rm --env-file {dir}/variables base true").fails(125, &["export C=1"]),
            file("variables", "=1"),
            run("run --rm --env-file {dir}/variables base true").fails(125, &["=1"]),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/cp-of-streams-and-of-what-links-lead-to",
        spec: "`cp` writes a tar of a path to standard output, unpacks one from standard input, and with -L copies what a link leads to; `..` stays inside.",
        see: &["docs.docker.com, docker container cp"],
        catalogue: &["S18"],
        impact: Impact::AppVisible,
        run: Some(cp_of_streams),
        ..super::BASE
    },
    Case {
        id: "runtime/a-start-that-fails-has-its-cause",
        spec: "A program that is not started by run, start or exec is told with the innermost cause: what could not be done, and the error number.",
        see: &["errno(3)"],
        catalogue: &["S06"],
        impact: Impact::AppVisible,
        program: &[
            run("run --rm -w /testfile base true").fails(125, &["ENOTDIR"]),
            run("create --name con --tmpfs /m:size=zz base true"),
            run("start con").fails(125, &["EINVAL"]),
            run("run -d --name box base sleep 1000"),
            run("exec -w /nowhere box true").fails(125, &["ENOENT"]),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/a-root-with-a-long-path-is-refused",
        spec: "A root whose path is too long for its databases is refused with the length that works, before anything is in it; one that is shorter works.",
        see: &["SQLite, os_unix.c, MAX_PATHNAME"],
        catalogue: &["S06"],
        impact: Impact::AppVisible,
        run: Some(a_root_with_a_long_path_is_refused),
        ..super::BASE
    },
    Case {
        id: "runtime/version-of-the-program-alone",
        spec: "The version is told with kernel, drivers and specifications, as JSON and by a template with docker's members, and there is no server.",
        see: &["docs.docker.com, docker version"],
        catalogue: &["S07"],
        impact: Impact::Cosmetic,
        program: &[
            run("version --format json")
                .json(&[("/Server", "null")])
                .keeps(&[
                    ("/Client/Version", "version"),
                    ("/Client/Os", "os"),
                    ("/Client/Arch", "architecture"),
                    ("/Client/KernelVersion", "kernel"),
                    ("/Client/RuntimeSpec", "specification"),
                    ("/Client/Drivers", "drivers"),
                ]),
            script("echo '{drivers}'").with(&["\"{driver}\""]),
            run("version -f {{.Client.Version}}").prints("{version}"),
            run("version").with(&["Client: cowlab"]),
        ],
        ..super::BASE
    },
];

fn read_only_binds_to_the_bottom(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let top = context.dir().join("top");
    fs::create_dir_all(top.join("below"))?;
    let memory = MountSpec {
        fstype: "tmpfs".to_owned(),
        ..MountSpec::default()
    };
    let mounted = mount::mount(&memory, &top.join("below"))?;
    let (short, long) = (
        format!("{}:/m:ro", top.display()),
        format!("type=bind,source={},target=/m,readonly", top.display()),
    );
    for flags in [["-v", &short], ["--mount", &long]] {
        for file in ["/m/f", "/m/below/f"] {
            let run = [&["run", "--rm"], &flags[..], &[BASE, "touch", file]].concat();
            product.run(&run)?.refused(1, "ead-only")?;
        }
    }
    drop(mounted);
    Ok(())
}

fn cp_of_streams(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.ok(&["create", "--name", "con", BASE, "sleep", "1000"])?;
    for state in ["created", "running"] {
        let tar = product.ok(&["cp", "con:/srv", "-"])?;
        let has = |text: &str| tar.contains(text);
        expect(
            state,
            "names and content",
            true,
            has("srv/data") && has("served"),
        )?;
        let tar = archive(&[Entry::dir("d"), Entry::file("d/new", "text").owner(7, 8)]);
        product.run_with(&["cp", "-", "con:/tmp"], &tar)?.ok()?;
        let (link, out) = (
            context.dir().join(format!("link-{state}")),
            context.dir().join(state),
        );
        std::os::unix::fs::symlink(&out, &link)?;
        product.ok(&[
            "cp",
            "con:/../../tmp/x/../d/new",
            &out.display().to_string(),
        ])?;
        expect(
            state,
            "content",
            "text".to_owned(),
            fs::read_to_string(&out)?,
        )?;
        product.ok(&["cp", "-L", &link.display().to_string(), "con:/tmp/copy"])?;
        if state == "created" {
            product.ok(&["start", "con"])?;
        }
    }
    let look = "stat -c '%u %g' /tmp/d/new; test -L /tmp/copy || cat /tmp/copy";
    product.says(&["exec", "con", "sh", "-c", look], "7 8\ntext")
}

fn a_root_with_a_long_path_is_refused(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let run = |length: usize| -> Result<(i32, String)> {
        let mut root = product.root().join("long");
        // A name of at least one byte has to follow.
        while root.as_os_str().len() + 103 <= length {
            root.push("d".repeat(100));
        }
        root.push("e".repeat(length - root.as_os_str().len() - 1));
        let words = ["volume", "ls", "--root"];
        let ran = Cmd::new(program()?).args(words).arg(&root).output()?;
        let left = fs::read_dir(&root).map_or(0, Iterator::count);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        expect(
            "a root that is refused",
            "entries",
            ran.status == Some(0),
            left > 0,
        )?;
        Ok((ran.status.unwrap_or(-1), said))
    };
    expect("480 bytes", "status", 0, run(480)?.0)?;
    let (_, said) = run(481)?;
    let says = said.contains("481 bytes") && said.contains("more than 480");
    expect("481 bytes", "says the length", true, says)
}
