//! Mount data: what a driver says and a caller does.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use cowlab_sys::mount::{MountAttributes, MountGuard, MountOption, MountSpec};

use crate::Result;

/// How a snapshot is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing can be changed through the mount.
    ReadOnly,
    /// The snapshot's own layer takes the changes.
    ReadWrite,
}

/// How to mount a snapshot: data, mounted by the caller.
#[derive(Debug, Clone)]
pub enum Mounts {
    /// A mount of its own.
    FileSystem(MountSpec),
    /// A bind mount of a directory.
    Bind {
        /// The directory that shows the snapshot.
        source: PathBuf,
        /// The mount's attributes.
        attributes: MountAttributes,
    },
}

impl Mounts {
    /// Mounts the snapshot at `target`, an existing directory.
    ///
    /// # Errors
    ///
    /// What the kernel refused, with the messages of its mount context.
    pub fn mount_at(&self, target: &Path) -> Result<MountGuard> {
        Ok(match self {
            Self::FileSystem(spec) => cowlab_sys::mount::mount(spec, target)?,
            Self::Bind { source, attributes } => {
                cowlab_sys::mount::bind(source, target, *attributes)?
            }
        })
    }

    /// Whether nothing can be changed through the mount.
    #[must_use]
    pub const fn is_read_only(&self) -> bool {
        match self {
            Self::FileSystem(spec) => spec.attributes.read_only,
            Self::Bind { attributes, .. } => attributes.read_only,
        }
    }

    /// Writes the arguments of the mount(8) command that does the same.
    #[must_use]
    pub fn command_line(&self, target: &Path) -> Vec<OsString> {
        let mut line: Vec<OsString> = vec!["mount".into()];
        match self {
            Self::FileSystem(spec) => {
                line.extend(["-t".into(), spec.fstype.clone().into()]);
                let options = join(spec);
                if !options.is_empty() {
                    line.extend(["-o".into(), options]);
                }
                line.push(
                    spec.source
                        .clone()
                        .map_or_else(|| spec.fstype.clone().into(), Into::into),
                );
            }
            Self::Bind { source, attributes } => {
                line.push("--bind".into());
                if attributes.read_only {
                    line.extend(["-o".into(), "ro".into()]);
                }
                line.push(source.clone().into());
            }
        }
        line.push(target.into());
        line
    }
}

fn join(spec: &MountSpec) -> OsString {
    let mut parts: Vec<OsString> = Vec::new();
    if spec.attributes.read_only {
        parts.push("ro".into());
    }
    for option in &spec.options {
        match option {
            MountOption::Flag(name) => parts.push(name.into()),
            MountOption::Text(name, value) => {
                let mut part = OsString::from(name);
                part.push("=");
                part.push(value);
                parts.push(part);
            }
        }
    }
    parts.join(std::ffi::OsStr::new(","))
}

/// Where the files of a layer are written.
#[derive(Debug)]
pub enum Staging {
    /// A mount that shows the parent's content: a whiteout becomes a deletion.
    Union(Mounts),
    /// The directory of the layer alone, in the kernel's own format: a whiteout becomes a character
    /// device 0:0, an opaque directory an xattr. The kernel refuses `mknod c 0 0` through overlay.
    Upper {
        /// The layer's directory.
        dir: PathBuf,
        /// The parent, read-only, for what a layer may refer to: a hard link's target, the attributes of
        /// a directory that the layer does not carry.
        parent: Option<Mounts>,
        /// The xattr that marks an opaque directory.
        opaque: &'static str,
    },
}
