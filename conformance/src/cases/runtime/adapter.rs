//! The verbs of the snapshot store as another program uses them: containerd, by an adapter that speaks for cowlab.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cowlab_sys::cmd::Cmd;
use cowlab_sys::lock::FileLock;
use cowlab_sys::mountinfo;
use serde_json::Value;

use crate::context::Result;
use crate::manifest::Manifest;
use crate::prelude::*;
use crate::product::layered::{Layered, docker_archive};
use crate::product::{BASE, Product};
use crate::support::program::{text, texts};
use cowlab_tarball::{Entry, archive};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/mounts-work-in-other-hands",
        spec: "What `snapshot mounts` prints mounts the same tree by mount(8) as cowlab mounts, over 1, 42, 75 and 120 layers.",
        see: &[
            "containerd, core/mount/mount_linux.go, compactLowerdirOption",
            "overlayfs.rst, multiple lower layers",
        ],
        catalogue: &["S22"],
        impact: Impact::AppVisible,
        run: Some(mounts_work_in_other_hands),
        ..super::BASE
    },
    Case {
        id: "runtime/mounts-carry-every-attribute",
        spec: "A mount made by mount(8) of what is printed opens the device files that cowlab's own opens, and no others.",
        see: &["mount(8), nodev", "mount_setattr(2)"],
        catalogue: &["S22"],
        impact: Impact::Isolation,
        run: Some(mounts_carry_every_attribute),
        ..super::BASE
    },
    Case {
        id: "runtime/an-adapter-prepares-writes-commits-and-views",
        spec: "A program that mounts by itself what it is told writes a layer, commits it, and sees it whole in a view.",
        see: &["containerd, docs/snapshotters"],
        catalogue: &["S22"],
        impact: Impact::DataLoss,
        run: Some(an_adapter_prepares_writes_commits_and_views),
        ..super::BASE
    },
    Case {
        id: "runtime/refusals-are-told-apart",
        spec: "A program tells a missing snapshot, one that exists, one of a wrong kind, a busy one and a parent apart.",
        see: &["containerd, core/snapshots/snapshotter.go"],
        catalogue: &["S22"],
        impact: Impact::AppVisible,
        run: Some(refusals_are_told_apart),
        ..super::BASE
    },
    Case {
        id: "runtime/snapshots-are-labelled-filtered-and-compared",
        spec: "Labels are set and removed, lists filtered in containerd's language, and any two snapshots compared.",
        see: &[
            "containerd, pkg/filters",
            "containerd, cmd/ctr/commands/snapshots",
        ],
        catalogue: &["S22"],
        impact: Impact::AppVisible,
        run: Some(snapshots_are_labelled_filtered_and_compared),
        ..super::BASE
    },
    Case {
        id: "runtime/commit-waits-for-a-mount-that-goes-away",
        spec: "A commit that may wait succeeds as soon as the snapshot is unmounted, and says that it is busy when it is not.",
        see: &["umount(2), EBUSY"],
        catalogue: &["S22"],
        impact: Impact::AppVisible,
        run: Some(commit_waits_for_a_mount_that_goes_away),
        ..super::BASE
    },
];

/// The bytes of options that mount(2) takes.
const PAGE: usize = 4095;

/// One of the mounts that `--json` prints.
#[derive(Debug)]
struct Mount {
    fstype: String,
    source: String,
    options: Vec<String>,
}

impl Mount {
    /// Reads what `--json` printed: one mount.
    fn read(printed: &Value) -> Result<Self> {
        let count = printed.as_array().map_or(0, Vec::len);
        expect("mounts", "count", 1, count)?;
        Ok(Self {
            fstype: text(printed, "/0/type")?,
            source: text(printed, "/0/source")?,
            options: texts(printed, "/0/options")?,
        })
    }

    /// Mounts as containerd does: lower layers that do not fit are named from the directory that they are all in.
    fn make(&self, target: &Path) -> Result<()> {
        let options = self.options.join(",");
        let (dir, options) = match options.len() > PAGE {
            true => self.compact(),
            false => (PathBuf::from("/"), options),
        };
        let words = ["-t", &self.fstype, "-o", &options, &self.source];
        let mount = Cmd::new("mount").args(words).arg(target);
        // Since version 2.39 mount(8) hands options over one by one, which may have 255 bytes each.
        let mount = mount.env("LIBMOUNT_FORCE_MOUNT2", "always");
        Ok(mount.current_dir(dir).run()?)
    }

    /// The options, and the directory to mount them in.
    fn compact(&self) -> (PathBuf, String) {
        let lowers = self
            .options
            .iter()
            .find_map(|one| one.strip_prefix("lowerdir="));
        let lowers: Vec<&Path> = lowers
            .unwrap_or_default()
            .split(':')
            .map(Path::new)
            .collect();
        let first = lowers.first().copied().unwrap_or(Path::new("/"));
        let is_common = |dir: &&Path| lowers.iter().all(|lower| lower.starts_with(dir));
        let dir = first
            .ancestors()
            .skip(1)
            .find(is_common)
            .unwrap_or(Path::new("/"));
        let short = lowers
            .iter()
            .filter_map(|lower| lower.strip_prefix(dir).ok());
        let short: Vec<_> = short.map(|lower| lower.display().to_string()).collect();
        let options = self
            .options
            .iter()
            .map(|one| match one.starts_with("lowerdir=") {
                true => format!("lowerdir={}", short.join(":")),
                false => one.clone(),
            });
        (dir.to_owned(), options.collect::<Vec<_>>().join(","))
    }
}

/// What a mount shows that cowlab made.
fn seen_by_cowlab<T>(
    product: &Product,
    key: &str,
    target: &Path,
    look: impl FnOnce(&Path) -> Result<T>,
) -> Result<T> {
    let place = target.display().to_string();
    product.ok(&["snapshot", "mount", key, &place])?;
    let seen = look(target);
    product.ok(&["snapshot", "unmount", key, &place])?;
    seen
}

/// What a mount shows that another program makes.
fn seen_by_hand<T>(
    printed: &Value,
    target: &Path,
    look: impl FnOnce(&Path) -> Result<T>,
) -> Result<T> {
    Mount::read(printed)?.make(target)?;
    let seen = look(target);
    Cmd::new("umount").arg(target).run()?;
    seen
}

fn capture(target: &Path) -> Result<Manifest> {
    Ok(Manifest::capture(target)?)
}

fn mounts_work_in_other_hands(context: &mut Context) -> Result<()> {
    const DEPTHS: [usize; 4] = [1, 42, 75, 120];
    let product = Product::empty(context)?;
    let layers: Vec<_> = (0..DEPTHS[3])
        .map(|number| {
            let below = format!(".wh.file-{}", number.saturating_sub(7));
            vec![
                Entry::file(format!("file-{number}"), "content"),
                Entry::file("top", format!("layer {number}")),
                Entry::file(below, ""),
            ]
        })
        .collect();
    let deep = Layered {
        name: "deep:1",
        layers: &layers,
    };
    product
        .run_with(&["load"], &docker_archive(&[deep])?)?
        .ok()?;
    let layers = product.json(&["layer", "ls", "--json"])?;
    let target = context.mount_point();
    let place = target.display().to_string();
    for depth in DEPTHS {
        let top = text(&layers, &format!("/{}/cache_id", depth - 1))?;
        product.ok(&["snapshot", "view", "look", &top])?;
        let own = seen_by_cowlab(&product, "look", &target, capture)?;
        let printed = product.json(&["snapshot", "mounts", &place, "look", "--json"])?;
        let mount = Mount::read(&printed)?;
        let lowers = mount
            .options
            .iter()
            .filter(|one| one.starts_with("lowerdir"));
        let joined = lowers.filter(|one| !one.starts_with("lowerdir=")).count();
        expect(
            format!("{depth} layers"),
            "options of single layers",
            0,
            joined,
        )?;
        let by_hand = seen_by_hand(&printed, &target, capture)?;
        context.unchanged(&own, &by_hand)?;
        let line = product.ok(&["snapshot", "mounts", &place, "look"])?;
        Cmd::new("sh").args(["-c", &line]).run()?;
        let by_line = capture(&target)?;
        Cmd::new("umount").arg(&target).run()?;
        context.unchanged(&own, &by_line)?;
        product.ok(&["snapshot", "rm", "look"])?;
    }
    Ok(())
}

/// The attributes of the mount, and whether a device file in it can be opened.
fn attributes(target: &Path) -> Result<String> {
    let mounts = mountinfo::read_self()?;
    let mount = mounts.iter().find(|mount| mount.mount_point == target);
    let options = mount.map_or("", |mount| mount.options.as_str()).split(',');
    let kept = ["ro", "rw", "nodev", "nosuid", "noexec", "noatime"];
    let mut kept: Vec<_> = options.filter(|option| kept.contains(option)).collect();
    kept.sort_unstable();
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .open(target.join("null"));
    let opened = match opened {
        Ok(_) => "opens".to_owned(),
        Err(error) => error.to_string(),
    };
    Ok(format!("{}: /null {opened}", kept.join(",")))
}

fn mounts_carry_every_attribute(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let target = context.mount_point();
    let devices = archive(&[Entry::special("null", b'3', 1, 3).mode(0o666)]);
    product
        .run_with(&["snapshot", "apply", "devices"], &devices)?
        .ok()?;
    for verb in ["view", "prepare"] {
        let printed = product.json(&["snapshot", verb, verb, "devices", "--json"])?;
        // cowlab's own unmount lets go of the device.
        let by_hand = seen_by_hand(&printed, &target, attributes)?;
        let own = seen_by_cowlab(&product, verb, &target, attributes)?;
        expect(verb, "mount", own, by_hand)?;
    }
    product
        .ok(&["snapshot", "rm", "view", "prepare", "devices"])
        .map(drop)
}

fn an_adapter_prepares_writes_commits_and_views(context: &mut Context) -> Result<()> {
    // What separates options and layers has to be escaped.
    let product = Product::empty_in(context, "ro,ot:with \\ all")?;
    let target = context.mount_point();
    let snapshot = |words: &[&str]| product.json(&[&["snapshot", "--json"], words].concat());
    let nothing = snapshot(&["view", "nothing"])?;
    let seen = seen_by_hand(&nothing, &target, capture)?;
    expect("a view of nothing", "entries", 1, seen.entries.len())?;
    let first = snapshot(&["prepare", "first", "--label", "a=b"])?;
    seen_by_hand(&first, &target, |dir| {
        std::fs::create_dir(dir.join("d"))?;
        std::fs::write(dir.join("d/file"), "first")?;
        std::fs::write(dir.join("gone"), "first")?;
        Ok(std::os::unix::fs::symlink("d/file", dir.join("link"))?)
    })?;
    snapshot(&["commit", "layer-1", "first"])?;
    let second = snapshot(&["prepare", "second", "layer-1"])?;
    let written = seen_by_hand(&second, &target, |dir| {
        std::fs::write(dir.join("d/file"), "second")?;
        std::fs::remove_file(dir.join("gone"))?;
        capture(dir)
    })?;
    snapshot(&["commit", "layer-2", "second"])?;
    let view = snapshot(&["view", "look", "layer-2", "--label", "who=adapter"])?;
    seen_by_hand(&view, &target, |dir| {
        context.unchanged(&written, &capture(dir)?)?;
        let refused = std::fs::write(dir.join("new"), "").err();
        let code = refused.and_then(|error| error.raw_os_error());
        let read_only = Some(cowlab_sys::Errno::ROFS.raw_os_error());
        expect("a view", "refuses to be written", true, code == read_only)
    })?;
    let labels = snapshot(&["info", "look"])?["labels"].to_string();
    expect("look", "labels", r#"{"who":"adapter"}"#.to_owned(), labels)?;
    let order = ["look", "nothing", "layer-2", "layer-1"];
    product.ok(&[&["snapshot", "rm"], &order[..]].concat())?;
    product.says(&["snapshot", "ls", "--json"], "[]")
}

fn refusals_are_told_apart(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let target = context.mount_point();
    let place = target.display().to_string();
    product.ok(&["snapshot", "prepare", "work"])?;
    product.ok(&["snapshot", "commit", "base", "work"])?;
    product.ok(&["snapshot", "prepare", "work", "base"])?;
    product.ok(&["snapshot", "mount", "work", &place])?;
    let refused = |code: i32, kind: &str, key: &str, words: &[&str]| -> Result<()> {
        let ran = product.run(&[&["snapshot", "--json"], words].concat())?;
        expect(&ran.command, "exit status", code, ran.code)?;
        let error: Value = serde_json::from_str(&ran.err)?;
        expect(
            &ran.command,
            "code",
            code.to_string(),
            error["code"].to_string(),
        )?;
        expect(
            &ran.command,
            "kind",
            kind.to_owned(),
            text(&error, "/kind")?,
        )?;
        expect(&ran.command, "key", key.to_owned(), text(&error, "/key")?)?;
        let named = text(&error, "/message")?.contains(&format!("`{key}`"));
        expect(&ran.command, "message names the key", true, named)?;
        // People get the same number.
        let ran = product.run(&[&["snapshot"], words].concat())?;
        ran.refused(code, &format!("`{key}`"))
    };
    refused(4, "not-found", "none", &["info", "none"])?;
    refused(4, "not-found", "none", &["prepare", "new", "none"])?;
    refused(4, "not-found", "none", &["commit", "new", "none"])?;
    refused(5, "exists", "work", &["prepare", "work"])?;
    refused(5, "exists", "base", &["commit", "base", "work"])?;
    refused(6, "wrong-kind", "base", &["commit", "new", "base"])?;
    refused(6, "wrong-kind", "work", &["view", "new", "work"])?;
    refused(6, "wrong-kind", "base", &["mounts", &place, "base"])?;
    refused(7, "busy", "work", &["commit", "new", "work"])?;
    refused(7, "busy", "work", &["rm", "work"])?;
    refused(9, "has-children", "base", &["rm", "base"])?;
    product.ok(&["snapshot", "unmount", "work", &place])?;
    let id = product.json(&["snapshot", "--json", "info", "work"])?["id"].to_string();
    let lock = product.root().join("snapshots/locks").join(id);
    let held = FileLock::exclusive(&lock)?;
    refused(8, "locked", "work", &["rm", "work"])?;
    drop(held);
    product.ok(&["snapshot", "rm", "work", "base"]).map(drop)
}

fn snapshots_are_labelled_filtered_and_compared(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let layer = |name: &str, parent: Option<&str>, entries: &[Entry]| {
        let words = [&["snapshot", "apply", name][..], parent.as_slice()].concat();
        product.run_with(&words, &archive(entries))?.ok().map(drop)
    };
    layer(
        "base",
        None,
        &[Entry::file("f", "1"), Entry::file("g", "1")],
    )?;
    layer(
        "left",
        Some("base"),
        &[Entry::file("f", "2"), Entry::file("l", "")],
    )?;
    layer(
        "right",
        Some("base"),
        &[Entry::file(".wh.g", ""), Entry::file("f", "1")],
    )?;
    product.ok(&["snapshot", "view", "look", "left", "--label", "a.b/c=x y"])?;
    let says =
        |words: &[&str], expected: &str| product.says(&[&["snapshot"], words].concat(), expected);
    // From one snapshot to any other, both ways.
    says(&["diff", "left", "right"], "C /f\nD /g\nD /l")?;
    says(&["diff", "right", "left"], "C /f\nA /g\nA /l")?;
    says(&["diff", "left", "look"], "")?;
    let file = context.dir().join("layer.tar").display().to_string();
    product.ok(&["snapshot", "diff", "left", "right", "-o", &file])?;
    product.ok(&["snapshot", "apply", "again", "left", "-i", &file])?;
    says(&["diff", "right", "again"], "")?;
    product.ok(&["snapshot", "label", "left", "n=1", "gone=1"])?;
    product.ok(&["snapshot", "label", "left", "n=2", "gone="])?;
    let labels = product.json(&["snapshot", "info", "left", "--json"])?["labels"].to_string();
    expect("left", "labels", r#"{"n":"2"}"#.to_owned(), labels)?;
    lists_are_filtered(&product)?;
    product
        .run(&["snapshot", "ls", "--filter", "kind=view"])?
        .refused(2, "column 5")?;
    says(
        &["tree"],
        "base (committed)\n  \\_ left (committed)\n    \\_ again (committed)\n    \\_ look (view)\n  \\_ right (committed)",
    )?;
    product.import_base()?;
    let unpacked = product.ok(&["snapshot", "unpack", BASE])?;
    let kind = text(
        &product.json(&["snapshot", "info", &unpacked, "--json"])?,
        "/kind",
    )?;
    expect(BASE, "unpacked", "committed".to_owned(), kind)?;
    let all = ["look", "again", "left", "right", "base"];
    product
        .ok(&[&["snapshot", "rm"], &all[..]].concat())
        .map(drop)
}

fn lists_are_filtered(product: &Product) -> Result<()> {
    let listed = |filters: &[&str]| -> Result<String> {
        let mut words = vec!["snapshot", "ls", "--json"];
        words.extend(filters.iter().flat_map(|filter| ["--filter", filter]));
        let found = product.json(&words)?;
        let keys = found.as_array().into_iter().flatten();
        let keys: Vec<_> = keys.filter_map(|info| info["key"].as_str()).collect();
        Ok(keys.join(" "))
    };
    let expected = |filters: &[&str], keys: &str| {
        expect(
            filters.join(" or "),
            "snapshots",
            keys.to_owned(),
            listed(filters)?,
        )
    };
    expected(&["parent==base"], "left right")?;
    expected(&["parent==base,labels.n==2"], "left")?;
    expected(&[r#"labels."a.b/c"~=/^x\s/"#, "name==base"], "base look")?;
    expected(&["kind!=committed"], "look")
}

fn commit_waits_for_a_mount_that_goes_away(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let target = context.mount_point();
    let place = target.display().to_string();
    product.ok(&["snapshot", "prepare", "work"])?;
    product.ok(&["snapshot", "mount", "work", &place])?;
    let commit = |time| ["snapshot", "commit", "layer", "work", "--wait", time];
    product
        .run(&commit("100ms"))?
        .refused(7, "`work` is in use")?;
    let begun = Instant::now();
    let mut unmount = Cmd::new("sh")
        .args(["-c", "sleep 1; exec umount \"$0\"", &place])
        .spawn()?;
    product.ok(&commit("2m"))?;
    expect("umount", "exit status", 0, unmount.wait()?)?;
    let soon = begun.elapsed() < Duration::from_secs(60);
    expect("commit", "ends soon after the unmount", true, soon)?;
    product.ok(&["snapshot", "rm", "layer"]).map(drop)
}
