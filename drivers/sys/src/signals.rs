//! Signals as news: a program that stands between a terminal and another program takes them one by one and hands them on.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Result, raw, sys};

/// Bit n: signal n + 1 has come.
static CAUGHT: AtomicU64 = AtomicU64::new(0);

/// The signals that a program stands in for when it passes on all that come to it: not those that nobody can catch, that tell of
/// its own children and pipes, that its own faults send or that stop it, and not the two that glibc keeps for itself
/// (signal(7), nptl(7)).
pub fn passed_on() -> impl Iterator<Item = i32> {
    let own = |signal: &i32| {
        matches!(
            *signal,
            libc::SIGILL
                | libc::SIGBUS
                | libc::SIGFPE
                | libc::SIGKILL
                | libc::SIGSEGV
                | libc::SIGPIPE
                | libc::SIGCHLD
                | libc::SIGSTOP
                | libc::SIGTSTP
                | libc::SIGTTIN
                | libc::SIGTTOU
                | 32
                | 33
        )
    };
    (1..=HIGHEST).filter(move |signal| !own(signal))
}

/// The highest number of a signal (signal(7), Real-time signals).
pub(crate) const HIGHEST: i32 = 64;

/// Has every signal take its default effect and none be blocked, as a program expects that is started: what its starter ignores
/// or blocks, it inherits (execve(2)).
pub fn restore() -> Result<()> {
    sys("signal", "default", raw::default_signals(HIGHEST))
}

/// Sees to it that the ends of this process's children wait for it. Where its starter ignores SIGCHLD, it inherits that, and the
/// kernel forgets them (waitpid(2), "Notes").
pub fn keep_ended_children() {
    raw::default_signal(libc::SIGCHLD);
}

/// Has these signals, numbered 1 to 64, be remembered from now on rather than take their effect. A wait in poll(2) ends
/// when one comes.
pub fn catch(signals: impl IntoIterator<Item = i32>) -> Result<()> {
    for signal in signals {
        sys(
            "signal",
            signal.to_string(),
            raw::handle_signal(signal, remember),
        )?;
    }
    Ok(())
}

/// Takes one of the signals that have come.
pub fn take() -> Option<i32> {
    let caught = CAUGHT.load(Ordering::SeqCst);
    let place = caught.trailing_zeros();
    let bit = 1_u64.checked_shl(place)?;
    CAUGHT.fetch_and(!bit, Ordering::SeqCst);
    i32::try_from(place + 1).ok()
}

/// Only an atomic: signal-safety(7).
extern "C" fn remember(signal: libc::c_int) {
    if let Some(bit) = u32::try_from(signal - 1)
        .ok()
        .and_then(|place| 1_u64.checked_shl(place))
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
        remember(64);
        remember(15);
        assert_eq!(take(), Some(15));
        assert_eq!(take(), Some(28));
        assert_eq!(take(), Some(64));
        assert_eq!(take(), None);
    }
}
