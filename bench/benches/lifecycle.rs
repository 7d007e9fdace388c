//! `cargo bench -- lifecycle/btrfs`: latency of prepare, mount, unmount, commit and remove.

mod shared;

use std::process::ExitCode;

use cowlab_bench::workload::Point;
use cowlab_reports::result::names;

fn main() -> ExitCode {
    shared::run(names::LIFECYCLE, wanted)
}

/// A snapshot of one layer, and a deep one.
fn wanted(point: &Point) -> bool {
    [1, 32].contains(&point.number(names::DEPTH))
}
