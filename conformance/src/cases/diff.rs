//! Layers made: the changes of a snapshot, exactly, and an archive that brings them about again.

use std::fs;

use cowlab_layer::DiffOptions;
use cowlab_snapshots::{ApplyOptions, CommitOptions, PrepareOptions};
use cowlab_sys::cmd::Cmd;
use cowlab_sys::file::Mapping;
use cowlab_sys::{Errno, FileKind, at};

use crate::context::Result;
use crate::prelude::*;
use crate::support::attributes::{ACL, CAPABILITY};
use crate::support::store::{changes_of, shows};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "diff/changes-are-exact-and-sorted",
        spec: "The changes of a snapshot are every added, modified and deleted path and no other, sorted by their bytes.",
        see: &[
            "containers/storage graphtest, Changes",
            "image-spec layer.md, Determining Changes",
        ],
        catalogue: &["M26", "N01"],
        impact: Impact::DataLoss,
        store: &[
            store::layer(
                "parent",
                None,
                &[
                    write("/a", "a"),
                    write("/b", "b"),
                    dir("/d", 0o755),
                    write("/d/kept", "k"),
                    write("/d/gone", "g"),
                    dir("/e", 0o755),
                    mtime("/e", 1_000_000_000, 0),
                    dir("/f", 0o755),
                    write("/f/x", "x"),
                ],
            ),
            store::layer(
                "child",
                Some("parent"),
                &[
                    append("/a", "+"),
                    remove("/d/gone"),
                    write("/d/new", "n"),
                    remove_tree("/f"),
                    write("/c", "c"),
                ],
            ),
            store::changes(
                "child",
                &[
                    "Modified /",
                    "Modified /a",
                    "Added /c",
                    "Modified /d",
                    "Deleted /d/gone",
                    "Added /d/new",
                    "Deleted /f",
                ],
            ),
        ],
        ..Case::BASE
    },
    Case {
        id: "diff/nothing-changed",
        spec: "A snapshot in which nothing was changed, or changed and changed back, has no changes.",
        see: &["containers/storage pkg/archive tests, ChangesWithNoChanges"],
        catalogue: &["N25"],
        impact: Impact::Performance,
        store: &[
            store::layer("parent", None, PARENT),
            store::layer("untouched", Some("parent"), &[]),
            store::changes("untouched", &[]),
            store::layer(
                "back",
                Some("parent"),
                &[
                    chmod("/mode", 0o600),
                    chmod("/mode", 0o644),
                    open("w", "/content", Flags::WRITE),
                    set_xattr("/noted", "user.x", b"x"),
                    remove_xattr("/noted", "user.x"),
                ],
            ),
            store::changes("back", &[]),
        ],
        ..Case::BASE
    },
    Case {
        id: "diff/metadata-alone",
        spec: "A change of mode, owner, time or attribute alone is a change, and of nothing else.",
        see: &["image-spec layer.md, Change Types"],
        catalogue: &["N25", "M26"],
        impact: Impact::DataLoss,
        store: &[
            store::layer("parent", None, PARENT),
            store::layer("mode", Some("parent"), &[chmod("/mode", 0o600)]),
            store::changes("mode", &["Modified /mode"]),
            store::layer("owner", Some("parent"), &[chown("/owner", 1, 1)]),
            store::changes("owner", &["Modified /owner"]),
            store::layer("time", Some("parent"), &[mtime("/time", 1, 1)]),
            store::changes("time", &["Modified /time"]),
            store::layer(
                "attribute",
                Some("parent"),
                &[set_xattr("/noted", "user.note", b"x")],
            ),
            store::changes("attribute", &["Modified /noted"]),
        ],
        ..Case::BASE
    },
    Case {
        id: "diff/file-that-lost-its-newest-name",
        spec: "A change of a file whose newest name was removed in the parent is a change like any other.",
        see: &[
            "openzfs/zfs issue 13283",
            "openzfs/zfs issue 16753",
            "link(2)",
        ],
        catalogue: &["M26", "E05"],
        impact: Impact::DataLoss,
        store: &[
            store::layer(
                "parent",
                None,
                &[
                    dir("/a", 0o755),
                    dir("/b", 0o755),
                    write("/a/content", "c"),
                    link("/a/content", "/b/content"),
                    remove("/b/content"),
                    write("/a/mode", "m"),
                    link("/a/mode", "/b/mode"),
                    remove("/b/mode"),
                    write("/a/kept", "k"),
                    link("/a/kept", "/b/kept"),
                    remove("/b/kept"),
                ],
            ),
            store::layer(
                "child",
                Some("parent"),
                &[append("/a/content", "+"), chmod("/a/mode", 0o600)],
            ),
            store::changes("child", &["Modified /a/content", "Modified /a/mode"]),
        ],
        ..Case::BASE
    },
    Case {
        id: "diff/unchanged-files-are-not-read",
        spec: "What a snapshot changed is found without reading what it did not change, mounted or not.",
        see: &["containers/storage graphtest, Changes", "proc_pid_io(5)"],
        catalogue: &["M26"],
        impact: Impact::Performance,
        run: Some(unchanged_files_are_not_read),
        ..Case::BASE
    },
    Case {
        id: "diff/applied-again-gives-the-same-tree",
        spec: "The archive of a snapshot's changes, applied to its parent, gives the same tree to the nanosecond.",
        see: &[
            "image-spec layer.md, Applying Changesets",
            "containers/storage graphtest, DiffApply",
        ],
        catalogue: &["N01", "M27", "C08", "N26", "E07", "N14", "N17", "N23"],
        impact: Impact::DataLoss,
        run: Some(applied_again),
        ..Case::BASE
    },
    Case {
        id: "diff/attributes-come-back",
        spec: "Extended attributes large and empty, access and default ACLs and file capabilities come back from the archive of a snapshot.",
        see: &[
            "image-spec layer.md, File Attributes",
            "acl(5)",
            "capabilities(7), File capabilities",
        ],
        catalogue: &["N01", "N13", "D06", "D07"],
        impact: Impact::DataLoss,
        needs: &[Need::Acl, Need::XattrSize(3000)],
        run: Some(attributes_come_back),
        ..Case::BASE
    },
    Case {
        id: "diff/types-without-an-entry-hide-what-they-replaced",
        spec: "A socket, or a device 0:0 where one can be made, is not in the archive of a snapshot's changes, and neither is the file of the parent that it replaced.",
        see: &[
            "image-spec layer.md, File Types",
            "overlayfs.rst, whiteouts and opaque directories",
        ],
        catalogue: &["N01", "B01"],
        impact: Impact::DataLoss,
        run: Some(types_without_an_entry),
        ..Case::BASE
    },
    Case {
        id: "diff/same-tree-same-bytes",
        spec: "The archive of one snapshot is the same byte for byte each time, and so is that of its copy.",
        see: &[
            "umoci tests, consistent results",
            "moby daemon/internal/layer, TarStreamStability",
        ],
        catalogue: &["N22", "M27"],
        impact: Impact::Performance,
        run: Some(same_bytes),
        ..Case::BASE
    },
    Case {
        id: "diff/gnu-tar-reads-it",
        spec: "GNU tar lists every entry of the archive, whiteouts first in their directories, and extracts its files.",
        see: &["tar(1)", "image-spec layer.md, Whiteouts"],
        catalogue: &["N24", "N11", "N16"],
        impact: Impact::AppVisible,
        run: Some(gnu_tar_reads_it),
        ..Case::BASE
    },
    Case {
        id: "diff/changes-at-every-depth",
        spec: "The changes of a tree of ten levels are those files that were changed, at whatever level.",
        see: &["containers/storage graphtest, Echo"],
        catalogue: &["M26"],
        impact: Impact::DataLoss,
        store: &[
            store::layer(
                "base",
                None,
                &[
                    dir("/1", 0o755),
                    write("/1/f", "f"),
                    dir("/1/2", 0o755),
                    write("/1/2/f", "f"),
                    dir("/1/2/3", 0o755),
                    write("/1/2/3/f", "f"),
                    dir("/1/2/3/4", 0o755),
                    write("/1/2/3/4/f", "f"),
                    dir("/1/2/3/4/5", 0o755),
                    write("/1/2/3/4/5/f", "f"),
                    dir("/1/2/3/4/5/6", 0o755),
                    write("/1/2/3/4/5/6/f", "f"),
                    dir("/1/2/3/4/5/6/7", 0o755),
                    write("/1/2/3/4/5/6/7/f", "f"),
                    dir("/1/2/3/4/5/6/7/8", 0o755),
                    write("/1/2/3/4/5/6/7/8/f", "f"),
                    dir("/1/2/3/4/5/6/7/8/9", 0o755),
                    write("/1/2/3/4/5/6/7/8/9/f", "f"),
                    dir("/1/2/3/4/5/6/7/8/9/10", 0o755),
                    write("/1/2/3/4/5/6/7/8/9/10/f", "f"),
                ],
            ),
            store::layer(
                "all",
                Some("base"),
                &[
                    append("/1/f", "+"),
                    append("/1/2/f", "+"),
                    append("/1/2/3/f", "+"),
                    append("/1/2/3/4/f", "+"),
                    append("/1/2/3/4/5/f", "+"),
                    append("/1/2/3/4/5/6/f", "+"),
                    append("/1/2/3/4/5/6/7/f", "+"),
                    append("/1/2/3/4/5/6/7/8/f", "+"),
                    append("/1/2/3/4/5/6/7/8/9/f", "+"),
                    append("/1/2/3/4/5/6/7/8/9/10/f", "+"),
                ],
            ),
            store::changes(
                "all",
                &[
                    "Modified /1/2/3/4/5/6/7/8/9/10/f",
                    "Modified /1/2/3/4/5/6/7/8/9/f",
                    "Modified /1/2/3/4/5/6/7/8/f",
                    "Modified /1/2/3/4/5/6/7/f",
                    "Modified /1/2/3/4/5/6/f",
                    "Modified /1/2/3/4/5/f",
                    "Modified /1/2/3/4/f",
                    "Modified /1/2/3/f",
                    "Modified /1/2/f",
                    "Modified /1/f",
                ],
            ),
            store::layer("deepest", Some("all"), &[remove("/1/2/3/4/5/6/7/8/9/10/f")]),
            store::changes(
                "deepest",
                &[
                    "Modified /1/2/3/4/5/6/7/8/9/10",
                    "Deleted /1/2/3/4/5/6/7/8/9/10/f",
                ],
            ),
        ],
        ..Case::BASE
    },
    Case {
        id: "diff/no-whiteouts-where-nothing-was",
        spec: "The archive of a directory that was removed and made again removes what was in it once, and has no whiteout of anything else.",
        see: &[
            "image-spec layer.md, Opaque Whiteout",
            "containers/fuse-overlayfs issue 306",
        ],
        catalogue: &["B16"],
        impact: Impact::DataLoss,
        run: Some(no_needless_whiteouts),
        ..Case::BASE
    },
];

/// A parent with something of everything.
const PARENT: &[Op] = &[
    write_sized("/content", 100_000, 60),
    write("/mode", "m"),
    write("/owner", "o"),
    write("/time", "t"),
    write("/noted", "n"),
    write("/gone", "g"),
    write("/kept", "k"),
    dir("/dir", 0o755),
    write("/dir/inside", "i"),
    dir("/removed", 0o755),
    write("/removed/inside", "i"),
    dir("/again", 0o755),
    write("/again/old", "o"),
    write("/link-a", "l"),
    link("/link-a", "/link-b"),
    dir("/linked", 0o755),
    link("/link-a", "/linked/link-c"),
    symlink("kept", "/symlink"),
    fifo("/fifo", 0o600),
    sparse("/sparse", 8 << 20, &[range(4 << 20, 4096)]),
    write("/moved", "moved"),
];

/// What the child does to it.
const CHILD: &[Op] = &[
    write_at("/content", 50_000, "!"),
    chmod("/mode", 0o4711),
    chown("/owner", 3_000_000, 5),
    mtime("/time", -5, 250_000_000),
    set_xattr("/noted", "user.note", b"a\0b"),
    remove("/gone"),
    write("/dir/new", "n"),
    remove_tree("/removed"),
    remove_tree("/again"),
    dir("/again", 0o700),
    write("/again/new", "n"),
    link("/kept", "/kept-2"),
    link("/dir/new", "/linked/new"),
    symlink("elsewhere", "/symlink-2"),
    char_device("/device", 0o666, 1, 3),
    rename("/moved", "/dir/moved"),
    write(NAME_255, "long"),
    write("/not \\xff utf-8", "odd"),
];

fn prepare(context: &Context) -> Result<()> {
    context.layer(None, "parent", PARENT)?;
    context.layer(Some("parent"), "child", CHILD)
}

fn archive(context: &Context, name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    context
        .store()
        .diff(name, &mut bytes, &DiffOptions::default())?;
    Ok(bytes)
}

fn apply(context: &Context, name: &str, parent: Option<&str>, bytes: &[u8]) -> Result<()> {
    let mut stream = bytes;
    context
        .store()
        .apply(name, parent, &mut stream, &ApplyOptions::default())?;
    Ok(())
}

fn unchanged_files_are_not_read(context: &mut Context) -> Result<()> {
    let base = [
        write_sized("/large", 8 << 20, 1),
        write("/same-size", "before"),
        write("/mapped", "before"),
    ];
    context.layer(None, "base", &base)?;
    context.layer(Some("base"), "parent", &[write("/small", "s")])?;
    let store = context.store();
    store.prepare("child", Some("parent"), &Default::default())?;
    let measured = |state: &str| {
        let before = bytes_read()?;
        let found = changes_of(context, "child")?;
        let read = (bytes_read()? - before) >> 20;
        expect(
            "child",
            format!("MiB read of a parent of 8 MiB, {state}"),
            0,
            read,
        )?;
        let expected = "Modified /mapped\nModified /same-size\nModified /small";
        expect(state, "changes", expected.to_owned(), found)
    };
    context.with_mount("child", |dir| {
        fs::write(dir.join("same-size"), "after!")?;
        fs::write(dir.join("small"), "t")?;
        let mapped = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(dir.join("mapped"))?;
        Mapping::writable(&mapped, 6)?.write(b"after!")?;
        measured("mounted")
    })?;
    measured("not mounted")?;
    context
        .store()
        .commit("child", "committed", &Default::default())?;
    Ok(())
}

/// What this thread has read of files, from caches as well.
fn bytes_read() -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/io")?;
    let read = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    let read = read.and_then(|count| count.parse().ok());
    Ok(read.ok_or_else(|| cowlab_sys::Error::parse("what a thread has read", text.clone()))?)
}

fn applied_again(context: &mut Context) -> Result<()> {
    prepare(context)?;
    let base = archive(context, "parent")?;
    apply(context, "parent-2", None, &base)?;
    context.unchanged(&context.manifest("parent")?, &context.manifest("parent-2")?)?;
    let mut layer = Vec::new();
    let store = context.store();
    let written = store.diff("child", &mut layer, &DiffOptions::default())?;
    let options = ApplyOptions::default();
    let applied = store.apply("child-2", Some("parent-2"), &mut layer.as_slice(), &options)?;
    expect("child", "size of the archive", written.size, applied.size)?;
    let digests = [written.diff_id, applied.diff_id].map(|digest| digest.to_string());
    expect("child", "digest of the archive", &digests[0], &digests[1])?;
    context.unchanged(&context.manifest("child")?, &context.manifest("child-2")?)
}

fn attributes_come_back(context: &mut Context) -> Result<()> {
    let parent = [
        dir("/d", 0o750),
        set_xattr("/d", "system.posix_acl_default", ACL),
        dir("/kept", 0o755),
        write("/large", "l"),
        set_xattr_sized("/large", "user.large", 3000),
    ];
    context.layer(None, "parent", &parent)?;
    let child = [
        write("/f", "f"),
        set_xattr("/f", "system.posix_acl_access", ACL),
        write("/able", "a"),
        set_xattr("/able", "security.capability", CAPABILITY),
        set_xattr("/kept", "user.empty", b""),
        chmod("/large", 0o600),
        chmod("/d", 0o700),
    ];
    context.layer(Some("parent"), "child", &child)?;
    for (name, below) in [("parent", None), ("child", Some("parent-2"))] {
        let copy = format!("{name}-2");
        apply(context, &copy, below, &archive(context, name)?)?;
        context.unchanged(&context.manifest(name)?, &context.manifest(&copy)?)?;
    }
    Ok(())
}

fn types_without_an_entry(context: &mut Context) -> Result<()> {
    let parent = [
        write("/socket", "s"),
        write("/device", "d"),
        write("/kept", "k"),
    ];
    context.layer(None, "parent", &parent)?;
    let store = context.store();
    store.prepare("active", Some("parent"), &PrepareOptions::default())?;
    context.with_mount("active", |dir| {
        fs::remove_file(dir.join("socket"))?;
        fs::remove_file(dir.join("device"))?;
        let dir = cowlab_sys::dir::open(dir)?;
        for name in ["socket", "new"] {
            at::mknod(&dir, name, FileKind::Socket, 0o600, 0)?;
        }
        match at::mknod(&dir, "device", FileKind::CharDevice, 0o600, 0) {
            // No overlay has one made (overlayfs.rst, "whiteouts and opaque directories").
            Err(error) if error.errno() == Some(Errno::PERM) => Ok(()),
            made => Ok(made?),
        }
    })?;
    store.commit("active", "child", &CommitOptions::default())?;
    let bytes = archive(context, "child")?;
    apply(context, "again", Some("parent"), &bytes)?;
    shows(context, "again", "kept=k")
}

fn same_bytes(context: &mut Context) -> Result<()> {
    prepare(context)?;
    let (base, layer) = (archive(context, "parent")?, archive(context, "child")?);
    expect(
        "child",
        "the same bytes again",
        true,
        layer == archive(context, "child")?,
    )?;
    apply(context, "parent-2", None, &base)?;
    apply(context, "child-2", Some("parent-2"), &layer)?;
    expect(
        "child-2",
        "the same bytes as its original",
        true,
        layer == archive(context, "child-2")?,
    )
}

fn gnu_tar_reads_it(context: &mut Context) -> Result<()> {
    context.layer(
        None,
        "parent",
        &[
            dir("/d", 0o755),
            write("/d/gone", "g"),
            socket("/socket", 0o600),
            write("/f", "f"),
        ],
    )?;
    context.layer(
        Some("parent"),
        "child",
        &[
            remove("/d/gone"),
            write("/d/a", "a"),
            append("/f", "+"),
            socket("/d/socket", 0o600),
        ],
    )?;
    let path = context.dir().join("layer.tar");
    fs::write(&path, archive(context, "child")?)?;
    let list = Cmd::new("tar").arg("-tf").arg(&path).read()?;
    let names: Vec<_> = list
        .lines()
        .map(|line| line.trim_start_matches("./").trim_end_matches('/'))
        .filter(|name| !name.is_empty())
        .collect();
    expect(
        "layer",
        "entries",
        "d d/.wh.gone d/a f".to_owned(),
        names.join(" "),
    )?;
    let out = context.dir().join("extracted");
    fs::create_dir(&out)?;
    Cmd::new("tar")
        .arg("-xf")
        .arg(&path)
        .arg("-C")
        .arg(&out)
        .run()?;
    expect(
        "/f",
        "content",
        "f+".to_owned(),
        fs::read_to_string(out.join("f"))?,
    )
}

fn no_needless_whiteouts(context: &mut Context) -> Result<()> {
    let parent = [
        dir("/d", 0o755),
        write("/d/a", "a"),
        write("/d/kept", "k"),
        dir("/d/sub", 0o755),
        write("/d/sub/b", "b"),
    ];
    context.layer(None, "parent", &parent)?;
    let child = [
        remove_tree("/d"),
        dir("/d", 0o755),
        write("/d/kept", "again"),
        dir("/d/new", 0o755),
        write("/d/new/f", "f"),
        write("/d/gone", "g"),
        remove("/d/gone"),
    ];
    context.layer(Some("parent"), "child", &child)?;
    let path = context.dir().join("layer.tar");
    fs::write(&path, archive(context, "child")?)?;
    let list = Cmd::new("tar").arg("-tf").arg(&path).read()?;
    let whiteouts: Vec<_> = list.lines().filter(|name| name.contains(".wh.")).collect();
    // One for the whole directory, or one for each name that is gone.
    let found = match whiteouts[..] {
        [one] if one.ends_with("d/.wh..wh..opq") => "once".to_owned(),
        [a, sub] if a.ends_with("d/.wh.a") && sub.ends_with("d/.wh.sub") => "once".to_owned(),
        _ => whiteouts.join(" "),
    };
    expect(
        "layer",
        "what was there is removed",
        "once".to_owned(),
        found,
    )
}
