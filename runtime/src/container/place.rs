//! The containers of a root: made, found, listed.

use std::path::{Path, PathBuf};

use cowlab_snapshots::Store;
use cowlab_sys::lock::FileLock;
use cowlab_sys::{Errno, durability, io};

use super::files::FileDurability;
use super::log::Logs;
use super::names::{check_name, is_id};
use super::record::{self, Record, State, Step, snapshot_of};
use super::volume::Volumes;
use super::{Error, Result, files};
use crate::Root;

/// The containers and volumes of a root.
#[derive(Debug)]
pub struct Containers<'a> {
    root: &'a Root,
    dir: PathBuf,
    volumes: Volumes,
}

/// A container that was found: what was asked for, what happened, and what it is now.
#[derive(Debug, Clone)]
pub struct Found {
    /// What was asked for.
    pub record: Record,
    /// What happened, as it was last written.
    pub state: State,
    /// What it is now, as the processes tell.
    pub phase: Phase,
}

impl Found {
    /// The error of an operation that makes no sense for a container that is as this one is.
    pub(super) fn wrong_state(&self, needed: impl Into<String>) -> Error {
        Error::WrongState {
            name: self.record.name.clone(),
            state: self.phase.word().to_owned(),
            needed: needed.into(),
        }
    }
}

/// What a container is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It is being made, or whoever made it died: only `rm` helps then.
    Creating,
    /// It was never started.
    Created,
    /// Its monitor is starting it.
    Starting,
    /// It runs.
    Running,
    /// It runs, and all of its processes stand still.
    Paused,
    /// It runs, and its monitor has died: nobody keeps its output or its exit status.
    Unwatched,
    /// It has ended.
    Exited,
    /// It has ended and nobody saw it: the host or its monitor died before.
    Dead,
    /// It is being removed, or whoever removed it died: `rm` goes on.
    Removing,
    /// Its state cannot be read: only `rm -f` helps.
    Damaged,
}

/// The file that keeps room for a state, and its size in bytes.
const RESERVE: &str = "reserve";
const RESERVED: u64 = 64 * 256;

/// What is being made, and what is being removed; no id starts so.
const NEW: &str = ".new-";
const TRASH: &str = ".trash-";

impl Phase {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Unwatched => "running, its monitor has died",
            Self::Exited => "exited",
            Self::Dead => "dead",
            Self::Removing => "removing",
            Self::Damaged => "damaged",
        }
    }

    /// Whether a process of it is there.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Running | Self::Paused | Self::Unwatched
        )
    }
}

/// The first processes of containers in a root at `dir` that run, whether their monitors do or not. What cannot be read is
/// left out.
pub(crate) fn first_processes(dir: &Path) -> Vec<u32> {
    let containers = dir.join("containers");
    let entries = cowlab_sys::dir::read_dir(&containers).unwrap_or_default();
    let alive = |entry: cowlab_sys::dir::DirEntry| {
        let path = containers.join(entry.name).join("state.json");
        let init = files::read::<State>(&path).ok()??.init?;
        init.open().ok()?.map(|task| task.pid())
    };
    entries.into_iter().filter_map(alive).collect()
}

impl<'a> Containers<'a> {
    /// The containers of a root.
    ///
    /// # Errors
    ///
    /// When the directories cannot be made.
    pub fn open(root: &'a Root) -> Result<Self> {
        let dir = root.dir().join("containers");
        let names = dir.join("names");
        if !names.is_dir() {
            files::make_dir(&names)?;
            durability::fsync_dir(&dir)?;
        }
        let containers = Self {
            volumes: Volumes::open(root.dir())?,
            root,
            dir,
        };
        containers.sweep()?;
        Ok(containers)
    }

    /// Removes what killed creations and removals left, unless somebody is at work.
    fn sweep(&self) -> Result<()> {
        let mut left = Vec::new();
        for (dir, begins) in [
            (self.dir.clone(), [NEW, TRASH]),
            // A name that is about to be claimed has a file beside it.
            (self.dir.join("names"), [".", "."]),
        ] {
            for entry in cowlab_sys::dir::read_dir(&dir)? {
                let name = entry.name.to_string_lossy();
                if begins.iter().any(|begin| name.starts_with(begin)) {
                    left.push(dir.join(&entry.name));
                }
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let Some(_alone) = self.volumes.alone()? else {
            return Ok(());
        };
        for path in left {
            cowlab_sys::dir::remove_tree(&path)?;
        }
        Ok(())
    }

    /// The volumes beside them.
    #[must_use]
    pub const fn volumes(&self) -> &Volumes {
        &self.volumes
    }

    /// The snapshot store that the layers are in.
    #[must_use]
    pub const fn store(&self) -> &Store {
        self.root.store()
    }

    /// The root that they are in.
    pub(super) const fn root(&self) -> &Root {
        self.root
    }

    /// The directory of a container.
    #[must_use]
    pub fn dir_of(&self, id: &str) -> PathBuf {
        self.dir.join(id)
    }

    /// The directory of a container that has no record yet.
    pub(super) fn new_dir_of(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{NEW}{id}"))
    }

    pub(super) fn name_file(&self, name: &str) -> PathBuf {
        self.dir.join("names").join(name)
    }

    /// The id of the container that has a name; `None` for a file without an id, or with that of a container that is gone.
    pub(super) fn owner_of_name(&self, name: &str) -> Option<String> {
        let owner = std::fs::read_to_string(self.name_file(name)).ok();
        owner.filter(|id| is_id(id) && self.dir_of(id).is_dir())
    }

    /// The names that containers have, and those that are left of some.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let entries = cowlab_sys::dir::read_dir(self.dir.join("names"))?;
        let names = entries.into_iter().map(|entry| entry.name.into_string());
        Ok(names.filter_map(Result::ok).collect())
    }

    /// Removes what a container is made of, in the order in which a crash leaves something that `rm` finds.
    /// Without a name, the names are searched for the container's.
    pub(super) fn discard(&self, id: &str, snapshot: &str, name: Option<&str>) -> Result<()> {
        // One that was borrowed is its owner's to remove.
        if snapshot == snapshot_of(id) {
            match self.store().remove(snapshot) {
                Ok(()) | Err(cowlab_snapshots::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // The database may need the room.
        files::remove(&self.dir_of(id).join(RESERVE))?;
        self.root.graph().remove_user(id)?;
        let names = match name {
            Some(name) => vec![name.to_owned()],
            None => self.names()?,
        };
        for name in names {
            let file = self.name_file(&name);
            if std::fs::read_to_string(&file).is_ok_and(|owner| owner == id) {
                files::remove(&file)?;
            }
        }
        let dir = self.dir_of(id);
        // As long as the record is there, the container is listed.
        for name in ["bundle", "rootfs", "runtime"] {
            let path = dir.join(name);
            if path.exists() {
                cowlab_sys::dir::remove_tree(&path)?;
            }
        }
        self.discard_dir(id)
    }

    /// Removes a container's directory: out of the way first, so that no part of it stays without the record.
    fn discard_dir(&self, id: &str) -> Result<()> {
        // Together with others, and not with a sweep.
        let _removing = self.volumes.attaching()?;
        let (dir, trash) = (self.dir_of(id), self.dir.join(format!("{TRASH}{id}")));
        match io("rename", &dir, std::fs::rename(&dir, &trash)) {
            Ok(()) => Ok(cowlab_sys::dir::remove_tree(&trash)?),
            Err(error) if error.errno() == Some(Errno::NOENT) => Ok(()),
            // A full disk may have no room for a name, but files can go.
            Err(error) if matches!(error.errno(), Some(Errno::NOSPC | Errno::DQUOT)) => {
                files::remove(&dir.join("container.json"))?;
                Ok(cowlab_sys::dir::remove_tree(&dir)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Finds a container by its name, its id or the start of its id.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Ambiguous`], [`Error::Damaged`].
    pub fn find(&self, text: &str) -> Result<Found> {
        self.read(&self.id_of(text)?)?
            .ok_or_else(|| not_found(text))
    }

    /// The id of the container that a name, an id or the start of an id stands for.
    pub(super) fn id_of(&self, text: &str) -> Result<String> {
        let not_found = || not_found(text);
        let is_name = check_name("container", text).is_ok();
        if is_name
            && let Ok(id) = std::fs::read_to_string(self.name_file(text))
            && is_id(&id)
            && self.dir_of(&id).join("container.json").exists()
        {
            return Ok(id);
        }
        let mut ids = self.ids()?;
        let is_digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit());
        if is_digits && ids.iter().any(|id| id.starts_with(text)) {
            ids.retain(|id| id.starts_with(text));
        } else {
            // A kill, while it was made or removed, may have left one that lists under a name and does not have it.
            ids.retain(|id| {
                let record = files::read::<Record>(&self.dir_of(id).join("container.json"));
                is_name && record.is_ok_and(|found| found.is_some_and(|one| one.name == text))
            });
        }
        match &ids[..] {
            [id] => Ok(id.clone()),
            [] => Err(not_found()),
            [first, ..] => Err(Error::Ambiguous {
                name: text.to_owned(),
                count: ids.len(),
                example: first.get(..text.len() + 4).unwrap_or(first).to_owned(),
            }),
        }
    }

    /// Every container, newest first. One whose record is damaged is left out and logged.
    pub fn list(&self) -> Result<Vec<Found>> {
        let mut all = Vec::new();
        for id in self.ids()? {
            match self.read(&id) {
                Ok(found) => all.extend(found),
                Err(error) => tracing::warn!(id, %error, "left out"),
            }
        }
        all.sort_by_key(|one| std::cmp::Reverse(one.record.created));
        Ok(all)
    }

    pub(super) fn ids(&self) -> Result<Vec<String>> {
        let entries = cowlab_sys::dir::read_dir(&self.dir)?;
        let names = entries
            .into_iter()
            .filter_map(|entry| entry.name.into_string().ok());
        Ok(names.filter(|name| is_id(name)).collect())
    }

    /// The container of that id; `None` where there is none.
    pub(super) fn read(&self, id: &str) -> Result<Option<Found>> {
        let dir = self.dir_of(id);
        let Some(record) = files::read::<Record>(&dir.join("container.json"))? else {
            return Ok(None);
        };
        let (state, phase) = match files::read::<State>(&dir.join("state.json")) {
            Err(Error::Damaged { path, reason }) => {
                let mut state = State::new();
                state.error = Some(format!("`{}` is damaged: {reason}", path.display()));
                (state, Phase::Damaged)
            }
            read => {
                let state = read?.unwrap_or_else(State::new);
                match self.phase(id, &state)? {
                    // The monitor may have ended between the two looks; its last words say how the program did.
                    Phase::Dead => {
                        let Some(state) = files::read::<State>(&dir.join("state.json"))? else {
                            return Ok(None);
                        };
                        let phase = self.phase(id, &state)?;
                        (state, phase)
                    }
                    phase => (state, phase),
                }
            }
        };
        Ok(Some(Found {
            record,
            state,
            phase,
        }))
    }

    /// What a container is, told by its processes.
    fn phase(&self, id: &str, state: &State) -> Result<Phase> {
        let lives = |process: &Option<record::Process>| match process {
            Some(process) => Ok(process.open()?.is_some()),
            None => Ok::<_, Error>(false),
        };
        Ok(match state.step {
            Step::Creating => Phase::Creating,
            Step::Created => Phase::Created,
            Step::Exited => Phase::Exited,
            Step::Removing => Phase::Removing,
            Step::Starting if lives(&state.monitor)? => Phase::Starting,
            Step::Running if self.is_paused(id) && lives(&state.init)? => Phase::Paused,
            Step::Running if lives(&state.monitor)? => Phase::Running,
            Step::Starting | Step::Running if lives(&state.init)? => Phase::Unwatched,
            Step::Starting | Step::Running => Phase::Dead,
        })
    }

    pub(super) fn state(&self, id: &str) -> Result<State> {
        let path = self.dir_of(id).join("state.json");
        Ok(files::read(&path)?.unwrap_or_else(State::new))
    }

    /// Writes a state down.
    pub(super) fn write_state(&self, record: &Record, state: &State) -> Result<()> {
        let durability = match state.step {
            Step::Created => FileDurability::PowerCut,
            // Once it was started, nothing of it was promised for later.
            _ if record.remove => FileDurability::Boot,
            // Nothing runs after a power cut, and whatever was written before says so as well.
            Step::Creating | Step::Starting | Step::Running => FileDurability::Either,
            Step::Exited | Step::Removing => FileDurability::PowerCut,
        };
        self.put_state(&record.id, state, durability)
    }

    /// Writes a state down; on a full disk in the room that was kept for it.
    pub(super) fn put_state(
        &self,
        id: &str,
        state: &State,
        durability: FileDurability,
    ) -> Result<()> {
        let path = self.dir_of(id).join("state.json");
        match files::write(&path, state, durability) {
            Err(Error::Sys(error))
                if matches!(error.errno(), Some(Errno::NOSPC | Errno::DQUOT)) =>
            {
                files::remove(&self.dir_of(id).join(RESERVE))?;
                files::write(&path, state, durability)
            }
            written => written,
        }
    }

    /// Keeps room for the state, so that how a program ended can be written down whatever it did to the disk.
    pub(super) fn keep_room(&self, id: &str) -> Result<()> {
        let path = self.dir_of(id).join(RESERVE);
        match std::fs::metadata(&path) {
            Ok(found) if found.len() == RESERVED => Ok(()),
            // Data that no file system packs away. Where it is not written yet, room for it is reserved.
            _ => files::replace(&path, id.repeat(256).as_bytes(), FileDurability::Boot),
        }
    }

    /// Keeps other verbs from changing the container.
    pub(super) fn lock(&self, record: &Record) -> Result<FileLock> {
        let path = self.dir_of(&record.id).join("lock");
        let locked = || Error::Locked {
            name: record.name.clone(),
        };
        FileLock::try_exclusive(&path)?.ok_or_else(locked)
    }

    /// The names of the containers that have a volume.
    ///
    /// # Errors
    ///
    /// When a record cannot be read: that container might.
    pub fn users_of_volume(&self, volume: &str) -> Result<Vec<String>> {
        self.users_of_volume_but(None, volume)
    }

    /// The same without one container, by its id.
    pub(super) fn users_of_volume_but(
        &self,
        container: Option<&str>,
        volume: &str,
    ) -> Result<Vec<String>> {
        let mut users = Vec::new();
        for id in self.ids()? {
            if container == Some(id.as_str()) {
                continue;
            }
            let Some(found) = self.read(&id)? else {
                continue;
            };
            let mut mounts = found.record.mounts.iter();
            if mounts.any(|one| one.volume() == Some(volume)) {
                users.push(found.record.name);
            }
        }
        Ok(users)
    }

    /// The output of a container so far, and what is added.
    ///
    /// # Errors
    ///
    /// None yet; a missing log is empty.
    pub fn logs(&self, record: &Record) -> Result<Logs> {
        Ok(Logs::open(
            &self.dir_of(&record.id).join("log.json"),
            record.log,
        ))
    }
}

fn not_found(text: &str) -> Error {
    Error::NotFound {
        what: "container",
        name: text.to_owned(),
        list: "cowlab ps -a",
    }
}
