//! Volumes: directories with a life of their own.
//!
//! ```text
//! <root>/volumes/<name>/_data         what containers see: this directory from its first moment to its last
//! <root>/volumes/<name>/_content      first content, whole, on its way into `_data`
//! <root>/volumes/<name>/volume.json   name, labels, when and for what it was made, whether it was filled
//! <root>/volumes/.lock                shared by who attaches a volume, alone for who removes one
//! ```

mod removal;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cowlab_layer::apply::{self, ApplyOptions, Target};
use cowlab_layer::{Change, DiffOptions, LayerError};
use cowlab_layer::{changes, diff};
use cowlab_sys::lock::FileLock;
use cowlab_sys::{Errno, at, durability, io};
use cowlab_units::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Error, Result, files, names};

/// What is kept about a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The name; 64 random hexadecimal digits for an anonymous one.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it was made for a container that named none.
    pub anonymous: bool,
    /// Whether a first container has had its chance to fill it with what its image has. It is filled once: from then on it
    /// stays as it is left, empty as well.
    #[serde(default)]
    pub filled: bool,
    /// Where its content is on the host.
    #[serde(skip_deserializing, default)]
    pub mountpoint: PathBuf,
}

/// The volumes of a root.
#[derive(Debug, Clone)]
pub struct Volumes {
    dir: PathBuf,
}

const DATA: &str = "_data";
const RECORD: &str = "volume.json";
/// What is being made, and what is being removed; no volume's name starts so.
const NEW: &str = ".new-";
/// First content while it is copied, and once it is whole.
const PARTIAL: &str = "_partial";
const CONTENT: &str = "_content";
const TRASH: &str = ".trash-";

impl Volumes {
    pub(super) fn open(root: &Path) -> Result<Self> {
        let dir = root.join("volumes");
        files::make_dir(&dir)?;
        let volumes = Self { dir };
        volumes.sweep()?;
        Ok(volumes)
    }

    /// Removes what killed creations, removals and first fillings left, unless somebody is at work.
    fn sweep(&self) -> Result<()> {
        let is_left = |name: &str| name.starts_with(NEW) || name.starts_with(TRASH);
        if !self.names()?.iter().any(|name| is_left(name)) {
            return Ok(());
        }
        let Some(_alone) = self.alone()? else {
            return Ok(());
        };
        for name in self.names()?.into_iter().filter(|name| is_left(name)) {
            cowlab_sys::dir::remove_tree(self.dir.join(name))?;
        }
        Ok(())
    }

    /// Keeps volumes from being removed while a container that uses them is being made.
    pub(super) fn attaching(&self) -> Result<FileLock> {
        Ok(FileLock::shared(&self.dir.join(".lock"))?)
    }

    /// Keeps containers from being made and volumes from being removed, waiting for those who are at it.
    ///
    /// # Errors
    ///
    /// [`Error::VolumesInUse`] where they take too long.
    pub(super) fn alone_within(&self, time: Duration) -> Result<FileLock> {
        let path = self.dir.join(".lock");
        match FileLock::exclusive_within(&path, time)? {
            Some(lock) => Ok(lock),
            None => Err(Error::VolumesInUse {
                holders: cowlab_sys::holders::lock_holders(&path)?,
            }),
        }
    }

    /// Keeps containers from being made and removed, where nobody is at it.
    pub(super) fn alone(&self) -> Result<Option<FileLock>> {
        Ok(FileLock::try_exclusive(&self.dir.join(".lock"))?)
    }

    /// Makes a volume. One of that name that is there already is taken as it is, as docker does.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for the name.
    pub fn create(&self, name: Option<&str>, labels: BTreeMap<String, String>) -> Result<Volume> {
        let name = match name {
            Some(name) => {
                names::check_name("volume name", name)?;
                name.to_owned()
            }
            None => names::new_id()?,
        };
        match self.find(&name)? {
            Some(volume) => Ok(volume),
            None => self.make(name, labels, false),
        }
    }

    /// Makes an anonymous volume.
    pub(super) fn create_anonymous(&self) -> Result<Volume> {
        self.make(names::new_id()?, BTreeMap::new(), true)
    }

    fn make(
        &self,
        name: String,
        labels: BTreeMap<String, String>,
        anonymous: bool,
    ) -> Result<Volume> {
        let place = self.dir.join(&name);
        let volume = Volume {
            mountpoint: place.join(DATA),
            created: Timestamp::from(std::time::SystemTime::now()),
            name,
            labels,
            anonymous,
            filled: false,
        };
        // Together with others, and not with a sweep.
        let _making = self.attaching()?;
        // Whole under another name first: a volume is there with its record or not at all.
        let unique = cowlab_sys::IdSource::Kernel.uuid(&volume.name)?;
        let new = self.dir.join(format!("{NEW}{unique}"));
        files::make_dir(&new)?;
        let data = new.join(DATA);
        io("mkdir", &data, fs::create_dir(&data))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        io("chmod", &data, fs::set_permissions(&data, mode))?;
        durability::fsync_dir(&data)?;
        files::write(&new.join(RECORD), &volume, files::FileDurability::PowerCut)?;
        match io("rename", &place, fs::rename(&new, &place)) {
            // Somebody else made it meanwhile.
            Err(error) if matches!(error.errno(), Some(Errno::EXIST | Errno::NOTEMPTY)) => {
                cowlab_sys::dir::remove_tree(&new)?;
                return self.get(&volume.name);
            }
            renamed => renamed?,
        }
        durability::fsync_dir(&self.dir)?;
        Ok(volume)
    }

    fn find(&self, name: &str) -> Result<Option<Volume>> {
        if names::check_name("volume name", name).is_err() {
            return Ok(None);
        }
        let place = self.dir.join(name);
        let found: Option<Volume> = files::read(&place.join(RECORD))?;
        Ok(found.map(|volume| Volume {
            mountpoint: place.join(DATA),
            ..volume
        }))
    }

    /// The volume of that name.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn get(&self, name: &str) -> Result<Volume> {
        self.find(name)?.ok_or_else(|| Error::NotFound {
            what: "volume",
            name: name.to_owned(),
            list: "cowlab volume ls",
        })
    }

    /// Every volume, by name.
    pub fn list(&self) -> Result<Vec<Volume>> {
        let mut volumes = Vec::new();
        for name in self.names()? {
            volumes.extend(self.find(&name)?);
        }
        volumes.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(volumes)
    }

    fn names(&self) -> Result<Vec<String>> {
        let entries = cowlab_sys::dir::read_dir(&self.dir)?;
        let names = entries
            .into_iter()
            .filter_map(|entry| entry.name.into_string().ok());
        Ok(names.collect())
    }

    /// Removes a volume that was made a moment ago and that nobody knows of.
    pub(super) fn remove_unused(&self, name: &str) -> Result<()> {
        // Not together with a sweep.
        let _removing = self.attaching()?;
        match self.find(name)? {
            Some(_) => {
                let trash = self.set_aside(name)?;
                Ok(cowlab_sys::dir::remove_tree(trash)?)
            }
            None => Ok(()),
        }
    }

    /// Takes a volume away from its name; returns where it is.
    fn set_aside(&self, name: &str) -> Result<PathBuf> {
        let unique = cowlab_sys::IdSource::Kernel.uuid(name)?;
        let trash = self.dir.join(format!("{TRASH}{unique}"));
        let place = self.dir.join(name);
        io("rename", &place, fs::rename(&place, &trash))?;
        durability::fsync_dir(&self.dir)?;
        Ok(trash)
    }

    /// Deletes what was set aside. That takes its time, and others may make containers meanwhile.
    fn empty(&self, trash: &[PathBuf]) -> Result<()> {
        // Not together with a sweep.
        let _deleting = self.attaching()?;
        for place in trash {
            cowlab_sys::dir::remove_tree(place)?;
        }
        Ok(())
    }

    /// Gives a volume its first content: what an image has at `from`, with owners, modes, times and extended attributes. That
    /// is done once in its life, and not where it has content already. The directory that containers see stays the same one:
    /// the content is copied beside it and moved in.
    pub(super) fn fill(&self, name: &str, from: Option<&Path>) -> Result<()> {
        let place = self.dir.join(name);
        let _alone = FileLock::exclusive(&place.join(".fill-lock"))?;
        let volume = self.get(name)?;
        if volume.filled {
            return Ok(());
        }
        let (partial, content) = (place.join(PARTIAL), place.join(CONTENT));
        let data = &volume.mountpoint;
        // What was whole when a fill was killed is moved in before anything else.
        if let (Some(from), false) = (from, content.exists())
            && cowlab_sys::dir::read_dir(data)?.is_empty()
        {
            // What is there of an earlier one was left by a kill.
            cowlab_sys::dir::remove_tree(&partial)?;
            io("mkdir", &partial, fs::create_dir(&partial))?;
            copy_tree(from, &partial)?;
            durability::syncfs(&partial)?;
            io("rename", &content, fs::rename(&partial, &content))?;
            durability::fsync_dir(&place)?;
        }
        if content.exists() {
            move_in(&content, data)?;
            durability::syncfs(data)?;
        }
        let filled = Volume {
            filled: true,
            ..volume
        };
        files::write(
            &place.join(RECORD),
            &filled,
            files::FileDurability::PowerCut,
        )?;
        cowlab_sys::dir::remove_tree(&partial)?;
        Ok(cowlab_sys::dir::remove_tree(&content)?)
    }
}

/// Moves what is in `content` into `data` and gives `data` the attributes of `content`. What somebody made in `data`
/// meanwhile is theirs and stays.
fn move_in(content: &Path, data: &Path) -> Result<()> {
    let (from, to) = (
        io("open", content, fs::File::open(content))?,
        io("open", data, fs::File::open(data))?,
    );
    for entry in cowlab_sys::dir::read_dir(content)? {
        let name = Path::new(&entry.name);
        match at::rename(&from, name, &to, name, at::RenameFlags::NOREPLACE) {
            Err(error) if error.errno() == Some(Errno::EXIST) => {}
            moved => moved?,
        }
    }
    copy(
        content,
        data,
        |change| change.path == Path::new("/"),
        Target::union,
    )
}

/// Copies the content and the attributes of a directory into an empty one.
pub(super) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    copy(from, to, |_| true, Target::base)
}

/// Copies what is wanted of a directory: a layer's writer and reader back to back, for they know every attribute.
fn copy(
    from: &Path,
    to: &Path,
    is_wanted: impl Fn(&Change) -> bool,
    target: impl FnOnce(&Path) -> Result<Target, LayerError>,
) -> Result<()> {
    let layer = |reason: LayerError| cowlab_snapshots::Error::Layer {
        action: "copy into",
        key: to.display().to_string(),
        reason: Box::new(reason),
    };
    let mut found = changes::between(None, from, None).map_err(layer)?;
    found.retain(is_wanted);
    let (mut reader, mut writer) = io("pipe", to, std::io::pipe())?;
    let (written, applied) = std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            diff::write(from, &found, &mut writer, &DiffOptions::default()).map(drop)
        });
        let applied = target(to)
            .and_then(|target| apply::apply_to(target, &mut reader, &ApplyOptions::default()));
        // A writer whose reader failed would wait for room for ever.
        drop(reader);
        (writing.join(), applied)
    });
    applied.map_err(layer)?;
    written
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        .map_err(layer)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_that_has_to_wait_names_the_process() {
        let place = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(place.path()).unwrap();
        let attaching = volumes.attaching().unwrap();
        let time = Duration::from_millis(20);
        let error = volumes.alone_within(time).unwrap_err().to_string();
        let process = format!("process {} (", std::process::id());
        assert!(error.contains(&process), "{error}");
        drop(attaching);
        assert!(volumes.alone_within(time).is_ok());
    }

    #[test]
    fn killed_fill_goes_on_and_leaves_what_others_made() {
        let place = tempfile::tempdir().unwrap();
        let volumes = Volumes::open(place.path()).unwrap();
        let volume = volumes.create(Some("vol"), BTreeMap::new()).unwrap();
        // Killed while it moved the content in: one name is still beside, another was made by a container meanwhile.
        let content = place.path().join("volumes/vol").join(CONTENT);
        fs::create_dir(&content).unwrap();
        for name in ["late", "taken"] {
            fs::write(content.join(name), "of the image").unwrap();
        }
        fs::write(volume.mountpoint.join("taken"), "theirs").unwrap();
        volumes.fill("vol", None).unwrap();
        let read = |name| fs::read_to_string(volume.mountpoint.join(name)).unwrap();
        assert_eq!(
            (read("late"), read("taken")),
            ("of the image".to_owned(), "theirs".to_owned())
        );
        assert!(volumes.get("vol").unwrap().filled && !content.exists());
    }
}
