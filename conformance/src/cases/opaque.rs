//! Opaque directories: what a layer replaced as a whole.

use crate::prelude::*;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "opaque/removed-and-recreated-in-two-layers",
        spec: "A directory removed in one layer and made again in the next shows nothing of the first.",
        see: &[
            "moby/buildkit issue 2614",
            "containers/fuse-overlayfs issue 136",
        ],
        catalogue: &["C04", "B03"],
        impact: Impact::Isolation,
        layers: &[
            &[dir("/d", 0o755), write("/d/old", "old")],
            &[remove_tree("/d")],
            &[dir("/d", 0o700), write("/d/new", "new")],
        ],
        steps: &[entries("/d", "new")],
        ..Case::BASE
    },
    Case {
        id: "opaque/recreated-in-one-layer",
        spec: "A directory removed and made again in one layer has the new mode, owner and entries only.",
        see: &[
            "overlayfs.rst, whiteouts and opaque directories",
            "moby/moby issue 25244",
        ],
        catalogue: &["C01", "C03"],
        impact: Impact::Isolation,
        layers: &[
            &[
                dir("/d", 0o777),
                write("/d/old", "old"),
                dir("/d/sub", 0o755),
                write("/d/sub/old", "old"),
                set_xattr("/d", "user.note", b"old"),
            ],
            &[
                remove_tree("/d"),
                dir("/d", 0o700),
                dir("/d/sub", 0o755),
                write("/d/sub/new", "new"),
            ],
        ],
        steps: &[
            entries("/d", "sub"),
            entries("/d/sub", "new"),
            list_xattr("/d").gives(""),
        ],
        ..Case::BASE
    },
    Case {
        id: "opaque/additions-above-are-merged",
        spec: "What later layers put into a directory that was made anew is merged with it, and the old entries stay hidden.",
        see: &["overlayfs.rst, whiteouts and opaque directories"],
        catalogue: &["C01", "A05"],
        impact: Impact::Isolation,
        layers: &[
            &[dir("/d", 0o755), write("/d/a", "1"), write("/d/b", "1")],
            &[remove_tree("/d"), dir("/d", 0o755), write("/d/b", "2")],
            &[write("/d/c", "3")],
        ],
        steps: &[
            entries("/d", "b c"),
            reads("/d/b", "2"),
            write("/d/a", "4").succeeds(),
            reads("/d/a", "4"),
        ],
        ..Case::BASE
    },
    Case {
        id: "opaque/mark-is-not-copied-up",
        spec: "A directory made anew in one layer and merely changed in the next shows what both put into it.",
        see: &["xfstests overlay/014"],
        catalogue: &["C05"],
        impact: Impact::DataLoss,
        layers: &[
            &[dir("/d", 0o755), write("/d/first", "1")],
            &[remove_tree("/d"), dir("/d", 0o755), write("/d/second", "2")],
            &[chmod("/d", 0o750), write("/d/third", "3")],
            &[chmod("/d", 0o700)],
        ],
        steps: &[entries("/d", "second third"), reads("/d/second", "2")],
        ..Case::BASE
    },
    Case {
        id: "opaque/nested-in-a-deleted-tree",
        spec: "A tree removed in one layer and made again with the same names shows only the new files at every depth.",
        see: &["image-spec layer.md, Opaque Whiteout"],
        catalogue: &["C03", "C04"],
        impact: Impact::Isolation,
        layers: &[
            &[
                dir("/a", 0o755),
                dir("/a/b", 0o755),
                dir("/a/b/c", 0o755),
                write("/a/b/c/old", "old"),
            ],
            &[remove_tree("/a")],
            &[
                dir("/a", 0o755),
                dir("/a/b", 0o755),
                dir("/a/b/c", 0o755),
                write("/a/b/c/new", "new"),
            ],
        ],
        steps: &[entries("/a/b/c", "new"), entries("/a", "b")],
        ..Case::BASE
    },
    Case {
        id: "opaque/renamed-over-a-removed-directory",
        spec: "A new directory renamed to the name of a removed one shows nothing of it.",
        see: &[
            "overlayfs.rst, renaming directories",
            "xfstests overlay/006",
        ],
        catalogue: &["C03"],
        impact: Impact::Isolation,
        layers: &[
            &[dir("/d", 0o755), write("/d/old", "old")],
            &[
                remove_tree("/d"),
                dir("/fresh", 0o755),
                write("/fresh/new", "new"),
                rename("/fresh", "/d"),
            ],
        ],
        steps: &[entries("/d", "new"), absent("/fresh")],
        ..Case::BASE
    },
];
