//! What this host lacks, as the error that says how to get it.

use cowlab_driver::{Error, Result};
use cowlab_sys::Cmd;

/// Fails where there is no such program.
pub(crate) fn require_program(program: &str) -> Result<()> {
    if Cmd::find(program).is_some() {
        return Ok(());
    }
    Err(Error::missing(
        format!("the program `{program}`"),
        format!("install the Debian package `{}`", Cmd::package_of(program)),
    ))
}
