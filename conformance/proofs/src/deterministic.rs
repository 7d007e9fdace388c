//! Counts the instructions of copy-up and of the life of a snapshot twice and compares the results as text: nothing but
//! when, where and by what build they were made may differ. The comparison of the two must then see no change.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use clap::ValueEnum;
use cowlab_engine::exit::{self, Stop};
use cowlab_reports::compare::compare;
use cowlab_reports::result::ResultSet;
use cowlab_testbed::Run;
use serde_json::Value;

use super::{Findings, cowlab, say, stop_if_asked};

/// The fields of a line that say when, where and by what it was made.
const OF_THE_RUN: [&str; 5] = ["environment", "started", "finished", "run", "commit"];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Boots of the guest in each of the two runs.
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: u32,
    /// Have something go wrong.
    #[arg(long, value_enum)]
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// The second run takes other seeds.
    Seeds,
}

/// Proves the claim.
pub(super) fn prove(args: &Args, run: &Run, findings: &mut Findings) -> anyhow::Result<()> {
    let place = run.scratch("results")?;
    let files = [place.join("first.jsonl"), place.join("second.jsonl")];
    for (number, file) in files.iter().enumerate() {
        stop_if_asked()?;
        let others = number == 1 && args.fault == Some(Fault::Seeds);
        count(args, if others { 100 } else { 1 }, file)?;
    }
    let [first, second] = &files;
    let lines = [read(first)?, read(second)?];
    for finding in differences(&lines[0], &lines[1]) {
        findings.add(finding);
    }
    let compared = compare(&ResultSet::read(first)?, &ResultSet::read(second)?);
    if compared.has_finding() || compared.is_inconclusive() {
        findings.add("the comparison of the two runs sees a change, or nothing that it can judge");
    }
    say(format!(
        "two runs of {} lines, {} series compared, {} seeds each",
        lines[0].len(),
        compared.series.len(),
        args.seeds
    ))
}

/// Runs the bench in a guest for each seed.
fn count(args: &Args, first: u64, file: &Path) -> anyhow::Result<()> {
    let program = cowlab()?
        .args(["bench", "run", "copy-up", "lifecycle"])
        .args(["--where", "guest", "--deterministic", "--seeds"])
        .arg(args.seeds.to_string())
        .args(["--seed", &first.to_string(), "--format", "json", "--out"])
        .arg(file);
    let ended = program.output()?;
    let status = ended.status.and_then(|status| u8::try_from(status).ok());
    let said = String::from_utf8_lossy(&ended.stderr);
    match status {
        Some(exit::OK) => Ok(()),
        // Without a guest the claim is neither proved nor disproved.
        Some(code @ exit::UNAVAILABLE) => Err(Stop {
            code,
            message: said.trim().to_owned(),
        }
        .into()),
        _ => bail!("`{program}` failed: {}", said.trim()),
    }
}

/// The lines of a results file without what may differ.
fn read(file: &Path) -> anyhow::Result<Vec<String>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("failed to read `{}`", file.display()))?;
    text.lines().map(essence).collect()
}

fn essence(line: &str) -> anyhow::Result<String> {
    let mut value: Value = serde_json::from_str(line)?;
    let fields = value.as_object_mut().context("a result is an object")?;
    for name in OF_THE_RUN {
        fields.remove(name);
    }
    Ok(value.to_string())
}

/// What differs between two runs, the first few of it.
fn differences(first: &[String], second: &[String]) -> Vec<String> {
    const SHOWN: usize = 5;
    let mut differences = Vec::new();
    if first.len() != second.len() {
        differences.push(format!(
            "the runs have {} and {} lines",
            first.len(),
            second.len()
        ));
    }
    if first.len() < 2 {
        differences.push("nothing was counted".to_owned());
    }
    let pairs = first.iter().zip(second).enumerate();
    let differing = pairs.filter(|(_, (one, other))| one != other);
    differences.extend(
        differing
            .take(SHOWN)
            .map(|(line, (one, other))| format!("line {}: {one} became {other}", line + 1)),
    );
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"schema":1,"run":"a","started":"x","finished":"y","commit":"c","environment":{"id":"e"},"kind":"series","blocks":[[1]],"device":{"commit":"kept"}}"#;

    #[test]
    fn the_fields_of_the_run_may_differ_and_no_others() {
        let other = LINE
            .replace("\"a\"", "\"b\"")
            .replace("\"x\"", "\"z\"")
            .replace("\"e\"", "\"f\"");
        assert_eq!(essence(LINE).unwrap(), essence(&other).unwrap());
        for (from, to) in [("[[1]]", "[[2]]"), ("kept", "lost"), ("series", "skipped")] {
            let other = LINE.replace(from, to);
            assert_ne!(essence(LINE).unwrap(), essence(&other).unwrap(), "{to}");
        }
    }

    #[test]
    fn a_missing_line_and_another_line_are_differences() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(differences(&lines("a b"), &lines("a b")).is_empty());
        assert_eq!(differences(&lines("a b"), &lines("a c")).len(), 1);
        assert_eq!(differences(&lines("a b"), &lines("a b c")).len(), 1);
        assert_eq!(differences(&lines("a"), &lines("a")).len(), 1);
    }
}
