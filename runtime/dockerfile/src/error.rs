//! What is wrong with a Dockerfile, and where.

use std::fmt;
use std::sync::Arc;

/// The lines of an instruction, counted from one, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lines {
    /// The first line.
    pub first: usize,
    /// The last line, that of a here-document's end if there is one.
    pub last: usize,
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A Dockerfile, or one instruction of it, that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.line())]
pub struct Error {
    /// The file's name as the user gave it.
    pub file: Arc<str>,
    /// The lines, if the file itself is not what is wrong.
    pub lines: Option<Lines>,
    /// The instruction's text on one line.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
    /// What to do, if there is more to say than the reason.
    pub remedy: Option<String>,
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong with a part of an instruction, before its place is known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: String,
    pub(crate) remedy: Option<String>,
}

impl Fault {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            remedy: None,
        }
    }

    pub(crate) fn with_remedy(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            remedy: Some(remedy.into()),
        }
    }
}

impl Error {
    pub(crate) fn of_file(file: &Arc<str>, fault: Fault) -> Self {
        Self {
            file: file.clone(),
            lines: None,
            text: String::new(),
            reason: fault.reason,
            remedy: fault.remedy,
        }
    }

    pub(crate) fn at(file: &Arc<str>, lines: Lines, text: &str, fault: Fault) -> Self {
        Self {
            file: file.clone(),
            lines: Some(lines),
            text: text.to_owned(),
            reason: fault.reason,
            remedy: fault.remedy,
        }
    }

    fn line(&self) -> String {
        let place = self
            .lines
            .map_or_else(String::new, |lines| format!(":{}", lines.first));
        let text = if self.text.is_empty() {
            String::new()
        } else {
            format!("`{}`: ", self.text)
        };
        let remedy = self
            .remedy
            .as_ref()
            .map_or_else(String::new, |remedy| format!("; {remedy}"));
        format!("{}{place}: {text}{}{remedy}", self.file, self.reason)
    }
}
