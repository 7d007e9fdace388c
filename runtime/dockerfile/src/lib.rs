//! Dockerfiles as data. Text becomes a [`Dockerfile`] of stages and instructions, each with its lines; a [`Scope`] expands the
//! variables of an instruction; a [`Plan`] says which stages a target needs; an [`Ignore`] says what a context leaves out.
//!
//! The rules are those of the Dockerfile reference, and where it is silent those of BuildKit's parser. Nothing is read from disk here,
//! and what is not supported is refused with the line, never passed over. The crate parse-dockerfile was tried first: it knows one
//! here-document of a `RUN`, only as its first word, and not the name of one that `COPY` makes a file of.

mod error;
mod expand;
mod flags;
mod glob;
mod ignore;
mod instruction;
mod lines;
mod mode;
mod mount;
mod parse;
mod plan;
mod ports;
mod scope;
mod words;

pub use error::{Error, Lines, Result};
pub use glob::{Pattern, has_wildcards};
pub use ignore::{Ignore, Verdict};
pub use instruction::{
    Add, Argument, Command, Copy, Document, Health, HealthCheck, Instruction, Kind, Mount,
    MountKind, Network, OnBuild, Program, Remote, Run, Sharing, Source,
};
pub use mode::Mode;
pub use parse::{Dockerfile, Stage};
pub use plan::{Base, Plan, Planned};
pub use scope::{Globals, Platform, Scope};
