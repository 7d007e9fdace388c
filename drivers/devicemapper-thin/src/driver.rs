//! The driver itself.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cowlab_driver::{
    Access, Activation, Allocation, Bytes, Candidates, Chain, CreateOptions, Driver, DriverInfo,
    Durability, Error, Health, Home, MountMatcher, Mounts, OpenOptions, Quarantine, Result,
    SnapshotId, Staging, Usage, Warning, WriteWatch, make_dir,
};
use cowlab_sys::durability::{fsync, fsync_dir, syncfs};
use cowlab_sys::{dir, io, mountinfo, process, stat};

use crate::NAME;
use crate::record::{read_if_present, remove_if_present, write_flushed};
use crate::thin::{BASE, Thin};

/// A file with the boot in which a snapshot became writable, until the store says that it is unmounted.
const WRITABLE: &str = "writable";
/// A file with the inodes in use of a snapshot whose content is in the pool; renamed, it is the mark of a frozen one.
const FLUSHED: &str = "flushed";
/// A file that stands for a file system that was cut off from its device once.
const CRASHED: &str = "crashed";

/// The devicemapper-thin driver of one directory and one pool.
#[derive(Debug)]
pub struct DeviceMapperThin {
    home: Home,
    pub(crate) thin: Thin,
}

impl DeviceMapperThin {
    /// Opens the driver's directory and its pool. At first the pool has to be empty, and becomes this store's.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] without device-mapper or without the name of a pool, [`Error::Pool`] for a pool that is
    /// not there, not empty or not this store's, [`Error::ForeignRoot`] when another store made the directory.
    pub fn open(options: &OpenOptions) -> Result<Self> {
        let home = Home::open(&options.root, &options.store)?;
        let thin = Thin::open(home.root(), options)?;
        Ok(Self { home, thin })
    }

    fn frozen(&self, id: SnapshotId) -> Result<PathBuf> {
        Ok(self.home.existing(id)?.join("frozen"))
    }

    /// The inodes that a child of a snapshot begins with.
    fn inodes_of(&self, id: SnapshotId) -> Result<u64> {
        let text = read_if_present(&self.frozen(id)?)?;
        let inodes = text.as_deref().and_then(|text| text.trim().parse().ok());
        inodes.ok_or_else(|| Error::Damaged {
            id,
            reason: "it is not frozen, so it cannot be a parent: commit it again".to_owned(),
        })
    }

    fn show(&self, id: SnapshotId, access: Access) -> Result<Activation> {
        let path = self.home.existing(id)?;
        if access == Access::ReadWrite {
            if path.join("frozen").symlink_metadata().is_ok() {
                return Err(Error::Frozen(id));
            }
            self.thin.pool.require_space(self.thin.record.mark)?;
            remove_if_present(&path.join(FLUSHED))?;
            self.mark_crash(id, &path)?;
            begin_writing(&path)?;
        } else if self.may_be_dirty(id, &path)? {
            self.replay(id, &path)?;
        }
        let node = self.thin.activate(id, access)?;
        let device = io("open", &node, File::open(&node))?;
        let mounts = self.thin.filesystem.mounts(&node, access);
        Ok(Activation::on_device(mounts, device.into()))
    }

    /// Whether there may be a journal to replay: views read past it, and would show the snapshot as it was before.
    fn may_be_dirty(&self, id: SnapshotId, path: &Path) -> Result<bool> {
        if path.join("frozen").symlink_metadata().is_ok() || self.thin.is_open(id)? {
            return Ok(false);
        }
        let node = self.thin.activate(id, Access::ReadOnly)?;
        let is_clean = self.thin.filesystem.state(&node)?.is_clean;
        // The superblock of XFS does not tell; the file stays where nobody saw the unmount.
        Ok(!is_clean.unwrap_or(!path.join(WRITABLE).exists()))
    }

    /// Replays the journal of a snapshot that nobody has mounted.
    fn replay(&self, id: SnapshotId, path: &Path) -> Result<()> {
        self.thin.pool.require_space(self.thin.record.mark)?;
        self.mark_crash(id, path)?;
        begin_writing(path)?;
        let replayed = self.settle(id, Durability::None);
        let closed = self.thin.deactivate(id);
        replayed.map_err(|error| self.thin.explain(error))?;
        closed
    }

    /// Marks a snapshot whose file system was cut off from its device, before a mount replays the journal. What was written
    /// back in place by then may lie in a file whose new times had not reached the journal.
    fn mark_crash(&self, id: SnapshotId, path: &Path) -> Result<()> {
        let mark = path.join(CRASHED);
        if mark.exists() || self.thin.is_open(id)? {
            return Ok(());
        }
        let is_cut_off = match read_if_present(&path.join(WRITABLE))? {
            Some(boot) if boot.trim() != process::boot_id()? => true,
            _ => {
                let node = self.thin.activate(id, Access::ReadWrite)?;
                self.thin.filesystem.state(&node)?.is_clean == Some(false)
            }
        };
        if is_cut_off {
            write_flushed(&mark, "")?;
            fsync_dir(path)?;
        }
        Ok(())
    }

    /// Sees to it that the file system can be read without writing, and returns how many inodes it has in use.
    fn settle(&self, id: SnapshotId, durability: Durability) -> Result<u64> {
        let node = self.thin.activate(id, Access::ReadWrite)?;
        let filesystem = self.thin.filesystem;
        let mut state = filesystem.state(&node)?;
        if state.is_clean != Some(true) {
            filesystem.settle(&node)?;
            state = filesystem.state(&node)?;
        }
        if state.has_errors || state.is_clean == Some(false) {
            return Err(Error::Damaged {
                id,
                reason: format!(
                    "the kernel found errors in its {}: remove it and make it again",
                    filesystem.name()
                ),
            });
        }
        if durability >= Durability::Commit {
            // A flush has the pool commit what the device has mapped.
            fsync(&node)?;
        }
        Ok(state.inodes)
    }

    /// The inodes in use, of a mounted snapshot as well.
    fn inodes_in_use(&self, id: SnapshotId) -> Result<u64> {
        let found = self.thin.find(id)?;
        if let Some(info) = &found {
            let own = mountinfo::read_self()?;
            if let Some(mount) = own.iter().find(|mount| mount.device == info.number) {
                // What is still in memory counts as well.
                syncfs(&mount.mount_point)?;
                let now = stat::statfs(&mount.mount_point)?;
                return Ok(now.files.saturating_sub(now.files_free));
            }
        }
        let node = self.thin.activate(id, Access::ReadOnly)?;
        let state = self.thin.filesystem.state(&node);
        if found.is_none() {
            self.thin.deactivate(id)?;
        }
        Ok(state?.inodes)
    }
}

/// Notes that somebody may write to the snapshot in the directory `path`. The note is on the disk before the first write, or a
/// power cut would take it and leave what was written.
fn begin_writing(path: &Path) -> Result<()> {
    let (note, boot) = (path.join(WRITABLE), process::boot_id()?);
    let known = read_if_present(&note)?;
    if known.is_some_and(|known| known.trim() == boot) {
        return Ok(());
    }
    write_flushed(&note, &format!("{boot}\n"))?;
    Ok(fsync_dir(path)?)
}

impl Driver for DeviceMapperThin {
    fn info(&self) -> &DriverInfo {
        &crate::ENTRY.info
    }

    fn create(
        &self,
        id: SnapshotId,
        parent: Option<&Chain>,
        options: &CreateOptions,
    ) -> Result<()> {
        if options.size_limit.is_some() {
            return Err(Error::Unsupported {
                driver: NAME,
                what: "a size limit for one snapshot".to_owned(),
                remedy: "every snapshot has the size of the setting `size`, its parents' content \
                         included: make a store with another"
                    .to_owned(),
            });
        }
        let record = &self.thin.record;
        let (origin, inodes) = match parent {
            Some(parent) => {
                let head = parent.head();
                (head.number(), self.inodes_of(head)?)
            }
            None => (BASE, record.inodes.unwrap_or(0)),
        };
        self.thin.pool.require_space(record.mark)?;
        // No flush of the device reaches the record that the device is ours.
        self.home.create(id, Durability::Commit, |snapshot| {
            // The record first: what is in the pool is then known to be ours, whenever this is cut off.
            make_dir(snapshot, 0o700)?;
            write_flushed(&snapshot.join("inodes"), &format!("{inodes}\n"))?;
            fsync_dir(snapshot)?;
            let made = self.thin.snapshot(id, origin);
            if let Err(Error::Exists(_)) = made {
                // Not ours to delete: the record goes, so that nobody takes the device for this snapshot.
                dir::remove_tree(snapshot)?;
            }
            made
        })
    }

    fn activate(&self, chain: &Chain, access: Access) -> Result<Activation> {
        self.show(chain.head(), access)
    }

    fn describe_mount(&self, chain: &Chain, access: Access) -> Result<Mounts> {
        let id = chain.head();
        let is_frozen = self.frozen(id)?.symlink_metadata().is_ok();
        if access == Access::ReadWrite && is_frozen {
            return Err(Error::Frozen(id));
        }
        let node = match self.thin.find(id)? {
            Some(info) => info.node(),
            None => self.thin.node_to_be(id),
        };
        Ok(self.thin.filesystem.mounts(&node, access))
    }

    fn deactivate(&self, id: SnapshotId) -> Result<()> {
        self.thin.deactivate(id)?;
        match self.home.existing(id) {
            Ok(path) => remove_if_present(&path.join(WRITABLE)),
            Err(_) => Ok(()),
        }
    }

    fn staging(&self, chain: &Chain) -> Result<Staging> {
        let mounts = self.show(chain.head(), Access::ReadWrite)?;
        Ok(Staging::Union(mounts.into_mounts()))
    }

    fn flush(&self, id: SnapshotId, durability: Durability) -> Result<()> {
        if self.frozen(id)?.symlink_metadata().is_ok() {
            return Ok(());
        }
        // Fails while it is mounted anywhere.
        self.thin.deactivate(id)?;
        self.thin.pool.require_space(self.thin.record.mark)?;
        let path = self.home.existing(id)?;
        self.mark_crash(id, &path)?;
        begin_writing(&path)?;
        let settled = self.settle(id, durability);
        let closed = self.thin.deactivate(id);
        let inodes = settled.map_err(|error| self.thin.explain(error))?;
        closed?;
        remove_if_present(&path.join(WRITABLE))?;
        write_flushed(&path.join(FLUSHED), &format!("{inodes}\n"))
    }

    fn freeze(&self, id: SnapshotId) -> Result<()> {
        let path = self.home.existing(id)?;
        let (flushed, frozen) = (path.join(FLUSHED), path.join("frozen"));
        match fs::rename(&flushed, &frozen) {
            Err(error) if error.kind() == ErrorKind::NotFound && frozen.exists() => {}
            renamed => io("rename", &frozen, renamed)?,
        }
        Ok(fsync_dir(&path)?)
    }

    fn thaw(&self, id: SnapshotId) -> Result<()> {
        let path = self.home.existing(id)?;
        remove_if_present(&path.join(FLUSHED))?;
        remove_if_present(&path.join("frozen"))?;
        Ok(fsync_dir(&path)?)
    }

    fn destroy(&self, id: SnapshotId) -> Result<()> {
        self.thin.deactivate(id)?;
        if self.thin.is_quarantined(id)? {
            return Ok(());
        }
        // A cut-off creation or removal may have left the thin device alone.
        self.thin.delete(id)?;
        self.home.destroy(id, |path| Ok(dir::remove_tree(path)?))
    }

    fn usage(&self, id: SnapshotId) -> Result<Usage> {
        let path = self.home.existing(id)?;
        let inodes = self.inodes_in_use(id)?;
        let mapped = self.thin.pool.mapped(id.number().into())?;
        let mapped = mapped.ok_or_else(|| self.thin.lost(id))?;
        let before = read_if_present(&path.join("inodes"))?;
        let before = before.and_then(|text| text.trim().parse().ok());
        let before: u64 = before.unwrap_or(0);
        Ok(Usage {
            exclusive: Allocation {
                bytes: Bytes(mapped.exclusive),
                inodes: inodes.saturating_sub(before),
            },
            shared: Some(Allocation {
                bytes: Bytes(mapped.shared),
                inodes: before.min(inodes),
            }),
        })
    }

    fn candidates(&self, chain: &Chain) -> Result<Option<Candidates>> {
        self.home.existing(chain.head())?;
        Ok(None)
    }

    fn keeps_inodes(&self, id: SnapshotId) -> Result<bool> {
        Ok(!self.home.existing(id)?.join(CRASHED).exists())
    }

    /// The union of the records and of what the pool has, so that nothing is lost that a crash left in one of them.
    fn inventory(&self) -> Result<Vec<SnapshotId>> {
        let mut ids = self.home.inventory()?;
        for device in self.thin.pool.devices()? {
            let id = u32::try_from(device).ok().and_then(SnapshotId::new);
            if let Some(id) = id
                && !self.thin.is_quarantined(id)?
            {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    fn mount_matchers(&self, id: SnapshotId) -> Result<Vec<MountMatcher>> {
        let device = self.thin.find(id)?;
        Ok(device
            .map(|info| MountMatcher::Device(info.number))
            .into_iter()
            .collect())
    }

    fn root(&self) -> &Path {
        self.home.root()
    }

    fn health(&self) -> Option<&dyn Health> {
        Some(self)
    }

    fn write_watch(&self) -> Option<&dyn WriteWatch> {
        Some(self)
    }

    fn quarantine(&self) -> Option<&dyn Quarantine> {
        Some(self)
    }
}

impl WriteWatch for DeviceMapperThin {
    fn epoch(&self) -> Result<String> {
        self.thin.epoch()
    }

    fn lost_since(&self, epoch: &str) -> Result<Option<String>> {
        self.thin.lost_since(epoch)
    }
}

impl Health for DeviceMapperThin {
    fn warnings(&self) -> Result<Vec<Warning>> {
        self.thin.pool.health(self.thin.record.mark)
    }
}

impl Quarantine for DeviceMapperThin {
    /// The thin device stays in the pool; a directory in `quarantine/` stands for it.
    fn put_aside(&self, id: SnapshotId) -> Result<PathBuf> {
        self.thin.deactivate(id)?;
        match self.home.quarantine(id) {
            Err(Error::NotFound(_)) => {}
            moved => return moved,
        }
        if self.thin.pool.mapped(id.number().into())?.is_none() {
            return Err(Error::NotFound(id));
        }
        let quarantine = self.home.root().join("quarantine");
        let path = quarantine.join(format!("{id}.0"));
        io("mkdir", &path, fs::create_dir(&path))?;
        fsync_dir(&quarantine)?;
        Ok(path)
    }
}
