//! The part of a run that is measured in the guest: the same verb with the columns that it is for, its series read as
//! they come.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use cowlab_driver::Bytes;
use cowlab_engine::exit;
use cowlab_engine::guest::{Ending, Guest, Job, stream};
use cowlab_reports::result::{Line, Place, Record, Skipped, Subject as Part, Timestamp};
use cowlab_testbed::Media;

use crate::args::RunArgs;
use crate::output::Output;
use crate::plan::Plan;
use crate::sampler::{Progress, Summary};

/// The largest file in the guest of a quick run: an emulated processor copies about twenty times slower, and everything
/// has to fit into its memory.
const LARGEST: u64 = 16 << 20;
/// The longest that a guest measures: a full run takes a third of it on a processor that is not emulated.
const TIME_LIMIT: Duration = Duration::from_secs(60 * 60);

/// The part of a plan that is for the guest. A quick run is smaller there.
pub(crate) fn plan(args: &RunArgs, columns: Vec<String>, plan: &Plan) -> Plan {
    let mut part = Plan {
        columns,
        ..plan.clone()
    };
    if args.quick {
        part.largest = Some(Bytes(LARGEST));
    }
    if args.quick && args.media.is_empty() {
        // Its disk is a file of the host behind an emulated controller: its time says nothing.
        part.media = vec![Media::Memory];
    }
    part
}

/// Measures the columns of a plan in the guest, and says of each what became of it.
///
/// # Errors
///
/// What could not be written.
pub(crate) fn measure(
    args: &RunArgs,
    plan: &Plan,
    guest: &dyn Guest,
    output: &mut Output,
    progress: &mut dyn Progress,
) -> anyhow::Result<Summary> {
    let mut unseen = expected(plan);
    let mut summary = Summary::default();
    let job = Job {
        arguments: arguments(args, plan),
        time_limit: TIME_LIMIT,
        ..Job::default()
    };
    let began = Timestamp::from(SystemTime::now());
    let ending = stream(
        guest,
        &job,
        &mut |record| {
            note(&record, &mut summary, &mut unseen)?;
            output.record(record).map_err(|error| format!("{error:#}"))
        },
        &mut |line| progress.say(&format!("guest: {line}")),
    );
    let Some(why) = loss(&ending, &summary, unseen.is_empty()) else {
        // What a failed arm is was said by its line.
        summary.failed += usize::from(ending == Ending::Exit(exit::FINDING));
        return Ok(summary);
    };
    progress.say(&why);
    // The loss itself is a failure, whatever it left unmeasured.
    summary.failed += unseen.len().max(1);
    for what in unseen {
        let skipped = Skipped {
            subject: Part::Bench,
            what,
            why: why.clone(),
            waiting_for: None,
            command: None,
        };
        output.line(began, Line::Skipped(skipped))?;
    }
    Ok(summary)
}

/// What the guest has to say something about: each workload on each column.
fn expected(plan: &Plan) -> BTreeSet<String> {
    let mut expected = BTreeSet::new();
    for batch in plan.batches() {
        for subject in &batch.subjects {
            let column = cowlab_reports::result::Column {
                place: Place::Guest,
                ..subject.column()
            };
            expected.insert(format!("{} on {column}", batch.workload.id));
        }
    }
    expected
}

/// Counts a result of the guest.
fn note(
    record: &Record,
    summary: &mut Summary,
    unseen: &mut BTreeSet<String>,
) -> Result<(), String> {
    match &record.line {
        Line::Series(series) if series.column.place != Place::Guest => {
            return Err(format!(
                "the guest says that it measured {} on the host",
                series.workload
            ));
        }
        Line::Series(series) => {
            summary.series += 1;
            unseen.remove(&format!("{} on {}", series.workload, series.column));
        }
        Line::Skipped(skipped) => {
            summary.skipped += 1;
            unseen.remove(&skipped.what);
        }
        _ => {}
    }
    Ok(())
}

/// Why what the guest said is not the whole, if it is not.
fn loss(ending: &Ending, summary: &Summary, whole: bool) -> Option<String> {
    match ending {
        Ending::Lost(loss) => Some(format!("the guest did not measure to the end: {loss}")),
        Ending::Exit(exit::OK | exit::FINDING) if whole => None,
        // Nothing could be measured, and each line says why.
        Ending::Exit(exit::UNAVAILABLE) if whole && summary.series == 0 => None,
        Ending::Exit(code) => Some(format!("the run in the guest ended with exit code {code}")),
    }
}

/// The command line in the guest.
fn arguments(args: &RunArgs, plan: &Plan) -> Vec<OsString> {
    let mut line: Vec<String> = ["bench", "run"].map(str::to_owned).to_vec();
    line.extend(args.ids.iter().cloned());
    line.extend(["--where", "host", "--json", "--only"].map(str::to_owned));
    line.push(plan.columns.join(","));
    // A variant that is not in the first set has to be named as well.
    if !args.variant.is_empty() {
        line.extend(["--variant".to_owned(), args.variant.join(",")]);
    }
    for (flag, values) in [
        ("--backing", names(&args.backing)),
        ("--media", names(&plan.media)),
    ] {
        if !values.is_empty() {
            line.extend([flag.to_owned(), values]);
        }
    }
    if args.quick {
        line.push("--quick".to_owned());
    }
    if let Some(largest) = plan.largest {
        line.extend(["--largest".to_owned(), largest.0.to_string()]);
    }
    if args.smoke {
        line.push("--smoke".to_owned());
    }
    for (flag, number) in [
        ("--blocks", args.blocks.map(u64::from)),
        ("--samples", args.samples.map(u64::from)),
        ("--seed", args.seed),
    ] {
        if let Some(number) = number {
            line.extend([flag.to_owned(), number.to_string()]);
        }
    }
    line.into_iter().map(OsString::from).collect()
}

fn names<T: ToString>(values: &[T]) -> String {
    let names: Vec<String> = values.iter().map(ToString::to_string).collect();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Effort;

    #[test]
    fn every_workload_of_every_column_is_expected() {
        let mut plan = Plan::new(Effort::Smoke);
        plan.columns = vec!["vfs/default/ext4".to_owned()];
        let expected = expected(&plan);
        assert_eq!(expected.len(), plan.workloads.len());
        assert!(expected.contains("copy-up on vfs on ext4, memory, guest"));
    }

    #[test]
    fn an_exit_code_has_to_agree_with_what_was_said() {
        let none = Summary::default();
        let some = Summary { series: 1, ..none };
        let lost = |code, summary: &Summary, whole| loss(&Ending::Exit(code), summary, whole);
        assert_eq!(lost(0, &some, true), None);
        assert_eq!(lost(1, &some, true), None);
        assert_eq!(lost(69, &none, true), None);
        assert!(lost(69, &some, true).is_some());
        assert!(lost(0, &some, false).is_some());
        assert!(lost(77, &some, true).is_some());
    }
}
