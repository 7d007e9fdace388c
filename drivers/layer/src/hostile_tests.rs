//! Layers that are broken or malicious: each is refused with an error that names the entry, and
//! nothing outside the tree is read or written.

use std::fs;
use std::path::Path;

use cowlab_tarball::Entry;
use tempfile::TempDir;

use crate::apply::{ApplyOptions, Duplicates, Target, apply_to};
use crate::error::LayerError;
use crate::fixture::{applied, apply, archive_of, listing, refused};
use crate::stream::ReadOptions;
use crate::{Digest, EntryName};

fn base() -> Vec<Entry> {
    vec![
        Entry::dir("d/"),
        Entry::file("d/a", b"a"),
        Entry::file("e", b"e"),
    ]
}

/// A tree full of links that lead to `outside`, or nowhere.
fn links(outside: &Path) -> Vec<Entry> {
    let out = outside.to_str().unwrap();
    [
        base(),
        vec![
            Entry::symlink("absolute", out),
            Entry::symlink("up", format!("../../../../../../..{out}")),
            Entry::symlink("d/chain", "../absolute"),
            Entry::symlink("loop", "loop2"),
            Entry::symlink("loop2", "loop"),
            Entry::symlink("dangling", "none/here"),
        ],
    ]
    .concat()
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
            vec![Entry::file(name, b"evil")],
            vec![Entry::dir(name)],
            vec![Entry::symlink(name, "x")],
            vec![Entry::link(name, "e")],
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
    let replacing = vec![
        Entry::file("absolute", b""),
        Entry::file("up", b""),
        Entry::dir("d/chain"),
    ];
    applied(&[&links, &replacing]);
    assert_eq!(listing(outside.path()), ["secret=secret"]);
}

#[test]
fn nothing_outside_is_found() {
    let outside = outside();
    let links = links(outside.path());
    for name in ["absolute/secret", "d/chain/secret"] {
        let error = refused(&links, &[Entry::link("stolen", name)]);
        assert!(matches!(error, LayerError::Malformed { .. }), "{error}");
    }
    for name in [
        "absolute/.wh.secret",
        "absolute/.wh..wh..opq",
        "d/chain/.wh.secret",
    ] {
        applied(&[&links, &[Entry::file(name, b"")]]);
    }
    for name in ["up/secret", "/etc/passwd", "../x"] {
        let error = refused(&links, &[Entry::link("stolen", name)]);
        assert!(matches!(error, LayerError::Escape { .. }), "{error}");
    }
    assert_eq!(listing(outside.path()), ["secret=secret"]);
}

#[test]
fn broken_archives_are_refused() {
    let whole = archive_of(&base());
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
    let owner = Entry::file("owner", "").field(108, [0x80, 0, 0, 1, 0, 0, 0, 0]);
    for (entry, reason) in [
        (
            Entry::special("dev", b'3', 4096, 0),
            "layer entry `dev` is malformed: its device number 4096:0",
        ),
        (
            owner,
            "layer entry `owner` is malformed: its uid 4294967296",
        ),
        (
            Entry::symlink("l", ""),
            "layer entry `l` is malformed: a link without a target",
        ),
        (
            Entry::file(".", b""),
            "layer entry `.` is malformed: the root",
        ),
        (
            Entry::typed("v", b'V', ""),
            "layer entry `v` of type `V` is not",
        ),
        (
            Entry::file("p", b"").record("mtime", b"x"),
            "layer entry `p` is malformed: its PAX",
        ),
    ] {
        let error = refused(&base(), &[entry]).to_string();
        assert!(error.starts_with(reason), "{error}");
    }
}

/// A header whose field at `at` is this number in base 256: two's complement, the first bit set.
fn base_256(kind: u8, at: usize, field: [u8; 12]) -> Entry {
    let entry = Entry::typed("n", kind, "").field(at, field);
    match kind {
        b'S' => entry.field(257, b"ustar  \0"),
        _ => entry,
    }
}

#[test]
fn base_256_numbers_beyond_64_bits_are_refused() {
    // 2^64 and 2^64 + 5, of which the lower 64 bits are a size that a file can have; 2^63; -1.
    let wide = [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let wider = [0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
    let large = [0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0];
    let negative = [0xff; 12];
    for field in [wide, wider, large, negative] {
        for kind in *b"05xg" {
            let layer = [base_256(kind, 124, field), Entry::file("f", "")];
            let error = refused(&base(), &layer).to_string();
            assert!(
                error.contains("`n` is malformed: its size"),
                "{}: {error}",
                char::from(kind)
            );
        }
        for at in [386, 398, 470, 483] {
            let error = refused(&base(), &[base_256(b'S', at, field)]).to_string();
            assert!(
                error.contains("its sparse map in base 256"),
                "{at}: {error}"
            );
        }
    }
    for field in [wide, large] {
        let error = refused(&base(), &[base_256(b'0', 136, field)]).to_string();
        assert!(error.contains("its time in base 256"), "{error}");
    }
    // A time may be negative, and a size of 8 GiB and more is in base 256.
    applied(&[&[base_256(b'0', 136, negative)]]);
    let large = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    applied(&[&[base_256(b'0', 124, large)]]);
}

#[test]
fn sizes_that_no_file_has_are_refused() {
    for (key, value) in [
        ("size", "18446744073709551616"),
        ("size", "18446744073709551615"),
        ("size", "9223372036854775808"),
        ("size", "-1"),
        ("uid", "4294967296"),
        ("gid", "18446744073709551616"),
        ("mtime", "9223372036854775808"),
        ("GNU.sparse.offset", "18446744073709551616"),
        ("GNU.sparse.numbytes", "-5"),
        ("GNU.sparse.realsize", "18446744073709551616"),
    ] {
        let error = refused(
            &base(),
            &[Entry::file("p", b"").record(key, value.as_bytes())],
        );
        let text = error.to_string();
        assert!(
            text.starts_with("layer entry `p` is malformed: its"),
            "{key} {value}: {text}"
        );
    }
    let entry = Entry::file("p", "")
        .record("GNU.sparse.major", "0")
        .record("GNU.sparse.minor", "1")
        .record("GNU.sparse.map", "0,18446744073709551615,1,1")
        .record("GNU.sparse.size", "18446744073709551615");
    let error = refused(&base(), &[entry]).to_string();
    assert!(
        error.contains("its size 18446744073709551615 is out of range"),
        "{error}"
    );
}
