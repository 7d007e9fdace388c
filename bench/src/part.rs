//! The part of a run that is measured in one place: a process with the columns that it is for, its series read as they come.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::Duration;

use cowlab_driver::Bytes;
use cowlab_engine::results::now;
use cowlab_engine::worker::{Ending, Job, Machine, stream};
use cowlab_engine::{exit, guest};
use cowlab_reports::result::{Line, Place, Record, Skipped, Subject as Topic};
use cowlab_testbed::Media;

use crate::args::RunArgs;
use crate::output::Output;
use crate::plan::Plan;
use crate::sampler::{Interrupted, Progress, Summary};

/// The largest file in the guest of a quick run: an emulated processor copies about twenty times slower, and everything
/// has to fit into its memory.
const LARGEST: u64 = 16 << 20;
/// The longest that a guest measures: a full run takes a third of it on a processor that is not emulated.
const TIME_LIMIT: Duration = Duration::from_secs(60 * 60);

/// The columns of a plan that are measured in one place.
#[derive(Debug)]
pub(crate) struct Part {
    /// Where.
    pub(crate) place: Place,
    /// What.
    pub(crate) plan: Plan,
}

impl Part {
    /// Takes columns out of a plan. A quick run is smaller in the guest.
    pub(crate) fn new(args: &RunArgs, place: Place, columns: Vec<String>, plan: &Plan) -> Self {
        let mut plan = Plan {
            columns,
            ..plan.clone()
        };
        if place == Place::Guest && args.quick {
            plan.largest = Some(Bytes(LARGEST));
        }
        if place == Place::Guest && args.quick && args.media.is_empty() {
            // Its disk is a file of the host behind an emulated controller: its time says nothing.
            plan.media = vec![Media::Memory];
        }
        Self { place, plan }
    }

    /// Measures the columns, and says of each what became of it.
    pub(crate) fn measure(
        &self,
        args: &RunArgs,
        machine: &dyn Machine,
        output: &mut Output,
        progress: &mut dyn Progress,
    ) -> anyhow::Result<Summary> {
        let mut unseen = self.expected();
        let mut summary = Summary::default();
        let job = Job {
            arguments: self.arguments(args),
            time_limit: TIME_LIMIT,
            ..Job::default()
        };
        let began = now();
        let ending = stream(
            machine,
            &job,
            &mut |record| {
                self.note(&record, &mut summary, &mut unseen)?;
                let written = output.record(self.place, record);
                written.map_err(|error| format!("{error:#}"))
            },
            &mut |line| progress.say(&format!("guest: {line}")),
        );
        if ending == Ending::Exit(cowlab_sys::interrupt::EXIT_CODE) {
            return Err(Interrupted.into());
        }
        let Some(why) = self.loss(&ending, &summary, unseen.is_empty()) else {
            // What a failed arm is was said by its line.
            summary.failed += usize::from(ending == Ending::Exit(exit::FINDING));
            return Ok(summary);
        };
        progress.say(&why);
        // The loss itself is a failure, whatever it left unmeasured.
        summary.failed += unseen.len().max(1);
        for what in unseen {
            let skipped = Skipped {
                subject: Topic::Bench,
                what,
                why: why.clone(),
                waiting_for: None,
                command: None,
            };
            output.line(began, &Line::Skipped(skipped))?;
        }
        Ok(summary)
    }

    /// What it has to say something about: each workload on each column.
    fn expected(&self) -> BTreeSet<String> {
        let mut expected = BTreeSet::new();
        for batch in self.plan.batches() {
            for subject in &batch.subjects {
                let column = cowlab_reports::result::Column {
                    place: self.place,
                    ..subject.column()
                };
                expected.insert(format!("{} on {column}", batch.workload.id));
            }
        }
        expected
    }

    /// Counts a result.
    fn note(
        &self,
        record: &Record,
        summary: &mut Summary,
        unseen: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        match &record.line {
            Line::Series(series) if series.column.place != guest::place_in_results(self.place) => {
                return Err(format!(
                    "it says that it measured {} on {}",
                    series.workload, series.column
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

    /// Why what it said is not the whole, if it is not.
    fn loss(&self, ending: &Ending, summary: &Summary, whole: bool) -> Option<String> {
        match ending {
            Ending::Lost(loss) => Some(format!(
                "{} did not measure to the end: {loss}",
                self.name()
            )),
            Ending::Exit(exit::OK | exit::FINDING) if whole => None,
            // Nothing could be measured, and each line says why.
            Ending::Exit(exit::UNAVAILABLE) if whole && summary.series == 0 => None,
            Ending::Exit(code) => Some(format!("{} ended with exit code {code}", self.name())),
        }
    }

    /// The command line.
    fn arguments(&self, args: &RunArgs) -> Vec<OsString> {
        let plan = &self.plan;
        let mut line: Vec<String> = ["bench", "columns"].map(str::to_owned).to_vec();
        line.extend(args.ids.iter().cloned());
        line.extend(["--only".to_owned(), plan.columns.join(",")]);
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
        let mut line: Vec<OsString> = line.into_iter().map(OsString::from).collect();
        if self.place == Place::Host {
            for (flag, value) in [
                ("--image", args.image.as_ref().map(OsString::from)),
                ("--dir", args.dir.as_ref().map(OsString::from)),
                ("--no-guest", plan.no_guest.clone().map(OsString::from)),
            ] {
                line.extend(value.into_iter().flat_map(|value| [flag.into(), value]));
            }
        }
        line
    }

    /// The process, as its end is told.
    const fn name(&self) -> &'static str {
        match self.place {
            Place::Host => "the process that measures",
            Place::Guest => "the guest",
        }
    }
}

fn names<T: ToString>(values: &[T]) -> String {
    let names: Vec<String> = values.iter().map(ToString::to_string).collect();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Effort;

    fn part(plan: Plan) -> Part {
        Part {
            place: Place::Guest,
            plan,
        }
    }

    #[test]
    fn every_workload_of_every_column_is_expected() {
        let mut plan = Plan::new(Effort::Smoke);
        plan.columns = vec!["vfs/default/ext4".to_owned()];
        let part = part(plan);
        let expected = part.expected();
        assert_eq!(expected.len(), part.plan.workloads.len());
        assert!(expected.contains("copy-up on vfs on ext4, memory, guest"));
    }

    #[test]
    fn an_exit_code_has_to_agree_with_what_was_said() {
        let none = Summary::default();
        let some = Summary { series: 1, ..none };
        let part = part(Plan::new(Effort::Smoke));
        let lost = |code, summary: &Summary, whole| part.loss(&Ending::Exit(code), summary, whole);
        assert_eq!(lost(0, &some, true), None);
        assert_eq!(lost(1, &some, true), None);
        assert_eq!(lost(69, &none, true), None);
        assert!(lost(69, &some, true).is_some());
        assert!(lost(0, &some, false).is_some());
        assert!(lost(77, &some, true).is_some());
    }
}
