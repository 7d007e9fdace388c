//! OCI layers: applied to a directory, found as the difference of two trees, written as an archive.
//!
//! Functions over directories and streams. Nothing here knows of the store, of drivers or of names:
//! the store mounts what is needed and decides what becomes of the result.

pub mod apply;
#[cfg(test)]
mod apply_tests;
mod archive;
#[cfg(test)]
mod archive_tests;
pub mod changes;
mod compare;
mod content;
#[cfg(test)]
mod crafted;
mod decoder;
pub mod diff;
#[cfg(test)]
mod diff_tests;
mod digest;
mod dirs;
mod error;
mod groups;
mod holes;
#[cfg(test)]
mod hostile_tests;
mod metadata;
mod name;
mod pack;
mod pax;
pub mod reader;
pub mod recipe;
pub mod shows;
mod target;
mod unpack;
mod view;
mod whiteout;
mod writer;

pub use digest::{DiffId, Digest, ParseDigestError};
pub use error::{EntryName, LayerError, Result};
pub use metadata::is_portable;
pub use pack::{Packed, Packer};
