//! The thin devices of a store in its pool.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cowlab_driver::{Access, Error, OpenOptions, Result, Settings, SnapshotId};

use cowlab_sys::device_mapper::{Device, Target, Writes};
use cowlab_sys::{Errno, IdSource, block, io, user_namespace};

use crate::control::Control;
use crate::filesystem::FileSystem;
use crate::missing::require_program;
use crate::pool::Pool;
use crate::record::Record;
use crate::status::Mode;

/// The thin id of the device that snapshots without a parent are made of. No snapshot has the number 0.
pub(crate) const BASE: u32 = 0;
/// The size of a snapshot where the setting `size` names none: docker's `dm.basesize` once was the same.
const DEFAULT_SIZE: u64 = 10 << 30;
/// The longest name of a pool, so that device names with a number behind it fit (`DM_NAME_LEN`).
const LONGEST_NAME: usize = 100;
/// How often, and how far apart, to look whether a device that nobody has mounted is closed: udev and blkid look at
/// new devices for a moment.
const CLOSE_CHECKS: u32 = 100;
const CLOSE_PAUSE: Duration = Duration::from_millis(20);

/// The thin devices of one store.
#[derive(Debug)]
pub(crate) struct Thin {
    pub(crate) pool: Pool,
    pub(crate) record: Record,
    pub(crate) filesystem: FileSystem,
    root: PathBuf,
}

impl Thin {
    /// Opens the pool that the settings name, or makes it the store's.
    pub(crate) fn open(root: &Path, options: &OpenOptions) -> Result<Self> {
        let pool = named_pool(&options.settings)?;
        let mut thin = match Record::read(root)? {
            Some(record) => Self::known(root, pool, record)?,
            None => Self::adopt(root, pool, options)?,
        };
        if thin.record.inodes.is_none() {
            thin.begin()?;
        }
        let queues = setting(&options.settings, "if-full").unwrap_or("error") == "queue";
        thin.pool.set_queues_if_full(queues)?;
        let status = thin.pool.require_mark(thin.record.mark)?;
        if let Err(error) = thin.pool.grow(&status) {
            tracing::warn!(pool = thin.pool.name, %error, "the pool stays as large as it was");
        }
        Ok(thin)
    }

    fn known(root: &Path, pool: Pool, record: Record) -> Result<Self> {
        if record.pool != pool.name {
            return Err(pool.trouble(
                format!(
                    "is another than the store was made on, which is `{}`",
                    record.pool
                ),
                format!("set `pool` to `{}`, or make another store", record.pool),
            ));
        }
        pool.require(Some(&record.table))?;
        let uuid = pool.control.find(&pool.name)?.map(|info| info.uuid);
        if uuid.as_deref() != Some(&record.uuid) {
            return Err(pool.trouble(
                format!(
                    "has the UUID `{}`, and had `{}`",
                    uuid.unwrap_or_default(),
                    record.uuid
                ),
                "activate the pool that the store was made on, with the UUID it had",
            ));
        }
        let filesystem = FileSystem::named(&record.filesystem).ok_or_else(|| {
            cowlab_sys::Error::parse("the record of a pool", record.filesystem.clone())
        })?;
        let thin = Self {
            pool,
            record,
            filesystem,
            root: root.to_owned(),
        };
        // Cut off in the middle of its first open, the pool may not be marked yet.
        if thin.record.inodes.is_none() && thin.pool.status()?.transaction == 0 {
            thin.pool.require_unused()?;
        } else {
            thin.pool.require_mark(thin.record.mark)?;
        }
        Ok(thin)
    }

    /// Writes down which pool it is to be, and how its snapshots are.
    fn adopt(root: &Path, pool: Pool, options: &OpenOptions) -> Result<Self> {
        pool.require(None)?;
        let filesystem = FileSystem::try_from(&options.settings)?;
        let bytes = size(&options.settings, filesystem)?;
        require_program(filesystem.mkfs())?;
        pool.require_unused()?;
        let table = pool.table()?;
        if setting(&options.settings, "overwrite-data-device") != Some("yes") {
            pool.require_blank(&table)?;
        }
        let meant = setting(&options.settings, "loop-devices") == Some("for-tests");
        if crate::device::is_loop(&table.data) && !meant {
            tracing::warn!(
                pool = pool.name,
                "the pool lies on loop devices: it is for tests only"
            );
        }
        let info = pool.control.find(&pool.name)?;
        let record = Record {
            uuid: info.map(|info| info.uuid).unwrap_or_default(),
            mark: mark_of(&options.store),
            filesystem: filesystem.name().to_owned(),
            sectors: bytes / 512,
            table: format!("0 {} thin-pool {}", table.length, table.parameters()),
            pool: pool.name.clone(),
            inodes: None,
        };
        record.write(root)?;
        Ok(Self {
            pool,
            record,
            filesystem,
            root: root.to_owned(),
        })
    }

    /// Marks the pool and makes the base device, from wherever an earlier attempt was cut off.
    fn begin(&mut self) -> Result<()> {
        if self.pool.status()?.transaction == 0 {
            self.pool.mark(self.record.mark)?;
        }
        self.close(BASE)?;
        if self.pool.devices()?.contains(&BASE.into()) {
            self.drop_device(BASE)?;
        }
        self.pool
            .control
            .message(&self.pool.name, &format!("create_thin {BASE}"))?;
        let node = self.open_device(BASE, Access::ReadWrite)?.node();
        let uuid = IdSource::Seed(self.record.mark).uuid("base")?;
        let made = self
            .filesystem
            .make(&node, &uuid)
            .and_then(|()| self.filesystem.state(&node))
            .and_then(|state| Ok((state, cowlab_sys::durability::fsync(&node)?)));
        self.close(BASE)?;
        let (state, ()) = made.map_err(|error| self.explain(error))?;
        self.record.inodes = Some(state.inodes);
        self.record.write(&self.root)
    }

    /// Takes the traces of a file system off the data device, where the base device was the first to write.
    pub(crate) fn wipe_base(&self) -> Result<()> {
        let node = self.open_device(BASE, Access::ReadWrite)?.node();
        let wiped = fs::write(&node, vec![0; 128 << 10]);
        let wiped = io("write", &node, wiped).and_then(|()| cowlab_sys::durability::fsync(&node));
        self.close(BASE)?;
        Ok(wiped?)
    }

    /// Makes a snapshot of the thin device `origin`, which nobody writes to.
    pub(crate) fn snapshot(&self, id: SnapshotId, origin: u32) -> Result<()> {
        match self.message(&format!("create_snap {id} {origin}")) {
            Err(Error::Sys(error)) if error.errno() == Some(Errno::EXIST) => Err(Error::Exists(id)),
            made => made.map_err(|error| self.explain(error)),
        }
    }

    /// Gives back what a thin device has, and the device. One that is not there is no error.
    pub(crate) fn delete(&self, id: SnapshotId) -> Result<()> {
        let status = self.pool.require_mark(self.record.mark)?;
        // A pool without space for metadata cannot even delete; perhaps its devices were made larger.
        if status.mode != Mode::ReadWrite {
            self.pool.grow(&status)?;
        }
        if status.passes_discards_down
            && let Err(error) = self.discard(id.number())
        {
            // Deleted all the same, its blocks are free in the pool at least.
            tracing::debug!(%id, %error, "nothing was given back below the pool");
        }
        self.drop_device(id.number())
    }

    fn discard(&self, device: u32) -> Result<()> {
        let node = self.open_device(device, Access::ReadWrite)?.node();
        let discarded = block::discard(&node, 0, self.record.sectors * 512);
        self.close(device)?;
        Ok(discarded?)
    }

    fn drop_device(&self, device: u32) -> Result<()> {
        match self.message(&format!("delete {device}")) {
            Err(Error::Sys(error)) if error.errno() == Some(Errno::NODATA) => Ok(()),
            // A pool that takes no changes does not say that there is nothing to delete.
            Err(_) if !self.pool.devices()?.contains(&device.into()) => Ok(()),
            deleted => deleted.map_err(|error| self.explain(error)),
        }
    }

    fn message(&self, text: &str) -> Result<()> {
        self.pool.control.message(&self.pool.name, text)
    }

    /// Says of a failure what the pool has to do with it, if it has.
    pub(crate) fn explain(&self, error: Error) -> Error {
        if matches!(error, Error::Sys(_)) {
            let status = self.pool.require_mark(self.record.mark);
            let health = status.and_then(|status| self.pool.require_health(&status));
            if let Err(trouble @ Error::Pool { .. }) = health {
                tracing::debug!(%error, "on an unhealthy pool");
                return trouble;
            }
        }
        error
    }

    /// The error about a snapshot whose thin device is gone.
    pub(crate) fn lost(&self, id: SnapshotId) -> Error {
        Error::Damaged {
            id,
            reason: format!(
                "pool `{}` has no thin device {id} any more: remove the snapshot and make it again",
                self.pool.name
            ),
        }
    }

    fn name(&self, device: u32) -> String {
        format!("{}-{device}", self.pool.name)
    }

    /// Where device-mapper and udev put the device of a snapshot once it is active (dmsetup(8), "mknodes").
    pub(crate) fn node_to_be(&self, id: SnapshotId) -> PathBuf {
        Path::new("/dev/mapper").join(self.name(id.number()))
    }

    /// Tells this store's devices from others of the same name.
    fn uuid(&self, device: u32) -> String {
        format!("COWLAB-{:016x}-{device}", self.record.mark)
    }

    /// The device of a snapshot, if it is active.
    pub(crate) fn find(&self, id: SnapshotId) -> Result<Option<Device>> {
        self.find_device(id.number())
    }

    /// Whether the device of a snapshot is there and open: a mount, in whatever namespace, has it open.
    pub(crate) fn is_open(&self, id: SnapshotId) -> Result<bool> {
        Ok(self.find(id)?.is_some_and(|info| info.open_count > 0))
    }

    fn find_device(&self, device: u32) -> Result<Option<Device>> {
        let name = self.name(device);
        let found = self.pool.control.find(&name)?;
        match found {
            Some(info) if info.uuid != self.uuid(device) => Err(self.pool.trouble(
                format!("has a neighbor: the device `{name}` is not cowlab's"),
                format!("rename it: `dmsetup rename {name} OTHER`"),
            )),
            found => Ok(found),
        }
    }

    /// Makes the device of a snapshot and returns its node. A device that is there already serves both kinds of
    /// access while it is open.
    pub(crate) fn activate(&self, id: SnapshotId, access: Access) -> Result<PathBuf> {
        match self.open_device(id.number(), access) {
            Ok(info) => Ok(info.node()),
            Err(error) => match self.pool.mapped(id.number().into()) {
                Ok(None) => Err(self.lost(id)),
                _ => Err(self.explain(error)),
            },
        }
    }

    fn open_device(&self, device: u32, access: Access) -> Result<Device> {
        let read_only = access == Access::ReadOnly;
        if let Some(found) = self.find_device(device)?
            && found.is_live
        {
            if found.read_only == read_only || (found.open_count > 0 && !found.read_only) {
                return Ok(found);
            }
            self.close(device)?;
        }
        self.pool.require(Some(&self.record.table))?;
        let pool = self.pool.control.find(&self.pool.name)?;
        let number = pool.map(|info| info.number_text()).unwrap_or_default();
        let target = Target {
            length: self.record.sectors,
            kind: "thin".to_owned(),
            parameters: format!("{number} {device}"),
        };
        let (name, uuid) = (self.name(device), self.uuid(device));
        let writes = match access {
            Access::ReadWrite => Writes::Allowed,
            Access::ReadOnly => Writes::Refused,
        };
        self.pool.control.make(&name, &uuid, &target, writes)
    }

    /// Takes the device of a snapshot away.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] while it is open, which a mount in whatever namespace is, and a detached one too.
    pub(crate) fn deactivate(&self, id: SnapshotId) -> Result<()> {
        self.close(id.number())
    }

    fn close(&self, device: u32) -> Result<()> {
        for _ in 0..CLOSE_CHECKS {
            let Some(info) = self.find_device(device)? else {
                return Ok(());
            };
            if info.open_count == 0 {
                return self.pool.control.remove(&self.name(device));
            }
            std::thread::sleep(CLOSE_PAUSE);
        }
        let reason = "its device is open: by a mount, a detached one perhaps, or by a program that reads the device";
        match SnapshotId::new(device) {
            Some(id) => Err(Error::Busy {
                id,
                reason: reason.to_owned(),
            }),
            None => Err(self.pool.trouble(
                "has a base device that is in use".to_owned(),
                "end what reads it and try again",
            )),
        }
    }

    /// Whether a thin device stands in quarantine: it is nobody's, and its number is not used again.
    pub(crate) fn is_quarantined(&self, id: SnapshotId) -> Result<bool> {
        let dir = self.root.join("quarantine");
        let prefix = format!("{id}.");
        for entry in io("readdir", &dir, fs::read_dir(&dir))? {
            let entry = io("readdir", &dir, entry)?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The pool that the settings name.
pub(crate) fn named_pool(settings: &Settings) -> Result<Pool> {
    if !user_namespace::is_host_root() {
        return Err(Error::missing("root (CAP_SYS_ADMIN)", "run as root"));
    }
    let control = Control::open()?;
    let name = setting(settings, "pool").unwrap_or_default();
    if name.is_empty() {
        return Err(Error::missing(
            "the name of a thin pool",
            "make an empty pool for cowlab alone and name it in the setting `pool`",
        ));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+:@#".contains(c);
    if name.len() > LONGEST_NAME || !name.chars().all(plain) {
        return Err(Error::missing(
            format!("a thin pool of the name `{}`", name.escape_debug()),
            "name it as device-mapper does, in letters, digits and `-_.+:@#`, 100 at most",
        ));
    }
    Ok(Pool {
        name: name.to_owned(),
        control,
    })
}

/// The value of a setting.
fn setting<'a>(settings: &'a Settings, name: &str) -> Option<&'a str> {
    settings.get(name).map(String::as_str)
}

/// The size of a snapshot that the settings name, in bytes.
fn size(settings: &Settings, filesystem: FileSystem) -> Result<u64> {
    let unsupported = |what: String| Error::Unsupported {
        driver: crate::NAME,
        what,
        remedy: format!(
            "set `size` to a number of bytes with a unit, as in `10G`; {} takes {} MiB at least",
            filesystem.name(),
            filesystem.least_bytes() >> 20
        ),
    };
    let Some(text) = setting(settings, "size") else {
        return Ok(DEFAULT_SIZE);
    };
    let size: cowlab_driver::Bytes = text
        .parse()
        .map_err(|error| unsupported(format!("snapshots of this size ({error})")))?;
    if size.0 < filesystem.least_bytes() {
        return Err(unsupported(format!("snapshots of {size}")));
    }
    // Whole blocks of every file system.
    Ok(size.0 >> 16 << 16)
}

/// The mark of a store: FNV-1a of its identity, which is drawn at random. Never 0, which is the mark of an empty pool.
pub(crate) fn mark_of(store: &str) -> u64 {
    let hash = store
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    hash.max(1)
}
