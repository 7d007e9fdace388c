//! Layers that mean harm, or are broken: refused or confined, and nothing of them stays.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cowlab_snapshots::{ApplyOptions, Duplicates, Error as StoreError, Filter};

use crate::cases::layer::{apply, apply_entries, shows, summary};
use crate::cases::refusal::refused;
use crate::context::Result;
use crate::prelude::*;
use crate::tarball::{Entry, archive};

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
        spec: "A layer with one name twice, or a file where it has a directory, is refused unless the last one is asked for.",
        see: &["image-spec layer.md, duplicate entries"],
        catalogue: &["N19"],
        impact: Impact::DataLoss,
        run: Some(duplicate_entries),
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
    apply_entries(
        context,
        "base",
        None,
        &[Entry::symlink("lower", &absolute), Entry::dir("d")],
    )?;
    let attempts: [(&str, Vec<Entry>); 6] = [
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

fn duplicate_entries(context: &mut Context) -> Result<()> {
    let layers = [
        (
            "a file twice",
            "f=2",
            vec![Entry::file("f", "1"), Entry::file("f", "2")],
        ),
        (
            "a file where a directory was",
            "d=2",
            vec![
                Entry::dir("d"),
                Entry::file("d/f", "1"),
                Entry::file("d", "2"),
            ],
        ),
        (
            "a directory where a file was",
            "f/()",
            vec![Entry::file("f", "1"), Entry::dir("f")],
        ),
        (
            "a link where a file was",
            "a=1 f=1",
            vec![
                Entry::file("a", "1"),
                Entry::file("f", "2"),
                Entry::link("f", "a"),
            ],
        ),
    ];
    let last_wins = ApplyOptions {
        duplicates: Duplicates::LastWins,
        ..ApplyOptions::default()
    };
    for (what, expected, entries) in layers {
        let bytes = archive(&entries);
        refused(what, "malformed", apply(context, what, None, &bytes))?;
        nothing_left(context)?;
        context
            .store()
            .apply(what, None, &mut bytes.as_slice(), &last_wins)?;
        shows(context, what, expected)?;
        context.store().remove(what)?;
    }
    // A directory may be named again.
    apply_entries(
        context,
        "again",
        None,
        &[Entry::dir("d"), Entry::file("d/f", "1"), Entry::dir("d")],
    )
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
