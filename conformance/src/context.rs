//! What the function of a case may touch: a store of its own on the column's backing file system, and a plain
//! directory beside it.

/// The surroundings of a case with a function.
#[derive(Debug)]
pub struct Context {}
