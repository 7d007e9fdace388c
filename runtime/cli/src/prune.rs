//! What `container prune`, `image prune` and `volume prune` have in common: flags, the question before, what is told after.

use std::io::{IsTerminal, Write};

use cowlab_runtime::container::Pruned;

use crate::exit::{self, Stop};
use crate::filter::{self, Filter};
use crate::table;

// Flags of every `prune`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only what fulfils a condition, such as `label=NAME[=VALUE]` or `until=24h`; the error of an unknown one lists them.
    #[arg(long, value_name = "NAME=VALUE", value_parser = filter::parse)]
    pub(crate) filter: Vec<Filter>,
    /// Do not ask for confirmation.
    #[arg(long, short)]
    force: bool,
}

impl Args {
    /// Asks at the terminal whether to go on, in docker's words.
    ///
    /// # Errors
    ///
    /// [`Stop`] where the answer is not yes, and where there is no terminal.
    pub(crate) fn confirm(&self, what: &str) -> anyhow::Result<()> {
        confirm(self.force, what)
    }
}

/// Asks at the terminal whether to go on, in docker's words, unless it is forced.
///
/// # Errors
///
/// [`Stop`] where the answer is not yes, and where there is no terminal.
pub(crate) fn confirm(is_forced: bool, what: &str) -> anyhow::Result<()> {
    if is_forced {
        return Ok(());
    }
    let stop = |message: &str| {
        let code = exit::FINDING;
        let message = message.to_owned();
        Err(Stop { code, message }.into())
    };
    if !std::io::stdin().is_terminal() {
        return stop(
            "nothing removed: there is no terminal to ask at, and `--force` removes without asking",
        );
    }
    let mut out = std::io::stdout();
    write!(
        out,
        "WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] "
    )?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" => Ok(()),
        _ => stop("nothing removed"),
    }
}

/// Tells what was removed, in docker's words.
pub(crate) fn tell(what: &str, pruned: &Pruned, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_value(pruned)?)?);
    }
    if !pruned.removed.is_empty() {
        writeln!(out, "Deleted {what}:\n{}\n", pruned.removed.join("\n"))?;
    }
    tell_reclaimed(&mut out, pruned.reclaimed)
}

/// Tells what room there is now.
pub(crate) fn tell_reclaimed(out: &mut impl Write, bytes: u64) -> anyhow::Result<()> {
    Ok(writeln!(
        out,
        "Total reclaimed space: {}",
        table::size(bytes)
    )?)
}
