//! Planted faults: does the suite notice?
//!
//! Each fault wraps overlay2 in a driver that does one thing wrong. It counts as caught when a case of the fault's own
//! area fails with the fault and passes without it; that some other case stumbles over it proves nothing about the
//! area.

mod faulty;
mod harm;
mod score;

pub(crate) use score::run;

use cowlab_driver::{Driver, OpenOptions, Result};

use faulty::Faulty;
use harm::Harm;

/// A fault and the areas that must notice it.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Kebab-case, as given on the command line.
    pub(crate) id: &'static str,
    /// What goes wrong: one sentence.
    pub(crate) what: &'static str,
    /// Groups of cases, of which one must notice.
    pub(crate) area: &'static [&'static str],
    /// Opens overlay2 with the fault.
    pub(crate) open: fn(&OpenOptions) -> Result<Box<dyn Driver>>,
}

/// The driver that faults are planted in.
pub(crate) const DRIVER: &str = "overlay2";

/// Every fault.
pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        id: "lowers-swapped",
        what: "The two newest layers below a snapshot are stacked in the wrong order.",
        area: &["lookup"],
        open: |options| plant(options, Harm::SwapLowers),
    },
    Fault {
        id: "whiteout-dropped",
        what: "A commit forgets what the layer removed.",
        area: &["whiteout"],
        open: |options| plant(options, Harm::DropWhiteouts),
    },
    Fault {
        id: "xattr-lost",
        what: "A commit forgets the extended attributes of users.",
        area: &["xattr"],
        open: |options| plant(options, Harm::LoseXattrs),
    },
    Fault {
        id: "times-zeroed",
        what: "A commit sets every modification time to 1970.",
        area: &["copy-up"],
        open: |options| plant(options, Harm::ZeroTimes),
    },
    Fault {
        id: "usage-zero",
        what: "Every snapshot is said to use nothing.",
        area: &["usage"],
        open: |options| plant(options, Harm::NoUsage),
    },
    Fault {
        id: "removed-data-stays",
        what: "A removed snapshot stays on disk.",
        area: &["usage", "life"],
        open: |options| plant(options, Harm::KeepRemoved),
    },
    Fault {
        id: "links-split",
        what: "A commit makes a file of its own of every hard link.",
        area: &["link"],
        open: |options| plant(options, Harm::SplitLinks),
    },
    Fault {
        id: "setuid-lost",
        what: "A commit clears the setuid, setgid and sticky bits.",
        area: &["copy-up", "permission"],
        open: |options| plant(options, Harm::LoseSetuid),
    },
    Fault {
        id: "files-cut",
        what: "A commit cuts files after 64 KiB.",
        area: &["copy-up"],
        open: |options| plant(options, Harm::CutFiles),
    },
    Fault {
        id: "long-names-dropped",
        what: "A commit forgets entries with names of more than 100 bytes.",
        area: &["lookup"],
        open: |options| plant(options, Harm::DropLongNames),
    },
];

fn plant(options: &OpenOptions, harm: Harm) -> Result<Box<dyn Driver>> {
    let entry =
        cowlab_drivers::find(DRIVER).expect("the driver that faults are planted in is there");
    Ok(Box::new(Faulty::new((entry.open)(options)?, harm)))
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
    fn ids_are_unique() {
        let ids: std::collections::BTreeSet<_> = FAULTS.iter().map(|fault| fault.id).collect();
        assert_eq!(ids.len(), FAULTS.len());
    }
}
