//! Space of a backing file system, taken when nothing is left to be written or freed.

use std::fs::File;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use cowlab_sys::btrfs;
use cowlab_sys::durability::syncfs;
use cowlab_sys::stat::statfs;

/// How long between two looks. File systems free in the background what was deleted: btrfs a subvolume, xfs an inode.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks in a row that have to agree.
const AGREE: u32 = 3;

/// Looks after which the last one counts: 10 seconds.
const PATIENCE: u32 = 1000;

/// What is allocated on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    /// Allocated bytes.
    pub(crate) bytes: u64,
    /// Allocated inodes, or `None` where the file system makes them as it needs them and does not count (btrfs).
    pub(crate) inodes: Option<u64>,
}

impl Space {
    /// Flushes the file system of `path` until its numbers stand still, and returns them.
    pub(crate) fn settled(path: &Path) -> anyhow::Result<Self> {
        let dir = File::open(path)?;
        let is_btrfs = btrfs::is_btrfs(path)?;
        let mut before = Self::now(path)?;
        let mut agreed = 1;
        for _ in 0..PATIENCE {
            let cleaning = is_btrfs && btrfs::has_deletions_pending(&dir)?;
            if cleaning {
                // Alone the cleaner looks around when a commit is due, every 30 seconds; this ioctl wakes it
                // (btrfs_ioctl_sync and transaction_kthread in the kernel's fs/btrfs).
                btrfs::sync(&dir)?;
            }
            if agreed == AGREE && !cleaning {
                return Ok(before);
            }
            sleep(PAUSE);
            let now = Self::now(path)?;
            agreed = if now == before && !cleaning {
                (agreed + 1).min(AGREE)
            } else {
                1
            };
            before = now;
        }
        tracing::warn!(path = %path.display(), "space still changes after ten seconds: sizes may be off");
        Ok(before)
    }

    fn now(path: &Path) -> anyhow::Result<Self> {
        syncfs(path)?;
        let found = statfs(path)?;
        Ok(Self {
            bytes: found.used_bytes(),
            inodes: (found.files > 0).then(|| found.files - found.files_free),
        })
    }
}

/// The change of a number, which can be negative.
pub(crate) fn growth(before: u64, after: u64) -> f64 {
    if after >= before {
        exact(after - before)
    } else {
        -exact(before - after)
    }
}

/// A count as a sample: exact up to 2^53, which is 8 PiB.
pub(crate) fn exact(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_has_a_sign() {
        assert_eq!(growth(10, 4106), 4096.0);
        assert_eq!(growth(4106, 10), -4096.0);
        assert_eq!(growth(7, 7), 0.0);
    }
}
