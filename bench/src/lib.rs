//! Copy-up latency, snapshot latency and capacity overhead, per driver and backing file system.
//!
//! A [`workload::Workload`] is data; a [`plan::Plan`] says which of them run on what; [`sampler::measure`] runs the
//! plan on throw-away file systems and hands out raw series in the one result format. There is no threshold and no
//! advice here: `cowlab-reports` judges, from the samples.

pub mod budget;
mod cache;
mod image;
mod lab;
pub mod operation;
pub mod plan;
pub mod sampler;
pub mod schedule;
mod series;
mod space;
mod stand;
mod storehouse;
pub mod subject;
pub mod workload;
pub mod workloads;
