//! `cowlab guest`: the throw-away machine in which the drivers run that this host's kernel lacks.

mod archive;
mod build;
mod list;
mod run;

use clap::Subcommand;

/// Builds, lists and runs the guest: a throw-away machine with ZFS and device-mapper, for what this host's kernel lacks.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Command {
    /// Run a command in a new guest, as root, and exit with its exit status.
    ///
    /// Its output is passed on as it is written. The guest leaves nothing behind: its disks are unlinked files, and QEMU ends
    /// with this command, however that ends. Needs no root.
    #[command(after_help = run::EXAMPLES)]
    Run(run::RunArgs),
    /// Build a guest image, unless the cache has what the mirror's packages would make.
    ///
    /// Debian packages are unpacked, ZFS is compiled in them, and the result is started once. It takes minutes; nothing of the
    /// host changes but the cache. Images that the new one replaces are removed when nobody uses them.
    #[command(after_help = build::EXAMPLES)]
    Build(build::BuildArgs),
    /// List the images in the cache, newest first.
    List(list::ListArgs),
    /// Write an image to a file, for machines without a network.
    Export(archive::ExportArgs),
    /// Import an image that `guest export` wrote.
    Import(archive::ImportArgs),
    /// Open a shell in a new guest; `exit` or Ctrl-D ends it.
    Shell(run::ShellArgs),
}

/// Runs the command.
///
/// # Errors
///
/// When there is no exit status of the guest's command to pass on, or no image to show.
pub(crate) fn run(args: Args) -> anyhow::Result<u8> {
    match args.command {
        Command::Run(args) => run::run(args),
        Command::Shell(args) => run::shell(args),
        Command::Build(args) => build::run(&args),
        Command::List(args) => list::run(&args),
        Command::Export(args) => archive::export(&args),
        Command::Import(args) => archive::import(&args),
    }
}
