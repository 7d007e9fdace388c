//! The directory of a driver that keeps each snapshot in a directory of its own.
//!
//! ```text
//! <root>/store         the identity of the store that owns the root
//! <root>/<id>/         a snapshot
//! <root>/tmp/<id>/     a snapshot being made; renamed into place when whole
//! <root>/trash/<id>/   a snapshot being removed; renamed here first
//! <root>/quarantine/   what no store knew; never deleted here
//! ```
//!
//! What lies inside a snapshot's directory is the driver's own affair, and so is deleting it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cowlab_sys::durability::{create_dir_all, fsync, fsync_dir};

use crate::{Durability, Error, Result, SnapshotId};

/// Makes a directory with these permissions, whatever the umask.
///
/// # Errors
///
/// What mkdir(2) or chmod(2) refused.
pub fn make_dir(path: &Path, mode: u32) -> Result<()> {
    cowlab_sys::io("mkdir", path, fs::DirBuilder::new().mode(mode).create(path))?;
    let permissions = fs::Permissions::from_mode(mode);
    Ok(cowlab_sys::io(
        "chmod",
        path,
        fs::set_permissions(path, permissions),
    )?)
}

/// The file that names the owner.
const MARKER: &str = "store";

/// Makes a directory unless it is there.
pub fn make_dir_once(path: &Path, mode: u32) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    match make_dir(path, mode) {
        // Another process opens the same directory.
        Err(Error::Sys(error)) if error.errno() == Some(cowlab_sys::Errno::EXIST) => Ok(()),
        made => made,
    }
}

/// The directory of a driver.
#[derive(Debug)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// Opens a driver's directory for a store, making it if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRoot`] when another store made it.
    pub fn open(root: &Path, store: &str) -> Result<Self> {
        create_dir_all(root)?;
        for name in ["tmp", "trash", "quarantine"] {
            let dir = root.join(name);
            // Flushed with the owner's mark; whoever finds one missing makes it again.
            cowlab_sys::io("mkdir", &dir, fs::create_dir_all(&dir))?;
        }
        // Mount tables name directories by paths without symbolic links, and so does the driver.
        let home = Self {
            root: cowlab_sys::io("realpath", root, fs::canonicalize(root))?,
        };
        home.claim(store)?;
        Ok(home)
    }

    /// Reads which store made the driver's directory at `root`; `None` where none has.
    ///
    /// # Errors
    ///
    /// When the mark cannot be read.
    pub fn owner_of(root: &Path) -> Result<Option<String>> {
        let marker = root.join(MARKER);
        match fs::read_to_string(&marker) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => Ok(Some(
                cowlab_sys::io("read", &marker, read)?.trim().to_owned(),
            )),
        }
    }

    fn claim(&self, store: &str) -> Result<()> {
        let marker = self.root.join(MARKER);
        let owner = match Self::owner_of(&self.root)? {
            None => {
                // Linked into place whole, so that of two first opens one wins and the other reads its name.
                let fresh = self.root.join(format!("tmp/store-{store}"));
                cowlab_sys::io("write", &fresh, fs::write(&fresh, format!("{store}\n")))?;
                fsync(&fresh)?;
                match fs::hard_link(&fresh, &marker) {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                    linked => cowlab_sys::io("link", &marker, linked)?,
                }
                cowlab_sys::io("unlink", &fresh, fs::remove_file(&fresh))?;
                fsync_dir(&self.root)?;
                Self::owner_of(&self.root)?
            }
            owner => owner,
        };
        if owner.as_deref() == Some(store) {
            Ok(())
        } else {
            Err(Error::ForeignRoot {
                root: self.root.clone(),
                owner: owner.unwrap_or_default(),
                opener: store.to_owned(),
            })
        }
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a snapshot lies, there or not.
    #[must_use]
    pub fn path(&self, id: SnapshotId) -> PathBuf {
        self.root.join(id.to_string())
    }

    /// Where a snapshot lies.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn existing(&self, id: SnapshotId) -> Result<PathBuf> {
        let path = self.path(id);
        if path.symlink_metadata().is_ok() {
            Ok(path)
        } else {
            Err(Error::NotFound(id))
        }
    }

    /// Makes a snapshot: `make` fills the path it is given, which does not exist yet; what it made is then renamed
    /// into place. With [`Durability::None`] a power cut may take it back, until the next flush of the snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`], or what `make` returned: then the snapshot is not there, and what was half
    /// made waits for [`destroy`](Self::destroy).
    pub fn create(
        &self,
        id: SnapshotId,
        durability: Durability,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let path = self.path(id);
        if path.symlink_metadata().is_ok() {
            return Err(Error::Exists(id));
        }
        let fresh = self.root.join("tmp").join(id.to_string());
        make(&fresh)?;
        let is_promised = durability >= Durability::Commit;
        if is_promised {
            fsync_dir(&fresh)?;
        }
        cowlab_sys::io("rename", &path, fs::rename(&fresh, &path))?;
        if is_promised {
            fsync_dir(&self.root)?;
        }
        Ok(())
    }

    /// Removes a snapshot: it is renamed into `trash/`, then `delete` removes what lies at the path it is
    /// given. Also removes what a cut-off [`create`](Self::create) or `destroy` left. Idempotent.
    ///
    /// # Errors
    ///
    /// What `delete` returned: a second call goes on from there.
    pub fn destroy(&self, id: SnapshotId, delete: impl Fn(&Path) -> Result<()>) -> Result<()> {
        let name = id.to_string();
        let doomed = self.root.join("trash").join(&name);
        for dir in ["trash", "tmp"] {
            let path = self.root.join(dir).join(&name);
            if path.symlink_metadata().is_ok() {
                delete(&path)?;
            }
        }
        match fs::rename(self.path(id), &doomed) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            renamed => {
                cowlab_sys::io("rename", &doomed, renamed)?;
                fsync_dir(&self.root)?;
                delete(&doomed)
            }
        }
    }

    /// Lists the snapshots that are whole, half made or half removed, ascending.
    ///
    /// # Errors
    ///
    /// When a directory cannot be read.
    pub fn inventory(&self) -> Result<Vec<SnapshotId>> {
        let mut ids = Vec::new();
        for dir in [
            self.root.clone(),
            self.root.join("tmp"),
            self.root.join("trash"),
        ] {
            for entry in cowlab_sys::io("readdir", &dir, fs::read_dir(&dir))? {
                let entry = cowlab_sys::io("readdir", &dir, entry)?;
                ids.extend(
                    entry
                        .file_name()
                        .to_str()
                        .and_then(|name| name.parse::<SnapshotId>().ok()),
                );
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Moves a snapshot to `quarantine/` and says where it lies now.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    pub fn quarantine(&self, id: SnapshotId) -> Result<PathBuf> {
        let name = id.to_string();
        let candidates = [
            self.path(id),
            self.root.join("tmp").join(&name),
            self.root.join("trash").join(&name),
        ];
        let found = candidates
            .into_iter()
            .find(|path| path.symlink_metadata().is_ok())
            .ok_or(Error::NotFound(id))?;
        let dir = self.root.join("quarantine");
        let free = (0_u32..)
            .map(|number| dir.join(format!("{name}.{number}")))
            .find(|path| path.symlink_metadata().is_err())
            .ok_or(Error::Exists(id))?;
        cowlab_sys::io("rename", &free, fs::rename(&found, &free))?;
        fsync_dir(&dir)?;
        fsync_dir(&self.root)?;
        Ok(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> SnapshotId {
        SnapshotId::new(number).unwrap()
    }

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(&dir.path().join("driver"), "store-a").unwrap();
        (dir, home)
    }

    fn make(path: &Path) -> Result<()> {
        cowlab_sys::io("mkdir", path, fs::create_dir(path)).map_err(Into::into)
    }

    fn delete(path: &Path) -> Result<()> {
        cowlab_sys::io("rmdir", path, fs::remove_dir_all(path)).map_err(Into::into)
    }

    #[test]
    fn another_store_is_refused() {
        let (_dir, home) = home();
        assert!(Home::open(home.root(), "store-a").is_ok());
        let refused = Home::open(home.root(), "store-b").unwrap_err();
        assert!(matches!(refused, Error::ForeignRoot { owner, .. } if owner == "store-a"));
    }

    #[test]
    fn what_is_cut_off_is_listed_and_destroyed() {
        let (_dir, home) = home();
        home.create(id(1), Durability::Commit, make).unwrap();
        let cut = home.create(id(2), Durability::Commit, |path| {
            make(path)?;
            Err(Error::NotFound(id(9)))
        });
        assert!(cut.is_err());
        assert_eq!(home.inventory().unwrap(), [id(1), id(2)]);
        assert!(home.existing(id(2)).is_err());
        home.destroy(id(2), delete).unwrap();
        home.destroy(id(1), |_| Err(Error::NotFound(id(9))))
            .unwrap_err();
        assert_eq!(home.inventory().unwrap(), [id(1)]);
        home.destroy(id(1), delete).unwrap();
        home.destroy(id(1), delete).unwrap();
        assert!(home.inventory().unwrap().is_empty());
    }

    #[test]
    fn ids_are_not_overwritten() {
        let (_dir, home) = home();
        home.create(id(1), Durability::Commit, make).unwrap();
        assert!(matches!(
            home.create(id(1), Durability::Commit, make),
            Err(Error::Exists(_))
        ));
    }

    #[test]
    fn quarantine_keeps_every_object() {
        let (_dir, home) = home();
        home.create(id(1), Durability::Commit, make).unwrap();
        let first = home.quarantine(id(1)).unwrap();
        home.create(id(1), Durability::Commit, make).unwrap();
        let second = home.quarantine(id(1)).unwrap();
        assert!(first.is_dir() && second.is_dir() && first != second);
        assert!(home.inventory().unwrap().is_empty());
    }
}
