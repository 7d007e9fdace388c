//! Entries of a layer: their metadata, names and types arrive whole.

use crate::context::Result;
use crate::prelude::*;
use crate::support::store::{apply_entries, names};
use cowlab_tarball::{Entry, record};

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
        store: &[
            store::apply("layer", None, || {
                vec![
                    Entry::file("ns", "x").record("mtime", "1234567890.123456789"),
                    Entry::file("old", "x").record("mtime", "-1000000000.25"),
                    Entry::file("owned", "x").owner(3_000_000, 4_294_967_294),
                    Entry::file("noted", "x").record("SCHILY.xattr.user.note", b"a\0b\n="),
                    Entry::file("able", "x").record("SCHILY.xattr.security.capability", CAPABILITY),
                ]
            }),
            store::viewed(
                "layer",
                &[
                    stat("/ns", Field::ModifyTime).gives("1234567890.123456789"),
                    // A quarter of a second before -1000000000, as seconds and nanoseconds forward.
                    stat("/old", Field::ModifyTime).gives("-1000000001.750000000"),
                    stat("/owned", Field::Owner).gives("3000000:4294967294"),
                    get_xattr("/noted", "user.note").gives("a\\x00b\\x0a="),
                    get_xattr("/able", "security.capability").gives(CAPABILITY_SHOWN),
                ],
            ),
        ],
        ..Case::BASE
    },
    Case {
        id: "entry/long-and-odd-names",
        spec: "Names of 255 bytes, paths beyond a header's 100 and names that are no UTF-8 are applied as they are.",
        see: &["pax(1p), path", "limits.h(0p), NAME_MAX"],
        catalogue: &["N11", "N23", "A22"],
        impact: Impact::DataLoss,
        store: &[
            store::apply("layer", None, || {
                vec![
                    Entry::file("n".repeat(255), "long"),
                    Entry::file(format!("{0}/{0}", "d".repeat(200)), "deep"),
                    Entry::file(b"not \xff utf-8", "odd"),
                ]
            }),
            store::viewed(
                "layer",
                &[
                    reads(NAME_255, "long"),
                    reads(DEEP, "deep"),
                    reads("/not \\xff utf-8", "odd"),
                ],
            ),
        ],
        ..Case::BASE
    },
    Case {
        id: "entry/special-files",
        spec: "Devices and FIFOs of a layer have their types, numbers and modes.",
        see: &["image-spec layer.md, File Types"],
        catalogue: &["N15", "D16"],
        impact: Impact::AppVisible,
        store: &[
            store::apply("layer", None, || {
                vec![
                    Entry::special("null", b'3', 1, 3).mode(0o666),
                    Entry::special("loop", b'4', 7, 300),
                    Entry::special("fifo", b'6', 0, 0).mode(0o640).owner(1, 2),
                ]
            }),
            store::viewed(
                "layer",
                &[
                    is_a("/null", Kind::CharDevice),
                    stat("/null", Field::Device).gives("1:3"),
                    stat("/null", Field::Mode).gives("0666"),
                    is_a("/loop", Kind::BlockDevice),
                    stat("/loop", Field::Device).gives("7:300"),
                    stat("/loop", Field::Mode).gives("0600"),
                    is_a("/fifo", Kind::Fifo),
                    stat("/fifo", Field::Mode).gives("0640"),
                    stat("/fifo", Field::Owner).gives("1:2"),
                ],
            ),
        ],
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
    Case {
        id: "entry/headers-of-every-kind",
        spec: "Prefixes of ustar, long names of GNU tar, long targets of links and global headers are read.",
        see: &[
            "tar(5)",
            "pax(1p), ustar Header Block",
            "containerd pkg/archive tests, PrefixHeaderReadable",
        ],
        catalogue: &["N11"],
        impact: Impact::DataLoss,
        store: &[
            store::apply("layer", None, || {
                let long = format!("{}/long", "g".repeat(150));
                vec![
                    Entry::typed("pax_global_header", b'g', record("comment", b"global")),
                    Entry::file("name", "prefixed").field(345, "in/a/prefix"),
                    Entry::typed("././@LongLink", b'L', format!("{long}\0")),
                    Entry::file(&long[..100], "gnu"),
                    Entry::symlink("s", "t".repeat(300)),
                    Entry::file("target-".repeat(30), "linked"),
                    Entry::link("l", "target-".repeat(30)),
                ]
            }),
            store::viewed(
                "layer",
                &[
                    reads("/in/a/prefix/name", "prefixed"),
                    reads(LONG_OF_GNU, "gnu"),
                    stat("/s", Field::Size).gives("300"),
                    reads("/l", "linked"),
                    stat("/l", Field::LinkCount).gives("2"),
                ],
            ),
        ],
        ..Case::BASE
    },
];

/// `cap_net_raw=ep`, as in the copy-up cases.
const CAPABILITY: &[u8] = &[
    1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// The same as a difference shows it.
const CAPABILITY_SHOWN: &str = "\\x01\\x00\\x00\\x02\\x00 \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00";

/// A path of two names of 200 bytes, longer than a header has room for.
const DEEP: &str = {
    const BYTES: [u8; 402] = {
        let mut bytes = [b'd'; 402];
        bytes[0] = b'/';
        bytes[201] = b'/';
        bytes
    };
    text(&BYTES)
};

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

/// The name that an entry of GNU tar carries in `entry/headers-of-every-kind`.
const LONG_OF_GNU: &str = {
    const BYTES: [u8; 156] = {
        let mut bytes = [b'g'; 156];
        bytes[0] = b'/';
        let end = *b"/long";
        let mut at = 0;
        while at < end.len() {
            bytes[151 + at] = end[at];
            at += 1;
        }
        bytes
    };
    text(&BYTES)
};
