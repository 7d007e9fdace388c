//! Building images, by commands of the program.

pub(super) mod cache;
pub(super) mod file;
pub(super) mod image;
pub(super) mod judge;
pub(super) mod run;
pub(super) mod source;
pub(super) mod trouble;

use crate::case::{Case, Placement};

/// What these cases have in common.
const BASE: Case = Case {
    placement: Placement::Root,
    ..Case::BASE
};
