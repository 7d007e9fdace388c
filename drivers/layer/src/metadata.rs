//! What an entry has besides its type and content: owner, mode, time and extended attributes, and
//! which of the latter belong to a layer at all.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::sync::LazyLock;

use cowlab_sys::{Errno, FileKind, Result, Stat, Time, at, io, user_namespace, xattr};

/// The extended attributes of a file, sorted by name.
pub(crate) type Xattrs = Vec<(OsString, Vec<u8>)>;

/// The attributes of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// Permission bits with set-user-id, set-group-id and sticky bit.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Xattrs,
}

/// Tells whether an extended attribute is content of an image.
///
/// Those of the `user`, `trusted` and `security` name spaces and POSIX ACLs are, with these
/// exceptions. `trusted.overlay.` and `user.overlay.` are overlayfs's own notes (overlayfs.rst,
/// "whiteouts and opaque directories" and "User xattr"): from a foreign layer they would redirect a
/// directory or turn a file into another one's data. Those of `fuseoverlayfs` are that program's, and would have it show
/// another owner and mode than a file has (fuse-overlayfs.c, `XATTR_OVERRIDE_STAT` and the like). `security.selinux` comes from the host's
/// policy. What a file system shows of itself, such as `btrfs.compression`, means nothing on another.
/// Root of a user namespace can neither set nor see one of `trusted` (xattr(7)).
#[must_use]
pub fn is_portable(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let in_space = |space: &[u8]| name.len() > space.len() && name.starts_with(space);
    static TRUSTED: LazyLock<bool> =
        LazyLock::new(|| !user_namespace::is_inside().unwrap_or(false));
    match name {
        b"system.posix_acl_access" | b"system.posix_acl_default" => true,
        b"security.selinux" => false,
        b"user.containers.override_stat" => false,
        _ if in_space(b"trusted.overlay.") || in_space(b"user.overlay.") => false,
        _ if in_space(b"user.fuseoverlayfs.") || in_space(b"security.fuseoverlayfs.") => false,
        _ if in_space(b"trusted.") => *TRUSTED,
        _ => in_space(b"user.") || in_space(b"security."),
    }
}

/// Reads the attributes that are content of an image from an open file or `O_PATH` descriptor.
pub(crate) fn read_xattrs(fd: impl AsFd) -> Result<Xattrs> {
    let mut xattrs = xattr::read_all_fd(fd)?;
    xattrs.retain(|(name, _)| is_portable(name));
    Ok(xattrs)
}

impl Metadata {
    /// The attributes of a directory that an archive implies and no layer describes: 0755 and 1970,
    /// because a time of day would make every unpacking another.
    pub(crate) const fn implied(uid: u32, gid: u32) -> Self {
        let mtime = Time { sec: 0, nsec: 0 };
        Self {
            mode: 0o755,
            uid,
            gid,
            mtime,
            xattrs: Vec::new(),
        }
    }

    /// Reads the attributes of an open file or `O_PATH` descriptor.
    pub(crate) fn read(fd: impl AsFd, stat: &Stat) -> Result<Self> {
        Ok(Self {
            mode: stat.permissions(),
            uid: stat.uid,
            gid: stat.gid,
            mtime: stat.mtime,
            xattrs: read_xattrs(fd)?,
        })
    }

    /// Gives an open file or directory these attributes, except for the time.
    ///
    /// The order matters: a change of owner clears set-user-id bits and file capabilities
    /// (chown(2)), and an ACL sets the group bits of the mode (acl(5)).
    pub(crate) fn put(&self, file: &File, existing: Existing) -> Result<()> {
        at::chown(file, "", self.uid, self.gid)?;
        if existing == Existing::Replaced {
            self.remove_others(file.as_fd())?;
        }
        for (name, value) in &self.xattrs {
            xattr::set_fd(file, name, value)?;
        }
        io(
            "fchmod",
            "",
            file.set_permissions(Permissions::from_mode(self.mode)),
        )
    }

    /// Gives something that cannot be opened for writing all of these attributes.
    pub(crate) fn put_at(
        &self,
        dir: &File,
        name: &OsStr,
        kind: FileKind,
        existing: Existing,
    ) -> Result<()> {
        at::chown(dir, name, self.uid, self.gid)?;
        if !self.xattrs.is_empty() || existing == Existing::Replaced {
            let node = at::open_path(dir, name)?;
            if existing == Existing::Replaced {
                self.remove_others(node.as_fd())?;
            }
            for (name, value) in &self.xattrs {
                xattr::set_fd(&node, name, value)?;
            }
        }
        if kind != FileKind::Symlink {
            at::chmod(dir, name, self.mode)?;
        }
        at::set_times(dir, name, self.mtime, self.mtime)
    }

    /// Removes extended attributes that these do not have.
    fn remove_others(&self, fd: BorrowedFd<'_>) -> Result<()> {
        for (name, _) in read_xattrs(fd)? {
            if !self.xattrs.iter().any(|(kept, _)| *kept == name) {
                xattr::remove_fd(fd, &name)?;
            }
        }
        Ok(())
    }
}

/// What happens to extended attributes that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// There are none: the file is new, and its directory passes no default ACL on.
    None,
    /// They go.
    Replaced,
}

/// Tells whether files made in a directory inherit an ACL from it (acl(5), "object creation and
/// default ACLs").
pub(crate) fn passes_acl_on(dir: impl AsFd) -> Result<bool> {
    match xattr::get_fd(dir, "system.posix_acl_default") {
        Err(error) if error.errno() == Some(Errno::OPNOTSUPP) => Ok(false),
        value => value.map(|value| value.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_file_systems_are_not_portable() {
        for name in [
            "user.a",
            "trusted.a",
            "trusted.overlayfoo",
            "security.capability",
            "system.posix_acl_access",
            "system.posix_acl_default",
        ] {
            assert!(is_portable(OsStr::new(name)), "{name}");
        }
        for name in [
            "trusted.overlay.opaque",
            "trusted.overlay.overlay.opaque",
            "user.overlay.redirect",
            "user.fuseoverlayfs.opaque",
            "security.fuseoverlayfs.override_stat",
            "user.containers.override_stat",
            "security.selinux",
            "btrfs.compression",
            "system.nfs4_acl",
            "user.",
            "",
        ] {
            assert!(!is_portable(OsStr::new(name)), "{name}");
        }
    }
}
