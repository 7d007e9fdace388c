//! What is judged: a driver in a variant on a backing file system.

use std::fmt;

use anyhow::{Result, bail};
use cowlab_driver::{Entry, Variant};
use cowlab_reports::result::Column;
use cowlab_testbed::Backing;

use crate::suggest::nearest;

/// A driver in a variant on a backing file system: a column of the matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    /// The driver.
    pub(crate) entry: &'static Entry,
    /// The variant.
    pub(crate) variant: &'static Variant,
    /// The backing file system.
    pub(crate) backing: Backing,
}

/// Which columns are asked for: names, or `all`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choice {
    /// Drivers; none means every driver.
    pub(crate) drivers: Vec<String>,
    /// Variants; none means the default one of each driver.
    pub(crate) variants: Vec<String>,
    /// Backing file systems; none means the usual ones of each driver.
    pub(crate) backings: Vec<String>,
}

impl Choice {
    /// The columns.
    ///
    /// # Errors
    ///
    /// When a name stands for nothing; the message has the names that are near.
    pub(crate) fn subjects(&self) -> Result<Vec<Subject>> {
        self.check()?;
        let mut subjects = Vec::new();
        for entry in cowlab_drivers::all() {
            let is_wanted = match self.drivers.as_slice() {
                [] => cowlab_drivers::is_named(entry, &["all"]),
                names => cowlab_drivers::is_named(entry, names),
            };
            if !is_wanted {
                continue;
            }
            for backing in self.backings_of(entry)? {
                subjects.extend(self.variants_of(entry).map(|variant| Subject {
                    entry,
                    variant,
                    backing,
                }));
            }
        }
        if subjects.is_empty() {
            bail!("no column has this driver, variant and backing file system together");
        }
        Ok(subjects)
    }

    fn variants_of(&self, entry: &'static Entry) -> impl Iterator<Item = &'static Variant> {
        let default = entry.default_variant().name;
        entry.variants.iter().filter(move |variant| {
            if self.variants.is_empty() {
                variant.name == default
            } else {
                wanted(&self.variants, variant.name)
            }
        })
    }

    fn backings_of(&self, entry: &Entry) -> Result<Vec<Backing>> {
        if self.backings.is_empty() {
            let usual = entry.backings.iter();
            return usual.map(|name| Ok(name.parse::<Backing>()?)).collect();
        }
        if self.backings.iter().any(|name| name == "all") {
            return Ok(Backing::ALL.to_vec());
        }
        let named = self
            .backings
            .iter()
            .map(|name| Ok(name.parse::<Backing>()?));
        named.collect()
    }

    fn check(&self) -> Result<()> {
        check_names("driver", &self.drivers, &crate::table::drivers())?;
        let mut variants: Vec<_> = cowlab_drivers::all()
            .iter()
            .flat_map(|entry| entry.variants.iter().map(|variant| variant.name))
            .collect();
        variants.sort_unstable();
        variants.dedup();
        check_names("variant", &self.variants, &variants)?;
        check_names(
            "backing file system",
            &self.backings,
            &Backing::ALL.map(Backing::name),
        )
    }
}

fn wanted(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|wanted| wanted == name || wanted == "all")
}

/// Refuses names that are not known.
///
/// # Errors
///
/// Names the first one and those that are near.
pub(crate) fn check_names(what: &str, names: &[String], known: &[&str]) -> Result<()> {
    for name in names {
        if name != "all" && !known.contains(&name.as_str()) {
            bail!("there is no {what} `{name}`: {}", nearest(name, known));
        }
    }
    Ok(())
}

impl Subject {
    /// Reads `driver/variant/backing`.
    #[must_use]
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut words = name.split('/');
        let entry = cowlab_drivers::find(words.next()?)?;
        let variant = entry.variant(words.next()?)?;
        let backing = words.next()?.parse().ok()?;
        words.next().is_none().then_some(Self {
            entry,
            variant,
            backing,
        })
    }

    /// The column as results name it.
    #[must_use]
    pub(crate) fn column(&self) -> Column {
        let mut column = Column::new(self.entry.name, self.backing.name());
        self.variant.name.clone_into(&mut column.variant);
        column.place = cowlab_engine::guest::here();
        column
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (driver, variant) = (self.entry.name, self.variant.name);
        write!(formatter, "{driver}/{variant}/{}", self.backing)
    }
}
