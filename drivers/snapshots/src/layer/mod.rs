//! OCI layers: applied to a directory, found as the difference of two trees, written as an archive.
//!
//! Functions over directories and streams. Nothing here knows of the store, of drivers or of names:
//! the store mounts what is needed and decides what becomes of the result.

pub mod apply;
mod archive;
mod digest;
mod error;
mod metadata;
mod name;
mod pax;
pub mod reader;
mod unpack;
mod view;
mod whiteout;

pub use digest::{DiffId, Digest, ParseDigestError};
pub use error::{EntryName, LayerError, Result};
