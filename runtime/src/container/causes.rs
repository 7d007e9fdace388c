//! Why libcontainer failed. A process that it forks tells the one that forked it the outermost error alone, and logs the causes:
//! they are kept in memory that both have.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::OnceLock;

use cowlab_sys::{file, io};

use super::Result;

/// As much of the causes as anybody reads, in bytes.
const LIMIT: u64 = 4096;

static KEPT: OnceLock<File> = OnceLock::new();

/// Takes what libcontainer logs as errors, one a line, for whoever sets up the log. Before a start nothing is kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct Causes;

impl Write for Causes {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        match KEPT.get() {
            Some(mut kept) => kept.write(line),
            None => Ok(line.len()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps causes from now on, in this process and in those that it forks.
pub(super) fn keep() -> Result<()> {
    if KEPT.get().is_none() {
        // Another thread that was first has kept them as well.
        drop(KEPT.set(file::in_memory("causes")?));
    }
    Ok(())
}

/// libcontainer's error to its bottom: its own chain, and what a process of its logged first.
pub(super) fn chain(error: &libcontainer::error::LibcontainerError) -> String {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        // A message that has its cause in it already.
        if !reason.ends_with(&text) {
            reason = format!("{reason}: {text}");
        }
        cause = error.source();
    }
    match logged() {
        Ok(Some(said)) => format!("{reason}: {said}"),
        Ok(None) => reason,
        Err(error) => {
            tracing::debug!(%error, "the log of libcontainer cannot be read");
            reason
        }
    }
}

/// The innermost cause is logged first, and the second line may have its error number.
fn logged() -> Result<Option<String>> {
    let Some(mut kept) = KEPT.get() else {
        return Ok(None);
    };
    let mut text = String::new();
    io("seek", "causes", kept.seek(SeekFrom::Start(0)))?;
    io("read", "causes", kept.take(LIMIT).read_to_string(&mut text))?;
    let lines = text.lines().map(str::trim);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).take(2).collect();
    Ok((!lines.is_empty()).then(|| lines.join("; ")))
}
