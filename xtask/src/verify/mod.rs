//! `cargo xtask verify`: proofs that take too long for every change, each a named claim with its
//! command. What was found goes to `reports/published/`, with date and commit.
//!
//! A new proof is one row of [`CLAIMS`]; the command behind it decides by its exit code.

mod claims;
mod record;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use cowlab_sys::interrupt;
use cowlab_units::Timestamp;

use crate::commit;
use crate::exit::{self, Refusal};
use crate::flags;
use crate::program::Programs;
use crate::setup::{self, Consent};
use crate::stage::Outcome;
use crate::terminal;

use self::claims::{CLAIMS, Claim, NEEDS};
use self::record::{Record, State};

/// Where results go, relative to the root of the workspace.
const PUBLISHED: &str = "reports/published";
/// The file there with every record, a line each.
const LOG: &str = "verify.jsonl";

/// Runs the claims that `flags` select, all of them whatever fails, and writes each result at once.
pub(crate) fn run(root: &Path, flags: &flags::Verify) -> anyhow::Result<u8> {
    let mut claims = select(&flags.claims)?;
    let records = published(root)?;
    if flags.stale {
        claims.retain(|claim| state(claim, &records).is_stale());
    }
    if flags.list {
        list(&claims, &records);
        return Ok(0);
    }
    if claims.is_empty() {
        terminal::result("nothing is stale");
        return Ok(0);
    }
    setup::ensure(NEEDS, Consent::from_flag(flags.yes))?;
    // Here, so that no claim is charged for it.
    Programs::WithProofs.build()?;
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

fn list(claims: &[&Claim], records: &[Record]) {
    for claim in claims {
        let Claim { stage, within, .. } = claim;
        let limit = within.map_or_else(String::new, |limit| {
            format!("  (within {})", terminal::duration(limit))
        });
        terminal::result(format_args!(
            "{}\n    {}\n    {}{limit}\n    {}",
            stage.name,
            stage.claim,
            stage.job.line(),
            state(claim, records).sentence()
        ));
    }
}

fn state<'records>(claim: &Claim, records: &'records [Record]) -> State<'records> {
    let name = claim.stage.name;
    let newest = records.iter().rev().find(|record| record.claim == name);
    State {
        name,
        newest,
        later_changes: newest.and_then(|record| commit::later_changes(&record.commit, claim.about)),
    }
}

/// The names of the claims whose newest record, among the lines of `log`, holds, and of all there are.
pub(crate) fn proved(log: &str) -> anyhow::Result<Proved> {
    let records = parse(log, Path::new("verify.jsonl"))?;
    let newest = |name: &str| records.iter().rev().find(|record| record.claim == name);
    let names = CLAIMS.iter().map(|claim| claim.stage.name);
    Ok(names
        .map(|name| (name, newest(name).is_some_and(|record| record.holds)))
        .collect())
}

/// Each claim's name, and whether its newest published record holds.
pub(crate) type Proved = BTreeMap<&'static str, bool>;

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
    let date = Timestamp::from(SystemTime::now()).to_seconds();
    let (finished, result) = claim.stage.run_for_result(root);
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
        result,
    }
}

/// Appends `record` to the log and renders the newest record of every claim.
fn publish(dir: &Path, record: &Record) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("failed to make `{}`", dir.display()))?;
    let log = dir.join(LOG);
    let line = serde_json::to_string(record).context("failed to write a record as JSON")?;
    append(&log, &line).with_context(|| format!("failed to write `{}`", log.display()))?;
    let records = read(&log)?;
    let states: Vec<_> = CLAIMS.iter().map(|claim| state(claim, &records)).collect();
    let page = dir.join("verify.md");
    fs::write(&page, record::page(&states, &record.commit))
        .with_context(|| format!("failed to write `{}`", page.display()))
}

fn append(path: &PathBuf, line: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    writeln!(file, "{line}")
}

/// What was published so far.
fn published(root: &Path) -> anyhow::Result<Vec<Record>> {
    let log = root.join(PUBLISHED).join(LOG);
    if log.exists() {
        read(&log)
    } else {
        Ok(Vec::new())
    }
}

fn read(log: &Path) -> anyhow::Result<Vec<Record>> {
    let text =
        fs::read_to_string(log).with_context(|| format!("failed to read `{}`", log.display()))?;
    parse(&text, log)
}

fn parse(text: &str, log: &Path) -> anyhow::Result<Vec<Record>> {
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
            result: None,
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
