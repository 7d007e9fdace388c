//! Projects: numbers that inodes carry, and limits of what all files of one number occupy together.
//!
//! A directory hands its number on to what is made in it, so a directory that is given a number while it is empty is
//! limited as a whole. ext4 and xfs have this (xfs_quota(8), tune2fs(8) `-O project`).

use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::raw::quota;
use crate::{Result, sys};

/// `FS_XFLAG_PROJINHERIT` (linux/fs.h).
const INHERIT: u32 = 0x200;
/// `FS_QUOTA_PDQ_ENFD` (linux/dqblk_xfs.h).
const ENFORCED: u16 = 1 << 5;
/// `QIF_BLIMITS` (linux/quota.h).
const BLOCK_LIMITS: u32 = 1;
/// The unit of limits in quotactl(2), in bytes.
const UNIT: u64 = 1024;

/// The project of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Project {
    /// The number; 0 is that of everything which was given none.
    pub id: u32,
    /// Whether what is made in the directory gets the number as well.
    pub inherited: bool,
}

impl Project {
    /// Returns the project of an open directory; `None` where the file system has no projects.
    pub fn of(dir: impl AsFd) -> Result<Option<Self>> {
        match quota::attributes(dir) {
            Err(Errno::NOTTY | Errno::OPNOTSUPP) => Ok(None),
            found => {
                let attributes = sys("FS_IOC_FSGETXATTR", "", found)?;
                Ok(Some(Self {
                    id: attributes.fsx_projid,
                    inherited: attributes.fsx_xflags & INHERIT != 0,
                }))
            }
        }
    }

    /// Puts an open directory, and what is going to be made in it, into this project.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Sys`]: `EOPNOTSUPP` where the file system was made without projects.
    pub fn assign(self, dir: impl AsFd) -> Result<()> {
        let changed = quota::attributes(&dir).and_then(|mut attributes| {
            attributes.fsx_projid = self.id;
            attributes.fsx_xflags &= !INHERIT;
            if self.inherited {
                attributes.fsx_xflags |= INHERIT;
            }
            quota::set_attributes(&dir, attributes)
        });
        sys("FS_IOC_FSSETXATTR", "", changed)
    }
}

/// Tells whether the file system of an open file enforces limits of projects.
pub fn is_enforced(file: impl AsFd) -> Result<bool> {
    match quota::state(file) {
        // The kernel or the file system has no quotas, or they are off.
        Err(Errno::NOSYS | Errno::INVAL | Errno::SRCH | Errno::OPNOTSUPP) => Ok(false),
        state => Ok(sys("quotactl_fd", "", state)? & ENFORCED != 0),
    }
}

/// Limits what a project may occupy on the file system of an open file, in bytes, rounded up to 1024; `None` takes the
/// limit away. On ext4 a process with CAP_SYS_RESOURCE may go beyond it; overlayfs writes without (fs/overlayfs/super.c).
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `ESRCH` or `ENOSYS` where quotas are off.
pub fn limit(file: impl AsFd, id: u32, bytes: Option<u64>) -> Result<()> {
    let mut quota = crate::raw::zeroed::<quota::Quota>();
    let units = bytes.map_or(0, |bytes| bytes.div_ceil(UNIT).max(1));
    quota.block_hard = units;
    quota.block_soft = units;
    quota.valid = BLOCK_LIMITS;
    sys("quotactl_fd", "", quota::set(file, id, &mut quota))
}

/// Returns the first number from `id` on that has files or limits on the file system of an open file.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `ESRCH` or `ENOSYS` where quotas are off.
pub fn next_in_use(file: impl AsFd, id: u32) -> Result<Option<u32>> {
    match quota::next(file, id) {
        Err(Errno::NOENT) => Ok(None),
        found => Ok(Some(sys("quotactl_fd", "", found)?.id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_quotas_enforces_none() {
        let proc = std::fs::File::open("/proc/self").unwrap();
        assert!(!is_enforced(&proc).unwrap());
        assert!(limit(&proc, 1 << 30, None).is_err());
        assert_eq!(Project::of(&proc).unwrap(), None);
    }
}
