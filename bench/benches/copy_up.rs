//! `cargo bench -- copy-up/ext4`: latency of the first change of a file of the image, warm.

mod shared;

use std::process::ExitCode;

use cowlab_bench::workload::Point;
use cowlab_reports::result::names;

fn main() -> ExitCode {
    shared::run(names::COPY_UP, wanted)
}

/// All sizes of the operation that the verdict quotes, and a small and a larger file for the others.
fn wanted(point: &Point) -> bool {
    point.text(names::OP) == names::WRITE_BYTE || [4096, 1 << 20].contains(&point.size().0)
}
