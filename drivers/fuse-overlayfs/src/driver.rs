//! The driver itself.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cowlab_driver::layers::Layers;
use cowlab_driver::{
    Access, Activation, Candidates, Chain, CreateOptions, Driver, DriverInfo, Durability, Error,
    MountMatcher, Mounts, OpenOptions, Own, Provenance, Quarantine, Result, SnapshotId, Staging,
    Usage,
};
use cowlab_sys::mount::fuse::Server;

use crate::mount::{self, Place};
use crate::{NAME, XATTRS};

/// The fuse-overlayfs driver of one directory.
#[derive(Debug)]
pub struct FuseOverlayfs {
    layers: Layers,
}

impl FuseOverlayfs {
    /// Opens the driver's directory, making it if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRoot`] when another store made it.
    pub fn open(options: &OpenOptions) -> Result<Self> {
        Ok(Self {
            layers: Layers::open(options, NAME, XATTRS)?,
        })
    }

    fn mounts(&self, head: SnapshotId, lowers: &[SnapshotId], access: Access) -> Result<Mounts> {
        for id in lowers {
            self.layers.home().existing(*id)?;
        }
        let place = Place(&self.layers);
        Ok(Mounts::FileSystem(mount::spec(place, head, lowers, access)))
    }

    /// Refuses to go on while the snapshot is mounted where no mount table tells.
    fn refuse_used(&self, id: SnapshotId) -> Result<()> {
        match Server::is_running(&Place(&self.layers).lease(id))? {
            false => Ok(()),
            true => Err(Error::Busy {
                id,
                reason: format!(
                    "a process of `{NAME}` still serves it, in no mount table: a process uses it after `umount -l`, or \
                     holds the mount by a descriptor"
                ),
            }),
        }
    }
}

impl Driver for FuseOverlayfs {
    fn info(&self) -> &DriverInfo {
        &crate::ENTRY.info
    }

    fn create(
        &self,
        id: SnapshotId,
        parent: Option<&Chain>,
        options: &CreateOptions,
    ) -> Result<()> {
        self.layers.create(id, parent, options)
    }

    fn describe_mount(&self, chain: &Chain, access: Access) -> Result<Mounts> {
        let head = chain.head();
        match access {
            Access::ReadOnly => {
                self.mounts(head, &chain.iter().collect::<Vec<_>>(), Access::ReadOnly)
            }
            Access::ReadWrite => {
                self.layers.writable(head)?;
                self.mounts(head, chain.ancestors(), Access::ReadWrite)
            }
        }
    }

    fn activate_for_others(&self, chain: &Chain, access: Access) -> Result<Activation> {
        // Only cowlab shows the program another path of the directory.
        let special = |byte| b":,\\".contains(byte);
        if self.root().as_os_str().as_bytes().iter().any(special) {
            return Err(Error::Unsupported {
                driver: NAME,
                what: "mounts by others of a root whose path has a colon, a comma or a backslash"
                    .to_owned(),
                remedy: "rename the directory".to_owned(),
            });
        }
        self.activate(chain, access)
    }

    fn deactivate(&self, id: SnapshotId) -> Result<()> {
        self.refuse_used(id)
    }

    fn staging(&self, chain: &Chain) -> Result<Staging> {
        self.layers.writable(chain.head())?;
        let parent = chain
            .parent()
            .map(|parent| self.describe_mount(&parent, Access::ReadOnly))
            .transpose()?;
        Ok(Staging::Upper {
            dir: self.layers.diff(chain.head()),
            parent,
            opaque: XATTRS.opaque,
        })
    }

    fn flush(&self, id: SnapshotId, durability: Durability) -> Result<()> {
        let snapshot = self.layers.home().existing(id)?;
        self.refuse_used(id)?;
        cowlab_driver::flush(&snapshot, durability)
    }

    fn freeze(&self, id: SnapshotId) -> Result<()> {
        self.layers.home().existing(id)?;
        self.layers.freeze(id)
    }

    fn thaw(&self, id: SnapshotId) -> Result<()> {
        self.layers.thaw(id)
    }

    fn destroy(&self, id: SnapshotId) -> Result<()> {
        self.refuse_used(id)?;
        self.layers.destroy(id)
    }

    fn usage(&self, id: SnapshotId) -> Result<Usage> {
        self.layers.usage(id)
    }

    fn candidates(&self, chain: &Chain) -> Result<Option<Candidates>> {
        self.layers.candidates(chain)
    }

    fn inventory(&self) -> Result<Vec<SnapshotId>> {
        self.layers.home().inventory()
    }

    fn mount_matchers(&self, id: SnapshotId) -> Result<Vec<MountMatcher>> {
        let source = Place(&self.layers).source(id);
        Ok(vec![
            MountMatcher::Directories(vec![self.layers.home().path(id)]),
            MountMatcher::Source {
                fstype: mount::FSTYPE,
                source: source.into_os_string(),
            },
        ])
    }

    fn root(&self) -> &Path {
        self.layers.home().root()
    }

    fn provenance(&self) -> Option<&dyn Provenance> {
        Some(self)
    }

    fn quarantine(&self) -> Option<&dyn Quarantine> {
        Some(self)
    }
}

impl Provenance for FuseOverlayfs {
    fn own(&self, id: SnapshotId, path: &Path) -> Result<Option<Own>> {
        self.layers.own(id, path)
    }
}

impl Quarantine for FuseOverlayfs {
    fn put_aside(&self, id: SnapshotId) -> Result<PathBuf> {
        self.layers.home().quarantine(id)
    }
}
