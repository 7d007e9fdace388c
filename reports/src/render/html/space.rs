//! Space: what a change, a container and an image take.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};

use super::element::{Shown, column, measured, repeat};
use crate::plot::{Bar, BarGroup, Bars, Caption, Looks};
use crate::report::{CapacityRow, Report, ReportError};
use crate::result::{Unit, names};
use crate::units;

pub(super) fn section(report: &Report, looks: &Looks) -> Result<Markup, ReportError> {
    let mut workloads: BTreeMap<(_, &str, _), Vec<&CapacityRow>> = BTreeMap::new();
    for row in &report.capacity {
        workloads
            .entry((row.place, &row.workload, row.media))
            .or_default()
            .push(row);
    }
    let mut shown = Vec::new();
    for (number, ((_, workload, _), rows)) in workloads.iter().enumerate() {
        shown.push(show(workload, rows, looks, number)?);
    }
    Ok(html! {
        section id="space" class="card" {
            h2 { "Space" }
            @if shown.is_empty() {
                p class="note" { "No space was measured." }
            } @else {
                p {
                    "Bytes and inodes that the backing file system allocated, counted after a sync. Overhead is bytes "
                    "allocated per byte changed, per byte of the flat tree, or per container."
                }
                @for workload in shown { (workload) }
            }
        }
    })
}

fn show(
    workload: &str,
    rows: &[&CapacityRow],
    looks: &Looks,
    number: usize,
) -> Result<Markup, ReportError> {
    let heading = match workload {
        names::CAPACITY_CHANGE => "What a small change allocates",
        names::CAPACITY_CONTAINERS => "What containers of one image allocate",
        names::CAPACITY_IMAGE => "What an image allocates",
        other => other,
    };
    let plots = plots(rows, looks, number)?;
    Ok(html! {
        section class="family" {
            h3 { (Shown(heading)) }
            @if !plots.is_empty() { div class="plots" { @for plot in &plots { (plot) } } }
            @if plots.is_empty() {
                (table(heading, rows))
            } @else {
                details { summary { "The numbers" } (table(heading, rows)) }
            }
            (repeat(&format!("cargo xtask bench run {workload}")))
        }
    })
}

/// One plot for each size of the change, in bytes allocated per byte changed.
fn plots(rows: &[&CapacityRow], looks: &Looks, number: usize) -> Result<Vec<Markup>, ReportError> {
    let mut changes: BTreeMap<u64, BTreeMap<u64, Vec<&CapacityRow>>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.unit == Unit::Bytes) {
        if let (Some(change), Some(size)) = (row.change, row.size) {
            let sizes = changes.entry(change).or_default();
            sizes.entry(size).or_default().push(row);
        }
    }
    let overheads = rows.iter().filter(|row| row.unit == Unit::Bytes);
    let largest = overheads.filter_map(|row| row.overhead).fold(1.0, f64::max);
    let mut plots = Vec::new();
    for (change, sizes) in changes {
        let name = format!("{} changed", units::bytes(change as f64));
        let groups: Vec<BarGroup> = sizes
            .into_iter()
            .map(|(size, rows)| BarGroup {
                heading: format!("in a file of {}", units::bytes(size as f64)),
                bars: rows
                    .into_iter()
                    .filter_map(|row| {
                        Some(Bar {
                            label: row.column().label(),
                            look: looks.of(&row.column()),
                            value: row.overhead?,
                        })
                    })
                    .collect(),
            })
            .collect();
        let plot = Bars {
            caption: Caption {
                id: format!("bars-{number}-{change}"),
                title: format!("{name}: bytes allocated per byte changed"),
                description: describe(&groups),
            },
            largest,
            groups,
        };
        let svg = plot.svg()?;
        plots.push(html! {
            figure {
                figcaption { (name) " " span class="muted" { "bytes allocated per byte changed" } }
                (PreEscaped(svg))
            }
        });
    }
    Ok(plots)
}

fn describe(groups: &[BarGroup]) -> String {
    let lines: Vec<String> = groups
        .iter()
        .map(|group| {
            let bars: Vec<String> = group
                .bars
                .iter()
                .map(|bar| format!("{} {}", bar.label, units::times(bar.value)))
                .collect();
            format!("{}: {}", group.heading, bars.join(", "))
        })
        .collect();
    lines.join(". ")
}

fn table(heading: &str, rows: &[&CapacityRow]) -> Markup {
    let mut groups: Vec<(String, Vec<&CapacityRow>)> = Vec::new();
    for row in rows {
        let point = point(row);
        match groups.last_mut() {
            Some((known, rows)) if *known == point => rows.push(row),
            _ => groups.push((point, vec![row])),
        }
    }
    html! {
        div class="scroll" tabindex="0" {
            table class="timings" {
                caption { (Shown(heading)) ": medians, and the overhead" }
                thead { tr {
                    th scope="col" { "Driver and backing" }
                    th scope="col" class="number" { "Allocated" }
                    th scope="col" class="number" { "Overhead" }
                    th scope="col" class="number" { "Samples" }
                } }
                @for (point, rows) in &groups {
                    tbody {
                        tr class="group" { th scope="rowgroup" colspan="4" { (Shown(point)) } }
                        @for row in rows { (line(row)) }
                    }
                }
            }
        }
    }
}

/// What was varied, in words.
fn point(row: &CapacityRow) -> String {
    let size = |bytes: u64| units::bytes(bytes as f64);
    let mut parts: Vec<String> = Vec::new();
    parts.extend(row.change.map(|change| format!("{} changed", size(change))));
    parts.extend(
        row.size
            .map(|bytes| format!("in a file of {}", size(bytes))),
    );
    parts.extend(row.containers.map(|count| match count {
        1 => "1 container".to_owned(),
        _ => format!("{count} containers"),
    }));
    parts.extend(row.layers.map(|count| format!("{count} layers")));
    parts.extend(row.flat.map(|flat| {
        let flat = units::value(flat as f64, row.unit);
        format!("flat tree {flat}")
    }));
    if !row.case.is_empty() {
        parts.push(row.case.clone());
    }
    format!("{} ({})", parts.join(", "), row.unit)
}

fn line(row: &CapacityRow) -> Markup {
    let spread = (row.min < row.max).then_some((row.min, row.max));
    html! {
        tr {
            th scope="row" { (column(&row.column())) }
            td class="number" { (measured(row.median, spread, row.unit)) }
            td class="number" {
                @match row.overhead {
                    Some(_) if row.containers.is_some() => (per_container(row)),
                    Some(overhead) => span title=(overhead) { (units::times(overhead)) },
                    None => span class="muted" { "–" },
                }
            }
            td class="number" { (row.samples) }
        }
    }
}

fn per_container(row: &CapacityRow) -> Markup {
    html! {
        @if let Some(overhead) = row.overhead {
            (measured(overhead, None, row.unit)) " each"
        }
    }
}
