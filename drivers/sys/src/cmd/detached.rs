//! Programs that outlive this process.

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Stdio;

use super::Cmd;
use crate::{Result, io, raw};

impl Cmd {
    /// Starts the program in a session of its own (setsid(2)), where no terminal's signal reaches it, and returns its
    /// process number. It reads from `input`; its standard output and its standard error both go to `output`; the
    /// descriptors of [`inherit`](Self::inherit) stay open in it. Nothing ends it with this process, and nothing here
    /// waits for it: the caller does, or ends first.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::MissingProgram`], and [`crate::Error::Sys`] where it cannot be started.
    pub fn detach(&self, input: impl Into<OwnedFd>, output: impl Into<OwnedFd>) -> Result<u32> {
        tracing::debug!(command = %self, "start detached");
        let mut command = self.command()?;
        let output = output.into();
        let errors = io("dup", &self.program, output.try_clone())?;
        command
            .stdin(Stdio::from(input.into()))
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(errors));
        let kept = self.inherited.iter().map(AsRawFd::as_raw_fd).collect();
        raw::child::lead_session(&mut command, kept);
        Ok(io("execve", &self.program, command.spawn())?.id())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    #[test]
    fn leads_a_session_of_its_own() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let script = "cut -d' ' -f6 /proc/self/stat";
        let input = File::open("/dev/null").unwrap();
        let pid = Cmd::new("sh").args(["-c", script]).detach(input, writer);
        let pid = pid.unwrap();
        let mut session = String::new();
        reader.read_to_string(&mut session).unwrap();
        assert_eq!(session.trim(), pid.to_string());
        assert_eq!(crate::task::wait(pid).unwrap(), 0);
    }
}
