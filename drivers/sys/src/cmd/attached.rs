//! Programs that must not outlive this process, whatever ends it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::{Cmd, Running};
use crate::{Result, io, raw};

impl Cmd {
    /// Leaves this descriptor open in the program, under the number it has here, where the program is started by
    /// [`attach`](Self::attach). It stays open here as long as this value or a copy lives.
    #[must_use]
    pub fn inherit(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.inherited.push(Arc::new(fd.into()));
        self
    }

    /// Starts the program beside this process, bound to the calling thread: when that ends, if only because SIGKILL
    /// ended the process, the kernel ends the program by SIGKILL. It reads nothing; its standard output and its
    /// standard error both go to `output`.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::MissingProgram`], and [`crate::Error::Sys`] where it cannot be started.
    pub fn attach(&self, output: impl Into<OwnedFd>) -> Result<Running> {
        let output = output.into();
        let errors = io("dup", &self.program, output.try_clone())?;
        let mut command = self.command()?;
        command
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(errors));
        self.bind(command)
    }

    /// As [`attach`](Self::attach), with this process's standard error, and in a process group of its own: what the terminal's
    /// keys signal reaches this process alone, which hands it on.
    pub fn attach_apart(&self, output: impl Into<OwnedFd>) -> Result<Running> {
        let mut command = self.command()?;
        command.stdout(Stdio::from(output.into())).process_group(0);
        self.bind(command)
    }

    fn bind(&self, mut command: Command) -> Result<Running> {
        tracing::debug!(command = %self, "start");
        let kept = self.inherited.iter().map(AsRawFd::as_raw_fd).collect();
        raw::child::die_with_parent(&mut command, kept);
        let child = command.stdin(Stdio::null()).spawn();
        Ok(Running {
            child: io("execve", &self.program, child)?,
            program: self.program.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn hands_descriptors_on_and_collects_both_outputs() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let (fed, mut feeder) = std::io::pipe().unwrap();
        feeder.write_all(b"fed").unwrap();
        drop(feeder);
        // Not `<&N`: a POSIX shell need not know numbers of two digits (dash does not).
        let script = format!("cat /proc/self/fd/{}; echo error >&2", fed.as_raw_fd());
        let command = Cmd::new("sh").args(["-c", &script]).inherit(fed);
        assert_eq!(command.attach(writer).unwrap().wait().unwrap(), 0);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "federror\n");
    }

    #[test]
    fn ends_with_the_thread_that_started_it() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let running =
            std::thread::spawn(move || Cmd::new("sleep").arg("60").attach(writer).unwrap())
                .join()
                .unwrap();
        // The pipe ends when its last writer has: nothing was waited for or killed here.
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
        drop(running);
    }
}
