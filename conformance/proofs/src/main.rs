//! `cowlab-proofs`: slow proofs of what the README promises, each with a measured answer.
//!
//! `cargo xtask prove` and `cargo xtask verify` build it beside `cowlab` and call it; `verify` publishes the outcome. A proof runs
//! in a mount namespace of its own, on throw-away file systems, and exits with 0 where its claim holds and with 1 where it
//! does not. Each takes a planted fault, under which it must not hold.

mod commands;
mod deterministic;
mod guest_ends;
mod hundred_containers;
mod judgement;
mod kill_nine;
mod killed_commands;
mod listing;
mod memory;
mod power_cuts;
mod root;
mod same_image;
mod store;
mod sweep_live;
mod thin_pools;
mod traces;
mod work;

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context;
use clap::{Parser, Subcommand};
use cowlab_driver::Entry;
use cowlab_engine::exit::{self, Stop};
use cowlab_engine::log;
use cowlab_guest::ready;
use cowlab_sys::cmd::Running;
use cowlab_sys::{Cmd, Guard, IdSource, interrupt};
use cowlab_testbed::{Backing, BackingFs, BackingOptions, Media, Run};

/// Proves a claim of the README.
#[derive(Debug, Parser)]
#[command(name = "cowlab-proofs", version, max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    claim: Claim,
    /// Where throw-away file systems are made; also COWLAB_TEST_DIR.
    #[arg(long, value_name = "DIR", global = true)]
    dir: Option<PathBuf>,
    /// Run the proof in the throw-away machine.
    #[arg(long, global = true)]
    in_guest: bool,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Claim {
    /// A store survives kill -9 of any of its processes, and another store does not notice.
    KillNine(kill_nine::Args),
    /// Applying a layer of 1 GiB stays under 64 MiB of resident memory.
    Memory(memory::Args),
    /// Two runs that count instructions are the same, line by line.
    Deterministic(deterministic::Args),
    /// A guest that ends in any way leaves nothing, and says why.
    GuestEnds(guest_ends::Args),
    /// A sweep beside a live run and a live store removes nothing of theirs.
    SweepBesideLive(sweep_live::Args),
    /// A hundred containers of one image, started and removed by ten processes at a time, leave nothing.
    HundredContainers(hundred_containers::Args),
    /// Commands that are killed at any moment happen whole or not at all, and leave nothing.
    KilledCommands(killed_commands::Args),
    /// A power cut at any moment loses nothing that was acknowledged and leaves nothing half.
    PowerCuts(power_cuts::Args),
    /// An image is the same tree, and the same layers again, on every driver.
    SameImageEveryDriver(same_image::Args),
    /// Thin pools of others are not written to, and full ones are named and cost nothing that was committed.
    ThinPools(thin_pools::Args),
    /// One of the processes that `kill-nine` kills.
    #[command(hide = true)]
    KillNineWorker(kill_nine::WorkerArgs),
    /// One of the processes that `sweep-beside-live` starts.
    #[command(hide = true)]
    SweepHolder(sweep_live::HolderArgs),
}

fn main() -> ExitCode {
    cowlab_sys::signals::keep_ended_children();
    log::start();
    if let Err(error) = cowlab_sys::process::raise_open_files_limit() {
        tracing::debug!(%error, "the limit of open descriptors stays");
    }
    match run(&Args::parse()) {
        Ok(code) => code.into(),
        Err(error) => exit::report(&error),
    }
}

/// Runs the proof and returns the exit code.
///
/// # Errors
///
/// When the proof could not be made, which says nothing about the claim.
fn run(args: &Args) -> anyhow::Result<u8> {
    if args.in_guest {
        return run_in_guest();
    }
    exit::need_root("cowlab-proofs")?;
    match &args.claim {
        Claim::KillNineWorker(worker) => return kill_nine::work(worker),
        Claim::SweepHolder(holder) => return sweep_live::hold(holder),
        _ => {}
    }
    interrupt::watch()?;
    // Nobody else sees, copies or pins the mounts of a proof, and they end with it.
    let run = Run::start_with_private_mounts(args.dir.clone(), IdSource::Kernel)?;
    let mut findings = Findings::default();
    let proved = match &args.claim {
        Claim::KillNine(args) => kill_nine::prove(args, &run, &mut findings),
        Claim::Memory(args) => memory::prove(args, &run, &mut findings),
        Claim::Deterministic(args) => deterministic::prove(args, &run, &mut findings),
        Claim::GuestEnds(args) => guest_ends::prove(args, &run, &mut findings),
        Claim::SweepBesideLive(args) => sweep_live::prove(args, &run, &mut findings),
        Claim::HundredContainers(args) => hundred_containers::prove(args, &run, &mut findings),
        Claim::KilledCommands(args) => killed_commands::prove(args, &run, &mut findings),
        Claim::PowerCuts(args) => power_cuts::prove(args, &run, &mut findings),
        Claim::SameImageEveryDriver(args) => same_image::prove(args, &run, &mut findings),
        Claim::ThinPools(args) => thin_pools::prove(args, &run, &mut findings),
        Claim::KillNineWorker(_) | Claim::SweepHolder(_) => Ok(()),
    };
    // Closed in either case, so that a failure does not hide what is left behind.
    let closed = run.close();
    proved?;
    closed?;
    findings.conclude()
}

/// Runs the same proof in the guest, which has what this kernel lacks: with `cowlab` and this program.
fn run_in_guest() -> anyhow::Result<u8> {
    let proofs = std::env::current_exe()?;
    let mut machine = ready::with_program(None, &proofs.with_file_name("cowlab"))?;
    let place = Path::new(ready::PROGRAM_IN_GUEST).with_file_name(env!("CARGO_PKG_NAME"));
    machine.command = vec![place.clone().into()];
    let arguments = std::env::args_os().skip(1);
    machine
        .command
        .extend(arguments.filter(|word| word != "--in-guest"));
    machine.payload.push((proofs, place));
    interrupt::watch()?;
    let exit = machine.run(&mut std::io::stdout(), &mut std::io::stderr())?;
    stop_if_asked()?;
    Ok(exit.code)
}

/// What speaks against a claim.
#[derive(Debug, Default)]
struct Findings(Vec<String>);

impl Findings {
    fn add(&mut self, finding: impl Display) {
        let finding = finding.to_string();
        tracing::info!(finding, "found");
        self.0.push(finding);
    }

    fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Prints the findings, each once, and the verdict; returns the exit code.
    fn conclude(mut self) -> anyhow::Result<u8> {
        self.0.sort();
        self.0.dedup();
        for finding in &self.0 {
            say(format_args!("finding: {finding}"))?;
        }
        if self.are_none() {
            say("the claim holds")?;
            return Ok(exit::OK);
        }
        say("the claim does not hold")?;
        Ok(exit::FINDING)
    }
}

/// Prints a line of the result.
fn say(line: impl Display) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}

/// Ends the proof where Ctrl-C was pressed: what is held is given back on the way out.
fn stop_if_asked() -> anyhow::Result<()> {
    if !interrupt::requested() {
        return Ok(());
    }
    Err(Stop {
        code: interrupt::EXIT_CODE,
        message: "interrupted".to_owned(),
    }
    .into())
}

/// Makes a file system, has `work` done on it and takes it back, whatever became of the work.
fn on_file_system<T>(
    run: &Run,
    backing: Backing,
    media: Media,
    bytes: u64,
    work: impl FnOnce(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    on_backing(run, backing, media, bytes, |made| work(made.mount_point()))
}

/// Does the same for who needs more of it than its directory.
fn on_backing<T>(
    run: &Run,
    backing: Backing,
    media: Media,
    bytes: u64,
    work: impl FnOnce(&BackingFs) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let options = BackingOptions {
        bytes,
        media,
        ..BackingOptions::default()
    };
    let mut made: BackingFs = run.backing(backing, &options)?;
    let done = work(&made);
    let closed = made.close();
    let done = done?;
    closed?;
    Ok(done)
}

/// The program that is proved, which is built beside this one.
fn cowlab() -> anyhow::Result<Cmd> {
    Ok(Cmd::new(std::env::current_exe()?.with_file_name("cowlab")))
}

/// Starts a subcommand of this program in a process of its own.
fn start(arguments: impl IntoIterator<Item = String>) -> anyhow::Result<Running> {
    let program = std::env::current_exe()?;
    Ok(Cmd::new(program).args(arguments).spawn()?)
}

/// A driver of the registry, as flags name it.
#[derive(Debug, Clone, Copy)]
struct Driver(&'static Entry);

impl Driver {
    /// Those that run on most hosts.
    fn all() -> Vec<Self> {
        let host = |entry: &&&'static Entry| !entry.needs_guest;
        let entries = cowlab_drivers::all().iter().filter(host);
        entries.map(|entry| Self(entry)).collect()
    }

    /// The one that most hosts use.
    fn usual() -> Self {
        Self(cowlab_drivers::all()[0])
    }

    /// The one that is mostly used on a backing file system.
    fn of(backing: Backing) -> Option<Self> {
        let on = |entry: &&&'static Entry| entry.backings.first() == Some(&backing.name());
        cowlab_drivers::all()
            .iter()
            .find(on)
            .map(|entry| Self(entry))
    }

    /// The name in the registry.
    const fn name(self) -> &'static str {
        self.0.name
    }

    /// The file system that it is proved on.
    fn backing(self) -> Backing {
        let name = self.0.backings.first().copied().unwrap_or_default();
        name.parse()
            .expect("the registry names file systems of the testbed")
    }

    const fn entry(self) -> &'static Entry {
        self.0
    }
}

impl FromStr for Driver {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        let found = cowlab_drivers::find(name).map(Self);
        found.with_context(|| format!("there is no driver `{name}`"))
    }
}

impl Display for Driver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_names_file_systems_of_the_testbed() {
        for entry in cowlab_drivers::all() {
            let measured = entry.measured.iter();
            let measured = measured.flat_map(|one| one.backings.iter().chain(one.when_thorough));
            for name in entry.backings.iter().chain(measured) {
                assert!(name.parse::<Backing>().is_ok(), "{}: {name}", entry.name);
            }
        }
    }
}
