//! Whether a snapshot is in use: its mounts in every mount namespace, and processes that can write to its files.
//!
//! Nobody else asks. A driver says how its mounts are recognised ([`MountMatcher`]); one scan of `/proc` under the
//! snapshot's lock finds them, those made by hand as well. What cannot be found out is an error and never a no.
//!
//! Not seen: a namespace kept alive by a bind mount of its `ns/mnt` file alone, and a mount that
//! somebody else detached with `umount -l` and still uses. The store itself never detaches one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use cowlab_driver::{MountMatcher, layer_paths};
use cowlab_sys::holders::{self, Holder, HolderKind};
use cowlab_sys::mountinfo::{self, MountEntry, Namespace};

/// Of the holders of a snapshot, the most that an error names.
const NAMED: usize = 16;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uses {
    /// Mounts: of a snapshot that nobody can write to.
    Mounts,
    /// Mounts, and where there are none, files open for writing.
    MountsAndWriters,
}

/// A mount of a snapshot.
#[derive(Debug)]
pub(crate) struct Found {
    /// A process that sees it.
    pub(crate) pid: u32,
    /// Whether this process sees it.
    pub(crate) ours: bool,
    /// Whether it is a file system of its own, and no bind mount of a directory of the snapshot.
    is_own_file_system: bool,
    pub(crate) entry: MountEntry,
}

impl Found {
    /// The mount's root, reachable from this process.
    pub(crate) fn path(&self) -> PathBuf {
        if self.ours {
            return self.entry.mount_point.clone();
        }
        below_root_of(self.pid, &self.entry.mount_point)
    }

    /// Names the process for people.
    pub(crate) fn into_holder(self) -> Holder {
        // In our own namespace every process sees the mount, so this one stands for all.
        let pid = if self.ours {
            std::process::id()
        } else {
            self.pid
        };
        Holder {
            pid,
            command: cowlab_sys::processes::command_name(pid).unwrap_or_default(),
            what: HolderKind::Mount,
            path: self.entry.mount_point,
        }
    }
}

/// Lists the mounts of a snapshot, in every mount namespace.
///
/// # Errors
///
/// [`cowlab_sys::Error`] where a mount table cannot be read.
pub(crate) fn mounts(matchers: &[MountMatcher]) -> cowlab_sys::Result<Vec<Found>> {
    if matchers.is_empty() {
        return Ok(Vec::new());
    }
    select(matchers, &mountinfo::every_namespace()?)
}

/// Lists who uses a snapshot, a few of them by name: who has it mounted and, where the mount is a file system of its own, who
/// uses that.
///
/// # Errors
///
/// As [`mounts`], and where the open files of a process cannot be read.
pub(crate) fn holders(matchers: &[MountMatcher], uses: Uses) -> cowlab_sys::Result<Vec<Holder>> {
    if matchers.is_empty() {
        return Ok(Vec::new());
    }
    let namespaces = mountinfo::every_namespace()?;
    let found = select(matchers, &namespaces)?;
    let mut all = if found.is_empty() && uses == Uses::MountsAndWriters {
        let pids = namespaces.into_iter().flat_map(|one| one.pids).collect();
        writers(matchers, &pids)?
    } else {
        mounters(found)?
    };
    all.truncate(NAMED);
    Ok(all)
}

fn mounters(found: Vec<Found>) -> cowlab_sys::Result<Vec<Holder>> {
    let own = found.iter().filter(|found| found.is_own_file_system);
    let mut devices: Vec<_> = own.map(|found| found.entry.device_number()).collect();
    devices.dedup();
    let mut all: Vec<_> = found.into_iter().map(Found::into_holder).collect();
    if !devices.is_empty() {
        all.extend(holders::users_of(&devices)?);
    }
    Ok(all)
}

/// Who has a file of the snapshot open for writing, without a mount.
fn writers(matchers: &[MountMatcher], pids: &BTreeSet<u32>) -> cowlab_sys::Result<Vec<Holder>> {
    let mut all = Vec::new();
    for matcher in matchers {
        all.extend(match matcher {
            MountMatcher::Directories(dirs) => {
                let mut trees = Vec::new();
                for dir in dirs.iter().filter(|dir| dir.is_dir() && !dir.is_symlink()) {
                    trees.extend(parts(dir)?);
                }
                holders::writers_below(&trees, pids)?
            }
            MountMatcher::Device((major, minor)) => {
                holders::writers_on(&[cowlab_sys::stat::device(*major, *minor)], pids)?
            }
            // Files are open only on what is mounted.
            MountMatcher::Source { .. } => Vec::new(),
        });
    }
    Ok(all)
}

/// A directory, and what is directly in it on a device of its own, as a subvolume is.
fn parts(dir: &Path) -> cowlab_sys::Result<Vec<PathBuf>> {
    let device = cowlab_sys::stat::stat(dir)?.dev;
    let mut parts = vec![dir.to_owned()];
    for entry in cowlab_sys::dir::read_dir(dir)? {
        let path = dir.join(entry.name);
        if cowlab_sys::stat::lstat(&path).is_ok_and(|found| found.dev != device) {
            parts.push(path);
        }
    }
    Ok(parts)
}

fn select(matchers: &[MountMatcher], namespaces: &[Namespace]) -> cowlab_sys::Result<Vec<Found>> {
    let own = cowlab_sys::stat::stat("/proc/thread-self/ns/mnt")?.ino;
    let table = mountinfo::read_self()?;
    let mut matchers: Vec<_> = matchers
        .iter()
        .map(|matcher| Matcher::new(matcher, &table))
        .collect();
    let mut found = Vec::new();
    for namespace in namespaces {
        let Some(pid) = namespace.pids.first().copied() else {
            continue;
        };
        let ours = namespace.inode == own;
        for entry in &namespace.mounts {
            let fits = |matcher: &mut Matcher<'_>| matcher.fits(entry, (!ours).then_some(pid));
            if matchers.iter_mut().any(fits) {
                found.push(Found {
                    pid,
                    ours,
                    is_own_file_system: !matchers.iter().any(|matcher| matcher.is_bound_by(entry)),
                    entry: entry.clone(),
                });
            }
        }
    }
    Ok(found)
}

/// A matcher, and what it takes to compare it with mounts.
enum Matcher<'a> {
    Directories {
        directories: Vec<Directory<'a>>,
        /// Overlays that were compared already: one is mounted in many namespaces.
        overlays: BTreeMap<(u32, u32), bool>,
    },
    Device((u32, u32)),
    Source {
        fstype: &'a str,
        source: &'a OsStr,
    },
}

impl<'a> Matcher<'a> {
    fn new(matcher: &'a MountMatcher, table: &[MountEntry]) -> Self {
        match matcher {
            MountMatcher::Directories(dirs) => Self::Directories {
                directories: dirs.iter().map(|dir| Directory::new(dir, table)).collect(),
                overlays: BTreeMap::new(),
            },
            MountMatcher::Device(number) => Self::Device(*number),
            MountMatcher::Source { fstype, source } => Self::Source { fstype, source },
        }
    }

    /// Whether a mount is a bind mount of a directory of the snapshot.
    fn is_bound_by(&self, entry: &MountEntry) -> bool {
        match self {
            Self::Directories { directories, .. } => {
                directories.iter().any(|one| one.is_bound_by(entry))
            }
            Self::Device(_) | Self::Source { .. } => false,
        }
    }

    /// Whether a mount shows the snapshot; of one in another namespace, a process there is named.
    fn fits(&mut self, entry: &MountEntry, pid: Option<u32>) -> bool {
        if self.is_bound_by(entry) {
            return true;
        }
        match self {
            Self::Device(number) => entry.device == *number,
            Self::Source { fstype, source } => {
                entry.fstype == *fstype && is_source(&entry.source, source)
            }
            Self::Directories {
                directories,
                overlays,
            } => {
                entry.fstype == "overlay"
                    && *overlays
                        .entry(entry.device)
                        .or_insert_with(|| is_made_of(directories, &layers(entry), pid))
            }
        }
    }
}

/// Whether what is mounted is the source, or a snapshot of it.
fn is_source(mounted: &OsStr, source: &OsStr) -> bool {
    let below = mounted.as_bytes().strip_prefix(source.as_bytes());
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"@"))
}

/// A directory of a snapshot.
struct Directory<'a> {
    path: &'a Path,
    /// Device and inode, where it is there.
    identity: Option<(u64, u64)>,
    /// Its device and its path from the root of its file system, as the table shows a bind mount
    /// of it (proc_pid_mountinfo(5)).
    place: Option<((u32, u32), PathBuf)>,
}

impl<'a> Directory<'a> {
    fn new(path: &'a Path, table: &[MountEntry]) -> Self {
        let place = mountinfo::of_path(table, path).and_then(|mount| {
            let below = path.strip_prefix(&mount.mount_point).ok()?;
            Some((mount.device, mount.root.join(below)))
        });
        Self {
            path,
            identity: identity(path),
            place,
        }
    }

    fn is_bound_by(&self, entry: &MountEntry) -> bool {
        self.place
            .as_ref()
            .is_some_and(|(device, path)| *device == entry.device && entry.root.starts_with(path))
    }

    /// Whether a path leads to the directory, or to something directly in it.
    fn has(&self, path: &Path) -> bool {
        let is_this = |path: &Path| self.identity.is_some() && identity(path) == self.identity;
        path.starts_with(self.path) || is_this(path) || path.parent().is_some_and(is_this)
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = path.metadata().ok()?;
    Some((found.dev(), found.ino()))
}

/// Whether an overlay is made of one of the directories, by what its table says of its layers.
fn is_made_of(directories: &[Directory<'_>], layers: &[PathBuf], pid: Option<u32>) -> bool {
    let (absolute, relative): (Vec<_>, Vec<_>) = layers.iter().partition(|path| path.is_absolute());
    let is_ours = |path: &Path| directories.iter().any(|directory| directory.has(path));
    absolute.iter().any(|path| {
        // A process sees another directory there where its root is another.
        is_ours(path) || pid.is_some_and(|pid| is_ours(&below_root_of(pid, path)))
    }) || may_be_relative_to(directories, &relative)
}

/// Whether an overlay that was mounted with relative layers can be made of one of the directories.
///
/// The table does not say what they are relative to: containerd mounts from within its root, where the absolute paths
/// would fill more than a page. So every directory is tried that is above one of ours, or is one: if all layers are there and
/// one of them is ours, the mount counts. Leading `..` lead to such a directory as well, from wherever.
fn may_be_relative_to(directories: &[Directory<'_>], relative: &[&PathBuf]) -> bool {
    if relative.is_empty() {
        return false;
    }
    let normal = |path: &&PathBuf| -> PathBuf {
        let parts = path.components();
        parts
            .skip_while(|part| matches!(part, Component::ParentDir | Component::CurDir))
            .collect()
    };
    let layers: Vec<_> = relative.iter().map(normal).collect();
    let bases: BTreeSet<_> = directories
        .iter()
        .flat_map(|directory| directory.path.ancestors())
        .collect();
    bases.into_iter().any(|base| {
        let mut paths = layers.iter().map(|layer| base.join(layer));
        layers.iter().all(|layer| base.join(layer).exists())
            && paths.any(|path| directories.iter().any(|directory| directory.has(&path)))
    })
}

/// A path as a process sees it (proc_pid_root(5)): its `root` link leads into its mount namespace.
fn below_root_of(pid: u32, path: &Path) -> PathBuf {
    let mut below = OsString::from(format!("/proc/{pid}/root"));
    below.push(path);
    below.into()
}

/// The directories that an overlay mount is made of, as who mounted it named them.
fn layers(entry: &MountEntry) -> Vec<PathBuf> {
    let values = |key| entry.super_option(key).into_iter();
    let own = ["upperdir", "workdir"].into_iter().flat_map(values);
    values("lowerdir+")
        .map(PathBuf::from)
        .chain(own.flat_map(|value| layer_paths(&value, None)))
        .chain(values("lowerdir").flat_map(|value| layer_paths(&value, Some(b':'))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver's root with the snapshots 7 and 8, and the link of 7.
    fn root() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("a\\b:c");
        for name in ["7/diff", "8/diff", "l"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::os::unix::fs::symlink("../7/diff", root.join("l/7")).unwrap();
        (dir, root)
    }

    fn fits(root: &Path, line: &str) -> bool {
        let dirs = vec![root.join("7"), root.join("l/7")];
        let matcher = MountMatcher::Directories(dirs);
        let table = mountinfo::read_self().unwrap();
        let entry = mountinfo::parse(line.as_bytes()).unwrap().remove(0);
        Matcher::new(&matcher, &table).fits(&entry, None)
    }

    fn overlay(root: &Path, options: &str) -> bool {
        fits(
            root,
            &format!("9 1 0:99 / /m rw - overlay overlay rw,{options}"),
        )
    }

    #[test]
    fn an_overlay_belongs_to_each_of_its_layers() {
        let (_dir, root) = root();
        let each = root.to_str().unwrap().replace('\\', "\\134");
        let joined = each.replace(':', "\\134:").replace("\\134b", "\\134\\134b");
        for options in [
            format!("lowerdir+=/x,upperdir={joined}/7/diff,workdir=/w"),
            format!("lowerdir+=/x,lowerdir+={each}/7/diff"),
            format!("lowerdir=/x:{joined}/7/diff"),
            format!("lowerdir={joined}/l/7:/x"),
        ] {
            assert!(overlay(&root, &options), "{options}");
        }
        for options in [
            format!("lowerdir=/x:{joined}/8/diff,upperdir=/z"),
            format!("lowerdir=/x:{joined}/77/diff"),
        ] {
            assert!(!overlay(&root, &options), "{options}");
        }
        assert!(!fits(
            &root,
            &format!("9 1 0:99 / /m rw - ext4 x rw,lowerdir+={each}/7")
        ));
    }

    #[test]
    fn an_overlay_of_relative_layers_counts_wherever_it_was_mounted_from() {
        let (_dir, root) = root();
        for options in [
            "lowerdir=8/diff:7/diff",
            "lowerdir=l/7,upperdir=8/diff",
            "lowerdir=7:8",
            "lowerdir=diff",
            "lowerdir=../7/diff:../8/diff",
            "lowerdir+=./7/diff",
        ] {
            assert!(overlay(&root, options), "{options}");
        }
        for options in [
            "lowerdir=8/diff",
            // Of another engine, whose numbers happen to be the same.
            "lowerdir=7/fs:8/fs",
            "lowerdir=7/diff:6/diff",
            "lowerdir=etc",
        ] {
            assert!(!overlay(&root, options), "{options}");
        }
    }

    #[test]
    fn a_layer_may_be_named_by_another_way_to_it() {
        let (dir, root) = root();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(root.join("7/diff"), &link).unwrap();
        assert!(overlay(&root, &format!("lowerdir={}:/x", link.display())));
        let way = dir.path().join("way");
        std::os::unix::fs::symlink(&root, &way).unwrap();
        assert!(overlay(
            &root,
            &format!("lowerdir=/x:{}/7/diff", way.display())
        ));
        assert!(!overlay(
            &root,
            &format!("lowerdir=/x:{}/8/diff", way.display())
        ));
    }

    #[test]
    fn a_bind_mount_shows_the_directory_or_part_of_it() {
        let (_dir, root) = root();
        let root = root.parent().unwrap().to_owned();
        let dir = root.join("7");
        let table = mountinfo::read_self().unwrap();
        // In a chroot whose root is no mount point the mount below it is in no table (proc_pid_mountinfo(5)).
        let Some(((major, minor), place)) = Directory::new(&dir, &table).place else {
            assert!(
                table
                    .iter()
                    .all(|entry| entry.mount_point != Path::new("/"))
            );
            return;
        };
        let bound = |place: &Path| {
            let place = place.display();
            fits(
                &root,
                &format!("9 1 {major}:{minor} {place} /m rw - ext4 /dev/x rw"),
            )
        };
        assert!(bound(&place) && bound(&place.join("fs")));
        assert!(!bound(place.parent().unwrap()) && !bound(&place.with_file_name("77")));
    }

    #[test]
    fn a_source_is_shown_by_itself_and_its_snapshots() {
        let shown = |source: &str| is_source(OsStr::new(source), OsStr::new("tank/c/1"));
        assert!(shown("tank/c/1") && shown("tank/c/1@committed"));
        assert!(!shown("tank/c/17") && !shown("tank/c") && !shown("tank/c/1/x"));
    }
}
