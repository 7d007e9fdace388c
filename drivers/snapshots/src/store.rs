//! The store: what it is made of, how it is opened, and what only reads it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cowlab_driver::{
    Access, Activation, Chain, Driver, Durability, Entry, FlushScope, Home, MountData, Mounts,
    OpenOptions, Settings, SnapshotId, Usage, Variant,
};
use cowlab_sys::IdSource;
use cowlab_sys::Stat;
use cowlab_sys::lock::FileLock;
use rusqlite::Transaction;

use crate::database::{self, Database, Flush, ZFS_MAGIC};
use crate::info::{Filter, Info, Kind, StoreOptions};
use crate::locks::{Hold, Locks, SnapshotLock};
use crate::report::Recovery;
use crate::row::{self, Row};
use crate::{Error, Result};
use crate::{naming, settings, suspicion};

/// Who a store is: recorded when it is made, checked at every open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its own, made at random.
    pub uuid: String,
    /// The driver's name.
    pub driver: String,
    /// The driver's variant.
    pub variant: String,
    /// The driver's directory.
    pub driver_root: PathBuf,
    /// What the driver was told about its place besides.
    pub settings: Settings,
}

/// A snapshot store.
///
/// Any number of processes may have it open, and any number of threads may share one `Store`.
#[derive(Debug)]
pub struct Store {
    pub(crate) root: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) boot: String,
    pub(crate) database: Arc<Database>,
    pub(crate) locks: Locks,
    pub(crate) driver: Arc<dyn Driver>,
    pub(crate) recovery: Recovery,
    /// What was said last of the driver's health.
    pub(crate) warned: Mutex<Vec<String>>,
}

/// The name of the driver's directory where no other was given.
const DRIVER_DIR: &str = "driver";

impl Store {
    /// Opens the store at `root` with a driver, making it if it is not there, and takes back or
    /// completes what dead processes left undone.
    ///
    /// A driver that cannot run here leaves no store behind that is bound to it.
    ///
    /// # Errors
    ///
    /// [`Error::Newer`], [`Error::NotAStore`], [`Error::Recorded`], [`Error::ForeignRoot`],
    /// [`Error::UnknownVariant`], or [`Error::Unusable`] from the driver.
    #[tracing::instrument(level = "debug", skip_all, fields(root = %root.display(), driver = entry.name))]
    pub fn open(root: &Path, entry: &Entry, options: &StoreOptions) -> Result<Self> {
        cowlab_sys::durability::create_dir_all(root)?;
        let root = cowlab_sys::io("realpath", root, root.canonicalize())?;
        let dir = root.join("locks");
        cowlab_sys::io("mkdir", &dir, fs::create_dir_all(&dir))?;
        // Two first opens would otherwise both make the database, and both claim the driver's root.
        let opening = FileLock::exclusive(&dir.join("open"))?;
        let database = Database::open(&database_path(&root), options.database_timeout)?;
        let (identity, variant) = identify(&root, &database, entry, options)?;
        let driver = (entry.open)(&OpenOptions {
            root: identity.driver_root.clone(),
            variant,
            settings: identity.settings.clone(),
            store: identity.uuid.clone(),
        })
        .map_err(Error::opening)?;
        record(&root, &database, &identity)?;
        drop(opening);
        let mut store = Self {
            locks: Locks::new(&dir, options.lock_timeout),
            boot: cowlab_sys::process::boot_id()?,
            root,
            identity,
            database: Arc::new(database),
            driver: Arc::from(driver),
            recovery: Recovery::default(),
            warned: Mutex::default(),
        };
        store.recovery = store.recover()?;
        store.warn_of_health();
        Ok(store)
    }

    /// The store's root, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Who the store is.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The driver below the store.
    #[must_use]
    pub fn driver(&self) -> &dyn Driver {
        &*self.driver
    }

    /// What opening the store took back or completed.
    #[must_use]
    pub const fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Reads the facts about a snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn stat(&self, key: &str) -> Result<Info> {
        self.database
            .read(|tx| row::info(tx, &visible(row::find(tx, key)?, key)?))
    }

    /// Lists the snapshots that match, ordered by key.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Info>> {
        self.database.read(|tx| row::list(tx, filter))
    }

    /// Sets labels (`Some`) and removes labels (`None`); others stay.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::InvalidLabel`].
    #[tracing::instrument(level = "debug", skip(self, changes))]
    pub fn update_labels(
        &self,
        key: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<Info> {
        for (label, value) in changes {
            naming::check_label(label, value.as_deref().unwrap_or_default())?;
        }
        self.database.write(|tx| {
            let id = visible(row::find(tx, key)?, key)?.id;
            for (label, value) in changes {
                match value {
                    Some(value) => {
                        let one = [(label.clone(), value.clone())].into();
                        row::add_labels(tx, id, &one)?;
                    }
                    None => row::remove_label(tx, id, label)?,
                }
            }
            row::touch(tx, id)?;
            row::info(tx, &visible(row::find(tx, key)?, key)?)
        })
    }

    /// Tells what a snapshot allocates. That of a committed one was measured when it was committed; else it costs up to
    /// O(entries of its layer).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Driver`].
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn usage(&self, key: &str) -> Result<Usage> {
        let (row, _lock) = self.hold(key, Hold::Shared)?;
        if row.kind == Kind::Committed
            && let Some(usage) = self.database.read(|tx| row::usage(tx, row.id))?
        {
            return Ok(usage);
        }
        let usage = self.driver.usage(row.id);
        let usage = usage.map_err(Error::driver("measure", key))?;
        if row.kind == Kind::Committed && self.is_usage_final() {
            // It was committed by an older program, without a flush, or by a recovery.
            let record = |tx: &Transaction<'_>| row::record_usage(tx, row.id, &usage);
            if let Err(error) = self.database.write_flushed(Flush::Later, record) {
                tracing::debug!(key, %error, "it is measured again when it is asked for");
            }
        }
        Ok(usage)
    }

    /// Measures a snapshot that has just been frozen, for the record. Without a flush it would have to be flushed for that.
    pub(crate) fn measured(&self, id: SnapshotId, durability: Durability) -> Option<Usage> {
        if durability == Durability::None || !self.is_usage_final() {
            return None;
        }
        let usage = self.driver.usage(id);
        let failed = |error: &_| tracing::debug!(%id, %error, "measured when it is asked for");
        usage.inspect_err(failed).ok()
    }

    /// Whether what was flushed has its blocks counted. ZFS counts them when it writes the transaction group, seconds later:
    /// syncfs(2) writes the intent log alone (OpenZFS, zfs_vfsops.c, `zfs_sync`).
    fn is_usage_final(&self) -> bool {
        match self.driver.info().flush {
            FlushScope::Device | FlushScope::Pool => true,
            FlushScope::Files | FlushScope::FileSystem => {
                let found = cowlab_sys::stat::statfs(self.driver.root());
                found.is_ok_and(|found| found.fstype_magic != ZFS_MAGIC)
            }
        }
    }

    /// Makes an active snapshot or a view mountable and says how. The caller mounts it, and sees to it that an
    /// active snapshot has one mount; [`mount`](Self::mount) does both.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::WrongKind`] for a committed snapshot, [`Error::Driver`].
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn mounts(&self, key: &str) -> Result<Mounts> {
        let (row, _lock) = self.hold_to_mount(key)?;
        mountable(&row)?;
        Ok(self.activate(&row)?.into_mounts())
    }

    /// Says how other programs mount an active snapshot or a view: the mount of [`mounts`](Self::mounts), as data.
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn mount_data(&self, key: &str) -> Result<MountData> {
        let (row, _lock) = self.hold_to_mount(key)?;
        mountable(&row)?;
        let chain = self.chain(&row)?;
        self.begin_writing(&row)?;
        self.activating("mount", &row, access_of(row.kind), |access| {
            self.driver.activate_for_others(&chain, access)
        })
        .inspect_err(|_| self.no_writing(&row))
        .map(|mounts| mounts.data())
        .map_err(|error| self.explained("mount", key, error))
    }

    /// Says how a snapshot is mounted, and has no effect: a device in the answer need not be there.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Driver`].
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn describe_mount(&self, key: &str) -> Result<Mounts> {
        let (row, _lock) = self.hold(key, Hold::Shared)?;
        self.driver
            .describe_mount(&self.chain(&row)?, access_of(row.kind))
            .map_err(Error::driver("look up the mount of", key))
    }

    /// Takes the lock of a snapshot that is to be mounted: alone for one that is then written to.
    pub(crate) fn hold_to_mount(&self, key: &str) -> Result<(Row, SnapshotLock)> {
        let hold = match self.stat(key)?.kind {
            Kind::Active => Hold::Exclusive,
            Kind::View | Kind::Committed => Hold::Shared,
        };
        self.hold(key, hold)
    }

    /// Notes how the storage is before an active snapshot becomes writable.
    fn begin_writing(&self, row: &Row) -> Result<()> {
        match row.kind {
            Kind::Active => suspicion::begin(&*self.driver, &self.database, row),
            Kind::View | Kind::Committed => Ok(()),
        }
    }

    /// Ends what [`begin_writing`](Self::begin_writing) noted of a snapshot that did not become writable.
    fn no_writing(&self, row: &Row) {
        let is_new = row.kind == Kind::Active && row.write_epoch.is_none();
        if is_new && let Err(error) = suspicion::end(&*self.driver, &self.database, row.id) {
            tracing::debug!(key = row.name, %error, "what the storage did since is compared later");
        }
    }

    /// The mount data of a snapshot, in the access that its kind has.
    pub(crate) fn activate(&self, row: &Row) -> Result<Activation> {
        self.begin_writing(row)?;
        self.activate_for("mount", row, &self.chain(row)?, access_of(row.kind))
            .inspect_err(|_| self.no_writing(row))
            .map_err(|error| self.explained("mount", &row.name, error))
    }

    /// Has the driver make a snapshot mountable, for `action`. The caller holds its lock.
    pub(crate) fn activate_for(
        &self,
        action: &'static str,
        row: &Row,
        chain: &Chain,
        access: Access,
    ) -> Result<Activation> {
        self.activating(action, row, access, |access| {
            self.driver.activate(chain, access)
        })
    }

    fn activating(
        &self,
        action: &'static str,
        row: &Row,
        access: Access,
        activate: impl FnOnce(Access) -> cowlab_driver::Result<Activation>,
    ) -> Result<Activation> {
        let is_serial = self.driver.info().serial_activation && access == Access::ReadOnly;
        let _others = match is_serial {
            false => None,
            true => {
                let lock = self.locks.activation()?;
                Some(lock.ok_or_else(|| Error::in_progress(&row.name))?)
            }
        };
        activate(access)
            .map_err(Error::driver(action, &row.name))
            .map_err(|error| self.named(error))
    }

    pub(crate) fn chain(&self, row: &Row) -> Result<Chain> {
        self.database.read(|tx| row::chain(tx, row.id))
    }

    /// Takes the lock of a snapshot that callers see, and reads its row under the lock.
    ///
    /// What a dead process left undone on it is settled first.
    pub(crate) fn hold(&self, key: &str, hold: Hold) -> Result<(Row, SnapshotLock)> {
        loop {
            let row = self.database.read(|tx| row::find(tx, key))?;
            let row = row.ok_or_else(|| Error::not_found(key))?;
            let Some(lock) = self.locks.take(row.id, hold)? else {
                return match row.is_visible() {
                    true => Err(Error::in_progress(key)),
                    false => Err(Error::not_found(key)),
                };
            };
            // Whoever held the lock before may have renamed or removed the snapshot.
            match self.database.read(|tx| row::by_id(tx, row.id))? {
                None => lock.retire(),
                Some(row) if row.operation.is_some() => {
                    drop(lock);
                    if !self.settle_if_free(row.id)? && !row.is_visible() {
                        return Err(Error::not_found(key));
                    }
                }
                Some(row) if row.name == key => return Ok((row, lock)),
                Some(_) => {}
            }
        }
    }

    /// Takes the lock of a snapshot that cannot go, for another one is above it, to look at it: who else looks at it
    /// would otherwise have the driver take it back in between.
    pub(crate) fn share(&self, row: &Row) -> Result<SnapshotLock> {
        let lock = self.locks.take(row.id, Hold::Shared)?;
        lock.ok_or_else(|| Error::in_progress(&row.name))
    }
}

/// How a snapshot of a kind is mounted.
const fn access_of(kind: Kind) -> Access {
    match kind {
        Kind::Active => Access::ReadWrite,
        Kind::View | Kind::Committed => Access::ReadOnly,
    }
}

/// Refuses what has no mount of its own.
pub(crate) fn mountable(row: &Row) -> Result<()> {
    match row.kind {
        Kind::Active | Kind::View => Ok(()),
        Kind::Committed => Err(Error::WrongKind {
            key: row.name.clone(),
            kind: row.kind,
            needed: "only active snapshots and views are mounted: make a view of it",
        }),
    }
}

/// The row, if there is one that callers see.
pub(crate) fn visible(row: Option<Row>, key: &str) -> Result<Row> {
    row.filter(Row::is_visible)
        .ok_or_else(|| Error::not_found(key))
}

fn database_path(root: &Path) -> PathBuf {
    root.join("snapshots.db")
}

/// Checks what the caller asked for against what the store recorded.
fn identify(
    root: &Path,
    database: &Database,
    entry: &Entry,
    options: &StoreOptions,
) -> Result<(Identity, &'static Variant)> {
    let recorded = recorded(root, database)?;
    let differs = |what, recorded: &str, asked: &str| Error::Recorded {
        path: root.to_owned(),
        what,
        recorded: recorded.to_owned(),
        asked: asked.to_owned(),
    };
    if let Some(identity) = &recorded {
        if identity.driver != entry.name {
            return Err(differs("driver", &identity.driver, entry.name));
        }
        if let Some(asked) = options.variant.as_deref()
            && asked != identity.variant
        {
            return Err(differs("variant", &identity.variant, asked));
        }
    }
    let name = match (&recorded, &options.variant) {
        (Some(identity), _) => identity.variant.as_str(),
        (None, Some(asked)) => asked.as_str(),
        (None, None) => entry.default_variant().name,
    };
    let variant = entry
        .variant(name)
        .ok_or_else(|| unknown_variant(entry, name))?;
    let driver_root = driver_root(root, recorded.as_ref(), options)?;
    let known = recorded.as_ref().map(|identity| &identity.settings);
    let settings = settings::agreed(root, known, &options.settings)?;
    let uuid = match recorded {
        Some(identity) => identity.uuid,
        None => uuid(root, database, options.id_source)?,
    };
    let identity = Identity {
        uuid,
        driver: entry.name.to_owned(),
        variant: variant.name.to_owned(),
        driver_root,
        settings,
    };
    Ok((identity, variant))
}

/// The driver's directory: the recorded one, or the one that was asked for where that is the store's own.
fn driver_root(
    root: &Path,
    recorded: Option<&Identity>,
    options: &StoreOptions,
) -> Result<PathBuf> {
    let asked = match &options.driver_root {
        Some(path) => Some(cowlab_sys::io("getcwd", path, std::path::absolute(path))?),
        None => None,
    };
    let (identity, asked) = match (recorded, asked) {
        (Some(identity), Some(asked)) => (identity, asked),
        (Some(identity), None) => return Ok(identity.driver_root.clone()),
        (None, Some(asked)) => return Ok(asked),
        (None, None) => return Ok(root.join(DRIVER_DIR)),
    };
    // A disk that is mounted elsewhere, or a directory that was renamed: its mark names its owner, wherever it is.
    let is_own = same(&identity.driver_root, &asked)
        || Home::owner_of(&asked).map_err(Error::Unusable)?.as_ref() == Some(&identity.uuid);
    match is_own {
        true => Ok(asked),
        false => Err(Error::Recorded {
            path: root.to_owned(),
            what: "driver root",
            recorded: identity.driver_root.display().to_string(),
            asked: asked.display().to_string(),
        }),
    }
}

fn unknown_variant(entry: &Entry, name: &str) -> Error {
    let known: Vec<_> = entry
        .variants
        .iter()
        .map(|variant| format!("`{}`", variant.name))
        .collect();
    Error::UnknownVariant {
        driver: entry.name,
        variant: name.to_owned(),
        known: known.join(", "),
    }
}

/// Whether two paths lead to one directory, also by bind mounts.
fn same(a: &Path, b: &Path) -> bool {
    let stat = |path| cowlab_sys::stat::stat(path).ok();
    let is_one = |a: Stat, b: Stat| (a.dev, a.ino) == (b.dev, b.ino);
    a == b || matches!((stat(a), stat(b)), (Some(a), Some(b)) if is_one(a, b))
}

/// The store's own uuid, made and recorded at first. It comes before the driver is opened, so that a
/// driver root claimed by a first open that failed is still ours at the next.
fn uuid(root: &Path, database: &Database, id_source: IdSource) -> Result<String> {
    if let Some(uuid) = database.meta("uuid")? {
        return Ok(uuid);
    }
    let uuid = id_source.uuid(&root.to_string_lossy())?;
    database.set_meta("uuid", &uuid)?;
    Ok(uuid)
}

fn recorded(root: &Path, database: &Database) -> Result<Option<Identity>> {
    database.read(|tx| {
        let [uuid, driver, variant, driver_root] =
            ["uuid", "driver", "variant", "driver_root"].map(|name| database::meta(tx, name));
        // Absent in a store made before there were settings.
        let settings = database::meta(tx, "settings")?.unwrap_or_default();
        Ok(match (uuid?, driver?, variant?, driver_root?) {
            (Some(uuid), Some(driver), Some(variant), Some(driver_root)) => Some(Identity {
                uuid,
                driver,
                variant,
                // Relative to the store, so that a store may be moved.
                driver_root: root.join(driver_root),
                settings: settings::of_text(&settings),
            }),
            _ => None,
        })
    })
}

fn record(root: &Path, database: &Database, identity: &Identity) -> Result<()> {
    if let Some(recorded) = database.meta("driver_root")? {
        let (before, now) = (root.join(recorded), &identity.driver_root);
        if same(&before, now) {
            return Ok(());
        }
        let (before, now) = (before.display(), now.display());
        tracing::warn!(%before, %now, "the driver's directory is at another place than before");
    }
    let Identity {
        driver,
        variant,
        driver_root,
        settings,
        ..
    } = identity;
    let settings = settings::to_text(settings)?;
    let relative = driver_root.strip_prefix(root).unwrap_or(driver_root);
    let Some(relative) = relative.to_str() else {
        return Err(Error::NotAStore {
            path: driver_root.clone(),
            reason: "the path of a driver root has to be UTF-8 text".to_owned(),
        });
    };
    database.write(|tx| {
        database::set_meta(tx, "driver", driver)?;
        database::set_meta(tx, "variant", variant)?;
        database::set_meta(tx, "settings", &settings)?;
        Ok(database::set_meta(tx, "driver_root", relative)?)
    })
}
