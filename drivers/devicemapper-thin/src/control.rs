//! Device-mapper as this driver uses it: devices by name, one target each.
//!
//! The node `/dev/dm-<minor>` comes from devtmpfs or udev, and from here where there is neither. Nothing depends on the
//! names below `/dev/mapper`.

use std::path::Path;

use cowlab_driver::{Error, Result};
use cowlab_sys::device_mapper::{Commit, Device, DeviceMapper, Target, Writes};
use cowlab_sys::{Cmd, Errno, FileKind, at, dir, stat};

/// The way into device-mapper.
#[derive(Debug)]
pub(crate) struct Control {
    devices: DeviceMapper,
}

impl Control {
    /// Opens it, and has the kernel load device-mapper where nobody has needed it since the boot.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] where the kernel has none.
    pub(crate) fn open() -> Result<Self> {
        let opened = DeviceMapper::open().or_else(|_| {
            let loaded = Cmd::new("modprobe").arg("dm-thin-pool").run();
            tracing::debug!(?loaded, "loaded device-mapper");
            DeviceMapper::open()
        });
        let devices = opened.map_err(|error| {
            Error::missing(
                format!("device-mapper ({error})"),
                "load it with `modprobe dm-thin-pool`, or run in the guest: \
                         `cargo xtask guest build`",
            )
        })?;
        Ok(Self { devices })
    }

    /// The device of that name.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Device>> {
        match self.devices.device(name) {
            Err(error) if error.errno() == Some(Errno::NXIO) => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    /// The line in which its target describes itself. A pool commits its metadata first, if it is asked to.
    pub(crate) fn status(&self, name: &str, commit: Commit) -> Result<String> {
        Ok(self.devices.status(name, commit)?)
    }

    /// Its table.
    pub(crate) fn table(&self, name: &str) -> Result<Target> {
        Ok(self.devices.table(name)?)
    }

    /// Sends a message to its target.
    pub(crate) fn message(&self, name: &str, text: &str) -> Result<()> {
        tracing::debug!(name, text, "message");
        Ok(self.devices.message(name, text)?)
    }

    /// Makes a device, or completes one that has a name and no table yet. Other programs are told to leave it alone.
    pub(crate) fn make(
        &self,
        name: &str,
        uuid: &str,
        target: &Target,
        writes: Writes,
    ) -> Result<Device> {
        match self.devices.create(name, uuid) {
            // Another process is at it, or died at it.
            Err(error) if error.errno() == Some(Errno::BUSY) => {}
            made => made?,
        }
        let loaded = self.devices.load(name, target, writes);
        match loaded.and_then(|()| self.devices.activate(name)) {
            Ok(device) => {
                tracing::debug!(name, node = %device.node().display(), "activated");
                require_node(&device)?;
                Ok(device)
            }
            Err(error) => {
                // Without a table it is a name alone, of no use to anybody.
                if let Err(error) = self.devices.remove(name) {
                    tracing::debug!(name, %error, "a device without a table stays");
                }
                Err(error.into())
            }
        }
    }

    /// Gives a device another table while it is in use. Nothing is flushed: a full pool cannot.
    pub(crate) fn reload(&self, name: &str, target: &Target) -> Result<()> {
        self.devices.load(name, target, Writes::Allowed)?;
        Ok(self.devices.replace(name)?)
    }

    /// Removes a device; one that is not there is no error.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        match self.devices.remove(name) {
            Err(error) if error.errno() == Some(Errno::NXIO) => Ok(()),
            removed => {
                tracing::debug!(name, "deactivated");
                Ok(removed?)
            }
        }
    }
}

/// Makes the node of a device where neither devtmpfs nor udev did.
fn require_node(device: &Device) -> Result<()> {
    let node = device.node();
    let number = stat::device(device.number.0, device.number.1);
    match stat::lstat(&node) {
        Ok(found) if found.kind() == FileKind::BlockDevice && found.rdev == number => Ok(()),
        _ => {
            let name = node.file_name().map(Path::new).unwrap_or(&node);
            let kind = FileKind::BlockDevice;
            Ok(at::mknod(dir::open("/dev")?, name, kind, 0o600, number)?)
        }
    }
}
