//! Where results go: a file, and standard output as lines or as tables.

use std::io::{Write, stdout};
use std::path::Path;

use anyhow::Context;
use cowlab_engine::fingerprint;
use cowlab_engine::results::{Results, now};
use cowlab_reports::result::{Environment, Line, Place, Record, Run, Timestamp};

use crate::args::{Format, RunArgs};
use crate::table::Tables;

/// Where containers would be kept: what the environment says about its file system goes into every result.
const STORAGE: &str = "/var/lib";

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

/// This machine, as every result of it says.
pub(crate) fn environment() -> anyhow::Result<Environment> {
    let engines = cowlab_testbed::live_host()?;
    Ok(fingerprint::environment(Path::new(STORAGE), engines))
}

/// Writes the result; a reader that went away, such as `head`, is no failure.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("failed to write to stdout"),
    }
}
