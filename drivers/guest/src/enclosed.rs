//! A program with many children that ends as a whole: after an interrupt, and with this process whatever ends that.

use std::io::{BufRead, BufReader, PipeReader, Write};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use cowlab_sys::{Cmd, interrupt, io, process};

use crate::{Error, Result};

/// How often an interrupt is looked for.
const TICK: Duration = Duration::from_millis(100);

/// Prepares to run `program`. Root's runs in a process namespace: when its first process ends, the kernel ends the others
/// (pid_namespaces(7)), so no compiler outlives a killed build. What an ordinary user starts makes a namespace itself.
pub(crate) fn command(program: &str) -> Cmd {
    let words = ["--pid", "--fork", "--kill-child", "--mount-proc", "--"];
    let enclose = || Cmd::new("unshare").args(words);
    // A container may refuse; then a child may live on until its next write.
    if process::is_root() && enclose().arg("true").run().is_ok() {
        return enclose().arg(program);
    }
    Cmd::new(program)
}

/// Runs `command`, keeps what it prints in `log`, tells `progress` what follows "step: " and returns its exit status.
///
/// # Errors
///
/// [`Error::Interrupted`] and [`Error::Sys`].
pub(crate) fn run(command: &Cmd, log: &Path, progress: &mut dyn FnMut(&str)) -> Result<i32> {
    let (reader, writer) = io("pipe", "", std::io::pipe())?;
    let mut log_file = io("create", log, std::fs::File::create(log))?;
    // It ends with the thread that starts it, so this one does.
    let mut running = command.attach(writer)?;
    let (sender, lines) = sync_channel(16);
    std::thread::spawn(move || read(reader, &sender));
    loop {
        match lines.recv_timeout(TICK) {
            Ok(line) => {
                io("write", log, log_file.write_all(&line))?;
                if let Some(step) = String::from_utf8_lossy(&line).strip_prefix("step: ") {
                    progress(step.trim_end());
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if interrupt::requested() {
            running.kill()?;
            return Err(Error::Interrupted);
        }
    }
    Ok(running.wait()?)
}

/// Hands on whole lines until the last writer has closed the pipe.
fn read(pipe: PipeReader, lines: &SyncSender<Vec<u8>>) {
    let mut pipe = BufReader::new(pipe);
    loop {
        let mut line = Vec::new();
        match pipe.read_until(b'\n', &mut line) {
            Ok(1..) if lines.send(line).is_ok() => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_and_everything_is_kept() {
        let place = tempfile::tempdir().unwrap();
        let log = place.path().join("log");
        let script = "echo a; echo 'step: one'; echo b >&2; printf 'step: two'; exit 3";
        let mut steps = Vec::new();
        let mut tell = |step: &str| steps.push(step.to_owned());
        let status = run(&Cmd::new("sh").args(["-c", script]), &log, &mut tell).unwrap();
        assert_eq!((status, steps), (3, vec!["one".to_owned(), "two".into()]));
        let kept = std::fs::read_to_string(&log).unwrap();
        assert_eq!(kept, "a\nstep: one\nb\nstep: two");
    }
}
