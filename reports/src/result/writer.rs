//! Appends lines to a results file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::{Environment, EnvironmentRef, Line, Record, SCHEMA, Timestamp};

/// A line could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file cannot be opened for appending, or made.
    #[error("failed to open `{}` for results: {source}", path.display())]
    Open {
        /// The results file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is open and takes no line.
    #[error("failed to write result to `{}`: {source}", path.display())]
    Line {
        /// The results file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// What the lines of one run share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Identifies the run.
    pub id: String,
    /// Commit of cowlab; empty where it is not known.
    pub commit: String,
}

/// Writes records, one line each, and hands every line to the kernel before it returns: what was found out before a
/// crash of the program is in the file.
#[derive(Debug)]
pub struct JsonLines<W> {
    writer: W,
    path: PathBuf,
    run: Run,
    environment: EnvironmentRef,
}

impl JsonLines<File> {
    /// Opens the file for appending, makes it where it does not exist, and introduces the environment. A last line
    /// that a crash cut off is removed first, since the next line would otherwise continue it.
    ///
    /// # Errors
    /// Fails where the file can not be opened or written.
    pub fn append(
        path: &Path,
        run: Run,
        environment: &Environment,
        now: Timestamp,
    ) -> Result<Self, WriteError> {
        let open = || -> io::Result<File> {
            let file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .open(path)?;
            let whole = whole_lines(&file)?;
            if whole < file.metadata()?.len() {
                file.set_len(whole)?;
            }
            Ok(file)
        };
        let file = open().map_err(|source| WriteError::Open {
            path: path.to_owned(),
            source,
        })?;
        Self::start(file, path.to_owned(), run, environment, now)
    }
}

impl<W: Write> JsonLines<W> {
    /// Starts on any writer, named `-` in errors, and introduces the environment.
    pub fn new(
        writer: W,
        run: Run,
        environment: &Environment,
        now: Timestamp,
    ) -> Result<Self, WriteError> {
        Self::start(writer, PathBuf::from("-"), run, environment, now)
    }

    fn start(
        writer: W,
        path: PathBuf,
        run: Run,
        environment: &Environment,
        now: Timestamp,
    ) -> Result<Self, WriteError> {
        let mut lines = Self {
            writer,
            path,
            run,
            environment: environment.introduce(),
        };
        lines.line(now, now, Line::Environment)?;
        lines.environment.facts = None;
        Ok(lines)
    }

    /// Appends what was found out between two moments.
    pub fn line(
        &mut self,
        started: Timestamp,
        finished: Timestamp,
        line: Line,
    ) -> Result<(), WriteError> {
        self.record(&Record {
            schema: SCHEMA,
            run: self.run.id.clone(),
            started,
            finished,
            commit: self.run.commit.clone(),
            environment: self.environment.clone(),
            line,
        })
    }

    /// Appends a record as it is, such as one read from another file.
    pub fn record(&mut self, record: &Record) -> Result<(), WriteError> {
        let write = |writer: &mut W| -> io::Result<()> {
            let mut text = serde_json::to_vec(record)?;
            text.push(b'\n');
            // One write per line: lines of two processes that append to one file do not mix.
            writer.write_all(&text)?;
            writer.flush()
        };
        write(&mut self.writer).map_err(|source| WriteError::Line {
            path: self.path.clone(),
            source,
        })
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.writer
    }
}

/// Length of the file up to its last newline.
fn whole_lines(file: &File) -> io::Result<u64> {
    let mut reader = BufReader::new(file);
    let mut whole = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(whole);
        }
        whole += u64::try_from(length).map_err(io::Error::other)?;
    }
}
