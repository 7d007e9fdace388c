//! Writes results as they become known: to a file, to standard output, or both.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use cowlab_reports::result::{
    Environment, JsonLines, Line, Place, Record, Run, Timestamp, WriteError,
};

/// Where the results of a run go. Several threads write to it.
#[derive(Debug)]
pub struct Results {
    run: Run,
    file: Option<Mutex<JsonLines<File>>>,
    stdout: Option<Mutex<JsonLines<io::Stdout>>>,
}

impl Results {
    /// Opens what the command line names, and introduces the machine that the results are of.
    ///
    /// # Errors
    ///
    /// When a file cannot be opened or standard output is closed.
    pub fn open(
        run: Run,
        environment: &Environment,
        file: Option<&Path>,
        to_stdout: bool,
    ) -> Result<Self, WriteError> {
        let file = file.map(|path| JsonLines::append(path, run.clone(), environment, now()));
        let stdout =
            to_stdout.then(|| JsonLines::new(io::stdout(), run.clone(), environment, now()));
        Ok(Self {
            run,
            file: file.transpose()?.map(Mutex::new),
            stdout: stdout.transpose()?.map(Mutex::new),
        })
    }

    /// Writes what was found out here between two moments.
    pub fn line(
        &self,
        started: Timestamp,
        finished: Timestamp,
        line: &Line,
    ) -> Result<(), WriteError> {
        if let Some(file) = &self.file {
            let mut lines = file.lock().unwrap_or_else(PoisonError::into_inner);
            lines.line(started, finished, line.clone())?;
        }
        if let Some(stdout) = &self.stdout {
            let mut lines = stdout.lock().unwrap_or_else(PoisonError::into_inner);
            lines.line(started, finished, line.clone())?;
        }
        Ok(())
    }

    /// Writes a record of a [job](crate::worker::Job), as part of this run. One of this machine is of its environment as it
    /// was when the run began; a guest introduces its own.
    pub fn record(&self, place: Place, record: Record) -> Result<(), WriteError> {
        if place == Place::Host {
            return match record.line {
                Line::Environment => Ok(()),
                line => self.line(record.started, record.finished, &line),
            };
        }
        let record = Record {
            run: self.run.id.clone(),
            commit: self.run.commit.clone(),
            ..record
        };
        if let Some(file) = &self.file {
            let mut lines = file.lock().unwrap_or_else(PoisonError::into_inner);
            lines.record(&record)?;
        }
        if let Some(stdout) = &self.stdout {
            let mut lines = stdout.lock().unwrap_or_else(PoisonError::into_inner);
            lines.record(&record)?;
        }
        Ok(())
    }
}

/// The current time, as results have it.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
