//! The chores of this repository: `cargo xtask TASK`.
//!
//! One match on typed flags, one module a task. It compiles with cargo and a C linker alone, so that
//! it can install what the other crates need; it builds `cowlab` and calls it, makes the guest's
//! image meanwhile, and holds no knowledge of drivers, cases or workloads.

mod ci;
mod commit;
mod exit;
mod flags;
mod guest;
mod ordinary;
mod program;
mod setup;
mod stage;
mod terminal;
mod tidy;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::flags::{Task, Xtask};

fn main() -> ExitCode {
    let flags = Xtask::parse();
    match run(flags.task) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            terminal::error(&format!("{error:#}"));
            ExitCode::from(exit::code_of(&error))
        }
    }
}

/// Runs one task at the root of the workspace and returns its exit code.
fn run(task: Task) -> anyhow::Result<u8> {
    let root = workspace_root();
    std::env::set_current_dir(&root)
        .with_context(|| format!("failed to enter `{}`", root.display()))?;
    match task {
        Task::Setup(flags) => setup::run(&flags),
        Task::Ci(flags) => ci::run(&root, &flags),
        Task::Verify(flags) => verify::run(&root, &flags),
        Task::Tidy => tidy::run(&root),
        Task::Conformance(flags) => program::run("conformance", flags),
        Task::Bench(flags) => program::run("bench", flags),
        Task::Report(flags) => program::run("report", flags),
        Task::Guest(flags) => program::run("guest", flags),
        Task::Sweep(flags) => program::run("sweep", flags),
        Task::Prove(flags) => program::run("prove", flags),
    }
}

/// The folder of the workspace: cargo tells where this package lies, the workspace is one above.
fn workspace_root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
