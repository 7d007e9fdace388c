//! Rename: of files and directories of the parent.

use crate::prelude::*;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "rename/directory-of-the-parent",
        spec: "A directory of the parent can be renamed.",
        see: &[
            "overlayfs.rst, renaming directories",
            "moby/moby issue 25409",
        ],
        catalogue: &["F03"],
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
];
