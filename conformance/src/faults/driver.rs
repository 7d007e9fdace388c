//! A driver that does one thing wrong and hands everything else on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cowlab_driver::{
    Access, Activation, Candidates, Chain, CreateOptions, Driver, DriverInfo, Durability, Entry,
    Health, MountMatcher, Mounts, OpenOptions, Provenance, Quarantine, Result, SnapshotId, Staging,
    Usage, WriteWatch,
};
use cowlab_sys::Guard;
use cowlab_sys::mount::{MountAttributes, MountOption};

use super::Plant;
use super::faulty_mount::{FaultyMounts, MountFault};
use super::tree::{self, EntryFault, TreeFault, Trees};

/// What a faulty driver does wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DriverFault {
    /// Something to each entry of a tree that is committed.
    Entries(EntryFault),
    /// Something to a tree that is committed as a whole.
    Tree(TreeFault),
    /// Something to the tree of a snapshot that was just made.
    Created(fn(&Path) -> Result<()>),
    /// The order of a snapshot's ancestors, newest first.
    Ancestors(fn(&mut Vec<SnapshotId>)),
    /// The attributes of its mounts.
    Attributes(fn(&mut MountAttributes)),
    /// The paths that its mounts name.
    Paths(fn(&Path) -> PathBuf),
    /// What its mounts show and do while they are in use.
    Mount(MountFault),
}

/// The setting that names the fault, for opening a driver of [`planted_in`]. Without it no fault is planted.
pub(crate) const SETTING: &str = "planted-fault";

/// Opens a driver.
type Open = fn(&OpenOptions) -> Result<Box<dyn Driver>>;

/// The registry's entry of a driver, which opens it with the fault that [`SETTING`] names.
pub(crate) fn planted_in(entry: &'static Entry) -> Entry {
    // The function that opens a driver knows no more than its options: there has to be one for each driver.
    const OPEN: [Open; 8] = [
        open::<0>, open::<1>, open::<2>, open::<3>, open::<4>, open::<5>, open::<6>, open::<7>,
    ];
    let is_it = |known: &&'static Entry| known.name == entry.name;
    let index = cowlab_drivers::all().iter().position(is_it);
    let open = index.and_then(|index| OPEN.get(index)).copied();
    Entry {
        open: open
            .expect("the registry has the driver, and no more drivers than there are functions"),
        ..*entry
    }
}

fn open<const INDEX: usize>(options: &OpenOptions) -> Result<Box<dyn Driver>> {
    let entry = cowlab_drivers::all()[INDEX];
    let inner = (entry.open)(options)?;
    let id = options.settings.get(SETTING);
    let Some(planted) = id.and_then(|id| super::planted(id)) else {
        return Ok(inner);
    };
    let Plant::Driver(fault) = planted.injection else {
        return Ok(inner);
    };
    let mounts = match fault {
        DriverFault::Mount(fault) => Some(FaultyMounts::new(fault, planted.id)),
        _ => None,
    };
    Ok(Box::new(Faulty {
        inner,
        fault,
        mounts,
        parents: Mutex::default(),
    }))
}

/// A driver with a fault.
#[derive(Debug)]
struct Faulty {
    inner: Box<dyn Driver>,
    fault: DriverFault,
    /// Where the fault is in its mounts.
    mounts: Option<FaultyMounts>,
    /// The parents of the snapshots made since it was opened.
    parents: Mutex<BTreeMap<SnapshotId, Chain>>,
}

impl Faulty {
    /// The chain, with the ancestors in the wrong order where that is the fault.
    fn chain(&self, chain: &Chain) -> Chain {
        let mut ancestors = chain.ancestors().to_vec();
        if let DriverFault::Ancestors(order) = self.fault {
            order(&mut ancestors);
        }
        Chain::new(chain.head(), ancestors)
    }

    fn mounts(&self, mut mounts: Mounts) -> Mounts {
        match (self.fault, &mut mounts) {
            (DriverFault::Attributes(change), Mounts::FileSystem(spec)) => {
                change(&mut spec.attributes);
            }
            (DriverFault::Attributes(change), Mounts::Bind { attributes, .. }) => {
                change(attributes);
            }
            (DriverFault::Paths(change), Mounts::Bind { source, .. }) => *source = change(source),
            (DriverFault::Paths(change), Mounts::FileSystem(spec)) => {
                for option in &mut spec.options {
                    if let MountOption::Text(_, value) = option {
                        *value = change(Path::new(value)).into();
                    }
                }
            }
            _ => {}
        }
        mounts
    }

    fn activation(&self, activation: Activation) -> Activation {
        match self.fault {
            DriverFault::Attributes(_) | DriverFault::Paths(_) => {
                self.mounts(activation.into_mounts()).into()
            }
            _ => activation,
        }
    }

    /// Waits until nothing holds a mount of a snapshot that nobody has mounted.
    fn wait(&self, id: SnapshotId) -> Result<()> {
        self.mounts
            .as_ref()
            .map_or(Ok(()), |mounts| mounts.wait(id))
    }

    /// The snapshot and its ancestors, where it was made since the driver was opened.
    fn chain_of(&self, id: SnapshotId) -> Chain {
        let parents = self.parents.lock().unwrap_or_else(PoisonError::into_inner);
        let ancestors = parents.get(&id).map(|parent| parent.iter().collect());
        Chain::new(id, ancestors.unwrap_or_default())
    }

    /// Spoils the tree of a snapshot, beside that of its parent.
    fn spoil(&self, id: SnapshotId) -> Result<()> {
        let chain = self.chain_of(id);
        let staging = self.inner.staging(&chain)?;
        let is_layer = matches!(staging, Staging::Upper { .. });
        let spoil = |top: &Path| match (self.fault, chain.parent()) {
            (DriverFault::Entries(fault), _) => tree::spoil_entries(top, fault),
            (DriverFault::Created(fault), _) => fault(top),
            (DriverFault::Tree(fault), Some(parent)) => {
                let mounts = self.inner.describe_mount(&parent, Access::ReadOnly)?;
                with_tree(&mounts, |parent| {
                    fault(&Trees {
                        top,
                        parent,
                        is_layer,
                    })
                })
            }
            _ => Ok(()),
        };
        match &staging {
            Staging::Union(mounts) => with_tree(mounts, spoil),
            Staging::Upper { dir, .. } => spoil(dir),
        }
    }
}

/// Shows what would be mounted: as it is where it is a directory, else mounted for the time of `body`.
fn with_tree(mounts: &Mounts, body: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if let Mounts::Bind { source, .. } = mounts {
        return body(source);
    }
    let place = tempfile::tempdir();
    let place = cowlab_sys::io("mkdir", "", place)?;
    let mut mount = mounts.mount_at(place.path())?;
    let done = body(place.path());
    mount.close().map_err(|leak| leak.source)?;
    done
}

impl Driver for Faulty {
    fn info(&self) -> &DriverInfo {
        self.inner.info()
    }

    fn create(
        &self,
        id: SnapshotId,
        parent: Option<&Chain>,
        options: &CreateOptions,
    ) -> Result<()> {
        if let Some(parent) = parent {
            let mut parents = self.parents.lock().unwrap_or_else(PoisonError::into_inner);
            parents.insert(id, parent.clone());
        }
        self.inner.create(id, parent, options)?;
        match self.fault {
            DriverFault::Created(_) => self.spoil(id),
            _ => Ok(()),
        }
    }

    fn activate(&self, chain: &Chain, access: Access) -> Result<Activation> {
        if let Some(mounts) = &self.mounts {
            return mounts.serve(&*self.inner, chain, access);
        }
        let activation = self.inner.activate(&self.chain(chain), access)?;
        Ok(self.activation(activation))
    }

    fn activate_for_others(&self, chain: &Chain, access: Access) -> Result<Activation> {
        let activation = self.inner.activate_for_others(&self.chain(chain), access)?;
        Ok(self.activation(activation))
    }

    fn describe_mount(&self, chain: &Chain, access: Access) -> Result<Mounts> {
        let mounts = self.inner.describe_mount(&self.chain(chain), access)?;
        Ok(self.mounts(mounts))
    }

    fn deactivate(&self, id: SnapshotId) -> Result<()> {
        self.wait(id)?;
        self.inner.deactivate(id)
    }

    fn staging(&self, chain: &Chain) -> Result<Staging> {
        self.inner.staging(chain)
    }

    fn flush(&self, id: SnapshotId, durability: Durability) -> Result<()> {
        self.wait(id)?;
        if let DriverFault::Entries(_) | DriverFault::Tree(_) = self.fault {
            self.spoil(id)?;
        }
        self.inner.flush(id, durability)
    }

    fn freeze(&self, id: SnapshotId) -> Result<()> {
        self.inner.freeze(id)
    }

    fn thaw(&self, id: SnapshotId) -> Result<()> {
        self.inner.thaw(id)
    }

    fn destroy(&self, id: SnapshotId) -> Result<()> {
        self.wait(id)?;
        self.inner.destroy(id)
    }

    fn usage(&self, id: SnapshotId) -> Result<Usage> {
        self.inner.usage(id)
    }

    fn candidates(&self, chain: &Chain) -> Result<Option<Candidates>> {
        self.inner.candidates(chain)
    }

    fn keeps_inodes(&self, id: SnapshotId) -> Result<bool> {
        self.inner.keeps_inodes(id)
    }

    fn inventory(&self) -> Result<Vec<SnapshotId>> {
        self.inner.inventory()
    }

    fn mount_matchers(&self, id: SnapshotId) -> Result<Vec<MountMatcher>> {
        let mut matchers = self.inner.mount_matchers(id)?;
        if self.mounts.is_some() {
            matchers.push(FaultyMounts::matcher(&*self.inner, id));
        }
        Ok(matchers)
    }

    fn root(&self) -> &Path {
        self.inner.root()
    }

    fn provenance(&self) -> Option<&dyn Provenance> {
        self.inner.provenance()
    }

    fn health(&self) -> Option<&dyn Health> {
        self.inner.health()
    }

    fn write_watch(&self) -> Option<&dyn WriteWatch> {
        self.inner.write_watch()
    }

    fn quarantine(&self) -> Option<&dyn Quarantine> {
        self.inner.quarantine()
    }
}
