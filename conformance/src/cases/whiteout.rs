//! Whiteouts: what a layer removes stays removed.

use crate::prelude::*;
use crate::support::attributes::ACL;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "whiteout/removed-file-stays-removed",
        spec: "A file removed in a child is absent from it and from its descendants.",
        see: &["overlayfs.rst, whiteouts and opaque directories"],
        catalogue: &["B01", "B02", "B05"],
        impact: Impact::DataLoss,
        layers: &[
            &[write("/kept", "k"), write("/gone", "g")],
            &[remove("/gone")],
            &[write("/later", "l")],
        ],
        steps: &[
            absent("/gone"),
            read("/gone").fails(ENOENT),
            entries("/", "kept later"),
        ],
        ..Case::BASE
    },
    Case {
        id: "whiteout/recreated-directory-is-empty",
        spec: "A directory removed and made again in a child shows nothing of the parent's.",
        see: &["overlayfs.rst, whiteouts and opaque directories"],
        catalogue: &["B10", "C03"],
        impact: Impact::Isolation,
        layers: &[
            &[dir("/lib", 0o755), write("/lib/hidden", "")],
            &[
                remove_tree("/lib"),
                dir("/lib", 0o755),
                write("/lib/new", ""),
            ],
        ],
        ..Case::BASE
    },
    Case {
        id: "whiteout/in-a-middle-layer",
        spec: "A name removed in a middle layer and made again above shows the new file only.",
        see: &[
            "overlayfs.rst, whiteouts and opaque directories",
            "containers/fuse-overlayfs issue 136",
        ],
        catalogue: &["B03", "B15"],
        impact: Impact::DataLoss,
        layers: &[
            &[write("/f", "first"), write("/g", "first")],
            &[remove("/f"), remove("/g")],
            &[write("/f", "third")],
        ],
        steps: &[reads("/f", "third"), absent("/g"), entries("/", "f")],
        ..Case::BASE
    },
    Case {
        id: "whiteout/hides-only-its-own-name",
        spec: "A name removed in one directory stays in its sibling directory.",
        see: &["containers/fuse-overlayfs issue 151"],
        catalogue: &["B04"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                dir("/a", 0o755),
                write("/a/f", "a"),
                dir("/b", 0o755),
                write("/b/f", "b"),
            ],
            &[remove("/a/f")],
        ],
        steps: &[absent("/a/f"), reads("/b/f", "b"), entries("/a", "")],
        ..Case::BASE
    },
    Case {
        id: "whiteout/every-type-can-be-removed",
        spec: "A symbolic link, FIFO, socket, device and directory of the parent can be removed like a file.",
        see: &[
            "unlink(2)",
            "overlayfs.rst, whiteouts and opaque directories",
        ],
        catalogue: &["B01", "D16"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                symlink("x", "/symlink"),
                fifo("/fifo", 0o600),
                socket("/socket", 0o600),
                char_device("/char", 0o600, 1, 3),
                block_device("/block", 0o600, 7, 0),
                dir("/dir", 0o755),
            ],
            &[
                remove("/symlink"),
                remove("/fifo"),
                remove("/socket"),
                remove("/char"),
                remove("/block"),
                remove("/dir"),
            ],
        ],
        steps: &[entries("/", "")],
        ..Case::BASE
    },
    Case {
        id: "whiteout/directory-of-whiteouts-can-be-removed",
        spec: "A directory whose entries were all removed in earlier layers can be removed.",
        see: &["xfstests overlay/010", "xfstests overlay/031", "rmdir(2)"],
        catalogue: &["B14", "G01"],
        impact: Impact::AppVisible,
        layers: &[
            &[dir("/d", 0o755), write("/d/a", "a"), write("/d/b", "b")],
            &[remove("/d/a")],
            &[remove("/d/b")],
        ],
        steps: &[entries("/d", ""), remove_dir("/d").succeeds(), absent("/d")],
        ..Case::BASE
    },
    Case {
        id: "whiteout/file-in-place-has-the-callers-owner",
        spec: "A file made where one was removed belongs to whoever makes it and carries nothing of the old one.",
        see: &["xfstests overlay/008", "open(2), O_CREAT"],
        catalogue: &["B11"],
        impact: Impact::Isolation,
        layers: &[
            &[
                dir("/d", 0o777),
                write("/d/f", "secret"),
                chown("/d/f", 7, 7),
                set_xattr("/d/f", "user.note", b"old"),
            ],
            &[remove("/d/f")],
        ],
        steps: &[
            write("/d/f", "").by(1000).succeeds(),
            stat("/d/f", Field::Owner).gives("1000:1000"),
            list_xattr("/d/f").gives(""),
            reads("/d/f", ""),
        ],
        ..Case::BASE
    },
    Case {
        id: "whiteout/new-directory-in-place-inherits-the-group",
        spec: "A directory made where one was removed, in a setgid directory, takes over group and setgid bit.",
        see: &["xfstests overlay/008", "mkdir(2)"],
        catalogue: &["B11", "B10"],
        impact: Impact::AppVisible,
        layers: &[
            &[
                dir("/d", 0o777),
                chown("/d", 0, 55),
                chmod("/d", 0o2777),
                dir("/d/sub", 0o700),
            ],
            &[remove("/d/sub")],
        ],
        steps: &[
            dir("/d/sub", 0o755).by(1000).succeeds(),
            stat("/d/sub", Field::Owner).gives("1000:55"),
        ],
        ..Case::BASE
    },
    Case {
        id: "whiteout/dotted-wh-name-is-an-ordinary-name",
        spec: "A file named like an AUFS whiteout, made through a mount, is an ordinary file and hides nothing.",
        see: &[
            "image-spec layer.md, Whiteouts",
            "the AUFS documentation, whiteouts",
        ],
        catalogue: &["B09"],
        impact: Impact::DataLoss,
        layers: &[&[write("/target", "alive")]],
        steps: &[
            write("/.wh.target", "").succeeds(),
            reads("/target", "alive"),
            is_a("/.wh.target", Kind::File),
            write("/.wh.other", "").succeeds(),
            remove("/.wh.other").succeeds(),
        ],
        // In the steps, for a layer cannot carry such a name.
        ..Case::BASE
    },
    Case {
        id: "whiteout/device-zero-can-be-made",
        spec: "Root can make a character device with the numbers 0 and 0.",
        see: &[
            "mknod(2)",
            "overlayfs.rst, whiteouts and opaque directories",
        ],
        catalogue: &["B08"],
        impact: Impact::AppVisible,
        layers: &[&[dir("/d", 0o755)]],
        steps: &[
            char_device("/d/zero", 0o600, 0, 0).succeeds(),
            remove("/d/zero").succeeds(),
            char_device("/d/kept", 0o600, 0, 0).succeeds(),
        ],
        ..Case::BASE
    },
    Case {
        id: "whiteout/remove-and-recreate-repeatedly",
        spec: "A name removed and made again three times, as other types, is at last what was made last.",
        see: &["overlayfs.rst, whiteouts and opaque directories"],
        catalogue: &["B02", "B03", "N05"],
        impact: Impact::DataLoss,
        layers: &[
            &[write("/x", "file")],
            &[remove("/x"), dir("/x", 0o755), write("/x/y", "y")],
            &[remove_tree("/x"), symlink("z", "/x")],
            &[remove("/x"), write("/x", "last")],
        ],
        steps: &[reads("/x", "last")],
        ..Case::BASE
    },
    Case {
        id: "whiteout/rename-whiteout-by-the-user",
        spec: "RENAME_WHITEOUT leaves a whiteout behind where the backing file system can make one.",
        see: &["rename(2), RENAME_WHITEOUT"],
        catalogue: &["B18"],
        impact: Impact::Cosmetic,
        needs: &[Need::RenameWhiteout],
        layers: &[&[dir("/d", 0o755), write("/d/f", "f"), write("/d/kept", "k")]],
        steps: &[
            rename_with("/d/f", "/d/g", RenameHow::Whiteout).succeeds(),
            reads("/d/g", "f"),
            remove("/d/f").succeeds(),
            rename_with("/d/kept", "/d/moved", RenameHow::Whiteout).succeeds(),
        ],
        ..Case::BASE
    },
    Case {
        id: "whiteout/file-in-place-takes-over-the-default-acl",
        spec: "A file made where one was removed takes over the default ACL of its directory.",
        see: &[
            "acl(5), Object creation and default ACLs",
            "xfstests overlay/015",
        ],
        catalogue: &["B11"],
        impact: Impact::Isolation,
        needs: &[Need::Acl],
        layers: &[
            &[
                dir("/d", 0o755),
                set_xattr("/d", "system.posix_acl_default", ACL),
                write("/d/f", "old"),
            ],
            &[remove("/d/f")],
        ],
        steps: &[
            write("/d/f", "new").succeeds(),
            get_xattr("/d/f", "system.posix_acl_access").differs_from(""),
        ],
        ..Case::BASE
    },
];
