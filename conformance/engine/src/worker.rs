//! One run of this program that does a part of the work and writes what it finds to standard output, a JSON line each: on
//! this machine or in a guest.
//!
//! What judges, measures or reports plans which columns run where, hands a [`Job`] to each [`Machine`], and merges the records
//! that it gets back. How a machine is made and started is its own affair.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use cowlab_reports::result::{Reader, Record};
use cowlab_sys::task::Task;
use cowlab_sys::{Cmd, interrupt};

/// What the program is to do.
#[derive(Debug, Clone, Default)]
pub struct Job {
    /// The arguments of the program.
    pub arguments: Vec<OsString>,
    /// Files of this host, each with the path that it has in a guest. An argument that is such a path names the file.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// The time after which a guest is ended. On this machine nothing is emulated: whoever waits ends it.
    pub time_limit: Duration,
    /// Runs the guest by instructions, everything in memory, with this seed for what is otherwise chance.
    pub deterministic: Option<u64>,
}

impl Job {
    /// An argument as it is on this machine.
    fn on_host<'a>(&'a self, argument: &'a OsStr) -> &'a OsStr {
        let mut files = self.files.iter();
        let named = files.find(|(_, in_guest)| in_guest.as_os_str() == argument);
        named.map_or(argument, |(here, _)| here.as_os_str())
    }
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The program ended with this exit code.
    Exit(u8),
    /// There is no exit code.
    Lost(Loss),
}

impl Ending {
    /// An end without an exit code and without a console.
    pub fn lost(reason: impl Into<String>) -> Self {
        Self::Lost(Loss {
            reason: reason.into(),
            console: String::new(),
        })
    }
}

/// Why there is no exit code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loss {
    /// What happened, on one line.
    pub reason: String,
    /// The last lines of the guest's console.
    pub console: String,
}

impl fmt::Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)?;
        if !self.console.is_empty() {
            write!(formatter, "\n  console of the guest:")?;
            for line in self.console.lines() {
                write!(formatter, "\n    {line}")?;
            }
        }
        Ok(())
    }
}

/// A machine that is ready to run this program. Each run in a guest boots one.
pub trait Machine: fmt::Debug + Send + Sync {
    /// Runs a job; both outputs of the program arrive while it runs.
    ///
    /// # Errors
    ///
    /// What kept the program from being started, and an output that could not be written.
    fn run(
        &self,
        job: &Job,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> Result<Ending, String>;
}

/// This machine.
#[derive(Debug, Clone, Copy)]
pub struct Host;

/// This program, even where another build has replaced it meanwhile.
pub(crate) const OWN_FILE: &str = "/proc/self/exe";
/// signal(7).
const SIGTERM: i32 = 15;
/// How often it is asked whether the user wants a program that runs to end.
const PAUSE: Duration = Duration::from_millis(50);

impl Machine for Host {
    /// The program ends with the thread that calls, and writes to this process's own standard error.
    fn run(&self, job: &Job, stdout: &mut dyn Write, _: &mut dyn Write) -> Result<Ending, String> {
        let words = |error: cowlab_sys::Error| error.to_string();
        let (mut reader, writer) = io::pipe().map_err(|error| error.to_string())?;
        let command = Cmd::new(OWN_FILE).args(job.arguments.iter().map(|word| job.on_host(word)));
        let mut running = command.attach_apart(writer).map_err(words)?;
        let task = Task::open(running.pid()).map_err(words)?;
        let over = AtomicBool::new(false);
        let copied = thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    if interrupt::requested() {
                        return stop(task.as_ref());
                    }
                    thread::park_timeout(PAUSE);
                }
            });
            let copied = io::copy(&mut reader, &mut &mut *stdout);
            if copied.is_err() {
                // Nobody takes what it finds any more.
                stop(task.as_ref());
            }
            over.store(true, Ordering::SeqCst);
            watcher.thread().unpark();
            copied
        });
        let status = running.wait().map_err(words)?;
        copied.map_err(|error| error.to_string())?;
        Ok(Ending::Exit(u8::try_from(status).unwrap_or(u8::MAX)))
    }
}

/// Asks a program to take down what it made and to end.
fn stop(task: Option<&Task>) {
    let signaled = task.map_or(Ok(()), |task| task.signal(SIGTERM));
    if let Err(error) = signaled {
        tracing::warn!(%error, "a part of the run is not told to end");
    }
}

/// Runs a job and hands on each result as soon as it is known, and each line that is meant for people.
///
/// A line that is no result ends the reading, and so does a result that `take` refuses; the job's own end is
/// reported only after everything it said was right.
pub fn stream(
    machine: &dyn Machine,
    job: &Job,
    take: &mut dyn FnMut(Record) -> Result<(), String>,
    say: &mut dyn FnMut(&str),
) -> Ending {
    let mut results = Lines::new(|line: &[u8]| {
        for record in Reader::new(line, Path::new("its output")) {
            take(record.map_err(|error| error.to_string())?)?;
        }
        Ok(())
    });
    let mut notes = Lines::new(|line: &[u8]| {
        say(&String::from_utf8_lossy(line));
        Ok(())
    });
    let ended = machine.run(job, &mut results, &mut notes);
    notes.finish();
    if let Some(refused) = results.refused {
        return Ending::lost(refused);
    }
    ended.unwrap_or_else(Ending::lost)
}

/// Cuts what is written into lines.
struct Lines<F> {
    rest: Vec<u8>,
    take: F,
    refused: Option<String>,
}

impl<F: FnMut(&[u8]) -> Result<(), String>> Lines<F> {
    const fn new(take: F) -> Self {
        Self {
            rest: Vec::new(),
            take,
            refused: None,
        }
    }

    /// Takes a last line that has no end.
    fn finish(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.line(&rest);
        }
    }

    fn line(&mut self, line: &[u8]) {
        if self.refused.is_none() {
            self.refused = (self.take)(line).err();
        }
    }
}

impl<F: FnMut(&[u8]) -> Result<(), String>> Write for Lines<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if let Some(line) = part
                .ends_with(b"\n")
                .then(|| std::mem::take(&mut self.rest))
            {
                self.line(line.trim_ascii_end());
            }
        }
        if let Some(refused) = &self.refused {
            return Err(io::Error::other(refused.clone()));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what it was made with, in pieces that end anywhere.
    #[derive(Debug)]
    struct Canned(Vec<&'static str>, Ending);

    impl Machine for Canned {
        fn run(
            &self,
            _: &Job,
            stdout: &mut dyn Write,
            stderr: &mut dyn Write,
        ) -> Result<Ending, String> {
            for piece in &self.0 {
                stdout
                    .write_all(piece.as_bytes())
                    .map_err(|error| error.to_string())?;
            }
            stderr
                .write_all(b"one\ntwo")
                .map_err(|error| error.to_string())?;
            Ok(self.1.clone())
        }
    }

    const RECORD: &str = r#"{"schema":1,"run":"r","started":"2026-01-01T00:00:00.000Z","finished":"2026-01-01T00:00:00.000Z","commit":"c","environment":{"id":"e"},"kind":"environment"}"#;

    fn taken(guest: &Canned) -> (usize, Vec<String>, Ending) {
        let (mut records, mut said) = (0, Vec::new());
        let ending = stream(
            guest,
            &Job::default(),
            &mut |record| {
                assert_eq!(record.run, "r");
                records += 1;
                Ok(())
            },
            &mut |line| said.push(line.to_owned()),
        );
        (records, said, ending)
    }

    #[test]
    fn records_are_put_together_from_pieces() {
        let (start, end) = RECORD.split_at(40);
        let guest = Canned(vec![start, end, "\n", RECORD, "\n"], Ending::Exit(1));
        let (records, said, ending) = taken(&guest);
        assert_eq!(records, 2);
        assert_eq!(said, ["one", "two"]);
        assert_eq!(ending, Ending::Exit(1));
    }

    #[test]
    fn what_is_no_result_is_a_loss() {
        let guest = Canned(vec!["thread 'main' panicked\n"], Ending::Exit(0));
        let (records, _, ending) = taken(&guest);
        assert_eq!(records, 0);
        assert!(matches!(ending, Ending::Lost(loss) if loss.reason.contains("its output")));
    }

    #[test]
    fn a_line_that_the_end_cut_off_is_not_taken() {
        let lost = Ending::Lost(Loss {
            reason: "the guest was killed".to_owned(),
            console: "a\nb".to_owned(),
        });
        let guest = Canned(vec![RECORD, "\n", &RECORD[..50]], lost.clone());
        let (records, _, ending) = taken(&guest);
        assert_eq!(records, 1);
        assert_eq!(ending, lost);
    }
}
