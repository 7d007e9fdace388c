//! Progress on stderr: a bar on a terminal, a line per batch elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::budget::minutes;
use crate::sampler::Progress;

/// Shows how far a run is. Stops it after Ctrl-C where the program [watches](cowlab_sys::interrupt::watch).
#[derive(Debug, Default)]
pub struct Terminal {
    bar: Option<ProgressBar>,
    what: String,
    begun: Option<Instant>,
    taken: u64,
}

impl Terminal {
    /// Progress on this process's stderr.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a line to stderr, above the bar if there is one. A stderr that is gone has nobody to tell.
    pub fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => {
                if writeln!(stderr(), "{line}").is_err() {
                    tracing::debug!(line, "nobody reads stderr");
                }
            }
        }
    }
}

impl Progress for Terminal {
    fn begin(&mut self, what: &str, samples: u64) {
        what.clone_into(&mut self.what);
        self.begun = Some(Instant::now());
        self.taken = 0;
        if stderr().is_terminal() {
            let bar = ProgressBar::new(samples);
            let style =
                ProgressStyle::with_template("{msg:30} {wide_bar} {pos}/{len} samples, {eta} left");
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar.set_message(self.what.clone());
            bar.enable_steady_tick(Duration::from_millis(250));
            self.bar = Some(bar);
        }
    }

    fn step(&mut self) {
        self.taken += 1;
        if let Some(bar) = &self.bar {
            bar.set_position(self.taken);
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let time = self.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        self.line(&format!(
            "{}: {} samples in {}",
            self.what,
            self.taken,
            minutes(time)
        ));
    }

    fn say(&mut self, line: &str) {
        self.line(line);
    }

    fn interrupted(&self) -> bool {
        cowlab_sys::interrupt::requested()
    }
}
