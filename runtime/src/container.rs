//! Containers: made from an image's layers, run by one monitor process each, kept until they are removed.
//!
//! # What is on disk
//!
//! ```text
//! <root>/containers/<id>/container.json   what was asked for; written once
//! <root>/containers/<id>/state.json       what happened; replaced atomically
//! <root>/containers/<id>/reserve          room for a state on a full disk
//! <root>/containers/<id>/lock             held while a verb changes the container
//! <root>/containers/<id>/paused           `pause` asked for it to stand still
//! <root>/containers/<id>/pause.lock       held by who pauses the container, a commit as long as it reads
//! <root>/containers/<id>/restart.lock     held while the container is restarted: its monitor does not remove it
//! <root>/containers/<id>/waiters          held by who waits for its status
//! <root>/containers/<id>/monitor.lock     held by the monitor as long as it lives
//! <root>/containers/<id>/attach.sock      where the monitor takes commands that attach
//! <root>/containers/<id>/log.json         output, one JSON line each, with `log.json.1` ... before it
//! <root>/containers/<id>/bundle/          the OCI runtime bundle of the last start
//! <root>/containers/<id>/rootfs/          where the monitor mounts the snapshot, in its own mount namespace
//! <root>/containers/.new-<id>/            what is being made, and `.trash-<id>/` what is being removed
//! <root>/containers/names/<name>          the id of the container that has the name
//! ```
//!
//! There is no central daemon. The writable layer is the active snapshot `container/<id>` of the store; it stays
//! until [`Containers::remove`]. Isolation is libcontainer's.
//!
//! # Mounts
//!
//! The monitor mounts the snapshot in a mount namespace of its own, starts the container from there and goes back. From
//! then on the container's namespace alone holds the mount, so that it ends with the container's last process, whatever
//! happens to the monitor; after a crash or a reboot there is nothing to unmount.

pub mod attach;
pub mod causes;
mod cgroup;
mod changes;
mod config;
mod copy;
mod create;
mod error;
mod exec;
mod files;
mod keys;
mod launch;
mod life;
mod log;
pub mod monitor;
pub mod mounts;
mod names;
mod origin;
mod outlet;
mod pause;
mod place;
mod prepare;
mod prune;
mod record;
mod recover;
pub mod seccomp;
mod spec;
mod streams;
mod user;
mod view;
pub mod volume;

pub use attach::{AttachOptions, End, Session};
pub use changes::StorageStats;
pub use config::{CreateOptions, Source};
pub use copy::{Links, Owner, copy_from_stream, copy_in, copy_out, copy_to_stream};
pub use error::{Error, Result};
pub use exec::ExecOptions;
pub use keys::DetachKeys;
pub use life::{PrestartedMonitor, RemoveOptions, StartOptions, StopOptions};
pub use log::{LogLine, LogOptions, Logs, Stream as LogStream};
pub use origin::{CopyCost, CopyDone, Entry, LayerEntry, MountedAt, Origin, Part};
pub(crate) use place::first_processes;
pub use place::{Containers, Found, Phase};
pub use prune::Pruned;
pub use record::{Network, Record, State};
pub(crate) use recover::recover;
pub use seccomp::Seccomp;
pub use spec::SPECIFICATION;
pub use user::owner;
