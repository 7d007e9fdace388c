//! The journal of a run: one JSON line per object, on disk before the object is made.
//!
//! Lines are only ever added. A last line without its line end was cut off by a kill and counts
//! for nothing: what it announces was not made yet. Names are single names in the run's
//! directory, so that no journal, whatever is in it, leads anywhere else.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use cowlab_sys::{durability, io, process};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The name of the journal in a run's directory.
pub(crate) const JOURNAL: &str = "journal";

/// What a run is about to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "intent", rename_all = "kebab-case")]
pub(crate) enum Intent {
    /// The run itself: the first line, and only there.
    Run(Origin),
    /// A directory for any use.
    Directory { name: String },
    /// A directory with a file system mounted on it.
    Mount { name: String, fstype: String },
    /// The file behind a loop device, in the run's directory or on the tmpfs mounted at `on`.
    Image {
        name: String,
        on: Option<String>,
        bytes: u64,
    },
    /// A loop device bound to an image.
    Loop { image: String },
    /// A device-mapper device, and those on it, whose names begin with this one and `-`.
    Mapper { name: String },
    /// A ZFS pool on a loop device.
    Pool { name: String },
}

/// Where a run comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) run: String,
    pub(crate) pid: u32,
    pub(crate) boot: String,
    /// Seconds since 1970.
    pub(crate) started: u64,
}

impl Origin {
    pub(crate) fn of_this_process(run: &str) -> Result<Self> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Ok(Self {
            run: run.to_owned(),
            pid: std::process::id(),
            boot: process::boot_id()?,
            started: now.map_or(0, |now| now.as_secs()),
        })
    }
}

/// An open journal, for adding.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    /// Starts the journal of the run in `directory`.
    pub(crate) fn create(directory: &Path, origin: Origin) -> Result<Self> {
        let path = directory.join(JOURNAL);
        let mut options = OpenOptions::new();
        options.append(true).create_new(true).mode(0o600);
        let file = io("open", &path, options.open(&path))?;
        let mut journal = Self { file, path };
        journal.record(&Intent::Run(origin))?;
        durability::fsync_dir(directory)?;
        Ok(journal)
    }

    /// Puts an intent on disk. Only then may the object be made.
    pub(crate) fn record(&mut self, intent: &Intent) -> Result<()> {
        let mut line = serde_json::to_vec(intent).map_err(|error| Error::Journal {
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        line.push(b'\n');
        io("write", &self.path, self.file.write_all(&line))?;
        io("fdatasync", &self.path, self.file.sync_data())?;
        Ok(())
    }
}

/// What a journal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) origin: Origin,
    pub(crate) intents: Vec<Intent>,
}

impl Record {
    /// Reads the journal of the run in `directory`; `None` where it was not started, or cut off in
    /// its first line.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(JOURNAL);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            result => io("read", &path, result)?,
        };
        Self::parse(&text).map_err(|reason| Error::Journal { path, reason })
    }

    fn parse(text: &[u8]) -> Result<Option<Self>, String> {
        let mut origin = None;
        let mut intents = Vec::new();
        let whole = text
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        let lines = text[..whole]
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        for (index, line) in lines.enumerate() {
            let intent = serde_json::from_slice(line)
                .map_err(|error| format!("line {}: {error}", index + 1))?;
            match (index, intent) {
                (0, Intent::Run(found)) => origin = Some(found),
                (0, _) | (_, Intent::Run(_)) => {
                    return Err(format!("line {}: the run stands first and once", index + 1));
                }
                (_, intent) => intents.push(intent),
            }
        }
        let record = origin.map(|origin| Self { origin, intents });
        match record.as_ref().and_then(Self::foreign_name) {
            Some(name) => Err(format!("`{name}` is no name of this run")),
            None => Ok(record),
        }
    }

    /// Returns the names in the run's directory that the run announced.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.intents.iter().filter_map(|intent| match intent {
            Intent::Directory { name } | Intent::Mount { name, .. } => Some(name.as_str()),
            Intent::Image { name, on: None, .. } => Some(name.as_str()),
            Intent::Image { on: Some(_), .. }
            | Intent::Loop { .. }
            | Intent::Mapper { .. }
            | Intent::Pool { .. }
            | Intent::Run(_) => None,
        })
    }

    /// Returns the names of the images that the run announced on a tmpfs of its own.
    pub(crate) fn images_in_memory(&self) -> impl Iterator<Item = &str> {
        self.intents.iter().filter_map(|intent| match intent {
            Intent::Image {
                name, on: Some(_), ..
            } => Some(name.as_str()),
            _ => None,
        })
    }

    /// Returns the names of the ZFS pools that the run announced.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &str> {
        self.intents.iter().filter_map(|intent| match intent {
            Intent::Pool { name } => Some(name.as_str()),
            _ => None,
        })
    }

    /// Returns the names of the device-mapper devices that the run announced.
    pub(crate) fn mappers(&self) -> impl Iterator<Item = &str> {
        self.intents.iter().filter_map(|intent| match intent {
            Intent::Mapper { name } => Some(name.as_str()),
            _ => None,
        })
    }

    /// Returns a name that the run cannot have given: a path, or without the run's prefix.
    fn foreign_name(&self) -> Option<&str> {
        let prefix = format!("{}-", directory_name(&self.origin.run));
        let own = |name: &&str| name.starts_with(&prefix) && is_single(name);
        self.names()
            .chain(self.images_in_memory())
            .chain(self.pools())
            .chain(self.mappers())
            .find(|name| !own(name))
    }
}

/// Returns the name of a run's directory, which is the prefix of its objects' names.
pub(crate) fn directory_name(run: &str) -> String {
    format!("cowlab-test-{run}")
}

/// Returns the run that a directory of this name belongs to.
pub(crate) fn run_of(name: &str) -> Option<&str> {
    let run = name.strip_prefix("cowlab-test-")?;
    let digits = run
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (run.len() == 8 && digits).then_some(run)
}

fn is_single(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    ) && !name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin {
            run: "0123abcd".into(),
            pid: 7,
            boot: "b".into(),
            started: 9,
        }
    }

    fn name(rest: &str) -> String {
        format!("cowlab-test-0123abcd-{rest}")
    }

    #[test]
    fn reads_what_was_recorded() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(place.path()).unwrap(), None);
        let mut journal = Journal::create(place.path(), origin()).unwrap();
        let intents = [
            Intent::Mount {
                name: name("1-memory"),
                fstype: "tmpfs".into(),
            },
            Intent::Image {
                name: name("1-image"),
                on: Some(name("1-memory")),
                bytes: 5,
            },
            Intent::Loop {
                image: name("1-image"),
            },
            Intent::Directory {
                name: name("2-store"),
            },
            Intent::Pool {
                name: name("3-zfs"),
            },
        ];
        for intent in &intents {
            journal.record(intent).unwrap();
        }
        let record = Record::read(place.path()).unwrap().unwrap();
        assert_eq!((record.origin.pid, &record.intents[..]), (7, &intents[..]));
        let names: Vec<_> = record.names().collect();
        assert_eq!(names, [name("1-memory"), name("2-store")]);
        let images: Vec<_> = record.images_in_memory().collect();
        assert_eq!(images, [name("1-image")]);
        let pools: Vec<_> = record.pools().collect();
        assert_eq!(pools, [name("3-zfs")]);
        assert!(Journal::create(place.path(), origin()).is_err());
    }

    #[test]
    fn ignores_a_line_cut_off() {
        let first = serde_json::to_string(&Intent::Run(origin())).unwrap();
        assert_eq!(Record::parse(b"").unwrap(), None);
        assert_eq!(Record::parse(first.as_bytes()).unwrap(), None);
        let text = format!("{first}\n{{\"intent\":\"direc");
        assert!(
            Record::parse(text.as_bytes())
                .unwrap()
                .unwrap()
                .intents
                .is_empty()
        );
    }

    #[test]
    fn refuses_names_that_lead_elsewhere() {
        let first = serde_json::to_string(&Intent::Run(origin())).unwrap();
        for name in [
            "/etc",
            "..",
            "x",
            &name("1/../../etc"),
            &name("1/x"),
            "cowlab-test-0123abcd",
        ] {
            let name = name.to_string();
            for intent in [
                Intent::Directory { name: name.clone() },
                Intent::Pool { name: name.clone() },
                Intent::Mapper { name: name.clone() },
            ] {
                let line = serde_json::to_string(&intent).unwrap();
                let error = Record::parse(format!("{first}\n{line}\n").as_bytes()).unwrap_err();
                assert_eq!(error, format!("`{name}` is no name of this run"));
            }
        }
        assert!(Record::parse(format!("{first}\n{first}\n").as_bytes()).is_err());
        assert!(Record::parse(b"junk\n").is_err());
    }

    #[test]
    fn knows_the_directories_of_runs() {
        assert_eq!(run_of("cowlab-test-0123abcd"), Some("0123abcd"));
        for name in [
            "cowlab-test-0123abcd-1",
            "cowlab-test-0123abcX",
            "cowlab-0123abcd",
            "",
        ] {
            assert_eq!(run_of(name), None);
        }
    }
}
