//! Runs other programs. Finds them in `/usr/sbin` and `/sbin` as well, which the `PATH` of an ordinary
//! user lacks.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use anyhow::{Context, bail};

const MORE_PATHS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// One program call.
#[derive(Debug)]
pub(crate) struct Cmd {
    inner: Command,
}

impl Cmd {
    /// A call of `program`, with nothing on its standard input.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the command runner of xtask"
        )]
        let mut inner = Command::new(program);
        inner.stdin(Stdio::null()).env("PATH", search_path());
        Self { inner }
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.inner.arg(argument);
        self
    }

    /// Adds arguments.
    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.inner.args(arguments);
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Sets the folder the program starts in.
    pub(crate) fn current_dir(mut self, dir: &Path) -> Self {
        self.inner.current_dir(dir);
        self
    }

    /// The call as a person would type it.
    pub(crate) fn line(&self) -> String {
        let mut words = vec![self.inner.get_program().to_string_lossy().into_owned()];
        words.extend(
            self.inner
                .get_args()
                .map(|word| word.to_string_lossy().into_owned()),
        );
        words.join(" ")
    }

    /// Waits for its end with both outputs caught, whatever the exit status.
    pub(crate) fn output(mut self) -> anyhow::Result<Output> {
        let line = self.line();
        self.inner
            .output()
            .with_context(|| format!("failed to run `{line}`"))
    }

    /// Its standard output. Any exit status but 0 is an error that holds what it said.
    pub(crate) fn read(self) -> anyhow::Result<String> {
        let line = self.line();
        let output = self.output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`{line}` ended with {}: {}", output.status, said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Lets it write to our own outputs and returns its exit status.
    pub(crate) fn status_inherit(mut self) -> anyhow::Result<ExitStatus> {
        let line = self.line();
        self.inner.stdin(Stdio::inherit());
        self.inner
            .status()
            .with_context(|| format!("failed to run `{line}`"))
    }

    /// Where `program` lies, if it is installed.
    pub(crate) fn find(program: &str) -> Option<PathBuf> {
        std::env::split_paths(&search_path())
            .map(|dir| dir.join(program))
            .find(|path| path.is_file())
    }
}

fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    for dir in MORE_PATHS {
        if !path.is_empty() {
            path.push(":");
        }
        path.push(dir);
    }
    path
}
