//! `cowlab run`, `ps`, `exec` and the other verbs about containers, also as `cowlab container ...`. Flags and words are
//! docker's.

mod attach;
mod change;
mod create;
mod fields;
mod list;
mod live;
mod select;

use std::io::Write;

use clap::Subcommand;
use cowlab_runtime::Root;
use cowlab_runtime::container::{Containers, Found, StartOptions};

use crate::filter::Filters;
use crate::root::{RootArgs, monitor_arguments};
use crate::{exit, prune};

pub(crate) use list::document;
pub(crate) use live::{MonitorArgs, monitor};

/// Work with containers.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: AnyVerb,
}

/// All verbs; `inspect` has a short form that is about more than containers, and `prune` none.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum AnyVerb {
    #[command(flatten)]
    Common(Verb),
    /// Print all that is known about containers, as JSON.
    Inspect(list::InspectArgs),
    /// Remove all containers that do not run.
    Prune(PruneArgs),
}

/// What can be done with containers.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Verb {
    /// Create a container and start it.
    #[command(disable_help_flag = true)]
    Run(Box<create::RunArgs>),
    /// Create a container.
    #[command(disable_help_flag = true)]
    Create(Box<create::CreateArgs>),
    /// Start containers that do not run.
    Start(live::StartArgs),
    /// Attach input and output to a container that runs.
    Attach(attach::AttachArgs),
    /// Run another program in a container that runs.
    Exec(live::ExecArgs),
    /// List containers.
    #[command(aliases = ["ls", "list"])]
    Ps(list::PsArgs),
    /// Print what a container wrote.
    Logs(list::LogsArgs),
    /// Stop containers: send a signal, and SIGKILL after a timeout.
    Stop(live::StopArgs),
    /// Stop containers and start them again; those that do not run are started.
    Restart(live::RestartArgs),
    /// Send a signal to containers.
    Kill(live::KillArgs),
    /// Suspend all processes of containers.
    Pause(live::NamesArgs),
    /// Resume all processes of paused containers.
    Unpause(live::NamesArgs),
    /// Wait until containers exit and print their exit statuses.
    Wait(live::NamesArgs),
    /// Remove containers with their writable layers.
    Rm(live::RmArgs),
    /// List the paths that a container added, changed or deleted.
    Diff(change::DiffArgs),
    /// Copy files between a container and the host.
    Cp(change::CpArgs),
    /// Create an image from the changes of a container.
    Commit(change::CommitArgs),
    /// Write the tree of a container as a tar.
    Export(change::ExportArgs),
}

/// Runs the command.
///
/// # Errors
///
/// What the containers or the store refused.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.verb {
        AnyVerb::Common(common) => verb(common),
        AnyVerb::Inspect(args) => list::inspect(args),
        AnyVerb::Prune(args) => prune(args),
    }
}

/// Runs one verb.
pub(crate) fn verb(verb: &Verb) -> anyhow::Result<u8> {
    match verb {
        Verb::Run(args) => create::run(args),
        Verb::Create(args) => create::create(args),
        Verb::Start(args) => live::start(args),
        Verb::Attach(args) => attach::attach(args),
        Verb::Exec(args) => live::exec(args),
        Verb::Ps(args) => list::ps(args),
        Verb::Logs(args) => list::logs(args),
        Verb::Stop(args) => live::stop(args),
        Verb::Restart(args) => live::restart(args),
        Verb::Kill(args) => live::kill(args),
        Verb::Pause(args) => live::pause(args),
        Verb::Unpause(args) => live::unpause(args),
        Verb::Wait(args) => live::wait(args),
        Verb::Rm(args) => live::rm(args),
        Verb::Diff(args) => change::diff(args),
        Verb::Cp(args) => change::cp(args),
        Verb::Commit(args) => change::commit(args),
        Verb::Export(args) => change::export(args),
    }
}

/// Flags of `cowlab container prune`.
#[derive(Debug, clap::Args)]
struct PruneArgs {
    #[command(flatten)]
    asked: prune::Args,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    root: RootArgs,
}

fn prune(args: &PruneArgs) -> anyhow::Result<u8> {
    let filters = Filters::new(&args.asked.filter, &["label", "label!", "until"], &[])?;
    let until = filters.until()?;
    args.asked.confirm("all stopped containers")?;
    let open = Open::new(&args.root)?;
    let pruned = open.containers()?.prune(|found| {
        let record = &found.record;
        until.is_none_or(|until| record.created < until) && filters.have_labels(&record.labels)
    })?;
    prune::tell("Containers", &pruned, args.json)?;
    Ok(exit::OK)
}

/// An open root.
struct Open {
    root: Root,
}

impl Open {
    fn new(args: &RootArgs) -> anyhow::Result<Self> {
        let root = args.open()?;
        Ok(Self { root })
    }

    fn containers(&self) -> anyhow::Result<Containers<'_>> {
        Ok(Containers::open(&self.root)?)
    }

    fn start_options(&self, input_ends: bool) -> StartOptions {
        StartOptions {
            measure: false,
            monitor: monitor_arguments(&self.root),
            input_ends,
        }
    }
}

/// Does something with each of the containers: what can be done is, whatever cannot.
fn each(
    containers: &Containers<'_>,
    names: &[String],
    mut work: impl FnMut(&Found) -> anyhow::Result<()>,
) -> anyhow::Result<u8> {
    each_name(names, |name| work(&containers.find(name)?))
}

/// Does something with each of the names, as [`each`] does.
fn each_name(
    names: &[String],
    mut work: impl FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<u8> {
    let mut first = None;
    for name in names {
        match work(name) {
            Ok(()) => {}
            Err(error) if first.is_none() => first = Some(error),
            Err(error) => writeln!(std::io::stderr(), "cowlab: {error:#}")?,
        }
    }
    first.map_or(Ok(exit::OK), Err)
}

/// A program's exit status as this process's own.
fn status(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(exit::FINDING)
}
