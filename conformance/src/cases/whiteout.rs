//! Whiteouts: what a layer removes stays removed.

use crate::prelude::*;

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
];
