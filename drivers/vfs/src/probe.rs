//! Finds out, by doing, whether vfs runs on a file system.

use std::fs;
use std::path::Path;

use cowlab_driver::{Error, ProbeDir, Result, Settings, Variant, make_dir};
use cowlab_sys::at::open_path;
use cowlab_sys::guard::Guard;
use cowlab_sys::{FileKind, MountAttributes, Root, at, io, mount, process, user_namespace, xattr};

use crate::copy::copy_tree;

/// The xattr that is copied; in a user namespace nobody can set the first (xattr(7)).
const KEYS: [&str; 2] = ["trusted.cowlab", "user.cowlab"];

/// Copies a small tree in `dir` and binds the copy.
pub(crate) fn probe(dir: &Path, _variant: &'static Variant, _settings: &Settings) -> Result<()> {
    if !process::is_root() {
        return Err(Error::missing(
            "root (CAP_SYS_ADMIN)",
            "run as root, of the host or of a user namespace",
        ));
    }
    let place = ProbeDir::make(dir)?;
    let tried = try_out(place.path());
    place.close()?;
    tried
}

fn try_out(place: &Path) -> Result<()> {
    let [source, copy, target] = ["source", "copy", "target"].map(|name| place.join(name));
    for path in [&source, &target] {
        make_dir(path, 0o755)?;
    }
    let file = source.join("file");
    io("write", &file, fs::write(&file, "probe"))?;
    let dir = Root::open(&source)?;
    at::chown(&dir, "file", 1, 1)?;
    at::mknod(&dir, "fifo", FileKind::Fifo, 0o600, 0)?;
    let probed = open_path(&dir, "file")?;
    let key = KEYS[usize::from(user_namespace::is_inside()?)];
    xattr::set_fd(&probed, key, b"probe").map_err(|error| {
        Error::missing(
            format!("xattrs on the backing file system ({error})"),
            "put the store on ext4, xfs, btrfs or tmpfs",
        )
    })?;
    make_dir(&copy, 0o700)?;
    copy_tree(&source, &copy)?;
    let mut guard = mount::bind(&copy, &target, MountAttributes::default())?;
    let bound = io("read", &target, fs::read(target.join("file")));
    guard.close().map_err(|leak| Error::Sys(leak.source))?;
    bound?;
    Ok(())
}
