//! Containers as people run them, by commands of the program.

pub(super) mod change;
pub(super) mod driver;
pub(super) mod isolation;
pub(super) mod life;
pub(super) mod volume;
