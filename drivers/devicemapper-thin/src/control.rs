//! Device-mapper as this driver uses it: devices by name, one target each.
//!
//! Where udev runs, the `devicemapper` crate waits for it; where it does not, the node `/dev/dm-<minor>` comes from
//! devtmpfs, and from here where there is none. Nothing depends on the names below `/dev/mapper`.

use std::fmt;
use std::path::{Path, PathBuf};

use cowlab_driver::{Error, Missing, Result};
use cowlab_sys::{Cmd, Errno, FileKind, at, dir, stat};
use devicemapper::{DM, DevId, DeviceInfo, DmError, DmFlags, DmName, DmOptions, DmUuid, errors};

/// The way into device-mapper.
pub(crate) struct Control {
    dm: DM,
}

/// A device as it is now.
#[derive(Debug, Clone)]
pub(crate) struct Info {
    /// Major and minor number.
    pub(crate) number: (u32, u32),
    /// Empty where it has none.
    pub(crate) uuid: String,
    /// How often it is open: mounted, below another device, held by a process.
    pub(crate) open_count: i32,
    /// Counts what happened to it, changes of a pool's mode among others.
    pub(crate) event: u32,
    pub(crate) read_only: bool,
    /// Whether it has a table, without which it is a name alone.
    pub(crate) is_live: bool,
}

/// Whether a pool writes its metadata before it says how it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    /// It does, so that what is on the disk is what it says.
    Before,
    /// It writes nothing.
    No,
}

/// The table of a device with one target.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// In sectors.
    pub(crate) length: u64,
    pub(crate) kind: String,
    pub(crate) parameters: String,
}

impl fmt::Debug for Control {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Control").finish_non_exhaustive()
    }
}

impl Info {
    fn of(info: &DeviceInfo) -> Self {
        let device = info.device();
        Self {
            number: (device.major, device.minor),
            uuid: info.uuid().map(ToString::to_string).unwrap_or_default(),
            open_count: info.open_count(),
            event: info.event_nr(),
            read_only: info.flags().contains(DmFlags::DM_READONLY),
            is_live: info.flags().contains(DmFlags::DM_ACTIVE_PRESENT),
        }
    }

    /// The device's number as a table has it.
    pub(crate) fn number_text(&self) -> String {
        format!("{}:{}", self.number.0, self.number.1)
    }

    /// Its node.
    pub(crate) fn node(&self) -> PathBuf {
        PathBuf::from(format!("/dev/dm-{}", self.number.1))
    }
}

impl Control {
    /// Opens it, and has the kernel load device-mapper where nobody has needed it since the boot.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] where the kernel has none.
    pub(crate) fn open() -> Result<Self> {
        let first = DM::new();
        let opened = match first {
            Err(_) => {
                let loaded = Cmd::new("modprobe").arg("dm-thin-pool").run();
                tracing::debug!(?loaded, "loaded device-mapper");
                DM::new()
            }
            opened => opened,
        };
        let dm = opened.map_err(|error| {
            Error::Unavailable(Missing {
                what: format!("device-mapper ({error})"),
                remedy: "load it with `modprobe dm-thin-pool`, or run in the guest: \
                         `cargo xtask guest build`"
                    .to_owned(),
            })
        })?;
        Ok(Self { dm })
    }

    /// The device of that name.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Info>> {
        match self.dm.device_info(&DevId::Name(valid(name)?)) {
            Err(error) if errno(&error) == Errno::NXIO => Ok(None),
            found => Ok(Some(Info::of(&named("DM_DEV_STATUS", name, found)?))),
        }
    }

    /// The line in which its target describes itself. A pool commits its metadata first, if it is asked to.
    pub(crate) fn status(&self, name: &str, commit: Commit) -> Result<String> {
        let id = DevId::Name(valid(name)?);
        let options = match commit {
            Commit::Before => DmOptions::default(),
            Commit::No => DmOptions::default().set_flags(DmFlags::DM_NOFLUSH),
        };
        let status = self.dm.table_status(&id, options);
        let (_, lines) = named("DM_TABLE_STATUS", name, status)?;
        Ok(lines.into_iter().next().unwrap_or_default().3)
    }

    /// Its table.
    pub(crate) fn table(&self, name: &str) -> Result<Target> {
        let id = DevId::Name(valid(name)?);
        let options = DmOptions::default().set_flags(DmFlags::DM_STATUS_TABLE);
        let (_, lines) = named("DM_TABLE_STATUS", name, self.dm.table_status(&id, options))?;
        let (_, length, kind, parameters) = lines.into_iter().next().unwrap_or_default();
        Ok(Target {
            length,
            kind,
            parameters,
        })
    }

    /// Sends a message to its target.
    pub(crate) fn message(&self, name: &str, text: &str) -> Result<()> {
        tracing::debug!(name, text, "message");
        let id = DevId::Name(valid(name)?);
        let sent = self.dm.target_msg(&id, None, text);
        named("DM_TARGET_MSG", name, sent).map(drop)
    }

    /// Makes a device, or completes one that has a name and no table yet. Other programs are told to leave it alone.
    pub(crate) fn make(
        &self,
        name: &str,
        uuid: &str,
        target: &Target,
        read_only: bool,
    ) -> Result<Info> {
        let (id, options) = (DevId::Name(valid(name)?), DmOptions::private());
        let flags = if read_only {
            DmFlags::DM_READONLY
        } else {
            DmFlags::empty()
        };
        let wanted = named("DM_DEV_CREATE", name, DmUuid::new(uuid))?;
        match self.dm.device_create(valid(name)?, Some(wanted), options) {
            // Another process is at it, or died at it.
            Err(error) if errno(&error) == Errno::BUSY => {}
            made => {
                named("DM_DEV_CREATE", name, made)?;
            }
        }
        let made = self
            .load(&id, name, target, options.set_flags(flags))
            .and_then(|()| named("DM_DEV_SUSPEND", name, self.dm.device_suspend(&id, options)));
        match made {
            Ok(info) => {
                let info = Info::of(&info);
                tracing::debug!(name, node = %info.node().display(), "activated");
                require_node(&info)?;
                Ok(info)
            }
            Err(error) => {
                // Without a table it is a name alone, of no use to anybody.
                if let Err(error) = self.dm.device_remove(&id, DmOptions::private()) {
                    tracing::debug!(name, %error, "a device without a table stays");
                }
                Err(error)
            }
        }
    }

    /// Gives a device another table while it is in use. Nothing is flushed: a full pool cannot.
    pub(crate) fn reload(&self, name: &str, target: &Target) -> Result<()> {
        let id = DevId::Name(valid(name)?);
        self.load(&id, name, target, DmOptions::default())?;
        let flags = DmFlags::DM_NOFLUSH | DmFlags::DM_SKIP_LOCKFS;
        let options = DmOptions::default().set_flags(flags);
        named("DM_DEV_SUSPEND", name, self.dm.device_suspend(&id, options)).map(drop)
    }

    fn load(&self, id: &DevId<'_>, name: &str, target: &Target, options: DmOptions) -> Result<()> {
        let Target {
            length,
            kind,
            parameters,
        } = target;
        let line = (0, *length, kind.clone(), parameters.clone());
        named(
            "DM_TABLE_LOAD",
            name,
            self.dm.table_load(id, &[line], options),
        )
        .map(drop)
    }

    /// Removes a device; one that is not there is no error.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let id = DevId::Name(valid(name)?);
        match self.dm.device_remove(&id, DmOptions::private()) {
            Err(error) if errno(&error) == Errno::NXIO => Ok(()),
            removed => {
                tracing::debug!(name, "deactivated");
                named("DM_DEV_REMOVE", name, removed).map(drop)
            }
        }
    }
}

/// Makes the node of a device where neither devtmpfs nor udev did.
fn require_node(info: &Info) -> Result<()> {
    let node = info.node();
    let number = stat::device(info.number.0, info.number.1);
    match stat::lstat(&node) {
        Ok(found) if found.kind() == FileKind::BlockDevice && found.rdev == number => Ok(()),
        _ => {
            let name = node.file_name().map(Path::new).unwrap_or(&node);
            let kind = FileKind::BlockDevice;
            Ok(at::mknod(dir::open("/dev")?, name, kind, 0o600, number)?)
        }
    }
}

fn valid(name: &str) -> Result<&DmName> {
    named("DM_DEV_STATUS", name, DmName::new(name))
}

/// The error number of a device-mapper call; `EINVAL` where it came to none.
fn errno(error: &DmError) -> Errno {
    match error {
        DmError::Core(errors::Error::Ioctl(_, _, _, errno)) => {
            Errno::from_raw_os_error(**errno as i32)
        }
        _ => Errno::INVAL,
    }
}

/// Names the call and the device of a failure.
fn named<T>(call: &'static str, name: &str, result: std::result::Result<T, DmError>) -> Result<T> {
    result.map_err(|error| {
        tracing::debug!(call, name, %error, "refused");
        let (path, source) = (PathBuf::from(name), errno(&error));
        cowlab_sys::Error::Sys { call, path, source }.into()
    })
}
