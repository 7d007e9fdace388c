//! Where a layer is unpacked.

use std::fs::File;
use std::path::Path;

use cowlab_sys::{Errno, FileKind, stat};

use super::error::Result;

/// Where a layer is unpacked.
#[derive(Debug)]
pub struct Target {
    pub(super) upper: File,
    pub(super) form: Form,
    /// Whether directories are gone into that something is mounted on.
    pub(super) across_mounts: bool,
}

#[derive(Debug)]
pub(super) enum Form {
    /// There is no parent.
    Base,
    /// The directory shows the parent's content.
    Union,
    /// The directory is the layer alone, in overlayfs's own format, over the parent's root.
    Upper {
        parent: File,
        /// The xattr that marks an opaque directory.
        opaque: &'static str,
    },
}

impl Target {
    /// A writable directory that shows the parent's content: a whiteout becomes a deletion.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn union(root: &Path) -> Result<Self> {
        Ok(Self {
            upper: open_root(root)?,
            form: Form::Union,
            across_mounts: false,
        })
    }

    /// Has entries go onto what is mounted in the directory, for a tree that is no snapshot's.
    #[must_use]
    pub const fn across_mounts(mut self) -> Self {
        self.across_mounts = true;
        self
    }

    /// The directory of the layer alone, empty so far, and the root of the parent, mounted
    /// read-only: a whiteout becomes a character device 0:0, an opaque directory gets the xattr `opaque`.
    ///
    /// # Errors
    ///
    /// When one of them cannot be opened.
    pub fn upper(dir: &Path, parent: Option<&Path>, opaque: &'static str) -> Result<Self> {
        let Some(parent) = parent else {
            return Self::base(dir);
        };
        let form = Form::Upper {
            parent: open_root(parent)?,
            opaque,
        };
        Ok(Self {
            upper: open_root(dir)?,
            form,
            across_mounts: false,
        })
    }

    /// An empty directory for a layer without a parent, whose whiteouts concern nothing.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn base(dir: &Path) -> Result<Self> {
        Ok(Self {
            upper: open_root(dir)?,
            form: Form::Base,
            across_mounts: false,
        })
    }
}

fn open_root(dir: &Path) -> Result<File> {
    let root = cowlab_sys::io("open", dir, File::open(dir))?;
    match stat::fstat(&root)?.kind() {
        FileKind::Directory => Ok(root),
        _ => Ok(cowlab_sys::sys("open", dir, Err(Errno::NOTDIR))?),
    }
}

/// What happens to an entry whose name the archive had before. A directory may repeat and gets the last attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Duplicates {
    /// The entry replaces what the layer had under the name, a directory with everything in it, and a warning names the
    /// first one: as docker (`pkg/archive`, `UnpackLayer`), containerd (`pkg/archive`, `applyNaive`) and podman have it.
    #[default]
    LastWins,
    /// The layer is refused (image specification, layer.md: layers "MUST NOT include duplicate entries").
    Refused,
}
