//! The conformance suite: union, copy-on-write, whiteout and life-cycle semantics, as cases over every driver.
//!
//! A [`case::Case`] is data: a claim, layers and steps. It says what is done, never how a driver does it. The
//! oracle is a plain directory on the same backing file system, where the same layers and steps are performed;
//! a driver keeps the claim when nothing tells the two apart. Where a driver is known to differ it declares a
//! deviation, which is checked like any claim.
//!
//! - [`case`], [`op`]: the language cases are written in; [`prelude`] brings it into scope.
//! - [`cases`]: the cases, a file per area of the catalogue.

pub mod act;
pub mod actor;
pub mod batch;
pub mod calendar;
pub mod case;
pub mod cases;
pub mod compare;
pub mod context;
pub mod difference;
pub mod errno;
pub mod judge;
pub mod manifest;
pub mod op;
pub mod prelude;
pub mod tarball;
pub mod terms;
pub mod text;
pub mod tree;
