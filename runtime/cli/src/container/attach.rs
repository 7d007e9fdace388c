//! `cowlab attach`, and what `run`, `start` and it have in common: a session with a container.

use std::io::IsTerminal;

use anyhow::Context;
use cowlab_runtime::container::{
    AttachOptions, Containers, DetachKeys, End, Phase, Record, Session,
};

use super::{Open, status};
use crate::exit::{self, Stop};
use crate::root::RootArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    keys: KeyArgs,
    /// Do not attach standard input.
    #[arg(long)]
    no_stdin: bool,
    #[command(flatten)]
    proxy: ProxyArgs,
    /// Name or id.
    container: String,
    #[command(flatten)]
    root: RootArgs,
}

// What ends a session.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct KeyArgs {
    /// Key sequence that detaches from the container [default: ctrl-p,ctrl-q].
    #[arg(
        long,
        value_name = "KEYS",
        default_value = "",
        hide_default_value = true
    )]
    detach_keys: DetachKeys,
}

// What becomes of signals.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ProxyArgs {
    /// Pass signals on to the program.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    sig_proxy: bool,
}

impl Default for ProxyArgs {
    fn default() -> Self {
        Self { sig_proxy: true }
    }
}

/// `cowlab attach`.
pub(super) fn attach(args: &AttachArgs) -> anyhow::Result<u8> {
    let open = Open::new(&args.root)?;
    let containers = open.containers()?;
    let found = containers.find(&args.container)?;
    let record = &found.record;
    let input = !args.no_stdin && record.interactive;
    if record.terminal && !args.no_stdin && !std::io::stdin().is_terminal() {
        let message = "the container has a terminal, and standard input is not a terminal: `--no-stdin` attaches the output alone";
        return Err(stop(exit::USAGE, message.to_owned()));
    }
    let mut session = containers.attach(&found)?;
    let end = hold(
        &containers,
        record,
        &mut session,
        input,
        &args.keys,
        &args.proxy,
    )?;
    match end {
        // Docker's words and its status.
        None => Err(stop(exit::FINDING, "read escape sequence".to_owned())),
        Some(code) => Ok(code),
    }
}

/// Passes on between this process and a container until one of them ends; returns the program's exit status, or none where the
/// keys that detach were typed.
///
/// # Errors
///
/// When the program goes on without this process, or nobody saw its end.
pub(super) fn hold(
    containers: &Containers<'_>,
    record: &Record,
    session: &mut Session,
    input: bool,
    keys: &KeyArgs,
    proxy: &ProxyArgs,
) -> anyhow::Result<Option<u8>> {
    let options = AttachOptions {
        input,
        terminal: record.terminal,
        passes_signals: proxy.sig_proxy,
        detach_keys: keys.detach_keys.clone(),
    };
    let pass_on = |signal| {
        if let Err(error) = containers.signal(record, signal) {
            tracing::debug!(%error, "a signal came too late");
        }
    };
    match session.attach(options, pass_on)? {
        End::Status(code) => Ok(Some(status(code))),
        End::Detached => Ok(None),
        End::Signal(signal) => Ok(Some(status(128 + signal))),
        End::Lost => Err(lost(containers, record)?),
        End::Unread => Err(unread(record)),
    }
}

/// What is known of a container whose monitor died, or detached a command that read nothing.
fn lost(containers: &Containers<'_>, record: &Record) -> anyhow::Result<anyhow::Error> {
    let name = &record.name;
    let is_watched = containers
        .find(&record.id)
        .is_ok_and(|found| found.phase == Phase::Running);
    let code = containers.wait(record).context("wait for the container")?;
    let message = match is_watched {
        true => format!(
            "the output of container `{name}` was not read for too long: `cowlab logs {name}` has the rest"
        ),
        false => format!("the monitor of container `{name}` died: its last output is lost"),
    };
    Ok(stop(code.map_or(125, status), message))
}

/// What is said where nobody reads the output of a container that goes on; docker's client ends with this status then.
fn unread(record: &Record) -> anyhow::Error {
    let name = &record.name;
    let message = format!(
        "nobody reads the output of container `{name}` any more, and it goes on: `cowlab logs {name}` prints it, `cowlab stop {name}` ends it"
    );
    stop(exit::FINDING, message)
}

fn stop(code: u8, message: String) -> anyhow::Error {
    Stop { code, message }.into()
}
