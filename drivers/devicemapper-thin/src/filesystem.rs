//! The file system in a thin device: how it is made, mounted, and judged after its unmount.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cowlab_driver::{Access, Error, Mounts, Result};
use cowlab_sys::mount::DetachedMount;
use cowlab_sys::{Cmd, MountAttributes, MountOption, MountSpec, at, durability, io};

/// Which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileSystem {
    Ext4,
    Xfs,
}

/// What its superblock says after an unmount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// Whether there is nothing to replay; `None` where only a mount finds out.
    pub(crate) is_clean: Option<bool>,
    /// Whether the kernel found an error in it.
    pub(crate) has_errors: bool,
    /// Inodes in use.
    pub(crate) inodes: u64,
}

/// What is read of a device to see the superblock, in bytes.
const READ: usize = 4096;

impl FileSystem {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Ext4, Self::Xfs];

    /// The kernel's name of it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// The one of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// The program that makes it.
    pub(crate) const fn mkfs(self) -> &'static str {
        match self {
            Self::Ext4 => "mkfs.ext4",
            Self::Xfs => "mkfs.xfs",
        }
    }

    /// The least size of a device for it, in bytes.
    pub(crate) const fn least_bytes(self) -> u64 {
        match self {
            Self::Ext4 => 16 << 20,
            // mkfs.xfs refuses less than 300 MB since xfsprogs 5.19.
            Self::Xfs => 304 << 20,
        }
    }

    /// Makes an empty tree on a device. Nothing is written that a later mount would write anyway: every block that the
    /// file system writes here is one that the pool gives.
    pub(crate) fn make(self, device: &Path, uuid: &str) -> Result<()> {
        let command = Cmd::new(self.mkfs());
        // Smaller inodes of ext4 have change times in whole seconds, and comparisons of snapshots trust change times.
        match self {
            Self::Ext4 => command
                .args(["-q", "-F", "-b", "4096", "-I", "256", "-m", "0", "-U", uuid])
                .arg("-E")
                .arg(format!(
                    "lazy_itable_init=1,lazy_journal_init=1,nodiscard,hash_seed={uuid}"
                )),
            Self::Xfs => command
                .args(["-q", "-f", "-K", "-s", "size=4096", "-m"])
                .arg(format!("reflink=1,uuid={uuid}")),
        }
        .arg(device)
        .run()?;
        let mount = DetachedMount::new(&self.spec(device, Access::ReadWrite))?;
        if self == Self::Ext4 {
            at::rmdir(&mount, "lost+found")?;
        }
        at::chmod(&mount, ".", 0o755)?;
        Ok(durability::syncfs(mount.path())?)
    }

    /// How a snapshot is mounted.
    pub(crate) fn mounts(self, device: &Path, access: Access) -> Mounts {
        Mounts::FileSystem(self.spec(device, access))
    }

    fn spec(self, device: &Path, access: Access) -> MountSpec {
        let read_only = access == Access::ReadOnly;
        let options: &[&str] = match (self, access) {
            // The tables of unused inodes stay unwritten, or each snapshot would get copies of its own.
            (Self::Ext4, Access::ReadWrite) => &["noinit_itable", "discard"],
            // Without these a read-only mount replays the journal: it writes (ext4(5), noload; xfs(5), norecovery).
            (Self::Ext4, Access::ReadOnly) => &["ro", "noload"],
            // A snapshot has the UUID of its origin.
            (Self::Xfs, Access::ReadWrite) => &["nouuid", "discard"],
            (Self::Xfs, Access::ReadOnly) => &["ro", "norecovery", "nouuid"],
        };
        let mut options: Vec<_> = options
            .iter()
            .map(|name| MountOption::flag(*name))
            .collect();
        if (self, access) == (Self::Ext4, Access::ReadWrite) {
            options.push(MountOption::text("errors", "remount-ro"));
        }
        MountSpec {
            fstype: self.name().to_owned(),
            source: Some(device.to_owned()),
            options,
            attributes: MountAttributes {
                read_only,
                ..MountAttributes::default()
            },
            ..MountSpec::default()
        }
    }

    /// Reads what the superblock says.
    pub(crate) fn state(self, device: &Path) -> Result<State> {
        let file = io("open", device, File::open(device))?;
        let mut block = vec![0; READ];
        io("read", device, file.read_exact_at(&mut block, 0))?;
        let state = self.parse(&block);
        let text = || PathBuf::from(device).display().to_string();
        Ok(
            state
                .ok_or_else(|| cowlab_sys::Error::parse("the superblock of a snapshot", text()))?,
        )
    }

    /// `None` where it is no superblock of this file system.
    fn parse(self, block: &[u8]) -> Option<State> {
        let bytes = |at: usize| block.get(at..at + 8);
        match self {
            // Documentation/filesystems/ext4/super.rst: the superblock lies behind 1024 bytes, little-endian.
            Self::Ext4 => {
                let word = |at: usize| {
                    let bytes = block.get(1024 + at..1024 + at + 4)?;
                    Some(u32::from_le_bytes(bytes.try_into().ok()?))
                };
                // s_magic and s_state: valid 1, errors 2.
                let magic_and_state = word(0x38)?;
                if magic_and_state & 0xffff != 0xef53 {
                    return None;
                }
                let inodes = word(0x0)?.checked_sub(word(0x10)?)?;
                Some(State {
                    // s_feature_incompat: RECOVER.
                    is_clean: Some(word(0x60)? & 4 == 0),
                    has_errors: magic_and_state >> 16 & 2 != 0,
                    inodes: inodes.into(),
                })
            }
            // struct xfs_dsb (fs/xfs/libxfs/xfs_format.h), big-endian.
            Self::Xfs => {
                let number = |at| Some(u64::from_be_bytes(bytes(at)?.try_into().ok()?));
                if block.get(..4)? != b"XFSB" {
                    return None;
                }
                Some(State {
                    is_clean: None,
                    has_errors: false,
                    inodes: number(128)?.checked_sub(number(136)?)?,
                })
            }
        }
    }

    /// Replays what there is to replay and writes everything back, so that the device can be read without.
    pub(crate) fn settle(self, device: &Path) -> Result<()> {
        let mount = DetachedMount::new(&self.spec(device, Access::ReadWrite))?;
        Ok(durability::syncfs(mount.path())?)
    }
}

impl TryFrom<&cowlab_driver::Settings> for FileSystem {
    type Error = Error;

    /// The one that the setting `filesystem` names, else ext4.
    fn try_from(settings: &cowlab_driver::Settings) -> Result<Self> {
        let name = settings.get("filesystem").map_or("ext4", String::as_str);
        Self::named(name).ok_or_else(|| Error::Unsupported {
            driver: crate::NAME,
            what: format!("the file system `{name}` in its snapshots"),
            remedy: "set `filesystem` to `ext4` or `xfs`".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superblocks_are_read() {
        let mut block = vec![0; READ];
        block[1024..1028].copy_from_slice(&100_u32.to_le_bytes());
        block[1024 + 0x10..1024 + 0x14].copy_from_slice(&89_u32.to_le_bytes());
        block[1024 + 0x38..1024 + 0x3c].copy_from_slice(&[0x53, 0xef, 1, 0]);
        block[1024 + 0x60] = 2;
        let state = FileSystem::Ext4.parse(&block).unwrap();
        assert_eq!((state.is_clean, state.inodes), (Some(true), 11));
        block[1024 + 0x60] = 6;
        block[1024 + 0x3a] = 3;
        let state = FileSystem::Ext4.parse(&block).unwrap();
        assert!(state.has_errors && state.is_clean == Some(false));
        assert_eq!(FileSystem::Xfs.parse(&block), None);
        let mut block = vec![0; READ];
        block[..4].copy_from_slice(b"XFSB");
        block[135] = 64;
        block[143] = 60;
        assert_eq!(FileSystem::Xfs.parse(&block).unwrap().inodes, 4);
        assert_eq!(FileSystem::Ext4.parse(&block), None);
    }

    #[test]
    fn views_replay_nothing() {
        let options = |one: FileSystem| {
            let mounts = one.mounts(Path::new("/dev/dm-1"), Access::ReadOnly);
            mounts.data().options
        };
        assert_eq!(options(FileSystem::Ext4), ["ro", "noload"]);
        assert_eq!(options(FileSystem::Xfs), ["ro", "norecovery", "nouuid"]);
    }
}
