//! The matrix of cases and columns, failures first.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::element::{Prose, Shown, column, command, repeat, sources};
use crate::report::{CaseRow, ColumnRow, Report};
use crate::result::{Column, Status};

pub(super) fn section(report: &Report) -> Markup {
    let failures = failures(&report.cases);
    html! {
        section id="conformance" class="card" {
            h2 { "Conformance" }
            @if report.cases.is_empty() {
                p class="note" { "No case ran." }
            } @else {
                p {
                    "Each case is one claim, checked against a plain directory on the same file system. A deviation is a "
                    "difference the driver declares; it is checked like any other claim."
                }
                (summary(&report.columns))
                (failed(&failures))
                (deviations(report))
                (matrix(report))
                (repeat("cargo xtask conformance"))
            }
        }
    }
}

/// Sign, word and CSS class of a status; the sign is never the only difference from another.
fn sign(status: Status) -> &'static str {
    match status {
        Status::Pass => "✓",
        Status::Deviates => "≠",
        Status::Skip => "–",
        Status::Fail => "✗",
        Status::OrderDependent => "⇅",
        Status::UnexpectedPass => "!",
    }
}

fn summary(columns: &[ColumnRow]) -> Markup {
    html! {
        div class="scroll" tabindex="0" {
            table class="summary" {
                caption { "Outcomes per column" }
                thead { tr {
                    th scope="col" { "Driver and backing" }
                    th scope="col" class="wide" { "Share" }
                    th scope="col" class="number" { "Holds" }
                    th scope="col" class="number" { "Deviates" }
                    th scope="col" class="number" { "Fails" }
                    th scope="col" class="number" { "Skipped" }
                    th scope="col" { "Deviations by impact" }
                } }
                tbody {
                    @for row in columns {
                        tr {
                            th scope="row" { (column(&row.column())) }
                            td { (share(row)) }
                            td class="number" { (row.pass) }
                            td class="number" { (row.deviates) }
                            td class={ "number" @if failing(row) > 0 { " bad" } } { (failing(row)) }
                            td class="number" { (row.skip) }
                            td { (row.deviations_by_impact) }
                        }
                    }
                }
            }
        }
    }
}

fn failing(row: &ColumnRow) -> usize {
    row.fail + row.order_dependent + row.unexpected_pass
}

fn share(row: &ColumnRow) -> Markup {
    let parts = [
        ("pass", row.pass),
        ("deviates", row.deviates),
        ("fail", failing(row)),
        ("skip", row.skip),
    ];
    html! {
        span class="share" aria-hidden="true" {
            @for (class, count) in parts {
                @if count > 0 { i class=(class) style={ "flex:" (count) } {} }
            }
        }
    }
}

/// One failure and the columns that show it alike.
type Failure<'a> = (&'a CaseRow, Vec<&'a CaseRow>);

/// Failures, those with the worst impact first; columns that differ from the claim in the same way share one.
fn failures(rows: &[CaseRow]) -> Vec<Failure<'_>> {
    let mut failures: BTreeMap<_, Vec<&CaseRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.status.is_failure()) {
        let alike = (row.impact, &row.case, row.status, &row.reason);
        failures.entry(alike).or_default().push(row);
    }
    failures
        .into_values()
        .filter_map(|rows| Some((*rows.first()?, rows)))
        .collect()
}

fn failed(failures: &[Failure<'_>]) -> Markup {
    html! {
        h3 { "Failures" }
        @if failures.is_empty() {
            p class="note good" { "No case failed." }
        }
        @for (row, rows) in failures {
            article class="failure" {
                h4 {
                    span class={ "status " (row.status) } { (sign(row.status)) " " (row.status) }
                    " " code { (Shown(&row.case)) }
                    " " span class={ "impact " (row.impact) } { (row.impact) }
                }
                p { (Prose(&row.claim)) }
                @if !row.reason.is_empty() { pre { (Shown(&row.reason)) } }
                p class="muted" {
                    "In "
                    @for (index, row) in rows.iter().enumerate() {
                        @if index > 0 { ", " }
                        (column(&row.column()))
                    }
                }
                (command(&row.repeat))
            }
        }
    }
}

fn deviations(report: &Report) -> Markup {
    html! {
        @if !report.deviations.is_empty() {
            details open {
                summary { "Declared deviations (" (report.deviations.len()) ")" }
                div class="scroll" tabindex="0" {
                    table class="deviations" {
                        caption { "Declared deviations that showed, worst impact first" }
                        thead { tr {
                            th scope="col" { "Impact" }
                            th scope="col" { "Claim" }
                            th scope="col" { "What happens instead, and why" }
                            th scope="col" { "Where" }
                            th scope="col" { "Source" }
                        } }
                        tbody {
                            @for row in &report.deviations {
                                tr {
                                    td { span class={ "impact " (row.impact) } { (row.impact) } }
                                    td { (Prose(&row.claim)) br; code { (Shown(&row.case)) } }
                                    td {
                                        (Prose(&row.observed))
                                        @if !row.because.is_empty() {
                                            br; span class="muted" { (Prose(&row.because)) }
                                        }
                                    }
                                    td class="where" { (where_it_showed(&row.columns)) }
                                    td class="source" { (sources(&row.see)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn where_it_showed(columns: &str) -> Markup {
    html! { @for column in columns.split("; ") { span { (Shown(column)) } } }
}

type Cells<'a> = BTreeMap<(&'a str, Column), &'a CaseRow>;

fn matrix(report: &Report) -> Markup {
    let columns: Vec<Column> = report.columns.iter().map(ColumnRow::column).collect();
    let cells: Cells<'_> = report
        .cases
        .iter()
        .map(|row| ((row.case.as_str(), row.column()), row))
        .collect();
    let mut groups: Vec<(&str, Vec<&CaseRow>)> = Vec::new();
    for row in &report.cases {
        match groups.last_mut() {
            Some((group, rows)) if *group == row.group => {
                if rows.last().is_none_or(|last| last.case != row.case) {
                    rows.push(row);
                }
            }
            _ => groups.push((&row.group, vec![row])),
        }
    }
    html! {
        div class="matrix" {
            h3 { "Every case" }
            p class="legend" {
                @for status in Status::ALL {
                    span { span class={ "status " (status) } { (sign(status)) } " " (status) }
                }
                label { input type="checkbox" class="only"; " only cases that do not hold everywhere" }
            }
            div class="scroll tall" tabindex="0" {
                table {
                    caption { "Cases by group, columns by driver and backing" }
                    thead { tr {
                        th scope="col" { "Case" }
                        @for column in &columns { (heading(column)) }
                    } }
                    @for (group, rows) in &groups { (group_rows(group, rows, &columns, &cells)) }
                }
            }
        }
    }
}

fn heading(column: &Column) -> Markup {
    html! {
        th scope="col" class="cell" {
            span { (Shown(&column.driver)) }
            @if column.variant != "default" { span class="variant" { (Shown(&column.variant)) } }
            span class="backing" { (Shown(&column.backing)) }
            @if column.place == crate::result::Place::Guest { span class="backing" { "guest" } }
        }
    }
}

fn group_rows(group: &str, rows: &[&CaseRow], columns: &[Column], cells: &Cells<'_>) -> Markup {
    let statuses = |case: &str| -> Vec<Option<&CaseRow>> {
        columns
            .iter()
            .map(|column| cells.get(&(case, column.clone())).copied())
            .collect()
    };
    html! {
        tbody {
            tr class="group" {
                th scope="rowgroup" colspan=(columns.len() + 1) {
                    (Shown(group)) " " span class="muted" { (rows.len()) }
                }
            }
            @for row in rows {
                @let statuses = statuses(&row.case);
                @let clean = statuses.iter().flatten().all(|cell| cell.status == Status::Pass);
                tr class=[clean.then_some("clean")] {
                    th scope="row" {
                        (Prose(&row.claim))
                        span class="id" {
                            @if !row.numbers.is_empty() { (Shown(&row.numbers)) " · " }
                            (Shown(&row.case))
                        }
                    }
                    @for cell in statuses { (status(cell)) }
                }
            }
        }
    }
}

fn status(row: Option<&CaseRow>) -> Markup {
    let Some(row) = row else {
        return html! { td class="cell none" { span class="hidden" { "not run" } } };
    };
    let reason = Shown(&row.reason);
    html! {
        td class={ "cell " (row.status) } title=[(!row.reason.is_empty()).then_some(reason)] {
            span aria-hidden="true" { (sign(row.status)) }
            span class="hidden" { (row.status) }
        }
    }
}
