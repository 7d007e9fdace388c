//! Layers that are broken or malicious: each is refused with an error that names the entry, and
//! nothing outside the tree is read or written.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::apply::{ApplyOptions, Duplicates, Target, apply_to};
use super::crafted::{Tar, applied, apply, checksum, header, listing, refused};
use super::error::LayerError;
use super::reader::ReadOptions;
use super::{Digest, EntryName};

fn base() -> Tar {
    Tar::default().dir("d/").file("d/a", b"a").file("e", b"e")
}

/// A tree full of links that lead to `outside`, or nowhere.
fn links(outside: &Path) -> Tar {
    let out = outside.to_str().unwrap();
    base()
        .symlink("absolute", out)
        .symlink("up", &format!("../../../../../../..{out}"))
        .symlink("d/chain", "../absolute")
        .symlink("loop", "loop2")
        .symlink("loop2", "loop")
        .symlink("dangling", "none/here")
}

fn outside() -> TempDir {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    outside
}

#[test]
fn nothing_is_made_outside() {
    let outside = outside();
    let out = outside.path().to_str().unwrap();
    let links = links(outside.path());
    let up = format!("../../../../../..{out}/evil");
    for name in [
        "absolute/evil",
        "up/evil",
        "d/chain/evil",
        "loop/x",
        "dangling/x",
        up.as_str(),
    ] {
        for layer in [
            Tar::default().file(name, b"evil"),
            Tar::default().dir(name),
            Tar::default().symlink(name, "x"),
            Tar::default().link(name, "e"),
        ] {
            let error = refused(&links, &layer);
            assert!(
                matches!(error, LayerError::Escape { .. }),
                "{name}: {error}"
            );
            assert!(
                error
                    .to_string()
                    .contains(&EntryName::new(name).to_string()),
                "{error}"
            );
        }
    }
    // Written to, a link is replaced and its target is not.
    let replacing = Tar::default()
        .file("absolute", b"")
        .file("up", b"")
        .dir("d/chain");
    applied(&[&links, &replacing]);
    assert_eq!(listing(outside.path()), ["secret=secret"]);
}

#[test]
fn nothing_outside_is_found() {
    let outside = outside();
    let links = links(outside.path());
    for name in ["absolute/secret", "d/chain/secret"] {
        let error = refused(&links, &Tar::default().link("stolen", name));
        assert!(matches!(error, LayerError::Malformed { .. }), "{error}");
    }
    for name in [
        "absolute/.wh.secret",
        "absolute/.wh..wh..opq",
        "d/chain/.wh.secret",
    ] {
        applied(&[&links, &Tar::default().file(name, b"")]);
    }
    for name in ["up/secret", "/etc/passwd", "../x"] {
        let error = refused(&links, &Tar::default().link("stolen", name));
        assert!(matches!(error, LayerError::Escape { .. }), "{error}");
    }
    assert_eq!(listing(outside.path()), ["secret=secret"]);
}

#[test]
fn broken_archives_are_refused() {
    let whole = base().end();
    for cut in [
        0,
        100,
        512,
        700,
        1024 + 256,
        whole.len() - 1024,
        whole.len() - 512,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let error = apply(dir.path(), true, &whole[..cut], Duplicates::LastWins).unwrap_err();
        assert!(
            matches!(error, LayerError::Truncated { .. }),
            "{cut}: {error}"
        );
    }
    // Whatever a digest vouches for may lack its end.
    let entries = &whole[..whole.len() - 1024];
    let read = ReadOptions {
        diff_id: Some(Digest::of(entries)),
        ..ReadOptions::default()
    };
    let options = ApplyOptions {
        read,
        ..ApplyOptions::default()
    };
    let dir = tempfile::tempdir().unwrap();
    apply_to(Target::base(dir.path()).unwrap(), &mut &*entries, &options).unwrap();

    let junk = apply(dir.path(), true, &[b'j'; 4096], Duplicates::LastWins).unwrap_err();
    assert!(
        junk.to_string()
            .starts_with("the layer is malformed: it is no tar archive"),
        "{junk}"
    );
    let mut broken = whole;
    broken[1536] ^= 1;
    let error = apply(dir.path(), true, &broken, Duplicates::LastWins)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("the layer is malformed: at byte 1536, after `d/a`"),
        "{error}"
    );
}

#[test]
fn entries_out_of_range_are_refused() {
    let mut device = header(b"dev", b'3', 0, b"");
    device[329..336].copy_from_slice(b"0010000");
    checksum(&mut device);
    let mut owner = header(b"owner", b'0', 0, b"");
    owner[108..116].copy_from_slice(&[0x80, 0, 0, 1, 0, 0, 0, 0]);
    checksum(&mut owner);
    for (layer, reason) in [
        (
            Tar::default().raw(&[&device]),
            "layer entry `dev` is malformed: its device number 4096:0",
        ),
        (
            Tar::default().raw(&[&owner]),
            "layer entry `owner` is malformed: its uid 4294967296",
        ),
        (
            Tar::default().symlink("l", ""),
            "layer entry `l` is malformed: a link without a target",
        ),
        (
            Tar::default().file(".", b""),
            "layer entry `.` is malformed: the root",
        ),
        (
            Tar::default().raw(&[&header(b"v", b'V', 0, b"")]),
            "layer entry `v` of type `V` is not",
        ),
        (
            Tar::default().pax("p", &[("mtime", b"x")], b""),
            "layer entry `p` is malformed: its PAX",
        ),
    ] {
        let error = refused(&base(), &layer).to_string();
        assert!(error.starts_with(reason), "{error}");
    }
}
