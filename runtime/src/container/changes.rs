//! What a container changed: told, measured, and written as a layer or as a whole tree.

use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use cowlab_driver::{CopyUp, Usage};
use cowlab_layer::{Change, ChangeKind, DiffOptions, Digest, Written};
use cowlab_units::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Result;
use super::pause::Paused;
use super::place::{Containers, Found};
use super::record::Record;
use crate::image::Name;

impl Containers<'_> {
    /// Lists what a container changed in its image. Mount points that were made for mounts are no change, and the root
    /// directory is none, as docker has it: it changes with whatever is made in it.
    pub fn changes(&self, found: &Found) -> Result<Vec<Change>> {
        let mut changes = self.store().changes(&found.record.snapshot)?;
        let scaffold = self.only_scaffold(found, &changes);
        changes.retain(|change| change.path != Path::new("/") && !scaffold.contains(&change.path));
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

    /// Makes an image of a container's image and what the container changed; returns its id. The container keeps its own
    /// layer. One that runs is paused meanwhile if `pause`.
    ///
    /// # Errors
    ///
    /// [`Error::Store`](super::Error::Store), [`Error::Root`](super::Error::Root); [`Error::WrongState`](super::Error::WrongState) where it cannot be paused.
    pub fn commit(
        &self,
        found: &Found,
        pause: bool,
        name: Option<&Name>,
        message: &str,
    ) -> Result<Digest> {
        let record = &found.record;
        let image = record.image_id.as_ref().unwrap_or(&record.image);
        let base = self.root().image(image)?;
        let _lock = match found.phase.is_alive() {
            true => None,
            // Nobody starts it meanwhile.
            false => Some(self.lock(record)?),
        };
        let _paused = match pause && found.phase.is_alive() {
            true => Some(Paused::during(self, found)?),
            false => None,
        };
        let without_scaffold = |changes: &mut Vec<Change>| {
            let scaffold = self.only_scaffold(found, changes);
            changes.retain(|change| {
                change.kind != ChangeKind::Added || !scaffold.contains(&change.path)
            });
        };
        let config = committed(record, self.root().configuration_of(&base)?);
        let about = (name, message);
        Ok(self
            .root()
            .commit(&base, &record.snapshot, without_scaffold, config, about)?)
    }

    /// Writes the whole tree of a container as a tar, without what is mounted into it.
    pub fn export(&self, found: &Found, sink: &mut dyn Write) -> Result<Written> {
        // Other tools read it: none needs to know sparse members.
        let options = DiffOptions {
            sparse: false,
            ..DiffOptions::default()
        };
        let snapshot = &found.record.snapshot;
        Ok(self.store().export(snapshot, |_| true, sink, &options)?)
    }

    /// Measures what a container's own layer holds.
    pub fn storage(&self, record: &Record) -> Result<StorageStats> {
        let store = self.store();
        let copied = store.copied(&record.snapshot)?;
        let usage = store.usage(&record.snapshot)?.exclusive;
        Ok(StorageStats {
            copied_files: copied.files,
            copied_bytes: match store.driver().info().copy_up {
                CopyUp::File => Some(copied.bytes.0),
                // Every file of the image, when the container was made: none of these more than another.
                CopyUp::Blocks | CopyUp::Everything => None,
            },
            whiteouts: copied.whiteouts,
            allocated: usage.bytes.0,
            inodes: usage.inodes,
        })
    }

    /// Measures what a container's own layer allocates.
    pub fn usage(&self, found: &Found) -> Result<Usage> {
        Ok(self.store().usage(&found.record.snapshot)?)
    }
}

/// What a container's own layer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageStats {
    /// Files of the image that were copied up, or written in part.
    pub copied_files: u64,
    /// The bytes that were copied for them; `None` with a driver that copies no whole files.
    pub copied_bytes: Option<u64>,
    /// Names of the image that were removed: the whiteouts of a layer.
    pub whiteouts: u64,
    /// What the layer allocates, in bytes.
    pub allocated: u64,
    /// Its inodes, directories included.
    pub inodes: u64,
}

impl StorageStats {
    /// The same as JSON.
    pub(super) fn to_json(self) -> Vec<u8> {
        serde_json::to_vec(&self).unwrap_or_default()
    }
}

/// The configuration of an image made of a container: its image's, whatever that says, with what the container was run with,
/// as docker has it.
fn committed(record: &Record, mut config: Value) -> Value {
    if !config["config"].is_object() {
        config["config"] = json!({});
    }
    let settings = &mut config["config"];
    let image = record.image_config.config().as_ref();
    let entrypoint = image.and_then(|image| image.entrypoint().clone());
    match record
        .args
        .strip_prefix(entrypoint.unwrap_or_default().as_slice())
    {
        Some(rest) => settings["Cmd"] = json!(rest),
        None => {
            settings["Entrypoint"] = Value::Null;
            settings["Cmd"] = json!(record.args);
        }
    }
    settings["Env"] = json!(record.env);
    settings["WorkingDir"] = json!(record.cwd);
    if !record.user.is_empty() {
        settings["User"] = json!(record.user);
    }
    if !record.labels.is_empty() {
        settings["Labels"] = json!(record.labels);
    }
    config["created"] = json!(Timestamp::from(SystemTime::now()).to_string());
    config
}
