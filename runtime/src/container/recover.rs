//! The first open of a boot: what a power cut left of containers, and what was not promised to survive it.
//!
//! | what is found | why it can be there | what is done |
//! |---|---|---|
//! | an ephemeral container of another boot | `run --rm` flushes its record alone | removed |
//! | one with `--rm` that was started | its states are not flushed from then on | removed |
//! | no record, or no state yet | its creation was cut off | removed |
//! | one that is being removed | its removal was cut off | removed |
//! | a snapshot `container/ID` without a container | the directory's name was not flushed | removed |
//! | a name of no container | an ephemeral container's name is not flushed | removed |
//! | the snapshot of a build's step | the build died with the boot | removed |
//!
//! A container whose locks are held is in use, and left alone. Every other one stays as it is.

use std::time::Duration;

use cowlab_snapshots::Filter;
use cowlab_sys::lock::FileLock;
use cowlab_sys::process::boot_id;

use super::names::is_id;
use super::place::{Containers, Found, Phase};
use super::record::{Record, snapshot_of};
use super::{Error, Result, files};
use crate::Root;

/// The boot in which the containers were last recovered, in the graph.
const RECOVERED: &str = "recovered_boot";

/// How long a process waits for another that recovers the same root.
const PATIENCE: Duration = Duration::from_secs(30);

/// Recovers the containers of a root, once a boot. What cannot be removed now is logged and tried again by the next open.
pub(crate) fn recover(root: &Root) -> Result<()> {
    let boot = boot_id()?;
    let is_recovered = || Ok::<_, Error>(root.graph().meta(RECOVERED)?.as_deref() == Some(&boot));
    if is_recovered()? {
        return Ok(());
    }
    let lock = FileLock::exclusive_within(&root.dir().join("locks/recovery"), PATIENCE)?;
    if lock.is_none() || is_recovered()? {
        return Ok(());
    }
    let containers = Containers::open(root)?;
    let mut is_whole = true;
    for id in containers.ids()? {
        if let Err(error) = containers.recover_one(&id, &boot) {
            tracing::warn!(id, %error, "a container of an earlier boot stays for now");
            is_whole = false;
        }
    }
    if let Err(error) = containers.remove_orphans() {
        tracing::warn!(%error, "what belongs to no container stays for now");
        is_whole = false;
    }
    if let Err(error) = root.remove_dead_builds() {
        tracing::warn!(%error, "what a build of an earlier boot left stays for now");
        is_whole = false;
    }
    match is_whole {
        true => Ok(root.graph().set_meta(&[(RECOVERED, &boot)])?),
        false => Ok(()),
    }
}

impl Containers<'_> {
    /// Removes a container that nothing was promised of, with its anonymous volumes; tidies any other.
    fn recover_one(&self, id: &str, boot: &str) -> Result<()> {
        let dir = self.dir_of(id);
        let locks = (
            FileLock::try_exclusive(&dir.join("lock"))?,
            FileLock::try_exclusive(&dir.join("monitor.lock"))?,
        );
        let (Some(_lock), Some(_monitor)) = locks else {
            return Ok(());
        };
        let Some(Found { record, phase, .. }) = self.read(id)? else {
            tracing::debug!(id, "removed: it has no record");
            return self.discard(id, &snapshot_of(id), None);
        };
        let is_lost = match phase {
            Phase::Creating | Phase::Removing => true,
            Phase::Created => record.ephemeral.as_deref().is_some_and(|made| made != boot),
            Phase::Starting | Phase::Running | Phase::Paused | Phase::Unwatched => false,
            // Without `--rm` every state was flushed: of one that is damaged its user decides.
            Phase::Exited | Phase::Dead | Phase::Damaged => record.remove,
        };
        if !is_lost {
            return self.tidy(&record);
        }
        tracing::debug!(
            id,
            name = record.name,
            "removed: nothing of it was promised"
        );
        if record.remove || phase == Phase::Creating {
            self.remove_anonymous_volumes(&record)?;
        }
        self.discard(id, &record.snapshot, Some(&record.name))
    }

    /// Removes files of commands that ended in the middle, and gives a container back the name that it lost.
    fn tidy(&self, record: &Record) -> Result<()> {
        let dir = self.dir_of(&record.id);
        for entry in cowlab_sys::dir::read_dir(&dir)? {
            let name = entry.name.to_string_lossy();
            if name.starts_with("exec-") || name.contains(files::PARTIAL) {
                cowlab_sys::dir::remove_tree(dir.join(&entry.name))?;
            }
        }
        let file = self.name_file(&record.name);
        if self.owner_of_name(&record.name).is_none() {
            files::remove(&file)?;
            files::claim(&file, record.id.as_bytes(), files::FileDurability::PowerCut)?;
        }
        Ok(())
    }

    /// Removes names and snapshots of containers that are not there.
    fn remove_orphans(&self) -> Result<()> {
        // Who makes a container shares this lock from before its directory is there.
        let _alone = self.volumes().alone_within(PATIENCE)?;
        for name in self.names()? {
            if self.owner_of_name(&name).is_none() {
                files::remove(&self.name_file(&name))?;
            }
        }
        let prefix = snapshot_of("");
        let filter = Filter {
            prefix: Some(prefix.clone()),
            ..Filter::default()
        };
        for info in self.store().list(&filter)? {
            let id = info.key.strip_prefix(&prefix);
            if id.is_some_and(|id| is_id(id) && !self.dir_of(id).exists()) {
                tracing::debug!(key = info.key, "removed: it is of no container");
                match self.store().remove(&info.key) {
                    Ok(()) | Err(cowlab_snapshots::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}
