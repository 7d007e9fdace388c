//! Finds out, by doing, whether overlay2 runs on a file system.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use cowlab_driver::{Error, OpenOptions, ProbeDir, Result, Settings, Variant, layers};
use cowlab_sys::{Errno, dir, io, process, xattr};

use crate::Overlay2;
use crate::options::Options;

/// Makes two snapshots in `dir`, mounts the second over the first, deletes through the mount and
/// looks at what the kernel recorded.
pub(crate) fn probe(dir: &Path, variant: &'static Variant, settings: &Settings) -> Result<()> {
    if !process::is_root() {
        return Err(Error::missing(
            "root (CAP_SYS_ADMIN)",
            "run as root, of the host or of a user namespace",
        ));
    }
    let place = ProbeDir::make(dir)?;
    let tried = try_out(place.path(), variant, settings);
    place.close()?;
    tried
}

fn try_out(place: &Path, variant: &'static Variant, settings: &Settings) -> Result<()> {
    let driver = Overlay2::open(&OpenOptions {
        root: place.join("driver"),
        variant,
        settings: settings.clone(),
        store: "probe".to_owned(),
    })?;
    let upper = layers::try_out(&driver, place, fs_make, unavailable, change)?;
    check_upper(&upper, Options::from(variant).xattrs().opaque)
}

fn fs_make(layer: &Path) -> Result<()> {
    for name in ["deleted", "renamed"] {
        let file = layer.join(name);
        io("write", &file, fs::write(&file, name))?;
    }
    let hidden = layer.join("hidden");
    Ok(io("mkdir", &hidden, fs::create_dir(&hidden))?)
}

/// Deletes a file, renames one, which takes RENAME_WHITEOUT on the backing file system, and replaces
/// a directory, which takes an xattr.
fn change(mount: &Path) -> Result<()> {
    let path = |name| mount.join(name);
    io("unlink", path("deleted"), fs::remove_file(path("deleted")))?;
    let renamed = fs::rename(path("renamed"), path("new"));
    io("rename", path("renamed"), renamed)?;
    io("rmdir", path("hidden"), fs::remove_dir(path("hidden")))?;
    io("mkdir", path("hidden"), fs::create_dir(path("hidden")))?;
    // Without d_type the kernel cannot tell whiteouts in a listing (fs/overlayfs/readdir.c).
    if dir::read_dir(mount)?.len() != 2 {
        return Err(Error::missing(
            "d_type on the backing file system",
            "put the store on ext4, xfs made with `-n ftype=1`, btrfs or tmpfs",
        ));
    }
    Ok(())
}

fn check_upper(diff: &Path, opaque: &str) -> Result<()> {
    for name in ["deleted", "renamed"] {
        let path = diff.join(name);
        let whiteout = io("stat", &path, fs::symlink_metadata(&path))?;
        if !whiteout.file_type().is_char_device() {
            return Err(Error::missing(
                "whiteouts as character devices 0:0 (RENAME_WHITEOUT, mknod)",
                "put the store on ext4, xfs, btrfs or tmpfs",
            ));
        }
    }
    if xattr::get(diff.join("hidden"), opaque)?.is_none() {
        return Err(Error::missing(
            format!("`{opaque}` on the backing file system"),
            "put the store on ext4, xfs, btrfs or tmpfs, mounted with xattrs",
        ));
    }
    Ok(())
}

/// Says what a refused mount asks for.
fn unavailable(error: Error) -> Error {
    let Error::Sys(refused) = &error else {
        return error;
    };
    let remedy = match refused.errno() {
        Some(Errno::NODEV) => {
            "load the module with `modprobe overlay`, or boot a kernel with CONFIG_OVERLAY_FS"
        }
        Some(Errno::NOSYS) => "boot Linux 5.2 or later, which has fsopen(2)",
        Some(Errno::PERM | Errno::ACCESS) => {
            "run as root, outside a container that forbids mounts; an ordinary user takes the variant `userxattr`, on Linux \
             5.11 or later"
        }
        Some(Errno::INVAL) => {
            "put the store on ext4, xfs made with `-n ftype=1`, btrfs or tmpfs (an upper cannot lie on \
             overlay, NFS or FUSE), or choose a variant that this kernel has"
        }
        _ => return error,
    };
    Error::missing(format!("an overlay mount ({refused})"), remedy)
}
