//! What a snapshot occupies: reported as it is, and given back.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cowlab_driver::{Bytes, Error as DriverError};
use cowlab_snapshots::{CommitOptions, Error as StoreError, PrepareOptions};
use cowlab_sys::process;

use crate::context::Result;
use crate::prelude::*;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "usage/grows-with-content",
        spec: "The usage of a snapshot grows by what is written into it and survives its commit.",
        see: &["containerd core/snapshots/snapshotter.go, Usage"],
        catalogue: &["M16"],
        impact: Impact::AppVisible,
        run: Some(grows_with_content),
        ..Case::BASE
    },
    Case {
        id: "usage/holes-and-links-count-once",
        spec: "Holes count nothing and the names of one file count it once.",
        see: &[
            "containers/storage pkg/archive tests, ChangesSizeWithHardlinks",
            "inode(7), st_blocks",
        ],
        catalogue: &["O05"],
        impact: Impact::AppVisible,
        needs: &[Need::Holes],
        run: Some(holes_and_links),
        ..Case::BASE
    },
    Case {
        id: "usage/child-does-not-count-its-parent",
        spec: "A new child of a large snapshot occupies next to nothing of its own.",
        see: &["containerd core/snapshots/snapshotter.go, Usage"],
        catalogue: &["M16", "O05", "S04"],
        impact: Impact::Performance,
        run: Some(child_without_parent),
        ..Case::BASE
    },
    Case {
        id: "usage/removal-gives-the-space-back",
        spec: "A removed snapshot is gone from the disk, and its space is free again within ten seconds.",
        see: &[
            "containerd/containerd issue 13416",
            "btrfs-subvolume(8), delete",
        ],
        catalogue: &["M17"],
        impact: Impact::AppVisible,
        run: Some(removal_gives_back),
        ..Case::BASE
    },
    Case {
        id: "usage/size-limit-is-enforced",
        spec: "A snapshot with a size limit takes what fits and refuses what does not, and its child is free of it.",
        see: &[
            "moby graphdriver tests, SetQuota",
            "containerd/containerd issue 759",
        ],
        catalogue: &["O01", "O03", "O07"],
        impact: Impact::Isolation,
        needs: &[Need::SizeLimit],
        run: Some(size_limit),
        ..Case::BASE
    },
];

const MIB: u64 = 1 << 20;

/// What a snapshot occupies of its own, in MiB, rounded.
fn own(context: &Context, key: &str) -> Result<u64> {
    Ok((context.store().usage(key)?.exclusive.bytes.0 + MIB / 2) / MIB)
}

fn flush(dir: &Path) -> Result<()> {
    Ok(cowlab_sys::durability::syncfs(dir)?)
}

fn grows_with_content(context: &mut Context) -> Result<()> {
    context
        .store()
        .prepare("key", None, &PrepareOptions::default())?;
    expect("key", "MiB when empty", 0, own(context, "key")?)?;
    context.with_mount("key", |dir| {
        std::fs::write(dir.join("f"), vec![b'x'; 4 << 20])?;
        flush(dir)
    })?;
    context.settle()?;
    expect("key", "MiB with 4 MiB", 4, own(context, "key")?)?;
    expect(
        "key",
        "counts the file's inode",
        true,
        context.store().usage("key")?.exclusive.inodes >= 1,
    )?;
    context
        .store()
        .commit("key", "name", &CommitOptions::default())?;
    expect("name", "MiB after the commit", 4, own(context, "name")?)
}

fn holes_and_links(context: &mut Context) -> Result<()> {
    let ops = [
        sparse("/sparse", 64 << 20, const { &[range(0, 4096)] }),
        write_sized("/a", 4 << 20, 50),
        link("/a", "/b"),
        link("/a", "/c"),
    ];
    context.layer(None, "layer", &ops)?;
    context.settle()?;
    expect(
        "layer",
        "MiB of 4 MiB under three names and a hole",
        4,
        own(context, "layer")?,
    )
}

fn child_without_parent(context: &mut Context) -> Result<()> {
    context.layer(None, "base", &[write_sized("/f", 16 << 20, 51)])?;
    context
        .store()
        .prepare("child", Some("base"), &PrepareOptions::default())?;
    flush(context.dir())?;
    expect(
        "child",
        "MiB on a parent of 16 MiB",
        0,
        own(context, "child")?,
    )
}

fn removal_gives_back(context: &mut Context) -> Result<()> {
    // Settles what the store itself writes at its first use.
    context.layer(None, "base", &[write("/f", "f")])?;
    let before = context.used()?;
    context.layer(Some("base"), "large", &[write_sized("/g", 32 << 20, 52)])?;
    let full = context.used()?;
    expect("backing", "grew", true, full > before + 30 * MIB)?;
    context.store().remove("large")?;
    expect(
        "store",
        "snapshots on disk",
        1,
        context.store().driver().inventory()?.len(),
    )?;
    let start = Instant::now();
    while context.used()? > before + 4 * MIB {
        if start.elapsed() > Duration::from_secs(10) {
            return Err(Difference::new(
                "backing",
                "space",
                "free again",
                "still in use",
            ));
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn size_limit(context: &mut Context) -> Result<()> {
    let options = PrepareOptions {
        size_limit: Some(Bytes::mib(8)),
        ..PrepareOptions::default()
    };
    match context.store().prepare("key", None, &options) {
        Err(StoreError::Driver { reason, .. })
            if matches!(*reason, DriverError::Unsupported { .. }) =>
        {
            let got = "unsupported";
            return Err(Difference::new("key", "size limit", "enforced", got));
        }
        prepared => prepared.map(drop)?,
    }
    context.with_mount("key", |dir| {
        let small = write_as_user(dir, "/small", 1 << 20)?;
        expect("/small", "write of 1 MiB", "ok".to_owned(), small)?;
        let large = write_as_user(dir, "/large", 32 << 20)?;
        let refused = large == "EDQUOT" || large == "ENOSPC";
        expect("/large", "write of 32 MiB refused", true, refused)
    })?;
    // It is a limit of this snapshot and not of what comes after it.
    let store = context.store();
    store.commit("key", "name", &CommitOptions::default())?;
    store.prepare("child", Some("name"), &PrepareOptions::default())?;
    context.with_mount("child", |dir| {
        let large = write_as_user(dir, "/more", 32 << 20)?;
        expect("/more", "write of 32 MiB", "ok".to_owned(), large)
    })
}

/// Writes a file of that many bytes as somebody without privileges, for some file systems let CAP_SYS_RESOURCE exceed a
/// limit, which containers do not have.
fn write_as_user(dir: &Path, path: &str, size: usize) -> Result<String> {
    let tree = Tree::open(dir)?;
    std::fs::set_permissions(dir, Permissions::from_mode(0o777))?;
    let written = process::as_user(1, || tree.write(path, &vec![b'x'; size]))?;
    Ok(match written {
        Ok(()) => "ok".to_owned(),
        Err(code) => code.to_string(),
    })
}
