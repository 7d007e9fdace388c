//! `cargo bench -p cowlab-bench -- peers`: cowlab beside tar, runc, containerd, podman and umoci, where they are installed.
//!
//! `peers/run` and the like choose one task. Not under criterion: arms that are to be compared take turns.

use std::process::ExitCode;

use cowlab_bench::{Terminal, peers};

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
        Terminal::new()
            .line("peers: bench mounts file systems and needs root: run `cargo bench` as root");
        return ExitCode::from(PRIVILEGE);
    }
    match peers::run(&filters) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Terminal::new().line(&format!("peers: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
