//! The report as Markdown, for tickets and terminals.

use std::fmt::{self, Write};

use super::text::{code, escape_markdown as escape};
use crate::report::{CapacityRow, CountRow, Report, TimingRow};
use crate::result::Unit;
use crate::units;
use crate::verdict::{Reason, Verdict};

/// Makes the Markdown of a report.
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = String::from("# Storage driver report\n\n");
    let sections = [
        verdict,
        conformance,
        failures_and_deviations,
        latency,
        instructions,
        space,
        not_run,
        environment,
    ];
    for section in sections {
        section(&mut text, report).expect("writing to a string does not fail");
    }
    text
}

fn verdict(text: &mut String, report: &Report) -> fmt::Result {
    let verdict = &report.verdict;
    writeln!(text, "## Verdict\n")?;
    match &verdict.choice {
        Some(choice) => {
            writeln!(
                text,
                "**Use {} on {}** (confidence: {}).\n",
                escape(&choice.column.driver_name()),
                escape(&choice.column.backing),
                verdict.confidence.name()
            )?;
            reasons(text, "Why", &choice.reasons)?;
            reasons(text, "Know before you use it", &choice.cautions)?;
        }
        None => writeln!(text, "**Unknown**: the evidence does not carry a choice.\n")?,
    }
    if let Some(better) = &verdict.improvement {
        writeln!(
            text,
            "With a new file system: **{}**. There, {}.\n",
            escape(&better.column.label()),
            escape(&better.because)
        )?;
    }
    for applied in &verdict.host {
        writeln!(
            text,
            "> {} ([rule {}]({}))\n",
            escape(&applied.text),
            applied.rule,
            applied.source
        )?;
    }
    list(text, "Evidence that is missing", &verdict.missing)?;
    why_not(text, verdict)
}

fn reasons(text: &mut String, heading: &str, reasons: &[Reason]) -> fmt::Result {
    if reasons.is_empty() {
        return Ok(());
    }
    writeln!(text, "{heading}:\n")?;
    for reason in reasons {
        write!(text, "- {}", escape(&reason.text))?;
        if let Some(applied) = &reason.rule {
            write!(text, " ([rule {}]({}))", applied.rule, applied.source)?;
        }
        text.push('\n');
    }
    text.push('\n');
    Ok(())
}

fn list(text: &mut String, heading: &str, items: &[String]) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(text, "{heading}:\n")?;
    for item in items {
        writeln!(text, "- {}", escape(item))?;
    }
    text.push('\n');
    Ok(())
}

fn why_not(text: &mut String, verdict: &Verdict) -> fmt::Result {
    let rows = verdict.rejected.iter().map(|rejected| {
        vec![
            escape(&rejected.column.label()),
            rejected.criterion.to_owned(),
            escape(&rejected.because),
        ]
    });
    table(text, &["Why not", "Decided by", "Because it"], rows)
}

fn conformance(text: &mut String, report: &Report) -> fmt::Result {
    writeln!(text, "## Conformance\n")?;
    if report.columns.is_empty() {
        return writeln!(text, "No case ran.\n");
    }
    let rows = report.columns.iter().map(|row| {
        vec![
            escape(&row.column().to_string()),
            row.pass.to_string(),
            row.deviates.to_string(),
            (row.fail + row.order_dependent + row.unexpected_pass).to_string(),
            row.skip.to_string(),
            row.deviations_by_impact.clone(),
        ]
    });
    let heading = [
        "Column",
        "Holds",
        "Deviates",
        "Fails",
        "Skipped",
        "Deviations by impact",
    ];
    table(text, &heading, rows)
}

fn failures_and_deviations(text: &mut String, report: &Report) -> fmt::Result {
    let failures = report.cases.iter().filter(|row| row.status.is_failure());
    let rows = failures.map(|row| {
        vec![
            code(&row.case),
            escape(&row.column().to_string()),
            row.status.to_string(),
            row.impact.to_string(),
            escape(&row.reason),
            code(&row.repeat),
        ]
    });
    let heading = [
        "Failure",
        "Column",
        "Status",
        "Impact",
        "First difference",
        "Repeat",
    ];
    table(text, &heading, rows)?;
    let rows = report.deviations.iter().map(|row| {
        vec![
            code(&row.case),
            row.impact.to_string(),
            escape(&row.observed),
            escape(&row.because),
            escape(&row.columns),
            escape(&row.see),
        ]
    });
    let heading = [
        "Deviation",
        "Impact",
        "Instead",
        "Because",
        "Where",
        "Source",
    ];
    table(text, &heading, rows)
}

fn latency(text: &mut String, report: &Report) -> fmt::Result {
    writeln!(text, "## Latency\n")?;
    if report.timings.is_empty() {
        return writeln!(text, "Nothing was timed.\n");
    }
    let rows = report.noise.iter().map(|row| {
        vec![
            escape(&row.workload),
            row.unit.to_string(),
            row.media.to_string(),
            row.place.to_string(),
            row.controls.to_string(),
            units::change(row.factor),
        ]
    });
    let heading = [
        "Noise of",
        "Unit",
        "Media",
        "Place",
        "A/A controls",
        "Below this is noise",
    ];
    table(text, &heading, rows)?;
    let heading = [
        "Workload",
        "At",
        "Column",
        "Median",
        "95 % interval",
        "Excess over plain",
        "Excess over copied up",
        "Samples",
    ];
    table(text, &heading, report.timings.iter().map(timing))
}

fn timing(row: &TimingRow) -> Vec<String> {
    let interval = |pair: Option<(f64, f64)>| {
        pair.map_or_else(String::new, |(low, high)| {
            format!("{} – {}", units::duration(low), units::duration(high))
        })
    };
    let value = |value: Option<f64>| value.map_or_else(String::new, units::duration);
    vec![
        escape(&format!("{} {}", row.workload, row.case)),
        at(row.at, &row.axis),
        escape(&row.column().to_string()),
        units::duration(row.median),
        interval(row.low.zip(row.high)),
        value(row.excess_plain),
        value(row.excess_copied_up),
        format!("{} in {}", row.samples, row.blocks),
    ]
}

/// Counts are apart from what was timed: the unit is no time.
fn instructions(text: &mut String, report: &Report) -> fmt::Result {
    if report.counts.is_empty() {
        return Ok(());
    }
    writeln!(text, "## Instructions\n")?;
    let heading = [
        "Workload",
        "At",
        "Column",
        "Instructions",
        "Plain backing",
        "Copied up",
        "Between the seeds",
        "Seeds",
    ];
    table(text, &heading, report.counts.iter().map(count))
}

fn count(row: &CountRow) -> Vec<String> {
    let value = |value: u64| units::value(value as f64, Unit::Instructions);
    let floor = |floor: Option<u64>| floor.map_or_else(String::new, value);
    vec![
        escape(&format!("{} {}", row.workload, row.case)),
        at(row.at, &row.axis),
        escape(&row.column().to_string()),
        value(row.median),
        floor(row.plain),
        floor(row.copied_up),
        units::change(row.floor),
        row.seeds.to_string(),
    ]
}

/// The value on the x axis.
fn at(value: Option<u64>, axis: &str) -> String {
    value.map_or_else(String::new, |value| escape(&units::at(axis, value)))
}

fn space(text: &mut String, report: &Report) -> fmt::Result {
    writeln!(text, "## Space\n")?;
    if report.capacity.is_empty() {
        return writeln!(text, "No space was measured.\n");
    }
    let heading = [
        "Workload",
        "Varied",
        "Column",
        "Allocated",
        "Overhead",
        "Samples",
    ];
    table(text, &heading, report.capacity.iter().map(capacity))
}

fn capacity(row: &CapacityRow) -> Vec<String> {
    let size = |bytes: u64| units::bytes(bytes as f64);
    let mut varied: Vec<String> = Vec::new();
    varied.extend(row.change.map(|change| format!("{} changed", size(change))));
    varied.extend(row.size.map(|bytes| format!("file of {}", size(bytes))));
    varied.extend(row.containers.map(|count| format!("{count} containers")));
    varied.extend(row.layers.map(|count| format!("{count} layers")));
    varied.extend((!row.case.is_empty()).then(|| escape(&row.case)));
    let overhead = row.overhead.map(|overhead| {
        if row.containers.is_some() {
            format!("{} each", units::value(overhead, row.unit))
        } else {
            units::times(overhead)
        }
    });
    let inodes = if row.unit == Unit::Inodes {
        " inodes"
    } else {
        ""
    };
    vec![
        escape(&row.workload),
        varied.join(", "),
        escape(&row.column().to_string()),
        format!("{}{inodes}", units::value(row.median, row.unit)),
        overhead.unwrap_or_default(),
        row.samples.to_string(),
    ]
}

fn not_run(text: &mut String, report: &Report) -> fmt::Result {
    writeln!(text, "## What could not run\n")?;
    let missing = report.drivers.iter().filter(|row| !row.available);
    let rows: Vec<Vec<String>> = missing
        .map(|row| {
            let name = format!(
                "{}:{} {} ({})",
                row.driver, row.variant, row.backing, row.place
            );
            vec![
                escape(&name),
                escape(&row.missing),
                String::new(),
                escape(&row.remedy),
            ]
        })
        .chain(report.skipped.iter().map(|row| {
            vec![
                escape(&row.what),
                escape(&row.why),
                row.waiting_for
                    .map_or_else(String::new, |place| place.to_string()),
                code(&row.command),
            ]
        }))
        .collect();
    if rows.is_empty() {
        writeln!(text, "Everything that was asked for ran.\n")?;
    }
    table(
        text,
        &["What", "Why", "Waiting for", "Remedy"],
        rows.into_iter(),
    )?;
    list(text, "Notes", &report.notes)
}

fn environment(text: &mut String, report: &Report) -> fmt::Result {
    writeln!(text, "## Environment, and how to repeat\n")?;
    let rows = report.environments.iter().map(|row| {
        vec![
            code(&row.environment),
            escape(&row.fact),
            escape(&row.value),
        ]
    });
    table(text, &["Machine", "Fact", "Value"], rows)?;
    for image in &report.images {
        writeln!(
            text,
            "Image {}: {} layers, {} in {} entries. {}.\n",
            code(&image.name),
            image.layers,
            units::bytes(image.bytes as f64),
            image.entries,
            escape(&image.made)
        )?;
    }
    let rows = report
        .commands
        .iter()
        .map(|row| vec![escape(&row.part), code(&row.command)]);
    table(text, &["Part", "Command"], rows)
}

/// A table, unless it has no rows.
fn table(
    text: &mut String,
    heading: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> fmt::Result {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    writeln!(text, "| {} |", heading.join(" | "))?;
    writeln!(text, "|{}", " --- |".repeat(heading.len()))?;
    for row in rows {
        writeln!(text, "| {} |", row.join(" | "))?;
    }
    text.push('\n');
    Ok(())
}
