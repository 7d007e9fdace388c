//! The directories of `RUN --mount=type=cache`: apart from layers, kept between builds, removed by `prune`.
//!
//! One is named by the digest of its id; `id` in it says which that is, `data` is what a container gets, `lock` is held by the
//! steps that use it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cowlab_driver::Allocation;
use cowlab_layer::Digest;
use cowlab_sys::lock::FileLock;
use cowlab_sys::{durability, io};

use crate::blobs::hex;
use crate::{Result, Root};

/// How a directory is shared between steps that run at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// Any number of them use it.
    #[default]
    Shared,
    /// One that finds it in use gets another directory.
    Private,
    /// One that finds it in use waits.
    Locked,
}

/// A directory that a step uses.
#[derive(Debug)]
pub struct CacheDir {
    /// What a container gets.
    pub data: PathBuf,
    /// Whether it was made now.
    pub is_new: bool,
    _lock: FileLock,
}

/// A directory that is kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CacheInfo {
    /// The id that it was asked for by.
    pub id: String,
    /// What it takes.
    pub size: Allocation,
    /// When it was last used, in seconds since 1970.
    pub used: u64,
    /// Whether a step uses it now.
    pub in_use: bool,
    name: String,
}

pub(super) fn dir(root: &Root) -> PathBuf {
    root.dir().join("build/cache")
}

impl Root {
    /// Takes a directory for a step, making it if it is not there; `waiting` is called before a wait.
    pub fn cache_dir(
        &self,
        id: &str,
        sharing: Sharing,
        waiting: impl FnOnce(),
    ) -> Result<CacheDir> {
        let mut waiting = Some(waiting);
        for number in 0_u32.. {
            let id = match number {
                0 => id.to_owned(),
                _ => format!("{id} ({number})"),
            };
            let place = dir(self).join(&hex(&Digest::of(id.as_bytes()))[..32]);
            durability::create_dir_all(&place)?;
            let path = place.join("lock");
            let lock = match sharing {
                Sharing::Shared => Some(FileLock::shared(&path)?),
                Sharing::Private => FileLock::try_exclusive(&path)?,
                Sharing::Locked => match FileLock::try_exclusive(&path)? {
                    Some(lock) => Some(lock),
                    None => {
                        if let Some(waiting) = waiting.take() {
                            waiting();
                        }
                        Some(super::exclusive(&path)?)
                    }
                },
            };
            let Some(lock) = lock else { continue };
            let data = place.join("data");
            let is_new = !data.exists();
            if is_new {
                io("mkdir", &data, std::fs::create_dir_all(&data))?;
            }
            let name = place.join("id");
            io("write", &name, std::fs::write(&name, &id))?;
            return Ok(CacheDir {
                data,
                is_new,
                _lock: lock,
            });
        }
        unreachable!("there are more numbers than directories")
    }

    /// The directories that are kept, sorted by their ids.
    pub fn cache_dirs(&self) -> Result<Vec<CacheInfo>> {
        let place = dir(self);
        if !place.is_dir() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in cowlab_sys::dir::read_dir(&place)? {
            let name = entry.name.to_string_lossy().into_owned();
            let one = place.join(&name);
            let id = std::fs::read_to_string(one.join("id")).unwrap_or_default();
            if !one.join("id").exists() {
                // It was removed: its lock stays.
                continue;
            }
            found.push(CacheInfo {
                id,
                size: measured(&one)?,
                used: modified(&one.join("id")),
                in_use: FileLock::try_exclusive(&one.join("lock"))?.is_none(),
                name,
            });
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// Removes a directory; `false` where a step uses it.
    pub fn remove_cache_dir(&self, info: &CacheInfo) -> Result<bool> {
        let place = dir(self).join(&info.name);
        let Some(_unused) = FileLock::try_exclusive(&place.join("lock"))? else {
            return Ok(false);
        };
        for name in ["data", "id"] {
            cowlab_sys::dir::remove_tree(place.join(name))?;
        }
        Ok(true)
    }
}

fn measured(path: &Path) -> Result<Allocation> {
    cowlab_driver::tree::allocation(path)
        .map_err(|error| cowlab_snapshots::Error::Unusable(error).into())
}

fn modified(path: &Path) -> u64 {
    let modified = std::fs::metadata(path).and_then(|found| found.modified());
    let since = modified.map(|time| time.duration_since(SystemTime::UNIX_EPOCH));
    since.map_or(0, |since| since.map_or(0, |since| since.as_secs()))
}
