//! The lock of a mutex, whatever became of who had it before.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a mutex. A holder that panicked ends the build, whatever it left behind it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
