//! Reads results files line by line.
//!
//! Lenient where that is safe: blank lines, fields it does not know and a last line that a crash cut off are passed
//! over. Anything else that is wrong is an error that names the file and the line.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Record, SCHEMA};

/// A results file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file can not be opened or read.
    #[error("failed to read results `{}`: {source}", path.display())]
    Io {
        /// The results file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A line is not a result.
    #[error("`{}` line {line} is not a result: {source}", path.display())]
    Line {
        /// The results file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A line was written by a newer version of cowlab.
    #[error(
        "`{}` line {line} has schema {found}, this cowlab reads up to {SCHEMA}: read it with the version that wrote it",
        path.display()
    )]
    Newer {
        /// The results file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The version it names.
        found: u64,
    },
}

impl ReadError {
    /// The exit code for this class of error: bad input data (`EX_DATAERR` of sysexits.h).
    pub const EXIT_CODE: u8 = 65;
}

/// An iterator over the records of a file.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    path: PathBuf,
    line: u64,
    cut_off: bool,
    done: bool,
}

/// The one field that is the same in every version, read before all others.
#[derive(Deserialize)]
struct Version {
    schema: u64,
}

impl Reader<BufReader<File>> {
    /// Opens a results file.
    ///
    /// # Errors
    /// Fails where the file can not be opened.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(|source| ReadError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::new(BufReader::new(file), path))
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads any input; `path` is its name in errors.
    pub fn new(input: R, path: &Path) -> Self {
        Self {
            input,
            path: path.to_owned(),
            line: 0,
            cut_off: false,
            done: false,
        }
    }

    /// Whether the last line was cut off and left out; known after the last record.
    #[must_use]
    pub fn cut_off(&self) -> bool {
        self.cut_off
    }

    fn next_record(&mut self) -> Result<Option<Record>, ReadError> {
        let mut text = Vec::new();
        loop {
            text.clear();
            let length =
                self.input
                    .read_until(b'\n', &mut text)
                    .map_err(|source| ReadError::Io {
                        path: self.path.clone(),
                        source,
                    })?;
            if length == 0 {
                return Ok(None);
            }
            self.line += 1;
            if !text.trim_ascii().is_empty() {
                break;
            }
        }
        match self.parse(&text) {
            // Only JSON that ends too early, on a line without its newline, is what a crash leaves behind.
            Err(ReadError::Line { source, .. })
                if source.is_eof() && text.last() != Some(&b'\n') =>
            {
                self.cut_off = true;
                Ok(None)
            }
            parsed => parsed.map(Some),
        }
    }

    fn parse(&self, text: &[u8]) -> Result<Record, ReadError> {
        let bad_line = |source| ReadError::Line {
            path: self.path.clone(),
            line: self.line,
            source,
        };
        let Version { schema } = serde_json::from_slice(text).map_err(bad_line)?;
        if schema > u64::from(SCHEMA) {
            return Err(ReadError::Newer {
                path: self.path.clone(),
                line: self.line,
                found: schema,
            });
        }
        serde_json::from_slice(text).map_err(bad_line)
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Record, ReadError>;

    /// The next record; nothing follows an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.next_record().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}
