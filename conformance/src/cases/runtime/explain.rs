//! What the program says of layers: where a path comes from, what a write copies, what a run cost.

use serde_json::Value;

use crate::context::Result;
use crate::prelude::*;
use crate::product::Product;

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/where-names-the-layer",
        spec: "A path is told to be of the topmost layer that has it, with the step that made that; what it hides is named, and who removed it.",
        see: &["docs.docker.com, storage drivers, Images and layers"],
        catalogue: &["S02", "S11"],
        impact: Impact::AppVisible,
        program: &[
            script(MAKE_TWO),
            run("create --name con two:1 sleep 1000"),
            run("image inspect two:1").keeps(&[("/0/Layers/0/chain_id", "base")]),
            run("where /srv/data --container con --json").json(OF_THE_BASE),
            run("where /testfile --container con --json").json(CHANGED),
            run("where /link/group --container con --json").json(REMOVED),
            run("where /srv --container con --json").json(MERGED),
            run("where /none -c con").fails(2, &["/none"]),
            // The same whether it runs or not.
            run("start con"),
            run("where /srv/data --container con --json").json(OF_THE_BASE),
            run("where /testfile --container con --json").json(CHANGED),
            run("where /link/group --container con --json").json(REMOVED),
            run("where /srv --container con --json").json(MERGED),
            run("where /none -c con").fails(2, &["/none"]),
            // Its own layer, and everything below it.
            run("exec con sh -c 'echo x >>/testfile; rm /big'"),
            run("where /testfile --container con --json").json(&[
                ("/layers/0/part", "shown"),
                ("/layers/0/step", "null"),
                ("/layers/1/part", "hidden"),
                ("/layers/1/step", "the second step"),
                ("/layers/2/part", "hidden"),
                ("/layers/2/step", "Imported"),
                ("/layers/3", "none"),
            ]),
            run("where /big --container con --json").json(&[
                ("/layers/0/part", "removes"),
                ("/layers/0/step", "null"),
                ("/layers/1/part", "hidden"),
                ("/layers/1/step", "the second step"),
                ("/layers/2", "none"),
            ]),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/where-tells-what-a-write-copies",
        spec: "Before a write it is told how much would be copied up, nothing or the whole file, and after one how much was.",
        see: &[
            "docs.docker.com, storage drivers, The copy-on-write (CoW) strategy",
            "overlayfs.rst, Non-directories",
        ],
        catalogue: &["S03"],
        impact: Impact::Performance,
        run: Some(where_tells_what_a_write_copies),
        ..super::BASE
    },
    Case {
        id: "runtime/where-knows-mounts",
        spec: "A path on a volume, reached by a link as well, is told to be there, and a write to it copies nothing up.",
        see: &["docs.docker.com, storage, Volumes"],
        catalogue: &["S16"],
        impact: Impact::AppVisible,
        program: &[
            script(MAKE_TWO),
            run("run -d --name con -v data:/etc/data two:1 sleep 1000"),
            run("exec con sh -c 'echo kept >/etc/data/f'"),
            run("where /link/data/f --container con --json")
                .json(ON_A_VOLUME)
                .keeps(&[("/mount/place", "place")]),
            script("cat {place}").prints("kept"),
            run("stop -t 0 con"),
            run("where /link/data/f --container con --json")
                .json(ON_A_VOLUME)
                .keeps(&[("/mount/place", "stopped")]),
            script("cat {stopped}").prints("kept"),
            run("diff con").prints(""),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/storage-stats-are-of-the-run",
        spec: "After a run it is told which files were copied up and removed and what the layer allocates, of a container that is gone as well.",
        see: &["docs.docker.com, storage drivers, Container size on disk"],
        catalogue: &["S03"],
        impact: Impact::AppVisible,
        run: Some(storage_stats_are_of_the_run),
        ..super::BASE
    },
    Case {
        id: "runtime/inspect-finds-every-kind",
        spec: "One command finds containers, images and volumes, the kind can be said, and what is not there is named.",
        see: &["docs.docker.com, docker inspect"],
        catalogue: &["S12"],
        impact: Impact::AppVisible,
        program: &[
            run("create --name con -v data:/data base true"),
            run("inspect con base data").json(&[
                ("/0/Name", "con"),
                ("/1/RepoTags/0", "base:latest"),
                ("/2/name", "data"),
            ]),
            run("inspect --type image con").fails(2, &["no image `con`"]),
            run("inspect nobody").fails(2, &["`nobody`"]),
            // A volume of a container's name: the container is meant, unless it is said.
            run("volume create con"),
            run("inspect con").json(&[("/0/Name", "con")]),
            run("inspect --type volume con").json(&[("/0/name", "con")]),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/a-history-tells-of-every-layer",
        spec: "An image of a container whose image had no history has a step for each layer, and the new one goes with the change.",
        see: &["OCI image specification, config.md, history"],
        catalogue: &["S08"],
        impact: Impact::AppVisible,
        program: &[
            load("bare:1", "{}"),
            run("run --name con bare:1 touch /new"),
            run("commit -m touched con two:1"),
            run("image inspect two:1").keeps(&[
                ("/0/Layers/0/chain_id", "below"),
                ("/0/Layers/1/chain_id", "above"),
            ]),
            run("history two:1 --json").json(&[
                ("/0/created_by", "touched"),
                ("/0/layer", "{above}"),
                ("/1/created_by", "null"),
                ("/1/layer", "{below}"),
                ("/2", "none"),
            ]),
        ],
        ..super::BASE
    },
];

/// The size of the file that is written to, in bytes.
const SIZE: u64 = 300_000;

/// Makes `two` of the base: a file of its own, one changed, one removed.
const MAKE_TWO: &str = r#""$COWLAB" run --name maker base sh -c 'dd if=/dev/zero of=/big bs=1000 count=300; echo more >>/testfile; rm /etc/group; echo x >/srv/new; ln -s etc /link' &&
    "$COWLAB" commit -m "the second step" maker two:1 && "$COWLAB" rm maker"#;

/// What `where` tells of a file of the base, in `two`.
const OF_THE_BASE: &[(&str, &str)] = &[
    ("/layers/0/part", "shown"),
    ("/layers/0/step", "Imported"),
    ("/layers/0/chain_id", "{base}"),
    ("/layers/1", "none"),
];

/// What it tells of the file that was changed.
const CHANGED: &[(&str, &str)] = &[
    ("/layers/0/part", "shown"),
    ("/layers/0/step", "the second step"),
    ("/layers/1/part", "hidden"),
    ("/layers/1/step", "Imported"),
    ("/layers/2", "none"),
];

/// What it tells of the file that was removed.
const REMOVED: &[(&str, &str)] = &[
    ("/shown", "null"),
    ("/layers/0/part", "removes"),
    ("/layers/0/step", "the second step"),
    ("/layers/1/part", "hidden"),
    ("/layers/1/step", "Imported"),
    ("/layers/2", "none"),
];

/// What it tells of a directory of both.
const MERGED: &[(&str, &str)] = &[
    ("/layers/0/part", "shown"),
    ("/layers/0/step", "the second step"),
    ("/layers/1/part", "merged"),
    ("/layers/1/step", "Imported"),
    ("/layers/2", "none"),
];

/// What it tells of a file of the volume `data`.
const ON_A_VOLUME: &[(&str, &str)] = &[
    ("/path", "/etc/data/f"),
    ("/mount/type", "volume"),
    ("/mount/name", "data"),
    ("/would_copy", "null"),
];

fn origin(product: &Product, path: &str, container: &str) -> Result<Value> {
    product.json(&["where", path, "--container", container, "--json"])
}

fn where_tells_what_a_write_copies(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.script(MAKE_TWO)?.ok()?;
    product.ok(&["run", "-d", "--name", "con", "two:1", "sleep", "1000"])?;
    let before = origin(&product, "/big", "con")?;
    let cost = &before["would_copy"];
    let bytes = cost["bytes"].as_u64();
    let is_whole = bytes == Some(SIZE);
    expect(
        "/big",
        "would copy nothing or all of it",
        true,
        is_whole || bytes == Some(0),
    )?;
    expect(
        "/big",
        "would make inodes",
        is_whole,
        cost["inodes"].as_u64() > Some(0),
    )?;
    expect("/big", "was copied", false, before["copied"].is_object())?;
    product.ok(&["exec", "con", "sh", "-c", "echo x >>/big"])?;
    let after = origin(&product, "/big", "con")?;
    expect(
        "/big",
        "would be copied again",
        false,
        after["would_copy"].is_object(),
    )?;
    let done = &after["copied"];
    if is_whole {
        expect(
            "/big",
            "copied bytes",
            SIZE,
            done["bytes"].as_u64().unwrap_or(0),
        )?;
        expect("/big", "inodes", 1, done["inodes"].as_u64().unwrap_or(0))?;
    }
    // Where it can be told of one file: the block that was written at the least, the whole file at the most.
    if let Some(allocated) = done["allocated"].as_u64() {
        let is_plausible = (1..=2 * SIZE).contains(&allocated);
        expect("/big", "allocates what was written", true, is_plausible)?;
    }
    if let Some(place) = after.pointer("/layers/0/place").and_then(Value::as_str) {
        let size = std::fs::metadata(place)?.len();
        expect("/big", "size where it lies on disk", SIZE + 2, size)?;
    }
    let below = after
        .pointer("/layers/1/entry/size")
        .and_then(Value::as_u64);
    expect("/big", "size of what is hidden", SIZE, below.unwrap_or(0))?;
    product.ok(&["run", "--name", "fixed", "--read-only", "two:1", "true"])?;
    let fixed = origin(&product, "/big", "fixed")?;
    expect(
        "/big",
        "would copy when read-only",
        0,
        fixed["would_copy"]["bytes"].as_u64().unwrap_or(1),
    )
}

fn storage_stats_are_of_the_run(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.script(MAKE_TWO)?.ok()?;
    let change = "echo x >>/big; rm /testfile; echo new >/new; echo said; exit 3";
    let run = [
        "run",
        "--rm",
        "--storage-stats=json",
        "two:1",
        "sh",
        "-c",
        change,
    ];
    let ran = product.run(&run)?;
    expect("run", "exit status", 3, ran.code)?;
    expect("run", "output", "said\n", &ran.out)?;
    let line = ran.err.lines().last().unwrap_or_default();
    let stats: Value = serde_json::from_str(line)?;
    let number = |name: &str| stats[name].as_u64().unwrap_or(u64::MAX);
    expect("run", "copied files", 1, number("copied_files"))?;
    expect("run", "whiteouts", 1, number("whiteouts"))?;
    let bytes = stats["copied_bytes"].as_u64();
    expect(
        "run",
        "copied the whole file, or no file as a whole",
        true,
        bytes.is_none_or(|bytes| bytes == SIZE),
    )?;
    expect("run", "allocated something", true, number("allocated") > 0)?;
    let idle = product.run(&[
        "run",
        "--rm",
        "--storage-stats",
        "two:1",
        "cat",
        "/testfile",
    ])?;
    expect("idle run", "exit status", 0, idle.code)?;
    expect(
        "idle run",
        "is told to have copied nothing",
        true,
        idle.err.contains("0 files") && idle.err.contains("0 whiteouts"),
    )?;
    product.says(&["ps", "-aq"], "")?;
    let detached = ["run", "-d", "--storage-stats", "two:1", "true"];
    product.run(&detached)?.refused(125, "--storage-stats")
}
