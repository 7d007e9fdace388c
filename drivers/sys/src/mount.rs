//! Mounts by the file-descriptor API: fsopen(2), fsconfig(2), fsmount(2), move_mount(2),
//! open_tree(2) and mount_setattr(2).
//!
//! Options reach the kernel one by one as raw values, so a path with a comma or a colon needs no
//! escape, and the kernel's own messages about a refused mount become part of the error. A mount
//! ends by umount2(2) without `MNT_DETACH`: a busy one stays and is reported.

pub mod fuse;

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linux_raw_sys::general::mount_attr;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, mount as mount2, move_mount, open_tree,
};

use self::fuse::{Running, Server};
use crate::guard::{Guard, Leak, close_in_drop};
use crate::mountinfo::{self, MountEntry};
use crate::{Error, Result, io, raw, sys};

/// The longest value that FSCONFIG_SET_STRING takes, in bytes (fs/fsopen.c: 256 with the NUL).
const LONGEST_STRING: usize = 255;

/// The room for the options of mount(2), with the NUL at their end, in bytes.
const PAGE: usize = 4096;

/// Where a mount by mount(2) is put for a moment, in a namespace of its own.
const SCRATCH: &str = "/proc";

/// How often, and how far apart, an unmount is tried again after `EBUSY`: a process that was just
/// killed drops its descriptors a moment later.
const BUSY_RETRIES: u32 = 4;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// How often a mount is tried again after `EBUSY`, where its kind asks for that.
const MOUNT_RETRIES: u32 = 100;

/// One option of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountOption {
    /// An option without a value, such as `ro` or `userxattr`.
    Flag(String),
    /// An option with a value, handed over as it is. A value longer than 255 bytes must be an
    /// existing path and is handed over as a descriptor, which overlayfs takes for each of its
    /// directories (`lowerdir+`, `upperdir`, `workdir`) since Linux 6.13. An overlay with a joined
    /// `lowerdir` is mounted by mount(2) instead: one page for all options, with commas in values
    /// escaped by the caller.
    Text(String, OsString),
}

impl MountOption {
    /// Builds a [`MountOption::Flag`].
    pub fn flag(key: impl Into<String>) -> Self {
        Self::Flag(key.into())
    }

    /// Builds a [`MountOption::Text`].
    pub fn text(key: impl Into<String>, value: impl Into<OsString>) -> Self {
        Self::Text(key.into(), value.into())
    }

    fn classic(&self) -> Vec<u8> {
        match self {
            Self::Flag(key) => key.clone().into_bytes(),
            Self::Text(key, value) => [key.as_bytes(), b"=", value.as_bytes()].concat(),
        }
    }
}

impl std::fmt::Display for MountOption {
    /// Writes the option as `mount -o` has it, for people: nothing is escaped.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(key) => f.write_str(key),
            Self::Text(key, value) => write!(f, "{key}={}", value.to_string_lossy()),
        }
    }
}

/// Properties of a mount, apart from its file system's options. `read_only` makes the mount
/// read-only and not the file system: for that, pass the option `ro`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttributes {
    /// Nothing can be written through this mount.
    pub read_only: bool,
    /// Set-user-id bits and file capabilities have no effect.
    pub nosuid: bool,
    /// Device files cannot be opened.
    pub nodev: bool,
    /// Files cannot be executed.
    pub noexec: bool,
    /// Reading leaves access times alone.
    pub noatime: bool,
}

impl MountAttributes {
    pub(crate) fn flags(self) -> MountAttrFlags {
        let mut flags = MountAttrFlags::empty();
        flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, self.read_only);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOSUID, self.nosuid);
        flags.set(MountAttrFlags::MOUNT_ATTR_NODEV, self.nodev);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, self.noexec);
        flags.set(MountAttrFlags::MOUNT_ATTR_NOATIME, self.noatime);
        flags
    }
}

/// What to mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountSpec {
    /// The file system type, such as `overlay`.
    pub fstype: String,
    /// The device, or a name to show in its place.
    pub source: Option<PathBuf>,
    /// The file system's options, in order.
    pub options: Vec<MountOption>,
    /// The mount's own properties.
    pub attributes: MountAttributes,
    /// Whether to try again for a while when the kernel says `EBUSY`.
    pub retry_busy: bool,
    /// The program that serves the file system, where the kernel does not. It has options of its own: those above describe
    /// the mount and are given to nobody.
    pub server: Option<Server>,
}

/// Mounts `spec` at the directory or file `target`, which must not be a symbolic link.
///
/// # Errors
///
/// Returns [`Error::Mount`] with the kernel's messages. A kernel that does not know an option
/// (`lowerdir+` before Linux 6.5, say) says `EINVAL`, see [`Error::errno`].
pub fn mount(spec: &MountSpec, target: &Path) -> Result<MountGuard> {
    let (detached, server) = create(spec, target)?;
    attach(&detached, target).map_err(|source| spec.refused(target, source, String::new()))?;
    tracing::debug!(fstype = spec.fstype, target = %target.display(), "mounted");
    let mut guard = MountGuard::adopt(target)?;
    guard.server = server;
    Ok(guard)
}

/// Tries whether `spec` can be mounted: makes the mount without putting it anywhere, and drops it.
pub fn probe(spec: &MountSpec) -> Result<()> {
    create(spec, Path::new("")).map(drop)
}

/// Binds the directory or file `source` at `target`, without the mounts below it.
///
/// # Errors
///
/// Returns [`Error::Sys`] or [`Error::Mount`], naming `source` or `target`.
pub fn bind(source: &Path, target: &Path, attributes: MountAttributes) -> Result<MountGuard> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = sys("open_tree", source, open_tree(CWD, source, flags))?;
    set_tree_attributes(&tree, source, attributes)?;
    attach(&tree, target).map_err(|source| Error::Mount {
        fstype: "bind".to_owned(),
        target: target.to_path_buf(),
        source,
        log: String::new(),
    })?;
    tracing::debug!(source = %source.display(), target = %target.display(), "bound");
    MountGuard::adopt(target)
}

/// A mount in no directory tree, for work that nobody else shall see. It ends with the guard or with
/// the process, however that ends, so a killed process leaves nothing mounted (open_tree(2)).
#[derive(Debug)]
pub struct DetachedMount {
    tree: OwnedFd,
    path: PathBuf,
}

impl DetachedMount {
    /// Makes a mount of `spec`.
    pub fn new(spec: &MountSpec) -> Result<Self> {
        let (tree, _server) = create(spec, Path::new(""))?;
        Ok(Self::hold(tree))
    }

    /// Binds the directory `source`, without the mounts below it.
    pub fn bind(source: &Path, attributes: MountAttributes) -> Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = sys("open_tree", source, open_tree(CWD, source, flags))?;
        set_tree_attributes(&tree, source, attributes)?;
        Ok(Self::hold(tree))
    }

    /// Copies the mount that `root`, an open directory, is on, from the mount namespace of a process, without the mounts
    /// below it. It is the same file system, not a second one of it.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Sys`]: `EINVAL` where the namespace does not have the mount.
    pub fn copy_from(root: impl AsFd, pid: u32) -> Result<Self> {
        let path = PathBuf::from(format!("/proc/{pid}/ns/mnt"));
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        let root = root.as_fd();
        // Only a mount of the caller's own namespace is copied: a thread goes there.
        let tree = crate::process::with_private_mounts(|| {
            crate::process::MountNamespace::open(&path)?.enter()?;
            sys("open_tree", &path, open_tree(root, "", flags))
        })??;
        Ok(Self::hold(tree))
    }

    /// Returns a path of the mount's root that works in this process, while the guard lives.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn hold(tree: OwnedFd) -> Self {
        let path = PathBuf::from(format!("/proc/self/fd/{}", tree.as_raw_fd()));
        Self { tree, path }
    }
}

impl AsFd for DetachedMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tree.as_fd()
    }
}

/// Unmounts what `wanted` picks of the calling thread's mount namespace and nobody there uses; what is in use stays.
///
/// # Errors
///
/// Returns [`Error::Sys`] or [`Error::Parse`] where the mount table cannot be read.
pub fn unmount_unused(wanted: impl Fn(&MountEntry) -> bool) -> Result<()> {
    // What is mounted last may lie on what is mounted first.
    for mount in mountinfo::read_self()?
        .iter()
        .rev()
        .filter(|mount| wanted(mount))
    {
        let point = &mount.mount_point;
        if let Err(error) = rustix::mount::unmount(point, UnmountFlags::NOFOLLOW) {
            tracing::trace!(mount = %point.display(), %error, "a mount that is in use stays");
        }
    }
    Ok(())
}

/// Unmounts what is mounted at `target`; the topmost, where mounts are stacked. Never lazy.
///
/// # Errors
///
/// Returns [`Error::Sys`]: `EBUSY` while it is in use, `EINVAL` where nothing is mounted.
pub fn unmount(target: &Path) -> Result<()> {
    let mut retries = BUSY_RETRIES;
    loop {
        match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
            Err(Errno::BUSY) if retries > 0 => {
                retries -= 1;
                std::thread::sleep(BUSY_PAUSE);
            }
            result => {
                tracing::debug!(target = %target.display(), ?result, "unmounted");
                return sys("umount", target, result);
            }
        }
    }
}

/// Gives the mount at `target` these attributes and takes the others away.
///
/// # Errors
///
/// Returns [`Error::Sys`]: `EINVAL` where `target` is no mount point.
pub fn set_attributes(target: &Path, attributes: MountAttributes) -> Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = sys(
        "open",
        target,
        rustix::fs::open(target, flags, Mode::empty()),
    )?;
    set_tree_attributes(&fd, target, attributes)
}

fn set_tree_attributes(tree: &OwnedFd, path: &Path, attributes: MountAttributes) -> Result<()> {
    sys("mount_setattr", path, change_attributes(tree, attributes))
}

fn change_attributes(tree: &OwnedFd, attributes: MountAttributes) -> rustix::io::Result<()> {
    let all = MountAttributes {
        read_only: true,
        nosuid: true,
        nodev: true,
        noexec: true,
        noatime: false,
    };
    let mut clear = all.flags().difference(attributes.flags());
    if attributes.noatime {
        // Access time modes are one field: it is cleared as a whole before one is set.
        clear |= MountAttrFlags::MOUNT_ATTR__ATIME;
    }
    let change = mount_attr {
        attr_set: attributes.flags().bits().into(),
        attr_clr: clear.bits().into(),
        propagation: 0,
        userns_fd: 0,
    };
    raw::mount_setattr(tree, &change)
}

/// Makes a detached mount of `spec`; `target` serves the error only.
fn create(spec: &MountSpec, target: &Path) -> Result<(OwnedFd, Option<Running>)> {
    if let Some(server) = &spec.server {
        let (tree, running) = fuse::create(spec, server)?;
        return Ok((tree, Some(running)));
    }
    let mut retries = if spec.retry_busy { MOUNT_RETRIES } else { 0 };
    loop {
        match create_at_once(spec, target) {
            Err(error) if retries > 0 && error.errno() == Some(Errno::BUSY) => {
                retries -= 1;
                std::thread::sleep(BUSY_PAUSE);
            }
            made => return Ok((made?, None)),
        }
    }
}

fn create_at_once(spec: &MountSpec, target: &Path) -> Result<OwnedFd> {
    if spec.is_classic() {
        let made = crate::process::with_private_mounts(|| create_classic(spec))?;
        return made.map_err(|source| spec.refused(target, source, String::new()));
    }
    let context = fsopen(spec.fstype.as_str(), FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|source| spec.refused(target, source, String::new()))?;
    let made = configure(&context, spec).and_then(|()| {
        let attributes = spec.attributes.flags();
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    });
    made.map_err(|source| spec.refused(target, source, context_log(&context)))
}

fn configure(context: &OwnedFd, spec: &MountSpec) -> rustix::io::Result<()> {
    if let Some(source) = &spec.source {
        fsconfig_set_string(context, "source", source)?;
    }
    for option in &spec.options {
        match option {
            MountOption::Flag(key) => fsconfig_set_flag(context, key)?,
            MountOption::Text(key, value) if value.len() <= LONGEST_STRING => {
                fsconfig_set_string(context, key, value)?;
            }
            MountOption::Text(key, value) => {
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                let fd = rustix::fs::open(value, flags, Mode::empty())?;
                fsconfig_set_fd(context, key, &fd)?;
            }
        }
    }
    fsconfig_create(context)
}

/// Makes a detached mount by mount(2), in the calling thread's own mount namespace: the mount is put over
/// `/proc`, and what is returned is a copy of it that the namespace does not hold.
fn create_classic(spec: &MountSpec) -> rustix::io::Result<OwnedFd> {
    let source = spec.source.as_deref().unwrap_or(Path::new("none"));
    let options: Vec<Vec<u8>> = spec.options.iter().map(MountOption::classic).collect();
    let data = CString::new(options.join(&b',')).map_err(|_nul| Errno::INVAL)?;
    if data.as_bytes_with_nul().len() > PAGE {
        return Err(Errno::TOOBIG);
    }
    let fstype = spec.fstype.as_str();
    mount2(
        source,
        SCRATCH,
        fstype,
        MountFlags::empty(),
        Some(data.as_c_str()),
    )?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, SCRATCH, flags)?;
    rustix::mount::unmount(SCRATCH, UnmountFlags::NOFOLLOW)?;
    change_attributes(&tree, spec.attributes)?;
    Ok(tree)
}

/// Puts a detached mount at `target`.
pub(crate) fn attach(tree: &OwnedFd, target: &Path) -> rustix::io::Result<()> {
    let path = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::open(target, path, Mode::empty())?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", &place, "", flags)
}

/// Reads what the kernel logged about a mount: one message a read, `ENODATA` after the last
/// (Documentation/filesystems/mount_api.rst, "user-space context logging").
pub(crate) fn context_log(context: &OwnedFd) -> String {
    let mut lines = Vec::new();
    let mut buffer = vec![0_u8; 4096];
    while let Ok(length) = rustix::io::read(context, &mut buffer[..]) {
        let line = String::from_utf8_lossy(&buffer[..length]);
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

impl MountSpec {
    /// Whether the mount is made by mount(2): overlay layers in one list are how older kernels have them,
    /// whose new mount API takes 255 bytes an option and no comma (fs/fs_context.c,
    /// `legacy_parse_param`).
    fn is_classic(&self) -> bool {
        let joined =
            |option: &MountOption| matches!(option, MountOption::Text(key, _) if key == "lowerdir");
        self.fstype == "overlay" && self.options.iter().any(joined)
    }

    pub(crate) fn refused(&self, target: &Path, source: Errno, log: String) -> Error {
        let target = target.to_path_buf();
        Error::Mount {
            fstype: self.fstype.clone(),
            target,
            source,
            log,
        }
    }
}

/// A mount that ends with the guard, unless it is [kept](MountGuard::keep).
#[derive(Debug)]
pub struct MountGuard {
    target: PathBuf,
    open: bool,
    /// What serves it, to wait for.
    server: Option<Running>,
}

impl MountGuard {
    /// Takes over what is mounted at `target`.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Sys`] where a relative `target` cannot be made absolute.
    pub fn adopt(target: &Path) -> Result<Self> {
        let target = io("getcwd", target, std::path::absolute(target))?;
        Ok(Self {
            target,
            open: true,
            server: None,
        })
    }

    /// Returns the mount point.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Leaves the mount behind and returns its mount point.
    pub fn keep(mut self) -> PathBuf {
        self.open = false;
        std::mem::take(&mut self.target)
    }
}

impl Guard for MountGuard {
    fn describe(&self) -> String {
        format!("the mount at `{}`", self.target.display())
    }

    fn close(&mut self) -> Result<(), Leak> {
        if self.open {
            unmount(&self.target).map_err(|source| Leak {
                what: self.describe(),
                source,
            })?;
            self.open = false;
            if let Some(server) = self.server.take() {
                server.wait();
            }
        }
        Ok(())
    }
}

impl Drop for MountGuard {
    fn drop(&mut self) {
        close_in_drop(self);
    }
}
