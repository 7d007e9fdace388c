//! Opaque directories: what a layer replaced as a whole.

use crate::prelude::*;

pub(super) const CASES: &[Case] = &[Case {
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
}];
