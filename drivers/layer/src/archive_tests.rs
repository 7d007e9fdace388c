//! What archives hold besides plain entries: sparse files in four formats, sizes that mean nothing.

use std::fs;

use crate::crafted::{Tar, applied, checksum, header, listing, padded, refused};

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
fn oldest() -> Tar {
    let pairs = MAP.map(|(offset, length)| [offset.to_string(), length.to_string()]);
    let mut records: Vec<(&str, &[u8])> = vec![("GNU.sparse.size", b"200000")];
    for [offset, length] in &pairs {
        records.push(("GNU.sparse.offset", offset.as_bytes()));
        records.push(("GNU.sparse.numbytes", length.as_bytes()));
    }
    Tar::default().pax("file", &records, &data())
}

/// PAX 0.1: one record, and the name in another.
fn older() -> Tar {
    let pairs = MAP
        .map(|(offset, length)| format!("{offset},{length}"))
        .join(",");
    let records: [(&str, &[u8]); 3] = [
        ("GNU.sparse.size", b"200000"),
        ("GNU.sparse.name", b"file"),
        ("GNU.sparse.map", pairs.as_bytes()),
    ];
    Tar::default().pax("hidden", &records, &data())
}

/// PAX 1.0: the map before the data.
fn newest() -> Tar {
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"file"),
        ("GNU.sparse.realsize", b"200000"),
    ];
    let lines = MAP
        .map(|(offset, length)| format!("{offset}\n{length}\n"))
        .concat();
    let map = padded(format!("{}\n{lines}", MAP.len()).as_bytes());
    Tar::default().pax("hidden", &records, &[map, data()].concat())
}

/// GNU's own type `S`, with one pair in a block of its own.
fn gnu() -> Tar {
    let data = data();
    let mut bytes = header(b"file", b'S', u64::try_from(data.len()).unwrap(), b"");
    bytes[257..265].copy_from_slice(b"ustar  \0");
    bytes[345..].fill(0);
    let mut extension = [0; 512];
    let pair = |(offset, length): (u64, usize)| format!("{offset:011o} {length:011o} ");
    for (index, entry) in MAP[..2].iter().enumerate() {
        bytes[386 + index * 24..410 + index * 24].copy_from_slice(pair(*entry).as_bytes());
    }
    extension[..24].copy_from_slice(pair(MAP[2]).as_bytes());
    bytes[482] = 1;
    bytes[483..495].copy_from_slice(format!("{SIZE:011o} ").as_bytes());
    checksum(&mut bytes);
    Tar::default().raw(&[&bytes, &extension, &padded(&data)])
}

#[test]
fn sparse_files_come_in_four_formats() {
    for layer in [oldest(), older(), newest(), gnu()] {
        let dir = applied(&[&layer.file("after", b"after")]);
        assert!(fs::read(dir.path().join("file")).unwrap() == expected());
        assert_eq!(fs::read(dir.path().join("after")).unwrap(), b"after");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}

#[test]
fn sparse_maps_are_in_order_and_within_the_file() {
    for bad in ["5,2,4,2", "0,9,3,1", "199999,2", "18446744073709551615,2"] {
        let records: [(&str, &[u8]); 2] = [
            ("GNU.sparse.size", b"200000"),
            ("GNU.sparse.map", bad.as_bytes()),
        ];
        let error = refused(&Tar::default(), &Tar::default().pax("f", &records, b""));
        assert!(error.to_string().contains("sparse map"), "{error}");
    }
}

#[test]
fn only_files_have_content() {
    // Some tools give a symbolic link the size of its target, and a directory one of their own.
    let layer = Tar::default()
        .raw(&[&header(b"l", b'2', 6, b"target")])
        .raw(&[&header(b"n", b'5', 4096, b"")])
        .raw(&[&header(b"old-directory/", b'0', 0, b"")])
        .raw(&[&header(b"g", b'g', 16, b""), &padded(b"16 comment=abcd\n")])
        .file("after", b"after");
    let expected = ["after=after", "l -> target", "n/", "old-directory/"];
    assert_eq!(listing(applied(&[&layer]).path()), expected);
}
