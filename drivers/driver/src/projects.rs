//! Size limits of snapshots that are directories, by project quotas of the file system below.
//!
//! Every limited snapshot is a project of its own. Its number is taken from a range that the driver's directory has
//! for itself, written down in `<root>/projects` at the first limit: a range of which the file system knew no number at
//! that time, for numbers of others mean something to them. The number of a snapshot is written nowhere but in its
//! directories.
//!
//! A directory is given its number while it is empty and hands it on. The limit follows, and is taken back before the
//! directory is deleted: whenever a crash comes between, [`release`] finds the number again.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use cowlab_sys::durability::{fsync_dir, fsync_file};
use cowlab_sys::project::{self, Project};
use cowlab_sys::{Errno, dir, file};

use crate::{Bytes, Deviation, Error, Home, Impact, Result, Scope, SnapshotId};

/// The name of the file with the first number of the range.
const RECORD: &str = "projects";
/// How many numbers a driver's directory has.
const RANGE: u32 = 1 << 16;
/// The first number that may be in a range: lower ones are what people write into projid(5).
const LOWEST: u32 = 1 << 20;
/// How many ranges there are; 2 to the 31 and above are negative to some tools.
const RANGES: u32 = ((1 << 31) - LOWEST) / RANGE;

/// What a driver that limits directories declares: on some file systems it cannot.
pub const NO_LIMIT: Deviation = Deviation {
    case: "usage/size-limit-is-enforced",
    scope: Scope {
        backings: &["btrfs", "zfs"],
        ..Scope::EVERYWHERE
    },
    observed: "key: size limit: expected enforced, got unsupported",
    because: "a limit is a project quota on directories; btrfs limits subvolumes and ZFS data sets",
    impact: Impact::Isolation,
    see: &[
        "btrfs-quota(8)",
        "zfsprops(7), quota",
        "docs.docker.com, overlay2.size",
    ],
};

/// The same for who runs a container with a limit.
pub const NO_LIMIT_OF_A_RUN: Deviation = Deviation {
    case: "runtime/a-size-limit-holds",
    observed: "--storage-opt size: limit: expected held, got not supported",
    ..NO_LIMIT
};

/// Limits what these empty directories of a new snapshot may hold together.
///
/// # Errors
///
/// [`Error::Unsupported`] where the file system enforces no such limits, or has one already for all of the driver's
/// directory.
pub fn limit(
    home: &Home,
    driver: &'static str,
    id: SnapshotId,
    dirs: &[&Path],
    limit: Bytes,
) -> Result<()> {
    let root = dir::open(home.root())?;
    check(&root, home.root(), driver)?;
    let project = Project {
        id: free(&root, first(home, &root)?, id)?,
        inherited: true,
    };
    for path in dirs {
        project.assign(dir::open(path)?)?;
    }
    Ok(project::limit(&root, project.id, Some(limit.0))?)
}

/// Takes the limit of a snapshot back whose directory this is, or was. Idempotent; nothing happens to a project that
/// the driver did not choose.
///
/// # Errors
///
/// When the project cannot be read or its limit not be changed.
pub fn release(home: &Home, path: &Path) -> Result<()> {
    let Some(first) = recorded(home)? else {
        return Ok(());
    };
    let dir = match dir::open(path) {
        Err(error) if error.errno() == Some(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    match Project::of(&dir)? {
        Some(project) if (first..first + RANGE).contains(&project.id) => {
            match project::limit(&dir, project.id, None) {
                // Mounted without quotas this time: the number stays known to be in use.
                Err(error) if matches!(error.errno(), Some(Errno::SRCH | Errno::NOSYS)) => Ok(()),
                taken => Ok(taken?),
            }
        }
        _ => Ok(()),
    }
}

fn check(root: &OwnedFd, path: &Path, driver: &'static str) -> Result<()> {
    let path = path.display();
    if !project::is_enforced(root)? {
        return Err(Error::Unsupported {
            driver,
            what: format!(
                "a size limit under `{path}`, where no project quotas are enforced"
            ),
            remedy: "put the store on ext4 made with `-O quota,project` or on xfs, mounted with `prjquota`, or on a file \
                     system of the wanted size"
                .to_owned(),
        });
    }
    match Project::of(root)? {
        // What has another project cannot be renamed into it (rename(2), EXDEV).
        Some(project) if project.inherited => Err(Error::Unsupported {
            driver,
            what: format!(
                "a size limit under `{path}`, which is in project {} as a whole",
                project.id
            ),
            remedy: format!(
                "take it out with `chattr -R -P -p 0 {path}`, or limit the whole instead"
            ),
        }),
        _ => Ok(()),
    }
}

/// A number of the range that has neither files nor limits, beginning with the snapshot's own.
fn free(root: &OwnedFd, first: u32, id: SnapshotId) -> Result<u32> {
    let own = first + id.number() % RANGE;
    for number in (own..first + RANGE).chain(first..own) {
        if project::next_in_use(root, number)? != Some(number) {
            return Ok(number);
        }
    }
    let count = usize::try_from(RANGE).unwrap_or(usize::MAX);
    Err(Error::Limit {
        what: "the number of snapshots with a size limit",
        value: count + 1,
        limit: count,
        because: "each takes one of the project ids that the driver's directory has",
    })
}

/// The first number of the range, which is chosen and written down where it is not yet.
fn first(home: &Home, root: &OwnedFd) -> Result<u32> {
    if let Some(first) = recorded(home)? {
        return Ok(first);
    }
    let chosen = choose(home, root)?;
    let file = file::unnamed(home.root())?;
    let path = record(home);
    cowlab_sys::io("write", &path, writeln!(&file, "{chosen}"))?;
    fsync_file(&file, &path)?;
    match file::link_unnamed(&file, root, RECORD) {
        // Another process was faster.
        Err(error) if error.errno() == Some(Errno::EXIST) => {}
        linked => linked?,
    }
    fsync_dir(home.root())?;
    Ok(recorded(home)?.unwrap_or(chosen))
}

/// A range without any number in use; two stores begin to look in different places.
fn choose(home: &Home, root: &OwnedFd) -> Result<u32> {
    let begin = spread(home.root()) % RANGES;
    for step in 0..RANGES {
        let first = LOWEST + (begin + step) % RANGES * RANGE;
        match project::next_in_use(root, first)? {
            Some(number) if number < first + RANGE => {}
            _ => return Ok(first),
        }
    }
    Err(Error::Limit {
        what: "the number of ranges of project ids in use on the file system",
        value: usize::try_from(RANGES).unwrap_or(usize::MAX) + 1,
        limit: usize::try_from(RANGES).unwrap_or(usize::MAX),
        because: "a driver's directory takes a range that nothing else has numbers of",
    })
}

/// A number that differs from path to path (FNV-1a).
fn spread(path: &Path) -> u32 {
    let bytes = path.as_os_str().as_encoded_bytes().iter();
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

fn record(home: &Home) -> PathBuf {
    home.root().join(RECORD)
}

fn recorded(home: &Home) -> Result<Option<u32>> {
    let path = record(home);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => cowlab_sys::io("read", &path, read)?,
    };
    let valid = |first: &u32| {
        *first >= LOWEST
            && (first - LOWEST).is_multiple_of(RANGE)
            && (first - LOWEST) / RANGE < RANGES
    };
    match text.trim().parse().ok().filter(valid) {
        Some(first) => Ok(Some(first)),
        None => Err(cowlab_sys::Error::parse(
            "the first project id in the file `projects` of the driver's directory",
            text,
        )
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(&dir.path().join("driver"), "store").unwrap();
        (dir, home)
    }

    #[test]
    fn only_a_range_is_read_from_the_record() {
        let (_dir, home) = home();
        assert_eq!(recorded(&home).unwrap(), None);
        for (text, first) in [
            ("1048576\n", Some(LOWEST)),
            ("1114112", Some(LOWEST + RANGE)),
            ("1048577\n", None),
            ("0\n", None),
            ("4293918720\n", None),
            ("", None),
        ] {
            fs::write(record(&home), text).unwrap();
            assert_eq!(recorded(&home).ok().flatten(), first, "{text:?}");
        }
    }

    #[test]
    fn without_a_record_nothing_is_released() {
        let (_dir, home) = home();
        release(&home, home.root()).unwrap();
        fs::write(record(&home), "1048576\n").unwrap();
        release(&home, &home.root().join("gone")).unwrap();
        release(&home, home.root()).unwrap();
    }

    #[test]
    fn ranges_end_below_two_to_the_31() {
        let last = u64::from(LOWEST) + u64::from(RANGES) * u64::from(RANGE);
        assert_eq!(last, 1 << 31);
        assert_ne!(spread(Path::new("/a")), spread(Path::new("/b")));
    }
}
