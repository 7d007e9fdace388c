//! `cowlab sweep`: what killed runs left, listed and then removed.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;
use cowlab_testbed::sweep::{self, Survey};
use serde_json::json;

use crate::exit;

/// Lists the mounts, loop devices and files that killed runs left, then removes them.
///
/// Removes only what is named `cowlab-test-<run>-...` and stands in the journal of a run that is dead: a run whose lock is
/// held, and everything that cowlab did not make, stays and is named.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// List only; exit 1 when there is something to remove.
    #[arg(long)]
    dry_run: bool,
    /// Remove without asking.
    #[arg(long, short)]
    yes: bool,
    /// Where runs keep their files.
    #[arg(long, value_name = "DIR", default_value_os_t = cowlab_testbed::base_directory())]
    dir: PathBuf,
    /// How the list is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Runs the command.
///
/// # Errors
///
/// When the directory cannot be read or stdout is closed.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let survey = sweep::survey(&args.dir)?;
    print(&survey, args.format)?;
    if survey.stale.is_empty() {
        return Ok(exit::OK);
    }
    if args.dry_run {
        return Ok(exit::FINDING);
    }
    if !args.yes && !confirmed()? {
        writeln!(
            std::io::stderr(),
            "nothing removed; `--yes` removes without asking"
        )?;
        return Ok(exit::FINDING);
    }
    let mut code = exit::OK;
    for stale in &survey.stale {
        // The rest is removed even where one run cannot be.
        if let Err(error) = sweep::remove(stale).with_context(|| format!("sweep {stale}")) {
            writeln!(std::io::stderr(), "cowlab: {error:#}")?;
            code = exit::FINDING;
        }
    }
    Ok(code)
}

fn print(survey: &Survey, format: Format) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if format == Format::Json {
        let stale: Vec<_> = survey
            .stale
            .iter()
            .map(|stale| json!({"run": stale.run, "directory": stale.directory, "pid": stale.pid, "objects": stale.objects}))
            .collect();
        let left: Vec<_> = survey
            .left
            .iter()
            .map(|left| json!({"path": left.path, "reason": left.reason}))
            .collect();
        writeln!(out, "{}", json!({"stale": stale, "left": left}))?;
        return Ok(());
    }
    for stale in &survey.stale {
        writeln!(out, "{stale}")?;
        for object in &stale.objects {
            writeln!(out, "  {object}")?;
        }
    }
    for left in &survey.left {
        writeln!(out, "stays: {left}")?;
    }
    if survey.stale.is_empty() {
        writeln!(out, "nothing to sweep")?;
    }
    Ok(())
}

/// Asks at the terminal; without one the answer is no.
pub(crate) fn confirmed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    write!(std::io::stderr(), "Remove these? [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
