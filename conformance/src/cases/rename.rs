//! Rename: of files and directories of the parent.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cowlab_sys::at::{OFlags, RenameFlags};
use cowlab_sys::cmd::Cmd;

use crate::prelude::*;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "rename/directory-of-the-parent",
        spec: "A directory of the parent can be renamed.",
        see: &[
            "overlayfs.rst, renaming directories",
            "moby/moby issue 25409",
        ],
        catalogue: &["F03", "F08"],
        impact: Impact::AppVisible,
        layers: &[&[dir("/d", 0o755), write("/d/f", "f")]],
        steps: &[
            rename("/d", "/e").succeeds(),
            reads("/e/f", "f"),
            absent("/d"),
        ],
        ..Case::BASE
    },
    Case {
        id: "rename/file-of-the-parent",
        spec: "A file of the parent renamed in a child has the new name only.",
        see: &["rename(2)"],
        catalogue: &["F01"],
        impact: Impact::DataLoss,
        layers: &[&[write("/old", "text")], &[rename("/old", "/new")]],
        steps: &[entries("/", "new"), reads("/new", "text")],
        ..Case::BASE
    },
    Case {
        id: "rename/over-a-file-of-the-parent",
        spec: "A rename over a file of the parent replaces it, and over itself changes nothing.",
        see: &["rename(2)"],
        catalogue: &["F02"],
        impact: Impact::DataLoss,
        layers: &[
            &[write("/a", "a"), write("/b", "b"), write("/c", "c")],
            &[rename("/a", "/b"), write("/new", "n"), rename("/new", "/c")],
        ],
        steps: &[
            absent("/a"),
            reads("/b", "a"),
            reads("/c", "n"),
            rename("/b", "/b").succeeds(),
            reads("/b", "a"),
        ],
        ..Case::BASE
    },
    Case {
        id: "rename/back-to-the-old-name",
        spec: "A file of the parent renamed away in one layer and back in the next is there under its old name.",
        see: &[
            "rename(2)",
            "overlayfs.rst, whiteouts and opaque directories",
        ],
        catalogue: &["F01", "F05", "B15"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                write("/a", "a"),
                chown("/a", 5, 5),
                mtime("/a", 1_000_000_000, 5),
            ],
            &[rename("/a", "/b")],
            &[rename("/b", "/a")],
        ],
        steps: &[entries("/", "a")],
        ..Case::BASE
    },
    Case {
        id: "rename/chain-of-files",
        spec: "Files of the parent renamed in a ring end each under its neighbor's name.",
        see: &["unionmount-testsuite, rename-mass"],
        catalogue: &["F05"],
        impact: Impact::DataLoss,
        layers: &[
            &[write("/a", "1"), write("/b", "2"), write("/c", "3")],
            &[
                rename("/a", "/t"),
                rename("/c", "/a"),
                rename("/b", "/c"),
                rename("/t", "/b"),
            ],
        ],
        steps: &[
            reads("/a", "3"),
            reads("/b", "1"),
            reads("/c", "2"),
            entries("/", "a b c"),
        ],
        ..Case::BASE
    },
    Case {
        id: "rename/new-directory",
        spec: "A directory made in a child can be renamed, empty or populated, within and across directories of the parent.",
        see: &["rename(2)", "unionmount-testsuite, rename-new"],
        catalogue: &["F04"],
        impact: Impact::AppVisible,
        layers: &[
            &[dir("/p", 0o755), write("/p/f", "f")],
            &[
                dir("/empty", 0o755),
                rename("/empty", "/empty2"),
                dir("/full", 0o750),
                write("/full/x", "x"),
                rename("/full", "/p/full"),
            ],
        ],
        steps: &[entries("/", "empty2 p"), reads("/p/full/x", "x")],
        ..Case::BASE
    },
    Case {
        id: "rename/new-directory-over-an-empty-one-of-the-parent",
        spec: "A new directory renamed over an empty directory of the parent takes its place.",
        see: &["rename(2)"],
        catalogue: &["F04", "F02"],
        impact: Impact::DataLoss,
        layers: &[
            &[dir("/d", 0o700)],
            &[
                dir("/new", 0o755),
                write("/new/x", "x"),
                rename("/new", "/d"),
            ],
        ],
        steps: &[
            entries("/", "d"),
            entries("/d", "x"),
            stat("/d", Field::Mode).gives("0755"),
        ],
        ..Case::BASE
    },
    Case {
        id: "rename/refused-by-posix",
        spec: "A rename into its own child, over a full directory or between file and directory is refused and changes nothing.",
        see: &["rename(2), EINVAL, ENOTEMPTY, EISDIR, ENOTDIR"],
        catalogue: &["F07"],
        impact: Impact::AppVisible,
        layers: &[&[
            dir("/full", 0o755),
            write("/full/x", "x"),
            dir("/other", 0o755),
            dir("/other/sub", 0o755),
            write("/f", "f"),
        ]],
        steps: &[
            dir("/new", 0o755),
            rename("/new", "/new/below").fails(EINVAL),
            // ENOTEMPTY or EEXIST, as POSIX leaves open: what the backing file system gives.
            rename("/new", "/full"),
            rename("/f", "/new").fails(EISDIR),
            rename("/new", "/f").fails(ENOTDIR),
            rename("/none", "/g").fails(ENOENT),
            entries("/", "f full new other"),
        ],
        ..Case::BASE
    },
    Case {
        id: "rename/no-replace",
        spec: "RENAME_NOREPLACE fails for a name of the parent and works for a free one.",
        see: &["rename(2), RENAME_NOREPLACE"],
        catalogue: &["F06"],
        impact: Impact::DataLoss,
        layers: &[&[write("/a", "a"), write("/b", "b")]],
        steps: &[
            rename_with("/a", "/b", RenameHow::NoReplace).fails(EEXIST),
            rename_with("/a", "/c", RenameHow::NoReplace).succeeds(),
            reads("/b", "b"),
            reads("/c", "a"),
        ],
        ..Case::BASE
    },
    Case {
        id: "rename/exchange-files",
        spec: "RENAME_EXCHANGE swaps two files of the parent.",
        see: &["rename(2), RENAME_EXCHANGE"],
        catalogue: &["F06"],
        impact: Impact::DataLoss,
        needs: &[Need::RenameExchange],
        layers: &[&[write("/a", "a"), dir("/d", 0o755), write("/d/b", "b")]],
        steps: &[
            rename_with("/a", "/d/b", RenameHow::Exchange).succeeds(),
            reads("/a", "b"),
            reads("/d/b", "a"),
        ],
        ..Case::BASE
    },
    Case {
        id: "rename/exchange-directories",
        spec: "RENAME_EXCHANGE swaps two directories of the parent.",
        see: &[
            "rename(2), RENAME_EXCHANGE",
            "overlayfs.rst, renaming directories",
        ],
        catalogue: &["F06", "F03"],
        impact: Impact::AppVisible,
        needs: &[Need::RenameExchange],
        layers: &[&[
            dir("/a", 0o755),
            write("/a/1", "1"),
            dir("/b", 0o755),
            write("/b/2", "2"),
            mtime("/a", 1_000_000_000, 1),
            mtime("/b", 1_000_000_000, 2),
        ]],
        steps: &[
            rename_with("/a", "/b", RenameHow::Exchange).succeeds(),
            entries("/a", "2"),
            entries("/b", "1"),
        ],
        ..Case::BASE
    },
    Case {
        id: "rename/sticky-directory",
        spec: "In a sticky directory of the parent an ordinary user cannot rename or remove another's file.",
        see: &["rename(2), EPERM", "unlink(2), EPERM"],
        catalogue: &["F11", "J05"],
        impact: Impact::Isolation,
        layers: &[&[
            dir("/tmp", 0o1777),
            write("/tmp/theirs", "t"),
            chown("/tmp/theirs", 2000, 2000),
            write("/tmp/mine", "m"),
            chown("/tmp/mine", 1000, 1000),
        ]],
        steps: &[
            rename("/tmp/theirs", "/tmp/stolen").by(1000).fails(EPERM),
            rename("/tmp/mine", "/tmp/theirs").by(1000).fails(EPERM),
            unlink("/tmp/theirs").by(1000).fails(EPERM),
            rename("/tmp/mine", "/tmp/kept").by(1000).succeeds(),
            entries("/tmp", "kept theirs"),
        ],
        ..Case::BASE
    },
    Case {
        id: "rename/across-directories-keeps-everything",
        spec: "A file of the parent moved to another directory keeps content, owner, time, attributes and inode.",
        see: &["rename(2)", "overlayfs.rst, Inode properties"],
        catalogue: &["F01", "H01"],
        impact: Impact::DataLoss,
        layers: &[&[
            dir("/from", 0o755),
            dir("/to", 0o755),
            write_sized("/from/f", 30_000, 23),
            chown("/from/f", 5, 6),
            set_xattr("/from/f", "user.note", b"kept"),
            mtime("/from/f", 1_000_000_000, 8),
        ]],
        steps: &[
            rename("/from/f", "/to/g").succeeds(),
            kept_inode("/from/f", "/to/g"),
            entries("/from", ""),
        ],
        ..Case::BASE
    },
    Case {
        id: "rename/special-files-and-symlinks",
        spec: "Symbolic links, FIFOs and devices of the parent can be renamed.",
        see: &["rename(2)", "unionmount-testsuite, rename-file of symlinks"],
        catalogue: &["F01", "D16"],
        impact: Impact::AppVisible,
        layers: &[
            &[
                symlink("x", "/s"),
                fifo("/p", 0o600),
                char_device("/c", 0o600, 1, 5),
            ],
            &[
                rename("/s", "/s2"),
                rename("/p", "/p2"),
                rename("/c", "/c2"),
            ],
        ],
        steps: &[entries("/", "c2 p2 s2")],
        ..Case::BASE
    },
    Case {
        id: "rename/readers-see-one-file-or-the-other",
        spec: "A name that a new file is renamed to again and again is there at every moment.",
        see: &["rename(2)"],
        catalogue: &["F10"],
        impact: Impact::DataLoss,
        layers: &[&[write("/f", "0")]],
        steps: &[call("/f", "rename under readers", rename_under_readers).gives("always there")],
        ..Case::BASE
    },
    Case {
        id: "rename/merged-directory",
        spec: "A directory that two layers have something in can be renamed, into another directory too.",
        see: &[
            "overlayfs.rst, renaming directories",
            "unionmount-testsuite, rename-pop-dir",
        ],
        catalogue: &["F03", "F04"],
        impact: Impact::AppVisible,
        layers: &[
            &[dir("/d", 0o755), write("/d/lower", "l"), dir("/to", 0o755)],
            &[write("/d/upper", "u")],
        ],
        steps: &[
            rename("/d", "/to/e").succeeds(),
            entries("/to/e", "lower upper"),
            absent("/d"),
        ],
        ..Case::BASE
    },
    Case {
        id: "rename/empty-directory-of-the-parent",
        spec: "An empty directory of the parent can be renamed.",
        see: &[
            "overlayfs.rst, renaming directories",
            "unionmount-testsuite, rename-empty-dir",
        ],
        catalogue: &["F04"],
        impact: Impact::AppVisible,
        layers: &[&[dir("/d", 0o711)]],
        steps: &[
            rename("/d", "/e").succeeds(),
            stat("/e", Field::Mode).gives("0711"),
        ],
        ..Case::BASE
    },
    Case {
        id: "rename/new-directory-across-directories",
        spec: "A new directory with content can be moved from one directory of the parent into another.",
        see: &["rename(2)", "unionmount-testsuite, rename-new-dir"],
        catalogue: &["F04"],
        impact: Impact::DataLoss,
        layers: &[&[dir("/from", 0o755), dir("/to", 0o755), write("/to/f", "f")]],
        steps: &[
            dir("/from/new", 0o750).succeeds(),
            write("/from/new/inside", "i").succeeds(),
            rename("/from/new", "/to/moved").succeeds(),
            reads("/to/moved/inside", "i"),
            entries("/from", ""),
            entries("/to", "f moved"),
        ],
        ..Case::BASE
    },
    Case {
        id: "rename/into-a-new-directory-and-removed-there",
        spec: "A file of the parent that was moved into a new directory and removed there leaves that directory empty.",
        see: &["rmdir(2)", "xfstests overlay/006"],
        catalogue: &["F09"],
        impact: Impact::DataLoss,
        layers: &[&[write("/f", "f"), write("/kept", "k")]],
        steps: &[
            dir("/new", 0o755).succeeds(),
            rename("/f", "/new/f").succeeds(),
            unlink("/new/f").succeeds(),
            entries("/new", ""),
            remove_dir("/new").succeeds(),
            entries("/", "kept"),
        ],
        ..Case::BASE
    },
    Case {
        id: "rename/mv-moves-a-directory",
        spec: "A directory of the parent that mv(1) moves has all that it had, whether it was renamed or copied.",
        see: &["mv(1)", "rename(2), EXDEV"],
        catalogue: &["F12"],
        impact: Impact::DataLoss,
        // Of coreutils, whose mv(1) copies attributes and nanoseconds; busybox's does not.
        needs: &[Need::Program("chcon")],
        layers: &[&[
            dir("/d", 0o2750),
            chown("/d", 5, 6),
            write("/d/a", "a"),
            chown("/d/a", 7, 8),
            chmod("/d/a", 0o4755),
            set_xattr("/d/a", "user.note", b"n"),
            mtime("/d/a", 1_000_000_000, 123_456_789),
            link("/d/a", "/d/b"),
            symlink("a", "/d/s"),
            fifo("/d/p", 0o620),
            dir("/d/sub", 0o700),
            mtime("/d/sub", 1_000_000_001, 5),
            mtime("/d", 1_000_000_002, 6),
        ]],
        steps: &[
            call("/d", "mv", |tree| {
                let paths = [tree.path().join("d"), tree.path().join("e")];
                let moved = Cmd::new("mv").args(paths).run();
                Ok(moved.map_or_else(|error| error.to_string(), |()| "moved".to_owned()))
            })
            .gives("moved"),
            absent("/d"),
            same_file("/e/a", "/e/b"),
        ],
        ..Case::BASE
    },
];

fn rename_under_readers(tree: &Tree) -> crate::tree::Result<String> {
    const RENAMES: usize = 200;
    let (ends, missing) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                if tree.open_file("/f", OFlags::RDONLY, 0).is_err() {
                    missing.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let rename = || {
            for _ in 0..RENAMES {
                tree.write("/new", b"1")?;
                tree.rename("/new", "/f", RenameFlags::empty())?;
            }
            Ok(())
        };
        let renamed: crate::tree::Result<()> = rename();
        ends.store(true, Ordering::Relaxed);
        renamed
    })?;
    Ok(match missing.into_inner() {
        0 => "always there".to_owned(),
        _ => "missing at times".to_owned(),
    })
}
