//! Layers that are broken or malicious: each is refused with an error that names the entry, and
//! nothing outside the tree is read or written.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::apply::{ApplyOptions, Duplicates, Target, apply_to};
use crate::crafted::{Tar, applied, apply, checksum, header, listing, refused};
use crate::error::LayerError;
use crate::stream::ReadOptions;
use crate::{Digest, EntryName};

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

/// A header whose field at `at` is this number in base 256: two's complement, the first bit set.
fn base_256(kind: u8, at: usize, field: [u8; 12]) -> Tar {
    let mut bytes = header(b"n", kind, 0, b"");
    if kind == b'S' {
        bytes[257..265].copy_from_slice(b"ustar  \0");
    }
    bytes[at..at + 12].copy_from_slice(&field);
    checksum(&mut bytes);
    Tar::default().raw(&[&bytes])
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
            let layer = base_256(kind, 124, field).file("f", b"");
            let error = refused(&base(), &layer).to_string();
            assert!(
                error.contains("`n` is malformed: its size"),
                "{}: {error}",
                char::from(kind)
            );
        }
        for at in [386, 398, 470, 483] {
            let error = refused(&base(), &base_256(b'S', at, field)).to_string();
            assert!(
                error.contains("its sparse map in base 256"),
                "{at}: {error}"
            );
        }
    }
    for field in [wide, large] {
        let error = refused(&base(), &base_256(b'0', 136, field)).to_string();
        assert!(error.contains("its time in base 256"), "{error}");
    }
    // A time may be negative, and a size of 8 GiB and more is in base 256.
    applied(&[&base_256(b'0', 136, negative)]);
    applied(&[&base_256(
        b'0',
        124,
        [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    )]);
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
            &Tar::default().pax("p", &[(key, value.as_bytes())], b""),
        );
        let text = error.to_string();
        assert!(
            text.starts_with("layer entry `p` is malformed: its"),
            "{key} {value}: {text}"
        );
    }
    let map: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"0"),
        ("GNU.sparse.minor", b"1"),
        ("GNU.sparse.map", b"0,18446744073709551615,1,1"),
        ("GNU.sparse.size", b"18446744073709551615"),
    ];
    let error = refused(&base(), &Tar::default().pax("p", &map, b"")).to_string();
    assert!(
        error.contains("its size 18446744073709551615 is out of range"),
        "{error}"
    );
}
