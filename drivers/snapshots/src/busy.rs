//! Who uses a snapshot: its mounts in every mount namespace, and open writers.
//!
//! The store learns what a snapshot's mount looks like from the driver's own [`Mounts`]: an overlay
//! mount names the snapshot's directory as `upperdir` or topmost lower, a bind mount shows that
//! directory as its root, a mounted device is that device. So mounts made by hand count as well.
//!
//! Not seen: a namespace kept alive by a bind mount of its `ns/mnt` file alone, and a mount that
//! somebody else detached with `umount -l` and still uses. The store itself never detaches one.

use std::ffi::OsString;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use cowlab_driver::Mounts;
use cowlab_driver::busy::{layer_paths, layers};
use cowlab_sys::holders::{self, Holder, HolderKind};
use cowlab_sys::mountinfo::{self, MountEntry};
use cowlab_sys::{MountOption, MountSpec};

use crate::Result;

/// Of the holders of a snapshot, the most that an error names.
const NAMED: usize = 16;

/// A mount of a snapshot.
#[derive(Debug)]
pub(crate) struct Found {
    /// A process that sees it.
    pub(crate) pid: u32,
    /// Whether this process sees it.
    pub(crate) ours: bool,
    pub(crate) entry: MountEntry,
}

impl Found {
    /// The mount's root, reachable from this process.
    pub(crate) fn path(&self) -> PathBuf {
        if self.ours {
            return self.entry.mount_point.clone();
        }
        // A process's `root` link leads into its mount namespace (proc_pid_root(5)).
        let mut path = OsString::from(format!("/proc/{}/root", self.pid));
        path.push(&self.entry.mount_point);
        path.into()
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
            command: cowlab_sys::process::command_name(pid).unwrap_or_default(),
            what: HolderKind::Mount,
            path: self.entry.mount_point,
        }
    }
}

/// What tells the mounts of one snapshot from others.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// The snapshot's directory.
    directory: Option<Directory>,
    /// A block device with the snapshot's file system.
    device: Option<u64>,
    /// A file system's type and its source, where that is no device.
    source: Option<(String, OsString)>,
}

#[derive(Debug)]
struct Directory {
    /// Without symbolic links.
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Its device and its path from the root of its file system, as the table shows a bind mount
    /// of it (proc_pid_mountinfo(5)).
    place: Option<((u32, u32), PathBuf)>,
}

impl Marks {
    /// Reads them off the mount data of a snapshot.
    pub(crate) fn of(mounts: &Mounts) -> Result<Self> {
        match mounts {
            Mounts::Bind { source, .. } => Self::of_directory(source),
            Mounts::FileSystem(spec) if spec.fstype == "overlay" => match own_directory(spec) {
                Some(path) => Self::of_directory(&path),
                None => Ok(Self::default()),
            },
            // A program's mount names no directory, but the program has the snapshot's own open.
            Mounts::FileSystem(spec) if spec.server.is_some() => match own_directory(spec) {
                Some(path) => Ok(Self {
                    source: Self::of_source(spec).source,
                    ..Self::of_directory(&path)?
                }),
                None => Ok(Self::of_source(spec)),
            },
            Mounts::FileSystem(spec) => Ok(Self::of_source(spec)),
        }
    }

    /// Whether a program serves the snapshot's mounts: each is a file system of its own, as an overlay mount is.
    const fn is_served(&self) -> bool {
        self.directory.is_some() && self.source.is_some()
    }

    fn of_directory(path: &Path) -> Result<Self> {
        let path = cowlab_sys::io("realpath", path, path.canonicalize())?;
        let stat = cowlab_sys::stat::stat(&path)?;
        let place = mountinfo::of_path(&mountinfo::read_self()?, &path).and_then(|mount| {
            let below = path.strip_prefix(&mount.mount_point).ok()?;
            Some((mount.device, mount.root.join(below)))
        });
        Ok(Self {
            directory: Some(Directory {
                device: stat.dev,
                inode: stat.ino,
                path,
                place,
            }),
            ..Self::default()
        })
    }

    fn of_source(spec: &MountSpec) -> Self {
        let Some(source) = &spec.source else {
            return Self::default();
        };
        match source.metadata() {
            Ok(metadata) if metadata.file_type().is_block_device() => Self {
                device: Some(metadata.rdev()),
                ..Self::default()
            },
            _ => Self {
                source: Some((spec.fstype.clone(), source.clone().into())),
                ..Self::default()
            },
        }
    }

    fn fits(&self, entry: &MountEntry) -> bool {
        self.directory
            .as_ref()
            .is_some_and(|directory| directory.is_shown_by(entry))
            || self.device == Some(entry.device_number())
            || self
                .source
                .as_ref()
                .is_some_and(|(fstype, source)| *fstype == entry.fstype && *source == entry.source)
    }

    /// The snapshot's mounts, in every mount namespace.
    pub(crate) fn mounts(&self) -> Result<Vec<Found>> {
        let own = cowlab_sys::stat::stat("/proc/thread-self/ns/mnt")?.ino;
        let mut found = Vec::new();
        for namespace in mountinfo::every_namespace()? {
            let Some(pid) = namespace.pids.first().copied() else {
                continue;
            };
            let ours = namespace.inode == own;
            let fitting = namespace
                .mounts
                .into_iter()
                .filter(|entry| self.fits(entry));
            found.extend(fitting.map(|entry| Found { pid, ours, entry }));
        }
        Ok(found)
    }

    /// Who has the snapshot mounted and, of overlay mounts, who uses the mount.
    pub(crate) fn mounters(&self) -> Result<Vec<Holder>> {
        let found = self.mounts()?;
        let mut devices: Vec<_> = found
            .iter()
            .filter(|found| found.entry.fstype == "overlay" || self.is_served())
            .map(|found| found.entry.device_number())
            .collect();
        devices.dedup();
        let mut all: Vec<_> = found.into_iter().map(Found::into_holder).collect();
        if !devices.is_empty() {
            all.extend(holders::users_of(&devices)?);
        }
        all.truncate(NAMED);
        Ok(all)
    }

    /// Who has a file of the snapshot open for writing, without a mount.
    pub(crate) fn writers(&self) -> Result<Vec<Holder>> {
        let mut all = match (&self.directory, self.device) {
            (Some(directory), _) => holders::writers_below(&directory.path)?,
            (None, Some(device)) => holders::writers_on(&[device])?,
            (None, None) => Vec::new(),
        };
        all.truncate(NAMED);
        Ok(all)
    }
}

impl Directory {
    fn is_shown_by(&self, entry: &MountEntry) -> bool {
        let bound = self
            .place
            .as_ref()
            .is_some_and(|(device, path)| *device == entry.device && entry.root.starts_with(path));
        bound || self.is_layer_of(entry)
    }

    /// Whether an overlay mount is made of the directory.
    fn is_layer_of(&self, entry: &MountEntry) -> bool {
        layers(entry).iter().any(|layer| self.is(layer))
    }

    /// Whether a path, as the mount was given it, leads to the directory. A driver may use links, to keep
    /// the options of a mount short.
    fn is(&self, path: &Path) -> bool {
        path == self.path
            || path
                .metadata()
                .is_ok_and(|stat| (stat.dev(), stat.ino()) == (self.device, self.inode))
    }
}

/// The directory of an overlay mount that holds the snapshot's own layer.
fn own_directory(spec: &MountSpec) -> Option<PathBuf> {
    let text = |wanted: &str| {
        spec.options.iter().find_map(|option| match option {
            MountOption::Text(key, value) if key == wanted => Some(value.clone()),
            _ => None,
        })
    };
    let first = |value: OsString, separator| layer_paths(&value, separator).into_iter().next();
    text("upperdir")
        .and_then(|value| first(value, None))
        .or_else(|| text("lowerdir+").map(PathBuf::from))
        .or_else(|| first(text("lowerdir")?, Some(b':')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(options: &[(&str, &str)]) -> Mounts {
        Mounts::FileSystem(MountSpec {
            fstype: "overlay".into(),
            options: options
                .iter()
                .map(|(key, value)| MountOption::text(*key, *value))
                .collect(),
            ..MountSpec::default()
        })
    }

    fn entry(line: &str) -> MountEntry {
        mountinfo::parse(line.as_bytes()).unwrap().remove(0)
    }

    #[test]
    fn an_overlay_mount_belongs_to_its_upper_or_topmost_lower() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let text = path.to_str().unwrap();
        let line =
            |options: &str| entry(&format!("9 1 0:99 / /m rw - overlay overlay rw,{options}"));
        for mounts in [
            overlay(&[("lowerdir+", "/x"), ("upperdir", text)]),
            overlay(&[("lowerdir+", text), ("lowerdir+", "/x")]),
            overlay(&[("lowerdir", &format!("{text}:/x"))]),
        ] {
            let marks = Marks::of(&mounts).unwrap();
            assert!(marks.fits(&line(&format!("lowerdir=/x,upperdir={text}"))));
            assert!(marks.fits(&line(&format!("lowerdir+={text},lowerdir+=/x"))));
            assert!(marks.fits(&line(&format!("lowerdir=/x:{text}"))));
            assert!(!marks.fits(&line("lowerdir=/x:/y,upperdir=/z")));
        }
    }

    #[test]
    fn a_layer_may_be_named_by_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let layer = dir.path().join("layer");
        let link = dir.path().join("l");
        std::fs::create_dir(&layer).unwrap();
        std::os::unix::fs::symlink(&layer, &link).unwrap();
        let marks = Marks::of(&overlay(&[("lowerdir+", link.to_str().unwrap())])).unwrap();
        let options = format!("lowerdir={}:/x", link.display());
        assert!(marks.fits(&entry(&format!(
            "9 1 0:99 / /m ro - overlay overlay ro,{options}"
        ))));
    }

    #[test]
    fn an_upper_is_known_by_its_escaped_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("a\\b:c");
        std::fs::create_dir(&path).unwrap();
        let escaped = path.to_str().unwrap().replace('\\', "\\\\");
        let marks = Marks::of(&overlay(&[("upperdir", &escaped)])).unwrap();
        let shown = escaped.replace('\\', "\\134");
        let line = format!("9 1 0:99 / /m rw - overlay overlay rw,upperdir={shown}");
        assert!(marks.fits(&entry(&line)));
    }

    #[test]
    fn a_bind_mount_shows_the_directory_or_part_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let marks = Marks::of(&Mounts::Bind {
            source: dir.path().to_owned(),
            attributes: cowlab_sys::MountAttributes::default(),
        })
        .unwrap();
        // In a chroot whose root is no mount point the mount below it is in no table (proc_pid_mountinfo(5)).
        let Some(((major, minor), root)) = marks.directory.as_ref().unwrap().place.clone() else {
            assert!(
                mountinfo::read_self()
                    .unwrap()
                    .iter()
                    .all(|entry| entry.mount_point != Path::new("/"))
            );
            return;
        };
        let line = |root: &Path| {
            entry(&format!(
                "9 1 {major}:{minor} {} /m rw - ext4 /dev/x rw",
                root.display()
            ))
        };
        assert!(marks.fits(&line(&root)));
        assert!(marks.fits(&line(&root.join("etc"))));
        assert!(!marks.fits(&line(root.parent().unwrap())));
    }
}
