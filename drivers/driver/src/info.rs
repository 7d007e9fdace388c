//! What a driver says about itself and about the mounts of its snapshots: data, the same at every call.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::CopyUp;

/// The constants of a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverInfo {
    /// Docker's name for the driver.
    pub name: &'static str,
    /// What the first write to a file of the parent copies.
    pub copy_up: CopyUp,
    /// The most committed snapshots, one over the other, that an active one can be mounted on; `None` where nothing limits it.
    pub depth_limit: Option<usize>,
    /// What is written out when a snapshot is flushed.
    pub flush: FlushScope,
    /// Whether two processes must not activate at the same time, because the driver makes a device that both would use.
    pub serial_activation: bool,
}

/// How much is written out with a flush of one snapshot, and so whose writes the flush waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlushScope {
    /// The files of the snapshot; of a large one, or where no journal is written in order, the file system: [`flush`](crate::flush()).
    Files,
    /// The file system of the driver's directory: also the files of strangers.
    FileSystem,
    /// The snapshot's own device, and the metadata of the pool below it.
    Device,
    /// A transaction of the pool: also the data sets of strangers.
    Pool,
}

/// A kind of mount that shows one snapshot, as a mount table lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountMatcher {
    /// A bind mount of one of these directories or of a part of it, or an overlay that has one of them as a layer. The
    /// paths are absolute and lead through no symbolic link, except that the last name may be one.
    Directories(Vec<PathBuf>),
    /// A mount of the block device with this number.
    Device((u32, u32)),
    /// A mount of the type `fstype` whose source is `source`, or a snapshot of that: `source@...`.
    Source {
        /// The type in the mount table.
        fstype: &'static str,
        /// The source in the mount table.
        source: OsString,
    },
}
