//! `cowlab unshare`: a program in the user namespace of an ordinary user, as podman's.

use std::ffi::OsString;

use cowlab_sys::Cmd;

use crate::exit;
use crate::root::RootArgs;

/// Run a program in the user namespace where an ordinary user is root: it may change and remove what containers and images
/// own in the root.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    root: RootArgs,
    /// The program and its arguments [default: the shell].
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Runs the command.
///
/// # Errors
///
/// What keeps the user from having a namespace; a program that cannot be started.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    args.root.enter()?;
    let shell = || std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let command = match args.command.split_first() {
        Some((program, arguments)) => Cmd::new(program).args(arguments),
        None => Cmd::new(shell()),
    };
    // Not in its place: as long as this process is there, others find the namespace by it.
    let status = command.status_inherit()?;
    Ok(u8::try_from(status).unwrap_or(exit::FINDING))
}
