//! Where devicemapper-thin is known to differ from a plain directory.
//!
//! Seen on Linux 6.12. The case runs and must show exactly what is written here.

use cowlab_driver::{Deviation, Impact, Scope};

const ON_EXT4: Scope = Scope {
    backings: &["thin+ext4"],
    ..Scope::EVERYWHERE
};

const ON_XFS: Scope = Scope {
    backings: &["thin+xfs"],
    ..Scope::EVERYWHERE
};

/// A read-write mount of XFS writes over up to 2 MiB of the log ahead of its head, and a snapshot shares its log with its
/// parent until then.
const LOG: &str = "a mount clears 2 MiB of the log, which the snapshot had from its parent";
const LOG_SOURCE: &[&str] = &["fs/xfs/xfs_log_recover.c, xlog_clear_stale_blocks"];

const THIN: &[&str] = &["Documentation/admin-guide/device-mapper/thin-provisioning.rst"];

/// Every declared deviation; the conformance suite checks each of them.
pub(crate) const DEVIATIONS: &[Deviation] = &[
    Deviation {
        case: "mount/statfs-is-the-backings",
        scope: Scope::EVERYWHERE,
        observed: "/: free space is the backing's: expected true, got false",
        because: "a snapshot is a file system of its own, and thinly provisioned: the pool can be full before it is",
        impact: Impact::AppVisible,
        see: THIN,
    },
    Deviation {
        case: "refusal/full-file-system",
        scope: Scope::EVERYWHERE,
        observed: "key: commit after a refused write: expected committed, got damaged",
        because: "the pool refuses what the page cache took already, so more may be missing than the writer was told of",
        impact: Impact::AppVisible,
        see: THIN,
    },
    Deviation {
        case: "usage/grows-with-content",
        scope: ON_XFS,
        observed: "key: MiB with 4 MiB: expected 4, got 6",
        because: LOG,
        impact: Impact::Performance,
        see: LOG_SOURCE,
    },
    Deviation {
        case: "usage/holes-and-links-count-once",
        scope: ON_XFS,
        observed: "layer: MiB of 4 MiB under three names and a hole: expected 4, got 6",
        because: LOG,
        impact: Impact::Performance,
        see: LOG_SOURCE,
    },
    Deviation {
        case: "usage/size-limit-is-enforced",
        scope: Scope::EVERYWHERE,
        observed: "key: size limit: expected enforced, got unsupported",
        because: "all snapshots of a store have the size of one setting, their parents' content included",
        impact: Impact::Isolation,
        see: &["docs.docker.com, device mapper storage driver, dm.basesize"],
    },
    Deviation {
        case: "runtime/a-size-limit-holds",
        scope: Scope::EVERYWHERE,
        observed: "--storage-opt size: limit: expected held, got not supported",
        because: "every snapshot has the size of the base device",
        impact: Impact::AppVisible,
        see: THIN,
    },
    Deviation {
        case: "runtime/a-changed-base-layer-is-named-and-repaired",
        scope: Scope::EVERYWHERE,
        observed: "base: directory: expected in the driver's data, got none",
        because: "a snapshot is a device with a file system: the host has no directory of it",
        impact: Impact::Cosmetic,
        see: THIN,
    },
    Deviation {
        case: "seed/06-a-file-put-into-a-base-layer-shows-everywhere",
        scope: Scope::EVERYWHERE,
        observed: "before: directory: expected in the mount data, got none",
        because: "a snapshot is a device with a file system: the host has no directory of it",
        impact: Impact::Cosmetic,
        see: THIN,
    },
    Deviation {
        case: "inode/fs-verity-holds-in-a-child",
        scope: ON_EXT4,
        observed: "/f: fs-verity: expected enabled, got EOPNOTSUPP",
        because: "the base file system is made with what mkfs.ext4(8) gives by default, which is not fs-verity",
        impact: Impact::AppVisible,
        see: &["Documentation/filesystems/fsverity.rst, ext4"],
    },
];
