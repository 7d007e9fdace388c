//! What a driver says about itself: variants, needs, deviations and how to open it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::{Driver, DriverInfo, Result};

/// One driver of the registry.
#[derive(Debug)]
pub struct Entry {
    /// Docker's name for it.
    pub name: &'static str,
    /// Its constants, the same for every variant.
    pub info: DriverInfo,
    /// One sentence: how it keeps a snapshot.
    pub summary: &'static str,
    /// The option sets it is used with; the first is the default.
    pub variants: &'static [Variant],
    /// The name of the variant that root of a user namespace can use, if there is one.
    pub rootless: Option<&'static str>,
    /// The backing file systems that it is judged and proved on when none is named, by the names of the testbed. The first
    /// is the one that it is mostly used on.
    pub backings: &'static [&'static str],
    /// What is measured when nothing is named.
    pub measured: &'static [Measured],
    /// Whether most hosts lack what it needs, so that the guest is where it runs.
    pub needs_guest: bool,
    /// Whether the guest's image has what it needs. Where not, what this kernel cannot run is skipped.
    pub runs_in_guest: bool,
    /// What it needs, for people. [`probe`](Self::probe) finds out.
    pub requirements: &'static [Requirement],
    /// Where it is known to differ from a plain directory.
    pub deviations: &'static [Deviation],
    /// Finds out, by doing, whether the driver runs on the file system of a directory.
    pub probe: Probe,
    /// Opens the driver on a directory, made if it is not there.
    pub open: fn(&OpenOptions) -> Result<Box<dyn Driver>>,
}

/// Tries the driver in a directory that it may write, and with what [`Settings`] name, leaving nothing behind.
///
/// An [`Unavailable`](crate::Error::Unavailable) error says what is missing and how to get it.
pub type Probe = fn(&Path, &'static Variant, &Settings) -> Result<()>;

/// What a driver is told about its place besides the directory, by name: the `pool` it may use, for example. Each
/// driver documents the names it reads and ignores others.
pub type Settings = BTreeMap<String, String>;

impl Entry {
    /// The variant of that name.
    #[must_use]
    pub fn variant(&self, name: &str) -> Option<&'static Variant> {
        self.variants.iter().find(|variant| variant.name == name)
    }

    /// The variant used when none is named.
    #[must_use]
    pub const fn default_variant(&self) -> &'static Variant {
        &self.variants[0]
    }

    /// The variant that is used for an ordinary user when none is named; none where the driver needs the host's root.
    #[must_use]
    pub fn rootless_variant(&self) -> Option<&'static Variant> {
        self.variant(self.rootless?)
    }

    /// The deviations declared for a variant on a backing file system.
    pub fn deviations_on(
        &self,
        variant: &str,
        backing: &str,
    ) -> impl Iterator<Item = &'static Deviation> {
        let (variant, backing) = (variant.to_owned(), backing.to_owned());
        self.deviations
            .iter()
            .filter(move |deviation| deviation.scope.covers(&variant, &backing))
    }
}

/// A variant on the backing file systems that a comparison of drivers should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// The variant's name.
    pub variant: &'static str,
    /// By the names of the testbed.
    pub backings: &'static [&'static str],
    /// Further ones, for a measurement that may take hours.
    pub when_thorough: &'static [&'static str],
}

/// A named set of options, fixed for the life of a store.
#[derive(Debug, PartialEq, Eq)]
pub struct Variant {
    /// Kebab-case, as given on the command line.
    pub name: &'static str,
    /// One sentence: what differs, or whose options these are.
    pub summary: &'static str,
    /// Options as the driver reads them.
    pub options: &'static [(&'static str, &'static str)],
}

impl Variant {
    /// The value of an option, if the variant sets it.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&'static str> {
        self.options
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    }
}

/// How to open a driver.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The driver's own directory.
    pub root: PathBuf,
    /// The variant, recorded by the store and the same at every open.
    pub variant: &'static Variant,
    /// What else there is to know about the place, recorded by the store and the same at every open.
    pub settings: Settings,
    /// The identity of the store that owns the directory.
    pub store: String,
}

/// Something a driver needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirement {
    /// What is needed.
    pub what: &'static str,
    /// What it is needed for.
    pub because: &'static str,
    /// How to get it.
    pub remedy: &'static str,
}

/// What a difference from the claim does to people.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Impact {
    /// Content or its protection can be lost.
    DataLoss,
    /// One container or image can see or change another's.
    Isolation,
    /// A correct program can misbehave.
    AppVisible,
    /// Only slower or larger.
    Performance,
    /// Visible, with no known victim.
    Cosmetic,
}

impl fmt::Display for Impact {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::DataLoss => "data-loss",
            Self::Isolation => "isolation",
            Self::AppVisible => "app-visible",
            Self::Performance => "performance",
            Self::Cosmetic => "cosmetic",
        })
    }
}

/// Where a deviation holds. An empty list means everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Only with these variants.
    pub variants: &'static [&'static str],
    /// Not with these variants.
    pub except_variants: &'static [&'static str],
    /// Only on these backing file systems.
    pub backings: &'static [&'static str],
}

impl Scope {
    /// Every variant, every backing file system.
    pub const EVERYWHERE: Self = Self {
        variants: &[],
        except_variants: &[],
        backings: &[],
    };

    /// Whether the deviation is declared there.
    #[must_use]
    pub fn covers(&self, variant: &str, backing: &str) -> bool {
        let listed = |list: &[&str], name| list.is_empty() || list.contains(&name);
        listed(self.variants, variant)
            && !self.except_variants.contains(&variant)
            && listed(self.backings, backing)
    }
}

/// A known difference from a case's claim. It is checked like any claim: the case must show
/// [`observed`](Self::observed), and a claim that holds after all makes the entry stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deviation {
    /// The case, `area/claim`.
    pub case: &'static str,
    /// Where it holds.
    pub scope: Scope,
    /// The first difference that the case reports.
    pub observed: &'static str,
    /// Why it is so.
    pub because: &'static str,
    /// What it does to people.
    pub impact: Impact,
    /// Kernel documentation, commits, issues.
    pub see: &'static [&'static str],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_without_lists_is_everywhere() {
        assert!(Scope::EVERYWHERE.covers("default", "ext4"));
    }

    #[test]
    fn a_scope_is_the_meeting_of_its_lists() {
        let scope = Scope {
            except_variants: &["index"],
            backings: &["ext4", "xfs"],
            ..Scope::EVERYWHERE
        };
        assert!(scope.covers("default", "xfs"));
        assert!(!scope.covers("index", "xfs"));
        assert!(!scope.covers("default", "btrfs"));
    }
}
