//! devicemapper-thin: a thin device per snapshot, in a pool that is the store's alone.
//!
//! # On disk
//!
//! ```text
//! <root>/pool           which pool, its UUID and mark, the file system and the size of snapshots
//! <root>/<id>/inodes    inodes in use in the parent
//! <root>/<id>/frozen    there once the snapshot is frozen: its inodes in use; `flushed` before that
//! <root>/<id>/writable  the boot in which it became writable, until it is unmounted
//! <root>/<id>/crashed   there when its file system was not unmounted once: its change times are not trusted
//! ```
//!
//! and what [`cowlab_driver::Home`] adds. In the pool, the thin device of a snapshot has the snapshot's number for its id;
//! device 0 is an empty file system that snapshots without a parent are made of. A device `<pool>-<id>` is there while
//! the snapshot is mounted, made on demand in whatever boot; it is known by its UUID, and has udev flags against
//! scanning.
//!
//! # Whose pool it is
//!
//! The user names a pool (setting `pool`). At the first open it must be new: transaction id 0, no thin devices, no data,
//! not LVM's, not in use, and its data device without content that blkid(8) knows (`overwrite-data-device=yes` says that
//! nobody needs it). That is found out by reading its metadata device, without a write, so that a pool of docker,
//! containerd or LVM stays as it is. Then its transaction id becomes the store's mark, which lies in the pool's own
//! metadata and is looked at before every change: another pool of the same name, or one whose metadata was made anew, is
//! refused. Of two stores that want one pool the kernel gives it to one (`set_transaction_id` compares).
//!
//! What is in the pool is found by reading its metadata device as well: `thin_dump` would need a metadata snapshot,
//! which is a write, and a program. Records are written before the pool is told and removed after it, so records and
//! pool together name all there is after a crash.
//!
//! # What the kernel does
//!
//! - A read-only mount of a file system with a dirty journal writes. Views use a read-only device and `noload`, or
//!   `norecovery,nouuid`, and would show an active snapshot as it was before its replay: after a crash, a flush and the first
//!   look at it replay. The superblock of ext4 tells; for XFS it is assumed of a snapshot whose unmount the store was not
//!   told of. A file system that was shut down by an error and then unmounted through the store is not noticed on XFS.
//! - After a crash a file may have new content under its old change time, for file data is written back before the
//!   transaction that has the time. Of such a snapshot a comparison reads everything.
//! - A full pool refuses writes (`error_if_no_space`; with the setting `if-full=queue` they wait a minute, and then fail).
//!   What was written back by then is lost, and nobody is told but who calls fsync(2). The pool counts an event when its
//!   mode changes, so a snapshot that was writable meanwhile is known: it can be mounted again when there is space, and is
//!   not committed.
//! - Unchanged, a child shares every block of its parent. A change takes a whole block of the pool.
//! - `discard` gives back to the pool what a container deletes, and the pool passes it down where its table says so.
//!
//! # Limits
//!
//! - All snapshots of a store have one size (setting `size`, 10 GiB if not set) and one file system (setting
//!   `filesystem`, `ext4` or `xfs`).
//! - The pool is the user's: made, activated after a reboot, and grown outside. New space is taken by itself.
//! - Changes are found by comparing the attributes of everything in both trees: a snapshot keeps inode numbers and times, to the
//!   nanosecond (ext4 has inodes of 256 bytes for it), and no content of what is the same is read.
//! - Durability: `Commit` and `Full` flush the device, which has the pool commit its metadata.
//! - Exclusive bytes are blocks of the pool that no other snapshot refers to, those of journals included.
//! - A pool on loop devices is for tests only; errors say so, and a warning does, unless `loop-devices=for-tests` is set.

mod deviations;

mod control;
mod device;
mod driver;
mod filesystem;
mod metadata;
mod missing;
mod pool;
mod probe;
mod record;
mod status;
mod thin;
mod watch;

use cowlab_driver::{CopyUp, DriverInfo, Entry, FlushScope, Measured, Requirement, Variant};

pub use driver::DeviceMapperThin;

/// devicemapper-thin in the registry.
pub const ENTRY: Entry = Entry {
    name: NAME,
    info: DriverInfo {
        name: NAME,
        copy_up: CopyUp::Blocks,
        depth_limit: None,
        flush: FlushScope::Device,
        serial_activation: true,
    },
    summary: "keeps each snapshot as a thin device with ext4 or xfs on it",
    variants: &[Variant {
        name: "default",
        summary: "a thin snapshot of the parent's device",
        options: &[],
    }],
    rootless: None,
    backings: &["thin+ext4", "thin+xfs"],
    measured: &[Measured {
        variant: "default",
        backings: &["thin+ext4", "thin+xfs"],
        when_thorough: &[],
    }],
    needs_guest: true,
    runs_in_guest: true,
    requirements: &[
        Requirement {
            what: "root",
            because: "devices are made by CAP_SYS_ADMIN alone",
            remedy: "run as root",
        },
        Requirement {
            what: "device-mapper with thin provisioning",
            because: "a snapshot is a thin device",
            remedy: "`modprobe dm-thin-pool`, or run in the guest: `cargo xtask guest build`",
        },
        Requirement {
            what: "an empty thin pool of its own",
            because: "snapshots are its thin devices; a pool on loop devices is for tests only",
            remedy: "make one on two block devices that hold no data and name it in the setting `pool`",
        },
        Requirement {
            what: "mkfs.ext4 or mkfs.xfs",
            because: "the first device gets a file system",
            remedy: "install the Debian package `e2fsprogs` or `xfsprogs`",
        },
    ],
    deviations: deviations::DEVIATIONS,
    probe: probe::probe,
    open: |options| Ok(Box::new(DeviceMapperThin::open(options)?)),
};

/// Docker called it `devicemapper`; this one uses thin provisioning alone.
const NAME: &str = "devicemapper-thin";
