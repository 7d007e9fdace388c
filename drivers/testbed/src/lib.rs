//! Throw-away backing file systems on loop devices, and the sweep of what a killed run left.
//!
//! A [`Run`] is a directory `cowlab-test-<run>` with a lock and a journal. Everything a run makes
//! lies in it, is named `cowlab-test-<run>-<n>-...` and is in the journal, on disk, before it is
//! made. So whatever moment a run is killed at, [`sweep`] knows what is its, and nothing else is:
//! it removes what has the name *and* is in the journal of a run whose lock is free.
//!
//! The testbed knows nothing of drivers, cases and workloads.

mod backing;
mod description;
mod error;
mod filesystem;
pub mod fuse;
mod journal;
mod live_host;
mod mkfs;
mod private_mounts;
mod recorded;
mod recording;
mod run;
mod shared;
pub mod sweep;
mod teardown;
mod thin;
mod zpool;

pub use backing::{Backing, BackingOptions, Extra, Media, UnknownName};
pub use description::Description;
pub use error::{Error, Result};
pub use filesystem::{BackingFs, Places, Small};
pub use live_host::live_host;
pub use recorded::Disks;
pub use recording::{Moment, Unflushed};
pub use run::{Names, Run, base_directory, real_directory};
