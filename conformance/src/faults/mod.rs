//! Planted faults: does the suite notice?
//!
//! Each fault does one thing wrong that one check of the catalogue is about: in a driver, in the store as cases see it, or in
//! the streams of layers, in front of a mount. It counts as caught when a case that carries the number of the check fails with the fault and passes without
//! it; that some other case stumbles over it proves nothing about the check.

mod answers;
mod archives;
mod commits;
mod driver;
mod faulty_mount;
mod mounts;
mod published;
mod store;
mod stream;
mod tree;

pub(crate) use driver::{SETTING, planted_in};
pub(crate) use faulty_mount::serve as serve_faulty_mount;
pub(crate) use mounts::TRANSPARENT;
pub(crate) use published::{PUBLISHED, Record, publish};
pub use store::FaultyStore;

use cowlab_driver::{CopyUp, Entry};

use driver::DriverFault;
use faulty_mount::MountFault;
use store::StoreFault;
use stream::StreamFault;

/// Drivers that stack the directories of layers.
const STACKED: &[CopyUp] = &[CopyUp::File];
/// Drivers of which each snapshot is a whole tree.
const WHOLE: &[CopyUp] = &[CopyUp::Blocks, CopyUp::Everything];

/// A fault and the check that must notice it.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Kebab-case, as given on the command line.
    pub(crate) id: &'static str,
    /// The number in the catalogue: only cases that carry it count.
    pub(crate) check: &'static str,
    /// What goes wrong: one sentence.
    pub(crate) what: &'static str,
    /// Where it is planted.
    pub(crate) injection: Plant,
    /// Which drivers have something to do wrong there: all, or those that copy up so.
    pub(crate) copy_up: Option<&'static [CopyUp]>,
    /// Why nobody could notice it, where that is so.
    pub(crate) equivalent: Option<&'static str>,
}

/// Where a fault is planted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Plant {
    /// Below the store: what the driver answers, what its mounts show, and what becomes of a tree that is committed.
    Driver(DriverFault),
    /// Between the case and the store.
    Store(StoreFault),
    /// In the archives that the store takes and gives.
    Stream(StreamFault),
}

impl Fault {
    const fn new(
        id: &'static str,
        check: &'static str,
        what: &'static str,
        injection: Plant,
    ) -> Self {
        Self {
            id,
            check,
            what,
            injection,
            copy_up: None,
            equivalent: None,
        }
    }

    /// Plants it only in drivers that stack the directories of layers.
    const fn of_stacked_layers(self) -> Self {
        Self {
            copy_up: Some(STACKED),
            ..self
        }
    }

    /// Plants it only in drivers of which each snapshot is a whole tree.
    const fn of_whole_trees(self) -> Self {
        Self {
            copy_up: Some(WHOLE),
            ..self
        }
    }

    /// Says why nobody could notice it.
    #[expect(dead_code, reason = "no fault is equivalent to none so far")]
    const fn equivalent(self, argument: &'static str) -> Self {
        Self {
            equivalent: Some(argument),
            ..self
        }
    }

    /// What is wrong with the driver's mounts, where that is the fault.
    pub(crate) const fn of_mounts(&self) -> Option<MountFault> {
        match self.injection {
            Plant::Driver(DriverFault::Mount(fault)) => Some(fault),
            _ => None,
        }
    }

    /// Whether there is something in the driver to do wrong.
    pub(crate) fn is_of(&self, entry: &Entry) -> bool {
        self.copy_up
            .is_none_or(|known| known.contains(&entry.info.copy_up))
    }
}

/// Every fault, in the order of the tables.
pub(crate) fn all() -> impl Iterator<Item = &'static Fault> {
    [
        commits::FAULTS,
        answers::FAULTS,
        archives::FAULTS,
        mounts::FAULTS,
    ]
    .into_iter()
    .flatten()
}

/// The fault of an id, [`TRANSPARENT`] included.
fn planted(id: &str) -> Option<&'static Fault> {
    all().chain([&TRANSPARENT]).find(|fault| fault.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_fault_is_one_sentence() {
        for fault in all() {
            let what = fault.what;
            assert!(what.ends_with('.') && !what.contains(". "), "{}", fault.id);
        }
    }

    #[test]
    fn ids_are_unique() {
        let mut ids = BTreeSet::new();
        for fault in all() {
            assert!(ids.insert(fault.id), "{} is there twice", fault.id);
        }
    }
}
