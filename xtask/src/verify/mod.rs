//! `cargo xtask verify`: proofs that take too long for every change, each a named claim with its
//! command. What was found goes to `reports/published/`, with date and commit.
//!
//! A new proof is one row of [`CLAIMS`]; the command behind it decides by its exit code.

mod claims;
mod record;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use cowlab_sys::interrupt;

use crate::commit;
use crate::exit::{self, Refusal};
use crate::flags;
use crate::payload;
use crate::program;
use crate::setup::{self, Consent};
use crate::stage::Outcome;
use crate::terminal;

use self::claims::{CLAIMS, Claim, NEEDS};
use self::record::Record;

/// Where results go, relative to the root of the workspace.
const PUBLISHED: &str = "reports/published";

/// Runs the claims that `flags` select, all of them whatever fails, and writes each result at once.
pub(crate) fn run(root: &Path, flags: &flags::Verify) -> anyhow::Result<u8> {
    if flags.list {
        list();
        return Ok(0);
    }
    let claims = select(&flags.claims)?;
    let consent = Consent::from_flag(flags.yes);
    setup::ensure(NEEDS, consent)?;
    // Here, so that no claim is charged for it.
    program::build()?;
    payload::build(consent)?;
    let commit = commit::checked_out().unwrap_or_else(|| "unknown".to_owned());
    interrupt::watch()?;
    let mut failed = 0_usize;
    for (index, claim) in claims.iter().enumerate() {
        let stage = &claim.stage;
        terminal::heading(&format!(
            "==> {}/{} {}: {}",
            index + 1,
            claims.len(),
            stage.name,
            stage.claim
        ));
        terminal::note(format_args!("    {}", stage.job.line()));
        let record = prove(root, claim, &commit);
        if interrupt::requested() {
            // What was cut short says nothing about the claim.
            terminal::error("interrupted");
            return Ok(interrupt::EXIT_CODE);
        }
        terminal::note(format_args!("    {}", record.sentence()));
        failed += usize::from(!record.holds);
        publish(&root.join(PUBLISHED), &record)?;
    }
    let passed = claims.len() - failed;
    terminal::result(format_args!("{passed} passed, {failed} failed"));
    Ok(if failed == 0 { 0 } else { exit::FINDING })
}

fn list() {
    for Claim { stage, within } in CLAIMS {
        let limit = within.map_or_else(String::new, |limit| {
            format!("  (within {})", terminal::duration(limit))
        });
        terminal::result(format_args!(
            "{}\n    {}\n    {}{limit}",
            stage.name,
            stage.claim,
            stage.job.line()
        ));
    }
}

fn select(names: &[String]) -> anyhow::Result<Vec<&'static Claim>> {
    if let Some(unknown) = names
        .iter()
        .find(|name| !CLAIMS.iter().any(|claim| claim.stage.name == **name))
    {
        return Err(Refusal::new(
            exit::USAGE,
            format!("no claim is called `{unknown}`: `cargo xtask verify --list` shows them"),
        )
        .into());
    }
    Ok(CLAIMS
        .iter()
        .filter(|claim| names.is_empty() || names.iter().any(|name| name == claim.stage.name))
        .collect())
}

fn prove(root: &Path, claim: &Claim, commit: &str) -> Record {
    let date = record::utc(SystemTime::now());
    let finished = claim.stage.run(root);
    let exit_code = match finished.outcome {
        Outcome::Passed => 0,
        Outcome::Failed(code) => code,
    };
    let in_time = claim.within.is_none_or(|limit| finished.elapsed <= limit);
    Record {
        claim: claim.stage.name.to_owned(),
        statement: claim.stage.claim.to_owned(),
        command: claim.stage.job.line(),
        holds: exit_code == 0 && in_time,
        exit_code,
        seconds: finished.elapsed.as_secs_f64(),
        limit_seconds: claim.within.map(|limit| limit.as_secs()),
        date,
        commit: commit.to_owned(),
    }
}

/// Appends `record` to the log and renders the newest record of every claim.
fn publish(dir: &Path, record: &Record) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("failed to make `{}`", dir.display()))?;
    let log = dir.join("verify.jsonl");
    let line = serde_json::to_string(record).context("failed to write a record as JSON")?;
    append(&log, &line).with_context(|| format!("failed to write `{}`", log.display()))?;
    let records = read(&log)?;
    let names: Vec<_> = CLAIMS.iter().map(|claim| claim.stage.name).collect();
    let page = dir.join("verify.md");
    fs::write(&page, record::page(&names, &records))
        .with_context(|| format!("failed to write `{}`", page.display()))
}

fn append(path: &PathBuf, line: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    writeln!(file, "{line}")
}

fn read(log: &Path) -> anyhow::Result<Vec<Record>> {
    let text =
        fs::read_to_string(log).with_context(|| format!("failed to read `{}`", log.display()))?;
    text.lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("`{}:{}` is no record", log.display(), index + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_claim_is_wrong_usage() {
        let error = select(&["kil-nine".to_owned()]).unwrap_err();
        assert_eq!(exit::code_of(&error), exit::USAGE);
    }

    #[test]
    fn the_log_keeps_everything_and_the_page_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record {
            claim: CLAIMS[0].stage.name.to_owned(),
            statement: "It holds.".to_owned(),
            command: "cargo xtask conformance".to_owned(),
            holds: false,
            exit_code: 1,
            seconds: 2.0,
            limit_seconds: None,
            date: "2026-01-01T00:00:00Z".to_owned(),
            commit: "abc".to_owned(),
        };
        publish(dir.path(), &record).unwrap();
        record.holds = true;
        publish(dir.path(), &record).unwrap();
        assert_eq!(read(&dir.path().join("verify.jsonl")).unwrap().len(), 2);
        let page = fs::read_to_string(dir.path().join("verify.md")).unwrap();
        assert_eq!(page.matches("It holds.").count(), 1);
        assert!(page.contains("| yes |"), "{page}");
    }
}
