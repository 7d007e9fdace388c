//! `cowlab guest`: the throw-away machine in which the drivers run that this host's kernel lacks.

mod run;

use clap::Subcommand;

/// Runs commands in a throw-away machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command in a new guest, as root, and exit with its exit status.
    ///
    /// What it writes arrives at once. Nothing of the guest stays: its disks are files without names, and it ends with this
    /// command whatever ends that. Needs no root.
    #[command(after_help = run::EXAMPLES)]
    Run(run::RunArgs),
    /// Open a shell in a new guest; `exit` or Ctrl-D ends it.
    Shell(run::ShellArgs),
}

/// Runs the command.
///
/// # Errors
///
/// When there is no exit status of the guest's command to pass on.
pub(crate) fn run(args: Args) -> anyhow::Result<u8> {
    match args.command {
        Command::Run(args) => run::run(args),
        Command::Shell(args) => run::shell(args),
    }
}
