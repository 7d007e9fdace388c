//! The guest: a throw-away QEMU machine with a stock Debian kernel, ZFS and device-mapper, for what this host's kernel
//! lacks.
//!
//! A [`Cache`] keeps images, one directory each; an [`Image`] is a kernel, an initrd that holds everything and boots in
//! memory, and the headers and libraries that a program for the guest is linked against. Building one needs mmdebstrap,
//! running one needs QEMU; neither needs root, and nothing stays behind on the host but the cache.
//!
//! The crate knows nothing of drivers, cases or workloads.

mod apt;
mod archive;
mod build;
mod cache;
mod digest;
mod error;
mod image;
mod mirror;
mod owners;
mod recipe;
mod release;
mod space;
mod temporary;
mod version;

pub use build::{Build, Built};
pub use cache::Cache;
pub use error::{Error, Result};
pub use image::{FORMAT, Image, Manifest};
pub use release::Release;
