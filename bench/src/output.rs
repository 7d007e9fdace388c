//! Where results go: a file, and standard output as lines or as tables.

use cowlab_engine::results::{Results, now};
use cowlab_reports::result::{Environment, Line, Place, Record, Run, Timestamp};

use crate::args::{Format, RunArgs};
use crate::command::print;
use crate::table::Tables;

/// The results of one run.
#[derive(Debug)]
pub(crate) struct Output {
    results: Results,
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
        let run = Run {
            id: format!("{:x}-{}", now().millis(), std::process::id()),
            commit,
        };
        let format = args.format();
        let is_json = format == Format::Json;
        Ok(Self {
            results: Results::open(run, environment, args.out.as_deref(), is_json)?,
            tables: Tables::default(),
            format,
        })
    }

    /// Takes what was found out since `started`.
    pub(crate) fn line(&mut self, started: Timestamp, line: &Line) -> anyhow::Result<()> {
        self.results.line(started, now(), line)?;
        self.add(line);
        Ok(())
    }

    /// Takes what a process of this run found out in a place.
    pub(crate) fn record(&mut self, place: Place, record: Record) -> anyhow::Result<()> {
        self.add(&record.line);
        Ok(self.results.record(place, record)?)
    }

    fn add(&mut self, line: &Line) {
        if let Line::Series(series) = line {
            self.tables.add(series);
        }
    }

    /// Writes the tables, which need all series.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        match self.format {
            Format::Json => Ok(()),
            format => print(&self.tables.render(format == Format::Markdown)),
        }
    }
}
