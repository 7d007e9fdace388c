//! OCI layers: applied to a directory, found as the difference of two trees, written as an archive.
//!
//! - [`apply`] unpacks a layer over its parent: [`apply::apply_to`]. It makes entries in a `view` of the tree, and a
//!   `whiteout` removes what the parent has.
//! - [`diff`] writes a layer, by an archive `writer`.
//! - [`changes`] finds what differs between two trees; `compare` judges one entry.
//! - [`recipe`] makes the archive of a layer again from the tree, [`verify`] tells whether a tree still is as a layer says.
//!
//! All stand on `archive`, the entries of a tar archive with their `pax` records, on [`stream`], the archive's
//! compression and digests, and on `entry` and `metadata`, what an entry says.
//!
//! Functions over directories and streams. Nothing here knows of a store, of drivers or of snapshots: the caller mounts what
//! is needed and decides what becomes of the result.

pub mod apply;
#[cfg(test)]
mod apply_tests;
mod archive;
#[cfg(test)]
mod archive_tests;
pub mod changes;
mod compare;
pub mod diff;
#[cfg(test)]
mod diff_tests;
mod digest;
mod entry;
mod error;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hostile_tests;
mod metadata;
mod pax;
pub mod recipe;
pub mod stream;
pub mod verify;
mod view;
mod whiteout;
mod writer;

pub use apply::Duplicates;
pub use changes::{Change, ChangeKind};
pub use diff::{DiffOptions, Written};
pub use digest::{DiffId, Digest, ParseDigestError};
pub use error::{EntryName, LayerError, Result};
pub use metadata::is_portable;
pub use recipe::Rebuilt;
pub use writer::ArchiveWriter;
