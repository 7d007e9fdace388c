//! Where cases run: a store of its own on the column's backing file system, and a plain directory beside it.
//!
//! The runner uses it for the cases that are data; a case with a function gets it as it is.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use cowlab_driver::{Entry, Mounts, Settings, Variant};
use cowlab_snapshots::{CommitOptions, PrepareOptions, Store, StoreOptions};
use cowlab_sys::Guard;
use cowlab_testbed::{Places, Small};

use crate::compare::{Times, first_difference};
use crate::difference::Difference;
use crate::executor::Executor;
use crate::faults::{self, Fault, FaultyStore};
use crate::judge;
use crate::manifest::Manifest;
use crate::op::Op;
use crate::terms::Kind;
use crate::text;
use crate::timestamps::Timestamps;
use crate::tree::Tree;

/// The result of a case, or of a part of it.
pub type Result<T> = std::result::Result<T, Difference>;

/// A store, a plain directory, a mount point, and directories for anything else, all on one backing file system.
#[derive(Debug)]
pub struct Context {
    dir: PathBuf,
    entry: &'static Entry,
    variant: &'static Variant,
    places: Places,
    settings: Settings,
    /// The places of other stores.
    others: Vec<Settings>,
    /// The place with little room that the store is in, and whether the driver makes its snapshots of it.
    small: Option<Small>,
    names_pool: bool,
    store: Option<FaultyStore>,
    fault: Option<&'static Fault>,
    keeps: bool,
    timestamps: Timestamps,
    plain_timestamps: Timestamps,
}

impl Context {
    /// Makes a store in `dir`, which does not exist yet, with a fault or without.
    ///
    /// # Errors
    ///
    /// When the store cannot be made.
    pub(crate) fn new(
        dir: &Path,
        entry: &'static Entry,
        variant: &'static Variant,
        places: Places,
        fault: Option<&'static Fault>,
    ) -> Result<Self> {
        make_parts(dir)?;
        let mut context = Self {
            dir: dir.to_owned(),
            entry,
            variant,
            settings: places.fresh()?,
            places,
            others: Vec::new(),
            small: None,
            names_pool: false,
            store: None,
            fault,
            keeps: false,
            timestamps: Timestamps::begin(),
            plain_timestamps: Timestamps::begin(),
        };
        context.reopen()?;
        Ok(context)
    }

    /// Has snapshots stay when the case ends, for looking at.
    pub const fn keep(&mut self, keep: bool) {
        self.keeps = keep;
    }

    /// Whether snapshots stay when the case ends.
    #[must_use]
    pub const fn keeps(&self) -> bool {
        self.keeps
    }

    /// A directory on the backing file system, for what the case likes. It holds `store`, `mount` and `plain`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The root of the store.
    #[must_use]
    pub fn store_root(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// The plain directory.
    #[must_use]
    pub fn plain(&self) -> PathBuf {
        self.dir.join("plain")
    }

    /// The directory that snapshots are mounted on.
    #[must_use]
    pub fn mount_point(&self) -> PathBuf {
        self.dir.join("mount")
    }

    /// The driver that is judged. For opening stores; a case does not ask for its name.
    #[must_use]
    pub const fn entry(&self) -> &'static Entry {
        self.entry
    }

    /// The options of the store, as the column has them.
    #[must_use]
    pub fn store_options(&self) -> StoreOptions {
        StoreOptions {
            variant: Some(self.variant.name.to_owned()),
            settings: self.settings(&self.settings),
            ..StoreOptions::default()
        }
    }

    /// How many bytes the snapshots' place has in use once everything is written: the backing file system, or what the
    /// driver has instead.
    pub fn used(&self) -> Result<u64> {
        if let Some(small) = &self.small {
            return Ok(self.places.used_small(small)?);
        }
        if let Some(used) = self.places.used(&self.settings)? {
            return Ok(used);
        }
        cowlab_sys::durability::syncfs(&self.dir)?;
        Ok(cowlab_sys::stat::statfs(&self.dir)?.used_bytes())
    }

    /// Waits until everything is written, and counted: what a file occupies is known when it is on disk, and ZFS takes its
    /// time beyond what syncfs(2) waits for.
    pub fn settle(&self) -> Result<()> {
        self.used().map(drop)
    }

    pub(crate) const fn places(&self) -> &Places {
        &self.places
    }

    pub(crate) const fn small(&self) -> Option<&Small> {
        self.small.as_ref()
    }

    /// Whether the driver makes its snapshots of the pool with little room, and so can name it.
    pub(crate) const fn names_its_pool(&self) -> bool {
        self.names_pool
    }

    /// Makes the store anew, in a small place.
    pub(crate) fn move_to(&mut self, small: Small) -> Result<()> {
        self.dir = directory_in(&small, &self.dir);
        let settings = std::mem::replace(&mut self.settings, small.settings.clone());
        self.others.push(settings);
        let pool = small.pool.clone();
        self.small = Some(small);
        make_parts(&self.dir)?;
        self.reopen()?;
        self.names_pool = self.mounts_name(&pool)?;
        Ok(())
    }

    /// Whether what a snapshot is mounted from has this name in its own.
    fn mounts_name(&self, pool: &str) -> Result<bool> {
        let store = self.store();
        store.prepare("scout", None, &PrepareOptions::default())?;
        let mounts = store.mounts("scout")?;
        store.remove("scout")?;
        let Mounts::FileSystem(spec) = mounts else {
            return Ok(false);
        };
        let source = spec.source.unwrap_or_default();
        Ok(source.to_string_lossy().contains(pool))
    }

    /// How many bytes were ever written to the devices of the snapshots' place, once everything is written; `None` where it
    /// has none to itself.
    pub fn written(&self) -> Result<Option<u64>> {
        Ok(self.places.written(&self.settings)?)
    }

    /// The options of another store, in a place of its own.
    pub fn options_of_another_store(&mut self) -> Result<StoreOptions> {
        let settings = self.places.fresh()?;
        self.others.push(settings.clone());
        Ok(StoreOptions {
            settings: self.settings(&settings),
            ..self.store_options()
        })
    }

    /// The options of another store, in a place of its own with little room; the context's directory is then the one to
    /// have it in.
    pub fn options_of_a_narrow_store(&mut self) -> Result<StoreOptions> {
        match self.small_place()? {
            Some(small) if small.directory.is_none() => {
                let settings = self.settings(&small.settings);
                self.small = Some(small);
                Ok(StoreOptions {
                    settings,
                    ..self.store_options()
                })
            }
            Some(small) => {
                self.move_to(small)?;
                self.options_of_another_store()
            }
            None => self.options_of_another_store(),
        }
    }

    /// The store.
    ///
    /// # Panics
    ///
    /// Never, unless opening the store again failed and the case went on nevertheless.
    #[must_use]
    pub fn store(&self) -> &FaultyStore {
        self.store
            .as_ref()
            .expect("a case ends when its store cannot be opened")
    }

    /// Closes the store and opens it again, as another process would.
    ///
    /// # Errors
    ///
    /// When the store cannot be opened.
    pub fn reopen(&mut self) -> Result<()> {
        self.store = None;
        let root = self.store_root();
        let store = Store::open(&root, self.entry, &self.store_options())?;
        self.store = Some(FaultyStore::new(
            store,
            self.fault.map(|fault| fault.injection),
        )?);
        Ok(())
    }

    /// What drivers are told of a place, and of the fault that is planted.
    fn settings(&self, place: &Settings) -> Settings {
        let fault = self
            .fault
            .map(|fault| (faults::SETTING.to_owned(), fault.id.to_owned()));
        place.clone().into_iter().chain(fault).collect()
    }

    /// Commits a layer: what `ops` do on top of `parent`, under `name`.
    ///
    /// # Errors
    ///
    /// The first operation that fails, and what the store refuses.
    pub fn layer(&self, parent: Option<&str>, name: &str, ops: &[Op]) -> Result<()> {
        let key = format!("{name}.active");
        self.store()
            .prepare(&key, parent, &PrepareOptions::default())?;
        self.with_mount(&key, |dir| perform_all(dir, ops))?;
        self.store().commit(&key, name, &CommitOptions::default())?;
        Ok(())
    }

    /// Does the same in a directory `name` beside the plain one, made if it is not there.
    ///
    /// # Errors
    ///
    /// The first operation that fails.
    pub fn plain_layer(&self, name: &str, ops: &[Op]) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir)?;
        perform_all(&dir, ops)?;
        Ok(dir)
    }

    /// Mounts an active snapshot or a view for the time of `body`.
    ///
    /// # Errors
    ///
    /// What `body` returns, and a mount or an unmount that fails.
    pub fn with_mount<T>(&self, key: &str, body: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let mut mounted = self.store().mount(key, &self.mount_point())?;
        let done = body(mounted.target());
        // The first trouble is the one to report.
        let closed = mounted.close();
        let value = done?;
        closed?;
        Ok(value)
    }

    /// Mounts a view of a committed snapshot for the time of `body`.
    pub fn with_view<T>(&self, name: &str, body: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let key = format!("{name}.view");
        self.store().view(&key, name)?;
        let done = self.with_mount(&key, body);
        let removed = self.store().remove(&key);
        let value = done?;
        removed?;
        Ok(value)
    }

    /// Looks at a committed snapshot through a view.
    ///
    /// # Errors
    ///
    /// As [`with_view`](Self::with_view), and what cannot be read.
    pub fn manifest(&self, name: &str) -> Result<Manifest> {
        self.with_view(name, |dir| Ok(Manifest::capture(dir)?))
    }

    /// Begins a layer in the timestamps of both, so that times taken in it are compared by it.
    pub fn begin_layer(&mut self, label: &str) {
        self.timestamps.open(label);
        self.plain_timestamps.open(label);
    }

    /// Ends the layer.
    pub fn end_layer(&mut self) {
        self.timestamps.close();
        self.plain_timestamps.close();
    }

    /// The timestamps of the plain directory and of the driver.
    pub const fn timestamps(&mut self) -> (&mut Timestamps, &mut Timestamps) {
        (&mut self.plain_timestamps, &mut self.timestamps)
    }

    /// Compares the tree of the driver with the plain one.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub fn same_tree(&self, plain: &Manifest, got: &Manifest) -> Result<()> {
        let times = Times::Timestamps(&self.plain_timestamps, &self.timestamps);
        first_difference(plain, got, times).map_or(Ok(()), Err)
    }

    /// Compares a committed snapshot with its parent: what an earlier layer wrote still has its time. A file that the
    /// layer `label` wrote may have any.
    ///
    /// # Errors
    ///
    /// The first path whose time changed although nothing else did.
    pub fn kept_from(&self, parent: &Manifest, child: &Manifest, label: &str) -> Result<()> {
        let now = format!("during {label}");
        for (path, entry) in &child.entries {
            let Some(before) = parent.entries.get(path) else {
                continue;
            };
            let moment = self.timestamps.moment(entry.mtime);
            // Two entries of one layer that swapped their names have the same moment, but not the same content.
            let same = moment == self.timestamps.moment(before.mtime)
                && entry.kind == before.kind
                && entry.content == before.content
                && (entry.kind != Kind::Dir || same_names(parent.below(path), child.below(path)));
            if same && moment != now && entry.mtime != before.mtime {
                let path = text::escape(path);
                let aspect = "modification time";
                return Err(Difference::new(path, aspect, "the parent's", "another"));
            }
        }
        Ok(())
    }

    /// Compares two looks at one tree: not even a time may differ.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub fn unchanged(&self, before: &Manifest, after: &Manifest) -> Result<()> {
        first_difference(before, after, Times::Exact).map_or(Ok(()), Err)
    }
}

impl Drop for Context {
    /// Gives the place back; one that is still in use stays for whoever takes the file system down.
    fn drop(&mut self) {
        if self.keeps {
            return;
        }
        self.store = None;
        for settings in self.others.iter().chain([&self.settings]) {
            if let Err(error) = self.places.release(settings) {
                tracing::warn!(%error, "a case left its place in use");
            }
        }
        let released = self
            .small
            .as_ref()
            .map_or(Ok(()), |small| self.places.release_small(small));
        if let Err(error) = released {
            tracing::warn!(%error, "a case left its pool in use");
        }
    }
}

/// Where a context in a small place has its directories.
fn directory_in(small: &Small, dir: &Path) -> PathBuf {
    small.directory.as_deref().unwrap_or(dir).join("narrow")
}

/// Makes the directories of a context.
fn make_parts(dir: &Path) -> Result<()> {
    for part in ["", "mount", "plain-mount"] {
        fs::create_dir(dir.join(part))?;
    }
    Ok(())
}

/// Whether two directories have the same names in them, at least one.
fn same_names<'a>(
    mut one: impl Iterator<Item = &'a [u8]>,
    mut two: impl Iterator<Item = &'a [u8]>,
) -> bool {
    let first = one.next();
    first.is_some() && first == two.next() && one.eq(two)
}

/// Expects two values to be equal.
///
/// # Errors
///
/// The difference, as `path: aspect: expected X, got Y`.
pub fn expect<T: PartialEq + fmt::Display>(
    path: impl fmt::Display,
    aspect: impl fmt::Display,
    expected: T,
    got: T,
) -> Result<()> {
    if expected == got {
        Ok(())
    } else {
        Err(Difference::new(path, aspect, expected, got))
    }
}

/// Performs operations that must give what they state, or succeed.
pub(crate) fn perform_all(dir: &Path, ops: &[Op]) -> Result<()> {
    let mut executor = Executor::new(Tree::open(dir)?);
    let given = |op| judge::stated(op, &executor.perform(op));
    ops.iter().find_map(given).map_or(Ok(()), Err)
}
