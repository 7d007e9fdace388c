//! zfs: a data set per snapshot.
//!
//! # On disk
//!
//! ```text
//! <root>/store, tmp/, trash/, quarantine/    as cowlab_driver::Home has them; no snapshot lies here
//! <root>/dataset                             the last part of the driver's data set's name
//!
//! <base>                       the data set that the root directory is on
//! <base>/cowlab-1f0c5a2e       the driver's data set, with the store's uuid as its property `cowlab:store`
//! <base>/cowlab-1f0c5a2e/17    a snapshot of the store
//! <base>/cowlab-1f0c5a2e/17@committed            what it was when it was frozen
//! <base>/cowlab-1f0c5a2e/quarantine-17-0         what no store knew; never deleted here
//! ```
//!
//! A child is a clone of its parent's `@committed`. The driver's data set has `mountpoint=legacy`, which all below it
//! inherit: nothing is ever mounted behind a caller's back, neither at boot nor by `zfs mount -a`. An active
//! snapshot is mounted by mount(2) from its data set, a frozen one, read-only, from its `@committed`. What else is set
//! on the driver's data set is what images need (`xattr=sa`, `acltype=posix`) and what keeps others away
//! (`com.sun:auto-snapshot=false`, for a periodic snapshot of a data set keeps it from being destroyed). All other
//! properties, compression and record size among them, come from the base data set.
//!
//! # What the kernel does
//!
//! - Creating, cloning and destroying a data set and making a snapshot is each one synchronous task: all of it or
//!   nothing, on disk when the call returns (dsl_synctask.c). So nothing is ever half made, and a removal that is cut
//!   off has lost `@committed` at most, and goes on.
//! - A mounted data set cannot be destroyed. A snapshot with clones cannot be destroyed either.
//! - Space comes back a little after `destroy`, from the kernel's asynchronous freeing (zpool-features(7),
//!   `async_destroy`).
//! - What was fsynced before a power cut lies in the intent log until the data set is mounted, and a snapshot
//!   does not hold the log. `flush` therefore mounts the data set once, detached, before it makes `@committed`.
//!
//! # Differences and space
//!
//! A clone keeps inode numbers and times, so the store compares attributes in both trees, which costs O(entries), and reads no
//! content of what is the same. `zfs diff` would cost O(changes), but ZFS keeps one directory of a file, that of its newest
//! name. When that name goes, the file has no path for `zfs diff`, which then leaves the file out, without an error: a change
//! of it would be lost in the layer (openzfs/zfs issues 13283, 14990 and 16753). No call tells which files these are.
//!
//! Exclusive bytes are the data set's `used`: what was written since the clone was made, with its metadata, after
//! compression. Its inodes are how many more objects there are than in the parent. Both are known once a
//! transaction group is on disk, so `usage` waits for one.
//!
//! # Limits
//!
//! - A size limit is the property `quota`: what the snapshot holds of its own. It is enforced by transaction group,
//!   so that a fast writer overshoots it a little (zfsprops(7), `quota`).
//! - Durability: a snapshot is on disk when the call that makes it returns, whatever level was asked for. `Full`
//!   waits for one more transaction group, for what else the driver wrote.
//! - The length of a data set's name, 255 bytes, and its depth, 50, limit how deep the base data set may be.
//! - Removing the root directory removes no data set: `zfs destroy -r` of the driver's data set does.

mod dataset;
mod deviations;
mod driver;
mod place;
mod probe;
mod usage;

use cowlab_driver::{CopyUp, DriverInfo, Entry, FlushScope, Measured, Requirement, Variant};

pub use driver::Zfs;

use driver::open;
use probe::probe;

/// zfs in the registry.
pub const ENTRY: Entry = Entry {
    name: NAME,
    info: DriverInfo {
        name: NAME,
        copy_up: CopyUp::Blocks,
        depth_limit: None,
        flush: FlushScope::Pool,
        serial_activation: false,
    },
    summary: "keeps each snapshot as a ZFS data set",
    variants: &[Variant {
        name: "default",
        summary: "a clone of the parent's snapshot",
        options: &[],
    }],
    rootless: None,
    backings: &["zfs"],
    measured: &[Measured {
        variant: "default",
        backings: &["zfs"],
        when_thorough: &[],
    }],
    needs_guest: true,
    runs_in_guest: true,
    requirements: &[
        Requirement {
            what: "root",
            because: "mounting data sets and making device nodes in them need CAP_SYS_ADMIN",
            remedy: "run as root",
        },
        Requirement {
            what: "libzfs_core",
            because: "data sets are made, cloned and destroyed through libzfs_core",
            remedy: TOOLS_REMEDY,
        },
        Requirement {
            what: "the ZFS kernel module",
            because: "a snapshot is a data set",
            remedy: "install `zfs-dkms` (Debian: contrib) and run `modprobe zfs`",
        },
        Requirement {
            what: "the program `zfs`",
            because: "properties and lists are read with it",
            remedy: TOOLS_REMEDY,
        },
        Requirement {
            what: "a mounted ZFS data set",
            because: "snapshots are data sets below the one that the store is on",
            remedy: "put the store on a ZFS data set: `zpool create POOL DEVICE`",
        },
    ],
    deviations: deviations::DEVIATIONS,
    probe,
    open,
};

/// Docker's name for the driver.
const NAME: &str = "zfs";

/// How to get the program `zfs` and libzfs_core.
const TOOLS_REMEDY: &str = "install the Debian package `zfsutils-linux` (contrib), or run in the guest: `cargo xtask guest build`";
