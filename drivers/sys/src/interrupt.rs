//! Ctrl-C as a question: a program that holds mounts asks between two steps whether to stop, and
//! takes its guards back before it does.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Result, raw, sys};

/// The exit code of a program that a signal stopped, as shells have it for `SIGINT`.
pub const EXIT_CODE: u8 = 130;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Has `SIGINT`, `SIGTERM` and `SIGHUP` be remembered from now on rather than end the process. The
/// second of them ends it at once; what it leaves behind is for the sweep.
pub fn watch() -> Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        sys("signal", "", raw::handle_signal(signal, remember))?;
    }
    Ok(())
}

/// Tells whether one of the signals has come.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Only an atomic and _exit(2): signal-safety(7).
extern "C" fn remember(_: libc::c_int) {
    if REQUESTED.swap(true, Ordering::SeqCst) {
        raw::exit_now(EXIT_CODE.into());
    }
}
