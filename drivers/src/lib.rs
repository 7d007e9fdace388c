//! Every storage driver cowlab knows.
//!
//! The registry, and nothing else: a new driver is one crate, one dependency and one line here. The
//! checklist is in `drivers/README.md`.

use cowlab_driver::Entry;

/// Every driver, in the order that reports list them.
#[must_use]
pub fn all() -> &'static [&'static Entry] {
    &[
        &cowlab_overlay2::ENTRY,
        &cowlab_btrfs::ENTRY,
        &cowlab_zfs::ENTRY,
        &cowlab_devicemapper_thin::ENTRY,
        &cowlab_vfs::ENTRY,
    ]
}

/// The driver of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Entry> {
    all().iter().find(|entry| entry.name == name).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let names: HashSet<_> = all().iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), all().len());
        for name in names {
            assert_eq!(find(name).unwrap().name, name);
        }
        assert!(find("aufs").is_none());
    }

    #[test]
    fn every_entry_speaks_for_itself() {
        for entry in all() {
            assert_eq!(entry.default_variant().name, "default", "{}", entry.name);
            assert_eq!(entry.info.name, entry.name);
            assert!(!entry.summary.is_empty() && !entry.requirements.is_empty());
            let variants: HashSet<_> = entry.variants.iter().map(|one| one.name).collect();
            assert_eq!(variants.len(), entry.variants.len(), "{}", entry.name);
        }
    }
}
