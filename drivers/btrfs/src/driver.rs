//! The driver itself.

use std::path::{Path, PathBuf};

use cowlab_driver::{
    Access, Candidate, Candidates, Chain, CreateOptions, Driver, DriverInfo, Durability, Error,
    Home, MountMatcher, Mounts, OpenOptions, Quarantine, Reach, Result, SnapshotId, Staging, Usage,
    make_dir,
};
use cowlab_sys::durability::syncfs;
use cowlab_sys::{MountAttributes, Root, at, btrfs};

use crate::{changes, quota, subvolume, usage};

/// The btrfs driver of one directory.
#[derive(Debug)]
pub struct Btrfs {
    home: Home,
}

impl Btrfs {
    /// Opens the driver's directory, making it if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when it is not on btrfs, [`Error::ForeignRoot`] when another store
    /// made it.
    pub fn open(options: &OpenOptions) -> Result<Self> {
        let home = Home::open(&options.root, &options.store)?;
        require_btrfs(home.root())?;
        Ok(Self { home })
    }

    fn path(&self, id: SnapshotId) -> Result<PathBuf> {
        Ok(self.home.existing(id)?.join("fs"))
    }

    fn bind(&self, id: SnapshotId, access: Access) -> Result<Mounts> {
        let source = self.path(id)?;
        if access == Access::ReadWrite && btrfs::is_read_only(subvolume::open(&source)?)? {
            return Err(Error::Frozen(id));
        }
        let attributes = MountAttributes {
            read_only: access == Access::ReadOnly,
            ..MountAttributes::default()
        };
        Ok(Mounts::Bind { source, attributes })
    }

    /// Sets or clears the read-only flag, and waits until it is on the disk.
    fn mark_read_only(&self, path: &Path, read_only: bool) -> Result<()> {
        let fd = subvolume::open(path)?;
        if btrfs::is_read_only(&fd)? != read_only {
            btrfs::set_read_only(&fd, read_only)?;
        }
        self.commit_transaction()
    }

    /// Waits until all that was done to subvolumes so far is on the disk. Unlike syncfs(2) it writes no file's data.
    fn commit_transaction(&self) -> Result<()> {
        let root = Root::open(self.home.root())?.open_at(Path::new(""), at::OFlags::RDONLY, 0)?;
        Ok(btrfs::wait_sync(&root, btrfs::start_sync(&root)?)?)
    }
}

/// Refuses a directory on another file system.
pub(crate) fn require_btrfs(dir: &Path) -> Result<()> {
    if btrfs::is_btrfs(dir)? {
        return Ok(());
    }
    Err(Error::missing(
        format!("btrfs under `{}`", dir.display()),
        "put the store on a btrfs file system: `mkfs.btrfs DEVICE`",
    ))
}

impl Driver for Btrfs {
    fn info(&self) -> &DriverInfo {
        &crate::ENTRY.info
    }

    fn create(
        &self,
        id: SnapshotId,
        parent: Option<&Chain>,
        options: &CreateOptions,
    ) -> Result<()> {
        let parent = parent.map(|chain| self.path(chain.head())).transpose()?;
        self.home.create(id, options.durability, |snapshot| {
            make_dir(snapshot, 0o700)?;
            let path = snapshot.join("fs");
            match &parent {
                Some(parent) => subvolume::snapshot(parent, &path)?,
                None => {
                    subvolume::create(&path)?;
                    at::chmod(Root::open(snapshot)?, "fs", 0o755)?;
                }
            }
            if let Some(limit) = options.size_limit
                && let Err(error) = quota::limit(snapshot, limit)
            {
                // Refused, not cut off: nothing is left for a later `destroy`.
                subvolume::delete(snapshot)?;
                return Err(error);
            }
            Ok(())
        })
    }

    fn describe_mount(&self, chain: &Chain, access: Access) -> Result<Mounts> {
        self.bind(chain.head(), access)
    }

    fn staging(&self, chain: &Chain) -> Result<Staging> {
        Ok(Staging::Union(self.bind(chain.head(), Access::ReadWrite)?))
    }

    fn flush(&self, id: SnapshotId, durability: Durability) -> Result<()> {
        let path = self.path(id)?;
        if durability >= Durability::Commit {
            syncfs(&path)?;
        }
        Ok(())
    }

    fn freeze(&self, id: SnapshotId) -> Result<()> {
        let path = self.path(id)?;
        quota::lift(&self.home.path(id))?;
        self.mark_read_only(&path, true)
    }

    fn thaw(&self, id: SnapshotId) -> Result<()> {
        self.mark_read_only(&self.path(id)?, false)
    }

    fn destroy(&self, id: SnapshotId) -> Result<()> {
        self.home.destroy(id, subvolume::delete)?;
        // Until a commit, a power cut brings the subvolume back, when no store knows it any more.
        self.commit_transaction()
    }

    fn usage(&self, id: SnapshotId) -> Result<Usage> {
        let path = self.path(id)?;
        usage::measure(&subvolume::open(&path)?, &path)
    }

    fn candidates(&self, chain: &Chain) -> Result<Option<Candidates>> {
        let snapshot = subvolume::open(&self.path(chain.head())?)?;
        let Some(parent) = chain.ancestors().first() else {
            return Ok(Some(vec![Candidate {
                path: PathBuf::new(),
                reach: Reach::Subtree,
            }]));
        };
        let parent = subvolume::open(&self.path(*parent)?)?;
        // A search sees neither delayed inodes nor data that is still to be written.
        btrfs::sync(&snapshot)?;
        changes::candidates(&snapshot, &parent).map(Some)
    }

    fn inventory(&self) -> Result<Vec<SnapshotId>> {
        self.home.inventory()
    }

    fn mount_matchers(&self, id: SnapshotId) -> Result<Vec<MountMatcher>> {
        Ok(vec![MountMatcher::Directories(vec![self.home.path(id)])])
    }

    fn root(&self) -> &Path {
        self.home.root()
    }

    fn quarantine(&self) -> Option<&dyn Quarantine> {
        Some(self)
    }
}

impl Quarantine for Btrfs {
    fn put_aside(&self, id: SnapshotId) -> Result<PathBuf> {
        self.home.quarantine(id)
    }
}
