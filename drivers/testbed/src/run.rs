//! A run: a directory, the lock that shows it lives, and the journal of what it makes.
//!
//! A program does well to call [`cowlab_sys::process::unshare_mounts`] before it starts any thread
//! and its run: what is mounted in a namespace of its own cannot be copied into one that something
//! else on the host makes meanwhile, and a kill ends these mounts at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cowlab_sys::{Errno, IdSource, process, sys};

use crate::filesystem::Recorded;
use crate::journal::{Intent, directory_name};
use crate::recorded::Disks;
use crate::shared::{Shared, make_private_dir};
use crate::{Backing, BackingFs, BackingOptions, Error, Moment, Result, teardown};

/// How often a new name is drawn when one is taken or swept away in the making.
const START_ATTEMPTS: u32 = 16;
/// Returns the directory that runs are made in: that of `COWLAB_TEST_DIR`, else `/var/tmp`.
pub fn base_directory() -> PathBuf {
    let named = std::env::var_os("COWLAB_TEST_DIR").filter(|name| !name.is_empty());
    named.map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

/// Returns the real path of a directory that runs are made in: the mount table has no symbolic links.
///
/// # Errors
///
/// Returns [`Error::Directory`] where it is none.
pub fn real_directory(base: &Path) -> Result<PathBuf> {
    let unusable = |reason: String| Error::Directory {
        directory: base.to_owned(),
        reason,
    };
    let real = std::fs::canonicalize(base).map_err(|error| unusable(plain(&error)))?;
    if real.is_dir() {
        Ok(real)
    } else {
        Err(unusable("it is no directory".to_owned()))
    }
}

/// What the kernel says, without the number of the error.
fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "it does not exist".to_owned(),
        kind => kind.to_string(),
    }
}

/// A run of the testbed. Close it to learn what was left behind; dropping it takes down the same
/// and logs.
#[derive(Debug)]
pub struct Run {
    shared: Arc<Shared>,
}

/// Where the names of a run stand.
#[derive(Clone, Copy, Debug)]
pub struct Names(u32);

impl Run {
    /// Starts a run in `base`, or in [`base_directory`].
    ///
    /// # Errors
    ///
    /// Returns [`Error::NotRoot`], [`Error::Directory`] where nothing can be made in `base`, and
    /// [`Error::Sys`].
    pub fn start(base: Option<PathBuf>) -> Result<Self> {
        Self::start_with(base, IdSource::Kernel)
    }

    /// Starts a run whose id, and the UUIDs and hash seeds of whose file systems, come from `id_source`: with a seed they
    /// are the same in every run.
    pub fn start_with(base: Option<PathBuf>, id_source: IdSource) -> Result<Self> {
        if !process::is_root() {
            return Err(Error::NotRoot {
                action: "start a test run",
            });
        }
        let base = base.unwrap_or_else(base_directory);
        let base = real_directory(&base)?;
        for attempt in 0..START_ATTEMPTS {
            let id = draw_id(id_source, attempt)?;
            if let Some(shared) = Shared::start(&base, &id, id_source)? {
                tracing::debug!(directory = %shared.directory().display(), "started a run");
                return Ok(Self {
                    shared: Arc::new(shared),
                });
            }
        }
        Ok(sys(
            "mkdir",
            base.join(directory_name("*")),
            Err(Errno::EXIST),
        )?)
    }

    /// Returns the run's id: eight hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// Returns the run's directory.
    pub fn directory(&self) -> &Path {
        self.shared.directory()
    }

    /// Makes a directory in the run's directory, for any use; `label` is the end of its name.
    pub fn scratch(&self, label: &str) -> Result<PathBuf> {
        let name = self.shared.name(label);
        self.shared
            .record(&Intent::Directory { name: name.clone() })?;
        let path = self.directory().join(name);
        make_private_dir(&path)?;
        Ok(path)
    }

    /// Makes a file system and mounts it.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Missing`] where the host cannot make it, [`Error::NoSpace`],
    /// [`Error::TooSmall`] or [`Error::Sys`]. What was made by then is taken back.
    pub fn backing(&self, backing: Backing, options: &BackingOptions) -> Result<BackingFs> {
        BackingFs::make(Arc::clone(&self.shared), backing, options, None)
    }

    /// Makes a file system on disks that record what is written to them and flushed, and mounts it.
    ///
    /// # Errors
    ///
    /// As [`backing`](Self::backing), and [`Error::Missing`] without FUSE.
    pub fn recorded(&self, backing: Backing, options: &BackingOptions) -> Result<BackingFs> {
        let recorded = Recorded {
            disks: Disks::new(None),
            is_made: false,
        };
        let shared = Arc::clone(&self.shared);
        BackingFs::make(shared, backing, options, Some(recorded))
    }

    /// Mounts what a power cut leaves of a file system, at the same place and under the same names: those that the run gave
    /// after `first` of its names. Whatever had these is closed. The disks record on.
    ///
    /// # Errors
    ///
    /// As [`recorded`](Self::recorded), and what the file system's own recovery says.
    pub fn after_power_cut(
        &self,
        first: Names,
        backing: Backing,
        options: &BackingOptions,
        (disks, moment): (&Disks, Moment),
    ) -> Result<BackingFs> {
        self.shared.next.store(first.0, Ordering::SeqCst);
        let recorded = Recorded {
            disks: Disks::new(Some(disks.cut(moment))),
            is_made: true,
        };
        let shared = Arc::clone(&self.shared);
        BackingFs::make(shared, backing, options, Some(recorded))
    }

    /// Returns where the names stand that the run gives.
    pub fn names(&self) -> Names {
        Names(self.shared.next.load(Ordering::SeqCst))
    }

    /// Leaves everything behind, mounted as it is, and returns the run's directory. The next sweep
    /// after the end of this process removes it.
    pub fn keep(self) -> PathBuf {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.directory().to_owned()
    }

    /// Ends the run. Whatever is still mounted or bound below its directory was leaked by whoever
    /// used it: it is reported, and taken down all the same.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Leaks`] naming what was left, and [`Error::Sys`].
    pub fn close(self) -> Result<()> {
        self.end()
    }

    fn end(&self) -> Result<()> {
        if self.shared.over.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let abandoned = teardown::leftovers(self.directory())?;
        let mut leaks = teardown::take_down(self.directory())?;
        if leaks.is_empty() {
            match teardown::remove_run(self.directory(), None) {
                Err(Error::Leaks { leaks: more, .. }) => leaks.extend(more),
                result => result?,
            }
        }
        if abandoned.is_empty() && leaks.is_empty() {
            return Ok(());
        }
        Err(Error::Leaks { abandoned, leaks })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(run = self.shared.id, %error, "the run did not end cleanly");
        }
    }
}

/// Draws eight hexadecimal digits: the start of a UUID, which is all random.
fn draw_id(id_source: IdSource, attempt: u32) -> Result<String> {
    let uuid = id_source.uuid(&format!("run {attempt}"))?;
    Ok(uuid.chars().take(8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_eight_digits() {
        for id_source in [IdSource::Kernel, IdSource::Seed(1)] {
            let id = draw_id(id_source, 0).unwrap();
            assert_eq!(
                crate::journal::run_of(&directory_name(&id)),
                Some(id.as_str())
            );
        }
        let seeded = |attempt| draw_id(IdSource::Seed(1), attempt).unwrap();
        assert_eq!(seeded(0), seeded(0));
        assert_ne!(seeded(0), seeded(1));
    }

    #[test]
    fn runs_are_made_in_directories() {
        let place = tempfile::tempdir().unwrap();
        assert!(real_directory(place.path()).is_ok());
        let refused = |path: PathBuf| match real_directory(&path) {
            Err(Error::Directory { directory, reason }) => {
                assert_eq!(directory, path);
                reason
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(place.path().join("missing")), "it does not exist");
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(refused(file), "it is no directory");
    }
}
