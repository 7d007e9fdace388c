//! OCI layers: applied to a directory, found as the difference of two trees, written as an archive.
//!
//! Functions over directories and streams. Nothing here knows of the store, of drivers or of names:
//! the store mounts what is needed and decides what becomes of the result.

pub mod apply;
mod archive;
pub mod changes;
mod compare;
mod content;
mod cursor;
pub mod diff;
mod digest;
mod error;
mod groups;
mod holes;
mod metadata;
mod name;
mod pack;
mod pax;
pub mod reader;
mod unpack;
mod view;
mod whiteout;
mod writer;

pub use digest::{DiffId, Digest, ParseDigestError};
pub use error::{EntryName, LayerError, Result};
pub use pack::{Packed, Packer};
