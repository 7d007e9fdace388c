//! What a build of an image keeps in the root while it goes on, and beyond it.
//!
//! ```text
//! <root>/locks/build-<number>     held by a build as long as it lives
//! <root>/locks/step-<00..ff>      held while a step is run, by the first byte of its key
//! <root>/build/mount-*/           where a step mounts snapshots, in a mount namespace of its own
//! <root>/build/cache/<digits>/    a directory of `RUN --mount=type=cache`: see [`cache`]
//! ```
//!
//! Steps work in active snapshots `build/<number>/<id>`. Those of a build whose lock is free belong to a dead one: the next
//! build that takes the number removes them, and so do `prune` and the first open of a boot. What steps made is recorded in the graph
//! ([`StepRow`](crate::graph::StepRow)).

pub mod cache;
mod exchange;
mod finish;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use cowlab_driver::Durability;
use cowlab_layer::{DiffOptions, Digest};
use cowlab_snapshots::{Error as StoreError, Filter, PrepareOptions};
use cowlab_sys::lock::FileLock;
use cowlab_sys::{IdSource, durability, interrupt, stat};
use cowlab_units::Timestamp;

use crate::container::{self, Containers, RemoveOptions};
use crate::graph::{LayerRow, LayerState};
use crate::{Error, Result, Root};

pub use exchange::{CachePlace, ImportedCache};
pub use finish::StepOptions;

/// What the key of a build's snapshot begins with.
const PREFIX: &str = "build/";

/// A build that goes on.
#[derive(Debug)]
pub struct Build<'r> {
    root: &'r Root,
    number: usize,
    /// The keys of snapshots that are neither a layer yet nor removed.
    open: Mutex<BTreeSet<String>>,
    _alive: FileLock,
    _adding: FileLock,
}

impl Root {
    /// Begins a build. Until it ends, nothing is collected: what it adds has no name yet.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] where what a dead build left cannot be removed.
    pub fn begin_build(&self) -> Result<Build<'_>> {
        durability::create_dir_all(cache::dir(self))?;
        let adding = self.adding()?;
        let mut number = 0;
        let alive = loop {
            match FileLock::try_exclusive(&lock_of(self, number))? {
                Some(lock) => break lock,
                None => number += 1,
            }
        };
        self.remove_build(number)?;
        Ok(Build {
            root: self,
            number,
            open: Mutex::default(),
            _alive: alive,
            _adding: adding,
        })
    }

    /// Removes what dead builds left.
    pub(crate) fn remove_dead_builds(&self) -> Result<()> {
        let mut numbers = BTreeSet::new();
        for info in self.store().list(&snapshots(PREFIX.to_owned()))? {
            let rest = info.key.strip_prefix(PREFIX).unwrap_or_default();
            let number = rest.split('/').next().unwrap_or_default();
            numbers.extend(number.parse::<usize>());
        }
        for number in numbers {
            if let Some(_dead) = FileLock::try_exclusive(&lock_of(self, number))? {
                self.remove_build(number)?;
            }
        }
        Ok(())
    }

    /// Removes the snapshots of a dead build, and the container that still works in one. The caller holds the lock of its number.
    fn remove_build(&self, number: usize) -> Result<()> {
        let left = self
            .store()
            .list(&snapshots(format!("{PREFIX}{number}/")))?;
        if left.is_empty() {
            return Ok(());
        }
        self.remove_borrowers(&left.iter().map(|info| info.key.as_str()).collect())?;
        for info in left {
            match self.store().remove(&info.key) {
                Ok(()) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn remove_borrowers(&self, keys: &BTreeSet<&str>) -> Result<()> {
        let all = Containers::open(self).and_then(|containers| {
            let force = RemoveOptions {
                force: true,
                volumes: true,
            };
            for found in containers.list()? {
                if keys.contains(found.record.snapshot.as_str()) {
                    match containers.remove(&found.record, force) {
                        Ok(()) | Err(container::Error::NotFound { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Ok(())
        });
        all.map_err(|reason| Error::Root {
            path: self.dir().to_owned(),
            reason: format!("the container of a dead build cannot be removed: {reason}"),
        })
    }
}

impl<'r> Build<'r> {
    /// The root.
    #[must_use]
    pub const fn root(&self) -> &'r Root {
        self.root
    }

    /// Makes a writable snapshot on a layer, or an empty one, and returns its key. A power cut may take it away, whole.
    pub fn prepare(&self, parent: Option<&LayerRow>) -> Result<String> {
        let key = self.new_key()?;
        let parent = parent.map(|layer| layer.cache_id.as_str());
        self.root.store().prepare(&key, parent, &ephemeral())?;
        Ok(key)
    }

    /// Makes a read-only snapshot of a layer, and returns its key. A power cut may take it away, whole.
    pub fn view(&self, layer: &LayerRow) -> Result<String> {
        let key = self.new_key()?;
        let options = ephemeral();
        let parent = Some(layer.cache_id.as_str());
        self.root.store().view_with(&key, parent, &options)?;
        Ok(key)
    }

    /// An empty directory to mount something at, in a mount namespace of one's own: others mount there as well.
    pub fn place(&self, name: &str) -> Result<PathBuf> {
        let place = self.root.dir().join(format!("build/mount-{name}"));
        durability::create_dir_all(&place)?;
        Ok(place)
    }

    fn new_key(&self) -> Result<String> {
        let id = IdSource::Kernel.uuid("build")?;
        let key = format!("{PREFIX}{}/{id}", self.number);
        self.open().insert(key.clone());
        Ok(key)
    }

    /// Gives `work` the tree of a writable snapshot, which nobody else sees meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Store`], and what `work` returns.
    pub fn with_mounted<T, E: From<Error>>(
        &self,
        key: &str,
        work: impl FnOnce(&Path) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let done = self.root.store().with_writable(key, work);
        done.map_err(Error::from)?
    }

    /// Makes a layer of what a step changed in a snapshot; `None` where that is nothing. The snapshot is gone afterwards.
    ///
    /// # Errors
    ///
    /// [`Error::Store`], while somebody still has the snapshot mounted for example.
    pub fn commit(
        &self,
        key: &str,
        parent: Option<&LayerRow>,
        options: &StepOptions,
    ) -> Result<Option<LayerRow>> {
        self.finish(key, options)?;
        let diff = DiffOptions {
            // Where holes are, differs from one file system to the next.
            sparse: options.epoch.is_none(),
            ..DiffOptions::default()
        };
        let layer = self.root.adopt(key, parent, &diff)?;
        self.open().remove(key);
        Ok(layer)
    }

    /// Applies a layer that is here to another parent, and returns the layer that comes of it.
    ///
    /// # Errors
    ///
    /// [`Error::Unpack`].
    pub fn rebase(&self, layer: &LayerRow, parent: &LayerRow) -> Result<LayerRow> {
        self.root.rebase_layer(layer, parent)
    }

    /// Removes a snapshot that no layer is made of.
    pub fn remove(&self, key: &str) -> Result<()> {
        match self.root.store().remove(key) {
            Ok(()) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.open().remove(key);
        Ok(())
    }

    /// Takes the lock of a step, which keeps others from running it at the same time; `waiting` is called before a wait.
    ///
    /// # Errors
    ///
    /// [`Error::Sys`], [`Error::Interrupted`].
    pub fn lock_step(&self, key: &Digest, waiting: impl FnOnce()) -> Result<FileLock> {
        let name = format!("locks/step-{:02x}", key.as_bytes()[0]);
        let path = self.root.dir().join(name);
        if let Some(lock) = FileLock::try_exclusive(&path)? {
            return Ok(lock);
        }
        waiting();
        exclusive(&path)
    }

    /// The layer that a record of the cache names, if all that it needs is here and as it was: its snapshot, and its blob or what
    /// makes it again. What was changed from outside since is made anew where it can be: a blob from the snapshot, a snapshot
    /// from the blob.
    ///
    /// # Errors
    ///
    /// [`Error::Database`], [`Error::Store`]; [`Error::InUse`] for a damaged layer that a container stands on.
    pub fn usable_layer(&self, chain_id: &str) -> Result<Option<LayerRow>> {
        let row = self.root.graph().layer(chain_id)?;
        let Some(row) = row.filter(|row| row.state == LayerState::Ready) else {
            return Ok(None);
        };
        let info = match self.root.store().stat(&row.cache_id) {
            Err(StoreError::NotFound { .. }) => {
                self.root.graph().doubt_layer(chain_id)?;
                return Ok(None);
            }
            info => info?,
        };
        let has_blob = self.has_blob(&row, info.created)?;
        if !self.root.store().is_as_committed(&row.cache_id)?
            && !self.root.compare(&row)?.changes.is_empty()
        {
            tracing::warn!(
                chain_id,
                "changed since it was made: made again from its blob"
            );
            let mut made = Vec::new();
            self.root.make_again(&row, &mut made)?;
            return self.root.graph().layer(chain_id);
        }
        Ok(Some(row).filter(|_| has_blob))
    }

    /// Whether the blob of a layer is here and what it was, or something that makes it again. Its change time is no later than
    /// that of the snapshot, unless somebody changed it.
    fn has_blob(&self, row: &LayerRow, committed: i64) -> Result<bool> {
        let blob = crate::root::digest(&row.blob, self.root.graph())?;
        let found = stat::lstat(self.root.blobs().path(&blob)).ok();
        let is_whole = found.is_some_and(|found| found.size == row.blob_size);
        let is_older = |found: stat::Stat| {
            let changed = found.ctime.sec.saturating_mul(1_000_000_000);
            changed.saturating_add(i64::from(found.ctime.nsec)) <= committed
        };
        if is_whole && (found.is_some_and(is_older) || self.root.blobs().verify(&blob)?) {
            return Ok(true);
        }
        if found.is_some() {
            // What is left of it would be taken for the whole.
            self.root.blobs().remove(&blob)?;
        }
        Ok(self.root.has_recipe(row)? || self.root.repack_layer(row)?)
    }

    /// Ends the build: what it did not make a layer of is removed, and so are blobs that recipes stand in for.
    pub fn end(self) -> Result<()> {
        let root = self.root;
        drop(self);
        root.discard_blobs()
    }

    fn open(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Build<'_> {
    fn drop(&mut self) {
        for key in std::mem::take(&mut *self.open()) {
            match self.root.store().remove(&key) {
                Ok(()) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => {
                    tracing::warn!(key, %error, "left behind: the next build, or `prune`, removes it");
                }
            }
        }
    }
}

/// The time that a step is said to be made at, as configurations have it: now, or `SOURCE_DATE_EPOCH`, in seconds since 1970.
#[must_use]
pub fn timestamp(epoch: Option<i64>) -> String {
    let time = match epoch {
        Some(seconds) => {
            SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        }
        None => SystemTime::now(),
    };
    Timestamp::from(time).to_string()
}

/// Waits for a lock, unless a signal asks to stop.
fn exclusive(path: &Path) -> Result<FileLock> {
    const LOOK_UP: Duration = Duration::from_millis(100);
    loop {
        if let Some(lock) = FileLock::exclusive_within(path, LOOK_UP)? {
            return Ok(lock);
        }
        if interrupt::requested() {
            return Err(Error::Interrupted);
        }
    }
}

/// How a snapshot is made that nothing was promised of.
fn ephemeral() -> PrepareOptions {
    PrepareOptions {
        durability: Durability::None,
        ..PrepareOptions::default()
    }
}

/// The snapshots whose keys begin so.
fn snapshots(prefix: String) -> Filter {
    Filter {
        prefix: Some(prefix),
        ..Filter::default()
    }
}

fn lock_of(root: &Root, number: usize) -> PathBuf {
    root.dir().join(format!("locks/build-{number}"))
}
