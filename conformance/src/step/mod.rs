//! What a case says that is about more than one tree: operations of the store and commands of the program, as data.
//!
//! A case has one list of them, which is performed from the first to the last; the first that gives something else than it
//! states is the difference.

pub mod program;
pub mod store;

use crate::case::Case;
use crate::context::{Context, Result};

/// Performs what a case has of such lists.
///
/// # Errors
///
/// The first difference.
pub(crate) fn run(context: &mut Context, case: &Case) -> Result<()> {
    match case.program {
        [] => store::perform(context, case.store),
        commands => program::perform(context, commands),
    }
}
