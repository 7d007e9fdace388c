//! The driver itself.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cowlab_driver::{
    Access, Allocation, Candidates, Chain, CreateOptions, Driver, DriverInfo, Durability, Error,
    Home, MountMatcher, Mounts, OpenOptions, Quarantine, Result, SnapshotId, Staging, Usage, flush,
    make_dir, projects, tree,
};
use cowlab_sys::durability::fsync_dir;
use cowlab_sys::{MountAttributes, btrfs, dir, io, stat};

use crate::NAME;
use crate::copy::copy_tree;

/// The vfs driver of one directory.
#[derive(Debug)]
pub struct Vfs {
    home: Home,
}

impl Vfs {
    /// Opens the driver's directory, making it if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRoot`] when another store made it.
    pub fn open(options: &OpenOptions) -> Result<Self> {
        Ok(Self {
            home: Home::open(&options.root, &options.store)?,
        })
    }

    fn tree(&self, id: SnapshotId) -> Result<PathBuf> {
        Ok(self.home.existing(id)?.join("fs"))
    }

    fn frozen(&self, id: SnapshotId) -> PathBuf {
        self.home.path(id).join("frozen")
    }

    fn bind(&self, id: SnapshotId, access: Access) -> Result<Mounts> {
        let source = self.tree(id)?;
        if access == Access::ReadWrite && self.frozen(id).symlink_metadata().is_ok() {
            return Err(Error::Frozen(id));
        }
        let attributes = MountAttributes {
            read_only: access == Access::ReadOnly,
            ..MountAttributes::default()
        };
        Ok(Mounts::Bind { source, attributes })
    }
}

impl Driver for Vfs {
    fn info(&self) -> &DriverInfo {
        &crate::ENTRY.info
    }

    fn create(
        &self,
        id: SnapshotId,
        parent: Option<&Chain>,
        options: &CreateOptions,
    ) -> Result<()> {
        let parent = parent.map(|chain| self.tree(chain.head())).transpose()?;
        self.home.create(id, options.durability, |snapshot| {
            make_dir(snapshot, 0o700)?;
            let tree = snapshot.join("fs");
            make_dir(&tree, 0o755)?;
            if let Some(limit) = options.size_limit
                && let Err(error) = projects::limit(&self.home, NAME, id, &[&tree], limit)
            {
                // Refused, not cut off: nothing is left for a later `destroy`.
                dir::remove_tree(snapshot)?;
                return Err(error);
            }
            let Some(parent) = &parent else {
                return Ok(());
            };
            copy_tree(parent, &tree)?;
            // Before the rename that makes it a snapshot, which is then on the disk in a moment.
            flush(snapshot, options.durability)
        })
    }

    fn describe_mount(&self, chain: &Chain, access: Access) -> Result<Mounts> {
        self.bind(chain.head(), access)
    }

    fn staging(&self, chain: &Chain) -> Result<Staging> {
        Ok(Staging::Union(self.bind(chain.head(), Access::ReadWrite)?))
    }

    fn flush(&self, id: SnapshotId, durability: Durability) -> Result<()> {
        flush(&self.home.existing(id)?, durability)
    }

    fn freeze(&self, id: SnapshotId) -> Result<()> {
        let snapshot = self.home.existing(id)?;
        let frozen = self.frozen(id);
        io("create", &frozen, File::create(&frozen))?;
        Ok(fsync_dir(&snapshot)?)
    }

    fn thaw(&self, id: SnapshotId) -> Result<()> {
        let snapshot = self.home.existing(id)?;
        let frozen = self.frozen(id);
        match fs::remove_file(&frozen) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => {
                io("unlink", &frozen, removed)?;
                Ok(fsync_dir(&snapshot)?)
            }
        }
    }

    fn destroy(&self, id: SnapshotId) -> Result<()> {
        self.home.destroy(id, |path| {
            projects::release(&self.home, &path.join("fs"))?;
            Ok(dir::remove_tree(path)?)
        })
    }

    fn usage(&self, id: SnapshotId) -> Result<Usage> {
        let snapshot = self.tree(id)?;
        match stat::statfs(&snapshot)?.fstype_magic {
            stat::XFS_MAGIC | btrfs::MAGIC => tree::usage_by_extents(&snapshot),
            magic => Ok(Usage {
                exclusive: tree::allocation(&snapshot)?,
                shared: [stat::EXT4_MAGIC, stat::TMPFS_MAGIC]
                    .contains(&magic)
                    .then(Allocation::default),
            }),
        }
    }

    fn candidates(&self, chain: &Chain) -> Result<Option<Candidates>> {
        self.home.existing(chain.head())?;
        Ok(None)
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

impl Quarantine for Vfs {
    fn put_aside(&self, id: SnapshotId) -> Result<PathBuf> {
        self.home.quarantine(id)
    }
}
