//! Containers whose processes stand still: from `pause` to `unpause`, or while a commit reads.
//!
//! The kernel's freezer alone tells what stands still, so that nothing of it survives a reboot. The file `paused` says that
//! `pause` asked for it. A commit holds `pause.lock` instead: a container that is frozen without either was left so by a
//! commit that was killed, and the next command about it resumes it.

use std::path::PathBuf;

use cowlab_sys::lock::FileLock;

use super::place::{Containers, Found, Phase};
use super::record::Record;
use super::{Result, cgroup, files};

impl Containers<'_> {
    fn pause_lock(&self, id: &str) -> PathBuf {
        self.dir_of(id).join("pause.lock")
    }

    fn pause_marker(&self, id: &str) -> PathBuf {
        self.dir_of(id).join("paused")
    }

    /// Whether `pause` had the container stand still.
    pub(super) fn is_paused(&self, id: &str) -> bool {
        self.pause_marker(id).exists() && cgroup::is_frozen(id)
    }

    /// Has all processes of a container stand still until [`unpause`](Self::unpause), or until the host reboots.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`](super::Error::WrongState) for one that does not run, is paused already, or has no cgroup that can be frozen: an ordinary
    /// user's has none.
    pub fn pause(&self, record: &Record) -> Result<()> {
        let _lock = FileLock::exclusive(&self.pause_lock(&record.id))?;
        let found = self.again(record)?;
        if !matches!(found.phase, Phase::Running | Phase::Unwatched) {
            let needed = match found.phase {
                Phase::Paused => "it is paused already",
                _ => "only one that runs can be paused",
            };
            return Err(found.wrong_state(needed));
        }
        // First: whoever finds it frozen has to know that it is to stay so.
        files::replace(
            &self.pause_marker(&record.id),
            b"",
            files::FileDurability::Boot,
        )?;
        cgroup::freeze(&record.id, true).map_err(|reason| {
            // Some may stand still already.
            if let Err(error) = self.resume(&record.id) {
                tracing::warn!(%error, "left behind");
            }
            found.wrong_state(format!("it cannot be paused: {reason}"))
        })
    }

    /// Has a paused container go on.
    ///
    /// # Errors
    ///
    /// [`Error::WrongState`](super::Error::WrongState) for one that is not paused.
    pub fn unpause(&self, record: &Record) -> Result<()> {
        let _lock = FileLock::exclusive(&self.pause_lock(&record.id))?;
        let found = self.again(record)?;
        // Also what a `pause` left that was killed before everything stood still.
        self.resume(&record.id)?;
        match found.phase {
            Phase::Paused => Ok(()),
            _ => Err(found.wrong_state("it is not paused")),
        }
    }

    /// Has a container go on whoever paused it, and forgets that `pause` did.
    pub(super) fn resume(&self, id: &str) -> Result<()> {
        if let Err(reason) = cgroup::freeze(id, false) {
            tracing::debug!(reason, "it has no cgroup that could be frozen");
        }
        // Last: one that was killed in between left a container that runs, and a file that says nothing.
        self.forget_pause(id)
    }

    /// Removes the file that says that `pause` asked.
    pub(super) fn forget_pause(&self, id: &str) -> Result<()> {
        files::remove(&self.pause_marker(id))
    }

    /// Resumes a container that a killed commit left frozen.
    pub(super) fn wake(&self, id: &str) -> Result<()> {
        if cgroup::is_frozen(id)
            && let Some(_lock) = FileLock::try_exclusive(&self.pause_lock(id))?
            && !self.is_paused(id)
            && let Err(reason) = cgroup::freeze(id, false)
        {
            tracing::warn!(reason, "it stays paused");
        }
        Ok(())
    }
}

/// A container whose processes stand still as long as this is held.
pub(super) struct Paused<'a> {
    id: &'a str,
    /// Whether `pause` had them stand still before; then they go on standing still.
    was_paused: bool,
    /// Whoever finds the container frozen, and can have this lock, knows that who held it is dead.
    _lock: FileLock,
}

impl<'a> Paused<'a> {
    /// Has the processes of a container that is alive stand still.
    pub(super) fn during(containers: &Containers<'_>, found: &'a Found) -> Result<Self> {
        let id = &found.record.id;
        let lock = FileLock::exclusive(&containers.pause_lock(id))?;
        let was_paused = containers.is_paused(id);
        if !was_paused {
            // A `pause` or `unpause` that was killed left it; a commit that is killed must not be taken for a `pause`.
            containers.forget_pause(id)?;
        }
        // Made first: where only some stand still, they go on.
        let paused = Self {
            id,
            was_paused,
            _lock: lock,
        };
        cgroup::freeze(id, true).map_err(|reason| {
            let remedy = "stop it first, or take `--pause=false`";
            found.wrong_state(format!("it cannot be paused ({reason}): {remedy}"))
        })?;
        Ok(paused)
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        if !self.was_paused
            && let Err(error) = cgroup::freeze(self.id, false)
        {
            tracing::error!(error, "a container is left paused");
        }
    }
}
