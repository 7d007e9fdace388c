//! `cowlab`, the copy-on-write lab: every command of the product.
//!
//! Verbs are subcommands, flags only filter. stdout is the result, stderr the progress. The exit codes are those of
//! [`exit`]; `cargo xtask` builds this program and calls it.

mod build;
mod container;
mod docker;
mod exit;
mod filter;
mod format;
mod guest;
mod image;
mod inspect;
mod layer;
mod manual;
mod output;
mod place;
mod prune;
mod report;
mod root;
mod snapshot;
mod sweep;
mod system;
mod table;
mod unshare;
mod version;
mod volume;
mod words;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use cowlab_runtime::container::causes::Causes;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Which storage driver, on which backing file system, should containers on this host use, and what will it do to them?
///
/// The copy-on-write lab answers with evidence: it runs one list of semantics over every driver, measures what a
/// copy-up and a byte changed really cost on this machine's kernel, and turns both into a report.
///
/// Everything runs on throw-away loop devices named `cowlab-test-...`, which are removed at the end; `cowlab sweep` removes what
/// a killed run left.
#[derive(Debug, Parser)]
#[command(name = "cowlab", version, max_term_width = 100, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// The flags of a command are built when it is called: those of all take longer than most commands.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Command {
    /// Check union, copy-on-write and whiteout semantics of every driver.
    Conformance(Box<cowlab_conformance::Args>),
    /// Measure copy-up latency, life-cycle latency and capacity overhead.
    Bench(Box<cowlab_bench::Args>),
    /// Probe, check and measure the drivers, and write a driver-selection report for this host.
    Report(report::Args),
    /// List, then remove, what killed runs left on this machine.
    Sweep(sweep::Args),
    /// Build and run the guest: a throw-away machine with ZFS and device-mapper.
    Guest(guest::Args),
    /// Build an image from a Dockerfile.
    Build(Box<build::BuildArgs>),
    /// Build images, and prune the build cache.
    Builder(build::BuilderArgs),
    /// Work with images.
    Image(image::Args),
    /// List the images.
    Images(image::ListArgs),
    /// Show the steps that made an image.
    History(image::HistoryArgs),
    /// Get an image from a registry.
    Pull(image::PullArgs),
    /// Send an image to a registry.
    Push(image::PushArgs),
    /// Log in to a registry.
    Login(image::LoginArgs),
    /// Log out of a registry.
    Logout(image::LogoutArgs),
    /// Load images from an archive or an OCI image layout.
    Load(image::LoadArgs),
    /// Save images to an archive or an OCI image layout.
    Save(image::SaveArgs),
    /// Create an image from the tar of a root file system.
    Import(image::ImportArgs),
    /// Add a name to an image.
    Tag(image::TagArgs),
    /// Remove names of images, and images that have no name left.
    Rmi(image::RemoveArgs),
    /// Show layers: their parents, their directories and the images that share them.
    Layer(layer::Args),
    /// Manage the root: disk usage, checks, pruning.
    System(system::Args),
    /// Show the root, its driver and what it keeps.
    Info(system::ShowArgs),
    /// Print the version of the program, of the kernel and of the specifications, and the drivers.
    Version(version::Args),
    /// Work on the snapshot store by hand: prepare, mount, commit, compare.
    Snapshot(snapshot::Args),
    /// Work with containers.
    Container(container::Args),
    #[command(flatten)]
    Containers(container::Verb),
    /// Show which layer a path of a container comes from, and what a write to it copies up.
    Where(place::Args),
    /// Print all that is known about containers, images and volumes, as JSON.
    Inspect(inspect::Args),
    /// Work with volumes.
    Volume(volume::Args),
    /// Print which of docker's verbs and flags are supported, and why others are not.
    Docker(docker::Args),
    /// Print the completion script of a shell.
    Completion(manual::CompletionArgs),
    /// Write man pages, one a command.
    Man(manual::ManArgs),
    /// Run a program in the user namespace of an unprivileged user's root.
    Unshare(unshare::Args),
}

/// What only cowlab itself calls, and with every container: to build the tree of all commands takes longer than what it has to do.
#[derive(Debug, Parser)]
enum OwnCommand {
    /// The monitor of a container; `start` and `run` call it.
    Monitor(container::MonitorArgs),
}

fn main() -> ExitCode {
    cowlab_sys::signals::keep_ended_children();
    log();
    if let Err(error) = cowlab_sys::process::raise_open_files_limit() {
        tracing::debug!(%error, "the limit of open descriptors stays");
    }
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == "monitor")
    {
        let OwnCommand::Monitor(args) = OwnCommand::parse();
        return end(container::monitor(&args), exit::Output::Text);
    }
    let command = match parsed() {
        Ok(command) => command,
        Err(code) => return code,
    };
    let output = match &command {
        Command::Snapshot(args) => args.output(),
        _ => exit::Output::Text,
    };
    let result = match command {
        Command::Conformance(args) => cowlab_conformance::run(&args),
        Command::Bench(args) => cowlab_bench::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Guest(args) => guest::run(args),
        Command::Build(args) => build::build(&args),
        Command::Builder(args) => build::builder(&args),
        Command::Image(args) => image::run(&args),
        Command::Images(args) => image::list(&args),
        Command::History(args) => image::history(&args),
        Command::Pull(args) => image::pull(&args),
        Command::Push(args) => image::push(&args),
        Command::Login(args) => image::login(&args),
        Command::Logout(args) => image::logout(&args),
        Command::Load(args) => image::load(&args),
        Command::Save(args) => image::save(&args),
        Command::Import(args) => image::import(&args),
        Command::Tag(args) => image::tag(&args),
        Command::Rmi(args) => image::remove(&args),
        Command::Layer(args) => layer::run(&args),
        Command::System(args) => system::run(&args),
        Command::Info(args) => system::info(&args),
        Command::Version(args) => version::run(&args),
        Command::Snapshot(args) => snapshot::run(&args),
        Command::Container(args) => container::run(&args),
        Command::Containers(verb) => container::verb(&verb),
        Command::Where(args) => place::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Volume(args) => volume::run(&args),
        Command::Docker(args) => docker::run(&args),
        Command::Completion(args) => manual::completion(&args, &Cli::command()),
        Command::Man(args) => manual::man(&args, Cli::command()),
        Command::Unshare(args) => unshare::run(&args),
    };
    end(result, output)
}

fn end(result: anyhow::Result<u8>, output: exit::Output) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => exit::report(&error, output),
    }
}

/// Has warnings go to stderr, one line a problem.
fn log() {
    // Cases fill disks and take layers with names twice on purpose; what the store warns of is in no result.
    let mut words = std::env::args_os().skip(1);
    let is_of_suite = words.next().is_some_and(|word| word == "conformance")
        && words
            .next()
            .is_some_and(|word| word == "column" || word == "faults");
    let silent: &[&str] = if is_of_suite {
        &["cowlab_snapshots"]
    } else {
        &[]
    };
    // What processes that libcontainer forks log is part of the error that is returned.
    let causes = tracing_subscriber::fmt::layer()
        .with_writer(Causes::default)
        .with_ansi(false)
        .with_level(false)
        .with_target(false)
        .without_time();
    tracing_subscriber::registry()
        .with(cowlab_engine::log::lines(silent))
        .with(causes.with_filter(Targets::new().with_target("libcontainer", LevelFilter::ERROR)))
        .init();
}

/// Reads the command line; a command that is not to be run has its exit code.
fn parsed() -> Result<Command, ExitCode> {
    let words = words::arranged(std::env::args_os().collect(), &Cli::command);
    match Cli::try_parse_from(&words) {
        Ok(cli) => Ok(cli.command),
        Err(error) if error.use_stderr() => {
            let printed = match docker::refusal(&error, &words) {
                Some(refusal) => writeln!(std::io::stderr(), "cowlab: {refusal}"),
                None => error.print(),
            };
            Err(ExitCode::from(match (printed, words::is_run(&words)) {
                (Err(_), _) => exit::FINDING,
                (Ok(()), true) => exit::BEFORE_START,
                (Ok(()), false) => exit::USAGE,
            }))
        }
        Err(error) => error.exit(),
    }
}
