//! Finding and removing what killed runs left.
//!
//! A run is dead when its lock is free. Of a dead run, only what has the run's name and is in its
//! journal is removed. Live runs, and anything else that looks like a test object, are left and
//! named.

use std::fmt;
use std::path::{Path, PathBuf};

use cowlab_sys::lock::FileLock;
use cowlab_sys::{FileKind, Leak, dir, loopdev, mountinfo, process, stat};

use crate::journal::{Origin, Record, run_of};
use crate::run::real_directory;
use crate::shared::{LOCK, is_in_place};
use crate::{Error, Result, teardown, thin, zpool};

/// What every test object's name begins with.
const PREFIX: &str = "cowlab-test-";

/// A dead run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The run's id.
    pub run: String,
    /// Its directory.
    pub directory: PathBuf,
    /// The process it was, where it came as far as writing that down.
    pub pid: Option<u32>,
    /// What is there to remove, one object each, in words.
    pub objects: Vec<String>,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} in `{}`", self.run, self.directory.display())?;
        if let Some(pid) = self.pid {
            write!(f, ", once process {pid}")?;
        }
        Ok(())
    }
}

/// Something that is not removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The object.
    pub path: PathBuf,
    /// Why it stays.
    pub reason: String,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.path.display(), self.reason)
    }
}

/// What looks like test objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Dead runs, to be removed.
    pub stale: Vec<Stale>,
    /// Live runs and everything else, not to be removed.
    pub left: Vec<Left>,
}

/// Looks at everything in `base` that is named like a test object, and at loop devices and mounts
/// whose run is gone. Changes nothing.
///
/// # Errors
///
/// Returns [`Error::NotRoot`] where there is anything to look at, [`Error::Directory`] where `base`
/// is none, and [`Error::Sys`].
pub fn survey(base: &Path) -> Result<Survey> {
    let base = real_directory(base)?;
    let mut survey = Survey::default();
    let mut entries = dir::read_dir(&base)?;
    entries.retain(|entry| entry.name.to_string_lossy().starts_with(PREFIX));
    if !entries.is_empty() && !process::is_root() {
        return Err(Error::NotRoot {
            action: "look for stale test runs",
        });
    }
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    for entry in entries {
        let directory = base.join(&entry.name);
        match examine(&directory) {
            Ok(Verdict::Stale(stale)) => survey.stale.push(stale),
            Ok(Verdict::Left(reason)) => survey.left.push(Left {
                path: directory,
                reason,
            }),
            Ok(Verdict::Gone) => {}
            Err(error) => {
                survey.left.push(Left {
                    path: directory,
                    reason: error.to_string(),
                });
            }
        }
    }
    survey.left.extend(orphans(&base)?);
    Ok(survey)
}

/// Returns the dead runs in `base`.
pub fn list(base: &Path) -> Result<Vec<Stale>> {
    Ok(survey(base)?.stale)
}

/// Removes a dead run: unmounts, frees loop devices, deletes its files. A run that is found alive,
/// and one that another sweep has removed meanwhile, is left alone without an error.
///
/// # Errors
///
/// Returns [`Error::Leaks`] naming what stays because it is in use or not in the journal; the run
/// can be swept again when that has changed.
pub fn remove(stale: &Stale) -> Result<()> {
    let directory = &stale.directory;
    // Held to the end, so that two sweeps do not meet.
    let _lock = match lock(directory)? {
        Hold::Dead(lock) => lock,
        Hold::Live | Hold::Gone => return Ok(()),
    };
    // Read again: the survey may be old.
    let record = Record::read(directory)?;
    if record.is_none() {
        // Without a journal nothing was made: the directory has a lock at most, or is not ours.
        return teardown::remove_run(directory, None);
    }
    let mut leaks = teardown::take_down(directory)?;
    leaks.extend(elsewhere(directory)?);
    if !leaks.is_empty() {
        return Err(leaks.into());
    }
    teardown::remove_run(directory, record)?;
    tracing::debug!(run = stale.run, "swept");
    Ok(())
}

/// What a directory turns out to be.
enum Verdict {
    Stale(Stale),
    Left(String),
    Gone,
}

fn examine(directory: &Path) -> Result<Verdict> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let Some(run) = run_of(&name) else {
        return Ok(Verdict::Left(
            "this is not the name of a test run".to_owned(),
        ));
    };
    if let Some(reason) = distrust(directory)? {
        return Ok(Verdict::Left(reason));
    }
    // Trying a lock makes its file, so only one that is there is tried: looking changes nothing.
    let _lock = if directory.join(LOCK).exists() {
        match lock(directory)? {
            Hold::Dead(lock) => Some(lock),
            Hold::Gone => return Ok(Verdict::Gone),
            Hold::Live => return Ok(Verdict::Left(live(directory)?)),
        }
    } else {
        None
    };
    let record = Record::read(directory)?;
    if let Some(Origin { run: other, .. }) = record
        .as_ref()
        .map(|record| &record.origin)
        .filter(|origin| origin.run != run)
    {
        return Ok(Verdict::Left(format!("its journal is that of run {other}")));
    }
    let unknown = teardown::unknown(directory)?;
    if record.is_none() && !unknown.is_empty() {
        return Ok(Verdict::Left("it has files and no journal".to_owned()));
    }
    Ok(Verdict::Stale(Stale {
        run: run.to_owned(),
        directory: directory.to_path_buf(),
        pid: record.as_ref().map(|record| record.origin.pid),
        objects: objects(directory)?,
    }))
}

fn live(directory: &Path) -> Result<String> {
    let record = Record::read(directory)?;
    let pid = record.map_or_else(
        || "unknown".to_owned(),
        |record| record.origin.pid.to_string(),
    );
    Ok(format!("the run lives, process {pid}"))
}

/// Tells why a directory cannot be a run's, whatever its journal says: one that others can write
/// to could make root remove anything named in it.
fn distrust(directory: &Path) -> Result<Option<String>> {
    let found = stat::lstat(directory)?;
    let reason = if found.kind() != FileKind::Directory {
        "this is no directory"
    } else if found.uid != process::effective_uid() {
        "it belongs to another user"
    } else if found.permissions() & 0o022 != 0 {
        "others can write to it"
    } else {
        return Ok(None);
    };
    Ok(Some(reason.to_owned()))
}

/// Whether a run's lock could be had.
enum Hold {
    Dead(FileLock),
    Live,
    Gone,
}

fn lock(directory: &Path) -> Result<Hold> {
    let path = directory.join(LOCK);
    match FileLock::try_exclusive(&path) {
        Err(error) if error.errno() == Some(cowlab_sys::Errno::NOENT) => Ok(Hold::Gone),
        Err(error) => Err(error.into()),
        Ok(None) => Ok(Hold::Live),
        Ok(Some(lock)) if is_in_place(&lock) => Ok(Hold::Dead(lock)),
        // Another sweep was faster.
        Ok(Some(_)) => Ok(Hold::Gone),
    }
}

fn objects(directory: &Path) -> Result<Vec<String>> {
    let mut objects = teardown::leftovers(directory)?;
    objects.push(format!("the directory `{}`", directory.display()));
    Ok(objects)
}

/// Returns the mounts of a run in other mount namespaces, after its own are gone: deleting a mount
/// point would detach them there, behind the back of whoever works in it.
fn elsewhere(directory: &Path) -> Result<Vec<Leak>> {
    let own = stat::stat("/proc/thread-self/ns/mnt")?.ino;
    let mut leaks = Vec::new();
    for namespace in mountinfo::every_namespace()? {
        if namespace.inode == own {
            continue;
        }
        let pids: Vec<_> = namespace.pids.iter().map(ToString::to_string).collect();
        for mount in mountinfo::at_or_below(&namespace.mounts, directory) {
            let path = &mount.mount_point;
            let what = format!(
                "the mount at `{}` in the mount namespace of process {}",
                path.display(),
                pids.join(", ")
            );
            let source = teardown::named("umount", path, cowlab_sys::Errno::BUSY);
            leaks.push(Leak { what, source });
        }
    }
    Ok(leaks)
}

/// Returns loop devices and mounts that look like those of a run in `base` whose directory is
/// gone, and with it the journal that would prove it.
fn orphans(base: &Path) -> Result<Vec<Left>> {
    let gone = |path: &Path| {
        let first = path
            .strip_prefix(base)
            .ok()?
            .components()
            .next()?
            .as_os_str();
        let run = base.join(first);
        let named = first.to_string_lossy().starts_with(PREFIX);
        (named && !run.exists()).then_some(run)
    };
    let mut orphans = Vec::new();
    for (device, image) in loopdev::list()? {
        if gone(&teardown::without_deleted(&image)).is_some() {
            let reason = format!(
                "it is bound to `{}`, whose run is gone; `losetup -d` frees it",
                image.display()
            );
            orphans.push(Left {
                path: device,
                reason,
            });
        }
    }
    for pool in zpool::imported()? {
        let run = pool
            .get(..PREFIX.len() + 8)
            .filter(|_| pool.starts_with(PREFIX));
        if run.is_some_and(|run| !base.join(run).exists()) {
            let reason = "its run is gone; `zpool destroy` ends it".to_owned();
            let path = pool.into();
            orphans.push(Left { path, reason });
        }
    }
    for device in thin::devices()? {
        let run = device
            .get(..PREFIX.len() + 8)
            .filter(|_| device.starts_with(PREFIX));
        if run.is_some_and(|run| !base.join(run).exists()) {
            let reason = "its run is gone; `dmsetup remove` ends it".to_owned();
            let path = device.into();
            orphans.push(Left { path, reason });
        }
    }
    for mount in mountinfo::read_self()? {
        if gone(&teardown::without_deleted(&mount.mount_point)).is_some() {
            let reason = "its run is gone; `umount` ends it".to_owned();
            orphans.push(Left {
                path: mount.mount_point,
                reason,
            });
        }
    }
    Ok(orphans)
}
