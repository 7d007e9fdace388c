//! Finds out, by doing, whether fuse-overlayfs runs on a file system.

use std::fs;
use std::path::Path;

use cowlab_driver::{
    Access, Chain, CreateOptions, Driver, Durability, Error, Missing, OpenOptions, ProbeDir,
    Result, Settings, SnapshotId, Variant,
};
use cowlab_sys::guard::Guard;
use cowlab_sys::{Errno, io, process, xattr};

use crate::{FuseOverlayfs, XATTRS};

/// The snapshots of the probe.
const PARENT: u32 = 1;
const CHILD: u32 = 2;

/// Makes two snapshots in `dir`, mounts the second over the first, deletes through the mount and looks at what is left.
pub(crate) fn probe(dir: &Path, variant: &'static Variant, settings: &Settings) -> Result<()> {
    if !process::is_root() {
        return Err(missing(
            "root (CAP_SYS_ADMIN)",
            "run as root, of the host or of a user namespace",
        ));
    }
    let place = ProbeDir::make(dir)?;
    let tried = try_out(place.path(), variant, settings).map_err(unavailable);
    place.close()?;
    tried
}

fn try_out(place: &Path, variant: &'static Variant, settings: &Settings) -> Result<()> {
    let driver = FuseOverlayfs::open(&OpenOptions {
        root: place.join("driver"),
        variant,
        settings: settings.clone(),
        store: "probe".to_owned(),
    })?;
    let id = |number| SnapshotId::new(number).ok_or_else(|| missing("a snapshot number", ""));
    let (parent, child) = (id(PARENT)?, id(CHILD)?);
    driver.create(parent, None, &CreateOptions::default())?;
    let layer = driver.root().join(format!("{PARENT}/diff"));
    for name in ["deleted", "kept"] {
        io("write", &layer, fs::write(layer.join(name), name))?;
    }
    require_xattr(&layer)?;
    driver.flush(parent, Durability::None)?;
    driver.freeze(parent)?;
    let base = Chain::new(parent, Vec::new());
    driver.create(child, Some(&base), &CreateOptions::default())?;
    let mounts = driver.activate(&Chain::new(child, vec![parent]), Access::ReadWrite)?;
    let target = place.join("mount");
    io("mkdir", &target, fs::create_dir(&target))?;
    let mut guard = mounts.mount_at(&target)?;
    let deleted = target.join("deleted");
    let changed = io("unlink", &deleted, fs::remove_file(&deleted));
    let names = io("readdir", &target, fs::read_dir(&target)).map(Iterator::count);
    let closed = guard.close();
    changed?;
    let is_hidden = names? == 1;
    closed.map_err(|leak| Error::Sys(leak.source))?;
    driver.deactivate(child)?;
    if !is_hidden {
        return Err(missing(
            "whiteouts on the backing file system",
            "put the store on ext4, xfs, btrfs or tmpfs",
        ));
    }
    Ok(())
}

fn require_xattr(layer: &Path) -> Result<()> {
    match xattr::set(layer, XATTRS.opaque, b"n") {
        Ok(()) => Ok(xattr::remove(layer, XATTRS.opaque)?),
        Err(error) if error.errno() == Some(Errno::OPNOTSUPP) => Err(missing(
            &format!("`{}` on the backing file system", XATTRS.opaque),
            "put the store on ext4, xfs, btrfs or, since Linux 6.6, tmpfs",
        )),
        Err(error) => Err(error.into()),
    }
}

fn missing(what: &str, remedy: &str) -> Error {
    Error::Unavailable(Missing {
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    })
}

/// Says what a refused mount asks for.
fn unavailable(error: Error) -> Error {
    use cowlab_sys::Error as SysError;
    let Error::Sys(refused) = &error else {
        return error;
    };
    let remedy = match (refused, refused.errno()) {
        (SysError::MissingProgram { .. }, _) => "install the Debian package `fuse-overlayfs`",
        (_, Some(Errno::NOENT | Errno::NXIO | Errno::NODEV)) => {
            "load the module with `modprobe fuse`; in a container, hand the device in: `--device /dev/fuse`"
        }
        (_, Some(Errno::PERM | Errno::ACCESS)) => {
            "run as root, outside a container that forbids mounts; an ordinary user also needs to open the device: `chmod 666 \
             /dev/fuse`, as udev does"
        }
        (SysError::Command { .. }, _) => "run the command by hand to see what it lacks",
        _ => return error,
    };
    missing(&format!("a mount of fuse-overlayfs ({refused})"), remedy)
}
