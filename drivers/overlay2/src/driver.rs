//! The driver itself.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cowlab_driver::{
    Access, Candidate, Candidates, Chain, CreateOptions, Driver, DriverInfo, Durability, Error,
    Home, MountMatcher, Mounts, OpenOptions, Own, Provenance, Quarantine, Reach, Result,
    SnapshotId, Staging, Usage, make_dir, projects, tree,
};
use cowlab_sys::durability::{fsync_dir, syncfs};
use cowlab_sys::{MountAttributes, MountSpec, dir};

use crate::lowers::{self, Places, Style};
use crate::options::Options;
use crate::{NAME, classic, in_use, upper, volatile};

/// The overlay2 driver of one directory.
#[derive(Debug)]
pub struct Overlay2 {
    home: Home,
    options: Options,
    style: OnceLock<Style>,
}

impl Overlay2 {
    /// Opens the driver's directory, making it if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRoot`] when another store made it.
    pub fn open(options: &OpenOptions) -> Result<Self> {
        let home = Home::open(&options.root, &options.store)?;
        let places = Places(home.root());
        for place in [places.empty(), places.links(), places.probe()] {
            make_dir_once(&place, 0o755)?;
        }
        for place in ["upper", "work"] {
            make_dir_once(&places.probe().join(place), 0o700)?;
        }
        Ok(Self {
            home,
            options: Options::from(options.variant),
            style: OnceLock::new(),
        })
    }

    fn places(&self) -> Places<'_> {
        Places(self.home.root())
    }

    fn style(&self) -> Style {
        *self.style.get_or_init(|| lowers::style(self.places()))
    }

    /// The snapshot's directory, refused when the snapshot is frozen.
    fn writable(&self, id: SnapshotId) -> Result<PathBuf> {
        let snapshot = self.home.existing(id)?;
        if self.places().work(id).symlink_metadata().is_err() {
            return Err(Error::Frozen(id));
        }
        Ok(snapshot)
    }

    fn mounts(
        &self,
        style: Style,
        lowers: &[SnapshotId],
        upper: Option<SnapshotId>,
    ) -> Result<MountSpec> {
        for id in lowers {
            self.home.existing(*id)?;
        }
        let mut options = lowers::layers(self.places(), style, lowers, upper)?;
        if style == Style::Joined {
            classic::link(self.places(), lowers)?;
        }
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

    fn activate_as(&self, style: Style, chain: &Chain, access: Access) -> Result<MountSpec> {
        let head = chain.head();
        match access {
            Access::ReadOnly => {
                volatile::refuse_crashed(head, &self.home.existing(head)?)?;
                self.mounts(style, &chain.iter().collect::<Vec<_>>(), None)
            }
            Access::ReadWrite => {
                let snapshot = self.writable(head)?;
                volatile::refuse_crashed(head, &snapshot)?;
                let mounts = self.mounts(style, chain.ancestors(), Some(head))?;
                if self.options.volatile {
                    // A process that ended between its unmount and `deactivate` left the mark.
                    if volatile::is_marked(&snapshot)
                        && in_use::refuse_writable(&self.home, self.style(), head).is_ok()
                    {
                        volatile::settle(head, &snapshot)?;
                    }
                    volatile::note_boot(&snapshot)?;
                }
                Ok(mounts)
            }
        }
    }
}

fn make_dir_once(path: &Path, mode: u32) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    match make_dir(path, mode) {
        // Another process opens the same directory.
        Err(Error::Sys(error)) if error.errno() == Some(cowlab_sys::Errno::EXIST) => Ok(()),
        made => made,
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
        if let Some(chain) = parent {
            self.home.existing(chain.head())?;
        }
        self.home.create(id, |snapshot| {
            make_dir(snapshot, 0o700)?;
            let (work, diff) = (snapshot.join("work"), snapshot.join("diff"));
            make_dir(&work, 0o700)?;
            make_dir(&diff, 0o755)?;
            if let Some(limit) = options.size_limit
                && let Err(error) = projects::limit(&self.home, NAME, id, &[&work, &diff], limit)
            {
                // Refused, not cut off: nothing is left for a later `destroy`.
                dir::remove_tree(snapshot)?;
                return Err(error);
            }
            match parent {
                Some(chain) => upper::inherit_root(&self.places().diff(chain.head()), snapshot),
                None => Ok(()),
            }
        })
    }

    fn activate(&self, chain: &Chain, access: Access) -> Result<Mounts> {
        let style = self.style();
        let mounts = self.activate_as(style, chain, access)?;
        if style == Style::Joined {
            classic::check_length(&mounts.options)?;
        }
        Ok(Mounts::FileSystem(mounts))
    }

    fn activate_for_others(&self, chain: &Chain, access: Access) -> Result<Mounts> {
        let mounts = self.activate_as(Style::Joined, chain, access)?;
        Ok(Mounts::FileSystem(mounts))
    }

    fn deactivate(&self, id: SnapshotId) -> Result<()> {
        in_use::refuse_mounted(&self.home, id)?;
        let snapshot = self.home.path(id);
        if volatile::is_marked(&snapshot) && !volatile::is_crashed(&snapshot)? {
            in_use::refuse_writable(&self.home, self.style(), id)?;
            volatile::settle(id, &snapshot)?;
        }
        Ok(())
    }

    fn staging(&self, chain: &Chain) -> Result<Staging> {
        self.writable(chain.head())?;
        let parent = chain
            .parent()
            .map(|parent| self.activate(&parent, Access::ReadOnly))
            .transpose()?;
        Ok(Staging::Upper {
            dir: self.places().diff(chain.head()),
            parent,
            opaque: self.options.marks().opaque,
        })
    }

    fn flush(&self, id: SnapshotId, durability: Durability) -> Result<()> {
        let snapshot = self.home.existing(id)?;
        in_use::refuse_writable(&self.home, self.style(), id)?;
        volatile::refuse_crashed(id, &snapshot)?;
        if durability >= Durability::Commit {
            syncfs(&snapshot)?;
        }
        // Last: the mark is all that tells, after a power cut, that something may be missing.
        volatile::settle(id, &snapshot)
    }

    fn freeze(&self, id: SnapshotId) -> Result<()> {
        let snapshot = self.home.existing(id)?;
        volatile::forget_boot(&snapshot)?;
        // A committed layer has no scratch space: its absence is what "frozen" means here.
        dir::remove_tree(self.places().work(id))?;
        Ok(fsync_dir(&snapshot)?)
    }

    fn thaw(&self, id: SnapshotId) -> Result<()> {
        let snapshot = self.home.existing(id)?;
        let work = self.places().work(id);
        if work.symlink_metadata().is_ok() {
            // A removal that was cut off leaves a part, which the next mount empties (overlayfs.rst).
            return Ok(());
        }
        make_dir(&work, 0o700)?;
        Ok(fsync_dir(&snapshot)?)
    }

    fn destroy(&self, id: SnapshotId) -> Result<()> {
        in_use::refuse_mounted(&self.home, id)?;
        classic::unlink(self.places(), id)?;
        self.home.destroy(id, |path| {
            projects::release(&self.home, &path.join("diff"))?;
            Ok(dir::remove_tree(path)?)
        })
    }

    fn usage(&self, id: SnapshotId) -> Result<Usage> {
        self.home.existing(id)?;
        Ok(Usage {
            exclusive: tree::allocation(&self.places().diff(id))?,
            shared: None,
        })
    }

    fn candidates(&self, chain: &Chain) -> Result<Option<Candidates>> {
        self.home.existing(chain.head())?;
        if chain.ancestors().is_empty() {
            return Ok(Some(vec![Candidate {
                path: PathBuf::new(),
                reach: Reach::Subtree,
            }]));
        }
        upper::candidates(&self.places().diff(chain.head()), self.options.marks()).map(Some)
    }

    fn inventory(&self) -> Result<Vec<SnapshotId>> {
        self.home.inventory()
    }

    fn mount_matchers(&self, id: SnapshotId) -> Result<Vec<MountMatcher>> {
        let link = self.places().link(id);
        Ok(vec![MountMatcher::Directories(vec![
            self.home.path(id),
            link,
        ])])
    }

    fn root(&self) -> &Path {
        self.home.root()
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
        self.home.existing(id)?;
        upper::own(&self.places().diff(id), path, self.options.marks())
    }
}

impl Quarantine for Overlay2 {
    fn put_aside(&self, id: SnapshotId) -> Result<PathBuf> {
        classic::unlink(self.places(), id)?;
        self.home.quarantine(id)
    }
}
