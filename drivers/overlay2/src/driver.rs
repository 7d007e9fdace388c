//! The driver itself.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cowlab_driver::layers::Layers;
use cowlab_driver::{
    Access, Activation, Candidates, Chain, CreateOptions, Driver, DriverInfo, Durability, Home,
    MountMatcher, Mounts, OpenOptions, Own, Provenance, Quarantine, Result, SnapshotId, Staging,
    Usage, make_dir_once,
};
use cowlab_sys::durability::syncfs;
use cowlab_sys::{MountAttributes, MountSpec};

use crate::lowers::{self, Places, Style};
use crate::options::Options;
use crate::{NAME, classic, in_use, volatile};

/// The overlay2 driver of one directory.
#[derive(Debug)]
pub struct Overlay2 {
    layers: Layers,
    options: Options,
    style: OnceLock<Style>,
}

impl Overlay2 {
    /// Opens the driver's directory, making it if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRoot`](cowlab_driver::Error::ForeignRoot) when another store made it.
    pub fn open(options: &OpenOptions) -> Result<Self> {
        let ours = Options::from(options.variant);
        let layers = Layers::open(options, NAME, ours.xattrs())?;
        let places = Places(layers.home().root());
        for place in [places.links(), places.probe()] {
            make_dir_once(&place, 0o755)?;
        }
        for place in ["upper", "work"] {
            make_dir_once(&places.probe().join(place), 0o700)?;
        }
        Ok(Self {
            layers,
            options: ours,
            style: OnceLock::new(),
        })
    }

    fn home(&self) -> &Home {
        self.layers.home()
    }

    fn places(&self) -> Places<'_> {
        Places(self.home().root())
    }

    fn style(&self) -> Style {
        *self.style.get_or_init(|| lowers::style(self.places()))
    }

    fn mounts(
        &self,
        style: Style,
        lowers: &[SnapshotId],
        upper: Option<SnapshotId>,
    ) -> Result<MountSpec> {
        for id in lowers {
            self.home().existing(*id)?;
        }
        let mut options = lowers::layers(self.places(), style, lowers, upper)?;
        options.extend(match upper {
            Some(_) => self.options.read_write(),
            None => self.options.read_only(),
        });
        let attributes = MountAttributes {
            read_only: upper.is_none(),
            nodev: self.options.nodev,
            ..MountAttributes::default()
        };
        Ok(lowers::overlay(options, attributes))
    }

    /// How a snapshot is mounted; makes nothing.
    fn describe_as(&self, style: Style, chain: &Chain, access: Access) -> Result<MountSpec> {
        let head = chain.head();
        match access {
            Access::ReadOnly => {
                volatile::refuse_crashed(head, &self.home().existing(head)?)?;
                self.mounts(style, &chain.iter().collect::<Vec<_>>(), None)
            }
            Access::ReadWrite => {
                volatile::refuse_crashed(head, &self.layers.writable(head)?)?;
                self.mounts(style, chain.ancestors(), Some(head))
            }
        }
    }

    fn activate_as(&self, style: Style, chain: &Chain, access: Access) -> Result<MountSpec> {
        let mounts = self.describe_as(style, chain, access)?;
        if style == Style::Joined {
            classic::link(self.places(), &chain.iter().collect::<Vec<_>>())?;
        }
        if access == Access::ReadWrite && self.options.volatile {
            let head = chain.head();
            let snapshot = self.home().path(head);
            // A process that ended between its unmount and `deactivate` left the mark.
            if volatile::is_marked(&snapshot)
                && in_use::refuse_writable(self.home(), self.style(), head).is_ok()
            {
                volatile::settle(head, &snapshot)?;
            }
            volatile::note_boot(&snapshot)?;
        }
        Ok(mounts)
    }
}

impl Driver for Overlay2 {
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

    fn activate(&self, chain: &Chain, access: Access) -> Result<Activation> {
        let style = self.style();
        let mounts = self.activate_as(style, chain, access)?;
        if style == Style::Joined {
            classic::check_length(&mounts.options)?;
        }
        Ok(Mounts::FileSystem(mounts).into())
    }

    fn activate_for_others(&self, chain: &Chain, access: Access) -> Result<Activation> {
        let mounts = self.activate_as(Style::Joined, chain, access)?;
        Ok(Mounts::FileSystem(mounts).into())
    }

    fn describe_mount(&self, chain: &Chain, access: Access) -> Result<Mounts> {
        let mounts = self.describe_as(self.style(), chain, access)?;
        Ok(Mounts::FileSystem(mounts))
    }

    fn deactivate(&self, id: SnapshotId) -> Result<()> {
        let snapshot = self.home().path(id);
        if volatile::is_marked(&snapshot) && !volatile::is_crashed(&snapshot)? {
            in_use::refuse_writable(self.home(), self.style(), id)?;
            volatile::settle(id, &snapshot)?;
        }
        Ok(())
    }

    fn staging(&self, chain: &Chain) -> Result<Staging> {
        self.layers.writable(chain.head())?;
        let parent = chain
            .parent()
            .map(|parent| self.activate(&parent, Access::ReadOnly))
            .transpose()?
            .map(Activation::into_mounts);
        Ok(Staging::Upper {
            dir: self.layers.diff(chain.head()),
            parent,
            opaque: self.options.xattrs().opaque,
        })
    }

    fn flush(&self, id: SnapshotId, durability: Durability) -> Result<()> {
        let snapshot = self.home().existing(id)?;
        in_use::refuse_writable(self.home(), self.style(), id)?;
        volatile::refuse_crashed(id, &snapshot)?;
        if volatile::is_marked(&snapshot) && durability >= Durability::Commit {
            // Nothing was flushed since it was mounted first: syncfs(2) alone tells of errors of files that were evicted since.
            syncfs(&snapshot)?;
        } else {
            cowlab_driver::flush(&snapshot, durability)?;
        }
        // Last: the mark is all that tells, after a power cut, that something may be missing.
        volatile::settle(id, &snapshot)
    }

    fn freeze(&self, id: SnapshotId) -> Result<()> {
        volatile::forget_boot(&self.home().existing(id)?)?;
        self.layers.freeze(id)
    }

    fn thaw(&self, id: SnapshotId) -> Result<()> {
        self.layers.thaw(id)
    }

    fn destroy(&self, id: SnapshotId) -> Result<()> {
        classic::unlink(self.places(), id)?;
        self.layers.destroy(id)
    }

    fn usage(&self, id: SnapshotId) -> Result<Usage> {
        self.layers.usage(id)
    }

    fn candidates(&self, chain: &Chain) -> Result<Option<Candidates>> {
        self.layers.candidates(chain)
    }

    fn inventory(&self) -> Result<Vec<SnapshotId>> {
        self.home().inventory()
    }

    fn mount_matchers(&self, id: SnapshotId) -> Result<Vec<MountMatcher>> {
        let link = self.places().link(id);
        Ok(vec![MountMatcher::Directories(vec![
            self.home().path(id),
            link,
        ])])
    }

    fn root(&self) -> &Path {
        self.home().root()
    }

    fn provenance(&self) -> Option<&dyn Provenance> {
        Some(self)
    }

    fn quarantine(&self) -> Option<&dyn Quarantine> {
        Some(self)
    }
}

impl Provenance for Overlay2 {
    fn own(&self, id: SnapshotId, path: &Path) -> Result<Option<Own>> {
        self.layers.own(id, path)
    }
}

impl Quarantine for Overlay2 {
    fn put_aside(&self, id: SnapshotId) -> Result<PathBuf> {
        classic::unlink(self.places(), id)?;
        self.home().quarantine(id)
    }
}
