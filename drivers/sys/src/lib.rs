//! The kernel as cowlab uses it: mounts, loop devices, ioctls, confined directory access, locks
//! and the command runner, each as a safe function with an error that names its object.
//!
//! This is the only crate of the workspace with `unsafe`, all of it in the private module `raw`,
//! and the only one that starts external programs. It knows nothing of drivers, snapshots or
//! layers. What lives beyond a call (a mount, a loop device) is held by a [`Guard`] that reports
//! what it could not take back.

pub mod at;
pub mod block;
pub mod btrfs;
pub mod channel;
pub mod cmd;
pub mod cursor;
pub mod device_mapper;
pub mod dir;
pub mod durability;
mod error;
pub mod fault;
pub mod fiemap;
pub mod file;
pub mod guard;
pub mod holders;
pub mod id_map;
mod id_source;
pub mod inside;
pub mod interrupt;
pub mod kernel_log;
pub mod lock;
pub mod loopdev;
pub mod members;
pub mod mount;
pub mod mountinfo;
pub mod network;
pub mod page_cache;
pub mod process;
pub mod processes;
pub mod project;
mod raw;
pub mod reflink;
pub mod root;
pub mod seccomp;
pub mod signals;
pub mod stat;
pub mod task;
pub mod terminal;
pub mod user_namespace;
pub mod xattr;
pub mod zfs_library;

pub use cmd::Cmd;
pub use error::{Error, Result, io, sys};
pub use guard::{Guard, Leak};
pub use id_source::IdSource;
pub use mount::{MountAttributes, MountGuard, MountOption, MountSpec};
pub use root::Root;
pub use rustix::io::Errno;
pub use stat::{FileKind, Stat, Time};
