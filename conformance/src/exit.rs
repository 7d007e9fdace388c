//! The reasons to end before anything ran.

use std::io::{self, Write};

use anyhow::Result;
use cowlab_engine::exit::{GUARD, PRIVILEGE};
use cowlab_sys::process;

use crate::column::NoGuest;

pub(crate) use cowlab_engine::exit::{FINDING, OK, UNAVAILABLE, USAGE};

/// Says why nothing ran.
///
/// # Errors
///
/// When standard error is closed.
pub(crate) fn refuse(code: u8, reason: &str) -> Result<u8> {
    writeln!(io::stderr().lock(), "error: {reason}")?;
    Ok(code)
}

/// Refuses to run without root on a host from which nothing can be sent to the guest.
///
/// # Errors
///
/// When standard error is closed.
pub(crate) fn needs_root(no_guest: &NoGuest) -> Result<u8> {
    let guest = match no_guest {
        NoGuest::NotAsked => String::new(),
        NoGuest::Missing(missing) => format!("; the guest needs no root, but {missing}"),
    };
    let reason = "mounting file systems needs root: run it as root or with `sudo`";
    refuse(PRIVILEGE, &format!("{reason}{guest}"))
}

/// Refuses a host on which a container engine runs; `None` where none does.
///
/// # Errors
///
/// When the processes of the host cannot be listed.
pub(crate) fn live_host(allowed: bool) -> Result<Option<u8>> {
    let engines = cowlab_testbed::live_host()?;
    if !engines.is_empty() && !allowed {
        let reason = format!(
            "a container engine runs here ({}): the run loads its disk; add `--on-live-host` to run it nevertheless",
            engines.join(", ")
        );
        return refuse(GUARD, &reason).map(Some);
    }
    Ok(None)
}

/// Refuses a host on which nothing can be mounted, or should; `None` where it may.
///
/// # Errors
///
/// When the processes of the host cannot be listed.
pub(crate) fn unfit_host(on_live_host: bool) -> Result<Option<u8>> {
    if !process::is_root() {
        return needs_root(&NoGuest::NotAsked).map(Some);
    }
    live_host(on_live_host)
}
