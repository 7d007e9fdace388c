//! The guest: a throw-away QEMU machine with a stock Debian kernel, ZFS and device-mapper, for what this host's kernel
//! lacks.
//!
//! A [`Cache`] keeps images, one directory each; an [`Image`] is a kernel and an initrd that holds everything and boots in
//! memory. Building one needs mmdebstrap, running one needs QEMU; neither needs root, and nothing stays behind on the host
//! but the cache.
//!
//! The crate knows nothing of drivers, cases or workloads.

mod absent;
mod accel;
mod apt;
mod archive;
mod build;
mod cache;
mod console;
mod cpio;
mod digest;
mod enclosed;
mod error;
mod glibc;
mod image;
mod lost;
mod machine;
mod mirror;
mod owners;
mod provide;
pub mod ready;
mod recipe;
mod release;
mod script;
mod space;
mod temporary;
mod trailer;
mod trial;
mod version;

pub use absent::Absent;
pub use accel::Accel;
pub use build::{Build, Built};
pub use cache::Cache;
pub use error::{Error, Result};
pub use image::{Image, Manifest};
pub use lost::{Cause, Lost};
pub use machine::{DEFAULT_MEMORY_MIB, DEFAULT_SCRATCH_BYTES, DEFAULT_TIME_LIMIT, Exit, Machine};
pub use provide::{Progress, Provided};
pub use release::{Release, UnknownRelease};

/// The format of an image's directory that this version writes and reads.
pub const FORMAT: u64 = 2;
