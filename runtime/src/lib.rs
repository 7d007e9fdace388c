//! Images on any storage driver.
//!
//! What a container runtime does with an image before a container starts: reads an OCI image layout,
//! checks it, and unpacks its layers into a snapshot store, each layer once whatever number of images
//! share it. Containers and volumes come with the runtime's own issue.

pub mod container;
mod error;
pub mod fingerprint;
pub mod guest;
pub mod layout;
pub mod sample;
pub mod unpack;
pub mod ustar;

pub use error::{Error, Result};
