//! The whole command line. Doc comments are the help.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};

use crate::exit;

/// The chores of this repository.
///
/// Every task first checks the system packages that it needs. What is missing is installed after a
/// prompt, with --yes or with CI=true; otherwise the exact command is printed.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", after_help = exit::HELP, max_term_width = 100)]
pub(crate) struct Xtask {
    /// What to do.
    #[command(subcommand)]
    pub(crate) task: Task,
}

/// The tasks.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Shows which system packages are missing and why, and installs them when asked.
    #[command(after_help = SETUP_EXAMPLES)]
    Setup(Setup),
    /// Runs everything that a change must pass, stage by stage.
    #[command(after_help = CI_EXAMPLES)]
    Ci(Ci),
    /// Runs the slow proofs and publishes what they found.
    ///
    /// Each proof is a named claim with a command. Results go to `reports/published/verify.jsonl` and
    /// `verify.md`, with date and commit. Needs root.
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Verify),
    /// Checks the house rules: module headers, file sizes, dependency direction and the like.
    ///
    /// Findings are printed as `file:line: message`.
    Tidy,
    /// Builds cowlab and judges the storage drivers (`cowlab conformance`).
    #[command(disable_help_flag = true)]
    Conformance(Program),
    /// Builds cowlab and measures the storage drivers (`cowlab bench`).
    #[command(disable_help_flag = true)]
    Bench(Program),
    /// Builds cowlab and writes the driver-selection report of this host (`cowlab report`).
    ///
    /// With --yes the guest comes along: QEMU is installed, and its image is made while cowlab compiles, for the drivers that
    /// this kernel lacks. --no-guest leaves it out.
    #[command(disable_help_flag = true)]
    Report(Program),
    /// Builds cowlab and makes or runs the guest, a machine with ZFS and device-mapper (`cowlab guest`).
    #[command(disable_help_flag = true)]
    Guest(Program),
    /// Builds cowlab and removes what dead test runs left behind (`cowlab sweep`).
    #[command(disable_help_flag = true)]
    Sweep(Program),
    /// Builds cowlab and its proofs, and proves one claim (`cowlab-proofs`); `verify` proves them all.
    #[command(hide = true, disable_help_flag = true)]
    Prove(Program),
}

/// Flags of `cargo xtask setup`.
#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// Prints what would be done, and why, and does nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Installs without asking.
    #[arg(long)]
    pub(crate) yes: bool,
    /// The outside judges of conformance as well: skopeo, umoci, podman, buildah, and a registry.
    #[arg(long)]
    pub(crate) judges: bool,
}

/// Flags of `cargo xtask ci`.
#[derive(Debug, Args)]
pub(crate) struct Ci {
    /// Stages to run, in the order of the list; all of them when none is named.
    #[arg(value_name = "STAGE")]
    pub(crate) stages: Vec<String>,
    /// Prints the stages, what each claims and its command, and runs nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// Goes on after a failed stage.
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Installs missing system packages without asking.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Flags of `cargo xtask verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Claims to prove, in the order of the list; all of them when none is named.
    #[arg(value_name = "CLAIM")]
    pub(crate) claims: Vec<String>,
    /// Prints the claims, their commands and their last results, and runs nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// Only claims that never held, or about code that was changed by a commit since they did.
    #[arg(long)]
    pub(crate) stale: bool,
    /// Installs missing system packages without asking.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Arguments of the tasks that are subcommands of cowlab, or its proofs.
#[derive(Debug, Args)]
pub(crate) struct Program {
    /// Handed on to cowlab as they are, except `--yes`, which is for the setup.
    #[arg(
        value_name = "ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) arguments: Vec<OsString>,
}

const SETUP_EXAMPLES: &str = "\
Examples:
  cargo xtask setup --dry-run    what is missing on this machine, and what for
  cargo xtask setup --yes        install it without a question
  cargo xtask setup --judges     the outside judges of conformance as well";

const CI_EXAMPLES: &str = "\
Examples:
  cargo xtask ci                 everything; stops at the first failure
  cargo xtask ci --list          the stages, their claims and their commands
  cargo xtask ci fmt clippy      only these two
  cargo xtask ci --keep-going    everything, whatever fails";

const VERIFY_EXAMPLES: &str = "\
Examples:
  cargo xtask verify --list      the claims and their commands
  cargo xtask verify             every claim; takes long";
