//! vfs: a full copy of the parent per snapshot, the baseline and the last resort.
//!
//! # On disk
//!
//! ```text
//! <root>/<id>/fs        the snapshot's tree
//! <root>/<id>/frozen    an empty file, there once the snapshot is frozen
//! ```
//!
//! and what [`cowlab_driver::Home`] adds. A snapshot is mounted by a bind mount of its tree.
//!
//! # What a copy keeps
//!
//! Content with its holes, mode, owner, times to the nanosecond, xattrs and with them ACLs and
//! capabilities, hard links within the tree, symbolic links, devices, FIFOs and sockets. It does not
//! keep the marks of chattr(1), project ids and change times. File content is shared by reflink
//! where the file system can (xfs made with `reflink=1`, btrfs), else copied.
//!
//! # Limits and honesty
//!
//! - A snapshot costs O(entries of the parent), and all its bytes where there is no reflink.
//! - A freeze stops nobody who has a file open for writing: the snapshot store refuses those.
//! - Usage tells shared bytes apart on xfs and btrfs, by FIEMAP, one call per file. On ext4 and tmpfs
//!   nothing is shared. Elsewhere everything counts as exclusive.
//! - A size limit is a project quota ([`cowlab_driver::projects`]), which ext4 and xfs enforce where they are mounted with
//!   `prjquota`; it covers the parent's content too. On ext4 a process with CAP_SYS_RESOURCE may exceed it.
//! - Durability: `Commit` flushes the files of a snapshot of up to 1,000 entries on ext4 and xfs; otherwise, as `Full` does, it is
//!   syncfs(2) of the backing file system ([`cowlab_driver::flush`]), after the copy of a parent and before a commit; `frozen` is
//!   flushed after it.

mod copy;
mod deviations;
mod driver;
mod probe;

use cowlab_driver::{
    CopyUp, Driver, DriverInfo, Entry, FlushScope, Measured, OpenOptions, Requirement, Result,
    Variant,
};

pub use driver::Vfs;

/// vfs in the registry.
pub const ENTRY: Entry = Entry {
    name: NAME,
    info: DriverInfo {
        name: NAME,
        copy_up: CopyUp::Everything,
        depth_limit: None,
        flush: FlushScope::Files,
        serial_activation: false,
    },
    summary: "keeps a full copy of the parent's tree for each snapshot, by reflink where it can",
    variants: &[Variant {
        name: "default",
        summary: "file content is shared by reflink where the file system can",
        options: &[],
    }],
    rootless: Some("default"),
    backings: &["ext4"],
    measured: &[Measured {
        variant: "default",
        backings: &["ext4"],
        when_thorough: &["xfs"],
    }],
    needs_guest: false,
    runs_in_guest: true,
    requirements: &[Requirement {
        what: "root",
        because: "a copy keeps owners, devices and `trusted.` xattrs, and bind mounts need CAP_SYS_ADMIN; for all but the last two, root of a user namespace will do",
        remedy: "run as root",
    }],
    deviations: deviations::DEVIATIONS,
    probe: probe::probe,
    open,
};

/// Docker's name for the driver.
const NAME: &str = "vfs";

fn open(options: &OpenOptions) -> Result<Box<dyn Driver>> {
    Ok(Box::new(Vfs::open(options)?))
}
