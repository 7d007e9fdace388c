//! What conformance, bench, report and proofs have in common.
//!
//! A column is a driver in a variant on a backing file system, in a place. A run names its columns ([`subject`]), decides where
//! each runs ([`places`]), has each place do its part by a process of this program ([`worker`]: this machine's or a
//! [`guest`]'s), and merges the records that come back ([`results`]).

pub mod exit;
pub mod fingerprint;
pub mod guest;
pub mod log;
pub mod places;
pub mod results;
pub mod subject;
pub mod suggest;
pub mod worker;
