//! What one proof found, as a line of JSON and as a row of a page.

use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::terminal;

/// One line of `verify.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The name of the claim.
    pub(super) claim: String,
    pub(super) statement: String,
    pub(super) command: String,
    pub(super) holds: bool,
    pub(super) exit_code: u8,
    pub(super) seconds: f64,
    /// More seconds than this break the claim.
    pub(super) limit_seconds: Option<u64>,
    /// When the proof began, UTC, RFC 3339.
    pub(super) date: String,
    pub(super) commit: String,
    /// The last line that the command printed: what it counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<String>,
}

/// The newest record of a claim, if there is one, and how much of what it speaks of changed since.
#[derive(Debug)]
pub(super) struct State<'records> {
    pub(super) name: &'static str,
    pub(super) newest: Option<&'records Record>,
    /// Commits; `None` where the record's commit is not in this history.
    pub(super) later_changes: Option<usize>,
}

impl State<'_> {
    /// Whether a run would tell something that the newest record does not.
    pub(super) fn is_stale(&self) -> bool {
        self.newest.is_none_or(|record| !record.holds) || self.later_changes != Some(0)
    }

    /// The state for a person, for a list.
    pub(super) fn sentence(&self) -> String {
        let Some(record) = self.newest else {
            return "never run".to_owned();
        };
        let verdict = if record.holds { "held" } else { "did not hold" };
        let (date, commit) = (&record.date, &record.commit);
        format!("{verdict} on {date} at {commit}, {}", self.changes())
    }

    fn changes(&self) -> String {
        match self.later_changes {
            Some(0) => "unchanged since".to_owned(),
            Some(1) => "1 later commit".to_owned(),
            Some(count) => format!("{count} later commits"),
            None => "changes since unknown".to_owned(),
        }
    }
}

impl Record {
    /// The result for a person who watches.
    pub(super) fn sentence(&self) -> String {
        let verdict = if self.holds { "holds" } else { "does not hold" };
        format!(
            "{} {verdict}: exit {}, {}",
            self.claim,
            self.exit_code,
            self.time()
        )
    }

    fn time(&self) -> String {
        let time = terminal::duration(Duration::from_secs_f64(self.seconds));
        match self.limit_seconds {
            Some(limit) => format!(
                "{time} of {}",
                terminal::duration(Duration::from_secs(limit))
            ),
            None => time,
        }
    }
}

/// The page with the newest record of every claim, as of the commit `head`.
pub(super) fn page(states: &[State<'_>], head: &str) -> String {
    let mut page = format!(
        "# Proofs\n\n\
         Written by `cargo xtask verify`. Each claim has a command that decides it by its exit code; every\n\
         run is a line of `verify.jsonl`, the newest one is shown here. `later` counts the commits between the\n\
         proof and `{head}` that changed the folders which the claim speaks of; `cargo xtask verify --list` counts\n\
         anew, `cargo xtask verify --stale` runs the claims with such commits, and those that never held.\n\n\
         | claim | holds | time | date | commit | later |\n|---|---|---|---|---|---|\n",
    );
    let mut commands = String::from("\n## Commands and what they counted\n\n");
    for state in states {
        // Writing to a `String` cannot fail.
        let Some(record) = state.newest else {
            writeln!(page, "| {} | never run | | | | |", state.name).ok();
            continue;
        };
        let holds = if record.holds { "yes" } else { "**no**" };
        let later = match state.later_changes {
            Some(count) => count.to_string(),
            None => "unknown".to_owned(),
        };
        let Record {
            statement,
            date,
            commit,
            command,
            ..
        } = record;
        let time = record.time();
        writeln!(
            page,
            "| {statement} | {holds} | {time} | {date} | `{commit}` | {later} |"
        )
        .ok();
        let result = record.result.as_deref();
        let result = result.map_or_else(String::new, |result| format!(": {result}"));
        writeln!(commands, "- `{}`: `{command}`{result}", state.name).ok();
    }
    page + &commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_stale_unless_it_held_and_nothing_changed_since() {
        let mut record = Record {
            claim: "memory".to_owned(),
            statement: "It is flat.".to_owned(),
            command: "cargo xtask prove memory".to_owned(),
            holds: true,
            exit_code: 0,
            seconds: 1.0,
            limit_seconds: None,
            date: "2026-01-01T00:00:00Z".to_owned(),
            commit: "abc".to_owned(),
            result: Some("61 MiB".to_owned()),
        };
        let state = |newest, later_changes| State {
            name: "memory",
            newest,
            later_changes,
        };
        assert!(!state(Some(&record), Some(0)).is_stale());
        assert!(state(Some(&record), Some(1)).is_stale());
        assert!(state(Some(&record), None).is_stale());
        assert!(state(None, Some(0)).is_stale());
        let page = page(&[state(Some(&record), Some(3)), state(None, None)], "def");
        assert!(page.contains("| `abc` | 3 |"), "{page}");
        assert!(page.contains("| memory | never run |"), "{page}");
        assert!(page.contains("prove memory`: 61 MiB"), "{page}");
        record.holds = false;
        let failed = State {
            name: "memory",
            newest: Some(&record),
            later_changes: Some(0),
        };
        assert!(failed.is_stale());
    }
}
