//! What archives hold besides plain entries: sparse files in four formats, sizes that mean nothing.

use std::fs;

use cowlab_tarball::{Entry, record};

use crate::fixture::{applied, listing, refused};

/// The size of the sparse file of these tests.
const SIZE: usize = 200_000;
/// Its data: offsets and lengths, the last one empty at the end of the file as GNU tar has it.
const MAP: [(u64, usize); 3] = [(1000, 3), (70_000, 600), (200_000, 0)];

fn data() -> Vec<u8> {
    [&b"one"[..], &[7; 600]].concat()
}

fn expected() -> Vec<u8> {
    let (mut file, mut data) = (vec![0; SIZE], &data()[..]);
    for (offset, length) in MAP {
        let offset = usize::try_from(offset).unwrap();
        let (piece, rest) = data.split_at(length);
        file[offset..offset + length].copy_from_slice(piece);
        data = rest;
    }
    file
}

/// PAX 0.0: a pair of records for each piece.
fn oldest() -> Entry {
    let file = Entry::file("file", data()).record("GNU.sparse.size", "200000");
    MAP.iter().fold(file, |file, (offset, length)| {
        file.record("GNU.sparse.offset", offset.to_string())
            .record("GNU.sparse.numbytes", length.to_string())
    })
}

/// PAX 0.1: one record, and the name in another.
fn older() -> Entry {
    let pairs = MAP.map(|(offset, length)| format!("{offset},{length}"));
    Entry::file("hidden", data())
        .record("GNU.sparse.size", "200000")
        .record("GNU.sparse.name", "file")
        .record("GNU.sparse.map", pairs.join(","))
}

/// PAX 1.0: the map before the data.
fn newest() -> Entry {
    let lines = MAP.map(|(offset, length)| format!("{offset}\n{length}\n"));
    let mut content = format!("{}\n{}", MAP.len(), lines.concat()).into_bytes();
    content.resize(512, 0);
    content.extend(data());
    Entry::file("hidden", content)
        .record("GNU.sparse.major", "1")
        .record("GNU.sparse.minor", "0")
        .record("GNU.sparse.name", "file")
        .record("GNU.sparse.realsize", "200000")
}

/// GNU's own type `S`, with one pair in a block of its own.
fn gnu() -> Entry {
    let pair = |(offset, length): (u64, usize)| format!("{offset:011o} {length:011o} ");
    let mut content = pair(MAP[2]).into_bytes();
    content.resize(512, 0);
    content.extend(data());
    Entry::typed("file", b'S', content)
        .size(data().len() as u64)
        .field(257, b"ustar  \0")
        .field(386, pair(MAP[0]))
        .field(410, pair(MAP[1]))
        .field(482, [1])
        .field(483, format!("{SIZE:011o} "))
}

#[test]
fn sparse_files_come_in_four_formats() {
    for layer in [oldest(), older(), newest(), gnu()] {
        let dir = applied(&[&[layer, Entry::file("after", b"after")]]);
        assert!(fs::read(dir.path().join("file")).unwrap() == expected());
        assert_eq!(fs::read(dir.path().join("after")).unwrap(), b"after");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}

#[test]
fn sparse_maps_are_in_order_and_within_the_file() {
    for bad in ["5,2,4,2", "0,9,3,1", "199999,2", "18446744073709551615,2"] {
        let entry = Entry::file("f", "")
            .record("GNU.sparse.size", "200000")
            .record("GNU.sparse.map", bad);
        let error = refused(&[], &[entry]);
        assert!(error.to_string().contains("sparse map"), "{error}");
    }
}

#[test]
fn only_files_have_content() {
    // Some tools give a symbolic link the size of its target, and a directory one of their own.
    let layer = [
        Entry::symlink("l", "target").size(6),
        Entry::dir("n").size(4096),
        Entry::file("old-directory/", ""),
        Entry::typed("g", b'g', record("comment", b"abcd")),
        Entry::file("after", b"after"),
    ];
    let expected = ["after=after", "l -> target", "n/", "old-directory/"];
    assert_eq!(listing(applied(&[&layer]).path()), expected);
}

/// The bytes of a value are no numbers of a header, wherever they lie.
#[test]
fn records_may_have_any_bytes() {
    for size in [40, 200, 3000] {
        let entry = Entry::file("file", "text").record("comment", vec![0xff; size]);
        assert_eq!(listing(applied(&[&[entry]]).path()), ["file=text"]);
    }
}
