//! Signals as news: a program that stands between a terminal and another program takes them one by one and hands them on.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Result, raw, sys};

/// Bit n: signal n has come.
static CAUGHT: AtomicU32 = AtomicU32::new(0);

/// Has these signals, numbered 1 to 31, be remembered from now on rather than take their effect. A wait in poll(2) ends
/// when one comes.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`].
pub fn catch(signals: &[i32]) -> Result<()> {
    for signal in signals {
        sys(
            "signal",
            signal.to_string(),
            raw::handle_signal(*signal, remember),
        )?;
    }
    Ok(())
}

/// Takes one of the signals that have come.
pub fn take() -> Option<i32> {
    let caught = CAUGHT.load(Ordering::SeqCst);
    let signal = caught.trailing_zeros();
    let bit = 1_u32.checked_shl(signal)?;
    CAUGHT.fetch_and(!bit, Ordering::SeqCst);
    i32::try_from(signal).ok()
}

/// Only an atomic: signal-safety(7).
extern "C" fn remember(signal: libc::c_int) {
    if let Some(bit) = u32::try_from(signal)
        .ok()
        .and_then(|number| 1_u32.checked_shl(number))
    {
        CAUGHT.fetch_or(bit, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_taken_once() {
        assert_eq!(take(), None);
        remember(28);
        remember(15);
        assert_eq!(take(), Some(15));
        assert_eq!(take(), Some(28));
        assert_eq!(take(), None);
    }
}
