//! Inode and device numbers: what programs use to tell files apart.

use crate::prelude::*;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "inode/number-survives-copy-up",
        spec: "A file, a directory and a symbolic link of the parent keep their inode numbers when they are changed.",
        see: &["overlayfs.rst, Inode properties", "xfstests overlay/017"],
        catalogue: &["H01"],
        impact: Impact::AppVisible,
        layers: &[&[
            write("/f", "text"),
            dir("/d", 0o755),
            symlink("f", "/s"),
            fifo("/p", 0o600),
        ]],
        steps: &[
            append("/f", "+").succeeds(),
            chmod("/d", 0o700).succeeds(),
            chown("/s", 1, 1).succeeds(),
            chmod("/p", 0o644).succeeds(),
            same_inode("/f"),
            same_inode("/d"),
            same_inode("/s"),
            same_inode("/p"),
        ],
        ..Case::BASE
    },
    Case {
        id: "inode/number-survives-rename",
        spec: "A file of the parent keeps its inode number when it is renamed.",
        see: &["overlayfs.rst, Inode properties", "xfstests overlay/043"],
        catalogue: &["H01"],
        impact: Impact::AppVisible,
        layers: &[&[write("/f", "text")]],
        steps: &[rename("/f", "/g").succeeds(), kept_inode("/f", "/g")],
        ..Case::BASE
    },
    Case {
        id: "inode/one-device-number",
        spec: "Files of every layer, changed files and directories show one device number.",
        see: &[
            "overlayfs.rst, Inode properties",
            "stat(2), st_dev",
            "find(1), -xdev",
        ],
        catalogue: &["H02"],
        impact: Impact::AppVisible,
        layers: &[
            &[
                dir("/d", 0o755),
                write("/d/lower", "l"),
                write("/changed", "c"),
            ],
            &[write("/d/upper", "u")],
        ],
        steps: &[
            append("/changed", "+").succeeds(),
            write("/new", "n").succeeds(),
            call("/", "device numbers", |tree| {
                let mut devices = Vec::new();
                for path in ["/", "/d", "/d/lower", "/d/upper", "/changed", "/new"] {
                    devices.push(tree.stat(path)?.dev);
                }
                devices.sort_unstable();
                devices.dedup();
                Ok(devices.len().to_string())
            })
            .gives("1"),
        ],
        ..Case::BASE
    },
    Case {
        id: "inode/no-two-files-alike",
        spec: "No two files of different layers have the same device and inode number.",
        see: &[
            "overlayfs.rst, Inode properties",
            "xfstests overlay/059",
            "xfstests overlay/067",
        ],
        catalogue: &["H03"],
        impact: Impact::DataLoss,
        layers: &[
            &[write("/a1", "1"), write("/a2", "2"), dir("/d", 0o755)],
            &[write("/b1", "1"), write("/b2", "2"), append("/a2", "+")],
            &[write("/c1", "1"), append("/b2", "+")],
        ],
        steps: &[
            append("/a1", "+").succeeds(),
            write("/n", "n").succeeds(),
            call("/", "files that share their numbers", |tree| {
                let mut seen = Vec::new();
                for path in ["/a1", "/a2", "/b1", "/b2", "/c1", "/n", "/d"] {
                    let stat = tree.stat(path)?;
                    seen.push((stat.dev, stat.ino));
                }
                let all = seen.len();
                seen.sort_unstable();
                seen.dedup();
                Ok((all - seen.len()).to_string())
            })
            .gives("0"),
        ],
        ..Case::BASE
    },
    Case {
        id: "inode/listing-shows-the-same-numbers-as-stat",
        spec: "The inode numbers that a directory lists are those that stat shows, for changed and merged entries too.",
        see: &[
            "overlayfs.rst, Inode properties",
            "xfstests overlay/038",
            "readdir(3), d_ino",
        ],
        catalogue: &["H04", "A16", "A17"],
        impact: Impact::AppVisible,
        layers: &[
            &[
                dir("/d", 0o755),
                write("/d/lower", "l"),
                write("/d/changed", "c"),
                dir("/d/merged", 0o755),
            ],
            &[
                append("/d/changed", "+"),
                write("/d/upper", "u"),
                write("/d/merged/x", "x"),
                write("/d/renamed", "r"),
            ],
            &[rename("/d/renamed", "/d/renamed2"), remove("/d/lower")],
        ],
        ..Case::BASE
    },
    Case {
        id: "inode/link-count-of-a-directory",
        spec: "The link count of a directory is what the backing file system gives a directory with as many subdirectories.",
        see: &["inode(7), st_nlink", "pjdfstest rename/24"],
        catalogue: &["H06"],
        impact: Impact::Cosmetic,
        layers: &[
            &[dir("/d", 0o755), dir("/d/a", 0o755), dir("/d/b", 0o755)],
            &[dir("/d/c", 0o755), remove("/d/a")],
        ],
        steps: &[stat("/d", Field::LinkCount)],
        ..Case::BASE
    },
];
