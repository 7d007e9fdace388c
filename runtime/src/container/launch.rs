//! The last steps before a container's program: what it is born with, and whether it was started at all.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use cowlab_sys::task::{self, Task};
use cowlab_sys::terminal::{self, Size};
use cowlab_sys::{Errno, io, process, signals};
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use oci_spec::runtime::Spec;

use super::record::Record;
use super::seccomp::Filter;
use super::{Error, Result};

/// Starts a program, where libcontainer is done.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    filter: Filter,
    size: Size,
    /// Gets the number of the error with which the program was not started; it closes where it was (execve(2)).
    failure: Arc<PipeWriter>,
    /// Who gives the word that the program is to start: this process.
    starter: Arc<Task>,
}

/// What becomes of a [`Launch`].
#[derive(Debug)]
pub(super) struct Launched(PipeReader);

impl Launch {
    /// Prepares the start of a program in a container, on a terminal of that size.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] where the filter that was promised cannot be loaded.
    pub(super) fn new(record: &Record, size: Size) -> Result<(Self, Launched)> {
        let (reader, writer) = io("pipe", "", std::io::pipe())?;
        let launch = Self {
            filter: Filter::of(&record.name, &record.seccomp)?,
            size,
            failure: Arc::new(writer),
            starter: Arc::new(Task::current()?),
        };
        Ok((launch, Launched(reader)))
    }
}

impl Launched {
    /// Waits until the program runs.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] where it does not, with the status that shells have for it.
    pub(super) fn wait(mut self, container: &str, program: &str) -> Result<()> {
        let mut number = Vec::new();
        io("read", "the start", self.0.read_to_end(&mut number))?;
        let Ok(number) = number.try_into().map(i32::from_ne_bytes) else {
            return Ok(());
        };
        let errno = Errno::from_raw_os_error(number);
        // What a shell says of a program that is not there, and of one that cannot be executed (sh(1p), Exit Status).
        let (status, reason) = match errno {
            Errno::NOENT => (
                127,
                "it, or the interpreter that it names, is not there".to_owned(),
            ),
            Errno::NOEXEC => (
                126,
                format!(
                    "exec format error: it is no program of this machine ({}), and no script that begins with `#!`",
                    process::machine()
                ),
            ),
            other => (126, std::io::Error::from(other).to_string()),
        };
        Err(Error::Start {
            name: container.to_owned(),
            reason: format!("`{program}` cannot be run: {reason}"),
            status,
        })
    }
}

impl Executor for Launch {
    fn exec(&self, spec: &Spec) -> std::result::Result<(), ExecutorError> {
        let wanted = spec.process().as_ref().ok_or(ExecutorError::InvalidArg)?;
        process::give_streams_to(wanted.user().uid());
        if wanted.terminal().unwrap_or(false)
            && let Err(error) = terminal::set_size(std::io::stdin(), self.size)
        {
            tracing::debug!(%error, "the terminal has no size");
        }
        // It runs on without its starter.
        task::end_with_parent(false).map_err(|error| ExecutorError::Execution(error.into()))?;
        signals::restore().map_err(|error| ExecutorError::Execution(error.into()))?;
        self.filter
            .load()
            .map_err(|error| ExecutorError::Execution(error.into()))?;
        let arguments = wanted.args().clone().unwrap_or_default();
        // As libcontainer has set them: of each name the last value.
        let environment: Vec<_> = std::env::vars()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let errno = process::become_program(&arguments, &environment);
        let told = self
            .failure
            .as_ref()
            .write_all(&errno.raw_os_error().to_ne_bytes());
        Err(ExecutorError::Execution(
            format!("{errno}, told: {told:?}").into(),
        ))
    }

    /// The last that libcontainer asks for before it waits for the word, which nobody gives once the starter was killed. What cannot
    /// be executed the kernel says later.
    fn validate(&self, _: &Spec) -> std::result::Result<(), ExecutorValidationError> {
        let failed = |reason: String| ExecutorValidationError::ArgValidationError(reason);
        task::end_with_parent(true).map_err(|error| failed(error.to_string()))?;
        // It may have been killed just before.
        match self.starter.ends_within(Duration::ZERO) {
            Ok(false) => Ok(()),
            Ok(true) => Err(failed("who started it has ended".to_owned())),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}
