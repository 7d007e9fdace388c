//! Layers that mean harm, or are broken: refused or confined, and nothing of them stays.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cowlab_layer::DiffOptions;
use cowlab_snapshots::{ApplyOptions, Error as StoreError, Filter};
use cowlab_sys::cursor::Cursor;

use crate::context::Result;
use crate::prelude::*;
use crate::support::store::{apply, apply_entries, refused, shows, summary};
use cowlab_tarball::{Entry, archive};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "hostile/symlinks-do-not-lead-out",
        spec: "No entry lands outside the layer by way of a symbolic link, absolute, upward, chained or of a lower layer.",
        see: &[
            "containerd pkg/archive tests, Symlink",
            "openat2(2), RESOLVE_IN_ROOT",
        ],
        catalogue: &["N06"],
        impact: Impact::Isolation,
        run: Some(symlinks_do_not_lead_out),
        ..Case::BASE
    },
    Case {
        id: "hostile/hard-links-do-not-lead-out",
        spec: "No hard link entry names a file outside the layer, directly or through a symbolic link.",
        see: &["containerd pkg/archive tests, Hardlink"],
        catalogue: &["N07"],
        impact: Impact::Isolation,
        run: Some(hard_links_do_not_lead_out),
        ..Case::BASE
    },
    Case {
        id: "hostile/absolute-and-upward-names-are-refused",
        spec: "A layer with an absolute name or one that goes upward is refused as a whole, and nothing of it stays.",
        see: &["image-spec layer.md, Whiteouts", "CVE-2018-8115"],
        catalogue: &["N02"],
        impact: Impact::Isolation,
        run: Some(names_that_lead_out),
        ..Case::BASE
    },
    Case {
        id: "hostile/duplicate-entries-are-refused",
        spec: "A layer with one name twice, or a file where it has a directory, is refused where that is asked for, and nothing of it stays.",
        see: &["image-spec layer.md, duplicate entries"],
        catalogue: &["N19"],
        impact: Impact::DataLoss,
        store: &[
            store::apply("a file twice", None, || {
                vec![Entry::file("f", "1"), Entry::file("f", "2")]
            })
            .strictly()
            .fails("malformed"),
            store::apply("a file where a directory was", None, || {
                vec![
                    Entry::dir("d"),
                    Entry::file("d/f", "1"),
                    Entry::file("d", "2"),
                ]
            })
            .strictly()
            .fails("malformed"),
            store::apply("a directory where a file was", None, || {
                vec![Entry::file("f", "1"), Entry::dir("f")]
            })
            .strictly()
            .fails("malformed"),
            store::apply("a link where a file was", None, || {
                vec![
                    Entry::file("a", "1"),
                    Entry::file("f", "2"),
                    Entry::link("f", "a"),
                ]
            })
            .strictly()
            .fails("malformed"),
            store::apply("a whiteout device where a file was", None, || {
                vec![Entry::file("f", "1"), Entry::special("f", b'3', 0, 0)]
            })
            .strictly()
            .fails("malformed"),
            // A directory may be named again.
            store::apply("again", None, || {
                vec![Entry::dir("d"), Entry::file("d/f", "1"), Entry::dir("d")]
            })
            .strictly(),
        ],
        ..Case::BASE
    },
    Case {
        id: "hostile/directories-inside-one-another",
        spec: "A layer with 20,000 directories inside one another can be viewed, measured, compared, written as an archive and removed.",
        see: &[
            "getrlimit(2), RLIMIT_NOFILE",
            "path_resolution(7), PATH_MAX",
        ],
        catalogue: &["N20"],
        impact: Impact::AppVisible,
        run: Some(directories_inside_one_another),
        ..Case::BASE
    },
    Case {
        id: "hostile/broken-streams-are-refused",
        spec: "A truncated, wrongly digested, corrupt or nonsensical layer is refused by kind and leaves nothing.",
        see: &[
            "containers/storage tests, apply-junk",
            "image-spec descriptor.md, Verification",
        ],
        catalogue: &["N20", "M29"],
        impact: Impact::DataLoss,
        run: Some(broken_streams),
        ..Case::BASE
    },
    Case {
        id: "hostile/overlays-own-attributes-are-not-taken-over",
        spec: "Attributes of overlayfs in a layer neither redirect a directory nor empty a file.",
        see: &[
            "overlayfs.rst, metadata only copy up",
            "overlayfs.rst, whiteouts and opaque directories",
        ],
        catalogue: &["K05", "B05"],
        impact: Impact::Isolation,
        run: Some(overlay_attributes),
        ..Case::BASE
    },
];

/// A directory that no layer may reach, with a file in it.
fn outside(context: &Context) -> Result<PathBuf> {
    let dir = context.dir().join("outside");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("secret"), "untouched")?;
    Ok(dir)
}

/// Expects that nothing was written into the directory that no layer may reach.
fn untouched(dir: &Path) -> Result<()> {
    let tree = Tree::open(dir)?;
    expect(
        "outside",
        "content",
        "secret=untouched".to_owned(),
        summary(&tree, "/")?,
    )?;
    let links = tree
        .stat("/secret")
        .map_err(|code| Difference::new("outside", "stat", "ok", code))?
        .nlink;
    expect("outside", "link count", 1, links)
}

fn symlinks_do_not_lead_out(context: &mut Context) -> Result<()> {
    let dir = outside(context)?;
    let absolute = dir.display().to_string();
    let upward = format!("{}{absolute}", "../".repeat(40));
    let base = [Entry::symlink("lower", &absolute), Entry::dir("d")];
    apply_entries(context, "base", None, &base)?;
    let attempts: [(&str, Vec<Entry>); 7] = [
        (
            "with-a-slash-at-the-end",
            vec![
                Entry::symlink("out/", &absolute),
                Entry::dir("out/"),
                Entry::file("out/secret", "x"),
            ],
        ),
        (
            "absolute",
            vec![
                Entry::symlink("out", &absolute),
                Entry::file("out/secret", "x"),
            ],
        ),
        (
            "upward",
            vec![Entry::symlink("out", &upward), Entry::file("out/new", "x")],
        ),
        (
            "chained",
            vec![
                Entry::symlink("a", &absolute),
                Entry::symlink("b", "a"),
                Entry::file("b/secret", "x"),
            ],
        ),
        ("of-a-lower-layer", vec![Entry::file("lower/secret", "x")]),
        (
            "below-a-directory",
            vec![
                Entry::symlink("d/out", &upward),
                Entry::dir("d/out"),
                Entry::file("d/out/secret", "x"),
            ],
        ),
        (
            "whiteout",
            vec![
                Entry::symlink("out", &absolute),
                Entry::file("out/.wh.secret", ""),
            ],
        ),
    ];
    for (name, entries) in attempts {
        // Refused, or confined: both keep the promise.
        match apply(context, name, Some("base"), &archive(&entries)) {
            Ok(()) | Err(StoreError::Layer { .. }) => untouched(&dir)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn hard_links_do_not_lead_out(context: &mut Context) -> Result<()> {
    let dir = outside(context)?;
    let secret = dir.join("secret").display().to_string();
    let attempts: [(&str, Vec<Entry>); 4] = [
        (
            "absolute",
            vec![Entry::link("l", &secret), Entry::file("l", "x")],
        ),
        (
            "upward",
            vec![Entry::link("l", format!("{}{secret}", "../".repeat(40)))],
        ),
        (
            "through-a-symlink",
            vec![
                Entry::symlink("s", dir.display().to_string()),
                Entry::link("l", "s/secret"),
            ],
        ),
        ("missing", vec![Entry::link("l", "nothing")]),
    ];
    for (name, entries) in attempts {
        match apply(context, name, None, &archive(&entries)) {
            Err(StoreError::Layer { .. }) => untouched(&dir)?,
            Err(error) => return Err(error.into()),
            Ok(()) => return Err(Difference::new(name, "hard link", "refused", "applied")),
        }
    }
    // A link to a symbolic link inside the layer is a name of the symbolic link.
    apply_entries(
        context,
        "inside",
        None,
        &[
            Entry::symlink("s", &secret),
            Entry::link("l", "s"),
            Entry::file("f", "x"),
        ],
    )?;
    shows(context, "inside", "f=x l s")?;
    untouched(&dir)
}

fn names_that_lead_out(context: &mut Context) -> Result<()> {
    let dir = outside(context)?;
    let absolute = format!("{}/secret", dir.display());
    let entries = [
        ("absolute", "escape", Entry::file(&absolute, "x")),
        ("upward", "escape", Entry::file("../outside/secret", "x")),
        ("upward-inside", "escape", Entry::file("d/../../x", "x")),
        (
            "whiteout-upward",
            "escape",
            Entry::file("../.wh.secret", ""),
        ),
        ("whiteout-of-dots", "escape", Entry::file(".wh...", "")),
        ("whiteout-of-nothing", "malformed", Entry::file(".wh.", "")),
    ];
    for (name, expected, entry) in entries {
        let bytes = archive(&[Entry::file("before", "x"), entry]);
        refused(name, expected, apply(context, name, None, &bytes))?;
        untouched(&dir)?;
    }
    nothing_left(context)
}

/// Expects a store without snapshots, in the database and on disk.
fn nothing_left(context: &Context) -> Result<()> {
    expect(
        "store",
        "snapshots",
        0,
        context.store().list(&Filter::default())?.len(),
    )?;
    expect(
        "store",
        "snapshots on disk",
        0,
        context.store().driver().inventory()?.len(),
    )
}

/// How many directories lie inside one another below a directory.
fn depth_of(dir: &Path) -> Result<usize> {
    let mut cursor = Cursor::open(dir)?;
    while cursor.enter_if_present("d".as_ref())? {}
    Ok(cursor.depth())
}

fn directories_inside_one_another(context: &mut Context) -> Result<()> {
    let deep = |depth: usize| archive(&[Entry::file(format!("{}f", "d/".repeat(depth)), "x")]);
    apply(context, "deep", None, &deep(20_000))?;
    let depth = context.with_view("deep", depth_of)?;
    expect("/d/d/...", "depth", 20_000, depth)?;
    context.store().usage("deep")?;
    context.store().remove("deep")?;
    // The archive of a deep tree names every directory by its whole path, so this one is less deep.
    let depth = 3_000;
    apply(context, "less", None, &deep(depth))?;
    context.layer(Some("less"), "child", &[write("/new", "n")])?;
    let changes = context.store().changes("child")?.len();
    expect("child", "changes", 2, changes)?;
    context.store().remove("child")?;
    let (mut layer, options) = (Vec::new(), DiffOptions::default());
    context.store().diff("less", &mut layer, &options)?;
    let exported = context
        .store()
        .export("less", |_| true, &mut std::io::sink(), &options)?;
    expect(
        "less",
        "entries",
        depth + 2,
        usize::try_from(exported.entries).unwrap_or(0),
    )?;
    apply(context, "again", None, &layer)?;
    let again = context.with_view("again", depth_of)?;
    expect("again", "depth", depth, again)?;
    context.store().remove("again")?;
    Ok(context.store().remove("less")?)
}

fn broken_streams(context: &mut Context) -> Result<()> {
    let whole = archive(&[Entry::file("a", vec![b'x'; 200_000]), Entry::file("b", "x")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&whole)?;
    let gzip = gzip.finish()?;
    let mut flipped = whole.clone();
    flipped[3] ^= 0x55;
    let streams = [
        ("cut in a file", "truncated", whole[..100_000].to_vec()),
        ("cut in a header", "truncated", whole[..300].to_vec()),
        ("cut gzip", "truncated", gzip[..gzip.len() / 2].to_vec()),
        ("a flipped header bit", "junk", flipped),
        ("text", "junk", b"this is no archive. ".repeat(100)),
    ];
    for (what, expected, bytes) in streams {
        refused(what, expected, apply(context, "layer", None, &bytes))?;
        nothing_left(context)?;
    }
    let zeros = format!("sha256:{}", "0".repeat(64));
    let digest = zeros
        .parse()
        .map_err(|error| Difference::new("digest", "parse", "ok", format!("{error}")))?;
    let options = ApplyOptions {
        digest: Some(digest),
        ..ApplyOptions::default()
    };
    refused(
        "another digest",
        "digest mismatch",
        context
            .store()
            .apply("layer", None, &mut whole.as_slice(), &options),
    )?;
    nothing_left(context)
}

fn overlay_attributes(context: &mut Context) -> Result<()> {
    apply_entries(
        context,
        "base",
        None,
        &[
            Entry::dir("secret"),
            Entry::file("secret/f", "hidden"),
            Entry::dir("d"),
            Entry::file("d/f", "1"),
        ],
    )?;
    let top = [
        Entry::dir("alias").record("SCHILY.xattr.trusted.overlay.redirect", "/secret"),
        Entry::file("m", "data").record("SCHILY.xattr.trusted.overlay.metacopy", ""),
    ];
    match apply(context, "top", Some("base"), &archive(&top)) {
        Ok(()) => shows(context, "top", "alias/() d/(f=1) m=data secret/(f=hidden)"),
        Err(StoreError::Layer { .. }) => {
            refused("the name", "not found", context.store().stat("top"))
        }
        Err(error) => Err(error.into()),
    }
}
