//! btrfs: a subvolume per snapshot.
//!
//! # On disk
//!
//! ```text
//! <root>/<id>/fs        the snapshot's subvolume
//! <root>/<id>/limited   an empty file, there while the snapshot has a size limit; frozen it has none
//! ```
//!
//! and what [`cowlab_driver::Home`] adds. A snapshot is mounted by a bind mount of its subvolume, so
//! that the driver need not know the device. A child begins as a writable snapshot of its parent; the
//! read-only flag says that a snapshot is frozen.
//!
//! # What the kernel does
//!
//! - The read-only flag stops new opens for writing and not the descriptors that are open already.
//! - A mounted subvolume can be deleted; its mounts then fail. This driver refuses first.
//! - Making a snapshot commits the running transaction. Deleting one is a matter of names: the space comes
//!   back later, from the kernel's cleaner (btrfs-subvolume(8), `sync` waits for it). `destroy` waits
//!   for one commit, after which the snapshot cannot come back, and not for the cleaner.
//! - A subvolume that a container makes within a snapshot is an empty directory in a child
//!   (btrfs-subvolume(8), "nested subvolumes"). `destroy` removes it with the snapshot.
//!
//! # Differences and space
//!
//! Every change to an inode writes its item with the number of the running transaction. So inodes with a
//! number behind the one that made the snapshot are those that changed; a deletion shows as a change of
//! the directory. Both `candidates` and `usage` commit first, for a search sees committed items alone,
//! and cost O(changes). Exclusive bytes are what FIEMAP calls unshared in changed files; they shrink
//! when a child comes to share them. A small file that lies in the tree itself counts as one block, as
//! `st_blocks` has it; other blocks of the trees are not counted. What a snapshot shares is known for a
//! base snapshot only.
//!
//! # Limits
//!
//! - `statfs` in a snapshot shows the whole file system.
//! - A size limit takes quotas, which this driver uses where they are on and never turns on: they
//!   slow the whole file system down.
//! - Durability: `Commit` and `Full` are syncfs(2), which commits the transaction; the read-only flag is set and
//!   committed after it.

mod changes;
mod deviations;
mod driver;
mod items;
mod names;
mod probe;
mod quota;
mod subvolume;
mod usage;

use cowlab_driver::{
    CopyUp, Driver, DriverInfo, Entry, FlushScope, Measured, OpenOptions, Requirement, Result,
    Variant,
};

pub use driver::Btrfs;

/// btrfs in the registry.
pub const ENTRY: Entry = Entry {
    name: NAME,
    info: DriverInfo {
        name: NAME,
        copy_up: CopyUp::Blocks,
        depth_limit: None,
        flush: FlushScope::FileSystem,
        serial_activation: false,
    },
    summary: "keeps each snapshot as a btrfs subvolume",
    variants: &[Variant {
        name: "default",
        summary: "a writable snapshot of the parent's subvolume",
        options: &[],
    }],
    rootless: None,
    backings: &["btrfs"],
    measured: &[Measured {
        variant: "default",
        backings: &["btrfs"],
        when_thorough: &[],
    }],
    needs_guest: false,
    runs_in_guest: true,
    requirements: &[
        Requirement {
            what: "root",
            because: "deleting subvolumes and searching their trees need CAP_SYS_ADMIN",
            remedy: "run as root",
        },
        Requirement {
            what: "btrfs",
            because: "a snapshot is a subvolume",
            remedy: "put the store on a btrfs file system: `mkfs.btrfs DEVICE`",
        },
    ],
    deviations: deviations::DEVIATIONS,
    probe: probe::probe,
    open,
};

/// Docker's name for the driver.
const NAME: &str = "btrfs";

fn open(options: &OpenOptions) -> Result<Box<dyn Driver>> {
    Ok(Box::new(Btrfs::open(options)?))
}
