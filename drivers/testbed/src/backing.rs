//! The kinds of backing file systems and what one is asked to be.

use std::fmt;
use std::str::FromStr;

use cowlab_sys::{Cmd, MountOption};

use crate::{Error, Result};

/// A kind of backing file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Backing {
    /// ext4 as mkfs makes it, its tables initialized.
    Ext4,
    /// xfs with shared extents and 4096-byte sectors.
    Xfs,
    /// xfs without shared extents, with 4096-byte sectors.
    XfsNoReflink,
    /// btrfs as mkfs makes it.
    Btrfs,
    /// A ZFS pool with its root data set, 4096-byte sectors and no compression.
    Zfs,
    /// ext4 on a thin device of a pool on two loop devices, and pools like it for drivers.
    ThinExt4,
    /// The same with xfs.
    ThinXfs,
    /// tmpfs.
    Tmpfs,
}

impl Backing {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Ext4,
        Self::Xfs,
        Self::XfsNoReflink,
        Self::Btrfs,
        Self::Zfs,
        Self::ThinExt4,
        Self::ThinXfs,
        Self::Tmpfs,
    ];

    /// Returns the name that commands and results use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::XfsNoReflink => "xfs-noreflink",
            Self::Btrfs => "btrfs",
            Self::Zfs => "zfs",
            Self::ThinExt4 => "thin+ext4",
            Self::ThinXfs => "thin+xfs",
            Self::Tmpfs => "tmpfs",
        }
    }

    /// Returns the kernel's name of the file system type.
    pub fn fstype(self) -> &'static str {
        match self {
            Self::XfsNoReflink | Self::ThinXfs => "xfs",
            Self::ThinExt4 => "ext4",
            kind => kind.name(),
        }
    }

    /// Returns the program that makes it; `None` for tmpfs.
    pub fn mkfs(self) -> Option<&'static str> {
        match self {
            Self::Ext4 | Self::ThinExt4 => Some("mkfs.ext4"),
            Self::Xfs | Self::XfsNoReflink | Self::ThinXfs => Some("mkfs.xfs"),
            Self::Btrfs => Some("mkfs.btrfs"),
            Self::Zfs => Some("zpool"),
            Self::Tmpfs => None,
        }
    }

    /// Tells whether it comes from elsewhere than the kernel's own sources, so that few kernels have it.
    pub fn is_out_of_tree(self) -> bool {
        self == Self::Zfs
    }

    /// Tells whether it lies on a thin pool.
    pub(crate) fn is_thin(self) -> bool {
        matches!(self, Self::ThinExt4 | Self::ThinXfs)
    }

    /// Checks that the host can make it, as far as can be told without making one: that its programs are
    /// installed. Whether the kernel has the file system shows when it is mounted.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Missing`].
    pub fn check(self) -> Result<()> {
        let pools = self.is_thin().then_some("dmsetup");
        let mut programs = self.mkfs().into_iter().chain(pools);
        let Some(program) = programs.find(|program| Cmd::find(program).is_none()) else {
            return Ok(());
        };
        let package = Cmd::package_of(program);
        Err(Error::Missing {
            what: format!("the program `{program}`"),
            remedy: format!("install the Debian package `{package}`"),
        })
    }

    /// Returns the least size in bytes.
    pub(crate) fn least_bytes(self) -> u64 {
        match self {
            // mkfs.xfs refuses less than 300 MB since xfsprogs 5.19.
            Self::Xfs | Self::XfsNoReflink | Self::ThinXfs => 300 << 20,
            // mkfs.btrfs refuses less than 109 MiB for separate data and metadata.
            Self::Btrfs => 128 << 20,
            // zpool refuses less than 64 MiB (SPA_MINDEVSIZE), and keeps at least 128 MiB back for itself.
            Self::Zfs => 256 << 20,
            Self::Ext4 | Self::ThinExt4 => 16 << 20,
            Self::Tmpfs => 1 << 20,
        }
    }
}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that stands for nothing, and the names that would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no {what}; there are {known}")]
pub struct UnknownName {
    what: &'static str,
    name: String,
    known: String,
}

impl FromStr for Backing {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|backing| backing.name() == name)
            .ok_or_else(|| UnknownName {
                what: "backing file system",
                name: name.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            })
    }
}

/// What a backing file system lies on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Media {
    /// A file in the run's directory.
    #[default]
    Disk,
    /// A file on a tmpfs: what software costs without a disk.
    Memory,
}

impl Media {
    /// Returns the name that commands and results use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Media {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "disk" => Ok(Self::Disk),
            "memory" => Ok(Self::Memory),
            _ => Err(UnknownName {
                what: "media",
                name: name.to_owned(),
                known: "disk, memory".to_owned(),
            }),
        }
    }
}

/// What a file system has only where it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extra {
    /// Limits of what a directory, a subvolume or a data set holds: project quotas on ext4 and xfs, quota groups on
    /// btrfs; ZFS always has them.
    SizeLimits,
    /// Files protected by fs-verity, which ext4 has to be made for.
    Verity,
    /// Nothing but its size.
    Room,
}

/// What a backing file system is asked to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackingOptions {
    /// The size in bytes.
    pub bytes: u64,
    /// What it lies on. A tmpfs is in memory either way.
    pub media: Media,
    /// Write the whole file behind it first, so that no allocation on the host disturbs a
    /// measurement; else the file is sparse.
    pub preallocate: bool,
    /// What it shall have besides. A file system that has no such thing at all is made as always.
    pub extra: Option<Extra>,
    /// Further mount options.
    pub mount_options: Vec<MountOption>,
}

impl Default for BackingOptions {
    /// A sparse file of 1 GiB on disk.
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            media: Media::Disk,
            preallocate: false,
            extra: None,
            mount_options: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for backing in Backing::ALL {
            assert_eq!(backing.name().parse(), Ok(backing));
        }
        for media in [Media::Disk, Media::Memory] {
            assert_eq!(media.name().parse(), Ok(media));
        }
        let error = "ufs".parse::<Backing>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`ufs` is no backing file system; there are ext4, xfs, xfs-noreflink, btrfs, zfs, thin+ext4, thin+xfs, tmpfs"
        );
    }
}
