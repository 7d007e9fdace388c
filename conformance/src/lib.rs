//! The conformance suite: union, copy-on-write, whiteout and life-cycle semantics, as cases over every driver.
//!
//! A [`case::Case`] is data: a claim, layers and steps. It says what is done, never how a driver does it. The
//! oracle is a plain directory on the same backing file system, where the same layers and steps are performed;
//! a driver keeps the claim when nothing tells the two apart. Where a driver is known to differ it declares a
//! deviation, which is checked like any claim.
//!
//! - [`case`], [`op`], [`step`]: the language cases are written in; [`prelude`] brings it into scope.
//! - [`cases`]: the cases, a file per area of the catalogue.

mod args;
mod batch;
pub mod case;
mod case_result;
pub mod cases;
mod catalogue;
mod column;
mod column_run;
pub mod compare;
pub mod context;
mod coverage;
pub mod difference;
mod disk_full;
pub mod errno;
pub mod executor;
mod fault_score;
pub mod faults;
mod file_systems;
mod judge;
mod junit;
pub mod manifest;
mod matrix;
mod needs;
pub mod op;
pub mod operation;
mod part;
mod plan;
pub mod prelude;
pub mod product;
mod runner;
pub mod step;
mod support;
mod table;
pub mod terms;
pub mod text;
pub mod timestamps;
pub mod tree;
mod worker;

pub use args::Args;

use anyhow::Result;
use cowlab_engine::exit::{self, Stop};
use cowlab_engine::subject::{check_names, driver_names};

use args::Command;

/// Does what the command line asks for, and returns the exit code of the program.
///
/// # Errors
///
/// When the command line names what is not there, a file cannot be written, standard output is closed or the testbed fails.
pub fn run(args: &Args) -> Result<u8> {
    match &args.command {
        None => return runner::run(&args.run),
        Some(Command::Run(run)) => return runner::run(run),
        Some(Command::Column(column)) => return worker::run(column),
        Some(Command::Faults(faults)) => return fault_score::run(faults),
        Some(Command::FaultyMount(mount)) => faults::serve_faulty_mount(&mount.fault, mount.tree)?,
        Some(Command::List(list)) => table::list(&table::cases(&list.case).map_err(usage)?)?,
        Some(Command::Coverage(args)) => coverage::print(args)?,
        Some(Command::Deviations(deviations)) => {
            check_names("driver", &deviations.driver, &driver_names()).map_err(usage)?;
            table::deviations(&deviations.driver)?;
        }
    }
    Ok(exit::OK)
}

/// An error in what the command line names.
#[expect(
    clippy::needless_pass_by_value,
    reason = "for `map_err`, which hands it over"
)]
fn usage(error: anyhow::Error) -> Stop {
    Stop {
        code: exit::USAGE,
        message: format!("{error:#}"),
    }
}
