//! The matrix of cases and columns, as text and as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use comfy_table::{Table, presets};
use cowlab_reports::result::Status;

use crate::cases::GROUPS;
use crate::column::Ended;
use crate::lane::Lane;

/// The compact matrix: a row per group with the counts of each column, then every case that did not pass everywhere.
pub(crate) fn text(lanes: &[Arc<Lane>]) -> String {
    let mut text = String::new();
    let mut table = table(lanes, "group");
    for group in GROUPS {
        let cells: Vec<_> = lanes.iter().map(|lane| counts(lane, group.name)).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            table.add_row(std::iter::once(group.name.to_owned()).chain(cells));
        }
    }
    table.add_row(std::iter::once("all".to_owned()).chain(lanes.iter().map(|lane| total(lane))));
    push_line(&mut text, &table.to_string());
    for status in Status::ALL
        .into_iter()
        .filter(|status| *status != Status::Pass)
    {
        let rows = rows(lanes, status);
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
    push(&mut text, &trouble(lanes));
    text
}

/// Why columns did not run, what others left behind or upset.
fn trouble(lanes: &[Arc<Lane>]) -> String {
    let mut text = String::new();
    for lane in lanes {
        if let Some(reason) = &lane.report().whole {
            push_line(
                &mut text,
                &format!("\n{}: no case ran: {reason}", lane.subject),
            );
        }
        for trouble in &lane.report().trouble {
            push_line(&mut text, &format!("\n{}: {trouble}", lane.subject));
        }
    }
    text
}

/// The full matrix in Markdown: a row per case.
pub(crate) fn markdown(lanes: &[Arc<Lane>]) -> String {
    let mut text = String::from("| case |");
    for lane in lanes {
        push(&mut text, &format!(" {} |", lane.subject));
    }
    push(&mut text, "\n|---|");
    push_line(&mut text, &"---|".repeat(lanes.len()));
    let mut ids: Vec<&str> = Vec::new();
    for case in lanes.iter().flat_map(|lane| &lane.cases) {
        if !ids.contains(&case.id) {
            ids.push(case.id);
        }
    }
    for id in ids {
        push(&mut text, &format!("| {id} |"));
        for lane in lanes {
            let ended = lane.report().ended.iter().find(|ended| ended.case.id == id);
            let cell = ended.map_or("", |ended| ended.verdict.status.name());
            push(&mut text, &format!(" {cell} |"));
        }
        text.push('\n');
    }
    for status in Status::ALL
        .into_iter()
        .filter(|status| *status != Status::Pass)
    {
        for ((case, reason), columns) in rows(lanes, status) {
            push(
                &mut text,
                &format!("\n- {status} `{case}` ({}): {reason}", columns.join(", ")),
            );
        }
    }
    text.push('\n');
    push(&mut text, &trouble(lanes));
    text
}

fn table(lanes: &[Arc<Lane>], corner: &str) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let columns = lanes
        .iter()
        .map(|lane| lane.subject.to_string().replace("/default/", " "));
    table.set_header(std::iter::once(corner.to_owned()).chain(columns));
    table
}

fn counts(lane: &Lane, group: &str) -> String {
    let ended = lane.report().ended.iter();
    summary(ended.filter(|ended| ended.case.group() == group))
}

fn total(lane: &Lane) -> String {
    let mut text = summary(lane.report().ended.iter());
    if !lane.report().trouble.is_empty() {
        text.push_str(", left something behind");
    }
    text
}

/// Counts by status, what passes first: `18 pass, 1 deviates`.
fn summary<'a>(ended: impl Iterator<Item = &'a Ended>) -> String {
    let mut counts: BTreeMap<Status, usize> = BTreeMap::new();
    for ended in ended {
        *counts.entry(ended.verdict.status).or_default() += 1;
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
fn rows(lanes: &[Arc<Lane>], status: Status) -> Rows {
    let mut rows = Rows::new();
    for lane in lanes.iter().filter(|lane| lane.report().whole.is_none()) {
        for ended in &lane.report().ended {
            if ended.verdict.status == status {
                let reason = ended.verdict.reason.clone().unwrap_or_default();
                let columns = rows.entry((ended.case.id, reason)).or_default();
                columns.push(lane.subject.to_string().replace("/default/", " "));
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
