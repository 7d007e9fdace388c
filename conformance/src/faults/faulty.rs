//! A driver that does one thing wrong and hands everything else on.

use std::path::Path;

use cowlab_driver::{
    Access, Activation, Candidates, Chain, CreateOptions, Driver, DriverInfo, Durability, Health,
    MountMatcher, Mounts, Provenance, Quarantine, Result, SnapshotId, Staging, Usage,
};

use super::driver_fault::DriverFault;

/// A driver with a fault.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: Box<dyn Driver>,
    fault: DriverFault,
}

impl Faulty {
    /// Plants a fault in a driver that keeps a snapshot's changes in `<root>/<id>/diff`.
    pub(crate) const fn new(inner: Box<dyn Driver>, fault: DriverFault) -> Self {
        Self { inner, fault }
    }

    /// The chain, with the two newest ancestors swapped where that is the fault.
    fn chain(&self, chain: &Chain) -> Chain {
        let mut ancestors = chain.ancestors().to_vec();
        if self.fault == DriverFault::SwapLowers && ancestors.len() > 1 {
            ancestors.swap(0, 1);
        }
        Chain::new(chain.head(), ancestors)
    }
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
        self.inner.create(id, parent, options)
    }

    fn activate(&self, chain: &Chain, access: Access) -> Result<Activation> {
        self.inner.activate(&self.chain(chain), access)
    }

    fn activate_for_others(&self, chain: &Chain, access: Access) -> Result<Activation> {
        self.inner.activate_for_others(&self.chain(chain), access)
    }

    fn describe_mount(&self, chain: &Chain, access: Access) -> Result<Mounts> {
        self.inner.describe_mount(&self.chain(chain), access)
    }

    fn deactivate(&self, id: SnapshotId) -> Result<()> {
        self.inner.deactivate(id)
    }

    fn staging(&self, chain: &Chain) -> Result<Staging> {
        self.inner.staging(chain)
    }

    fn flush(&self, id: SnapshotId, durability: Durability) -> Result<()> {
        self.fault
            .do_to(&self.root().join(id.to_string()).join("diff"))?;
        self.inner.flush(id, durability)
    }

    fn freeze(&self, id: SnapshotId) -> Result<()> {
        self.inner.freeze(id)
    }

    fn thaw(&self, id: SnapshotId) -> Result<()> {
        self.inner.thaw(id)
    }

    fn destroy(&self, id: SnapshotId) -> Result<()> {
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
        self.inner.mount_matchers(id)
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

    fn quarantine(&self) -> Option<&dyn Quarantine> {
        self.inner.quarantine()
    }
}
