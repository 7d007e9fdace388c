//! Latencies with their noise: plots for the eye, tables for the numbers.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};

use super::element::{Shown, column, measured, repeat};
use crate::plot::{Axis, Caption, Curve, Curves, Look, Looks, Point};
use crate::report::{NoiseRow, Report, ReportError, TimingRow};
use crate::result::{Column, Media, Place, Unit, Warning, names};
use crate::units;

/// Timings that may stand on one axis: one workload in one place on one kind of media.
struct Family<'a> {
    place: Place,
    workload: &'a str,
    media: Media,
    rows: Vec<&'a TimingRow>,
}

pub(super) fn section(report: &Report, looks: &Looks) -> Result<Markup, ReportError> {
    let families = families(&report.timings);
    let mut shown = Vec::new();
    for (number, family) in families.iter().enumerate() {
        shown.push(show(family, looks, number)?);
    }
    Ok(html! {
        section id="latency" class="card" {
            h2 { "Latency" }
            @if families.is_empty() {
                p class="note" { "Nothing was timed." }
            } @else {
                p {
                    "Medians with 95 % intervals over restart blocks, thick in the plots; thin is the range of samples too "
                    "few for an interval. A difference counts only where its whole interval lies beyond the noise: how far "
                    "the intervals of identical arms (A/A) of the same run lay from no difference, at least 3 %."
                }
                (noise(&report.noise))
                @for family in shown { (family) }
            }
        }
    })
}

fn families(rows: &[TimingRow]) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for row in rows {
        match families.last_mut() {
            Some(family)
                if (family.place, family.workload, family.media)
                    == (row.place, row.workload.as_str(), row.media) =>
            {
                family.rows.push(row);
            }
            _ => families.push(Family {
                place: row.place,
                workload: &row.workload,
                media: row.media,
                rows: vec![row],
            }),
        }
    }
    families
}

fn noise(rows: &[NoiseRow]) -> Markup {
    html! {
        @if rows.is_empty() {
            p class="note warn" { "No A/A control ran: how much of a difference is noise is not known." }
        } @else {
            div class="scroll" tabindex="0" {
                table class="narrow" {
                    caption { "Noise of this run" }
                    thead { tr {
                        th scope="col" { "Workload" }
                        th scope="col" { "Media" }
                        th scope="col" { "Place" }
                        th scope="col" class="number" { "A/A controls" }
                        th scope="col" class="number" { "Changes below this are noise" }
                    } }
                    tbody {
                        @for row in rows {
                            tr {
                                th scope="row" { (Shown(&row.workload)) }
                                td { (row.media) }
                                td { (row.place) }
                                td class="number" { (row.controls) }
                                td class="number" title=(row.factor) { (units::change(row.factor)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn show(family: &Family<'_>, looks: &Looks, number: usize) -> Result<Markup, ReportError> {
    let media = match family.media {
        Media::Disk => "on disk: device time included",
        Media::Memory => "on a file in memory: software cost alone",
    };
    let place = match family.place {
        Place::Host => "",
        Place::Guest => ", in the guest",
    };
    let mut cases: BTreeMap<&str, Vec<&TimingRow>> = BTreeMap::new();
    for row in &family.rows {
        cases.entry(&row.case).or_default().push(row);
    }
    let plots = plots(family, &cases, looks, number)?;
    let warnings = warnings(&family.rows);
    Ok(html! {
        section class="family" {
            h3 { (Shown(&title(family.workload))) " " span class="muted" { (media) (place) } }
            @if !plots.is_empty() {
                (key(family, looks))
                div class="plots" { @for plot in &plots { (plot) } }
            }
            @for (warning, count) in warnings {
                p class="note warn" {
                    strong { (count) " of " (family.rows.len()) } " carry a warning: " (warning.advice()) "."
                }
            }
            div class="tables" { @for (case, rows) in &cases { (table(family, case, rows)) } }
            (repeat(&format!("cargo xtask bench run {}", family.workload)))
        }
    })
}

/// A workload id as a heading.
fn title(workload: &str) -> String {
    match workload {
        names::COPY_UP => "First change of a file of the image (copy-up)".to_owned(),
        "copy-up/cold" => "First change of a file that is not in memory (cold copy-up)".to_owned(),
        names::LIFECYCLE => "Life of a snapshot".to_owned(),
        other => other.to_owned(),
    }
}

/// A case in words.
fn case_name<'a>(family: &Family<'a>, case: &'a str) -> &'a str {
    match case {
        "" => family.workload,
        "open-write" => "open for writing",
        names::WRITE_BYTE => "open, write one byte, close",
        "truncate-0" => "truncate to 0",
        other => other,
    }
}

/// Warnings that rows carry, each with the number of rows.
fn warnings(rows: &[&TimingRow]) -> Vec<(Warning, usize)> {
    let carries = |row: &&&TimingRow, warning: Warning| {
        row.warnings.split(' ').any(|name| name == warning.name())
    };
    Warning::ALL
        .into_iter()
        .map(|warning| {
            (
                warning,
                rows.iter().filter(|row| carries(row, warning)).count(),
            )
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn plots(
    family: &Family<'_>,
    cases: &BTreeMap<&str, Vec<&TimingRow>>,
    looks: &Looks,
    number: usize,
) -> Result<Vec<Markup>, ReportError> {
    let mut values: Vec<u64> = family.rows.iter().filter_map(|row| row.at).collect();
    values.sort_unstable();
    values.dedup();
    if values.len() < 2 {
        return Ok(Vec::new());
    }
    let ends = |row: &&TimingRow| {
        let low = row.low.unwrap_or(row.min);
        let floor = row.floor_plain.unwrap_or(low);
        [low.min(floor), row.high.unwrap_or(row.max)]
    };
    let all = || family.rows.iter().flat_map(ends);
    let range = (
        all().fold(f64::INFINITY, f64::min),
        all().fold(0.0, f64::max),
    );
    let axis = family.rows.first().map_or("", |row| row.axis.as_str());
    let draw = |(index, (case, rows)): (usize, (&&str, &Vec<&TimingRow>))| {
        let name = case_name(family, case);
        let plot = Curves {
            caption: Caption {
                id: format!("plot-{number}-{index}"),
                title: format!("{name}: median latency by {axis}"),
                description: describe(rows),
            },
            axis: if axis == names::SIZE {
                Axis::Size
            } else {
                Axis::Count
            },
            axis_name: axis_name(axis),
            values: values.clone(),
            range,
            curves: curves(rows, looks),
        };
        let svg = plot.svg()?;
        Ok(html! {
            figure { figcaption { (Shown(name)) } (PreEscaped(svg)) }
        })
    };
    cases.iter().enumerate().map(draw).collect()
}

fn axis_name(axis: &str) -> String {
    match axis {
        names::SIZE => "size of the file".to_owned(),
        names::DEPTH => "layers below".to_owned(),
        other => other.to_owned(),
    }
}

/// The floors first, so that they lie below, then a curve for each column.
fn curves(rows: &[&TimingRow], looks: &Looks) -> Vec<Curve> {
    let mut curves: BTreeMap<Column, Vec<Point>> = BTreeMap::new();
    let mut floors: BTreeMap<&str, BTreeMap<u64, f64>> = BTreeMap::new();
    for row in rows {
        let Some(at) = row.at else { continue };
        curves.entry(row.column()).or_default().push(Point {
            at,
            value: row.median,
            interval: row.low.zip(row.high),
            range: Some((row.min, row.max)),
        });
        if let Some(floor) = row.floor_plain {
            floors.entry(&row.backing).or_default().insert(at, floor);
        }
    }
    let point = |(at, value)| Point {
        at,
        value,
        interval: None,
        range: None,
    };
    let floors = floors.into_iter().map(|(backing, points)| Curve {
        look: Looks::floor(backing),
        points: points.into_iter().map(point).collect(),
        shift: 0,
    });
    let half = i32::try_from(curves.len() / 2).unwrap_or(0);
    let columns = (-half..)
        .zip(curves)
        .map(|(shift, (column, points))| Curve {
            look: looks.of(&column),
            points,
            shift,
        });
    floors.chain(columns).collect()
}

/// The plot in words: what each column does from the first to the last value.
fn describe(rows: &[&TimingRow]) -> String {
    let mut ends: BTreeMap<Column, (&TimingRow, &TimingRow)> = BTreeMap::new();
    for row in rows {
        ends.entry(row.column())
            .and_modify(|(_, last)| *last = row)
            .or_insert((row, row));
    }
    let point = |row: &TimingRow| {
        let at = row.at.unwrap_or(0);
        let at = if row.axis == names::SIZE {
            units::bytes(at as f64)
        } else {
            at.to_string()
        };
        format!("{} at {at}", units::duration(row.median))
    };
    let lines: Vec<String> = ends
        .iter()
        .map(|(column, (first, last))| {
            format!("{}: {}, {}", column.label(), point(first), point(last))
        })
        .collect();
    lines.join(". ")
}

/// The key to the plots of a family: a swatch with line, marker and name for each column, then the floors.
fn key(family: &Family<'_>, looks: &Looks) -> Markup {
    let mut columns: Vec<Column> = family.rows.iter().map(|row| row.column()).collect();
    columns.sort();
    columns.dedup();
    let with_floor = family.rows.iter().filter(|row| row.floor_plain.is_some());
    let mut floors: Vec<&str> = with_floor.map(|row| row.backing.as_str()).collect();
    floors.sort_unstable();
    floors.dedup();
    html! {
        ul class="key" {
            @for column in &columns {
                li { (swatch(looks.of(column))) (Shown(&column.label())) }
            }
            @for backing in floors {
                li class="muted" { (swatch(Looks::floor(backing))) "plain " (Shown(backing)) }
            }
        }
    }
}

fn swatch(look: Look) -> Markup {
    let class = format!("stroke-{} dash-{}", look.hue, look.pattern);
    let fill = format!("fill-{}", look.hue);
    html! {
        svg viewBox="0 0 40 14" width="40" height="14" aria-hidden="true" {
            line x1="0" y1="7" x2="40" y2="7" stroke-width="2" class=(class) {}
            @if look.hue != Look::FLOOR { @match look.pattern {
                0 => circle cx="20" cy="7" r="4" class=(fill) {},
                1 => rect x="16" y="3" width="8" height="8" class=(fill) {},
                2 => polygon points="20,1 25,11 15,11" class=(fill) {},
                3 => polygon points="20,1 26,7 20,13 14,7" class=(fill) {},
                4 => polygon points="20,13 25,3 15,3" class=(fill) {},
                _ => rect x="18" y="1" width="4" height="12" class=(fill) {},
            } }
        }
    }
}

fn table(family: &Family<'_>, case: &str, rows: &[&TimingRow]) -> Markup {
    let name = case_name(family, case);
    let has_plain = rows.iter().any(|row| row.floor_plain.is_some());
    let has_copied_up = rows.iter().any(|row| row.floor_copied_up.is_some());
    let mut groups: Vec<(Option<u64>, Vec<&TimingRow>)> = Vec::new();
    for row in rows {
        match groups.last_mut() {
            Some((at, rows)) if *at == row.at => rows.push(row),
            _ => groups.push((row.at, vec![row])),
        }
    }
    html! {
        details {
            summary { (Shown(name)) ": the numbers" }
            div class="scroll" tabindex="0" {
                table class="timings" {
                    caption { (Shown(name)) ", " (family.media) ": medians with 95 % intervals, and the excess over the floors" }
                    thead { tr {
                        th scope="col" { "Driver and backing" }
                        th scope="col" class="number" { "Median" }
                        th scope="col" class="number" { "95th percentile" }
                        @if has_plain {
                            th scope="col" class="number" { "Plain backing" }
                            th scope="col" class="number" { "Excess over it" }
                        }
                        @if has_copied_up {
                            th scope="col" class="number" { "Already copied up" }
                            th scope="col" class="number" { "Excess over it" }
                        }
                        th scope="col" class="number" { "Samples" }
                    } }
                    @for (at, rows) in &groups {
                        tbody {
                            @if let Some(at) = at { (at_row(family, *at)) }
                            @for row in rows { (timing(row, has_plain, has_copied_up)) }
                        }
                    }
                }
            }
        }
    }
}

fn at_row(family: &Family<'_>, at: u64) -> Markup {
    let axis = family.rows.first().map_or("", |row| row.axis.as_str());
    html! {
        tr class="group" {
            th scope="rowgroup" colspan="8" {
                @match axis {
                    names::SIZE => span title={ (at) " bytes" } { (units::bytes(at as f64)) },
                    _ => span { (axis_name(axis)) ": " (at) },
                }
            }
        }
    }
}

fn timing(row: &TimingRow, has_plain: bool, has_copied_up: bool) -> Markup {
    html! {
        tr {
            th scope="row" { (column(&row.column())) }
            td class="number" {
                (measured(row.median, row.low.zip(row.high), Unit::Ns))
                @if row.low.is_none() && row.samples > 1 {
                    span class="range" { "range " (units::duration(row.min)) " – " (units::duration(row.max)) }
                }
            }
            td class="number" { (measured(row.p95, None, Unit::Ns)) }
            @if has_plain {
                td class="number" { (floor(row.floor_plain)) }
                td class="number" { (excess(row.excess_plain, row.excess_plain_low.zip(row.excess_plain_high))) }
            }
            @if has_copied_up {
                td class="number" { (floor(row.floor_copied_up)) }
                td class="number" {
                    (excess(row.excess_copied_up, row.excess_copied_up_low.zip(row.excess_copied_up_high)))
                }
            }
            td class="number" {
                (row.samples) " in " (row.blocks)
                @if row.outliers > 0 { span class="interval" { (row.outliers) " far out" } }
            }
        }
    }
}

fn floor(value: Option<f64>) -> Markup {
    html! {
        @match value {
            Some(value) => (measured(value, None, Unit::Ns)),
            None => span class="muted" { "–" },
        }
    }
}

/// An excess whose interval holds zero is none that was shown.
fn excess(value: Option<f64>, interval: Option<(f64, f64)>) -> Markup {
    let shown = interval.is_some_and(|(low, high)| low > 0.0 || high < 0.0);
    html! {
        @match value {
            Some(value) => span class=[(!shown).then_some("muted")] {
                @if value > 0.0 { "+" }
                (measured(value, interval, Unit::Ns))
            },
            None => span class="muted" { "–" },
        }
    }
}
