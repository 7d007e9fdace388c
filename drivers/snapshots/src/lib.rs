//! The snapshot store: one state machine over any storage driver.
//!
//! # Terms
//!
//! They are containerd's. A snapshot has a *key* while it is *active* (writable) or a *view*
//! (read-only), and a *name* once it is *committed* (frozen); keys and names share one namespace. Only
//! committed snapshots are *parents*, and a parent stays while it has children. A *layer* is the
//! difference between a snapshot and its parent, a tar archive as in the OCI image specification.
//!
//! # Life of a snapshot
//!
//! [`Store::prepare`] makes an active snapshot, [`Store::view`] a view; [`Store::mount`] mounts
//! either. [`Store::commit`] freezes an active snapshot under a name, [`Store::remove`] removes any
//! kind. [`Store::apply`] makes a committed snapshot of a layer, [`Store::changes`] and [`Store::diff`]
//! compare a snapshot with its parent.
//!
//! # What is on disk
//!
//! ```text
//! <root>/snapshots.db   rows: names, kinds, parents, labels, intents (SQLite)
//! <root>/locks/<id>     the lock of the operation on a snapshot; `open` of a store being opened
//! <root>/reserve        space for the database on a full file system
//! <root>/driver/        the driver's own directory, unless it was given another
//! ```
//!
//! # Promises
//!
//! - A committed snapshot is whole or absent after a crash of any process at any moment, and with
//!   [`Durability::Commit`](cowlab_driver::Durability::Commit), the default, after a power cut.
//!   With `None` nothing is flushed: after a power cut the name may stand for less than was
//!   committed, and [`Store::check`] lists it as doubtful.
//! - What a dead process left is taken back or completed by the next open, or by the next
//!   operation on the same name; live operations of other processes are never touched.
//! - An operation that fails leaves the store as it was.
//! - A snapshot is neither frozen nor removed while it is mounted in any mount namespace.
//!
//! Private mounts, as a comparison needs them, are detached mounts: they end with the process.

mod compare;
pub mod database;
mod decision;
mod error;
mod filter;
mod health;
mod import;
mod in_use;
mod info;
mod lifecycle;
mod locks;
mod mounting;
mod naming;
mod readable;
mod recovery;
mod report;
mod reserve;
mod row;
mod settings;
mod store;
mod suspicion;
mod trace;

pub use cowlab_sys::holders::{Holder, HolderKind};
pub use error::{Error, Result};
pub use filter::Filters;
pub use import::{Applied, ApplyOptions};
pub use info::{CommitOptions, Filter, Info, Kind, Labels, PrepareOptions, StoreOptions};
pub use mounting::Mounted;
pub use naming::{KEY_MAX, LABEL_MAX};
pub use report::{CheckReport, Recovery};
pub use store::{Identity, Store};
pub use trace::{CopiedUp, Facts, Trace, Traced};
