//! Where btrfs is known to differ from a plain directory.

use cowlab_driver::{Deviation, Impact, Scope};

/// Every declared deviation; the conformance suite checks each of them.
pub(crate) const DEVIATIONS: &[Deviation] = &[
    Deviation {
        case: "seed/06-a-file-put-into-a-base-layer-shows-everywhere",
        scope: Scope::EVERYWHERE,
        observed: "base: put a file: expected ok, got EROFS",
        because: "the subvolume of a committed snapshot is read-only, for root too",
        impact: Impact::Cosmetic,
        see: &["btrfs-subvolume(8), snapshot -r", "btrfs-property(8), ro"],
    },
    Deviation {
        case: "runtime/a-changed-base-layer-is-named-and-repaired",
        scope: Scope::EVERYWHERE,
        observed: "base: put a file: expected ok, got EROFS",
        because: "the subvolume of a committed snapshot is read-only, for root too",
        impact: Impact::Cosmetic,
        see: &["btrfs-subvolume(8), snapshot -r", "btrfs-property(8), ro"],
    },
];
