//! Every storage driver cowlab knows.
//!
//! The registry, and nothing else: a new driver is one crate, one dependency and one line here. The
//! checklist is in `drivers/README.md`.

use cowlab_driver::Entry;

/// Every driver, in the order that reports list them and that a new root tries them.
#[must_use]
pub fn all() -> &'static [&'static Entry] {
    &[
        &cowlab_overlay2::ENTRY,
        &cowlab_btrfs::ENTRY,
        &cowlab_zfs::ENTRY,
        &cowlab_devicemapper_thin::ENTRY,
        &cowlab_vfs::ENTRY,
        &cowlab_fuse_overlayfs::ENTRY,
    ]
}

/// Words that stand for several drivers, where a command takes names of drivers.
pub const GROUPS: [&str; 3] = ["all", "host", "guest"];

/// Whether one of these names is a driver's, or a [group](GROUPS) that it is in: `host` are the drivers that run on most
/// hosts, `guest` the others.
#[must_use]
pub fn is_named(entry: &Entry, names: &[impl AsRef<str>]) -> bool {
    names.iter().any(|name| match name.as_ref() {
        "all" => true,
        "host" => !entry.needs_guest,
        "guest" => entry.needs_guest,
        name => name == entry.name,
    })
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
    fn every_driver_is_of_the_host_or_of_the_guest() {
        for entry in all() {
            let groups = ["host", "guest"].map(|group| is_named(entry, &[group]));
            let count = groups.iter().filter(|is_in| **is_in).count();
            assert_eq!(count, 1);
            assert!(is_named(entry, &["all"]));
            assert!(is_named(entry, &["none", entry.name]));
            assert!(!is_named(entry, &["none"]));
        }
    }

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
            assert!(!entry.backings.is_empty() && !GROUPS.contains(&entry.name));
            assert!(entry.runs_in_guest || !entry.needs_guest);
            for measured in entry.measured {
                assert!(entry.variant(measured.variant).is_some());
            }
            let variants: HashSet<_> = entry.variants.iter().map(|one| one.name).collect();
            assert_eq!(variants.len(), entry.variants.len(), "{}", entry.name);
        }
    }
}
