//! What is measured: a driver variant on a backing file system on a medium, and which of them by default.

use anyhow::bail;
use cowlab_driver::{Entry, Variant};
use cowlab_engine::guest::here;
use cowlab_reports::result::{Column, Media as Medium};
use cowlab_testbed::{Backing, Media};

use crate::workload::Effort;

/// A driver in one variant on one backing file system.
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
    /// Its column in the results.
    #[must_use]
    pub fn column(&self) -> Column {
        Column {
            driver: self.entry.name.to_owned(),
            variant: self.variant.name.to_owned(),
            backing: self.backing.name().to_owned(),
            media: medium(self.media),
            place: here(),
        }
    }

    /// Whether it is the driver as it is used when nothing else is asked for.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.variant.name == self.entry.default_variant().name
    }

    /// Its column as `driver/variant/backing`, whatever it lies on.
    #[must_use]
    pub fn key(&self) -> String {
        let (driver, variant) = (self.entry.name, self.variant.name);
        format!("{driver}/{variant}/{}", self.backing)
    }

    /// The name of its directories.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}", self.entry.name, self.variant.name)
    }
}

/// The word of the results for a medium.
#[must_use]
pub const fn medium(media: Media) -> Medium {
    match media {
        Media::Disk => Medium::Disk,
        Media::Memory => Medium::Memory,
    }
}

/// What the command line wants measured; an empty list means no restriction.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Driver names.
    pub drivers: Vec<String>,
    /// Variant names.
    pub variants: Vec<String>,
    /// Backing file systems.
    pub backings: Vec<Backing>,
}

impl Wanted {
    /// What is measured on a medium at an effort, sorted by backing file system.
    ///
    /// Whatever is named is measured. What is not named comes from what the driver names as worth it ([`Entry::measured`]);
    /// a variant that it does not name is measured on ext4.
    #[must_use]
    pub fn subjects(&self, effort: Effort, media: Media) -> Vec<Subject> {
        let mut subjects = Vec::new();
        for entry in cowlab_drivers::all() {
            if !named(&self.drivers, entry.name) {
                continue;
            }
            for variant in entry.variants {
                for backing in self.backings_of(entry, variant, effort) {
                    subjects.push(Subject {
                        entry,
                        variant,
                        backing,
                        media,
                    });
                }
            }
        }
        subjects.sort_by_key(|subject| subject.backing);
        subjects
    }

    fn backings_of(&self, entry: &Entry, variant: &Variant, effort: Effort) -> Vec<Backing> {
        // An effort leaves backing file systems out only where the command line does not ask for them.
        let asked = !self.backings.is_empty();
        let measured = entry
            .measured
            .iter()
            .filter(|one| one.variant == variant.name);
        let mut usual: Vec<Backing> = measured
            .flat_map(|one| {
                let thorough = (asked || effort >= Effort::Full).then_some(one.when_thorough);
                one.backings.iter().chain(thorough.into_iter().flatten())
            })
            .filter_map(|name| name.parse().ok())
            .collect();
        let explicit = !self.variants.is_empty() && named(&self.variants, variant.name);
        if !self.variants.is_empty() && !explicit {
            return Vec::new();
        }
        let default = variant.name == entry.default_variant().name;
        if usual.is_empty() && (explicit || default) {
            usual.push(Backing::Ext4);
        }
        if usual.is_empty() || !asked {
            return usual;
        }
        let mut backings = self.backings.clone();
        backings.sort_unstable();
        backings.dedup();
        if !explicit && !default {
            backings.retain(|backing| usual.contains(backing));
        }
        backings
    }

    /// Says what is named and does not exist, and what does.
    ///
    /// # Errors
    ///
    /// The first unknown name.
    pub fn check(&self) -> anyhow::Result<()> {
        for name in &self.drivers {
            if cowlab_drivers::find(name).is_none() {
                let known: Vec<&str> = cowlab_drivers::all()
                    .iter()
                    .map(|entry| entry.name)
                    .collect();
                bail!("`{name}` is no driver; there are {}", known.join(", "));
            }
        }
        let variants = || {
            cowlab_drivers::all()
                .iter()
                .filter(|entry| named(&self.drivers, entry.name))
                .flat_map(|entry| entry.variants.iter().map(|variant| variant.name))
        };
        for name in &self.variants {
            if !variants().any(|known| known == name) {
                let mut known: Vec<&str> = variants().collect();
                known.sort_unstable();
                known.dedup();
                bail!(
                    "`{name}` is no variant of the drivers that are wanted; there are {}",
                    known.join(", ")
                );
            }
        }
        Ok(())
    }
}

/// Whether a name is wanted; an empty list wants everything.
fn named(list: &[String], name: &str) -> bool {
    list.is_empty() || list.iter().any(|wanted| wanted == name)
}
