//! The matrix of cases and columns, as text and as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use comfy_table::{Table, presets};
use cowlab_reports::result::{Place, Status};

use crate::cases::GROUPS;
use crate::lane::Lane;
use crate::report::Ended;

/// The compact matrix: a row per group with the counts of each column, then every case that did not pass everywhere.
pub(crate) fn text(lanes: &[Arc<Lane>]) -> String {
    let mut text = String::new();
    let mut table = table(lanes, "group");
    table.add_row(std::iter::once("place".to_owned()).chain(lanes.iter().map(|lane| place(lane))));
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
        if let Some(reason) = &lane.whole() {
            push_line(
                &mut text,
                &format!("\n{}: no case ran: {reason}", lane.subject),
            );
        }
        for trouble in &lane.trouble() {
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
            let ended = lane.ended();
            let ended = ended.iter().find(|ended| ended.case.id == id);
            let mark = ended.map_or("", |ended| mark(ended.place));
            let cell = ended.map_or("", |ended| ended.verdict.status.name());
            push(&mut text, &format!(" {cell}{mark} |"));
        }
        text.push('\n');
    }
    if lanes.iter().any(|lane| !lane.away.is_empty()) {
        push_line(&mut text, "\n\\* in the guest");
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

/// Where the cases of a column ran.
fn place(lane: &Lane) -> String {
    let away = lane.ended();
    let away = away.iter().filter(|ended| ended.place == Place::Guest);
    match (lane.cases.len(), away.count()) {
        (_, 0) => Place::Host.name().to_owned(),
        (all, away) if all == away => Place::Guest.name().to_owned(),
        (_, away) => format!("host, {away} in the guest"),
    }
}

/// What marks a cell of the full matrix.
const fn mark(place: Place) -> &'static str {
    match place {
        Place::Host => "",
        Place::Guest => "\\*",
    }
}

fn counts(lane: &Lane, group: &str) -> String {
    let ended = lane.ended();
    summary(ended.iter().filter(|ended| ended.case.group() == group))
}

fn total(lane: &Lane) -> String {
    let mut text = summary(lane.ended().iter());
    if !lane.trouble().is_empty() {
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
    for lane in lanes.iter().filter(|lane| lane.whole().is_none()) {
        for ended in &lane.ended() {
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
