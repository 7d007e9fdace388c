//! Faults in the mount of a snapshot: between a case and the mount of a driver stands a FUSE file system that passes everything
//! through but for one fault.
//!
//! What a case sees of open files, mappings, locks and listings is the kernel's, and no driver can be made to do it wrong.
//! The file system runs in a process of its own (`cowlab conformance faulty-mount`): a process that serves what it has open
//! itself could not be killed.

mod mount_fault;
mod passthrough;
mod protocol;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result as AnyResult, bail};
use cowlab_driver::{
    Access, Activation, Candidates, Chain, CreateOptions, Driver, DriverInfo, Durability, Error,
    Health, MountMatcher, Mounts, Provenance, Quarantine, Result, SnapshotId, Staging, Usage,
    WriteWatch,
};
use cowlab_sys::at::{self, OFlags};
use cowlab_sys::mount::DetachedMount;
use cowlab_sys::task::{self, Task};
use cowlab_sys::{Cmd, MountAttributes, MountOption, MountSpec, dir, process};

pub(crate) use mount_fault::MountFault;
use passthrough::Passthrough;

use super::Plant;

/// The device of FUSE.
const DEVICE: &str = "/dev/fuse";
/// The type of the mounts in mount tables.
const FSTYPE: &str = "fuse";

/// The longest that the end of a process is waited for after an unmount.
const LONGEST_END: Duration = Duration::from_secs(1);

/// A driver whose mounts have a fault.
#[derive(Debug)]
pub(crate) struct FaultyMount {
    inner: Box<dyn Driver>,
    fault: MountFault,
    /// The id of the fault, by which the process that serves knows it.
    id: &'static str,
    /// The processes that serve mounts of a snapshot.
    servers: Mutex<HashMap<SnapshotId, Vec<u32>>>,
}

impl FaultyMount {
    /// Puts a fault into the mounts of a driver.
    pub(super) fn new(inner: Box<dyn Driver>, fault: MountFault, id: &'static str) -> Self {
        Self {
            inner,
            fault,
            id,
            servers: Mutex::default(),
        }
    }

    /// The name in mount tables.
    fn source(&self, id: SnapshotId) -> String {
        format!("cowlab-faulty-{}-{id}", self.root().display())
    }

    /// Waits for the processes of a snapshot that nobody has mounted: they hold the driver's own mount.
    fn wait(&self, id: SnapshotId) -> Result<()> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(all) = servers.get_mut(&id) else {
            return Ok(());
        };
        while let Some(pid) = all.pop() {
            let has_ended = match Task::open(pid)? {
                Some(server) => server.ends_within(LONGEST_END)?,
                None => true,
            };
            if !has_ended {
                all.push(pid);
                let reason = format!("process {pid} still serves a mount of it");
                return Err(Error::Busy { id, reason });
            }
            task::wait(pid)?;
        }
        Ok(())
    }

    /// Mounts the snapshot where nobody sees it and starts the process that shows it.
    fn serve(&self, chain: &Chain, access: Access) -> Result<Activation> {
        let inner = self.inner.activate(chain, access)?;
        let attributes = attributes_of(&inner);
        let tree = match &*inner {
            Mounts::FileSystem(spec) => DetachedMount::new(spec)?,
            Mounts::Bind { source, attributes } => DetachedMount::bind(source, *attributes)?,
        };
        let tree = cowlab_sys::io("dup", "", tree.as_fd().try_clone_to_owned())?;
        let device = at::open(dir::open("/dev")?, "fuse", OFlags::RDWR, 0)?;
        let number = tree.as_raw_fd();
        let program = Cmd::new("/proc/self/exe")
            .args(["conformance", "faulty-mount", self.id])
            .arg(number.to_string())
            .inherit(tree);
        let requests = cowlab_sys::io("dup", DEVICE, device.try_clone())?;
        let nothing = File::options().write(true).open("/dev/null");
        let nothing = cowlab_sys::io("open", "/dev/null", nothing)?;
        let pid = program.detach(requests, nothing)?;
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.entry(chain.head()).or_default().push(pid);
        let spec = self.spec(chain.head(), &device, attributes);
        Ok(Activation::on_device(Mounts::FileSystem(spec), device))
    }

    fn spec(&self, id: SnapshotId, device: &OwnedFd, attributes: MountAttributes) -> MountSpec {
        let mut options = vec![
            MountOption::text("fd", device.as_raw_fd().to_string()),
            MountOption::text("rootmode", "40000"),
            MountOption::text("user_id", "0"),
            MountOption::text("group_id", "0"),
            MountOption::flag("allow_other"),
        ];
        if self.fault != MountFault::PermissionsAreNotChecked {
            options.push(MountOption::flag("default_permissions"));
        }
        MountSpec {
            fstype: FSTYPE.to_owned(),
            source: Some(self.source(id).into()),
            options,
            attributes,
            ..MountSpec::default()
        }
    }
}

const fn attributes_of(mounts: &Mounts) -> MountAttributes {
    match mounts {
        Mounts::FileSystem(spec) => spec.attributes,
        Mounts::Bind { attributes, .. } => *attributes,
    }
}

impl Driver for FaultyMount {
    fn info(&self) -> &DriverInfo {
        self.inner.info()
    }

    fn create(
        &self,
        id: SnapshotId,
        parent: Option<&Chain>,
        options: &CreateOptions,
    ) -> Result<()> {
        self.inner.create(id, parent, options)
    }

    fn describe_mount(&self, chain: &Chain, access: Access) -> Result<Mounts> {
        self.inner.describe_mount(chain, access)
    }

    fn activate(&self, chain: &Chain, access: Access) -> Result<Activation> {
        self.serve(chain, access)
    }

    fn activate_for_others(&self, chain: &Chain, access: Access) -> Result<Activation> {
        self.inner.activate_for_others(chain, access)
    }

    fn deactivate(&self, id: SnapshotId) -> Result<()> {
        self.wait(id)?;
        self.inner.deactivate(id)
    }

    fn staging(&self, chain: &Chain) -> Result<Staging> {
        self.inner.staging(chain)
    }

    fn flush(&self, id: SnapshotId, durability: Durability) -> Result<()> {
        self.wait(id)?;
        self.inner.flush(id, durability)
    }

    fn freeze(&self, id: SnapshotId) -> Result<()> {
        self.inner.freeze(id)
    }

    fn thaw(&self, id: SnapshotId) -> Result<()> {
        self.inner.thaw(id)
    }

    fn destroy(&self, id: SnapshotId) -> Result<()> {
        self.wait(id)?;
        self.inner.destroy(id)
    }

    fn usage(&self, id: SnapshotId) -> Result<Usage> {
        self.inner.usage(id)
    }

    fn candidates(&self, chain: &Chain) -> Result<Option<Candidates>> {
        self.inner.candidates(chain)
    }

    fn keeps_inodes(&self, id: SnapshotId) -> Result<bool> {
        self.inner.keeps_inodes(id)
    }

    fn inventory(&self) -> Result<Vec<SnapshotId>> {
        self.inner.inventory()
    }

    fn mount_matchers(&self, id: SnapshotId) -> Result<Vec<MountMatcher>> {
        let mut matchers = self.inner.mount_matchers(id)?;
        matchers.push(MountMatcher::Source {
            fstype: FSTYPE,
            source: self.source(id).into(),
        });
        Ok(matchers)
    }

    fn root(&self) -> &Path {
        self.inner.root()
    }

    fn provenance(&self) -> Option<&dyn Provenance> {
        self.inner.provenance()
    }

    fn health(&self) -> Option<&dyn Health> {
        self.inner.health()
    }

    fn write_watch(&self) -> Option<&dyn WriteWatch> {
        self.inner.write_watch()
    }

    fn quarantine(&self) -> Option<&dyn Quarantine> {
        self.inner.quarantine()
    }
}

/// Serves a mount until it is gone: the requests come by standard input, which is `/dev/fuse`, and `tree` is the number
/// of an open directory.
///
/// # Errors
///
/// When the directory cannot be opened or the kernel takes no answers.
pub(crate) fn serve(id: &str, tree: i32) -> AnyResult<()> {
    rustix::process::umask(rustix::fs::Mode::empty());
    process::raise_open_files_limit()?;
    let root = dir::open(format!("/proc/self/fd/{tree}"))?;
    std::env::set_current_dir("/")?;
    let fault = super::planted(id).with_context(|| format!("there is no fault `{id}`"))?;
    let Plant::Mount(fault) = fault.injection else {
        bail!("the fault `{id}` is not one of a mount");
    };
    let mut shown = Passthrough::new(root, fault)?;
    protocol::serve(io::stdin().as_fd(), |request| shown.answer(request))
        .context("failed to serve a mount")
}
