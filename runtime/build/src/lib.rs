//! Builds images from Dockerfiles.
//!
//! [`build`] executes the stages that a target needs, those that do not need each other at the same time. Each step that
//! changes files works in an active snapshot on the layer before it, and that snapshot becomes the layer; only the end of
//! the target makes an image. What a step's result depends on is digested into a key, by which the build cache of the root
//! finds the layer that an earlier build made of it.

mod advise;
mod build;
mod builder;
mod cache;
mod config;
mod copy;
mod error;
mod files;
mod mounts;
mod mutex;
mod options;
mod progress;
mod run;
mod stage;
mod state;
mod tree;

pub use advise::{Advice, Copied, Hint, Remedy, StepReport, advise};
pub use build::{Built, build};
pub use error::{Error, Place, Result};
pub use options::{BuildOptions, Secret};
pub use progress::{Event, Progress, Step};
