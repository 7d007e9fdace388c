//! What could not run, on what machine the rest ran, and how to repeat it.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::element::{Prose, Shown, command};
use crate::report::{Report, SkippedRow};
use crate::result::{Image, Status, Subject};
use crate::units;

pub(super) fn not_run(report: &Report) -> Markup {
    let missing: Vec<_> = report.drivers.iter().filter(|row| !row.available).collect();
    let skipped = skipped_cases(report);
    html! {
        section id="not-run" class="card" {
            h2 { "What could not run" }
            @if missing.is_empty() && skipped.is_empty() && report.skipped.is_empty() {
                p class="note good" { "Everything that was asked for ran." }
            }
            @if !missing.is_empty() {
                div class="scroll" tabindex="0" {
                    table {
                        caption { "Drivers that can not run here" }
                        thead { tr {
                            th scope="col" { "Driver" }
                            th scope="col" { "Missing" }
                            th scope="col" { "Remedy" }
                        } }
                        tbody {
                            @for row in missing {
                                tr {
                                    th scope="row" {
                                        (Shown(&row.driver))
                                        @if row.variant != "default" { ":" (Shown(&row.variant)) }
                                        @if !row.backing.is_empty() { " on " (Shown(&row.backing)) }
                                        " (" (row.place) ")"
                                    }
                                    td { (Prose(&row.missing)) }
                                    td { (Prose(&row.remedy)) }
                                }
                            }
                        }
                    }
                }
            }
            @if !report.skipped.is_empty() { (skipped_table(&report.skipped)) }
            @if !skipped.is_empty() { (skipped_cases_table(&skipped)) }
            @for note in &report.notes { p class="note warn" { (Prose(note)) } }
        }
    }
}

fn skipped_table(rows: &[SkippedRow]) -> Markup {
    let subject = |subject| match subject {
        Subject::Conformance => "conformance",
        Subject::Bench => "bench",
        Subject::Other => "other",
    };
    html! {
        div class="scroll" tabindex="0" {
            table {
                caption { "Left out, and why" }
                thead { tr {
                    th scope="col" { "What" }
                    th scope="col" { "Part" }
                    th scope="col" { "Why" }
                    th scope="col" { "Waiting for" }
                    th scope="col" { "To run it" }
                } }
                tbody {
                    @for row in rows {
                        tr {
                            th scope="row" { (Shown(&row.what)) }
                            td { (subject(row.subject)) }
                            td { (Prose(&row.why)) }
                            td { @if let Some(place) = row.waiting_for { "the " (place) } }
                            td { (command(&row.command)) }
                        }
                    }
                }
            }
        }
    }
}

/// Cases that were skipped, by reason.
fn skipped_cases(report: &Report) -> BTreeMap<&str, BTreeMap<&str, usize>> {
    let mut reasons: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for row in report.cases.iter().filter(|row| row.status == Status::Skip) {
        let cases = reasons.entry(&row.reason).or_default();
        *cases.entry(&row.case).or_insert(0) += 1;
    }
    reasons
}

fn skipped_cases_table(reasons: &BTreeMap<&str, BTreeMap<&str, usize>>) -> Markup {
    html! {
        div class="scroll" tabindex="0" {
            table {
                caption { "Cases that were skipped, by what is missing" }
                thead { tr {
                    th scope="col" { "Missing" }
                    th scope="col" { "Cases, with the number of columns" }
                } }
                tbody {
                    @for (reason, cases) in reasons {
                        tr {
                            th scope="row" { (Shown(reason)) }
                            td {
                                @for (case, columns) in cases {
                                    code { (Shown(case)) } " × " (columns) br;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Environments by id with their facts, in the order of the results.
fn machines(report: &Report) -> Vec<(&str, Vec<(&str, &str)>)> {
    let mut machines: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
    for row in &report.environments {
        let fact = (row.fact.as_str(), row.value.as_str());
        match machines.last_mut() {
            Some((id, facts)) if *id == row.environment => facts.push(fact),
            _ => machines.push((&row.environment, vec![fact])),
        }
    }
    machines
}

pub(super) fn environment(report: &Report) -> Markup {
    let machines = machines(report);
    let first: Vec<(&str, &str)> = machines
        .first()
        .cloned()
        .map_or_else(Vec::new, |(_, facts)| facts);
    html! {
        section id="environment" class="card" {
            h2 { "Environment, and how to repeat" }
            @for (number, (id, facts)) in machines.iter().enumerate() {
                div class="scroll" tabindex="0" {
                    table class="narrow" {
                        caption {
                            "Environment " code { (Shown(id)) }
                            @if number > 0 { ", where it differs from the first" }
                        }
                        tbody {
                            @for fact in facts.iter().filter(|fact| number == 0 || !first.contains(fact)) {
                                tr { th scope="row" { (Shown(fact.0)) } td { (Shown(fact.1)) } }
                            }
                        }
                    }
                }
            }
            @for image in &report.images { (described(image)) }
            @if !report.runs.is_empty() {
                p {
                    "Runs: " (Shown(&report.runs.join(", ")))
                    @if !report.commits.is_empty() { ". Commits: " (Shown(&report.commits.join(", "))) }
                    "."
                }
            }
            div class="scroll" tabindex="0" {
                table class="narrow" {
                    caption { "Commands that repeat each part, as root" }
                    tbody {
                        @for row in &report.commands {
                            tr { th scope="row" { (Shown(&row.part)) } td { (command(&row.command)) } }
                        }
                    }
                }
            }
            p {
                "Raw samples are in " code { "results.jsonl" } ", every table as CSV, and all of this as data in "
                code { "report.json" } ", beside this page."
            }
        }
    }
}

fn described(image: &Image) -> Markup {
    html! {
        p {
            "Image " code { (Shown(&image.name)) } ": " (image.layers) " layers, "
            span title={ (image.bytes) " bytes" } { (units::bytes(image.bytes as f64)) } " in "
            (image.entries) " entries. " (Shown(&image.made)) "."
        }
    }
}
