//! What the program says of layers: where a path comes from, what a write copies, what a run cost.

use serde_json::{Value, json};

use crate::context::Result;
use crate::prelude::*;
use crate::product::{BASE, Product};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/where-names-the-layer",
        spec: "A path is told to be of the topmost layer that has it, with the step that made that; what it hides is named, and who removed it.",
        see: &["docs.docker.com, storage drivers, Images and layers"],
        catalogue: &["S02", "S11"],
        impact: Impact::AppVisible,
        run: Some(where_names_the_layer),
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
        run: Some(where_knows_mounts),
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
        run: Some(inspect_finds_every_kind),
        ..super::BASE
    },
    Case {
        id: "runtime/a-history-tells-of-every-layer",
        spec: "An image of a container whose image had no history has a step for each layer, and the new one goes with the change.",
        see: &["OCI image specification, config.md, history"],
        catalogue: &["S08"],
        impact: Impact::AppVisible,
        run: Some(a_history_tells_of_every_layer),
        ..super::BASE
    },
];

/// The size of the file that is written to, in bytes.
const SIZE: u64 = 300_000;

/// Makes `two` of the base: a file of its own, one changed, one removed.
fn make_two(product: &Product) -> Result<()> {
    let change = "dd if=/dev/zero of=/big bs=1000 count=300; echo more >>/testfile; rm /etc/group; echo x >/srv/new; ln -s etc /link";
    product.ok(&["run", "--name", "maker", BASE, "sh", "-c", change])?;
    product.ok(&["commit", "-m", "the second step", "maker", "two:1"])?;
    product.ok(&["rm", "maker"]).map(drop)
}

fn origin(product: &Product, path: &str, container: &str) -> Result<Value> {
    product.json(&["where", path, "--container", container, "--json"])
}

/// What each layer has to do with a path, and by which step.
fn parts(origin: &Value) -> String {
    let layers = origin["layers"].as_array().into_iter().flatten();
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let part = |layer: &Value| format!("{} by {}", word(&layer["part"]), word(&layer["step"]));
    layers.map(part).collect::<Vec<_>>().join(", ")
}

fn where_names_the_layer(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    make_two(&product)?;
    product.ok(&["create", "--name", "con", "two:1", "sleep", "1000"])?;
    let inspected = product.json(&["image", "inspect", "two:1"])?;
    let chain_id = inspected.pointer("/0/Layers/0/chain_id").cloned();
    // The same whether it runs or not.
    for is_running in [false, true] {
        if is_running {
            product.ok(&["start", "con"])?;
        }
        let base = origin(&product, "/srv/data", "con")?;
        expect("/srv/data", "layers", "shown by Imported", &parts(&base))?;
        let told = base.pointer("/layers/0/chain_id").cloned();
        expect("/srv/data", "is the base layer", true, told == chain_id)?;
        let changed = parts(&origin(&product, "/testfile", "con")?);
        let expected = "shown by the second step, hidden by Imported";
        expect("/testfile", "layers", expected, &changed)?;
        let removed = origin(&product, "/link/group", "con")?;
        let expected = "removes by the second step, hidden by Imported";
        expect("/etc/group", "layers", expected, &parts(&removed))?;
        expect(
            "/etc/group",
            "is shown",
            false,
            removed["shown"].is_object(),
        )?;
        let directory = parts(&origin(&product, "/srv", "con")?);
        let expected = "shown by the second step, merged by Imported";
        expect("/srv", "layers", expected, &directory)?;
        product
            .run(&["where", "/none", "-c", "con"])?
            .refused(2, "/none")?;
    }
    // Its own layer, and everything below it.
    product.ok(&["exec", "con", "sh", "-c", "echo x >>/testfile; rm /big"])?;
    let changed = parts(&origin(&product, "/testfile", "con")?);
    let expected = "shown by -, hidden by the second step, hidden by Imported";
    expect("/testfile", "layers", expected, &changed)?;
    let removed = parts(&origin(&product, "/big", "con")?);
    expect(
        "/big",
        "layers",
        "removes by -, hidden by the second step",
        &removed,
    )
}

fn where_tells_what_a_write_copies(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    make_two(&product)?;
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

fn where_knows_mounts(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    make_two(&product)?;
    let run = [
        "run",
        "-d",
        "--name",
        "con",
        "-v",
        "data:/etc/data",
        "two:1",
        "sleep",
        "1000",
    ];
    product.ok(&run)?;
    let write = "echo kept >/etc/data/f";
    product.ok(&["exec", "con", "sh", "-c", write])?;
    for _ in 0..2 {
        let told = origin(&product, "/link/data/f", "con")?;
        expect(
            "/link/data/f",
            "path",
            "/etc/data/f",
            told["path"].as_str().unwrap_or_default(),
        )?;
        let mount = &told["mount"];
        expect(
            "/etc/data/f",
            "mount",
            "volume",
            mount["type"].as_str().unwrap_or_default(),
        )?;
        expect(
            "/etc/data/f",
            "volume",
            "data",
            mount["name"].as_str().unwrap_or_default(),
        )?;
        let place = mount["place"].as_str().unwrap_or_default();
        let content = std::fs::read_to_string(place)?;
        expect(
            "/etc/data/f",
            "content where it is on the host",
            "kept\n",
            &content,
        )?;
        expect(
            "/etc/data/f",
            "would copy",
            false,
            told["would_copy"].is_object(),
        )?;
        product.ok(&["stop", "-t", "0", "con"])?;
    }
    product.says(&["diff", "con"], "")
}

fn storage_stats_are_of_the_run(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    make_two(&product)?;
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

fn inspect_finds_every_kind(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.ok(&["create", "--name", "con", "-v", "data:/data", BASE, "true"])?;
    let found = product.json(&["inspect", "con", BASE, "data"])?;
    let told = |pointer: &str| {
        found
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    expect("inspect", "container", "con", told("/0/Name"))?;
    let tag = told("/1/RepoTags/0");
    expect("inspect", "image", true, tag.starts_with(BASE))?;
    expect("inspect", "volume", "data", told("/2/name"))?;
    product
        .run(&["inspect", "--type", "image", "con"])?
        .refused(2, "no image `con`")?;
    product
        .run(&["inspect", "nobody"])?
        .refused(2, "`nobody`")?;
    // A volume of a container's name: the container is meant, unless it is said.
    product.ok(&["volume", "create", "con"])?;
    let first = product.json(&["inspect", "con"])?;
    let named = first.pointer("/0/Name").and_then(Value::as_str);
    expect(
        "inspect",
        "container first",
        "con",
        named.unwrap_or_default(),
    )?;
    let volume = product.json(&["inspect", "--type", "volume", "con"])?;
    let named = volume.pointer("/0/name").and_then(Value::as_str);
    expect("inspect", "volume", "con", named.unwrap_or_default())
}

fn a_history_tells_of_every_layer(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    product.load("bare:1", &json!({}))?;
    product.ok(&["run", "--name", "con", "bare:1", "touch", "/new"])?;
    product.ok(&["commit", "-m", "touched", "con", "two:1"])?;
    let inspected = product.json(&["image", "inspect", "two:1"])?;
    let chain_id = |depth: usize| inspected[0]["Layers"][depth]["chain_id"].clone();
    let history = product.json(&["history", "two:1", "--json"])?;
    let steps = [("touched", chain_id(1)), ("", chain_id(0))];
    let told = history.as_array().map_or(0, Vec::len);
    expect("two:1", "steps", steps.len(), told)?;
    for (number, (by, layer)) in steps.into_iter().enumerate() {
        let step = &history[number];
        let what = format!("step {number}");
        let told = step["created_by"].as_str().unwrap_or_default();
        expect(&what, "is told by", by, told)?;
        expect(&what, "has a layer", true, layer.is_string())?;
        expect(&what, "is of its layer", &layer, &step["layer"])?;
    }
    Ok(())
}
