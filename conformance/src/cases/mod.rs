//! The cases, a file per area of the catalogue. A new file is one line here and one in [`GROUPS`].

mod build;
mod copy_up;
mod descriptor;
mod diff;
mod entry;
mod full;
mod hostile;
pub mod inode;
mod layer;
mod life;
mod link;
mod live;
mod lookup;
mod mount;
mod opaque;
mod parallel;
mod permission;
mod refusal;
mod removal;
mod rename;
mod runtime;
mod seed;
mod shape;
mod usage;
mod whiteout;
mod xattr;

use crate::case::Case;

/// An area of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// What comes before the slash in the ids of its cases.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// Its cases, a list a file.
    pub cases: &'static [&'static [Case]],
}

/// Every area, in the order of the catalogue.
pub const GROUPS: &[Group] = &[
    Group {
        name: "lookup",
        title: "Union lookup and readdir",
        cases: &[lookup::CASES],
    },
    Group {
        name: "whiteout",
        title: "Whiteouts",
        cases: &[whiteout::CASES],
    },
    Group {
        name: "opaque",
        title: "Opaque directories",
        cases: &[opaque::CASES],
    },
    Group {
        name: "copy-up",
        title: "Copy-up",
        cases: &[copy_up::CASES],
    },
    Group {
        name: "link",
        title: "Hard links",
        cases: &[link::CASES],
    },
    Group {
        name: "rename",
        title: "Rename",
        cases: &[rename::CASES],
    },
    Group {
        name: "removal",
        title: "unlink and rmdir",
        cases: &[removal::CASES],
    },
    Group {
        name: "inode",
        title: "Inode and device numbers",
        cases: &[inode::CASES, shape::INODE],
    },
    Group {
        name: "descriptor",
        title: "Open descriptors, mappings, locks",
        cases: &[descriptor::CASES, live::CASES],
    },
    Group {
        name: "permission",
        title: "Permissions and credentials",
        cases: &[permission::CASES, shape::PERMISSION],
    },
    Group {
        name: "xattr",
        title: "Extended attributes",
        cases: &[xattr::CASES],
    },
    Group {
        name: "mount",
        title: "The mount",
        cases: &[mount::CASES, shape::MOUNT],
    },
    Group {
        name: "life",
        title: "Life of a snapshot",
        cases: &[life::CASES, parallel::CASES],
    },
    Group {
        name: "refusal",
        title: "What the store refuses",
        cases: &[refusal::CASES],
    },
    Group {
        name: "full",
        title: "No room left",
        cases: &[full::CASES],
    },
    Group {
        name: "layer",
        title: "Layers applied",
        cases: &[layer::CASES],
    },
    Group {
        name: "entry",
        title: "Entries of a layer",
        cases: &[entry::CASES],
    },
    Group {
        name: "hostile",
        title: "Hostile and broken layers",
        cases: &[hostile::CASES],
    },
    Group {
        name: "diff",
        title: "Layers made",
        cases: &[diff::CASES],
    },
    Group {
        name: "usage",
        title: "Size and usage",
        cases: &[usage::CASES],
    },
    Group {
        name: "seed",
        title: "What people are told",
        cases: &[
            seed::CASES,
            runtime::image::SEED,
            runtime::volume::SEED,
            runtime::driver::SEED,
        ],
    },
    Group {
        name: "runtime",
        title: "Images and containers",
        cases: &[
            runtime::volume::CASES,
            runtime::link::CASES,
            runtime::docker::CASES,
            runtime::flags::CASES,
            runtime::life::CASES,
            runtime::login::CASES,
            runtime::maker::CASES,
            runtime::change::CASES,
            runtime::adapter::CASES,
            runtime::isolation::CASES,
            runtime::input::CASES,
            runtime::exchange::CASES,
            runtime::explain::CASES,
            runtime::trouble::CASES,
            runtime::stream::CASES,
            runtime::process::CASES,
            runtime::prune::CASES,
            runtime::running::CASES,
            runtime::neighbor::CASES,
            runtime::full::CASES,
            runtime::access::CASES,
            runtime::rootless::CASES,
        ],
    },
    Group {
        name: "build",
        title: "Building images",
        cases: &[
            build::file::CASES,
            build::source::CASES,
            build::run::CASES,
            build::image::CASES,
            build::cache::CASES,
            build::trouble::CASES,
            build::judge::CASES,
        ],
    },
];

/// Every case, in the order of the catalogue.
pub fn all() -> impl Iterator<Item = &'static Case> {
    GROUPS
        .iter()
        .flat_map(|group| group.cases.iter().copied().flatten())
}

/// The heading of a group.
#[must_use]
pub fn title(group: &str) -> &'static str {
    GROUPS
        .iter()
        .find(|candidate| candidate.name == group)
        .map_or("", |found| found.title)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn is_kebab(text: &str) -> bool {
        text.split('-').all(|word| {
            !word.is_empty()
                && word
                    .chars()
                    .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
        })
    }

    #[test]
    fn ids_are_unique_and_kebab_case() {
        let mut seen = BTreeSet::new();
        for case in all() {
            assert!(seen.insert(case.id), "{} is there twice", case.id);
            let (group, claim) = case.id.split_once('/').expect(case.id);
            assert!(is_kebab(group) && is_kebab(claim), "{}", case.id);
        }
    }

    #[test]
    fn a_case_lies_in_the_group_of_its_id() {
        for group in GROUPS {
            assert!(!group.title.is_empty() && is_kebab(group.name));
            for case in group.cases.iter().copied().flatten() {
                assert_eq!(case.group(), group.name, "{}", case.id);
            }
        }
    }

    #[test]
    fn a_claim_is_one_sentence() {
        for case in all() {
            let spec = case.spec;
            assert!(spec.ends_with('.') && !spec.contains(". "), "{}", case.id);
            assert!(spec.starts_with(|c: char| !c.is_lowercase()), "{}", case.id);
        }
    }

    #[test]
    fn a_claim_names_its_sources() {
        for case in all() {
            assert!(!case.see.is_empty(), "{} has no `see`", case.id);
            assert!(!case.catalogue.is_empty(), "{} has no number", case.id);
        }
    }

    #[test]
    fn a_case_does_something() {
        for case in all() {
            let forms = [
                !case.layers.is_empty() || !case.steps.is_empty(),
                !case.store.is_empty(),
                !case.program.is_empty(),
                case.run.is_some(),
            ];
            let count = forms.iter().filter(|is_used| **is_used).count();
            assert_eq!(count, 1, "{} is no case, or more than one", case.id);
        }
    }
}
