//! Entries of a layer: their metadata, names and types arrive whole.

use crate::context::Result;
use crate::prelude::*;
use crate::support::store::{apply_entries, names, read_text};
use cowlab_tarball::Entry;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "entry/pax-metadata",
        spec: "Nanosecond times, times before 1970, owners over 2^21, attributes and capabilities of pax headers are applied.",
        see: &[
            "pax(1p), pax Extended Header",
            "image-spec layer.md, File Attributes",
        ],
        catalogue: &["N11", "N13", "N17"],
        impact: Impact::Isolation,
        needs: &[Need::TimesBefore1970],
        run: Some(pax_metadata),
        ..Case::BASE
    },
    Case {
        id: "entry/long-and-odd-names",
        spec: "Names of 255 bytes, paths beyond a header's 100 and names that are no UTF-8 are applied as they are.",
        see: &["pax(1p), path", "limits.h(0p), NAME_MAX"],
        catalogue: &["N11", "N23", "A22"],
        impact: Impact::DataLoss,
        run: Some(long_and_odd_names),
        ..Case::BASE
    },
    Case {
        id: "entry/special-files",
        spec: "Devices and FIFOs of a layer have their types, numbers and modes.",
        see: &["image-spec layer.md, File Types"],
        catalogue: &["N15", "D16"],
        impact: Impact::AppVisible,
        run: Some(special_files),
        ..Case::BASE
    },
    Case {
        id: "entry/sparse-file",
        spec: "A sparse file of a layer has the content of its map, zeros elsewhere and no more space than it needs.",
        see: &[
            "tar(5), GNU tar pax archives",
            "image-spec layer.md, Sparse Files",
        ],
        catalogue: &["N14"],
        impact: Impact::DataLoss,
        run: Some(sparse_file),
        ..Case::BASE
    },
];

fn pax_metadata(context: &mut Context) -> Result<()> {
    let entries = [
        Entry::file("ns", "x").record("mtime", "1234567890.123456789"),
        Entry::file("old", "x").record("mtime", "-1000000000.25"),
        Entry::file("owned", "x").owner(3_000_000, 4_294_967_294),
        Entry::file("noted", "x").record("SCHILY.xattr.user.note", b"a\0b\n="),
        Entry::file("able", "x").record("SCHILY.xattr.security.capability", CAPABILITY),
    ];
    apply_entries(context, "layer", None, &entries)?;
    context.with_view("layer", |dir| {
        let tree = Tree::open(dir)?;
        let time = |path: &str| -> Result<String> {
            let mtime = stat_of(&tree, path)?.mtime;
            Ok(format!("{}.{:09}", mtime.sec, mtime.nsec))
        };
        expect(
            "/ns",
            "time",
            "1234567890.123456789".to_owned(),
            time("/ns")?,
        )?;
        // A quarter of a second before -1000000000, as seconds and nanoseconds forward.
        expect(
            "/old",
            "time",
            "-1000000001.750000000".to_owned(),
            time("/old")?,
        )?;
        let owned = stat_of(&tree, "/owned")?;
        expect(
            "/owned",
            "owner",
            "3000000:4294967294".to_owned(),
            format!("{}:{}", owned.uid, owned.gid),
        )?;
        for (path, name, value) in [
            ("/noted", "user.note", b"a\0b\n=".as_slice()),
            ("/able", "security.capability", CAPABILITY),
        ] {
            let found = tree
                .xattr(path, name)
                .map_err(|code| Difference::new(path, name, "there", code))?;
            expect(path, name, format!("{value:?}"), format!("{found:?}"))?;
        }
        Ok(())
    })
}

fn stat_of(tree: &Tree, path: &str) -> Result<cowlab_sys::stat::Stat> {
    tree.stat(path)
        .map_err(|code| Difference::new(path, "stat", "ok", code))
}

fn long_and_odd_names(context: &mut Context) -> Result<()> {
    let long = "n".repeat(255);
    let deep = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let entries = [
        Entry::file(&long, "long"),
        Entry::file(&deep, "deep"),
        Entry::file(b"not \xff utf-8", "odd"),
    ];
    apply_entries(context, "layer", None, &entries)?;
    context.with_view("layer", |dir| {
        let tree = Tree::open(dir)?;
        for (path, content) in [
            (long.as_str(), "long"),
            (deep.as_str(), "deep"),
            ("not \\xff utf-8", "odd"),
        ] {
            expect(
                content,
                "content",
                content.to_owned(),
                read_text(&tree, &format!("/{path}"))?,
            )?;
        }
        Ok(())
    })
}

/// `cap_net_raw=ep`, as in the copy-up cases.
const CAPABILITY: &[u8] = &[
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

fn special_files(context: &mut Context) -> Result<()> {
    let entries = [
        Entry::special("null", b'3', 1, 3).mode(0o666),
        Entry::special("loop", b'4', 7, 300),
        Entry::special("fifo", b'6', 0, 0).mode(0o640).owner(1, 2),
    ];
    apply_entries(context, "layer", None, &entries)?;
    context.with_view("layer", |dir| {
        let tree = Tree::open(dir)?;
        let expected = [
            ("/null", "20666 1:3 0:0"),
            ("/loop", "60600 7:300 0:0"),
            ("/fifo", "10640 0:0 1:2"),
        ];
        for (path, expected) in expected {
            let stat = tree
                .stat(path)
                .map_err(|code| Difference::new(path, "stat", "ok", code))?;
            let (major, minor) = (
                cowlab_sys::stat::major(stat.rdev),
                cowlab_sys::stat::minor(stat.rdev),
            );
            let found = format!("{:o} {major}:{minor} {}:{}", stat.mode, stat.uid, stat.gid);
            expect(
                path,
                "type, mode, device and owner",
                expected.to_owned(),
                found,
            )?;
        }
        Ok(())
    })
}

fn sparse_file(context: &mut Context) -> Result<()> {
    // GNU.sparse 1.0: the map (count, then offset and length of each piece) fills the first block of the data.
    let mut content = b"1\n8388608\n4\n".to_vec();
    content.resize(512, 0);
    content.extend_from_slice(b"data");
    let entry = Entry::file("GNUSparseFile.0/image", content)
        .record("GNU.sparse.major", "1")
        .record("GNU.sparse.minor", "0")
        .record("GNU.sparse.name", "image")
        .record("GNU.sparse.realsize", "16777216");
    apply_entries(context, "layer", None, &[entry])?;
    context.with_view("layer", |dir| {
        let tree = Tree::open(dir)?;
        expect(
            "/",
            "names",
            "image".to_owned(),
            names(&tree, "/")?.join(" "),
        )?;
        let bytes = tree
            .read("/image")
            .map_err(|code| Difference::new("/image", "read", "ok", code))?;
        expect("/image", "size", 16 << 20, bytes.len())?;
        let data = bytes.iter().position(|byte| *byte != 0);
        expect(
            "/image",
            "first data",
            "Some(8388608)".to_owned(),
            format!("{data:?}"),
        )?;
        let blocks = tree
            .stat("/image")
            .map_err(|code| Difference::new("/image", "stat", "ok", code))?
            .blocks;
        expect("/image", "sparse", true, blocks < 4096)
    })
}
