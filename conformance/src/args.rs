//! The command line.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use cowlab_engine::places::Where;

use crate::faults::Fault;

/// Checks storage drivers: union, copy-on-write, whiteout and life-cycle semantics against a plain directory.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Runs the cases; the same as no command.
    Run(Box<RunArgs>),
    /// Prints each case: id, numbers in the catalogue of checks, claim.
    List(ListArgs),
    /// Prints how far the cases cover each check of the catalogue.
    Coverage(CoverageArgs),
    /// Prints the declared deviations of every driver.
    Deviations(DeviationsArgs),
    /// Runs cases of one column in this process and prints the results: what a run asks of a process of its own.
    #[command(hide = true)]
    Column(ColumnArgs),
    /// Serves a mount with a fault until it is unmounted: the process that an injected fault starts.
    #[command(hide = true)]
    FaultyMount(FaultyMountArgs),
    /// Injects faults into a driver and a store, one at a time, and counts those that the cases of their check detect.
    Faults(FaultsArgs),
}

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct RunArgs {
    /// Run only cases with this text in their name, `driver/variant/backing::group/claim`.
    #[arg(value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// Check these drivers.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) driver: Vec<String>,
    /// Check these variants of the drivers, or `all` [default: `default`].
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) variant: Vec<String>,
    /// Check on these backing file systems, or `all` [default: the usual ones of each driver; cases of containers run on the
    /// first of them, and in a guest only with `--case runtime`].
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) backing: Vec<String>,
    /// Run these cases, by id or by group.
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    pub(crate) case: Vec<String>,
    /// Run on this kernel (host), in the throw-away machine (guest), or each case where its needs are met (auto).
    #[arg(long = "where", value_name = "PLACE", default_value_t)]
    pub(crate) place: Where,
    /// Number of columns that run at once on the host, and number of guests beside them.
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) jobs: u8,
    /// Run on a host where a container engine runs.
    #[arg(long)]
    pub(crate) on_live_host: bool,
    /// What to print on standard output.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Print JSON; short for `--format json`.
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Write a JUnit report.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Append the results, one JSON line each, as soon as they are known.
    #[arg(long, value_name = "FILE")]
    pub(crate) results: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) options: Options,
}

// How the cases of a column are run.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Options {
    /// Count skips of these drivers, or of `all`, as failures, unless the file system can never have the feature, or with
    /// `--where host` the kernel lacks it.
    #[arg(long, value_delimiter = ',', value_name = "DRIVER")]
    pub(crate) strict: Vec<String>,
    /// Count cases that lack an external checker (skopeo, umoci, podman, buildah, docker-registry) as failures; `cargo xtask
    /// setup --judges` installs them.
    #[arg(long)]
    pub(crate) strict_judges: bool,
    /// Run every case in a store of its own.
    #[arg(long)]
    pub(crate) isolate: bool,
    /// Keep the store of a case that does not pass, with its last snapshot mounted, and print where it is.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Seed of the order of the cases.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// Number of orders to run everything in; a result that differs between them is a failure.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(crate) seeds: u64,
    /// Run cases that may crash or hang the kernel on the host instead of in the guest.
    #[arg(long)]
    pub(crate) risk_kernel: bool,
    /// Make the throw-away file systems in this directory; without it that of `COWLAB_TEST_DIR`, else `/var/tmp`.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// What is missing for a guest, where one is wanted.
    #[arg(skip)]
    pub(crate) no_guest: Option<String>,
    /// Take what fails as it is, instead of running it again and alone.
    #[arg(skip)]
    pub(crate) unconfirmed: bool,
    /// A fault to plant.
    #[arg(skip)]
    pub(crate) fault: Option<&'static Fault>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ColumnArgs {
    /// The column, as `driver/variant/backing`.
    #[arg(value_name = "COLUMN")]
    pub(crate) column: String,
    /// A file with the ids of the cases, a line each.
    #[arg(long, value_name = "FILE")]
    pub(crate) cases: PathBuf,
    /// A Debian root file system, as a tar.
    #[arg(long, value_name = "FILE")]
    pub(crate) debian: Option<PathBuf>,
    /// What is missing for a guest, where one is wanted.
    #[arg(long, value_name = "TEXT")]
    pub(crate) no_guest: Option<String>,
    #[command(flatten)]
    pub(crate) options: Options,
}

impl RunArgs {
    /// What to print on standard output.
    pub(crate) const fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// What is printed on standard output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A mark per case, the failures, a matrix of groups.
    #[default]
    Text,
    /// One JSON line per result.
    Json,
    /// The full matrix, case by column.
    Markdown,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// List these cases, by id or by group.
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    pub(crate) case: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CoverageArgs {
    /// Print a JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeviationsArgs {
    /// List those of these drivers.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) driver: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FaultyMountArgs {
    /// The fault.
    #[arg(value_name = "ID")]
    pub(crate) fault: String,
    /// The number of the open directory that is shown.
    #[arg(value_name = "DESCRIPTOR")]
    pub(crate) tree: i32,
}

#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct FaultsArgs {
    /// Inject only these faults.
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    pub(crate) fault: Vec<String>,
    /// Inject only the faults of these checks, by their numbers in the catalogue.
    #[arg(long, value_delimiter = ',', value_name = "NUMBER")]
    pub(crate) check: Vec<String>,
    /// Plant them in this driver; without it in the first that stacks directories.
    #[arg(long, value_name = "NAME")]
    pub(crate) driver: Option<String>,
    /// Write what became of each fault to this file, in place of what it has of the same faults on this driver.
    #[arg(long, value_name = "FILE")]
    pub(crate) publish: Option<PathBuf>,
    /// Make the throw-away file system in this directory; without it that of `COWLAB_TEST_DIR`, else `/var/tmp`.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Run on a host where a container engine runs.
    #[arg(long)]
    pub(crate) on_live_host: bool,
}
