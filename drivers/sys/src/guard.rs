//! Guards: what must be taken back (a mount, a loop device), and the report when it could not be.
//!
//! [`Guard::close`] tells whether it worked. Dropping an open guard closes it once and logs a
//! failure: a drop never panics and never hides a leak behind a lazy unmount.

use std::fmt;

use crate::Error;

/// Something in the kernel that ends with the guard.
pub trait Guard: fmt::Debug + Send {
    /// Names the object for people: its kind and its place.
    fn describe(&self) -> String;

    /// Takes the object back. A closed guard closes again without effect; after a failure the
    /// guard is still open and may be closed again.
    ///
    /// # Errors
    ///
    /// Returns the [`Leak`] when the object is still there.
    fn close(&mut self) -> Result<(), Leak>;
}

/// An object that a guard could not take back, and why.
#[derive(Debug)]
pub struct Leak {
    /// What is left behind, as [`Guard::describe`] names it.
    pub what: String,
    /// Why it could not be taken back.
    pub source: Error,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is left behind: {}", self.what, self.source)
    }
}

impl std::error::Error for Leak {}

/// Closes `guard` from its `Drop` and logs a leak.
pub(crate) fn close_in_drop(guard: &mut dyn Guard) {
    if let Err(leak) = guard.close() {
        tracing::error!(what = leak.what, error = %leak.source, "left behind");
    }
}
