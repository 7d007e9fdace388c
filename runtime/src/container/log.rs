//! A container's output on disk: docker's json-file format, rotated.
//!
//! One JSON object a line: `log` (with its line end, or without one where a line is longer than 16 KiB or the
//! output ended), `stream` and `time`. A file that is full becomes `log.json.1`, that one `log.json.2`, and so on.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cowlab_units::Timestamp;
use serde::{Deserialize, Serialize};

use super::Result;

/// The longest text of one line of the log, in bytes: docker's.
const PIECE: usize = 16 << 10;

/// How a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOptions {
    /// A file is full when it has this many bytes.
    pub max_size: u64,
    /// How many files there are at most, the present one included.
    pub max_files: u32,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            max_size: 16 << 20,
            max_files: 4,
        }
    }
}

/// One of a program's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, or all output of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The text, with its line end if it has one; bytes that are no UTF-8 are replaced.
    pub log: String,
    /// Where it was written.
    pub stream: Stream,
    /// When it arrived.
    pub time: Timestamp,
}

/// Writes a log.
#[derive(Debug)]
pub(super) struct LogWriter {
    path: PathBuf,
    options: LogOptions,
    file: File,
    size: u64,
    /// Lines that have not ended, by stream.
    open: [Vec<u8>; 2],
    /// Lines as they are kept, of one call: one write takes them all.
    lines: Vec<u8>,
}

impl LogWriter {
    /// Goes on with the log at `path`.
    pub(super) fn open(path: &Path, options: LogOptions) -> Result<Self> {
        let mut file = append(path)?;
        let mut size = cowlab_sys::io("stat", path, file.metadata())?.len();
        // A crash may have cut off the last line: it takes none of the new ones with it.
        let mut last = [b'\n'];
        if size > 0 {
            let read = file.read_exact_at(&mut last, size - 1);
            cowlab_sys::io("read", path, read)?;
        }
        if last != *b"\n" {
            cowlab_sys::io("write", path, file.write_all(b"\n"))?;
            size += 1;
        }
        Ok(Self {
            path: path.to_owned(),
            options,
            file,
            size,
            open: [Vec::new(), Vec::new()],
            lines: Vec::new(),
        })
    }

    /// Takes what a program wrote.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(PIECE) {
                let open = &mut self.open[stream as usize];
                open.extend_from_slice(part);
                if open.ends_with(b"\n") || open.len() >= PIECE {
                    let text = std::mem::take(open);
                    self.line(stream, &text)?;
                }
            }
        }
        self.put()
    }

    /// Writes lines that never ended.
    pub(super) fn finish(&mut self) -> Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let text = std::mem::take(&mut self.open[stream as usize]);
            if !text.is_empty() {
                self.line(stream, &text)?;
            }
        }
        self.put()
    }

    fn put(&mut self) -> Result<()> {
        let lines = std::mem::take(&mut self.lines);
        Ok(cowlab_sys::io(
            "write",
            &self.path,
            self.file.write_all(&lines),
        )?)
    }

    fn line(&mut self, stream: Stream, text: &[u8]) -> Result<()> {
        let line = LogLine {
            log: String::from_utf8_lossy(text).into_owned(),
            stream,
            time: Timestamp::from(std::time::SystemTime::now()),
        };
        let mut line = serde_json::to_vec(&line).unwrap_or_default();
        line.push(b'\n');
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.size > 0 && self.size.saturating_add(length) > self.options.max_size {
            self.put()?;
            self.rotate()?;
        }
        self.lines.append(&mut line);
        self.size = self.size.saturating_add(length);
        Ok(())
    }

    fn rotate(&mut self) -> Result<()> {
        let last = self.options.max_files.saturating_sub(1);
        if last == 0 {
            cowlab_sys::io("truncate", &self.path, self.file.set_len(0))?;
        }
        for number in (1..=last).rev() {
            let from = match number {
                1 => self.path.clone(),
                _ => numbered(&self.path, number - 1),
            };
            match fs::rename(&from, numbered(&self.path, number)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                renamed => cowlab_sys::io("rename", &from, renamed)?,
            }
        }
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

fn append(path: &Path) -> Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    Ok(cowlab_sys::io("open", path, options.open(path))?)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(format!(".{number}"));
    name.into()
}

/// Reads a log, oldest line first, and what is added to it.
#[derive(Debug)]
pub struct Logs {
    path: PathBuf,
    /// Older files that are still to be read, the oldest last.
    older: Vec<PathBuf>,
    reader: Option<BufReader<File>>,
    /// The start of a line whose end is not there yet.
    part: Vec<u8>,
}

impl Logs {
    /// Opens the log at `path`; a missing one is empty.
    pub(super) fn open(path: &Path, options: LogOptions) -> Self {
        let numbers = 1..options.max_files;
        let files = numbers.map(|number| numbered(path, number));
        Self {
            path: path.to_owned(),
            older: files.filter(|path| path.exists()).collect(),
            reader: None,
            part: Vec::new(),
        }
    }

    /// The next line; `None` where there is none yet.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn next_line(&mut self) -> Result<Option<LogLine>> {
        loop {
            let Some(reader) = &mut self.reader else {
                let path = self.older.pop().unwrap_or_else(|| self.path.clone());
                match File::open(&path) {
                    Ok(file) => self.reader = Some(BufReader::new(file)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => cowlab_sys::io("open", &path, Err(error))?,
                }
                continue;
            };
            let read = reader.read_until(b'\n', &mut self.part);
            let read = cowlab_sys::io("read", &self.path, read)?;
            if read > 0 && self.part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.part);
                // A line that a crash cut off is no line.
                match serde_json::from_slice(&line) {
                    Ok(line) => return Ok(Some(line)),
                    Err(error) => tracing::debug!(%error, "a line of the log is none"),
                }
            } else if read == 0 && !self.is_followed_by_another()? {
                return Ok(None);
            } else if read == 0 {
                self.reader = None;
                self.part.clear();
            }
        }
    }

    /// Whether the file that is read is not the present one any more.
    fn is_followed_by_another(&self) -> Result<bool> {
        if !self.older.is_empty() {
            return Ok(true);
        }
        let Some(reader) = &self.reader else {
            return Ok(false);
        };
        let here = cowlab_sys::io("stat", &self.path, reader.get_ref().metadata())?;
        let present = fs::metadata(&self.path).ok();
        Ok(present.is_some_and(|present| present.ino() != here.ino()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(logs: &mut Logs) -> Vec<String> {
        std::iter::from_fn(|| logs.next_line().unwrap())
            .map(|line| line.log)
            .collect()
    }

    #[test]
    fn lines_are_kept_whole_whatever_the_writes() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log.json");
        let options = LogOptions::default();
        let mut writer = LogWriter::open(&path, options).unwrap();
        writer.write(Stream::Stdout, b"on").unwrap();
        writer.write(Stream::Stderr, b"error\n").unwrap();
        writer.write(Stream::Stdout, b"e\ntwo\nend").unwrap();
        let mut logs = Logs::open(&path, options);
        assert_eq!(all(&mut logs), ["error\n", "one\n", "two\n"]);
        writer.finish().unwrap();
        assert_eq!(all(&mut logs), ["end"]);
    }

    #[test]
    fn line_that_a_crash_cut_off_takes_no_other_with_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log.json");
        fs::write(&path, b"{\"log\": \"cu\0\0\0").unwrap();
        let mut writer = LogWriter::open(&path, LogOptions::default()).unwrap();
        writer.write(Stream::Stdout, b"next\n").unwrap();
        let mut logs = Logs::open(&path, LogOptions::default());
        assert_eq!(all(&mut logs), ["next\n"]);
    }

    #[test]
    fn full_files_are_rotated_and_read_in_order() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log.json");
        let options = LogOptions {
            max_size: 200,
            max_files: 3,
        };
        let mut writer = LogWriter::open(&path, options).unwrap();
        let mut follower = Logs::open(&path, options);
        let mut followed = Vec::new();
        for number in 0..20 {
            let line = format!("line {number}\n");
            writer.write(Stream::Stdout, line.as_bytes()).unwrap();
            followed.extend(all(&mut follower));
        }
        assert_eq!(followed.len(), 20);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 3);
        let kept = all(&mut Logs::open(&path, options));
        assert_eq!(kept.last().map(String::as_str), Some("line 19\n"));
        assert!(kept.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(kept.len() >= 3);
    }

    #[test]
    fn long_lines_are_cut() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("log.json");
        let mut writer = LogWriter::open(&path, LogOptions::default()).unwrap();
        writer
            .write(Stream::Stdout, &vec![b'x'; PIECE + 5])
            .unwrap();
        writer.finish().unwrap();
        let pieces = all(&mut Logs::open(&path, LogOptions::default()));
        assert_eq!(
            pieces.iter().map(String::len).collect::<Vec<_>>(),
            [PIECE, 5]
        );
    }
}
