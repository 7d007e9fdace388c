//! Results, statistics, rules, verdict and their rendering.
//!
//! Conformance and bench write [`result`] lines as soon as they know something; everything else here is a pure
//! function of those lines: [`statistics`] turns raw samples into intervals, [`compare`] sets two runs side by side,
//! [`rules`] and [`verdict`] pick a driver, and [`report`] writes the pages. Nothing in this crate touches the kernel,
//! reads the clock or runs a program, so a report can be made again, byte for byte, on any machine that has the lines.

pub mod compare;
pub mod facts;
pub mod measurements;
mod plot;
mod render;
pub mod report;
pub mod result;
pub mod rules;
pub mod statistics;
pub mod units;
pub mod verdict;
