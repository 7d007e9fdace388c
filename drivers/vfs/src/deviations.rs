//! Where vfs is known to differ from a plain directory.

use cowlab_driver::{Deviation, Impact, Scope, projects};

/// Where a copy of a file is a copy of its data.
const WITHOUT_REFLINK: Scope = Scope {
    backings: &["ext4", "tmpfs", "xfs-noreflink"],
    ..Scope::EVERYWHERE
};

/// Every declared deviation; the conformance suite checks each of them.
pub(crate) const DEVIATIONS: &[Deviation] = &[
    Deviation {
        case: "usage/child-does-not-count-its-parent",
        scope: WITHOUT_REFLINK,
        observed: "child: MiB on a parent of 16 MiB: expected 0, got 16",
        because: "every snapshot is a full copy",
        impact: Impact::Performance,
        see: &["docs.docker.com, vfs-driver"],
    },
    Deviation {
        case: "seed/04-the-image-is-stored-once",
        scope: WITHOUT_REFLINK,
        observed: "image: times stored: expected 1, got 11",
        because: "every snapshot is a full copy",
        impact: Impact::Performance,
        see: &["docs.docker.com, vfs-driver"],
    },
    Deviation {
        case: "seed/06-a-file-put-into-a-base-layer-shows-everywhere",
        scope: Scope::EVERYWHERE,
        observed: "before: names: expected f put, got f",
        because: "a snapshot is a copy of its parent as it was, and nothing leads back to it",
        impact: Impact::Cosmetic,
        see: &["docs.docker.com, vfs-driver"],
    },
    Deviation {
        case: "diff/unchanged-files-are-not-read",
        scope: WITHOUT_REFLINK,
        observed: "child: MiB read of a parent of 8 MiB, mounted: expected 0, got 16",
        because: "a copy has inodes and times of its own, so only content tells what is the same",
        impact: Impact::Performance,
        see: &["docs.docker.com, vfs-driver"],
    },
    projects::NO_LIMIT,
    projects::NO_LIMIT_OF_A_RUN,
    Deviation {
        case: "inode/fs-verity-holds-in-a-child",
        scope: Scope::EVERYWHERE,
        observed: "/f: open for writing: expected EPERM, got ok",
        because: "a copy has the content of a protected file and not the protection",
        impact: Impact::Isolation,
        see: &["Documentation/filesystems/fsverity.rst, Accessing verity files"],
    },
];
