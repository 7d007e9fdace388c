//! The command runner: the only place that starts external programs.
//!
//! Programs are looked up in `PATH` and in the `sbin` directories that an ordinary user's `PATH`
//! lacks. They run with `LC_ALL=C`, so that what they print can be read. There is no shell.

mod attached;
mod detached;

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use crate::{Error, Result, io, raw};

/// Programs and the Debian packages that have them.
const PACKAGES: &[(&str, &str)] = &[
    ("blkid", "util-linux"),
    ("btrfs", "btrfs-progs"),
    ("cargo", "cargo"),
    ("debugfs", "e2fsprogs"),
    ("dmsetup", "dmsetup"),
    ("fuse-overlayfs", "fuse-overlayfs"),
    ("git", "git"),
    ("losetup", "mount"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("mmdebstrap", "mmdebstrap"),
    ("mount", "mount"),
    ("newgidmap", "uidmap"),
    ("newuidmap", "uidmap"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("tar", "tar"),
    ("thin_check", "thin-provisioning-tools"),
    ("thin_delta", "thin-provisioning-tools"),
    ("thin_dump", "thin-provisioning-tools"),
    ("tune2fs", "e2fsprogs"),
    ("xfs_info", "xfsprogs"),
    ("xfs_io", "xfsprogs"),
    ("zfs", "zfsutils-linux"),
    ("zpool", "zfsutils-linux"),
    ("zstd", "zstd"),
];

/// Where administrators' programs are, whatever `PATH` says.
const ADMIN_PATHS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Of a failed program's standard error, the most that goes into the error, in bytes.
const STDERR_KEPT: usize = 2000;

/// What a finished program left: its status and its output.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit status; `None` after a signal.
    pub status: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// An external program to run: a builder, then one of [`run`](Self::run), [`read`](Self::read),
/// [`output`](Self::output) and [`status_inherit`](Self::status_inherit).
#[derive(Clone, Debug)]
pub struct Cmd {
    program: OsString,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    stdin: Option<Vec<u8>>,
    directory: Option<PathBuf>,
    inherited: Vec<Arc<OwnedFd>>,
}

impl Cmd {
    /// Prepares to run `program`: a name to look up, or a path.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_os_string(),
            arguments: Vec::new(),
            variables: vec![("LC_ALL".into(), "C".into())],
            stdin: None,
            directory: None,
            inherited: Vec::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_os_string());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|a| a.as_ref().to_os_string()));
        self
    }

    /// Sets an environment variable; the rest of the environment is inherited.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.as_ref().to_os_string(), value.as_ref().to_os_string()));
        self
    }

    /// Feeds these bytes to the program's standard input, which is `/dev/null` otherwise.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Runs the program in this directory.
    #[must_use]
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_path_buf());
        self
    }

    /// Returns the path of `program` in `PATH` or the administrators' directories.
    pub fn find(program: impl AsRef<OsStr>) -> Option<PathBuf> {
        let program = Path::new(program.as_ref());
        if program.components().count() > 1 {
            return is_executable(program).then(|| program.to_path_buf());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(ADMIN_PATHS.iter().map(PathBuf::from))
            .map(|directory| directory.join(program))
            .find(|candidate| is_executable(candidate))
    }

    /// Returns the Debian package that has `program`, or an empty text where none is known.
    pub fn package_of(program: &str) -> &'static str {
        PACKAGES
            .iter()
            .find(|(name, _)| *name == program)
            .map_or("", |(_, package)| package)
    }

    /// Runs the program and discards what it prints.
    ///
    /// # Errors
    ///
    /// Returns [`Error::MissingProgram`], [`Error::Sys`] where it cannot be started, and
    /// [`Error::Command`] for any status but 0.
    pub fn run(&self) -> Result<()> {
        self.successful().map(drop)
    }

    /// Runs the program and returns what it printed, without the last line end; bytes that are no
    /// UTF-8 are replaced.
    pub fn read(&self) -> Result<String> {
        let output = self.successful()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.strip_suffix('\n').map_or(text.clone(), str::to_owned))
    }

    /// Runs the program and returns what it left, whatever the status.
    ///
    /// # Errors
    ///
    /// Returns [`Error::MissingProgram`], and [`Error::Sys`] where it cannot be started or waited
    /// for.
    pub fn output(&self) -> Result<Output> {
        tracing::debug!(command = %self, "run");
        let mut command = self.command()?;
        let stdin = if self.stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = io("execve", &self.program, command.spawn())?;
        let (stdout, stderr) = io("read", &self.program, self.talk(&mut child))?;
        let status = io("waitpid", &self.program, child.wait())?;
        Ok(Output {
            status: status.code(),
            stdout,
            stderr,
        })
    }

    /// Runs the program on this process's own standard input, output and error, and returns its
    /// exit status; 128 and the signal's number after a signal, as shells have it.
    pub fn status_inherit(&self) -> Result<i32> {
        tracing::debug!(command = %self, "run");
        let status = io("execve", &self.program, self.command()?.status())?;
        Ok(shell_status(status))
    }

    /// Runs the program without its standard output: what it finds is read from its files, what it says of
    /// its progress stays. Returns its exit status as [`status_inherit`](Self::status_inherit).
    pub fn status_without_output(&self) -> Result<i32> {
        tracing::debug!(command = %self, "run");
        let status = io(
            "execve",
            &self.program,
            self.command()?.stdout(Stdio::null()).status(),
        )?;
        Ok(shell_status(status))
    }

    /// Runs the program, hands over each line of its standard output as it comes, and returns its exit status as
    /// [`status_inherit`](Self::status_inherit). Bytes that are no UTF-8 are replaced.
    pub fn status_by_line(&self, each: &mut dyn FnMut(&str)) -> Result<i32> {
        tracing::debug!(command = %self, "run");
        let mut child = io(
            "execve",
            &self.program,
            self.command()?.stdout(Stdio::piped()).spawn(),
        )?;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).split(b'\n') {
                let line = io("read", &self.program, line)?;
                each(&String::from_utf8_lossy(&line));
            }
        }
        let status = io("waitpid", &self.program, child.wait())?;
        Ok(shell_status(status))
    }

    /// Starts the program beside this process, with its standard output and error and with nothing to read.
    ///
    /// # Errors
    ///
    /// Returns [`Error::MissingProgram`], and [`Error::Sys`] where it cannot be started.
    pub fn spawn(&self) -> Result<Running> {
        tracing::debug!(command = %self, "start");
        let child = self.command()?.stdin(Stdio::null()).spawn();
        Ok(Running {
            child: io("execve", &self.program, child)?,
            program: self.program.clone(),
        })
    }

    /// Becomes the program, which keeps this process's number, terminal and signals; a success does
    /// not return, so that nothing is dropped.
    ///
    /// # Errors
    ///
    /// Returns [`Error::MissingProgram`], and [`Error::Sys`] where it cannot be executed.
    pub fn exec(&self) -> Result<Infallible> {
        tracing::debug!(command = %self, "exec");
        let error = self.command()?.exec();
        io("execve", &self.program, Err(error))
    }

    /// Runs the program and fails unless its status is 0.
    fn successful(&self) -> Result<Output> {
        let output = self.output()?;
        if output.status == Some(0) {
            return Ok(output);
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let text = text.trim();
        let start = text.len().saturating_sub(STDERR_KEPT);
        let start = (start..=text.len())
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(start);
        Err(Error::Command {
            line: self.to_string(),
            status: output.status,
            stderr: text[start..].to_owned(),
        })
    }

    /// Feeds and drains the child's pipes at the same time: one after the other could block both
    /// sides on full pipes.
    fn talk(&self, child: &mut Child) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
        let input = child.stdin.take().zip(self.stdin.as_deref());
        let errors = child.stderr.take();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            let feeder = input.map(|(mut pipe, bytes)| scope.spawn(move || pipe.write_all(bytes)));
            let drain = errors.map(|mut pipe| {
                let stderr = &mut stderr;
                scope.spawn(move || pipe.read_to_end(stderr))
            });
            let read = child
                .stdout
                .take()
                .map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut stdout));
            for thread in [
                drain.map(|t| t.join().map(|r| r.map(drop))),
                feeder.map(std::thread::ScopedJoinHandle::join),
            ] {
                match thread {
                    // A program may end without reading all of its input.
                    Some(Ok(Err(error))) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
                    Some(Ok(result)) => result?,
                    Some(Err(panic)) => std::panic::resume_unwind(panic),
                    None => {}
                }
            }
            read
        })?;
        Ok((stdout, stderr))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the runner that the lint points to"
    )]
    fn command(&self) -> Result<Command> {
        let program = Self::find(&self.program).ok_or_else(|| {
            let program = self.program.to_string_lossy().into_owned();
            let package = Self::package_of(&program);
            Error::MissingProgram { program, package }
        })?;
        let mut command = Command::new(program);
        command
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(n, v)| (n, v)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        raw::child::restore_limits(&mut command);
        Ok(command)
    }
}

/// A program that runs beside this process. It ends with the handle at the latest: by SIGKILL, so what it holds is
/// left as after a crash.
#[derive(Debug)]
pub struct Running {
    child: Child,
    program: OsString,
}

impl Running {
    /// Returns the number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells whether it has not ended yet.
    pub fn is_alive(&mut self) -> Result<bool> {
        Ok(io("waitpid", &self.program, self.child.try_wait())?.is_none())
    }

    /// Sends it SIGKILL and waits until it has ended; one that has ended already is left alone.
    pub fn kill(&mut self) -> Result<()> {
        io("kill", &self.program, self.child.kill())?;
        self.wait().map(drop)
    }

    /// Waits until it has ended and returns its exit status as [`Cmd::status_inherit`] does.
    pub fn wait(&mut self) -> Result<i32> {
        Ok(shell_status(io(
            "waitpid",
            &self.program,
            self.child.wait(),
        )?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::error!(pid = self.pid(), %error, "a program could not be ended");
        }
    }
}

impl fmt::Display for Cmd {
    /// Writes the command line as a shell would read it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in std::iter::once(&self.program)
            .chain(&self.arguments)
            .enumerate()
        {
            let word = word.to_string_lossy();
            let plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_".contains(c);
            let space = if index == 0 { "" } else { " " };
            if !word.is_empty() && word.chars().all(plain) {
                write!(f, "{space}{word}")?;
            } else {
                write!(f, "{space}'{}'", word.replace('\'', r"'\''"))?;
            }
        }
        Ok(())
    }
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

fn shell_status(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_feeds_and_reports() {
        assert_eq!(Cmd::new("echo").args(["a", "b"]).read().unwrap(), "a b");
        let big = vec![b'x'; 1 << 20];
        assert_eq!(
            Cmd::new("cat").stdin(big.clone()).output().unwrap().stdout,
            big
        );
        Cmd::new("true").stdin(big).run().unwrap();
        let error = Cmd::new("sh")
            .args(["-c", "echo no >&2; exit 3"])
            .run()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "run `sh -c 'echo no >&2; exit 3'`: exit status 3: no"
        );
        assert_eq!(
            Cmd::new("sh")
                .args(["-c", "kill -9 $$"])
                .output()
                .unwrap()
                .status,
            None
        );
        assert_eq!(Cmd::new("pwd").current_dir("/").read().unwrap(), "/");
        assert_eq!(
            Cmd::new("sh")
                .args(["-c", "echo $A"])
                .env("A", "1")
                .read()
                .unwrap(),
            "1"
        );
    }

    #[test]
    fn a_running_program_ends_with_its_handle() {
        let mut running = Cmd::new("sleep").arg("60").spawn().unwrap();
        assert!(running.is_alive().unwrap());
        running.kill().unwrap();
        assert_eq!(running.wait().unwrap(), 128 + 9);
        assert!(!running.is_alive().unwrap());
        running.kill().unwrap();
        let pid = Cmd::new("sleep").arg("60").spawn().unwrap().pid();
        assert!(!crate::processes::all().unwrap().contains(&pid));
    }

    #[test]
    fn names_the_package_of_a_missing_program() {
        let error = Cmd::new("no-such-program").run().unwrap_err();
        assert!(
            matches!(error, Error::MissingProgram { package: "", .. }),
            "{error}"
        );
        assert_eq!(Cmd::package_of("mkfs.xfs"), "xfsprogs");
        assert!(Cmd::find("no-such-program").is_none());
    }

    #[test]
    fn quotes_what_a_shell_would_split() {
        let line = Cmd::new("a").args(["b c", "it's", "", "-o=x"]).to_string();
        assert_eq!(line, r"a 'b c' 'it'\''s' '' -o=x");
    }
}
