//! What a result says about a backing file system.

use cowlab_sys::loopdev::LoopDevice;
use cowlab_sys::{io, mountinfo};
use serde::Serialize;

use crate::Result;

/// What a measurement has to say about the file system it ran on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The backing's name, as [`crate::Backing::name`] has it.
    pub backing: String,
    /// The media's name, as [`crate::Media::name`] has it.
    pub media: String,
    /// The command that made the file system, without the device and its UUID; none for tmpfs.
    pub mkfs: Option<String>,
    /// What mkfs says of its version; none for tmpfs.
    pub mkfs_version: Option<String>,
    /// The options of the mount and of the file system, as the kernel lists them.
    pub mount_options: String,
    /// The size in bytes.
    pub bytes: u64,
    /// The logical sector size in bytes; none for tmpfs.
    pub sector_size: Option<u32>,
    /// Whether the loop device passes the page cache of its file by; none for tmpfs.
    pub loop_direct_io: Option<bool>,
    /// Whether every block of the file behind was written first; none for tmpfs.
    pub preallocated: Option<bool>,
    /// The kernel's name of the file system that the file behind lies on; none for tmpfs.
    pub below: Option<String>,
}

/// Returns the options of the mount, then those of its file system that are not the same.
pub(crate) fn all_options(mount: &mountinfo::MountEntry) -> String {
    let mut all: Vec<&str> = mount.options.split(',').collect();
    let file_system = mount.super_options.to_string_lossy();
    for option in file_system.split(',') {
        if !all.contains(&option) {
            all.push(option);
        }
    }
    all.join(",")
}

pub(crate) fn sector_size(device: &LoopDevice) -> Result<u32> {
    let path = format!(
        "/sys/block/loop{}/queue/logical_block_size",
        device.number()
    );
    let text = io("read", &path, std::fs::read_to_string(&path))?;
    let number = text.trim().parse().ok();
    Ok(number.ok_or_else(|| cowlab_sys::Error::parse("a logical sector size", text))?)
}
