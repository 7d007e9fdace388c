//! Columns: what is judged or measured, and which of them a command line names.

use std::fmt;

use anyhow::{Result, bail};
use cowlab_driver::{Deviation, Entry, Impact, Variant};
use cowlab_reports::result::{self, Column};
use cowlab_testbed::{Backing, Media};

use crate::guest;
use crate::suggest::nearest;

/// The name that stands for every variant or backing file system.
const ALL: &str = "all";

/// A driver in a variant on a backing file system. Where it runs is decided later.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// The driver.
    pub entry: &'static Entry,
    /// Its options.
    pub variant: &'static Variant,
    /// The file system below.
    pub backing: Backing,
    /// What that lies on.
    pub media: Media,
}

impl Subject {
    /// Reads `driver/variant/backing`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut words = name.split('/');
        let entry = cowlab_drivers::find(words.next()?)?;
        let variant = entry.variant(words.next()?)?;
        let backing = words.next()?.parse().ok()?;
        words.next().is_none().then_some(Self {
            entry,
            variant,
            backing,
            media: Media::default(),
        })
    }

    /// Its column in the results of this machine.
    #[must_use]
    pub fn column(&self) -> Column {
        Column {
            driver: self.entry.name.to_owned(),
            variant: self.variant.name.to_owned(),
            backing: self.backing.name().to_owned(),
            media: medium(self.media),
            place: guest::here(),
        }
    }

    /// Whether it is the driver as it is used when nothing else is asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.variant.name == self.entry.default_variant().name
    }
}

/// `driver/variant/backing`, whatever it lies on.
impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (driver, variant) = (self.entry.name, self.variant.name);
        write!(formatter, "{driver}/{variant}/{}", self.backing)
    }
}

/// The word of the results for a medium.
#[must_use]
pub const fn medium(media: Media) -> result::Media {
    match media {
        Media::Disk => result::Media::Disk,
        Media::Memory => result::Media::Memory,
    }
}

/// A declared deviation as results have it.
#[must_use]
pub fn declared(deviation: &Deviation) -> result::Deviation {
    let owned = |text: &&str| (*text).to_owned();
    result::Deviation {
        case: deviation.case.to_owned(),
        observed: deviation.observed.to_owned(),
        because: deviation.because.to_owned(),
        impact: match deviation.impact {
            Impact::DataLoss => result::Impact::DataLoss,
            Impact::Isolation => result::Impact::Isolation,
            Impact::AppVisible => result::Impact::AppVisible,
            Impact::Performance => result::Impact::Performance,
            Impact::Cosmetic => result::Impact::Cosmetic,
        },
        see: deviation.see.iter().map(owned).collect(),
    }
}

/// What a command line names; an empty list leaves it to the command.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Drivers, and groups of them.
    pub drivers: Vec<String>,
    /// Variants, or `all`.
    pub variants: Vec<String>,
    /// Backing file systems.
    pub backings: Vec<Backing>,
}

impl Choice {
    /// The columns that are named; of what is not named every driver in its default variant on its usual backing file systems.
    ///
    /// # Errors
    ///
    /// When a name stands for nothing; the message has the names that are near.
    pub fn columns(&self) -> Result<Vec<Subject>> {
        self.check()?;
        let mut subjects = Vec::new();
        for entry in self.entries() {
            for backing in self.backings_of(entry)? {
                subjects.extend(self.variants_of(entry).map(|variant| Subject {
                    entry,
                    variant,
                    backing,
                    media: Media::default(),
                }));
            }
        }
        if subjects.is_empty() {
            bail!("no column has this driver, variant and backing file system together");
        }
        Ok(subjects)
    }

    /// The drivers that are named, or all.
    pub fn entries(&self) -> impl Iterator<Item = &'static Entry> {
        let entries = cowlab_drivers::all().iter().copied();
        entries.filter(|entry| {
            self.drivers.is_empty() || cowlab_drivers::is_named(entry, &self.drivers)
        })
    }

    /// Whether a variant is named; nobody names one where the list is empty.
    #[must_use]
    pub fn names_variant(&self, variant: &Variant) -> bool {
        let mut names = self.variants.iter();
        names.any(|name| name == variant.name || name == ALL)
    }

    fn variants_of(&self, entry: &'static Entry) -> impl Iterator<Item = &'static Variant> {
        let default = entry.default_variant().name;
        entry.variants.iter().filter(move |variant| {
            self.names_variant(variant) || self.variants.is_empty() && variant.name == default
        })
    }

    fn backings_of(&self, entry: &Entry) -> Result<Vec<Backing>> {
        if !self.backings.is_empty() {
            return Ok(self.backings.clone());
        }
        let usual = entry.backings.iter();
        usual.map(|name| Ok(name.parse::<Backing>()?)).collect()
    }

    /// Refuses names of drivers and variants that are not known.
    ///
    /// # Errors
    ///
    /// The first of them, with the names that are near.
    pub fn check(&self) -> Result<()> {
        check_names("driver", &self.drivers, &driver_names())?;
        let mut variants: Vec<_> = self
            .entries()
            .flat_map(|entry| entry.variants.iter().map(|variant| variant.name))
            .chain([ALL])
            .collect();
        variants.sort_unstable();
        variants.dedup();
        check_names("variant", &self.variants, &variants)
    }
}

/// The names of the drivers and of groups of them.
#[must_use]
pub fn driver_names() -> Vec<&'static str> {
    let drivers = cowlab_drivers::all().iter().map(|entry| entry.name);
    drivers.chain(cowlab_drivers::GROUPS).collect()
}

/// Reads names of backing file systems, or `all`.
///
/// # Errors
///
/// The first that is none, with the names that are near.
pub fn backings(names: &[String]) -> Result<Vec<Backing>> {
    let known = Backing::ALL.map(Backing::name);
    if names.iter().any(|name| name == ALL) {
        return Ok(Backing::ALL.to_vec());
    }
    check_names("backing file system", names, &known)?;
    names
        .iter()
        .map(|name| Ok(name.parse::<Backing>()?))
        .collect()
}

/// Refuses names that are not known.
///
/// # Errors
///
/// Names the first one and those that are near.
pub fn check_names(what: &str, names: &[String], known: &[&str]) -> Result<()> {
    for name in names {
        if !known.contains(&name.as_str()) {
            bail!("there is no {what} `{name}`: {}", nearest(name, known));
        }
    }
    Ok(())
}
