//! What the containers of a root have of a host, entry by entry.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use cowlab_sys::{loopdev, mountinfo, process, stat};

use super::gone_and_left;

/// Where cgroups are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Mounts of any namespace, loop devices, cgroups, processes and files, a line each.
#[derive(Debug, Default)]
pub(super) struct Traces {
    mounts: BTreeSet<String>,
    devices: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    processes: BTreeSet<String>,
    files: BTreeSet<String>,
}

impl Traces {
    /// Lists what belongs to the root at `dir`, and to the containers with these ids.
    pub(super) fn take(dir: &Path, ids: &[String]) -> anyhow::Result<Self> {
        let mut traces = Self::default();
        traces.list_mounts(dir)?;
        for (device, image) in loopdev::list()? {
            if !image.starts_with(dir) {
                continue;
            }
            let (device, image) = (device.display(), image.display());
            traces
                .devices
                .insert(format!("loop device `{device}` of `{image}`"));
        }
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
                    self.mounts.insert(format!(
                        "mount {} of {} `{}` at `{}`",
                        mount.mount_id,
                        mount.fstype,
                        mount.root.display(),
                        mount.mount_point.display()
                    ));
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
                self.cgroups.insert(format!("cgroup `{}`", path.display()));
            }
            self.list_cgroups(&path, ids)?;
        }
        Ok(())
    }

    /// Processes that work on the root, or are in a cgroup of a container.
    fn list_processes(&mut self, dir: &Path, ids: &[String]) -> anyhow::Result<()> {
        let own = std::process::id();
        for pid in process::all()?.into_iter().filter(|pid| *pid != own) {
            let read = |file: &str| {
                let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let command = read("cmdline");
            let cgroup = read("cgroup");
            if command.contains(&*dir.to_string_lossy()) || ids.iter().any(|id| cgroup.contains(id))
            {
                self.processes
                    .insert(format!("process {pid} `{}`", command.trim()));
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
            self.files.insert(format!("file `{name}`"));
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

    fn sets(&self) -> [(&'static str, &BTreeSet<String>); 5] {
        [
            ("mounts", &self.mounts),
            ("loop devices", &self.devices),
            ("cgroups", &self.cgroups),
            ("processes", &self.processes),
            ("files", &self.files),
        ]
    }

    /// What is in one of the two lists only.
    pub(super) fn differences(&self, after: &Self) -> Vec<String> {
        let pairs = self.sets().into_iter().zip(after.sets());
        pairs
            .flat_map(|((_, before), (_, after))| gone_and_left(before, after))
            .collect()
    }

    /// How many there are of each that `before` does not have.
    pub(super) fn beyond(&self, before: &Self) -> Beyond {
        let pairs = self.sets().into_iter().zip(before.sets());
        Beyond(
            pairs
                .map(|((word, now), (_, before))| (word, now.difference(before).count()))
                .collect(),
        )
    }
}

/// The lengths of the lists.
#[derive(Debug)]
pub(super) struct Beyond(Vec<(&'static str, usize)>);

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self
            .0
            .iter()
            .map(|(word, count)| format!("{count} {word}"))
            .collect();
        f.write_str(&parts.join(", "))
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
