//! What this host lacks, as the error that says how to get it.

use cowlab_driver::{Error, Missing, Result};
use cowlab_sys::Cmd;

/// Fails where there is no such program.
pub(crate) fn require_program(program: &str) -> Result<()> {
    if Cmd::find(program).is_some() {
        return Ok(());
    }
    Err(missing(
        &format!("the program `{program}`"),
        &format!("install the Debian package `{}`", Cmd::package_of(program)),
    ))
}

/// Says what is missing.
pub(crate) fn missing(what: &str, remedy: &str) -> Error {
    Error::Unavailable(Missing {
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    })
}
