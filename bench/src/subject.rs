//! Which columns are measured.

use cowlab_driver::{Entry, Variant};
use cowlab_engine::subject::{Choice, Subject};
use cowlab_testbed::{Backing, Media};

use crate::workload::Effort;

/// What is measured on a medium at an effort, sorted by backing file system.
///
/// Whatever is named is measured. What is not named comes from what the driver names as worth it ([`Entry::measured`]);
/// a variant that it does not name is measured on ext4.
#[must_use]
pub fn measured(choice: &Choice, effort: Effort, media: Media) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for entry in choice.entries() {
        for variant in entry.variants {
            for backing in backings_of(choice, entry, variant, effort) {
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

fn backings_of(choice: &Choice, entry: &Entry, variant: &Variant, effort: Effort) -> Vec<Backing> {
    // An effort leaves backing file systems out only where the command line does not ask for them.
    let asked = !choice.backings.is_empty();
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
    let explicit = choice.names_variant(variant);
    if !choice.variants.is_empty() && !explicit {
        return Vec::new();
    }
    let default = variant.name == entry.default_variant().name;
    if usual.is_empty() && (explicit || default) {
        usual.push(Backing::Ext4);
    }
    if usual.is_empty() || !asked {
        return usual;
    }
    let mut backings = choice.backings.clone();
    backings.sort_unstable();
    backings.dedup();
    if !explicit && !default {
        backings.retain(|backing| usual.contains(backing));
    }
    backings
}
