//! `cargo bench -p cowlab-bench -- neighbours`: what a stranger who writes to the same file system costs.
//!
//! `neighbours/flush` and `neighbours/start` choose one task; the latter needs `COWLAB_PROGRAM`, and takes `COWLAB_OTHER_PROGRAM`.

use std::process::ExitCode;

use cowlab_bench::{Terminal, neighbours};

/// The exit code where root is needed.
const PRIVILEGE: u8 = 77;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Without `--bench` this is `cargo test`; `--list` is criterion's.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let filters: Vec<String> = arguments
        .into_iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if !cowlab_sys::process::is_root() {
        Terminal::new().line(
            "neighbours: bench mounts file systems and needs root: run `cargo bench` as root",
        );
        return ExitCode::from(PRIVILEGE);
    }
    match neighbours::run(&filters) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Terminal::new().line(&format!("neighbours: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
