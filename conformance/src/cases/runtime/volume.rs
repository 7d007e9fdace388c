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

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/an-empty-volume-is-shared",
        spec: "Two containers that have a volume see what the other writes, though the volume is empty and whatever their images have there.",
        see: &["docs.docker.com, storage, Volumes"],
        catalogue: &["S16"],
        impact: Impact::DataLoss,
        run: Some(an_empty_volume_is_shared),
        ..super::BASE
    },
    Case {
        id: "runtime/a-volume-stays-as-it-was-left",
        spec: "A volume that a container emptied, or gave another owner and mode, is so at its next start.",
        see: &["docs.docker.com, storage, Volumes, Populate a volume using a container"],
        catalogue: &["S16"],
        impact: Impact::DataLoss,
        run: Some(a_volume_stays_as_it_was_left),
        ..super::BASE
    },
    Case {
        id: "runtime/a-volume-is-filled-when-its-container-is-made",
        spec: "A volume has the first content of its first container once that was made, and another container that starts before does not see it come.",
        see: &["docs.docker.com, docker container create"],
        catalogue: &["S16"],
        impact: Impact::DataLoss,
        run: Some(a_volume_is_filled_when_its_container_is_made),
        ..super::BASE
    },
    Case {
        id: "runtime/anonymous-volumes-go-with-their-last-container",
        spec: "An anonymous volume that two containers have goes with the one that is removed last, also where that got it by --volumes-from; a named one stays.",
        see: &["docs.docker.com, docker container rm, -v"],
        catalogue: &["S17"],
        impact: Impact::AppVisible,
        run: Some(anonymous_volumes_go_with_the_last),
        ..super::BASE
    },
    Case {
        id: "runtime/a-failed-start-with-rm-leaves-no-volume",
        spec: "A container with --rm whose program does not start is removed with its anonymous volumes, by run and by start.",
        see: &["docs.docker.com, docker container run, --rm"],
        catalogue: &["S17"],
        impact: Impact::AppVisible,
        run: Some(a_failed_start_leaves_no_volume),
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
        .refused(125, "missing")
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

fn an_empty_volume_is_shared(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    // Empty in the image, not in the image, and with content in the second container's image alone.
    for (volume, first, second) in [
        ("one", "/tmp", "/tmp"),
        ("two", "/nowhere", "/nowhere"),
        ("three", "/nowhere", "/etc"),
    ] {
        let (name, at) = (format!("con{volume}"), format!("{volume}:{first}"));
        let long = [
            "run", "-d", "--name", &name, "-v", &at, BASE, "sleep", "1000",
        ];
        product.ok(&long)?;
        let (again, news) = (format!("{volume}:{second}"), format!("{second}/news"));
        product.ok(&["run", "--rm", "-v", &again, BASE, "touch", &news])?;
        product.says(&["exec", &name, "ls", first], "news")?;
    }
    Ok(())
}

fn a_volume_stays_as_it_was_left(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let twice = |name: &str, at: &str, script: &str| -> Result<String> {
        let volume = format!("{name}:{at}");
        let make = [
            "create", "--name", name, "-v", &volume, BASE, "sh", "-c", script,
        ];
        product.ok(&make)?;
        for _ in 0..2 {
            product.ok(&["start", name])?;
            product.says(&["wait", name], "0")?;
        }
        product.ok(&["logs", name])
    };
    let said = twice(
        "own",
        "/tmp",
        "stat -c '%u %a' /tmp; chown 1000 /tmp; chmod 700 /tmp",
    )?;
    let second = said.lines().nth(1).unwrap_or_default();
    expect(
        "own",
        "owner and mode at the second start",
        "1000 700",
        second,
    )?;
    let said = twice("out", "/srv", "echo .; ls -A /srv; rm -rf /srv/*")?;
    let second = said.rsplit('.').next().unwrap_or_default();
    expect("out", "content at the second start", "", second.trim())
}

fn a_volume_is_filled_when_its_container_is_made(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.ok(&["create", "--name", "first", "-v", "data:/srv", BASE, "true"])?;
    let other = |command: &[&str]| {
        product.run(&[&["run", "--rm", "-v", "data:/d", BASE], command].concat())
    };
    let found = other(&["stat", "-c", "%u %g %a", "/d", "/d/data"])?.ok()?;
    expect(
        "data",
        "owners and modes",
        "1000 1000 750\n1000 8 640".to_owned(),
        found,
    )?;
    other(&["rm", "/d/data"])?.ok()?;
    product.ok(&["start", "first"])?;
    product.says(&["wait", "first"], "0")?;
    expect("data", "content", "", other(&["ls", "/d"])?.ok()?.as_str())
}

fn anonymous_volumes_go_with_the_last(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let mounts = ["-v", "/a", "-v", "named:/b"];
    product.ok(&[&["create", "--name", "one"], &mounts[..], &[BASE, "true"]].concat())?;
    product.ok(&[
        "create",
        "--name",
        "two",
        "--volumes-from",
        "one",
        BASE,
        "true",
    ])?;
    product.ok(&["rm", "-v", "one"])?;
    let left = product.ok(&["volume", "ls", "-q"])?;
    expect("one is gone", "volumes", 2, left.lines().count())?;
    product.ok(&["rm", "-v", "two"])?;
    product.says(&["volume", "ls", "-q"], "named")
}

fn a_failed_start_leaves_no_volume(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let what = ["--rm", "--name", "con", "-v", "/a", BASE, "no-such-program"];
    let run = product.run(&[&["run"], &what[..]].concat())?;
    run.refused(127, "no-such-program")?;
    product.says(&["volume", "ls", "-q"], "")?;
    product.ok(&[&["create"], &what[..]].concat())?;
    product
        .run(&["start", "con"])?
        .refused(127, "no-such-program")?;
    product.says(&["ps", "-aq"], "")?;
    product.says(&["volume", "ls", "-q"], "")
}
