//! Images and containers as people have them, by commands of the program.

pub(super) mod access;
pub(super) mod adapter;
pub(super) mod change;
pub(super) mod docker;
pub(super) mod driver;
pub(super) mod exchange;
pub(super) mod explain;
pub(super) mod flags;
pub(super) mod full;
pub(super) mod image;
pub(super) mod input;
pub(super) mod isolation;
pub(super) mod life;
pub(super) mod link;
pub(super) mod login;
pub(super) mod maker;
pub(super) mod neighbor;
pub(super) mod process;
pub(super) mod prune;
pub(super) mod rootless;
pub(super) mod running;
pub(super) mod stream;
pub(super) mod trouble;
pub(super) mod volume;

use crate::case::{Case, Placement};

/// What these cases have in common.
const BASE: Case = Case {
    placement: Placement::Root,
    ..Case::BASE
};
