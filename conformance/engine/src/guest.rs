//! Runs this program in the guest and takes its results as they become known.
//!
//! The program in the guest is told the same verb with `--where host`, writes JSON lines to standard output, and knows by
//! [`PLACE`] that its host is the guest. What judges, measures or reports hands a [`Job`] to a [`Guest`] and gets
//! records back; how the machine is made and started is the guest's own affair.

mod cached;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use cowlab_driver::Missing;
use cowlab_reports::result::{Place, Reader, Record};

/// The environment variable that names the place in which the program runs, where that is not the host.
pub const PLACE: &str = "COWLAB_PLACE";

/// The command that makes a guest.
pub const COMMAND: &str = "cargo xtask guest build";

/// Where the user wants work to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Where {
    /// On the host what the host can, else in the guest, else not at all.
    #[default]
    Auto,
    /// On the host, whatever it lacks.
    Host,
    /// In the guest, whatever the host can.
    Guest,
}

impl Where {
    /// The name used on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Host => "host",
            Self::Guest => "guest",
        }
    }
}

impl fmt::Display for Where {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A name that is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no place; there are host, guest, auto")]
pub struct UnknownPlace(String);

impl FromStr for Where {
    type Err = UnknownPlace;

    fn from_str(name: &str) -> Result<Self, UnknownPlace> {
        [Self::Auto, Self::Host, Self::Guest]
            .into_iter()
            .find(|place| place.name() == name)
            .ok_or_else(|| UnknownPlace(name.to_owned()))
    }
}

/// The place that this program runs in.
#[must_use]
pub fn here() -> Place {
    if std::env::var_os(PLACE).is_some_and(|place| place == Place::Guest.name()) {
        Place::Guest
    } else {
        Place::Host
    }
}

/// What the program is to do in the guest.
#[derive(Debug, Clone, Default)]
pub struct Job {
    /// The arguments of the program.
    pub arguments: Vec<OsString>,
    /// Files of the host, each with the path that it has in the guest.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// The time after which the guest is ended.
    pub time_limit: Duration,
    /// Runs the guest by instructions, everything in memory, with this seed for what is otherwise chance.
    pub deterministic: Option<u64>,
}

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The program ended with this exit code.
    Exit(u8),
    /// The guest ended before the program did.
    Lost(Loss),
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

/// A guest that is ready to run this program. Each run is a machine of its own.
pub trait Guest: fmt::Debug + Send + Sync {
    /// Runs a job; both outputs of the program arrive while it runs.
    ///
    /// # Errors
    ///
    /// What kept the machine from being started, and an output that could not be written.
    fn run(
        &self,
        job: &Job,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> Result<Ending, String>;
}

/// Finds a guest: a cached image, and a build of this program for it.
///
/// # Errors
///
/// What is missing, and how to get it.
pub fn find() -> Result<Box<dyn Guest>, Missing> {
    match here() {
        Place::Guest => Err(Missing {
            what: "a guest within the guest".to_owned(),
            remedy: "run the command on the host".to_owned(),
        }),
        Place::Host => cached::find(),
    }
}

/// Runs a job and hands on each result as soon as it is known, and each line that is meant for people.
///
/// A line that is no result ends the reading, and so does a result that `take` refuses; the guest's own end is
/// reported only after everything it said was right.
pub fn stream(
    guest: &dyn Guest,
    job: &Job,
    take: &mut dyn FnMut(Record) -> Result<(), String>,
    say: &mut dyn FnMut(&str),
) -> Ending {
    let mut results = Lines::new(|line: &[u8]| {
        for record in Reader::new(line, Path::new("the guest's output")) {
            take(record.map_err(|error| error.to_string())?)?;
        }
        Ok(())
    });
    let mut notes = Lines::new(|line: &[u8]| {
        say(&String::from_utf8_lossy(line));
        Ok(())
    });
    let ended = guest.run(job, &mut results, &mut notes);
    notes.finish();
    let lost = |reason| {
        Ending::Lost(Loss {
            reason,
            console: String::new(),
        })
    };
    if let Some(refused) = results.refused {
        return lost(refused);
    }
    ended.unwrap_or_else(lost)
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

    impl Guest for Canned {
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
        assert!(matches!(ending, Ending::Lost(loss) if loss.reason.contains("the guest's output")));
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

    #[test]
    fn places_are_named_as_on_the_command_line() {
        for place in [Where::Auto, Where::Host, Where::Guest] {
            assert_eq!(place.name().parse(), Ok(place));
        }
        let error = "gest".parse::<Where>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`gest` is no place; there are host, guest, auto"
        );
    }
}
