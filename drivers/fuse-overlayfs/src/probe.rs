//! Finds out, by doing, whether fuse-overlayfs runs on a file system.

use std::fs;
use std::path::Path;

use cowlab_driver::{Error, OpenOptions, ProbeDir, Result, Settings, Variant, layers};
use cowlab_sys::{Errno, io, process, xattr};

use crate::{FuseOverlayfs, XATTRS};

/// Makes two snapshots in `dir`, mounts the second over the first, deletes through the mount and looks at what is left.
pub(crate) fn probe(dir: &Path, variant: &'static Variant, settings: &Settings) -> Result<()> {
    if !process::is_root() {
        return Err(Error::missing(
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
    layers::try_out(&driver, place, fill, |error| error, change).map(drop)
}

fn fill(layer: &Path) -> Result<()> {
    for name in ["deleted", "kept"] {
        io("write", layer, fs::write(layer.join(name), name))?;
    }
    require_xattr(layer)
}

/// Deletes a file of the parent, which has to be gone.
fn change(mount: &Path) -> Result<()> {
    let deleted = mount.join("deleted");
    io("unlink", &deleted, fs::remove_file(&deleted))?;
    let names = io("readdir", mount, fs::read_dir(mount))?.count();
    if names != 1 {
        return Err(Error::missing(
            "whiteouts on the backing file system",
            "put the store on ext4, xfs, btrfs or tmpfs",
        ));
    }
    Ok(())
}

fn require_xattr(layer: &Path) -> Result<()> {
    match xattr::set(layer, XATTRS.opaque, b"n") {
        Ok(()) => Ok(xattr::remove(layer, XATTRS.opaque)?),
        Err(error) if error.errno() == Some(Errno::OPNOTSUPP) => Err(Error::missing(
            format!("`{}` on the backing file system", XATTRS.opaque),
            "put the store on ext4, xfs, btrfs or, since Linux 6.6, tmpfs",
        )),
        Err(error) => Err(error.into()),
    }
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
    Error::missing(format!("a mount of fuse-overlayfs ({refused})"), remedy)
}
