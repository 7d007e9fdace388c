//! A run in a mount namespace of its own: nobody else sees, copies or pins its mounts, and it keeps nobody's in use.

use std::collections::BTreeSet;
use std::path::PathBuf;

use cowlab_sys::mountinfo::MountEntry;
use cowlab_sys::{IdSource, mount, mountinfo, process};

use crate::{Result, Run};

/// File systems that show the kernel itself: nobody has a device in use by them.
const KERNEL_TYPES: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

impl Run {
    /// Gives the calling thread a mount namespace of its own and starts a run there. A program calls it before it starts any
    /// thread.
    pub fn start_with_private_mounts(base: Option<PathBuf>, id_source: IdSource) -> Result<Self> {
        process::unshare_mounts()?;
        let run = Self::start_with(base, id_source)?;
        run.unmount_foreign();
        Ok(run)
    }

    /// Unmounts the copies of other people's mounts that a new namespace has: with a copy left, who unmounts the original
    /// finds its device, or its pool, still in use. Nothing propagates to where the originals are.
    pub fn unmount_foreign(&self) {
        let mounts = mountinfo::read_self().unwrap_or_default();
        let needed = needed(self);
        let needed = needed.iter().filter_map(|path| path.canonicalize().ok());
        let needed = needed.filter_map(|path| mountinfo::of_path(&mounts, &path));
        let needed: BTreeSet<_> = needed.map(|mount| mount.device).collect();
        let is_foreign = |mount: &MountEntry| {
            !needed.contains(&mount.device) && !KERNEL_TYPES.contains(&mount.fstype.as_str())
        };
        if let Err(error) = mount::unmount_unused(is_foreign) {
            tracing::debug!(%error, "other people's mounts stay in the namespace of this run");
        }
    }
}

/// Directories of which a run needs the file systems: for its programs, its files, and what these read.
fn needed(run: &Run) -> Vec<PathBuf> {
    let system = [
        "/",
        "/dev",
        "/dev/shm",
        "/etc",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/opt",
        "/run",
        "/run/lock",
        "/tmp",
        "/usr",
        "/var",
        "/var/cache",
        "/var/lib",
        "/var/tmp",
    ];
    let mut paths: Vec<PathBuf> = system.iter().map(PathBuf::from).collect();
    let variables = ["PATH", "HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"];
    let variables = variables.iter().filter_map(std::env::var_os);
    paths.extend(variables.flat_map(|value| std::env::split_paths(&value).collect::<Vec<_>>()));
    paths.extend(
        [std::env::current_exe(), std::env::current_dir()]
            .into_iter()
            .flatten(),
    );
    paths.push(run.directory().to_owned());
    paths
}
