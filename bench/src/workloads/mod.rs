//! The table of workloads.

mod capacity;
pub(crate) mod copy_up;
mod lifecycle;

use crate::workload::Workload;

/// Every workload, in the order they run.
#[must_use]
pub fn all() -> &'static [&'static Workload] {
    &[
        &copy_up::WARM,
        &copy_up::COLD,
        &lifecycle::LIFECYCLE,
        &capacity::CHANGE,
        &capacity::CONTAINERS,
        &capacity::IMAGE,
    ]
}

/// The workloads of a name: an id, or the part of it before a slash.
#[must_use]
pub fn find(name: &str) -> Vec<&'static Workload> {
    let below = |id: &str| {
        id.strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    all()
        .iter()
        .copied()
        .filter(|workload| below(workload.id))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cowlab_testbed::Media;

    use super::*;
    use crate::workload::Effort;

    #[test]
    fn ids_are_unique_and_kebab_case() {
        let ids: BTreeSet<&str> = all().iter().map(|workload| workload.id).collect();
        assert_eq!(ids.len(), all().len());
        for id in ids {
            assert!(
                id.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || b"-/".contains(&byte)),
                "{id}"
            );
        }
    }

    #[test]
    fn every_workload_asks_a_question() {
        for workload in all() {
            assert!(workload.question.ends_with('?'), "{}", workload.id);
            assert!(!workload.arms.is_empty() && !workload.units.is_empty());
            let measured = |phase: &&&str| phase.bytes().all(|byte| !byte.is_ascii_lowercase());
            assert!(
                workload.phases.iter().any(|phase| measured(&phase)),
                "{}",
                workload.id
            );
        }
    }

    #[test]
    fn every_effort_measures_something_and_no_point_twice() {
        for workload in all() {
            for effort in [Effort::Smoke, Effort::Counted, Effort::Quick, Effort::Full] {
                for media in [Media::Disk, Media::Memory] {
                    let points = (workload.points)(effort, media);
                    let places: BTreeSet<_> =
                        points.iter().map(|point| &point.parameters).collect();
                    assert_eq!(places.len(), points.len(), "{}", workload.id);
                    assert!(!points.is_empty() && points.iter().all(|point| point.samples > 0));
                }
            }
        }
    }

    #[test]
    fn a_name_finds_its_own_and_what_is_below() {
        let ids = |name| {
            find(name)
                .iter()
                .map(|workload| workload.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids("copy-up"), ["copy-up", "copy-up/cold"]);
        assert_eq!(ids("copy-up/cold"), ["copy-up/cold"]);
        assert!(ids("copy").is_empty());
    }
}
