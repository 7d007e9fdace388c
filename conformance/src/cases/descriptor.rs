//! Open descriptors, mappings and locks that outlive a copy-up.

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
        layers: &[&[write("/f", "text"), dir("/d", 0o755)]],
        steps: &[
            append("/f", "x").fails(EROFS),
            write("/new", "x").fails(EROFS),
            remove("/f").fails(EROFS),
            rename("/f", "/g").fails(EROFS),
            chmod("/f", 0o600).fails(EROFS),
            reads("/f", "text"),
        ],
        ..Case::BASE
    },
];
