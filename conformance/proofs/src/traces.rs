//! What there is of a host, entry by entry: of the containers of a root, and of whatever else is listed twice and compared.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cowlab_sys::{loopdev, mountinfo, processes, stat};

/// The kinds that every list has.
pub(super) const MOUNTS: &str = "mounts";
pub(super) const DEVICES: &str = "loop devices";
/// Where cgroups are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Entries by their kind, a line each.
#[derive(Debug)]
pub(super) struct Traces(Vec<(&'static str, BTreeSet<String>)>);

impl Traces {
    /// Begins with nothing of these kinds.
    pub(super) fn of(kinds: &[&'static str]) -> Self {
        Self(kinds.iter().map(|kind| (*kind, BTreeSet::new())).collect())
    }

    pub(super) fn add(&mut self, kind: &str, line: String) {
        if let Some((_, lines)) = self.0.iter_mut().find(|(word, _)| *word == kind) {
            lines.insert(line);
        }
    }

    /// Adds the loop devices whose files are wanted.
    pub(super) fn add_devices(&mut self, is_wanted: impl Fn(&Path) -> bool) -> anyhow::Result<()> {
        for (device, image) in loopdev::list()? {
            if is_wanted(&image) {
                let (device, image) = (device.display(), image.display());
                self.add(DEVICES, format!("loop device `{device}` of `{image}`"));
            }
        }
        Ok(())
    }

    /// Lists what belongs to the root at `dir`, and to the containers with these ids: mounts of any namespace, loop devices,
    /// cgroups, processes and files.
    pub(super) fn take(dir: &Path, ids: &[String]) -> anyhow::Result<Self> {
        let mut traces = Self::of(&[MOUNTS, DEVICES, "cgroups", "processes", "files"]);
        traces.list_mounts(dir)?;
        traces.add_devices(|image| image.starts_with(dir))?;
        let cgroups = Path::new(CGROUPS);
        if cgroups.is_dir() {
            traces.list_cgroups(cgroups, ids)?;
        }
        traces.list_processes(dir, ids)?;
        traces.list_files(dir)?;
        Ok(traces)
    }

    /// Mounts of the root's file system, and those made of its directories.
    fn list_mounts(&mut self, dir: &Path) -> anyhow::Result<()> {
        let own = mountinfo::read_self()?;
        let device = mountinfo::of_path(&own, dir).map(|mount| mount.device);
        let text = dir.to_string_lossy();
        for namespace in mountinfo::every_namespace()? {
            for mount in namespace.mounts {
                let options = mount.super_options.to_string_lossy();
                if Some(mount.device) == device || options.contains(&*text) {
                    self.add(
                        MOUNTS,
                        format!(
                            "mount {} of {} `{}` at `{}`",
                            mount.mount_id,
                            mount.fstype,
                            mount.root.display(),
                            mount.mount_point.display()
                        ),
                    );
                }
            }
        }
        Ok(())
    }

    fn list_cgroups(&mut self, dir: &Path, ids: &[String]) -> anyhow::Result<()> {
        let Ok(entries) = fs::read_dir(dir) else {
            // Gone meanwhile.
            return Ok(());
        };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = entry.path();
            if ids.iter().any(|id| path.ends_with(id)) {
                self.add("cgroups", format!("cgroup `{}`", path.display()));
            }
            self.list_cgroups(&path, ids)?;
        }
        Ok(())
    }

    /// Processes that work on the root, or are in a cgroup of a container.
    fn list_processes(&mut self, dir: &Path, ids: &[String]) -> anyhow::Result<()> {
        let own = std::process::id();
        for pid in processes::all()?.into_iter().filter(|pid| *pid != own) {
            let read = |file: &str| {
                let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let command = read("cmdline");
            let cgroup = read("cgroup");
            if command.contains(&*dir.to_string_lossy()) || ids.iter().any(|id| cgroup.contains(id))
            {
                self.add("processes", format!("process {pid} `{}`", command.trim()));
            }
        }
        Ok(())
    }

    fn list_files(&mut self, dir: &Path) -> anyhow::Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.to_string_lossy();
            // They come and go with the last connection to a database (sqlite.org/tempfiles.html).
            if ["-wal", "-shm", "-journal"]
                .iter()
                .any(|end| name.ends_with(end))
            {
                continue;
            }
            self.add("files", format!("file `{name}`"));
            // What is in layers is not listed: a container's goes with its directory.
            let Ok(found) = stat::lstat(&path) else {
                continue;
            };
            if found.kind() == cowlab_sys::FileKind::Directory
                && !path.ends_with("diff")
                && !path.ends_with("fs")
            {
                self.list_files(&path)?;
            }
        }
        Ok(())
    }

    /// The lines of each kind, with those of the same kind in another list.
    fn with<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (&'static str, &'a BTreeSet<String>, &'a BTreeSet<String>)> {
        let pairs = self.0.iter().zip(&other.0);
        pairs.map(|((kind, lines), (_, others))| (*kind, lines, others))
    }

    /// What is in one of the two lists only.
    pub(super) fn differences(&self, after: &Self) -> Vec<String> {
        let kinds = self.with(after);
        kinds
            .flat_map(|(_, before, after)| {
                let gone = before.difference(after).map(|line| format!("gone: {line}"));
                let left = after.difference(before).map(|line| format!("left: {line}"));
                gone.chain(left)
            })
            .collect()
    }

    /// How many entries of `before` are still the same.
    pub(super) fn kept_of(&self, before: &Self) -> usize {
        let kinds = self.with(before);
        kinds
            .map(|(_, now, before)| now.intersection(before).count())
            .sum()
    }

    /// How many there are of each kind that `before` does not have, in words.
    pub(super) fn beyond(&self, before: &Self) -> String {
        let kinds = self.with(before);
        let counts =
            kinds.map(|(kind, now, before)| format!("{} {kind}", now.difference(before).count()));
        counts.collect::<Vec<_>>().join(", ")
    }
}

/// Makes the directory of a container that is not there.
pub(super) fn plant_directory(root: &Path, id: &str) -> anyhow::Result<PathBuf> {
    made(root.join("containers").join(id))
}

/// Makes the cgroup of a container that is not there.
pub(super) fn plant_cgroup(id: &str) -> anyhow::Result<PathBuf> {
    let root = Path::new(CGROUPS);
    let v1 = root.join("pids");
    made(if v1.is_dir() {
        v1.join(id)
    } else {
        root.join(id)
    })
}

fn made(dir: PathBuf) -> anyhow::Result<PathBuf> {
    fs::create_dir(&dir)?;
    Ok(dir)
}
