//! Copy-up: a change in a child leaves the parent as it was and loses nothing of the file.

use std::io::Write;
use std::thread;

use cowlab_sys::at::{self, OFlags};
use cowlab_sys::stat::{BLOCK, Time};

use crate::prelude::*;
use crate::support::attributes::{ACL, ACL_FOR_ALL, CAPABILITY};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "copy-up/chmod-keeps-everything-else",
        spec: "A change of mode in a child keeps content, owner, time and extended attributes.",
        see: &["overlayfs.rst, Non-directories", "chmod(2)"],
        catalogue: &["D02", "D03", "D04", "D06"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                write_sized("/f", 200_000, 1),
                chown("/f", 3_000_000, 3_000_001),
                set_xattr("/f", "user.note", b"kept"),
                mtime("/f", 1_000_000_000, 123_456_789),
            ],
            &[chmod("/f", 0o600)],
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/write-clears-setuid",
        spec: "A write by an ordinary user to a setuid file of the parent clears the bit.",
        see: &["write(2), NOTES", "chmod(2)"],
        catalogue: &["D09"],
        impact: Impact::Isolation,
        layers: &[&[write("/tool", "x"), chmod("/tool", 0o4777)]],
        steps: &[
            append("/tool", "y").by(1000).succeeds(),
            stat("/tool", Field::Mode).gives("0777"),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/holes-stay-holes",
        spec: "A change of mode in a child leaves the holes of a sparse file holes.",
        see: &["lseek(2), Seeking file data and holes"],
        catalogue: &["D11", "D21"],
        impact: Impact::Performance,
        needs: &[Need::Holes],
        layers: &[
            &[sparse("/image", 64 << 20, &[range(32 << 20, 4096)])],
            &[chmod("/image", 0o600)],
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/append-changes-only-the-child",
        spec: "An append in a child extends the parent's content and leaves a hole-free file of the right size.",
        see: &["overlayfs.rst, Non-directories"],
        catalogue: &["D01", "D10"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                write_sized("/empty", 0, 1),
                write_sized("/one", 1, 2),
                write_sized("/page", 4096, 3),
                write_sized("/odd", 1_000_003, 4),
            ],
            &[
                append("/empty", "+"),
                append("/one", "+"),
                append("/page", "+"),
                append("/odd", "+"),
            ],
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/one-byte-in-a-large-file",
        spec: "One byte written into the middle of a file of 8 MiB leaves every other byte as it was.",
        see: &[
            "overlayfs.rst, Non-directories",
            "docs.docker.com, overlayfs-driver, copy_up",
        ],
        catalogue: &["D01", "D10", "S03"],
        impact: Impact::DataLoss,
        layers: &[
            &[write_sized("/big", 8 << 20, 5)],
            &[write_at("/big", 4_194_305, "!")],
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/truncate-shorter-longer-and-to-nothing",
        spec: "A file of the parent can be cut, extended and emptied in a child.",
        see: &["truncate(2)"],
        catalogue: &["D13"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                write_sized("/cut", 10_000, 6),
                write_sized("/grow", 10_000, 7),
                write_sized("/void", 10_000, 8),
            ],
            &[
                truncate("/cut", 5_001),
                truncate("/grow", 20_000),
                truncate("/void", 0),
            ],
        ],
        steps: &[
            stat("/cut", Field::Size).gives("5001"),
            stat("/grow", Field::Size).gives("20000"),
            reads("/void", ""),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/open-flags-on-a-file-of-the-parent",
        spec: "O_APPEND, O_TRUNC, O_CREAT and O_RDWR do to a file of the parent what they do to any file.",
        see: &["open(2)"],
        catalogue: &["D12"],
        impact: Impact::DataLoss,
        layers: &[&[
            write("/a", "text"),
            write("/t", "text"),
            write("/c", "text"),
            write("/n", "text"),
            write("/w", "text"),
        ]],
        steps: &[
            open("a", "/a", Flags::WRITE.append()).succeeds(),
            write_descriptor("a", "+").succeeds(),
            reads("/a", "text+"),
            open("t", "/t", Flags::WRITE.truncate()).succeeds(),
            reads("/t", ""),
            open("c", "/c", Flags::BOTH.create()).succeeds(),
            write_descriptor("c", "T").succeeds(),
            reads("/c", "Text"),
            open("n", "/n", Flags::READ.create()).succeeds(),
            reads("/n", "text"),
            open("w", "/w", Flags::WRITE.create().truncate()).succeeds(),
            write_descriptor("w", "new").succeeds(),
            reads("/w", "new"),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/open-for-writing-changes-nothing",
        spec: "A file of the parent opened for writing and closed again is unchanged, its time included.",
        see: &["open(2)", "overlayfs.rst, Non-directories"],
        catalogue: &["D01", "D04"],
        impact: Impact::AppVisible,
        layers: &[&[
            write_sized("/f", 70_000, 9),
            mtime("/f", 1_234_567_890, 987_654_321),
        ]],
        steps: &[
            open("w", "/f", Flags::WRITE).succeeds(),
            close("w").succeeds(),
            stat("/f", Field::ModifyTime).gives("1234567890.987654321"),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/owner-change-keeps-the-rest",
        spec: "A change of owner in a child keeps content, time and extended attributes, and clears setuid and setgid.",
        see: &["chown(2)", "moby/moby issue 20240"],
        catalogue: &["D02", "D03", "D09"],
        impact: Impact::Isolation,
        layers: &[
            &[
                write_sized("/f", 10_000, 10),
                set_xattr("/f", "user.note", b"kept"),
                chmod("/f", 0o6755),
                mtime("/f", 1_111_111_111, 1),
            ],
            &[chown("/f", 1001, 1002)],
        ],
        steps: &[stat("/f", Field::Mode).gives("0755")],
        ..Case::BASE
    },
    Case {
        id: "copy-up/setuid-setgid-and-sticky-survive",
        spec: "Setuid, setgid and sticky bits of the parent survive a change of time in a child.",
        see: &["chmod(2)", "inode(7)"],
        catalogue: &["D09"],
        impact: Impact::Isolation,
        layers: &[
            &[
                write("/suid", "x"),
                chmod("/suid", 0o4755),
                write("/sgid", "x"),
                chmod("/sgid", 0o2755),
                dir("/tmp", 0o1777),
                dir("/group", 0o2775),
            ],
            &[
                mtime("/suid", 1, 1),
                mtime("/sgid", 1, 1),
                mtime("/tmp", 1, 1),
                mtime("/group", 1, 1),
            ],
        ],
        steps: &[
            stat("/suid", Field::Mode).gives("4755"),
            stat("/sgid", Field::Mode).gives("2755"),
            stat("/tmp", Field::Mode).gives("1777"),
            stat("/group", Field::Mode).gives("2775"),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/times-to-the-nanosecond",
        spec: "Times of the parent are kept to the nanosecond by a change of mode, before 1970 and after 2038 too.",
        see: &["utimensat(2)", "inode(7)"],
        catalogue: &["D04", "N17"],
        impact: Impact::AppVisible,
        needs: &[Need::TimesBefore1970, Need::TimesAfter2038],
        layers: &[
            &[
                write("/old", "x"),
                mtime("/old", -1_000_000_000, 999_999_999),
                write("/epoch", "x"),
                mtime("/epoch", 0, 0),
                write("/late", "x"),
                mtime("/late", 5_000_000_000, 1),
                dir("/d", 0o755),
                mtime("/d", -5, 500_000_000),
            ],
            &[
                chmod("/old", 0o600),
                chmod("/epoch", 0o600),
                chmod("/late", 0o600),
                chmod("/d", 0o700),
            ],
        ],
        steps: &[
            stat("/epoch", Field::ModifyTime).gives("0.000000000"),
            stat("/old", Field::AccessTime).gives("-1000000000.999999999"),
            stat("/late", Field::AccessTime).gives("5000000000.000000001"),
            stat("/late", Field::ModifyTime).gives("5000000000.000000001"),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/parent-directory-keeps-its-time",
        spec: "A write to a file of the parent leaves the time of the directory it lies in.",
        see: &["utimensat(2)", "the AUFS documentation, copy-up"],
        catalogue: &["D05"],
        impact: Impact::AppVisible,
        layers: &[
            &[
                dir("/d", 0o755),
                dir("/d/e", 0o755),
                write("/d/e/f", "old"),
                mtime("/d/e", 1_000_000_001, 5),
                mtime("/d", 1_000_000_002, 6),
            ],
            &[append("/d/e/f", "new")],
        ],
        steps: &[stat("/d/e", Field::ModifyTime).gives("1000000001.000000005")],
        ..Case::BASE
    },
    Case {
        id: "copy-up/large-xattr-is-kept",
        spec: "An extended attribute of 3000 bytes of the parent survives a write in a child.",
        see: &["xattr(7)"],
        catalogue: &["D06"],
        impact: Impact::DataLoss,
        needs: &[Need::XattrSize(3000)],
        layers: &[
            &[write("/f", "x"), set_xattr_sized("/f", "user.large", 3000)],
            &[append("/f", "y")],
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/acl-is-kept",
        spec: "Access and default ACLs of the parent survive a change in a child, and new files inherit the default one.",
        see: &["acl(5)", "xfstests overlay/023"],
        catalogue: &["D07"],
        impact: Impact::Isolation,
        needs: &[Need::Acl],
        layers: &[
            &[
                write("/f", "x"),
                set_xattr("/f", "system.posix_acl_access", ACL),
                dir("/d", 0o755),
                set_xattr("/d", "system.posix_acl_default", ACL),
            ],
            &[append("/f", "y"), write("/d/new", "n"), chown("/d", 5, 5)],
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/default-acl-takes-the-place-of-the-umask",
        spec: "A file made in a directory of the parent with a default ACL has what its maker asks for and the ACL grants, whatever the umask.",
        see: &["acl(5), Object creation and default ACLs", "umask(2)"],
        catalogue: &["D07"],
        impact: Impact::Isolation,
        needs: &[Need::Acl],
        layers: &[&[
            dir("/d", 0o755),
            set_xattr("/d", "system.posix_acl_default", ACL_FOR_ALL),
        ]],
        steps: &[
            call("/d/new", "make with mode 0666", |tree| {
                let flags = OFlags::WRONLY | OFlags::CREATE;
                tree.open_file("/d/new", flags, 0o666)
                    .map(|_| String::new())
            })
            .succeeds(),
            stat("/d/new", Field::Mode).gives("0666"),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/allocated-blocks-show",
        spec: "Space that is allocated to a file of the parent shows in its count of blocks.",
        see: &["fallocate(2)", "stat(2), st_blocks"],
        catalogue: &["D14"],
        impact: Impact::Performance,
        layers: &[&[write("/f", "text")]],
        steps: &[
            fallocate("/f", FallocateHow::Allocate, 0, 1 << 20),
            stat("/f", Field::Size),
            call("/f", "a megabyte is allocated", |tree| {
                let blocks = tree.stat("/f")?.blocks;
                Ok((blocks * BLOCK >= 1 << 20).to_string())
            }),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/capability-survives-metadata-change",
        spec: "The file capability of a program of the parent survives a change of time and is dropped by a write.",
        see: &["capabilities(7), File capabilities", "xfstests overlay/064"],
        catalogue: &["D08", "N13"],
        impact: Impact::Isolation,
        layers: &[
            &[
                write("/kept", "x"),
                set_xattr("/kept", "security.capability", CAPABILITY),
                write("/dropped", "x"),
                set_xattr("/dropped", "security.capability", CAPABILITY),
            ],
            &[mtime("/kept", 1, 0), append("/dropped", "y")],
        ],
        steps: &[
            list_xattr("/kept").gives("security.capability"),
            get_xattr("/dropped", "security.capability").fails(ENODATA),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/symlink-keeps-target-and-time",
        spec: "A symbolic link of the parent keeps target and time when its owner changes.",
        see: &["lchown(2)", "xfstests overlay/082"],
        catalogue: &["D15"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                symlink("../a/target that is not there", "/s"),
                mtime("/s", 1_000_000_000, 77),
            ],
            &[chown("/s", 11, 12)],
        ],
        steps: &[
            read_link("/s").gives("../a/target that is not there"),
            stat("/s", Field::ModifyTime).gives("1000000000.000000077"),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/special-files-can-be-changed",
        spec: "Mode and owner of a FIFO, a socket and devices of the parent can be changed, and their numbers stay.",
        see: &[
            "mknod(2)",
            "the gVisor overlay tests, FIFO and socket copy-up",
        ],
        catalogue: &["D16", "I13"],
        impact: Impact::AppVisible,
        layers: &[
            &[
                fifo("/fifo", 0o600),
                socket("/socket", 0o600),
                char_device("/char", 0o600, 1, 3),
                block_device("/block", 0o600, 259, 200_000),
            ],
            &[
                chmod("/fifo", 0o644),
                chown("/socket", 9, 9),
                chmod("/char", 0o666),
                chown("/block", 0, 6),
            ],
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/deep-parents-keep-owner-and-mode",
        spec: "A change deep in a tree leaves owner, mode, time and attributes of every directory on the way.",
        see: &["containerd pkg/archive tests, ParentDirectoryPermission"],
        catalogue: &["D17"],
        impact: Impact::Isolation,
        layers: &[
            &[
                dir("/a", 0o711),
                chown("/a", 1, 2),
                dir("/a/b", 0o750),
                chown("/a/b", 3, 4),
                set_xattr("/a/b", "user.note", b"b"),
                dir("/a/b/c", 0o1777),
                dir("/a/b/c/d", 0o700),
                write("/a/b/c/d/f", "x"),
                mtime("/a/b/c", 1_000_000_000, 3),
                mtime("/a/b", 1_000_000_000, 2),
                mtime("/a", 1_000_000_000, 1),
            ],
            &[append("/a/b/c/d/f", "y")],
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/holes-can-be-punched",
        spec: "A hole can be punched into a file of the parent.",
        see: &["fallocate(2), FALLOC_FL_PUNCH_HOLE"],
        catalogue: &["D14"],
        impact: Impact::DataLoss,
        needs: &[Need::PunchHole],
        layers: &[
            &[write_sized("/punch", 1 << 20, 12)],
            &[punch_hole("/punch", 65_536, 131_072)],
        ],
        steps: &[stat("/punch", Field::Size).gives("1048576")],
        ..Case::BASE
    },
    Case {
        id: "copy-up/reflink-within-the-union",
        spec: "A file of the parent can be cloned by FICLONE where the backing file system has reflinks.",
        see: &["ioctl_ficlone(2)"],
        catalogue: &["D25"],
        impact: Impact::Performance,
        needs: &[Need::Reflink],
        layers: &[&[write_sized("/f", 1 << 20, 13)]],
        steps: &[
            clone_file("/f", "/g").succeeds(),
            append("/g", "+").succeeds(),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/copy-file-range-across-layers",
        spec: "A file of the parent can be copied inside the kernel.",
        see: &["copy_file_range(2)"],
        catalogue: &["D25", "I15"],
        impact: Impact::DataLoss,
        layers: &[&[write_sized("/f", 300_000, 14)]],
        steps: &[copy_range("/f", "/g").succeeds()],
        ..Case::BASE
    },
    Case {
        id: "copy-up/refused-change-leaves-the-file",
        spec: "An ordinary user's refused write, truncation and change of mode leave the parent's file as it was.",
        see: &["path_resolution(7)", "unionmount-testsuite, impermissible"],
        catalogue: &["J01"],
        impact: Impact::Isolation,
        layers: &[&[write("/f", "text"), mtime("/f", 1_000_000_000, 9)]],
        steps: &[
            append("/f", "x").by(1000).fails(EACCES),
            truncate("/f", 0).by(1000).fails(EACCES),
            chmod("/f", 0o777).by(1000).fails(EPERM),
            mtime("/f", 5, 5).by(1000).fails(EPERM),
            reads("/f", "text"),
            stat("/f", Field::ModifyTime).gives("1000000000.000000009"),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/immutable-file-is-refused",
        spec: "An immutable file of the parent refuses a write and a removal.",
        see: &["ioctl_iflags(2), FS_IMMUTABLE_FL", "xfstests overlay/075"],
        catalogue: &["D22"],
        impact: Impact::Isolation,
        needs: &[Need::InodeFlags],
        placement: Placement::Own,
        layers: &[&[write("/f", "text")]],
        steps: &[
            immutable("/f", true).succeeds(),
            append("/f", "x").fails(EPERM),
            remove("/f").fails(EPERM),
            immutable("/f", false).succeeds(),
            append("/f", "x").succeeds(),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/nameless-file-gets-a-name",
        spec: "A file made without a name can be given one in a directory of the parent.",
        see: &["open(2), O_TMPFILE", "linkat(2)"],
        catalogue: &["I11"],
        impact: Impact::AppVisible,
        needs: &[Need::TmpFile],
        layers: &[&[dir("/d", 0o755), write("/d/f", "f")]],
        steps: &[
            tmp_file("/d", "/d/new", "text").succeeds(),
            reads("/d/new", "text"),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/access-time-is-kept",
        spec: "A change of mode in a child keeps the access time, to the nanosecond.",
        see: &["inode(7), st_atime", "utimensat(2)"],
        catalogue: &["D04"],
        impact: Impact::AppVisible,
        needs: &[Need::TimesAfter2038],
        layers: &[
            // An access time in the future is left alone by whoever reads the file (mount(8), relatime).
            &[
                write("/f", "f"),
                call("/f", "times", |tree| {
                    let atime = Time {
                        sec: 4_000_000_000,
                        nsec: 123_456_789,
                    };
                    let mtime = Time {
                        sec: 1_000_000_000,
                        nsec: 1,
                    };
                    let (dir, name) = tree.parent("/f")?;
                    at::set_times(dir, name, atime, mtime)?;
                    Ok("set".to_owned())
                }),
            ],
            &[chmod("/f", 0o600)],
        ],
        steps: &[
            stat("/f", Field::AccessTime).gives("4000000000.123456789"),
            append("/f", "+").succeeds(),
            stat("/f", Field::AccessTime).gives("4000000000.123456789"),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/space-can-be-allocated",
        spec: "Space of a file of the parent can be allocated with and without a new size, and a range be zeroed, where the backing file system can.",
        see: &["fallocate(2)"],
        catalogue: &["D14"],
        impact: Impact::AppVisible,
        layers: &[&[
            write_sized("/grown", 10_000, 71),
            write_sized("/kept", 10_000, 72),
            write_sized("/zeroed", 16_384, 73),
        ]],
        steps: &[
            fallocate("/grown", FallocateHow::Allocate, 0, 20_000),
            fallocate("/kept", FallocateHow::KeepSize, 0, 100_000),
            fallocate("/zeroed", FallocateHow::ZeroRange, 4096, 4096),
            stat("/grown", Field::Size),
            stat("/kept", Field::Size).gives("10000"),
            read("/grown"),
            read("/kept"),
            read("/zeroed"),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/many-at-once",
        spec: "Eight threads that each append to one file of the parent at the same time lose nothing.",
        see: &["open(2), O_APPEND", "xfstests overlay/021"],
        catalogue: &["D18"],
        impact: Impact::DataLoss,
        layers: &[&[write_sized("/f", 1 << 20, 74)]],
        steps: &[
            call("/f", "appended", |tree| {
                let flags = OFlags::WRONLY | OFlags::APPEND;
                let append = || -> Result<(), Code> {
                    let mut file = tree.open_file("/f", flags, 0)?;
                    Ok(file.write_all(b"x")?)
                };
                let done: Result<Vec<()>, Code> = thread::scope(|scope| {
                    let threads: Vec<_> = (0..8).map(|_| scope.spawn(append)).collect();
                    let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
                    joined.map(|done| done.unwrap_or(Err(EIO))).collect()
                });
                Ok(done?.len().to_string())
            })
            .gives("8"),
            stat("/f", Field::Size).gives("1048584"),
            read("/f"),
        ],
        ..Case::BASE
    },
];
