//! Where zfs is known to differ from a plain directory.
//!
//! Seen with OpenZFS 2.3.9 on Linux 6.12. The case runs and must show exactly what is written here.

use cowlab_driver::{Deviation, Impact, Scope};

/// Every declared deviation; the conformance suite checks each of them.
pub(crate) const DEVIATIONS: &[Deviation] = &[
    Deviation {
        case: "copy-up/capability-survives-metadata-change",
        scope: Scope::EVERYWHERE,
        observed: "/dropped: security.capability: expected ENODATA, got \\x01\\x00\\x00\\x02\\x00 \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00",
        because: "ZFS has a write path of its own, which clears set-user-id bits and leaves the capability: so does a plain \
                  directory on ZFS",
        impact: Impact::Isolation,
        see: &[
            "openzfs module/zfs/zfs_vnops.c, zfs_clear_setid_bits_if_necessary",
            "capabilities(7), File capabilities",
        ],
    },
    Deviation {
        case: "runtime/a-changed-base-layer-is-named-and-repaired",
        scope: Scope::EVERYWHERE,
        observed: "base: directory: expected in the driver's data, got none",
        because: "a snapshot is a data set with `mountpoint=legacy`: the host has no directory of it",
        impact: Impact::Cosmetic,
        see: &["zfsprops(7), mountpoint"],
    },
    Deviation {
        case: "seed/06-a-file-put-into-a-base-layer-shows-everywhere",
        scope: Scope::EVERYWHERE,
        observed: "before: directory: expected in the mount data, got none",
        because: "a snapshot is a data set with `mountpoint=legacy`: the host has no directory of it",
        impact: Impact::Cosmetic,
        see: &["zfsprops(7), mountpoint"],
    },
];
