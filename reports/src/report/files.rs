//! The files of a report.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Report;
use crate::render;
use crate::result::ResultSet;
use crate::verdict::Rejected;

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A file can not be written.
    #[error("failed to write `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A table can not be written as CSV.
    #[error("failed to write table `{table}`: {source}")]
    Csv {
        /// Name of the table.
        table: &'static str,
        /// The reason.
        source: csv::Error,
    },
    /// The report can not be written as JSON.
    #[error("failed to write report.json: {0}")]
    Json(#[from] serde_json::Error),
    /// A plot can not be drawn.
    #[error("failed to draw plot `{plot}`: {reason}")]
    Plot {
        /// What it shows.
        plot: String,
        /// What the drawing library says.
        reason: String,
    },
}

/// The files of a report that was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The page.
    pub html: PathBuf,
    /// The same as Markdown.
    pub markdown: PathBuf,
    /// The same as data.
    pub json: PathBuf,
    /// The raw results.
    pub results: PathBuf,
    /// The tables as CSV.
    pub tables: Vec<PathBuf>,
    /// What they say.
    pub report: Report,
}

/// Writes the report of a result set into a directory, which is made where it does not exist. Each file is written
/// beside its place and then renamed, so that a page that is open never shows half of a report.
///
/// # Errors
/// Fails where a file can not be written.
pub fn write(dir: &Path, set: &ResultSet) -> Result<Written, ReportError> {
    let report = Report::new(set);
    fs::create_dir_all(dir).map_err(|source| ReportError::Io {
        path: dir.to_owned(),
        source,
    })?;
    let put = |name: &str, content: &[u8]| put(dir, name, content);
    let mut json = serde_json::to_vec_pretty(&report)?;
    json.push(b'\n');
    let mut results = Vec::new();
    for record in set.records() {
        serde_json::to_writer(&mut results, record)?;
        results.push(b'\n');
    }
    let mut written = Vec::new();
    for (name, content) in tables(&report)? {
        let name = format!("{name}.csv");
        if content.is_empty() {
            remove(&dir.join(name))?;
        } else {
            written.push(put(&name, &content)?);
        }
    }
    Ok(Written {
        json: put("report.json", &json)?,
        results: put("results.jsonl", &results)?,
        markdown: put("report.md", render::markdown(&report).as_bytes())?,
        html: put("index.html", render::html(&report)?.as_bytes())?,
        tables: written,
        report,
    })
}

/// Removes what an earlier report left in this place.
fn remove(path: &Path) -> Result<(), ReportError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(ReportError::Io {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

fn put(dir: &Path, name: &str, content: &[u8]) -> Result<PathBuf, ReportError> {
    let path = dir.join(name);
    let beside = dir.join(format!(".{name}.new"));
    let done = fs::write(&beside, content).and_then(|()| fs::rename(&beside, &path));
    done.map_err(|source| ReportError::Io {
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

/// One row per candidate, the choice first.
#[derive(Serialize)]
struct VerdictRow<'a> {
    rank: usize,
    driver: &'a str,
    variant: &'a str,
    backing: &'a str,
    decision: &'static str,
    criterion: &'a str,
    because: String,
}

fn verdict_rows(report: &Report) -> Vec<VerdictRow<'_>> {
    let choice = report.verdict.choice.iter().map(|choice| {
        let reasons: Vec<&str> = choice.reasons.iter().map(|it| it.text.as_str()).collect();
        (&choice.column, "chosen", "", reasons.join("; "))
    });
    let rejected = report.verdict.rejected.iter().map(|rejected: &Rejected| {
        let because = rejected.because.clone();
        (&rejected.column, "rejected", rejected.criterion, because)
    });
    choice
        .chain(rejected)
        .enumerate()
        .map(
            |(index, (column, decision, criterion, because))| VerdictRow {
                rank: index + 1,
                driver: &column.driver,
                variant: &column.variant,
                backing: &column.backing,
                decision,
                criterion,
                because,
            },
        )
        .collect()
}

/// Every table by name. One without rows is empty, without even a header, and gets no file.
fn tables(report: &Report) -> Result<Vec<(&'static str, Vec<u8>)>, ReportError> {
    let all = [
        ("verdict", csv(&verdict_rows(report))),
        ("conformance-columns", csv(&report.columns)),
        ("conformance-cases", csv(&report.cases)),
        ("deviations", csv(&report.deviations)),
        ("timings", csv(&report.timings)),
        ("instructions", csv(&report.counts)),
        ("capacity", csv(&report.capacity)),
        ("noise", csv(&report.noise)),
        ("skipped", csv(&report.skipped)),
        ("drivers", csv(&report.drivers)),
        ("environments", csv(&report.environments)),
        ("commands", csv(&report.commands)),
    ];
    all.into_iter()
        .map(|(table, content)| match content {
            Ok(content) => Ok((table, content)),
            Err(source) => Err(ReportError::Csv { table, source }),
        })
        .collect()
}

fn csv<T: Serialize>(rows: &[T]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    writer
        .into_inner()
        .map_err(|error| csv::Error::from(error.into_error()))
}
