//! The driver itself.

use std::path::{Path, PathBuf};

use cowlab_driver::{
    Access, Candidates, Chain, CreateOptions, Driver, DriverInfo, Durability, Error, Health, Home,
    MountMatcher, Mounts, OpenOptions, Quarantine, Result, SnapshotId, Staging, Usage, Warning,
};
use cowlab_sys::mount::DetachedMount;
use cowlab_sys::{Errno, stat};

use crate::dataset::{DataSets, mount_of};
use crate::{NAME, dataset, place, usage};

/// The name of the snapshot that a frozen data set has.
const COMMITTED: &str = "@committed";

/// With less than this available, in bytes, a pool takes no changes: ZFS wants room for the worst case of each.
const LEAST: u64 = 1 << 20;

/// The zfs driver of one directory.
#[derive(Debug)]
pub struct Zfs {
    home: Home,
    datasets: DataSets,
    /// The driver's data set.
    top: String,
}

/// Opens the driver for the registry.
pub(crate) fn open(options: &OpenOptions) -> Result<Box<dyn Driver>> {
    Ok(Box::new(Zfs::open(options)?))
}

impl Zfs {
    /// Opens the driver's directory, making it if it is not there, and its data set.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when it is not on a data set, or what ZFS needs is not here;
    /// [`Error::ForeignRoot`] when another store made it.
    pub fn open(options: &OpenOptions) -> Result<Self> {
        let datasets = DataSets::open()?;
        let home = Home::open(&options.root, &options.store)?;
        let top = place::claim(&datasets, home.root(), &options.store)?;
        Ok(Self {
            home,
            datasets,
            top,
        })
    }

    /// The data set of a snapshot, there or not.
    fn name(&self, id: SnapshotId) -> String {
        format!("{}/{id}", self.top)
    }

    /// The data set of a snapshot, and whether it is frozen.
    fn existing(&self, id: SnapshotId) -> Result<(String, bool)> {
        let name = self.name(id);
        if self.datasets.exists(&format!("{name}{COMMITTED}")) {
            return Ok((name, true));
        }
        if self.datasets.exists(&name) {
            return Ok((name, false));
        }
        Err(Error::NotFound(id))
    }

    /// What a child of a snapshot begins as.
    fn origin(&self, parent: SnapshotId) -> Result<String> {
        let (name, frozen) = self.existing(parent)?;
        if frozen {
            return Ok(name + COMMITTED);
        }
        Err(Error::Unsupported {
            driver: NAME,
            what: format!("a child of snapshot {parent}, which is not frozen"),
            remedy: "freeze the parent first".to_owned(),
        })
    }

    /// What shows the content of a snapshot: the data set itself, or what it was when it was frozen.
    fn shown(&self, id: SnapshotId) -> Result<String> {
        let (name, frozen) = self.existing(id)?;
        Ok(if frozen { name + COMMITTED } else { name })
    }

    fn mounts(&self, id: SnapshotId, access: Access) -> Result<Mounts> {
        let (name, frozen) = self.existing(id)?;
        let spec = match (frozen, access) {
            (true, Access::ReadWrite) => return Err(Error::Frozen(id)),
            (true, Access::ReadOnly) => mount_of(&(name + COMMITTED), true),
            (false, access) => mount_of(&name, access == Access::ReadOnly),
        };
        Ok(Mounts::FileSystem(spec))
    }

    /// Says what keeps a data set from being destroyed, where it is something that the driver did not make.
    fn explain(&self, id: SnapshotId, name: &str, error: Error) -> Error {
        let others = self.datasets.dependents(name).unwrap_or_default();
        if others.is_empty() {
            return error;
        }
        let reason = format!(
            "data set `{name}` has {}, which cowlab did not make: `zfs destroy` what is not needed",
            others.join(", ")
        );
        Error::Busy { id, reason }
    }
}

impl Driver for Zfs {
    fn info(&self) -> &DriverInfo {
        &crate::ENTRY.info
    }

    fn create(
        &self,
        id: SnapshotId,
        parent: Option<&Chain>,
        options: &CreateOptions,
    ) -> Result<()> {
        let name = self.name(id);
        let origin = match parent {
            None => None,
            Some(parent) => Some(self.origin(parent.head())?),
        };
        let made = match options.size_limit {
            None => self.datasets.create(&name, origin.as_deref()),
            Some(limit) => self
                .datasets
                .create_limited(&name, origin.as_deref(), limit.0),
        };
        match made {
            Err(Error::Sys(error)) if error.errno() == Some(Errno::EXIST) => Err(Error::Exists(id)),
            made => made,
        }
    }

    fn describe_mount(&self, chain: &Chain, access: Access) -> Result<Mounts> {
        self.mounts(chain.head(), access)
    }

    fn staging(&self, chain: &Chain) -> Result<Staging> {
        Ok(Staging::Union(
            self.mounts(chain.head(), Access::ReadWrite)?,
        ))
    }

    fn flush(&self, id: SnapshotId, durability: Durability) -> Result<()> {
        let (name, frozen) = self.existing(id)?;
        if !frozen {
            // Mounting replays the intent log, which a snapshot does not hold. The unmount waits for the transaction group of
            // whatever is dirty (OpenZFS, zfs_vfsops.c, `zfsvfs_teardown`), so the content is on the disk then.
            drop(DetachedMount::new(&mount_of(&name, false))?);
        }
        if durability == Durability::Full {
            self.datasets.sync(&name)?;
        }
        Ok(())
    }

    /// Making a snapshot waits for its transaction group, as every change of data sets does.
    fn freeze(&self, id: SnapshotId) -> Result<()> {
        let (name, frozen) = self.existing(id)?;
        if frozen {
            return Ok(());
        }
        self.datasets.snapshot(&format!("{name}{COMMITTED}"))
    }

    fn thaw(&self, id: SnapshotId) -> Result<()> {
        let (name, frozen) = self.existing(id)?;
        if frozen {
            self.datasets.destroy(&format!("{name}{COMMITTED}"))?;
        }
        Ok(())
    }

    fn destroy(&self, id: SnapshotId) -> Result<()> {
        let name = self.name(id);
        if !self.datasets.exists(&name) {
            return Ok(());
        }
        // First the snapshot, which is refused while it has clones: then nothing has changed.
        self.datasets
            .destroy(&format!("{name}{COMMITTED}"))
            .and_then(|()| self.datasets.destroy(&name))
            .map_err(|error| self.explain(id, &name, error))
    }

    fn usage(&self, id: SnapshotId) -> Result<Usage> {
        usage::measure(&self.datasets, &self.name(id), &self.shown(id)?)
    }

    fn candidates(&self, chain: &Chain) -> Result<Option<Candidates>> {
        self.existing(chain.head())?;
        Ok(None)
    }

    fn keeps_inodes(&self, _: SnapshotId) -> Result<bool> {
        Ok(true)
    }

    fn inventory(&self) -> Result<Vec<SnapshotId>> {
        let names = self.datasets.children(&self.top)?;
        let mut ids: Vec<_> = names.iter().filter_map(|name| name.parse().ok()).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    fn mount_matchers(&self, id: SnapshotId) -> Result<Vec<MountMatcher>> {
        Ok(vec![MountMatcher::Source {
            fstype: "zfs",
            source: self.name(id).into(),
        }])
    }

    fn root(&self) -> &Path {
        self.home.root()
    }

    fn health(&self) -> Option<&dyn Health> {
        Some(self)
    }

    fn quarantine(&self) -> Option<&dyn Quarantine> {
        Some(self)
    }
}

impl Health for Zfs {
    /// The root directory lies on the data set above all snapshots: what that has available is what they have.
    fn warnings(&self) -> Result<Vec<Warning>> {
        if stat::statfs(self.home.root())?.available_bytes() < LEAST {
            return Err(dataset::full(&self.top));
        }
        Ok(Vec::new())
    }
}

impl Quarantine for Zfs {
    fn put_aside(&self, id: SnapshotId) -> Result<PathBuf> {
        let name = self.name(id);
        if !self.datasets.exists(&name) {
            return Err(Error::NotFound(id));
        }
        let free = (0_u32..)
            .map(|number| format!("{}/quarantine-{id}-{number}", self.top))
            .find(|name| !self.datasets.exists(name))
            .ok_or(Error::Exists(id))?;
        self.datasets.rename(&name, &free)?;
        Ok(free.into())
    }
}
