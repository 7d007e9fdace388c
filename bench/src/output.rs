//! Where results go: a file, and standard output as lines or as tables.

use std::fs::File;
use std::io::{Stdout, stdout};
use std::time::SystemTime;

use cowlab_reports::result::{Environment, JsonLines, Line, Record, Run, Timestamp};

use crate::args::{Format, RunArgs};
use crate::command::print;
use crate::table::Tables;

/// The results of one run.
#[derive(Debug)]
pub(crate) struct Output {
    run: Run,
    file: Option<JsonLines<File>>,
    lines: Option<JsonLines<Stdout>>,
    tables: Tables,
    format: Format,
}

impl Output {
    /// Opens what the command line asks for and introduces the machine that the results are of.
    pub(crate) fn open(
        args: &RunArgs,
        environment: &Environment,
        commit: String,
    ) -> anyhow::Result<Self> {
        let now = Timestamp::from(SystemTime::now());
        let run = Run {
            id: format!("{:x}-{}", now.millis(), std::process::id()),
            commit,
        };
        let file = match &args.out {
            Some(path) => Some(JsonLines::append(path, run.clone(), environment, now)?),
            None => None,
        };
        let format = args.format();
        let lines = match format {
            Format::Json => Some(JsonLines::new(stdout(), run.clone(), environment, now)?),
            Format::Text | Format::Markdown => None,
        };
        Ok(Self {
            run,
            file,
            lines,
            tables: Tables::default(),
            format,
        })
    }

    /// Takes what was found out since `started`.
    pub(crate) fn line(&mut self, started: Timestamp, line: Line) -> anyhow::Result<()> {
        let finished = Timestamp::from(SystemTime::now());
        if let Some(file) = &mut self.file {
            file.line(started, finished, line.clone())?;
        }
        if let Some(lines) = &mut self.lines {
            lines.line(started, finished, line)?;
        } else if let Line::Series(series) = &line {
            self.tables.add(series);
        }
        Ok(())
    }

    /// Takes what was found out in the guest: part of this run, in an environment of its own.
    pub(crate) fn record(&mut self, record: Record) -> anyhow::Result<()> {
        let record = Record {
            run: self.run.id.clone(),
            commit: self.run.commit.clone(),
            ..record
        };
        if let Some(file) = &mut self.file {
            file.record(&record)?;
        }
        if let Some(lines) = &mut self.lines {
            lines.record(&record)?;
        } else if let Line::Series(series) = &record.line {
            self.tables.add(series);
        }
        Ok(())
    }

    /// Writes the tables, which need all series.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        if self.lines.is_none() {
            print(&self.tables.render(self.format == Format::Markdown))?;
        }
        Ok(())
    }
}
