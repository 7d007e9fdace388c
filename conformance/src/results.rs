//! Writes results as they become known: to a file, to standard output, or both.

use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, anyhow};
use cowlab_engine::fingerprint;
use cowlab_reports::result::{JsonLines, Line, Record, Run, Timestamp};
use cowlab_testbed::{base_directory, live_host};

use crate::args::{Format, RunArgs};
use crate::report::now;

/// Where results go.
#[derive(Debug)]
pub(crate) struct Results {
    facts: Run,
    file: Option<Mutex<JsonLines<File>>>,
    stdout: Option<Mutex<JsonLines<io::Stdout>>>,
    unwritten: Mutex<Option<String>>,
}

impl Results {
    /// Opens what the command line names.
    ///
    /// # Errors
    ///
    /// When a file cannot be opened or standard output is closed.
    pub(crate) fn open(args: &RunArgs, run: &str) -> Result<Self> {
        let facts = Run {
            id: run.to_owned(),
            commit: fingerprint::commit(),
        };
        let dir = args.dir.clone().unwrap_or_else(base_directory);
        let environment = fingerprint::environment(&dir, live_host()?);
        let file = args.results.as_ref().map(|path| {
            JsonLines::<File>::append(path, facts.clone(), &environment, now()).map(Mutex::new)
        });
        let is_json = args.format() == Format::Json;
        let stdout = is_json.then(|| {
            JsonLines::new(io::stdout(), facts.clone(), &environment, now()).map(Mutex::new)
        });
        Ok(Self {
            file: file.transpose()?,
            stdout: stdout.transpose()?,
            facts,
            unwritten: Mutex::default(),
        })
    }

    /// Writes what was found out here between two moments.
    pub(crate) fn line(&self, started: Timestamp, finished: Timestamp, line: &Line) {
        if let Some(file) = &self.file {
            let mut lines = file.lock().unwrap_or_else(PoisonError::into_inner);
            self.note(lines.line(started, finished, line.clone()).err());
        }
        if let Some(stdout) = &self.stdout {
            let mut lines = stdout.lock().unwrap_or_else(PoisonError::into_inner);
            self.note(lines.line(started, finished, line.clone()).err());
        }
    }

    /// Writes what was found out in the guest: part of this run, in an environment of its own.
    pub(crate) fn record(&self, record: Record) {
        let record = Record {
            run: self.facts.id.clone(),
            commit: self.facts.commit.clone(),
            ..record
        };
        if let Some(file) = &self.file {
            let mut lines = file.lock().unwrap_or_else(PoisonError::into_inner);
            self.note(lines.record(&record).err());
        }
        if let Some(stdout) = &self.stdout {
            let mut lines = stdout.lock().unwrap_or_else(PoisonError::into_inner);
            self.note(lines.record(&record).err());
        }
    }

    fn note(&self, error: Option<impl ToString>) {
        if let Some(error) = error {
            let mut unwritten = self
                .unwritten
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            unwritten.get_or_insert(error.to_string());
        }
    }

    /// Ends the writing.
    ///
    /// # Errors
    ///
    /// The first result that could not be written.
    pub(crate) fn close(&self) -> Result<()> {
        let mut unwritten = self
            .unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        unwritten.take().map_or(Ok(()), |error| Err(anyhow!(error)))
    }
}
