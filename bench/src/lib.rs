//! Copy-up latency, snapshot latency and capacity overhead, per driver and backing file system.
//!
//! A [`workload::Workload`] is data; a [`plan::Plan`] says which of them run on what; [`sampler::measure`] runs the
//! plan on throw-away file systems and hands out raw series in the one result format. There is no threshold and no
//! advice here: `cowlab-reports` judges, from the samples.

mod args;
mod backing_fixture;
pub mod budget;
mod cache;
mod command;
mod compared;
mod counted;
mod driver_fixture;
mod image;
pub mod neighbours;
pub mod operation;
mod output;
mod part;
pub mod peers;
pub mod plan;
mod proofs;
pub mod sampler;
pub mod schedule;
mod series;
pub mod single;
mod space;
mod split;
mod store_fixture;
pub mod subject;
mod table;
mod terminal;
pub mod workload;
pub mod workloads;

pub use args::Args;
pub use command::run;
pub use plan::Plan;
pub use sampler::measure;
pub use terminal::Terminal;
