//! Layers applied: what an archive's entries become.

use std::io::Write;

use cowlab_snapshots::ApplyOptions;

use crate::context::Result;
use crate::prelude::*;
use crate::support::full::{LEFT, told};
use crate::support::store::{apply, apply_entries, refused, shows};
use cowlab_tarball::{Entry, archive};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "layer/whiteouts-in-any-order",
        spec: "A whiteout and an opaque whiteout remove what lower layers have, whether they come first or last, and never what their own layer has.",
        see: &[
            "image-spec layer.md, Whiteouts",
            "image-spec layer.md, Opaque Whiteout",
        ],
        catalogue: &["C02", "C06", "N03", "N04"],
        impact: Impact::DataLoss,
        store: &[
            store::apply("base", None, || {
                vec![
                    Entry::dir("d"),
                    Entry::file("d/old", "1"),
                    Entry::dir("d/sub"),
                    Entry::file("d/sub/old", "1"),
                    Entry::dir("e"),
                    Entry::file("e/old", "1"),
                    Entry::file("gone", "1"),
                    Entry::file("again", "1"),
                    Entry::dir("g"),
                    Entry::file("g/x", "1"),
                ]
            }),
            store::apply("top", Some("base"), || {
                vec![
                    // Opaque last, after an entry of its own layer.
                    Entry::dir("d"),
                    Entry::file("d/new", "2"),
                    Entry::file("d/.wh..wh..opq", ""),
                    // Opaque first.
                    Entry::file("e/.wh..wh..opq", ""),
                    Entry::file("e/new", "2"),
                    Entry::file(".wh.gone", ""),
                    Entry::file(".wh.never-there", ""),
                    // The whiteout is about the lower layer: the file of this one stays, whichever comes first.
                    Entry::file("again", "2"),
                    Entry::file(".wh.again", ""),
                    Entry::file(".wh.g", ""),
                    Entry::dir("g"),
                    Entry::file("g/y", "2"),
                ]
            }),
            store::shows("top", "again=2 d/(new=2) e/(new=2) g/(y=2)"),
            store::shows(
                "base",
                "again=1 d/(old=1 sub/(old=1)) e/(old=1) g/(x=1) gone=1",
            ),
        ],
        ..Case::BASE
    },
    Case {
        id: "layer/opaque-attribute-is-an-opaque-whiteout",
        spec: "A directory entry with overlayfs's opaque attribute hides what lower layers have in it, and shows no attribute.",
        see: &[
            "overlayfs.rst, whiteouts and opaque directories",
            "umoci tests, overlayfs rootfs",
        ],
        catalogue: &["C02", "K05"],
        impact: Impact::DataLoss,
        store: &[
            store::apply("base", None, || {
                vec![Entry::dir("d"), Entry::file("d/old", "1")]
            }),
            store::apply("top", Some("base"), || {
                vec![
                    Entry::dir("d").record("SCHILY.xattr.trusted.overlay.opaque", "y"),
                    Entry::file("d/new", "2"),
                ]
            }),
            store::shows("top", "d/(new=2)"),
            store::viewed("top", &[list_xattr("/d").gives("")]),
        ],
        ..Case::BASE
    },
    Case {
        id: "layer/types-are-replaced",
        spec: "An entry of another type takes the place of what lower layers have under its name.",
        see: &["image-spec layer.md, Changesets over existing files"],
        catalogue: &["N05"],
        impact: Impact::DataLoss,
        store: &[
            store::apply("base", None, || {
                vec![
                    Entry::dir("to-file"),
                    Entry::file("to-file/x", "1"),
                    Entry::file("to-dir", "1"),
                    Entry::symlink("link-to-dir", "to-file"),
                    Entry::dir("to-link"),
                    Entry::file("to-link/x", "1"),
                ]
            }),
            store::apply("top", Some("base"), || {
                vec![
                    Entry::file("to-file", "2"),
                    Entry::dir("to-dir"),
                    Entry::file("to-dir/x", "2"),
                    Entry::dir("link-to-dir"),
                    Entry::file("link-to-dir/x", "2"),
                    Entry::symlink("to-link", "to-dir"),
                ]
            }),
            store::shows("top", "link-to-dir/(x=2) to-dir/(x=2) to-file=2 to-link"),
        ],
        ..Case::BASE
    },
    Case {
        id: "layer/hard-link-to-a-lower-layer",
        spec: "A hard link entry to a file of a lower layer is a name of that file, with all its metadata.",
        see: &[
            "image-spec layer.md, Hardlinks",
            "containerd pkg/archive tests, HardlinkParentInclusion",
        ],
        catalogue: &["N08", "E07"],
        impact: Impact::DataLoss,
        store: &[
            store::apply("base", None, || {
                vec![
                    Entry::dir("d"),
                    Entry::file("d/f", "content")
                        .mode(0o4711)
                        .owner(5, 6)
                        .record("SCHILY.xattr.user.note", "kept"),
                ]
            }),
            store::apply("top", Some("base"), || {
                vec![Entry::link("l", "d/f"), Entry::link("m", "l")]
            }),
            store::viewed(
                "top",
                &[
                    stat("/l", Field::Mode).gives("4711"),
                    stat("/l", Field::Owner).gives("5:6"),
                    get_xattr("/l", "user.note").gives("kept"),
                    reads("/l", "content"),
                    same_file("/l", "/d/f"),
                    same_file("/m", "/d/f"),
                ],
            ),
        ],
        ..Case::BASE
    },
    Case {
        id: "layer/directory-entry-keeps-content",
        spec: "A directory entry gives an existing directory its attributes and keeps what is in it, and missing parents are made.",
        see: &["image-spec layer.md, Changesets over existing files"],
        catalogue: &["N09", "N10"],
        impact: Impact::DataLoss,
        store: &[
            store::apply("base", None, || {
                vec![
                    Entry::dir("d").mode(0o700),
                    Entry::file("d/f", "1"),
                    Entry::dir("kept")
                        .mode(0o711)
                        .owner(7, 8)
                        .record("mtime", "1234567890.5")
                        .record("SCHILY.xattr.user.note", "n"),
                ]
            }),
            store::apply("top", Some("base"), || {
                vec![
                    Entry::dir("d").mode(0o1777).owner(3, 4),
                    Entry::file("made/on/the/way", "2"),
                    // No entry of its own: the directory keeps its attributes.
                    Entry::file("kept/f", "2"),
                ]
            }),
            store::shows("top", "d/(f=1) kept/(f=2) made/(on/(the/(way=2)))"),
            store::viewed(
                "top",
                &[
                    stat("/d", Field::Mode).gives("1777"),
                    stat("/d", Field::Owner).gives("3:4"),
                    stat("/kept", Field::Mode).gives("0711"),
                    stat("/kept", Field::Owner).gives("7:8"),
                    stat("/kept", Field::ModifyTime).gives("1234567890.500000000"),
                    get_xattr("/kept", "user.note").gives("n"),
                    stat("/made/on", Field::Mode).gives("0755"),
                    stat("/made/on", Field::Owner).gives("0:0"),
                ],
            ),
        ],
        ..Case::BASE
    },
    Case {
        id: "layer/every-compression-is-the-same",
        spec: "A layer gives the same tree and the same diff id as a plain, gzip and zstd archive.",
        see: &["image-spec layer.md, zstd media types"],
        catalogue: &["N21"],
        impact: Impact::DataLoss,
        run: Some(every_compression),
        ..Case::BASE
    },
    Case {
        id: "layer/full-file-system",
        spec: "A file system that is full in the middle of a layer leaves the store without it, and with space it applies.",
        see: &["write(2), ENOSPC"],
        catalogue: &["M36"],
        impact: Impact::DataLoss,
        risk: Risk::Fs,
        run: Some(full_file_system),
        ..Case::BASE
    },
    Case {
        id: "layer/last-entry-of-a-name-wins",
        spec: "Of a name that a layer has twice the last entry counts, whatever the two are, and nothing of the first is left.",
        see: &[
            "moby pkg/archive, UnpackLayer",
            "containerd pkg/archive, applyNaive",
            "image-spec layer.md, Whiteouts",
        ],
        catalogue: &["N19", "N05"],
        impact: Impact::DataLoss,
        run: Some(last_entry_wins),
        ..Case::BASE
    },
    Case {
        id: "layer/character-device-0-0-is-a-whiteout",
        spec: "A character device 0:0 in a layer removes what lower layers have under its name and is no device; a block device 0:0 is one.",
        see: &[
            "overlayfs.rst, whiteouts and opaque directories",
            "containerd pkg/archive, OverlayConvertWhiteout",
        ],
        catalogue: &["B01", "N03", "B06"],
        impact: Impact::DataLoss,
        store: &[
            store::apply("base", None, duplicated_base),
            store::apply("top", Some("base"), devices),
            store::shows("top", "block kept=0 null"),
            // It is no file that a hard link could name, and no device of a base layer.
            store::apply("linked", Some("base"), || {
                vec![Entry::special("f", b'3', 0, 0), Entry::link("l", "f")]
            })
            .fails("malformed"),
            store::apply("alone", None, devices),
            store::shows("alone", "block null"),
        ],
        ..Case::BASE
    },
    Case {
        id: "layer/applied-twice",
        spec: "A layer applied under a name that is there is refused, and the first stays as it is.",
        see: &["moby daemon/internal/layer, RegisterExistingLayer"],
        catalogue: &["M06"],
        impact: Impact::DataLoss,
        store: &[
            store::apply("layer", None, || vec![Entry::file("f", "first")]),
            store::apply("layer", None, || vec![Entry::file("f", "second")]).fails("exists"),
            store::shows("layer", "f=first"),
        ],
        ..Case::BASE
    },
    Case {
        id: "layer/long-names-can-be-removed",
        spec: "A file whose name has 252 bytes, to which no `.wh.` can be put, comes with a layer and can be removed in a child.",
        see: &[
            "limits.h(0p), NAME_MAX",
            "containers/fuse-overlayfs, names of 252 bytes and more",
        ],
        catalogue: &["A22", "N01"],
        impact: Impact::DataLoss,
        store: &[
            store::apply("base", None, || {
                vec![Entry::file(&LONG[1..], "long"), Entry::file("kept", "k")]
            }),
            store::viewed("base", &[reads(LONG, "long"), reads("/kept", "k")]),
            store::prepare("child", Some("base")),
            store::mounted(
                "child",
                &[call("/", "remove a name of 252 bytes", |tree| {
                    tree.unlink(LONG).map(|()| String::new())
                })
                .succeeds()],
            ),
            store::commit("child", "less"),
            store::shows("less", "kept=k"),
            store::viewed("base", &[reads(LONG, "long"), reads("/kept", "k")]),
        ],
        ..Case::BASE
    },
    Case {
        id: "layer/opaque-whiteouts-at-every-depth",
        spec: "An opaque whiteout in the root, deep in a tree, above another directory of its layer or in a new directory hides exactly what is below its own directory.",
        see: &[
            "image-spec layer.md, Opaque Whiteout",
            "umoci tests, TestUnpackOpaqueWhiteout",
        ],
        catalogue: &["N03", "C02"],
        impact: Impact::DataLoss,
        store: &[
            store::apply("base", None, || {
                vec![
                    Entry::file("a/b/c/x", "1"),
                    Entry::file("a/b/z", "1"),
                    Entry::file("a/y", "1"),
                    Entry::file("e", "1"),
                ]
            }),
            store::apply("deep", Some("base"), || {
                vec![
                    Entry::file("a/b/new", "2"),
                    Entry::file("a/b/.wh..wh..opq", ""),
                ]
            }),
            store::shows("deep", "a/(b/(new=2) y=1) e=1"),
            store::apply("above", Some("base"), || {
                vec![
                    Entry::file("a/.wh..wh..opq", ""),
                    Entry::dir("a/b"),
                    Entry::file("a/b/k", "2"),
                ]
            }),
            store::shows("above", "a/(b/(k=2)) e=1"),
            store::apply("root", Some("base"), || {
                vec![Entry::file("n", "2"), Entry::file(".wh..wh..opq", "")]
            }),
            store::shows("root", "n=2"),
            store::apply("new", Some("base"), || {
                vec![
                    Entry::dir("e"),
                    Entry::file("e/.wh..wh..opq", ""),
                    Entry::file("e/f", "2"),
                ]
            }),
            store::shows("new", "a/(b/(c/(x=1) z=1) y=1) e/(f=2)"),
        ],
        ..Case::BASE
    },
];

/// The path of a file whose name has 252 bytes.
const LONG: &str = {
    const BYTES: [u8; 253] = {
        let mut bytes = [b'n'; 253];
        bytes[0] = b'/';
        bytes
    };
    text(&BYTES)
};

/// What a base has under the names that layers have twice.
fn duplicated_base() -> Vec<Entry> {
    vec![
        Entry::dir("d"),
        Entry::file("d/low", "0"),
        Entry::file("f", "0"),
        Entry::file("kept", "0"),
    ]
}

/// Character and block devices, two of them whiteouts of what the base has.
fn devices() -> Vec<Entry> {
    vec![
        Entry::special("f", b'3', 0, 0),
        Entry::special("d", b'3', 0, 0),
        Entry::special("never-there", b'3', 0, 0),
        Entry::special("block", b'4', 0, 0),
        Entry::special("null", b'3', 1, 3),
    ]
}

/// What it is, what the layer shows, and its entries.
type Repeated = (&'static str, &'static str, Vec<Entry>);

fn file(name: &str, content: &str) -> Entry {
    Entry::file(name, content)
}

fn repeated_entries() -> Vec<Repeated> {
    let dir = |name: &str| Entry::dir(name);
    let link = |name: &str, target: &str| Entry::link(name, target);
    vec![
        (
            "file, file",
            "d/(low=0) f=2 kept=0",
            vec![file("f", "1"), file("f", "2")],
        ),
        (
            "file, directory",
            "d/(low=0) f/(x=2) kept=0",
            vec![file("f", "1"), dir("f"), file("f/x", "2")],
        ),
        (
            "directory, file",
            "d=2 f=0 kept=0",
            vec![dir("d"), file("d/new", "1"), file("d", "2")],
        ),
        (
            "directory, file, directory",
            "d/(x=2) f=0 kept=0",
            vec![
                dir("d"),
                file("d/x", "1"),
                file("d/y", "1"),
                file("d", "1"),
                dir("d"),
                file("d/x", "2"),
            ],
        ),
        (
            "link, file",
            "a=1 d/(low=0) f=2 kept=0",
            vec![file("a", "1"), link("f", "a"), file("f", "2")],
        ),
        (
            "file, link",
            "a=1 d/(low=0) f=1 kept=0",
            vec![file("a", "1"), file("f", "2"), link("f", "a")],
        ),
        (
            "directory, link",
            "d=0 f=0 kept=0",
            vec![dir("d"), file("d/x", "1"), link("d", "f")],
        ),
        (
            "symlink, directory",
            "d/(low=0) f=0 kept=0 s/()",
            vec![Entry::symlink("s", "d"), dir("s")],
        ),
        (
            "directory, symlink",
            "d f=0 kept=0",
            vec![dir("d"), file("d/x", "1"), Entry::symlink("d", "f")],
        ),
    ]
}

fn repeated_whiteouts() -> Vec<Repeated> {
    let dir = |name: &str| Entry::dir(name);
    let device = |name: &str| Entry::special(name, b'3', 0, 0);
    vec![
        // The name of a whiteout is not the name that it removes from the layers below.
        (
            "whiteout, file",
            "d/(low=0) f=1 kept=0",
            vec![file(".wh.f", ""), file("f", "1")],
        ),
        (
            "file, whiteout",
            "d/(low=0) f=1 kept=0",
            vec![file("f", "1"), file(".wh.f", "")],
        ),
        (
            "whiteouts",
            "d/(low=0) kept=0",
            vec![file(".wh.f", ""), file(".wh.f", "")],
        ),
        (
            "file twice, opaque",
            "d/(x=2) f=0 kept=0",
            vec![
                file("d/x", "1"),
                file("d/.wh..wh..opq", ""),
                file("d/x", "2"),
            ],
        ),
        // A whiteout in the kernel's form has the name itself.
        (
            "device, file",
            "d/(low=0) f=1 kept=0",
            vec![device("f"), file("f", "1")],
        ),
        (
            "file, device",
            "d/(low=0) kept=0",
            vec![file("f", "1"), device("f")],
        ),
        (
            "directory, device",
            "f=0 kept=0",
            vec![dir("d"), file("d/x", "1"), device("d")],
        ),
        (
            "device, directory",
            "d/() f=0 kept=0",
            vec![device("d"), dir("d")],
        ),
    ]
}

fn last_entry_wins(context: &mut Context) -> Result<()> {
    apply_entries(context, "base", None, &duplicated_base())?;
    for (what, expected, entries) in repeated_entries().into_iter().chain(repeated_whiteouts()) {
        apply_entries(context, what, Some("base"), &entries)?;
        shows(context, what, expected).map_err(|difference| difference.seen_in(what))?;
        context.store().remove(what)?;
    }
    let below_a_file = archive(&[file("f", "1"), file("f/x", "2")]);
    refused(
        "below a file",
        "malformed",
        apply(context, "x", Some("base"), &below_a_file),
    )
}

fn every_compression(context: &mut Context) -> Result<()> {
    let plain = archive(&[
        Entry::dir("d"),
        Entry::file("d/f", vec![b'x'; 300_000]),
        Entry::symlink("s", "d/f"),
    ]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain)?;
    let streams = [
        ("plain", plain.clone()),
        ("gzip", gzip.finish()?),
        ("zstd", zstd::encode_all(plain.as_slice(), 1)?),
    ];
    let mut first = None;
    for (name, bytes) in streams {
        let mut stream = bytes.as_slice();
        let applied = context
            .store()
            .apply(name, None, &mut stream, &ApplyOptions::default())?;
        let (id, tree) = first.get_or_insert((applied.diff_id, context.manifest(name)?));
        expect(name, "diff id", id.to_string(), applied.diff_id.to_string())?;
        context.unchanged(tree, &context.manifest(name)?)?;
    }
    Ok(())
}

fn full_file_system(context: &mut Context) -> Result<()> {
    context.move_to_small_disk()?;
    apply_entries(context, "base", None, &[Entry::file("f", "base")])?;
    let before = context.manifest("base")?;
    let layer = archive(&[
        Entry::file("small", "x"),
        Entry::file("large", vec![b'x'; 64 << 20]),
    ]);
    let filler = context.fill(LEFT)?;
    let kept = context.store().driver().inventory()?.len();
    let given = apply(context, "top", Some("base"), &layer);
    let told = told(context, "apply of 64 MiB into 24 MiB", given);
    context.make_space(filler)?;
    told?;
    context.reopen()?;
    refused("the name", "not found", context.store().stat("top"))?;
    expect(
        "store",
        "snapshots on disk",
        kept,
        context.store().driver().inventory()?.len(),
    )?;
    context.unchanged(&before, &context.manifest("base")?)?;
    Ok(apply(context, "top", Some("base"), &layer)?)
}
