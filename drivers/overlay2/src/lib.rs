//! overlay2: one directory per snapshot, stacked by the kernel's overlay file system.
//!
//! # On disk
//!
//! ```text
//! <root>/<id>/diff      the snapshot's own changes: an upper directory, later a lower one
//! <root>/<id>/work      the kernel's scratch space; gone once the snapshot is frozen
//! <root>/<id>/boot      volatile only: the boot in which the snapshot was last handed out
//! <root>/empty          always the lowest layer, so that every mount, a view too, is an overlay: the
//!                       kernel wants two lowers where there is no upper
//! <root>/l/<id>         a short link to <id>/diff, for kernels without `lowerdir+`
//! <root>/probe          scratch layers of the mount that asks whether an upper is in use
//! ```
//!
//! and what [`cowlab_driver::Home`] adds. A whiteout is a character device 0:0, an opaque directory
//! has the xattr `trusted.overlay.opaque`, or with the variant `userxattr` `user.overlay.opaque` (overlayfs.rst, "whiteouts and
//! opaque directories", "User xattr").
//!
//! # What the kernel does
//!
//! A snapshot is mounted with its own `diff` as the upper and its ancestors as lowers. A view, and
//! an active snapshot that is only read, has them all as lowers. Every option that a distribution
//! can preset (`CONFIG_OVERLAY_FS_*`, module parameters) is set at each mount; the variant says to
//! what, and is fixed for the life of a store, since a layer with metacopy or redirects can only be
//! read with the same options.
//!
//! # Limits and honesty
//!
//! - 500 layers (`OVL_MAX_STACK`). Without `lowerdir+` (before Linux 6.8) also one page of options:
//!   about 100 layers with a root of 20 bytes.
//! - index=on keeps hard links of lower files together while the snapshot is mounted. The index
//!   lies in `work` and ends at `freeze`: in children, and in a diff, the link is broken.
//! - volatile: the kernel flushes nothing. `flush` does it afterwards and keeps its promise; a crash
//!   before it makes the snapshot unusable, and it is refused from then on. Errors of writing back that
//!   another process has been told about are not seen again.
//! - Usage is `st_blocks` of the snapshot's directory. What copy-up shared with the lower by reflink
//!   (xfs, btrfs) counts as exclusive.
//! - A size limit is a project quota on `diff` and `work` ([`cowlab_driver::projects`]), which ext4 and xfs enforce where
//!   they are mounted with `prjquota`. Nobody exceeds it through the union: overlayfs writes without CAP_SYS_RESOURCE.
//! - Durability: `Commit` flushes the files of a layer of up to 1,000 entries on ext4 and xfs; otherwise, as `Full` does, it is syncfs(2) of
//!   the backing file system ([`cowlab_driver::flush`]). Both come before the commit is recorded; the removal of `work` is flushed after it.

mod classic;
mod deviations;
mod driver;
mod in_use;
mod lowers;
mod options;
mod probe;
mod volatile;

use cowlab_driver::{
    CopyUp, Driver, DriverInfo, Entry, FlushScope, Measured, OpenOptions, Requirement, Result,
};

pub use driver::Overlay2;

/// overlay2 in the registry.
pub const ENTRY: Entry = Entry {
    name: NAME,
    info: DriverInfo {
        name: NAME,
        copy_up: CopyUp::File,
        depth_limit: Some(lowers::MAX_STACK),
        flush: FlushScope::Files,
        serial_activation: false,
    },
    summary: "keeps the changes of each snapshot in a directory and stacks them with the kernel's overlay",
    variants: options::VARIANTS,
    rootless: Some("userxattr"),
    backings: &["ext4", "xfs", "btrfs", "zfs"],
    measured: &[
        Measured {
            variant: "default",
            backings: &["ext4", "xfs", "btrfs"],
            when_thorough: &["xfs-noreflink"],
        },
        Measured {
            variant: "metacopy",
            backings: &["ext4", "xfs"],
            when_thorough: &[],
        },
        Measured {
            variant: "volatile",
            backings: &["ext4", "xfs"],
            when_thorough: &[],
        },
    ],
    needs_guest: false,
    runs_in_guest: true,
    requirements: &[
        Requirement {
            what: "root",
            because: "overlay mounts and `trusted.` xattrs need CAP_SYS_ADMIN; with the variant `userxattr`, root of a user namespace will do",
            remedy: "run as root, or as an ordinary user with subordinate ids",
        },
        Requirement {
            what: "overlay in the kernel",
            because: "it stacks the layers",
            remedy: "`modprobe overlay`, or a kernel with CONFIG_OVERLAY_FS",
        },
        Requirement {
            what: "a backing file system with d_type, `trusted.` xattrs and RENAME_WHITEOUT",
            because: "layers record deletions and opaque directories with them",
            remedy: "put the store on ext4, xfs made with `-n ftype=1`, btrfs or tmpfs; not on overlay, NFS or FUSE",
        },
    ],
    deviations: deviations::DEVIATIONS,
    probe: probe::probe,
    open,
};

/// Docker's name for the driver.
const NAME: &str = "overlay2";

fn open(options: &OpenOptions) -> Result<Box<dyn Driver>> {
    Ok(Box::new(Overlay2::open(options)?))
}
