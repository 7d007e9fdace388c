//! fuse-overlayfs: one directory of changes per snapshot, stacked by the program `fuse-overlayfs`: for users and hosts
//! without the kernel's overlay.
//!
//! # On disk
//!
//! ```text
//! <root>/<id>/diff      the snapshot's own changes: an upper directory, later a lower one
//! <root>/<id>/work      the program's scratch space; gone once the snapshot is frozen
//! <root>/<id>/lease     held locked by the processes that serve the snapshot
//! <root>/empty          the lower of a snapshot without a parent: the program wants one
//! ```
//!
//! and what [`cowlab_driver::Home`] adds. A whiteout is a character device 0:0, or a file `.wh.NAME` where devices
//! cannot be made. An opaque directory has the xattr `user.fuseoverlayfs.opaque`, for the host's root
//! `trusted.overlay.opaque`, and the file `.wh..wh..opq`. The union shows none of these (fuse-overlayfs 1.10, main.c).
//!
//! # How it is mounted
//!
//! The FUSE file system is mounted by cowlab, with the snapshot's directory as the source, and a process of the program serves
//! it ([`cowlab_sys::mount::fuse`]), in a mount namespace of its own. The process ends with the last mount, whoever unmounts it. Until then it has the file `lease`
//! locked: so a mount that is in no mount table is known to be there, and a snapshot counts as free only when what was
//! written through the mount has reached its directory.
//!
//! # Limits and honesty
//!
//! - Every operation is a request to a process: small files cost several times what they cost with overlay2.
//! - A mount that somebody makes with the program alone, without locking `lease` (flock(1) does), is not known to be there. Its
//!   files that are open for writing are.
//! - The process dies, and with it the mount, when a file of a parent is removed whose name has 252 bytes or more: there is
//!   no room for the prefix `.wh.` (version 1.10).
//! - Usage is `st_blocks` of the snapshot's directory. What copy-up shared with the lower by reflink (xfs, btrfs) counts as
//!   exclusive.
//! - A size limit is a project quota on `diff` and `work`, as with overlay2.
//! - Durability: as overlay2's, before `work` is removed.

mod deviations;
mod driver;
mod mount;
mod probe;

use cowlab_driver::upper::OverlayXattrs;
use cowlab_driver::{
    CopyUp, Driver, DriverInfo, Entry, FlushScope, Measured, OpenOptions, Requirement, Result,
    Variant,
};

pub use driver::FuseOverlayfs;

/// fuse-overlayfs in the registry.
pub const ENTRY: Entry = Entry {
    name: NAME,
    info: DriverInfo {
        name: NAME,
        copy_up: CopyUp::File,
        depth_limit: None,
        flush: FlushScope::Files,
        serial_activation: false,
    },
    summary: "keeps the changes of each snapshot in a directory and stacks them with a FUSE program",
    variants: &[Variant {
        name: "default",
        summary: "without the write-back cache of FUSE, as all else with the program's defaults",
        options: &[],
    }],
    rootless: Some("default"),
    backings: &["ext4"],
    measured: &[Measured {
        variant: "default",
        backings: &["ext4"],
        when_thorough: &[],
    }],
    needs_guest: false,
    runs_in_guest: false,
    requirements: &[
        Requirement {
            what: "root",
            because: "mounts need CAP_SYS_ADMIN; root of a user namespace will do",
            remedy: "run as root, or as an ordinary user with subordinate ids",
        },
        Requirement {
            what: "the program `fuse-overlayfs`",
            because: "it stacks the layers",
            remedy: "install the Debian package `fuse-overlayfs`",
        },
        Requirement {
            what: "/dev/fuse",
            because: "the program is asked through it",
            remedy: "`modprobe fuse`, and for ordinary users `chmod 666 /dev/fuse`, as udev does",
        },
        Requirement {
            what: "a backing file system with `user.` xattrs",
            because: "layers record opaque directories with them",
            remedy: "put the store on ext4, xfs, btrfs or, since Linux 6.6, tmpfs",
        },
    ],
    deviations: deviations::DEVIATIONS,
    probe: probe::probe,
    open,
};

/// The program's name, and Docker's for the driver.
const NAME: &str = "fuse-overlayfs";

/// How the program records what is not plain content. Layers that cowlab writes by itself have the xattr that every user can
/// write; the program knows it under all circumstances.
const XATTRS: OverlayXattrs = OverlayXattrs {
    opaque: "user.fuseoverlayfs.opaque",
    origin: "user.fuseoverlayfs.origin",
    redirect: None,
    metacopy: None,
    whiteout_files: true,
};

fn open(options: &OpenOptions) -> Result<Box<dyn Driver>> {
    Ok(Box::new(FuseOverlayfs::open(options)?))
}
