//! What happens in a build, for people: lines for pipes, a view that is redrawn for terminals, or nothing but what a failed step printed.

use std::collections::{BTreeMap, VecDeque};
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use cowlab_build::{Event, Progress, Step};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How the progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Style {
    /// As the terminal allows.
    Auto,
    /// Lines.
    Plain,
    /// A view that is redrawn.
    Tty,
    /// Nothing but what a failed step printed.
    Quiet,
}

/// How many lines of a failed step are told again.
const LAST_LINES: usize = 20;

/// The longest line that is kept while its end has not come, in bytes.
const LINE_MAX: usize = 64 << 10;

/// What tells the progress.
pub(super) fn of(style: Style, quiet: bool) -> Box<dyn Progress> {
    let is_terminal = std::io::stderr().is_terminal();
    match style {
        _ if quiet => Box::new(Quiet::default()),
        Style::Quiet => Box::new(Quiet::default()),
        Style::Tty => Box::new(View::default()),
        Style::Auto
            if is_terminal && std::env::var_os("TERM").is_some_and(|term| term != "dumb") =>
        {
            Box::new(View::default())
        }
        Style::Auto | Style::Plain => Box::new(Plain::default()),
    }
}

/// A step as a line names it: `[stage 2/4] RUN x`.
fn label(step: &Step) -> String {
    let position = step
        .position
        .map(|(number, count)| format!("{number}/{count}"));
    let words: Vec<_> = step.stage.iter().cloned().chain(position).collect();
    match words.is_empty() {
        true => step.text.clone(),
        false => format!("[{}] {}", words.join(" "), step.text),
    }
}

/// Output cut into lines.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
    last: VecDeque<Vec<u8>>,
}

impl Lines {
    /// The lines that are whole now.
    fn add(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut whole = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.rest.len() > LINE_MAX {
                whole.extend(self.end());
            }
        }
        whole
    }

    /// The line that has no end yet.
    fn end(&mut self) -> Option<Vec<u8>> {
        let mut line = std::mem::take(&mut self.rest);
        if line.is_empty() {
            return None;
        }
        while line.last().is_some_and(|byte| b"\r\n".contains(byte)) {
            line.pop();
        }
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        Some(line)
    }

    /// The last lines, one a line.
    fn last(&mut self) -> Vec<u8> {
        self.end();
        self.last
            .iter()
            .flat_map(|line| [line.as_slice(), b"\n"].concat())
            .collect()
    }
}

/// Writes to stderr. Nobody is there to read it when it is closed, and the work goes on.
fn tell(bytes: &[u8]) {
    drop(std::io::stderr().lock().write_all(bytes));
}

/// Lines as BuildKit's `--progress=plain` writes them.
#[derive(Debug, Default)]
struct Plain {
    steps: Mutex<PlainState>,
}

#[derive(Debug, Default)]
struct PlainState {
    output: BTreeMap<usize, (Lines, Duration)>,
    /// The step that wrote last.
    shown: Option<usize>,
}

impl PlainState {
    /// Lines of a step; what comes after another step's says whose it is.
    fn lines(&mut self, step: &Step, lines: &[String]) -> Vec<u8> {
        let mut text = String::new();
        if self.shown.is_some_and(|shown| shown != step.number) {
            text.push('\n');
        }
        if self.shown != Some(step.number) {
            text.push_str(&format!("#{} {}\n", step.number, label(step)));
        }
        self.shown = Some(step.number);
        for line in lines {
            text.push_str(&format!("#{} {line}\n", step.number));
        }
        text.into_bytes()
    }

    fn output(&mut self, step: &Step, lines: Vec<Vec<u8>>, elapsed: Duration) -> Vec<u8> {
        if lines.is_empty() {
            return Vec::new();
        }
        let mut text = self.lines(step, &[]);
        for line in lines {
            text.extend(format!("#{} {:.3} ", step.number, elapsed.as_secs_f64()).into_bytes());
            text.extend(line);
            text.push(b'\n');
        }
        text
    }

    fn end(&mut self, step: &Step, word: &str) -> Vec<u8> {
        let (mut lines, elapsed) = self.output.remove(&step.number).unwrap_or_default();
        let rest = lines.end().into_iter().collect();
        let mut text = self.output(step, rest, elapsed);
        text.extend(self.lines(step, &[word.to_owned()]));
        text.push(b'\n');
        self.shown = None;
        text
    }
}

impl Progress for Plain {
    fn event(&self, event: Event<'_>) {
        let mut state = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match event {
            Event::Started(step) => state.lines(step, &[]),
            Event::Waiting(step) => state.lines(
                step,
                &["waits for another build that runs this step".to_owned()],
            ),
            Event::Output {
                step,
                bytes,
                elapsed,
                ..
            } => {
                let (lines, last) = state.output.entry(step.number).or_default();
                *last = elapsed;
                let lines = lines.add(bytes);
                state.output(step, lines, elapsed)
            }
            Event::Cached(step) => state.end(step, "CACHED"),
            Event::Done { step, elapsed } => {
                state.end(step, &format!("DONE {:.1}s", elapsed.as_secs_f64()))
            }
            Event::Failed { step, elapsed } => {
                state.end(step, &format!("ERROR {:.1}s", elapsed.as_secs_f64()))
            }
            Event::Warning(text) => format!("WARNING: {text}\n").into_bytes(),
        };
        tell(&text);
    }
}

/// Nothing, until a step fails.
#[derive(Debug, Default)]
struct Quiet {
    output: Mutex<BTreeMap<usize, Lines>>,
}

impl Progress for Quiet {
    fn event(&self, event: Event<'_>) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Output { step, bytes, .. } => {
                output.entry(step.number).or_default().add(bytes);
            }
            Event::Failed { step, .. } => {
                let last = output.remove(&step.number).unwrap_or_default().last();
                tell(&[label(step).as_bytes(), b"\n", &last].concat());
            }
            Event::Cached(step) | Event::Done { step, .. } => {
                output.remove(&step.number);
            }
            Event::Warning(text) => tell(format!("WARNING: {text}\n").as_bytes()),
            Event::Started(_) | Event::Waiting(_) => {}
        }
    }
}

/// A line a step that is running, below those that are done.
#[derive(Debug, Default)]
struct View {
    bars: MultiProgress,
    steps: Mutex<BTreeMap<usize, (ProgressBar, Lines)>>,
}

impl View {
    fn bar(&self, step: &Step) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(label(step));
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }

    fn end(&self, step: &Step, before: &str, after: &str) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let last = steps.remove(&step.number).map(|(bar, mut lines)| {
            bar.finish_and_clear();
            lines.last()
        });
        let line = format!("=> {before}{}{after}", label(step));
        let last = last.filter(|_| before == "ERROR ").unwrap_or_default();
        let last = String::from_utf8_lossy(&last).into_owned();
        // Nobody is there to read it when stderr is closed.
        drop(self.bars.println(format!("{line}\n{last}").trim_end()));
    }
}

impl Progress for View {
    fn event(&self, event: Event<'_>) {
        let steps = || self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Started(step) => {
                let bar = self.bar(step);
                steps().insert(step.number, (bar, Lines::default()));
            }
            Event::Waiting(step) => {
                if let Some((bar, _)) = steps().get(&step.number) {
                    bar.set_message("waits for another build");
                }
            }
            Event::Output { step, bytes, .. } => {
                if let Some((bar, lines)) = steps().get_mut(&step.number)
                    && let Some(line) = lines.add(bytes).pop()
                {
                    // A program's escape sequences would move the view.
                    let text = String::from_utf8_lossy(&line).into_owned();
                    bar.set_message(text.replace(char::is_control, " "));
                }
            }
            Event::Cached(step) => self.end(step, "CACHED ", ""),
            Event::Done { step, elapsed } => {
                self.end(step, "", &format!(" {:.1}s", elapsed.as_secs_f64()));
            }
            Event::Failed { step, elapsed } => {
                self.end(step, "ERROR ", &format!(" {:.1}s", elapsed.as_secs_f64()));
            }
            Event::Warning(text) => drop(self.bars.println(format!("WARNING: {text}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: usize) -> Step {
        Step {
            number,
            stage: Some("build".to_owned()),
            position: Some((2, 4)),
            text: "RUN x".to_owned(),
            place: None,
        }
    }

    #[test]
    fn plain_lines_say_whose_they_are() {
        let mut state = PlainState::default();
        let mut text = state.lines(&step(1), &[]);
        let whole = |lines: &mut Lines, bytes: &[u8]| lines.add(bytes);
        let mut lines = Lines::default();
        assert!(whole(&mut lines, b"a").is_empty());
        let out = whole(&mut lines, b"b\r\nc\nd");
        text.extend(state.output(&step(1), out, Duration::from_millis(1500)));
        text.extend(state.lines(&step(2), &[]));
        text.extend(state.end(&step(1), "DONE 1.6s"));
        text.extend(state.end(&step(2), "CACHED"));
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "#1 [build 2/4] RUN x\n#1 1.500 ab\n#1 1.500 c\n\n#2 [build 2/4] RUN x\n\n#1 [build 2/4] RUN x\n#1 DONE 1.6s\n\n\
             #2 [build 2/4] RUN x\n#2 CACHED\n\n"
        );
    }

    #[test]
    fn last_lines_are_kept() {
        let mut lines = Lines::default();
        for number in 0..50 {
            lines.add(format!("{number}\n").as_bytes());
        }
        lines.add(b"end");
        let last = String::from_utf8(lines.last()).unwrap();
        assert!(
            last.starts_with("31\n") && last.ends_with("49\nend\n"),
            "{last}"
        );
        assert_eq!(Lines::default().add(&vec![b'x'; LINE_MAX + 1]).len(), 1);
    }
}
