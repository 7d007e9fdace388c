//! Snapshots as directories of changes: what the drivers share that have a union stack them.
//!
//! ```text
//! <root>/<id>/diff      the snapshot's own changes: an upper directory, later a lower one
//! <root>/<id>/work      scratch space of the union; gone once the snapshot is frozen
//! <root>/empty          a lower without content, for unions that want one
//! ```
//!
//! How they are stacked, and how a deletion is recorded in them ([`OverlayXattrs`]), is the driver's.

use std::path::{Path, PathBuf};

use cowlab_sys::dir;
use cowlab_sys::durability::fsync_dir;
use cowlab_sys::guard::Guard;

use crate::upper::{self, OverlayXattrs};
use crate::{
    Access, Candidate, Candidates, Chain, CreateOptions, Driver, Durability, Error, Home,
    OpenOptions, Own, Reach, Result, SnapshotId, Usage, make_dir, make_dir_once, projects, tree,
};

/// The snapshots of a probe.
const PROBED: [u32; 2] = [1, 2];

/// Tries a driver out in the directory of a probe: makes a snapshot that `fill` writes and a child of it, and mounts the child,
/// in which `change` works. Returns the child's upper directory.
///
/// # Errors
///
/// What fails first; an error of the mount as `explain` has it.
pub fn try_out(
    driver: &dyn Driver,
    place: &Path,
    fill: impl FnOnce(&Path) -> Result<()>,
    explain: impl FnOnce(Error) -> Error,
    change: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let id =
        |number| SnapshotId::new(number).ok_or_else(|| Error::missing("a snapshot number", ""));
    let (parent, child) = (id(PROBED[0])?, id(PROBED[1])?);
    let diff = |id: SnapshotId| driver.root().join(id.to_string()).join("diff");
    driver.create(parent, None, &CreateOptions::default())?;
    fill(&diff(parent))?;
    driver.flush(parent, Durability::None)?;
    driver.freeze(parent)?;
    let base = Chain::new(parent, Vec::new());
    driver.create(child, Some(&base), &CreateOptions::default())?;
    let mounts = driver.activate(&Chain::new(child, vec![parent]), Access::ReadWrite)?;
    let target = place.join("mount");
    make_dir(&target, 0o755)?;
    let mut guard = mounts.mount_at(&target).map_err(explain)?;
    let changed = change(&target);
    let closed = guard.close();
    changed?;
    closed.map_err(|leak| Error::Sys(leak.source))?;
    driver.deactivate(child)?;
    Ok(diff(child))
}

/// The directories of one driver's snapshots.
#[derive(Debug)]
pub struct Layers {
    home: Home,
    xattrs: OverlayXattrs,
    driver: &'static str,
}

impl Layers {
    /// Opens the driver's directory, making it if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRoot`] when another store made it.
    pub fn open(
        options: &OpenOptions,
        driver: &'static str,
        xattrs: OverlayXattrs,
    ) -> Result<Self> {
        let layers = Self {
            home: Home::open(&options.root, &options.store)?,
            xattrs,
            driver,
        };
        make_dir_once(&layers.empty(), 0o755)?;
        Ok(layers)
    }

    /// The driver's directory.
    #[must_use]
    pub const fn home(&self) -> &Home {
        &self.home
    }

    /// How deletions are recorded.
    #[must_use]
    pub const fn xattrs(&self) -> OverlayXattrs {
        self.xattrs
    }

    /// The directory of a snapshot's changes, there or not.
    #[must_use]
    pub fn diff(&self, id: SnapshotId) -> PathBuf {
        self.home.path(id).join("diff")
    }

    /// A directory without content.
    #[must_use]
    pub fn empty(&self) -> PathBuf {
        self.home.root().join("empty")
    }

    /// The scratch space of a snapshot, which a frozen one has not.
    #[must_use]
    pub fn work(&self, id: SnapshotId) -> PathBuf {
        self.home.path(id).join("work")
    }

    /// The snapshot's directory.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], or [`Error::Frozen`] when the snapshot is frozen.
    pub fn writable(&self, id: SnapshotId) -> Result<PathBuf> {
        let snapshot = self.home.existing(id)?;
        if self.work(id).symlink_metadata().is_err() {
            return Err(Error::Frozen(id));
        }
        Ok(snapshot)
    }

    /// Makes a snapshot without changes, with the attributes of the parent's root.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`], [`Error::NotFound`] for the parent, [`Error::Unsupported`] for a limit that cannot be had.
    pub fn create(
        &self,
        id: SnapshotId,
        parent: Option<&Chain>,
        options: &CreateOptions,
    ) -> Result<()> {
        if let Some(chain) = parent {
            self.home.existing(chain.head())?;
        }
        self.home.create(id, options.durability, |snapshot| {
            make_dir(snapshot, 0o700)?;
            let (work, diff) = (snapshot.join("work"), snapshot.join("diff"));
            make_dir(&work, 0o700)?;
            make_dir(&diff, 0o755)?;
            if let Some(limit) = options.size_limit
                && let Err(error) =
                    projects::limit(&self.home, self.driver, id, &[&work, &diff], limit)
            {
                // Refused, not cut off: nothing is left for a later `destroy`.
                dir::remove_tree(snapshot)?;
                return Err(error);
            }
            match parent {
                Some(chain) => upper::inherit_root(&self.diff(chain.head()), snapshot),
                None => Ok(()),
            }
        })
    }

    /// Marks a flushed snapshot as frozen.
    ///
    /// # Errors
    ///
    /// When the scratch space cannot be removed.
    pub fn freeze(&self, id: SnapshotId) -> Result<()> {
        // A committed layer has no scratch space: its absence is what "frozen" means here.
        dir::remove_tree(self.work(id))?;
        Ok(fsync_dir(self.home.path(id))?)
    }

    /// Makes a snapshot writable again.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn thaw(&self, id: SnapshotId) -> Result<()> {
        let snapshot = self.home.existing(id)?;
        let work = self.work(id);
        if work.symlink_metadata().is_ok() {
            // A removal that was cut off leaves a part, which the next mount empties (overlayfs.rst).
            return Ok(());
        }
        make_dir(&work, 0o700)?;
        Ok(fsync_dir(&snapshot)?)
    }

    /// Removes a snapshot that nobody uses.
    ///
    /// # Errors
    ///
    /// The first thing that could not be removed.
    pub fn destroy(&self, id: SnapshotId) -> Result<()> {
        self.home.destroy(id, |path| {
            projects::release(&self.home, &path.join("diff"))?;
            Ok(dir::remove_tree(path)?)
        })
    }

    /// Measures what a snapshot's changes allocate.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn usage(&self, id: SnapshotId) -> Result<Usage> {
        self.home.existing(id)?;
        Ok(Usage {
            exclusive: tree::allocation(&self.diff(id))?,
            shared: None,
        })
    }

    /// Names the paths in which the chain's head may differ from its parent: all that its directory has.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn candidates(&self, chain: &Chain) -> Result<Option<Candidates>> {
        self.home.existing(chain.head())?;
        if chain.ancestors().is_empty() {
            return Ok(Some(vec![Candidate {
                path: PathBuf::new(),
                reach: Reach::Subtree,
            }]));
        }
        upper::candidates(&self.diff(chain.head()), self.xattrs).map(Some)
    }

    /// Says what the snapshot has of its own at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn own(&self, id: SnapshotId, path: &Path) -> Result<Option<Own>> {
        self.home.existing(id)?;
        upper::own(&self.diff(id), path, self.xattrs)
    }
}
