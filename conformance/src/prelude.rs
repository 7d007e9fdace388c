//! What a file of cases brings into scope: `use crate::prelude::*;`.

pub use crate::case::{Access, Case, Impact, Need, Placement, Risk};
pub use crate::context::{Context, expect};
pub use crate::difference::Difference;
pub use crate::errno::*;
pub use crate::op::*;
pub use crate::step::program::{
    build, build_with, content, file, layered, load, nothing_left, registry, run, script, state,
    stop_registry,
};
pub use crate::step::store;
pub use crate::terms::{
    FallocateHow, Field, Flags, InodeFlag, Kind, Lock, Range, RenameHow, Special,
};
pub use crate::tree::Tree;
