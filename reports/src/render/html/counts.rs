//! Instructions: tables alone, apart from everything that was timed.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::element::{Shown, column, measured, repeat};
use crate::report::{CountRow, Report};
use crate::result::Unit;
use crate::units;

/// The section, empty where nothing was counted: most reports have no counts.
pub(super) fn section(report: &Report) -> Markup {
    let mut cases: BTreeMap<(&str, &str), Vec<&CountRow>> = BTreeMap::new();
    for row in &report.counts {
        let case = (row.workload.as_str(), row.case.as_str());
        cases.entry(case).or_default().push(row);
    }
    html! {
        @if !cases.is_empty() {
            section id="instructions" class="card" {
                h2 { "Instructions" }
                p {
                    "What the guest's processor executed, on its own clock that counts instructions: the same in every run, "
                    "and no time. It shows whether a change made the work more, and compares algorithms; caches, disks and "
                    "processors that do several things at once are not in it. Medians over boots with different seeds; a "
                    "change below what lies between the seeds, or below 3 %, is none."
                }
                @for ((workload, case), rows) in &cases { (table(workload, case, rows)) }
                @for workload in workloads(report) {
                    (repeat(&format!("cargo xtask bench run {workload} --where guest --deterministic")))
                }
            }
        }
    }
}

fn workloads(report: &Report) -> Vec<&str> {
    let mut workloads: Vec<&str> = report
        .counts
        .iter()
        .map(|row| row.workload.as_str())
        .collect();
    workloads.dedup();
    workloads
}

fn table(workload: &str, case: &str, rows: &[&CountRow]) -> Markup {
    let name = format!("{workload} {case}");
    html! {
        details {
            summary { (Shown(name.trim())) ": the instructions" }
            div class="scroll" tabindex="0" {
                table class="timings" {
                    caption { (Shown(name.trim())) ": instructions, medians over the seeds" }
                    thead { tr {
                        th scope="col" { "Driver and backing" }
                        th scope="col" class="number" { "At" }
                        th scope="col" class="number" { "Instructions" }
                        th scope="col" class="number" { "Plain backing" }
                        th scope="col" class="number" { "Already copied up" }
                        th scope="col" class="number" { "Between the seeds" }
                        th scope="col" class="number" { "Seeds" }
                    } }
                    tbody { @for row in rows { (line(row)) } }
                }
            }
        }
    }
}

fn line(row: &CountRow) -> Markup {
    let count = |value: u64| measured(value as f64, None, Unit::Instructions);
    let floor = |value: Option<u64>| match value {
        Some(value) => count(value),
        None => html! { span class="muted" { "–" } },
    };
    html! {
        tr {
            th scope="row" { (column(&row.column())) }
            td class="number" { @if let Some(at) = row.at { (units::at(&row.axis, at)) } }
            td class="number" { (count(row.median)) }
            td class="number" { (floor(row.plain)) }
            td class="number" { (floor(row.copied_up)) }
            td class="number" title=(row.floor) { (units::change(row.floor)) }
            td class="number" { (row.seeds) }
        }
    }
}
