//! Planted faults: does the suite notice?
//!
//! Each fault wraps a driver, or the store above it, in one that does one thing wrong. It counts as caught when a case of the fault's own
//! area fails with the fault and passes without it; that some other case stumbles over it proves nothing about the
//! area.

mod driver_fault;
mod faulty;
mod score;

pub(crate) use score::run;

use cowlab_driver::{CopyUp, Driver, Entry, OpenOptions, Result};

use crate::faulty_store::StoreFault;
use driver_fault::DriverFault;
use faulty::Faulty;

/// A fault and the areas that must notice it.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Kebab-case, as given on the command line.
    pub(crate) id: &'static str,
    /// What goes wrong: one sentence.
    pub(crate) what: &'static str,
    /// Groups of cases, of which one must notice.
    pub(crate) area: &'static [&'static str],
    /// Where it is planted.
    pub(crate) injection: Plant,
}

/// Where a fault is planted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Plant {
    /// Below the store: opens the driver with the fault.
    Driver(fn(&OpenOptions) -> Result<Box<dyn Driver>>),
    /// Between the case and the store.
    Store(StoreFault),
}

/// The driver that faults are planted in: the first that keeps a snapshot's changes in a directory.
pub(crate) fn host_driver() -> &'static Entry {
    let stacks = |entry: &&&'static Entry| entry.info.copy_up == CopyUp::File;
    let found = cowlab_drivers::all().iter().find(stacks);
    found.expect("the registry has a driver that stacks directories")
}

/// Every fault.
pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        id: "lowers-swapped",
        what: "The two newest layers below a snapshot are stacked in the wrong order.",
        area: &["lookup"],
        injection: Plant::Driver(|options| plant(options, DriverFault::SwapLowers)),
    },
    Fault {
        id: "whiteout-dropped",
        what: "A commit forgets what the layer removed.",
        area: &["whiteout"],
        injection: Plant::Driver(|options| plant(options, DriverFault::DropWhiteouts)),
    },
    Fault {
        id: "xattr-lost",
        what: "A commit forgets the extended attributes of users.",
        area: &["xattr"],
        injection: Plant::Driver(|options| plant(options, DriverFault::LoseXattrs)),
    },
    Fault {
        id: "times-zeroed",
        what: "A commit sets every modification time to 1970.",
        area: &["copy-up"],
        injection: Plant::Driver(|options| plant(options, DriverFault::ZeroTimes)),
    },
    Fault {
        id: "usage-zero",
        what: "The store says of every snapshot that it uses nothing.",
        area: &["usage"],
        injection: Plant::Store(StoreFault::NoUsage),
    },
    Fault {
        id: "removed-data-stays",
        what: "The store forgets a removed snapshot and leaves its data on disk.",
        area: &["usage", "life"],
        injection: Plant::Store(StoreFault::KeepRemoved),
    },
    Fault {
        id: "links-split",
        what: "A commit makes a file of its own of every hard link.",
        area: &["link"],
        injection: Plant::Driver(|options| plant(options, DriverFault::SplitLinks)),
    },
    Fault {
        id: "setuid-lost",
        what: "A commit clears the setuid, setgid and sticky bits.",
        area: &["copy-up", "permission"],
        injection: Plant::Driver(|options| plant(options, DriverFault::LoseSetuid)),
    },
    Fault {
        id: "files-cut",
        what: "A commit cuts files after 64 KiB.",
        area: &["copy-up"],
        injection: Plant::Driver(|options| plant(options, DriverFault::CutFiles)),
    },
    Fault {
        id: "long-names-dropped",
        what: "A commit forgets entries with names of more than 100 bytes.",
        area: &["lookup"],
        injection: Plant::Driver(|options| plant(options, DriverFault::DropLongNames)),
    },
];

fn plant(options: &OpenOptions, fault: DriverFault) -> Result<Box<dyn Driver>> {
    Ok(Box::new(Faulty::new((host_driver().open)(options)?, fault)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::GROUPS;

    #[test]
    fn every_fault_has_an_area() {
        for fault in FAULTS {
            assert!(
                fault.what.ends_with('.') && !fault.area.is_empty(),
                "{}",
                fault.id
            );
            for area in fault.area {
                assert!(GROUPS.iter().any(|group| group.name == *area), "{area}");
            }
        }
    }

    #[test]
    fn driver_and_store_have_faults() {
        let at_store = |fault: &&Fault| matches!(fault.injection, Plant::Store(_));
        let count = FAULTS.iter().filter(at_store).count();
        assert!(count >= 2 && count < FAULTS.len(), "{count}");
    }

    #[test]
    fn ids_are_unique() {
        let ids: std::collections::BTreeSet<_> = FAULTS.iter().map(|fault| fault.id).collect();
        assert_eq!(ids.len(), FAULTS.len());
    }
}
