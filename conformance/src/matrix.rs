//! The matrix of cases and columns, as text and as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use comfy_table::{Table, presets};
use cowlab_reports::result::{Place, Status};

use crate::case_result::CaseResult;
use crate::cases::GROUPS;
use crate::column_run::ColumnRun;

/// The compact matrix: a row per group with the counts of each column, then every case that did not pass everywhere.
pub(crate) fn text(column_runs: &[Arc<ColumnRun>]) -> String {
    let mut text = String::new();
    let mut table = table(column_runs, "group");
    table.add_row(
        std::iter::once("place".to_owned())
            .chain(column_runs.iter().map(|column_run| place(column_run))),
    );
    for group in GROUPS {
        let cells: Vec<_> = column_runs
            .iter()
            .map(|column_run| counts(column_run, group.name))
            .collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            table.add_row(std::iter::once(group.name.to_owned()).chain(cells));
        }
    }
    table.add_row(
        std::iter::once("all".to_owned())
            .chain(column_runs.iter().map(|column_run| total(column_run))),
    );
    push_line(&mut text, &table.to_string());
    for status in Status::ALL
        .into_iter()
        .filter(|status| *status != Status::Pass)
    {
        let rows = rows(column_runs, status);
        if rows.is_empty() {
            continue;
        }
        push_line(&mut text, &format!("\n{status}:"));
        for ((case, reason), columns) in rows {
            push_line(
                &mut text,
                &format!("  {case}: {reason} [{}]", columns.join(", ")),
            );
        }
    }
    push(&mut text, &trouble(column_runs));
    text
}

/// Why columns did not run, what others left behind or upset.
fn trouble(column_runs: &[Arc<ColumnRun>]) -> String {
    let mut text = String::new();
    for column_run in column_runs {
        if let Some(reason) = &column_run.barred() {
            push_line(
                &mut text,
                &format!("\n{}: no case ran: {reason}", column_run.subject),
            );
        }
        for trouble in &column_run.trouble() {
            push_line(&mut text, &format!("\n{}: {trouble}", column_run.subject));
        }
    }
    text
}

/// The full matrix in Markdown: a row per case.
pub(crate) fn markdown(column_runs: &[Arc<ColumnRun>]) -> String {
    let mut text = String::from("| case |");
    for column_run in column_runs {
        push(&mut text, &format!(" {} |", column_run.subject));
    }
    push(&mut text, "\n|---|");
    push_line(&mut text, &"---|".repeat(column_runs.len()));
    let mut ids: Vec<&str> = Vec::new();
    for case in column_runs.iter().flat_map(|column_run| &column_run.cases) {
        if !ids.contains(&case.id) {
            ids.push(case.id);
        }
    }
    for id in ids {
        push(&mut text, &format!("| {id} |"));
        for column_run in column_runs {
            let results = column_run.results();
            let result = results.iter().find(|result| result.case.id == id);
            let mark = result.map_or("", |result| mark(result.place));
            let cell = result.map_or("", |result| result.status.name());
            push(&mut text, &format!(" {cell}{mark} |"));
        }
        text.push('\n');
    }
    if column_runs
        .iter()
        .any(|column_run| column_run.part(Place::Guest).is_some())
    {
        push_line(&mut text, "\n\\* in the guest");
    }
    for status in Status::ALL
        .into_iter()
        .filter(|status| *status != Status::Pass)
    {
        for ((case, reason), columns) in rows(column_runs, status) {
            push(
                &mut text,
                &format!("\n- {status} `{case}` ({}): {reason}", columns.join(", ")),
            );
        }
    }
    text.push('\n');
    push(&mut text, &trouble(column_runs));
    text
}

fn table(column_runs: &[Arc<ColumnRun>], corner: &str) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let columns = column_runs
        .iter()
        .map(|column_run| column_run.subject.to_string().replace("/default/", " "));
    table.set_header(std::iter::once(corner.to_owned()).chain(columns));
    table
}

/// Where the cases of a column ran.
fn place(column_run: &ColumnRun) -> String {
    let results = column_run.results();
    let in_guest = results.iter().filter(|result| result.place == Place::Guest);
    match (column_run.cases.len(), in_guest.count()) {
        (_, 0) => Place::Host.name().to_owned(),
        (all, in_guest) if all == in_guest => Place::Guest.name().to_owned(),
        (_, in_guest) => format!("host, {in_guest} in the guest"),
    }
}

/// What marks a cell of the full matrix.
const fn mark(place: Place) -> &'static str {
    match place {
        Place::Host => "",
        Place::Guest => "\\*",
    }
}

fn counts(column_run: &ColumnRun, group: &str) -> String {
    let results = column_run.results();
    summary(results.iter().filter(|result| result.case.group() == group))
}

fn total(column_run: &ColumnRun) -> String {
    let mut text = summary(column_run.results().iter());
    if !column_run.trouble().is_empty() {
        text.push_str(", left something behind");
    }
    text
}

/// Counts by status, what passes first: `18 pass, 1 deviates`.
fn summary<'a>(results: impl Iterator<Item = &'a CaseResult>) -> String {
    let mut counts: BTreeMap<Status, usize> = BTreeMap::new();
    for result in results {
        *counts.entry(result.status).or_default() += 1;
    }
    let shown: Vec<_> = counts
        .into_iter()
        .rev()
        .map(|(status, count)| format!("{count} {status}"))
        .collect();
    shown.join(", ")
}

type Rows = BTreeMap<(&'static str, String), Vec<String>>;

/// The cases that ended so, with the columns in which they did for the same reason.
fn rows(column_runs: &[Arc<ColumnRun>], status: Status) -> Rows {
    let mut rows = Rows::new();
    for column_run in column_runs
        .iter()
        .filter(|column_run| column_run.barred().is_none())
    {
        for result in &column_run.results() {
            if result.status == status {
                let reason = result.reason.clone().unwrap_or_default();
                let columns = rows.entry((result.case.id, reason)).or_default();
                columns.push(column_run.subject.to_string().replace("/default/", " "));
            }
        }
    }
    rows
}

fn push(text: &mut String, more: &str) {
    write!(text, "{more}").expect("writing to a string does not fail");
}

fn push_line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("writing to a string does not fail");
}
