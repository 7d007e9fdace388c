//! The command line: `bench run | list | compare`, and the proofs behind it.

use std::path::PathBuf;

use cowlab_engine::places::Where;
use cowlab_testbed::{Backing, Media};

/// Measure copy-up latency, snapshot latency and capacity overhead.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Measure on throw-away file systems.
    Run(Box<RunArgs>),
    /// Measure columns in this process and print the series: what a run asks of a process of its own.
    #[command(hide = true)]
    Columns(Box<RunArgs>),
    /// List the workloads, with their series and the time they take.
    List(ListArgs),
    /// Compare two result files, series by series; exits with 1 where something got relevantly slower or larger.
    Compare(CompareArgs),
    /// Measure everything twice, interleaved, and compare: identical arms must show no relevant change.
    #[command(hide = true)]
    Aa(RunArgs),
    /// Show that copy-up by reflink is flat in file size where a copy is linear.
    #[command(hide = true)]
    ReflinkFlat(RunArgs),
}

/// How a result is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables for a terminal.
    #[default]
    Text,
    /// One JSON line per result, as in a results file.
    Json,
    /// Tables for a page.
    Markdown,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RunArgs {
    /// Workloads, such as `copy-up` or `capacity/change`; all of them by default.
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// The whole first set in about three minutes, with wider intervals.
    #[arg(long, conflicts_with = "smoke")]
    pub(crate) quick: bool,
    /// One sample of each kind at the smallest sizes: shows that it works, says nothing about speed.
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Only these drivers.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) driver: Vec<String>,
    /// Only these variants; one that is not in the first set is measured too.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) variant: Vec<String>,
    /// Only these backing file systems: ext4, xfs, xfs-noreflink, btrfs, tmpfs.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) backing: Vec<Backing>,
    /// Only backing files on these media: disk, memory.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) media: Vec<Media>,
    /// Restart blocks: how often everything is unmounted and mounted again.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) blocks: Option<u32>,
    /// Samples of each arm in a block, at every point of a grid of times.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) samples: Option<u32>,
    /// Seed of the order and of all content.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Measure on this host (host), in the throw-away machine (guest), or each driver where it runs (auto). Times of
    /// different places are never compared.
    #[arg(long = "where", value_name = "PLACE", default_value_t)]
    pub(crate) place: Where,
    /// Count instructions on the guest's own clock instead of time: the same in every run, for comparing builds. The
    /// workloads are copy-up and lifecycle, reduced; takes a few minutes. Needs `--where guest`.
    #[arg(long, conflicts_with_all = ["quick", "smoke", "blocks", "image", "dir", "counted"])]
    pub(crate) deterministic: bool,
    /// Boots of the guest in a deterministic run, each with a seed of its own; 5 by default.
    #[arg(long, value_name = "N", requires = "deterministic", value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) seeds: Option<u32>,
    /// Only these columns, as `driver/variant/backing`.
    #[arg(long, value_name = "NAME", value_delimiter = ',', hide = true)]
    pub(crate) only: Vec<String>,
    /// Only files up to that many bytes.
    #[arg(long, value_name = "BYTES", hide = true)]
    pub(crate) largest: Option<u64>,
    /// What is missing for a guest, where one is wanted.
    #[arg(long, value_name = "TEXT", hide = true)]
    pub(crate) no_guest: Option<String>,
    /// What `--deterministic` runs in the guest: this machine's clock counts instructions.
    #[arg(long, hide = true, conflicts_with_all = ["quick", "smoke"])]
    pub(crate) counted: bool,
    /// An OCI image layout for `capacity/image`, instead of a small image made for the purpose.
    #[arg(long, value_name = "DIR")]
    pub(crate) image: Option<PathBuf>,
    /// Where throw-away file systems are made; also COWLAB_TEST_DIR.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Append the results to this file, a line each, as soon as they are known.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// How the result is written to stdout.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Short for `--format json`.
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Measure although a container engine runs here.
    #[arg(long)]
    pub(crate) on_live_host: bool,
}

impl RunArgs {
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// How the list is written.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Short for `--format json`.
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// Results from before.
    #[arg(value_name = "A")]
    pub(crate) before: PathBuf,
    /// Results from after.
    #[arg(value_name = "B")]
    pub(crate) after: PathBuf,
    /// Also list series without a relevant change.
    #[arg(long)]
    pub(crate) all: bool,
    /// How the comparison is written.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Short for `--format json`.
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
}
