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
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result as AnyResult};
use cowlab_driver::{
    Access, Activation, Chain, Driver, Error, MountMatcher, Mounts, Result, SnapshotId,
};
use cowlab_sys::at::{self, OFlags};
use cowlab_sys::mount::DetachedMount;
use cowlab_sys::task::{self, Task};
use cowlab_sys::{Cmd, MountAttributes, MountOption, MountSpec, dir, process};
use cowlab_testbed::fuse;

pub(crate) use mount_fault::MountFault;
use passthrough::Passthrough;
use protocol::Request;

/// The device of FUSE.
const DEVICE: &str = "/dev/fuse";
/// The type of the mounts in mount tables.
const FSTYPE: &str = "fuse";

/// The longest that the end of a process is waited for after an unmount.
const LONGEST_END: Duration = Duration::from_secs(1);
/// How long the end of a parent is waited for at a time.
const LONGEST_LIFE: Duration = Duration::from_secs(3600);

/// The mounts of a driver, with a fault.
#[derive(Debug)]
pub(super) struct FaultyMounts {
    fault: MountFault,
    /// The id of the fault, by which the process that serves knows it.
    id: &'static str,
    /// The processes that serve mounts of a snapshot.
    servers: Mutex<HashMap<SnapshotId, Vec<u32>>>,
}

/// The name of a snapshot's mounts in mount tables.
fn source(driver: &dyn Driver, id: SnapshotId) -> OsString {
    format!("cowlab-faulty-{}-{id}", driver.root().display()).into()
}

impl FaultyMounts {
    pub(super) fn new(fault: MountFault, id: &'static str) -> Self {
        Self {
            fault,
            id,
            servers: Mutex::default(),
        }
    }

    /// By what a snapshot's mounts are known.
    pub(super) fn matcher(driver: &dyn Driver, id: SnapshotId) -> MountMatcher {
        MountMatcher::Source {
            fstype: FSTYPE,
            source: source(driver, id),
        }
    }

    /// Waits for the processes of a snapshot that nobody has mounted: they hold the driver's own mount.
    pub(super) fn wait(&self, id: SnapshotId) -> Result<()> {
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
    pub(super) fn serve(
        &self,
        driver: &dyn Driver,
        chain: &Chain,
        access: Access,
    ) -> Result<Activation> {
        let inner = driver.activate(chain, access)?;
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
        let spec = self.spec(source(driver, chain.head()), &device, attributes);
        Ok(Activation::on_device(Mounts::FileSystem(spec), device))
    }

    fn spec(&self, source: OsString, device: &OwnedFd, attributes: MountAttributes) -> MountSpec {
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
            source: Some(source.into()),
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

/// Serves a mount until it is gone: the requests come by standard input, which is `/dev/fuse`, and `tree` is the number
/// of an open directory.
///
/// # Errors
///
/// When the directory cannot be opened or the kernel takes no answers.
pub(crate) fn serve(id: &str, tree: i32) -> AnyResult<()> {
    // A request has the caller's mask.
    rustix::process::umask(rustix::fs::Mode::empty());
    process::raise_open_files_limit()?;
    let root = dir::open(format!("/proc/self/fd/{tree}"))?;
    std::env::set_current_dir("/")?;
    let fault = super::planted(id).with_context(|| format!("there is no fault `{id}`"))?;
    let fault = fault
        .of_mounts()
        .with_context(|| format!("the fault `{id}` is not one of a mount"))?;
    end_with_parent()?;
    let mut shown = Passthrough::new(root, fault)?;
    let device = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let served = fuse::serve(&device, |request| shown.answer(Request(request)));
    served.context("failed to serve a mount")
}

/// Ends this process when the one that started it ends, if only because it is killed. It is in that one's mount namespace, and
/// would keep the namespace alive with the mount that it serves, and the mount keeps this process.
fn end_with_parent() -> AnyResult<()> {
    let pid = std::os::unix::process::parent_id();
    let parent = Task::open(pid)?;
    std::thread::spawn(move || {
        // None: it has ended.
        while let Some(Ok(false)) = parent
            .as_ref()
            .map(|parent| parent.ends_within(LONGEST_LIFE))
        {}
        std::process::exit(0)
    });
    Ok(())
}
