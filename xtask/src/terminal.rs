//! What a person sees: lines on stderr, a spinner where there is a terminal, colors unless `NO_COLOR`
//! is set. Results go to stdout.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

const BOLD: &str = "1";
const RED: &str = "1;31";
const YELLOW: &str = "1;33";

/// Prints one line of a result to stdout. A closed pipe is no error: the reader has seen enough.
pub(crate) fn result(line: impl Display) {
    writeln!(io::stdout().lock(), "{line}").ok();
}

/// Prints one line of progress.
pub(crate) fn note(line: impl Display) {
    writeln!(io::stderr().lock(), "{line}").ok();
}

/// Prints one line of progress while another program draws a bar in the line of the cursor.
pub(crate) fn note_over_bar(line: impl Display) {
    let clear = if shows_bars() { "\r\x1b[K" } else { "" };
    note(format_args!("{clear}{line}"));
}

/// Prints a line that stands out from the output of the commands around it.
pub(crate) fn heading(line: &str) {
    note(painted(line, BOLD));
}

/// Prints a warning.
pub(crate) fn warning(line: &str) {
    note(format_args!("{}: {line}", painted("warning", YELLOW)));
}

/// Prints an error.
pub(crate) fn error(line: &str) {
    note(format_args!("{}: {line}", painted("error", RED)));
}

/// Asks a question; true only for an explicit yes.
pub(crate) fn ask(question: &str) -> io::Result<bool> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(is_yes(&answer))
}

/// Whether somebody is there to answer a question.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Seconds with one decimal, minutes from a hundred seconds on.
pub(crate) fn duration(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds < 100.0 {
        return format!("{seconds:.1} s");
    }
    let whole = elapsed.as_secs();
    format!("{} min {:02} s", whole / 60, whole % 60)
}

/// Work whose commands are quiet: a spinner on a terminal, one line at its start otherwise.
#[derive(Debug)]
pub(crate) struct Work {
    bar: Option<ProgressBar>,
    title: String,
    started: Instant,
}

impl Work {
    /// Shows that the work called `title` has begun.
    pub(crate) fn start(title: impl Into<String>) -> Self {
        let title = title.into();
        let bar = shows_bars().then(|| {
            let template = if colors() {
                "{spinner:.cyan} {msg} ({elapsed})"
            } else {
                "{spinner} {msg} ({elapsed})"
            };
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::new_spinner()
                .with_style(style)
                .with_message(title.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            note(format_args!("{title} ..."));
        }
        Self {
            bar,
            title,
            started: Instant::now(),
        }
    }

    /// Replaces the spinner by a line that says how long the work took.
    pub(crate) fn finish(self) {
        let line = format!("{}: {}", self.title, duration(self.started.elapsed()));
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        note(line);
    }
}

fn shows_bars() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Colors only on a terminal, and never where `NO_COLOR` is set (no-color.org).
fn colors() -> bool {
    shows_bars() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn painted(text: &str, code: &str) -> String {
    if colors() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_explicit_yes_is_one() {
        assert!(is_yes(" Yes\n"));
        assert!(is_yes("y"));
        assert!(!is_yes("\n"));
        assert!(!is_yes("no"));
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(duration(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 05 s");
    }
}
