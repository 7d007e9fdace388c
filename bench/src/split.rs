//! Decides which columns are measured here, and which in the guest: on the host whatever runs there, found out by doing.

use std::collections::BTreeMap;

use cowlab_driver::Error as DriverError;
use cowlab_engine::places::Places;
use cowlab_engine::subject::Subject;
use cowlab_sys::Guard;
use cowlab_testbed::{Backing, BackingOptions, Error as TestbedError, Media, Run};

use crate::plan::Plan;

/// The columns of a run, by [`Subject::to_string`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Split {
    /// Those that are measured here.
    pub(crate) host: Vec<String>,
    /// Those that are measured in the guest.
    pub(crate) guest: Vec<String>,
}

/// Splits the columns of a plan by place.
///
/// # Errors
///
/// What the testbed could not do, other than what it lacks.
pub(crate) fn split(places: &Places, plan: &Plan) -> anyhow::Result<Split> {
    let subjects = plan.subjects();
    let runs = match (places.host, &places.guest) {
        (true, Some(_)) => run_here(plan, &subjects)?,
        (host, _) => vec![host; subjects.len()],
    };
    Ok(by_place(&subjects, &runs))
}

fn by_place(subjects: &[Subject], runs: &[bool]) -> Split {
    let mut split = Split::default();
    for (subject, runs) in subjects.iter().zip(runs) {
        let side = if *runs {
            &mut split.host
        } else {
            &mut split.guest
        };
        side.push(subject.to_string());
    }
    split
}

/// Tries every column on a small file system of its kind.
fn run_here(plan: &Plan, subjects: &[Subject]) -> anyhow::Result<Vec<bool>> {
    let mut runs = vec![true; subjects.len()];
    let mut backings: BTreeMap<Backing, Vec<usize>> = BTreeMap::new();
    for (index, subject) in subjects.iter().enumerate() {
        backings.entry(subject.backing).or_default().push(index);
    }
    let run = Run::start_with_private_mounts(plan.dir.clone(), plan.id_source)?;
    for (backing, indices) in backings {
        let options = BackingOptions {
            media: Media::Memory,
            ..BackingOptions::default()
        };
        let mut fs = match run.backing(backing, &options) {
            Ok(fs) => fs,
            Err(error) => {
                // Whatever else is wrong, the measurement will say it.
                let missing = matches!(error, TestbedError::Missing { .. });
                indices.iter().for_each(|index| runs[*index] = !missing);
                continue;
            }
        };
        for index in indices {
            let subject = &subjects[index];
            let settings = fs.places().fresh()?;
            let probed = (subject.entry.probe)(fs.mount_point(), subject.variant, &settings);
            runs[index] = !matches!(probed, Err(DriverError::Unavailable(_)));
        }
        fs.close()?;
    }
    run.close()?;
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use cowlab_engine::places::Where;

    use super::*;
    use crate::workload::Effort;

    #[test]
    fn every_column_has_one_place() {
        let mut plan = Plan::new(Effort::Quick);
        let subjects = plan.subjects();
        let runs: Vec<bool> = (0..subjects.len()).map(|index| index % 2 == 0).collect();
        let Split { host, guest } = by_place(&subjects, &runs);
        assert_eq!(host.len() + guest.len(), subjects.len());
        // What one place measures the other does not.
        plan.columns.clone_from(&guest);
        let keys: Vec<String> = plan.subjects().iter().map(Subject::to_string).collect();
        assert_eq!(keys.len(), guest.len());
        assert!(keys.iter().all(|key| !host.contains(key)));
    }

    #[test]
    fn without_a_guest_nothing_is_tried() {
        let places = Places {
            asked: Where::Auto,
            host: true,
            guest: None,
            missing: None,
        };
        let split = split(&places, &Plan::new(Effort::Smoke)).unwrap();
        assert!(split.guest.is_empty() && !split.host.is_empty());
    }
}
