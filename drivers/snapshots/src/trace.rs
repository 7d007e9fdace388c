//! Which snapshots of a chain have something at one path, told the same way for every driver.
//!
//! A driver that keeps a snapshot's own part apart says what is in it; for others two snapshots are compared at the path.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use cowlab_driver::{
    Access, Bytes, Candidate, Chain, Copied, CopyUp, Mounts, Own, SnapshotId, tree,
};
use cowlab_sys::at::{self, OFlags};
use cowlab_sys::{Errno, FileKind, Root, Stat};

use cowlab_layer::changes::{Change, ChangeKind, same_entry};

use crate::locks::{Hold, SnapshotLock};
use crate::readable::Readable;
use crate::row::{self, Row};
use crate::store::Store;
use crate::{Error, Result};

/// What is at a path, in a snapshot and in those below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What the snapshot shows there.
    pub shown: Option<Facts>,
    /// The snapshots of the chain that have something of their own there, newest first.
    pub traces: Vec<Traced>,
    /// What a first write copies.
    pub copy_up: CopyUp,
    /// Directories above the path that a copy-up makes as well.
    pub directories: u64,
    /// Where the snapshot itself has it, for a driver whose snapshots are whole trees: a directory's entry.
    pub place: Option<PathBuf>,
    /// The same: the device or the data set.
    pub volume: Option<PathBuf>,
}

/// What one snapshot has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// The snapshot's key or name.
    pub snapshot: String,
    /// Whether it is the snapshot that was asked about, and not one below.
    pub is_head: bool,
    /// The entry; `None` where it is removed here.
    pub entry: Option<Facts>,
    /// Whether it is a directory in which what is below shows as well.
    pub merges: bool,
    /// What of it was copied from below, where the driver can tell.
    pub copied: Option<Copied>,
    /// Where it lies in a directory of the driver's.
    pub place: Option<PathBuf>,
    /// The device or data set that it is in, where it lies in no directory.
    pub volume: Option<PathBuf>,
}

/// An entry of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Its type.
    pub kind: FileKind,
    /// Its size in bytes.
    pub size: u64,
    /// Its names.
    pub links: u64,
    /// What it allocates.
    pub allocated: Bytes,
    /// What of that no other file has a share in, where it can be told.
    pub exclusive: Option<Bytes>,
}

impl Facts {
    fn new(stat: &Stat, exclusive: Option<Bytes>) -> Self {
        Self {
            kind: stat.kind(),
            size: stat.size,
            links: stat.nlink,
            allocated: Bytes(stat.blocks.saturating_mul(512)),
            exclusive,
        }
    }
}

/// What a snapshot copied from its parent and removed of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopiedUp {
    /// Files that were copied or written in part.
    pub files: u64,
    /// Their sizes in the parent, in bytes: what a driver copies that copies whole files.
    pub bytes: Bytes,
    /// Names that were removed: the whiteouts of a layer.
    pub whiteouts: u64,
}

/// A snapshot of the chain, made readable when it is needed.
struct Level {
    id: SnapshotId,
    chain: Chain,
    row: Row,
    shown: Option<(Readable, SnapshotLock)>,
}

impl Store {
    /// Tells which snapshots of the chain have something at `path`, absolute with the snapshot's root as `/`, in which no
    /// symbolic link is followed.
    ///
    /// Costs a mount for each snapshot that has something there; where the driver cannot tell which, for each of the chain.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Driver`], [`Error::Sys`].
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn trace(&self, key: &str, path: &Path) -> Result<Trace> {
        let (row, lock) = self.hold(key, Hold::Shared)?;
        let mut levels = self.levels(&row)?;
        let traced = self.trace_levels(&mut levels, path);
        let ids: Vec<_> = levels.iter().map(|level| level.id).collect();
        drop(levels);
        drop(lock);
        for id in ids {
            self.release(id);
        }
        traced
    }

    fn levels(&self, head: &Row) -> Result<Vec<Level>> {
        let chain = self.chain(head)?;
        let ids: Vec<_> = chain.iter().collect();
        let level = |number: usize| {
            let id = ids[number];
            let row = self.database.read(|tx| row::by_id(tx, id))?;
            Ok(Level {
                id,
                chain: Chain::new(id, ids[number + 1..].to_vec()),
                row: row.ok_or_else(|| Error::not_found(&head.name))?,
                shown: None,
            })
        };
        (0..ids.len()).map(level).collect()
    }

    fn trace_levels(&self, levels: &mut [Level], path: &Path) -> Result<Trace> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let top = self.entry(levels, 0, relative)?;
        let mut traces = Vec::new();
        for number in 0..levels.len() {
            traces.extend(self.traced(levels, number, relative)?);
        }
        let copy_up = self.driver.info().copy_up;
        let directories = match copy_up {
            CopyUp::File => self.missing_above(levels[0].id, relative)?,
            CopyUp::Blocks | CopyUp::Everything => 0,
        };
        let (place, volume) = match copy_up {
            CopyUp::File => (None, None),
            CopyUp::Blocks | CopyUp::Everything => self.place(&levels[0], relative)?,
        };
        Ok(Trace {
            shown: top.map(|(_, _, stat)| Facts::new(&stat, None)),
            traces,
            copy_up,
            directories,
            place,
            volume,
        })
    }

    /// Resolves a path as a process would that has the snapshot for its root: symbolic links are followed but for the last
    /// name's. What is not there is taken as it is written.
    pub fn resolve(&self, key: &str, path: &Path) -> Result<PathBuf> {
        let (row, lock) = self.hold(key, Hold::Shared)?;
        let resolved = self.open_readable(&row).and_then(|shown| {
            let root = Root::open(shown.path())?;
            Ok(root.resolve_name_inside(path)?)
        });
        drop(lock);
        self.release(row.id);
        resolved
    }

    /// What one level has of its own at the path.
    fn traced(&self, levels: &mut [Level], number: usize, path: &Path) -> Result<Option<Traced>> {
        let name = levels[number].row.name.clone();
        let own = self
            .own(levels[number].id, path)
            .map_err(Error::driver("look into", &name))?;
        let (is_there, merges, copied, own_place) = match own {
            Some(Own::Nothing) => return Ok(None),
            Some(Own::Hidden { place }) => (false, false, None, Some(place)),
            Some(Own::Entry {
                place,
                merges,
                copied,
            }) => (true, merges, Some(copied), Some(place)),
            None => match self.differs(levels, number, path)? {
                None => return Ok(None),
                Some((is_there, merges)) => (is_there, merges, None, None),
            },
        };
        if !is_there && self.entry(levels, number + 1, path)?.is_none() {
            // A mark over nothing says nothing.
            return Ok(None);
        }
        let (place, volume) = match own_place {
            Some(place) => (Some(place), None),
            None => self.place(&levels[number], path)?,
        };
        let is_head = number == 0;
        let entry = match self.entry(levels, number, path)? {
            Some((_, _, stat)) if is_head => {
                let exclusive = place.as_deref().and_then(|place| alone(place, &stat));
                Some(Facts::new(&stat, exclusive))
            }
            Some((_, _, stat)) => Some(Facts::new(&stat, None)),
            None => None,
        };
        Ok(Some(Traced {
            snapshot: name,
            is_head,
            entry,
            merges,
            copied,
            place: place.filter(|_| is_there),
            volume,
        }))
    }

    /// Compares a level with the one below at the path: whether something is there, and merges with what is below;
    /// `None` where nothing differs.
    fn differs(
        &self,
        levels: &mut [Level],
        number: usize,
        path: &Path,
    ) -> Result<Option<(bool, bool)>> {
        let here = self.entry(levels, number, path)?;
        let below = self.entry(levels, number + 1, path)?;
        Ok(match (here, below) {
            (None, None) => None,
            (None, Some(_)) => Some((false, false)),
            (Some(_), None) => Some((true, false)),
            (Some(here), Some(below)) => {
                let both =
                    here.2.kind() == FileKind::Directory && below.2.kind() == FileKind::Directory;
                let dirs = (&File::from(below.0), &File::from(here.0));
                let same = same_entry(dirs, here.1.as_os_str(), (&below.2, &here.2))
                    .map_err(Error::layer("compare", &levels[number].row.name))?;
                (!same).then_some((true, both))
            }
        })
    }

    /// The entry at the path in one level: its directory, its name there and its attributes.
    fn entry(
        &self,
        levels: &mut [Level],
        number: usize,
        path: &Path,
    ) -> Result<Option<(OwnedFd, PathBuf, Stat)>> {
        let Some(level) = levels.get_mut(number) else {
            return Ok(None);
        };
        if level.shown.is_none() {
            let lock = self.share(&level.row)?;
            level.shown = Some((self.open_readable(&level.row)?, lock));
        }
        let shown = level.shown.as_ref();
        let shown = shown.map_or(Path::new("/"), |(shown, _)| shown.path());
        let root = Root::open(shown)?;
        let (dir, name) = match path.file_name() {
            None => (root.dir(path)?, PathBuf::from(".")),
            Some(_) => match root.open_parent(path) {
                Ok((dir, name)) => (dir, name.into()),
                Err(error) if is_absence(error.errno()) => return Ok(None),
                Err(error) => return Err(error.into()),
            },
        };
        let stat = at::stat_if_present(&dir, &name)?;
        let dir = at::open_dir(&dir, ".")?;
        Ok(stat.map(|stat| (dir, name, stat)))
    }

    fn place(&self, level: &Level, path: &Path) -> Result<(Option<PathBuf>, Option<PathBuf>)> {
        let described = self
            .driver
            .describe_mount(&level.chain, Access::ReadOnly)
            .map_err(Error::driver("find", &level.row.name))?;
        Ok(match described {
            Mounts::Bind { source, .. } => (Some(source.join(path)), None),
            Mounts::FileSystem(spec) => (None, spec.source),
        })
    }

    /// Counts what was copied; a file that was opened for writing and not written counts where the driver copied it.
    pub(crate) fn count_copied(
        &self,
        key: &str,
        id: SnapshotId,
        (shown, parent): (&Readable, &Readable),
        changes: &[Change],
    ) -> Result<CopiedUp> {
        let mut counted = CopiedUp::default();
        let mut paths = BTreeSet::new();
        for change in changes {
            match change.kind {
                ChangeKind::Deleted => counted.whiteouts += 1,
                ChangeKind::Modified => drop(paths.insert(change.path.clone())),
                ChangeKind::Added => {}
            }
        }
        let modified = paths.clone();
        if self.driver.info().copy_up == CopyUp::File && !shown.is_mounted {
            let row = self.database.read(|tx| row::by_id(tx, id))?;
            let row = row.ok_or_else(|| Error::not_found(key))?;
            let candidates = self.driver.candidates(&self.chain(&row)?);
            let candidates = candidates.map_err(Error::driver("measure", key))?;
            let absolute = |one: Candidate| Path::new("/").join(one.path);
            paths.extend(candidates.into_iter().flatten().map(absolute));
        }
        let (shown, parent) = (Root::open(shown.path())?, Root::open(parent.path())?);
        for path in paths {
            let path = path.strip_prefix("/").unwrap_or(&path);
            let regular = |root| match stat_below(root, path) {
                Ok(found) => Ok(found.filter(|stat: &Stat| stat.kind() == FileKind::Regular)),
                Err(error) => Err(error),
            };
            let (Some(_), Some(original)) = (regular(&shown)?, regular(&parent)?) else {
                continue;
            };
            let own = self.own(id, path);
            let is_copy = match own.map_err(Error::driver("measure", key))? {
                None => modified.contains(&Path::new("/").join(path)),
                Some(Own::Entry { copied, .. }) => {
                    // overlayfs marks no copy of a file with several names (fs/overlayfs/copy_up.c, `ovl_copy_up_one`).
                    copied == Copied::Whole || (copied == Copied::Nothing && original.nlink > 1)
                }
                Some(_) => false,
            };
            if is_copy {
                counted.files += 1;
                counted.bytes += Bytes(original.size);
            }
        }
        Ok(counted)
    }

    /// Asks the driver what the snapshot has of its own at the path; `None` where only a comparison can tell.
    fn own(&self, id: SnapshotId, path: &Path) -> cowlab_driver::Result<Option<Own>> {
        self.driver
            .provenance()
            .map_or(Ok(None), |provenance| provenance.own(id, path))
    }

    /// How many directories above the path a snapshot has not of its own.
    fn missing_above(&self, id: SnapshotId, path: &Path) -> Result<u64> {
        let mut missing = 0;
        for dir in path.ancestors().skip(1) {
            if let Some(Own::Nothing) = self
                .own(id, dir)
                .map_err(Error::driver("look into", "the snapshot"))?
            {
                missing += 1;
            }
        }
        Ok(missing)
    }
}

fn stat_below(root: &Root, path: &Path) -> Result<Option<Stat>> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    match root.open_parent(path) {
        Ok((dir, name)) => Ok(at::stat_if_present(&dir, &name)?),
        Err(error) if is_absence(error.errno()) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_absence(errno: Option<Errno>) -> bool {
    matches!(errno, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

/// What of an entry in a directory of the driver's no other file has a share in; `None` where it cannot be told.
fn alone(place: &Path, seen: &Stat) -> Option<Bytes> {
    let (dir, name) = (place.parent()?, place.file_name()?);
    let dir = cowlab_sys::dir::open(dir).ok()?;
    if seen.kind() == FileKind::Regular {
        // What is still to be written has no place, and no size on some file systems.
        let file = at::open(
            dir.as_fd(),
            Path::new(name),
            OFlags::RDONLY | OFlags::NONBLOCK,
            0,
        )
        .ok()?;
        File::from(file).sync_all().ok()?;
    }
    let stat = at::stat(&dir, Path::new(name)).ok()?;
    let mut tally = tree::Tally::default();
    let kind = stat.kind();
    tally
        .add(&stat, || tree::shared_bytes(&dir, Path::new(name), kind))
        .ok()?;
    Some(tally.exclusive().bytes)
}
