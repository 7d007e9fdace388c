//! Throw-away ZFS pools, each on one loop device.
//!
//! A pool is imported as long as the kernel knows it, whoever made it: it survives its process, not the boot, for
//! it is in no cache file. Its name is the run's, and the journal has it before it is made.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cowlab_sys::{Cmd, Errno, Error as SysError, Guard, Leak};

use crate::{Error, Result};

/// A pool that a run made.
#[derive(Debug)]
pub(crate) struct Pool {
    name: String,
    is_imported: bool,
}

/// The command that makes a pool, without its name and device.
///
/// - No cache file: the host must not import it at its next boot.
/// - `legacy`: nothing is mounted but by the testbed.
/// - Sectors of 4096 bytes, as file systems on disks have them; without this, loop devices get 512.
/// - `xattr=sa` and `acltype=posix`, without which ZFS has no ACLs of Linux (zfsprops(7)).
/// - No compression: what a file takes would depend on what is in it.
pub(crate) fn command() -> Cmd {
    let options = ["-o", "cachefile=none", "-o", "ashift=12"];
    let properties = [
        "mountpoint=legacy",
        "xattr=sa",
        "acltype=posix",
        "compression=off",
    ];
    Cmd::new("zpool")
        .arg("create")
        .args(options)
        .args(properties.iter().flat_map(|property| ["-O", property]))
}

impl Pool {
    /// Makes a pool on a device.
    pub(crate) fn create(name: &str, device: &Path) -> Result<Self> {
        let create = command().arg(name).arg(device);
        let mut made = create.run();
        // The program has the module loaded (libzfs_util.c, `libzfs_load_module`); seen with 2.3, not with bookworm's 2.1.
        if let Err(SysError::Command { stderr, .. }) = &made
            && is_module_missing(stderr)
            && Cmd::new("modprobe").arg("zfs").run().is_ok()
        {
            made = create.run();
        }
        made.map_err(|error| match &error {
            SysError::Command { stderr, .. } if is_module_missing(stderr) => Error::Missing {
                what: "the ZFS kernel module".to_owned(),
                remedy: "install `zfs-dkms` (Debian: contrib) and run `modprobe zfs`".to_owned(),
            },
            SysError::Command { stderr, .. } if stderr.contains(NO_LIBRARY) => Error::Missing {
                what: format!("a library of ZFS ({})", stderr.trim()),
                remedy:
                    "install the Debian package `zfsutils-linux` (contrib) anew, which brings it"
                        .to_owned(),
            },
            _ => error.into(),
        })?;
        Ok(Self {
            name: name.to_owned(),
            is_imported: true,
        })
    }

    /// Brings back the pool that a device has. It was not exported: the power went.
    pub(crate) fn find(name: &str, device: &Path) -> Result<Self> {
        let mut pool = Self {
            name: name.to_owned(),
            is_imported: false,
        };
        pool.import(device)?;
        Ok(pool)
    }

    /// Takes it out of the kernel; what is on the device stays. The pool is not in use.
    pub(crate) fn export(&mut self) -> Result<()> {
        if self.is_imported {
            Cmd::new("zpool").arg("export").arg(&self.name).run()?;
            self.is_imported = false;
        }
        Ok(())
    }

    /// Brings it back from the device. Only this device is looked at.
    pub(crate) fn import(&mut self, device: &Path) -> Result<()> {
        if !self.is_imported {
            Cmd::new("zpool")
                .args(["import", "-N", "-o", "cachefile=none", "-d"])
                .arg(device)
                .arg(&self.name)
                .run()?;
            self.is_imported = true;
        }
        Ok(())
    }

    /// Leaves it to the run.
    pub(crate) fn keep(mut self) {
        self.is_imported = false;
    }
}

impl Guard for Pool {
    fn describe(&self) -> String {
        describe(&self.name)
    }

    fn close(&mut self) -> Result<(), Leak> {
        if self.is_imported {
            destroy(&self.name).map_err(|source| Leak {
                what: self.describe(),
                source,
            })?;
            self.is_imported = false;
        }
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Err(leak) = self.close() {
            tracing::error!(%leak, "a pool is left for the run to take down");
        }
    }
}

/// The longest that a pool takes to grow.
const GROWTH: Duration = Duration::from_secs(30);

/// Has a pool use all of its device, which has grown, and waits until it does: a thread of the kernel's adds the space, after the
/// command has ended (OpenZFS, module/zfs/spa.c, `spa_async_autoexpand`).
pub(crate) fn expand(name: &str, device: &Path) -> Result<()> {
    let before = number(name, "size")?;
    let line = Cmd::new("zpool").args(["online", "-e"]).arg(name);
    line.arg(device).run()?;
    let until = Instant::now() + GROWTH;
    while number(name, "size")? <= before {
        if Instant::now() > until {
            let late = Err(Errno::TIMEDOUT.into());
            return Ok(cowlab_sys::io("grow the pool", name, late)?);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Cmd::new("zpool").args(["sync", name]).run()?)
}

/// How many bytes of a pool are in use on disk.
pub(crate) fn used(name: &str) -> Result<u64> {
    Cmd::new("zpool").args(["sync", name]).run()?;
    number(name, "allocated")
}

/// A property of a pool that is a number of bytes (zpoolprops(7)).
fn number(name: &str, property: &str) -> Result<u64> {
    let line = Cmd::new("zpool").args(["list", "-H", "-p", "-o", property, name]);
    let text = line.read()?;
    let number = text.trim().parse().ok();
    Ok(number.ok_or_else(|| SysError::parse("a number of bytes of a pool", text))?)
}

/// Names a pool in words.
pub(crate) fn describe(name: &str) -> String {
    format!("the ZFS pool `{name}`")
}

/// Destroys a pool with all that is in it. One that is in use stays.
pub(crate) fn destroy(name: &str) -> cowlab_sys::Result<()> {
    Cmd::new("zpool").arg("destroy").arg(name).run()
}

/// Returns the names of the pools that the kernel knows. Without ZFS there is none, and nothing is loaded to find out.
pub(crate) fn imported() -> Result<Vec<String>> {
    if !PathBuf::from("/sys/module/zfs").exists() || Cmd::find("zpool").is_none() {
        return Ok(Vec::new());
    }
    let list = Cmd::new("zpool")
        .args(["list", "-H", "-o", "name"])
        .read()?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// What the loader says of a program that it cannot start (ld.so(8)).
const NO_LIBRARY: &str = "error while loading shared libraries";

fn is_module_missing(stderr: &str) -> bool {
    stderr.contains("ZFS modules") || stderr.contains("/dev/zfs")
}
