//! The conformance suite: union, copy-on-write, whiteout and life-cycle semantics, as cases over every driver.
//!
//! A [`case::Case`] is data: a claim, layers and steps. It says what is done, never how a driver does it. The
//! oracle is a plain directory on the same backing file system, where the same layers and steps are performed;
//! a driver keeps the claim when nothing tells the two apart. Where a driver is known to differ it declares a
//! deviation, which is checked like any claim.
//!
//! - [`case`], [`op`]: the language cases are written in; [`prelude`] brings it into scope.
//! - [`cases`]: the cases, a file per area of the catalogue.

mod args;
mod batch;
pub mod case;
pub mod cases;
mod column;
mod column_run;
pub mod compare;
pub mod context;
pub mod difference;
mod disk_full;
pub mod errno;
pub mod executor;
mod exit;
mod faults;
pub mod faulty_store;
mod file_systems;
mod guest_request;
mod guest_run;
mod judge;
mod junit;
pub mod manifest;
mod matrix;
mod needs;
pub mod op;
pub mod operation;
mod outcome;
mod placing;
pub mod prelude;
pub mod product;
mod report;
mod results;
mod runner;
mod subject;
mod suggest;
mod table;
pub mod tarball;
pub mod terms;
pub mod text;
pub mod timestamps;
pub mod tree;
mod verdict;
mod wanted;

pub use args::Args;

use args::Command;

/// Does what the command line asks for, and returns the exit code of the program.
///
/// # Errors
///
/// When a file cannot be written, standard output is closed or the testbed fails.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.command {
        None => runner::run(&args.run),
        Some(Command::Run(run)) => runner::run(run),
        Some(Command::List(list)) => match table::cases(&list.case) {
            Ok(cases) => {
                table::list(&cases)?;
                Ok(exit::OK)
            }
            Err(error) => exit::refuse(exit::USAGE, &error.to_string()),
        },
        Some(Command::Coverage) => {
            table::coverage()?;
            Ok(exit::OK)
        }
        Some(Command::Deviations(deviations)) => {
            let known = table::drivers();
            if let Err(error) = subject::check_names("driver", &deviations.driver, &known) {
                return exit::refuse(exit::USAGE, &error.to_string());
            }
            table::deviations(&deviations.driver)?;
            Ok(exit::OK)
        }
        Some(Command::Faults(faults)) => faults::run(faults),
    }
}
