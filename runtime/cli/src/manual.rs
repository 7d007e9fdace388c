//! Completions of shells and man pages, made of the commands that the program has.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Command;
use clap_complete::Shell;

use crate::exit;

/// Print what a shell needs to complete commands and flags.
///
/// bash reads it by `source <(cowlab completion bash)`, at every start from `/etc/bash_completion.d/cowlab`; zsh from a file `_cowlab`
/// in a directory of `$fpath`, fish from `~/.config/fish/completions/cowlab.fish`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Write man pages, one a command.
///
/// `man -l DIR/cowlab-run.1` shows one; in `/usr/local/share/man/man1` man(1) finds them by their names.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The directory, which is made where it does not exist.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Runs `cowlab completion`.
pub(crate) fn completion(args: &CompletionArgs, program: &Command) -> anyhow::Result<u8> {
    // The library completes hidden commands too.
    let commands = program.get_subcommands();
    let commands = commands.filter(|command| !command.is_hide_set()).cloned();
    let mut shown = Command::new("cowlab")
        .args(program.get_arguments().cloned())
        .subcommands(commands);
    // It ends the process where it cannot write.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut shown, "cowlab", &mut text);
    std::io::stdout().write_all(&text)?;
    Ok(exit::OK)
}

/// Runs `cowlab man`.
///
/// # Errors
///
/// When the directory cannot be made or written.
pub(crate) fn man(args: &ManArgs, program: Command) -> anyhow::Result<u8> {
    let failed = || format!("failed to write `{}`", args.dir.display());
    fs::create_dir_all(&args.dir).with_context(failed)?;
    clap_mangen::generate_to(program, &args.dir).with_context(failed)?;
    Ok(exit::OK)
}
