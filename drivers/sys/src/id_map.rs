//! Mounts that show other owners than the file system has (mount_setattr(2), "ID-mapped mounts").

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use linux_raw_sys::general::{MOUNT_ATTR_IDMAP, mount_attr};

use crate::mount::DetachedMount;
use crate::{Result, io, raw, sys, user_namespace};

/// How many ids are shifted.
const COUNT: u32 = 1 << 16;

/// Shifts the owners that a detached mount shows: what belongs to 0 belongs to `by`, and so on for 65536 ids. What is
/// written through it arrives as it was shifted from; other ids cannot write.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `EINVAL` where the file system or the kernel cannot, `EPERM` without root.
pub fn shift(mount: &DetachedMount, by: u32) -> Result<()> {
    let namespace = user_namespace(by)?;
    let change = mount_attr {
        attr_set: MOUNT_ATTR_IDMAP.into(),
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(namespace.as_raw_fd()).unwrap_or(u64::MAX),
    };
    sys(
        "mount_setattr",
        mount.path(),
        raw::mount_setattr(mount.as_fd(), &change),
    )
}

/// Makes a user namespace with these ids: one takes a process, which ends here.
fn user_namespace(by: u32) -> Result<File> {
    let mut process = user_namespace::hold()?;
    let place = format!("/proc/{}", process.pid());
    for map in ["uid_map", "gid_map"] {
        let path = format!("{place}/{map}");
        io(
            "write",
            &path,
            std::fs::write(&path, format!("0 {by} {COUNT}")),
        )?;
    }
    let path = format!("{place}/ns/user");
    let namespace = io("open", &path, File::open(&path))?;
    process.kill()?;
    Ok(namespace)
}
