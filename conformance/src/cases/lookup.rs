//! Union lookup and readdir: which layer's entry a name shows.

use crate::prelude::*;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "lookup/upper-file-replaces-lower",
        spec: "A file written in two layers has the content of the newer one.",
        see: &[
            "overlayfs.rst, Upper and Lower",
            "image-spec layer.md, Modifications",
        ],
        catalogue: &["A01", "A02", "A03"],
        impact: Impact::DataLoss,
        layers: &[
            &[write("/both", "old"), write("/lower", "lower")],
            &[write("/both", "new"), write("/upper", "upper")],
        ],
        steps: &[
            reads("/both", "new"),
            reads("/lower", "lower"),
            reads("/upper", "upper"),
            entries("/", "both lower upper"),
        ],
        ..Case::BASE
    },
    Case {
        id: "lookup/three-layers-merge-in-order",
        spec: "A directory of three layers lists each name once, and each name shows the newest layer's entry.",
        see: &["overlayfs.rst, Multiple lower layers"],
        catalogue: &["A04", "A05"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                dir("/d", 0o755),
                write("/d/a", "1"),
                write("/d/b", "1"),
                write("/d/c", "1"),
            ],
            &[write("/d/b", "2"), write("/d/c", "2")],
            &[write("/d/c", "3"), write("/d/e", "3")],
        ],
        steps: &[
            entries("/d", "a b c e"),
            reads("/d/a", "1"),
            reads("/d/b", "2"),
            reads("/d/c", "3"),
        ],
        ..Case::BASE
    },
];
