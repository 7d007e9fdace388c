//! Exit codes, and the reasons to end before anything ran.

use std::io::{self, Write};

use anyhow::Result;
use cowlab_sys::process;
use cowlab_testbed::live_host;

/// Everything is as claimed or declared.
pub(crate) const OK: u8 = 0;
/// A case failed, or a fault was not caught.
pub(crate) const FINDING: u8 = 1;
/// The command line names something that is not there.
pub(crate) const USAGE: u8 = 2;
/// No column can run here.
pub(crate) const UNAVAILABLE: u8 = 69;
/// The host guard stopped the run.
pub(crate) const HOST_GUARD: u8 = 75;
/// Root is needed.
pub(crate) const PRIVILEGE: u8 = 77;

/// Says why nothing ran.
///
/// # Errors
///
/// When standard error is closed.
pub(crate) fn refuse(code: u8, reason: &str) -> Result<u8> {
    writeln!(io::stderr().lock(), "error: {reason}")?;
    Ok(code)
}

/// Refuses a host on which the suite must not run; `None` where it may.
///
/// # Errors
///
/// When the processes of the host cannot be listed.
pub(crate) fn unfit_host(on_live_host: bool) -> Result<Option<u8>> {
    if !process::is_root() {
        let reason = "mounting file systems needs root: run it as root or with `sudo`";
        return refuse(PRIVILEGE, reason).map(Some);
    }
    let engines = live_host()?;
    if !engines.is_empty() && !on_live_host {
        let reason = format!(
            "a container engine runs here ({}): the run loads its disk; add `--on-live-host` to run it nevertheless",
            engines.join(", ")
        );
        return refuse(HOST_GUARD, &reason).map(Some);
    }
    Ok(None)
}
