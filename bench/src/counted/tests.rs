//! A deterministic run without a guest.

use std::io::Write;
use std::sync::Mutex;

use clap::Parser;
use cowlab_engine::subject::Subject;
use cowlab_reports::result::{Arm, CacheState, Column, Device, JsonLines, Run, Unit};

use super::*;
use crate::workload::COUNTED;

#[derive(Debug, clap::Parser)]
struct Program {
    #[command(flatten)]
    args: RunArgs,
}

fn parsed(line: &str) -> Result<RunArgs, clap::Error> {
    let words = ["bench"].into_iter().chain(line.split_whitespace());
    Program::try_parse_from(words).map(|program| program.args)
}

fn args(line: &str) -> RunArgs {
    parsed(line).unwrap()
}

fn planned(line: &str) -> Result<Plan, String> {
    let args = args(line);
    let mut plan = Plan::new(Effort::Full);
    if !args.ids.is_empty() {
        plan.workloads = args.ids.iter().flat_map(|id| workloads::find(id)).collect();
    }
    match super::plan(&args, &mut plan) {
        Ok(()) => Ok(plan),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn what_cannot_be_counted_is_refused_with_the_remedy() {
    for (line, remedy) in [
        ("--deterministic", "add `--where guest`"),
        ("--deterministic --where host", "add `--where guest`"),
        (
            "--deterministic --where guest --media disk",
            "leave out `--media disk`",
        ),
        (
            "capacity --deterministic --where guest",
            "copy-up or lifecycle",
        ),
        (
            "copy-up/cold --deterministic --where guest",
            "leave out `--deterministic`",
        ),
    ] {
        let error = planned(line).unwrap_err();
        assert!(error.contains(remedy), "{line}: {error}");
    }
    for line in [
        "--deterministic --quick",
        "--deterministic --blocks 2",
        "--seeds 3",
        "--deterministic --seeds 0",
    ] {
        assert!(parsed(line).is_err(), "{line}");
    }
}

#[test]
fn a_plan_counts_in_memory_and_takes_nothing_from_chance() {
    for line in ["--deterministic --where guest", "--counted --seed 9"] {
        let plan = planned(line).unwrap();
        let counted = |id| plan.workloads.iter().any(|one| one.id == id);
        assert!(counted("copy-up") && counted("lifecycle"));
        assert!(!counted("copy-up/cold") && !counted("capacity/change"));
        assert_eq!(plan.id_source, IdSource::Seed(plan.seed));
        for batch in plan.batches() {
            assert_eq!((batch.media, batch.blocks), (Media::Memory, 1));
            assert!(batch.subjects.iter().all(Subject::is_default));
            assert!(batch.points.iter().all(|point| !point.control));
            assert!(batch.groups().iter().all(|group| group.len() == 1));
        }
    }
}

/// Counts what its script says for each seed, and fails where it says nothing.
#[derive(Debug)]
struct Scripted {
    counts: Vec<Vec<f64>>,
    first: u64,
    asked: Mutex<Vec<(Option<u64>, Vec<OsString>)>>,
}

impl Machine for Scripted {
    fn run(&self, job: &Job, stdout: &mut dyn Write, _: &mut dyn Write) -> Result<Ending, String> {
        let mut asked = self.asked.lock().unwrap();
        asked.push((job.deterministic, job.arguments.clone()));
        asked.sort();
        // The seeds follow each other from the first, whoever comes first.
        let place = job.deterministic.unwrap() - self.first;
        let counts = &self.counts[usize::try_from(place).unwrap()];
        let run = Run {
            id: format!("guest {place}"),
            commit: "c".to_owned(),
        };
        let environment = Environment {
            memory_bytes: place + 1,
            ..Environment::default()
        };
        let at = Timestamp::from_millis(1);
        let mut lines = JsonLines::new(stdout, run, &environment, at).unwrap();
        for (op, count) in ["write-1", "chmod"].into_iter().zip(counts) {
            lines
                .line(at, at, Line::Series(series(op, *count)))
                .unwrap();
        }
        Ok(Ending::Exit(0))
    }
}

fn series(op: &str, count: f64) -> Series {
    Series {
        workload: "copy-up".to_owned(),
        question: "How much?".to_owned(),
        column: Column::new("overlay2", "ext4"),
        arm: Arm::Driver,
        parameters: [("op".to_owned(), op.into())].into(),
        unit: Unit::Instructions,
        blocks: vec![vec![count]],
        counted: None,
        cache: CacheState::Warm,
        warnings: vec![],
        device: Device::default(),
        repeat: format!("cowlab bench run copy-up{COUNTED}"),
    }
}

fn booted(line: &str, counts: &[&[f64]]) -> (Counts, Scripted) {
    let args = args(line);
    let guest = Scripted {
        first: args.seed.unwrap_or(1),
        counts: counts.iter().map(|counts| counts.to_vec()).collect(),
        asked: Mutex::default(),
    };
    let counts = boot(&args, &guest, &mut Held::default()).unwrap();
    (counts, guest)
}

#[test]
fn each_seed_is_a_boot_and_a_block() {
    let line = "copy-up --driver overlay2 --deterministic --where guest --seeds 3 --seed 7";
    let (counts, guest) = booted(line, &[&[100.0], &[104.0], &[102.0]]);
    let asked = guest.asked.into_inner().unwrap();
    let seeds: Vec<Option<u64>> = asked.iter().map(|(seed, _)| *seed).collect();
    assert_eq!(seeds, [Some(7), Some(8), Some(9)]);
    let words: Vec<&str> = asked[1].1.iter().filter_map(|word| word.to_str()).collect();
    assert_eq!(
        words.join(" "),
        "bench columns copy-up --counted --seed 8 --driver overlay2"
    );
    let [Line::Series(series)] = counts.lines.as_slice() else {
        panic!("{:?}", counts.lines);
    };
    assert_eq!(series.blocks, [[100.0], [104.0], [102.0]]);
    let counted = series.counted.as_ref().unwrap();
    assert_eq!((counted.median, counted.floor), (102, 1.04));
    assert!(
        series
            .repeat
            .ends_with("--deterministic --seeds 3 --seed 7")
    );
    // The machine is that of the first boot: the others differ by chance.
    assert_eq!(counts.environment.memory_bytes, 1);
    assert_eq!(counts.commit, "c");
}

#[test]
fn a_series_that_a_seed_lacks_is_a_failure() {
    let line = "--deterministic --where guest --seeds 2";
    let (counts, _) = booted(line, &[&[1.0, 2.0], &[1.0]]);
    assert_eq!((counts.summary.series, counts.summary.failed), (1, 1));
    assert!(matches!(&counts.lines[1], Line::Skipped(skipped) if skipped.what.contains("chmod")));
}

#[test]
fn two_runs_give_the_same_lines() {
    let line = "--deterministic --where guest --seeds 2";
    let counts: [&[f64]; 2] = [&[1.0, 2.0], &[3.0, 4.0]];
    assert_eq!(booted(line, &counts).0.lines, booted(line, &counts).0.lines);
}
