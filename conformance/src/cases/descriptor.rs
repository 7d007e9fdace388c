//! Open descriptors, mappings and locks that outlive a copy-up.

use std::io::Write;

use cowlab_sys::at::{self, OFlags};

use crate::prelude::*;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "descriptor/reader-sees-later-write",
        spec: "A descriptor opened for reading sees what is written to the file later.",
        see: &[
            "overlayfs.rst, Non-standard behavior",
            "moby/moby issue 13511",
        ],
        catalogue: &["I01"],
        impact: Impact::AppVisible,
        layers: &[&[write("/f", "old")]],
        steps: &[
            open("reader", "/f", Flags::READ),
            append("/f", "new"),
            read_descriptor("reader").gives("oldnew"),
            descriptor_is("reader", "/f").gives("one file"),
            same_inode("/f"),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/view-refuses-writing",
        spec: "Nothing can be changed through a view.",
        see: &["mount(8), ro", "containerd core/snapshots, View"],
        catalogue: &["L01", "M14"],
        impact: Impact::Isolation,
        access: Access::View,
        layers: &[&[
            write("/f", "text"),
            dir("/d", 0o755),
            set_xattr("/f", "user.note", b"n"),
        ]],
        steps: &[
            append("/f", "x").fails(EROFS),
            write("/new", "x").fails(EROFS),
            remove("/f").fails(EROFS),
            rename("/f", "/g").fails(EROFS),
            chmod("/f", 0o600).fails(EROFS),
            chown("/f", 1, 1).fails(EROFS),
            mtime("/f", 1, 0).fails(EROFS),
            truncate("/f", 1).fails(EROFS),
            set_xattr("/f", "user.more", b"m").fails(EROFS),
            remove_xattr("/f", "user.note").fails(EROFS),
            dir("/e", 0o755).fails(EROFS),
            remove_dir("/d").fails(EROFS),
            link("/f", "/g").fails(EROFS),
            symlink("f", "/s").fails(EROFS),
            fifo("/p", 0o600).fails(EROFS),
            reads("/f", "text"),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/mapping-sees-later-write",
        spec: "A shared read-only mapping of a file of the parent sees what is written to the file later.",
        see: &[
            "overlayfs.rst, Non-standard behavior",
            "mmap(2), MAP_SHARED",
            "xfstests overlay/061",
        ],
        catalogue: &["I02"],
        impact: Impact::AppVisible,
        layers: &[&[write("/f", "old!")]],
        steps: &[
            open("reader", "/f", Flags::READ),
            map("mapping", "reader").succeeds(),
            read_map("mapping").gives("old!"),
            write_at("/f", 0, "new!").succeeds(),
            read_map("mapping").gives("new!"),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/removed-file-stays-readable",
        spec: "A file of the parent that is open stays readable and writable after its name is removed.",
        see: &["unlink(2)"],
        catalogue: &["G03"],
        impact: Impact::DataLoss,
        layers: &[&[write("/f", "text")]],
        steps: &[
            open("held", "/f", Flags::READ),
            unlink("/f").succeeds(),
            read_descriptor("held").gives("text"),
            absent("/f"),
            write("/f", "new").succeeds(),
            read_descriptor("held").gives("text"),
            reads("/f", "new"),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/writer-survives-rename-and-removal",
        spec: "What is written through a descriptor after a rename shows under the new name.",
        see: &["rename(2)", "open(2)"],
        catalogue: &["I01", "F01"],
        impact: Impact::DataLoss,
        layers: &[&[write("/f", "text")]],
        steps: &[
            open("writer", "/f", Flags::WRITE.append()),
            rename("/f", "/g").succeeds(),
            write_descriptor("writer", "+").succeeds(),
            reads("/g", "text+"),
            descriptor_is("writer", "/g").gives("one file"),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/flock-conflicts-across-copy-up",
        spec: "An exclusive flock on a file of the parent keeps out one taken after the file was written to.",
        see: &["flock(2)", "xfstests overlay/028"],
        catalogue: &["I04"],
        impact: Impact::DataLoss,
        layers: &[&[write("/f", "text")]],
        steps: &[
            open("before", "/f", Flags::READ),
            lock("before", Lock::FlockExclusive).succeeds(),
            append("/f", "+").succeeds(),
            open("after", "/f", Flags::BOTH),
            lock("after", Lock::FlockExclusive).fails(EAGAIN),
            close("before").succeeds(),
            lock("after", Lock::FlockExclusive).succeeds(),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/record-lock-conflicts-across-copy-up",
        spec: "A record lock on a file of the parent keeps out one taken through another descriptor after a write.",
        see: &["fcntl(2), F_OFD_SETLK"],
        catalogue: &["I04"],
        impact: Impact::DataLoss,
        layers: &[&[write("/f", "text")]],
        steps: &[
            open("first", "/f", Flags::BOTH),
            lock("first", Lock::OfdExclusive).succeeds(),
            append("/f", "+").succeeds(),
            open("second", "/f", Flags::BOTH),
            lock("second", Lock::OfdExclusive).fails(EAGAIN),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/fsync-of-files-of-every-layer",
        spec: "Files of the parent, changed files and directories can be flushed, whatever the descriptor's mode.",
        see: &["fsync(2)", "xfstests overlay/002", "xfstests overlay/087"],
        catalogue: &["I08"],
        impact: Impact::DataLoss,
        layers: &[&[write("/f", "text"), dir("/d", 0o755)]],
        steps: &[
            open("lower", "/f", Flags::READ),
            fsync("lower").succeeds(),
            open("upper", "/f", Flags::WRITE),
            write_descriptor("upper", "T").succeeds(),
            fsync("upper").succeeds(),
            fsync("lower").succeeds(),
            open("directory", "/d", Flags::READ.directory()),
            fsync("directory").succeeds(),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/direct-io-on-a-file-of-the-parent",
        spec: "A file of the parent can be opened with O_DIRECT where the backing file system can.",
        see: &["open(2), O_DIRECT"],
        catalogue: &["I10"],
        impact: Impact::AppVisible,
        needs: &[Need::DirectIo],
        layers: &[&[write_sized("/f", 65_536, 24)]],
        steps: &[
            open("reader", "/f", Flags::READ.direct()).succeeds(),
            open("writer", "/f", Flags::BOTH.direct()).succeeds(),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/truncate-and-chmod-through-a-writer",
        spec: "A descriptor opened for writing on a file of the parent changes size and mode of the file under its name.",
        see: &["ftruncate(2)", "fchmod(2)"],
        catalogue: &["D13", "D02"],
        impact: Impact::DataLoss,
        layers: &[&[write("/f", "0123456789")]],
        steps: &[
            open("writer", "/f", Flags::WRITE),
            truncate_descriptor("writer", 4).succeeds(),
            chmod_descriptor("writer", 0o600).succeeds(),
            reads("/f", "0123"),
            stat("/f", Field::Mode).gives("0600"),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/mode-change-through-a-reader",
        spec: "A change of mode through a descriptor opened for reading shows under the name.",
        see: &["fchmod(2)", "overlayfs.rst, Non-standard behavior"],
        catalogue: &["I01", "D02"],
        impact: Impact::Isolation,
        layers: &[&[write("/f", "text")]],
        steps: &[
            open("reader", "/f", Flags::READ),
            chmod_descriptor("reader", 0o600).succeeds(),
            stat("/f", Field::Mode).gives("0600"),
            read_descriptor("reader").gives("text"),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/access-time-of-a-file-of-the-parent",
        spec: "Reading a file of the parent whose access time is older than its modification time updates the access time.",
        see: &["mount(8), relatime", "overlayfs.rst, Non-standard behavior"],
        catalogue: &["I12"],
        impact: Impact::Cosmetic,
        layers: &[&[write("/f", "text"), mtime("/f", 1_000_000_000, 0)]],
        steps: &[
            reads("/f", "text"),
            call("/f", "access time", |tree| {
                let stat = tree.stat("/f")?;
                let old = stat.atime.sec == 1_000_000_000;
                Ok(if old { "as before the read" } else { "updated" }.to_owned())
            })
            .gives("updated"),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/removed-file-by-proc",
        spec: "A file of the parent that is open and has no name any more is read and written by /proc/PID/fd.",
        see: &["proc_pid_fd(5)", "unlink(2)"],
        catalogue: &["G03"],
        impact: Impact::DataLoss,
        layers: &[&[write("/f", "text")]],
        steps: &[
            call("/f", "content by /proc", |tree| {
                let held = tree.open_file("/f", OFlags::RDWR, 0)?;
                tree.unlink("/f")?;
                let path = at::descriptor_path(&held);
                std::fs::OpenOptions::new()
                    .append(true)
                    .open(&path)?
                    .write_all(b"+")?;
                Ok(std::fs::read_to_string(path)?)
            })
            .gives("text+"),
            absent("/f"),
        ],
        ..Case::BASE
    },
];
