//! What a container changed: told, measured, and written as a layer or as a whole tree.

use std::io::Write;
use std::path::Path;

use cowlab_driver::Usage;
use cowlab_snapshots::{Change, ChangeKind, DiffOptions, Written};
use libcontainer::container::Container;

use super::place::{Containers, Found};
use super::{Error, Result};

impl Containers<'_> {
    /// Lists what a container changed in its image. Mount points that were made for mounts are no change.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub fn changes(&self, found: &Found) -> Result<Vec<Change>> {
        let mut changes = self.store().changes(&found.record.snapshot)?;
        let scaffold = self.only_scaffold(found, &changes);
        changes.retain(|change| !scaffold.contains(&change.path));
        Ok(changes)
    }

    /// The mount points with nothing of the container's own below them.
    fn only_scaffold(&self, found: &Found, changes: &[Change]) -> Vec<std::path::PathBuf> {
        let made = &found.state.scaffold;
        let own = |place: &Path| {
            let is_own = |change: &&Change| {
                change.path != place
                    && change.path.starts_with(place)
                    && !made.contains(&change.path)
            };
            changes.iter().find(is_own).is_some()
        };
        made.iter().filter(|place| !own(place)).cloned().collect()
    }

    /// Writes what a container changed as a layer, an uncompressed tar. One that runs is paused meanwhile if `pause`.
    ///
    /// # Errors
    ///
    /// [`Error::Store`]; [`Error::WrongState`] where it cannot be paused.
    pub fn write_layer(
        &self,
        found: &Found,
        pause: bool,
        sink: &mut dyn Write,
        options: &DiffOptions,
    ) -> Result<Written> {
        let _paused = match pause && found.phase.is_alive() {
            true => Some(Paused::pause(self, found)?),
            false => None,
        };
        let changes = self.store().changes(&found.record.snapshot)?;
        let scaffold = self.only_scaffold(found, &changes);
        let keep =
            |change: &Change| change.kind != ChangeKind::Added || !scaffold.contains(&change.path);
        let snapshot = &found.record.snapshot;
        Ok(self.store().diff_of(snapshot, keep, sink, options)?)
    }

    /// Writes the whole tree of a container as a tar, without what is mounted into it.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub fn export(&self, found: &Found, sink: &mut dyn Write) -> Result<Written> {
        // Other tools read it: none needs to know sparse members.
        let options = DiffOptions { sparse: false };
        let snapshot = &found.record.snapshot;
        Ok(self.store().export(snapshot, |_| true, sink, &options)?)
    }

    /// Measures what a container's own layer allocates.
    ///
    /// # Errors
    ///
    /// [`Error::Store`].
    pub fn usage(&self, found: &Found) -> Result<Usage> {
        Ok(self.store().usage(&found.record.snapshot)?)
    }
}

/// A container whose processes stand still.
struct Paused {
    container: Container,
}

impl Paused {
    fn pause(containers: &Containers<'_>, found: &Found) -> Result<Self> {
        let record = &found.record;
        let cannot = |error: libcontainer::error::LibcontainerError| Error::WrongState {
            name: record.name.clone(),
            state: found.phase.word().to_owned(),
            needed: format!(
                "it cannot be paused ({error}): stop it first, or take `--pause=false`"
            ),
        };
        let place = containers
            .dir_of(&record.id)
            .join("runtime")
            .join(&record.id);
        let mut container = Container::load(place).map_err(cannot)?;
        container.pause().map_err(cannot)?;
        Ok(Self { container })
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        if let Err(error) = self.container.resume() {
            tracing::error!(%error, "a container is left paused");
        }
    }
}
