//! `cargo xtask ci`: everything that a change must pass, as a table of stages.

mod stages;

use std::path::Path;
use std::time::Duration;

use cowlab_sys::interrupt;

use crate::exit::{self, Refusal};
use crate::flags;
use crate::setup::{self, Consent, Purpose};
use crate::stage::{Finished, Outcome, Stage};
use crate::terminal;

use self::stages::STAGES;

/// Runs the stages that `flags` select. Ends with one line that counts them.
pub(crate) fn run(root: &Path, flags: &flags::Ci) -> anyhow::Result<u8> {
    if flags.list {
        list();
        return Ok(0);
    }
    let stages = select(STAGES, &flags.stages)?;
    setup::ensure(&purposes(&stages), Consent::from_flag(flags.yes))?;
    // A stage gets the signal of the terminal as well, and takes its mounts back while it is waited for.
    interrupt::watch()?;
    let mut finished = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        terminal::heading(&format!(
            "==> {}/{} {}: {}",
            index + 1,
            stages.len(),
            stage.name,
            stage.claim
        ));
        terminal::note(format_args!("    {}", stage.job.line()));
        let result = stage.run(root);
        let failed = result.outcome != Outcome::Passed;
        finished.push(result);
        if failed {
            terminal::error(&format!(
                "stage `{}` failed; repeat it with: cargo xtask ci {}",
                stage.name, stage.name
            ));
        }
        if interrupt::requested() || (failed && !flags.keep_going) {
            break;
        }
    }
    summarize(&stages, &finished);
    if interrupt::requested() {
        return Ok(interrupt::EXIT_CODE);
    }
    Ok(exit_code(&finished))
}

fn list() {
    for stage in STAGES {
        terminal::result(format_args!(
            "{:14} {}\n{:14} {}",
            stage.name,
            stage.claim,
            "",
            stage.job.line()
        ));
    }
}

/// The stages called `names`, in the order of the table; all of them if there are no names.
fn select<'a>(stages: &'a [Stage], names: &[String]) -> anyhow::Result<Vec<&'a Stage>> {
    for name in names {
        if !stages.iter().any(|stage| stage.name == name) {
            return Err(Refusal::new(
                exit::USAGE,
                format!("no stage is called `{name}`: `cargo xtask ci --list` shows them"),
            )
            .into());
        }
    }
    Ok(stages
        .iter()
        .filter(|stage| names.is_empty() || names.iter().any(|name| name == stage.name))
        .collect())
}

/// What the machine must have for `stages`.
fn purposes(stages: &[&Stage]) -> Vec<Purpose> {
    stages
        .iter()
        .flat_map(|stage| stage.needs)
        .copied()
        .collect()
}

fn summarize(stages: &[&Stage], finished: &[Finished]) {
    terminal::result("");
    for stage in stages {
        let result = finished.iter().find(|result| result.name == stage.name);
        let (word, time) = result.map_or(("not run", String::new()), |result| {
            (word(result.outcome), terminal::duration(result.elapsed))
        });
        let budget = budget(stage.budget, result.map(|result| result.elapsed));
        terminal::result(format_args!(
            "{:14} {word:8} {time:>14} {budget}",
            stage.name
        ));
    }
    let total = finished.iter().map(|result| result.elapsed).sum();
    let budget = budget(stages.iter().map(|stage| stage.budget).sum(), Some(total));
    terminal::result(format_args!(
        "{:14} {:8} {:>14} {budget}",
        "total",
        "",
        terminal::duration(total)
    ));
    terminal::result(closing_line(stages.len(), finished));
}

/// What it should take, and whether it took more: a slow day is no failure.
fn budget(budget: Option<Duration>, taken: Option<Duration>) -> String {
    let Some(budget) = budget else {
        return String::new();
    };
    let more = if taken.is_some_and(|taken| taken > budget) {
        ", took more"
    } else {
        ""
    };
    format!("of {}{more}", terminal::duration(budget))
}

/// The line that tells a reader of the log, man or machine, how many stages ran.
fn closing_line(selected: usize, finished: &[Finished]) -> String {
    let passed = finished
        .iter()
        .filter(|result| result.outcome == Outcome::Passed)
        .count();
    let failed = finished.len() - passed;
    match selected - finished.len() {
        0 => format!("{passed} passed, {failed} failed"),
        skipped => format!("{passed} passed, {failed} failed, {skipped} skipped"),
    }
}

/// The code of the first failure.
fn exit_code(finished: &[Finished]) -> u8 {
    finished
        .iter()
        .find_map(|result| match result.outcome {
            Outcome::Failed(code) => Some(code),
            Outcome::Passed => None,
        })
        .unwrap_or(0)
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed(_) => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(name: &'static str, outcome: Outcome) -> Finished {
        Finished {
            name,
            outcome,
            elapsed: Duration::from_secs(1),
        }
    }

    #[test]
    fn names_select_in_the_order_of_the_table() {
        let names = ["clippy".to_owned(), "fmt".to_owned()];
        let selected: Vec<_> = select(STAGES, &names)
            .unwrap()
            .iter()
            .map(|stage| stage.name)
            .collect();
        assert_eq!(selected, ["fmt", "clippy"]);
        assert_eq!(select(STAGES, &[]).unwrap().len(), STAGES.len());
    }

    #[test]
    fn an_unknown_stage_is_wrong_usage() {
        let error = select(STAGES, &["clipy".to_owned()]).unwrap_err();
        assert_eq!(exit::code_of(&error), exit::USAGE);
        assert!(error.to_string().contains("`clipy`"));
    }

    #[test]
    fn the_closing_line_counts_what_ran() {
        let results = [
            finished("fmt", Outcome::Passed),
            finished("clippy", Outcome::Failed(1)),
        ];
        assert_eq!(closing_line(2, &results), "1 passed, 1 failed");
        assert_eq!(closing_line(5, &results), "1 passed, 1 failed, 3 skipped");
    }

    #[test]
    fn the_first_failure_decides_the_exit_code() {
        let results = [
            finished("a", Outcome::Passed),
            finished("b", Outcome::Failed(77)),
            finished("c", Outcome::Failed(1)),
        ];
        assert_eq!(exit_code(&results), 77);
        assert_eq!(exit_code(&results[..1]), 0);
    }
}
