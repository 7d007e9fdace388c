//! The house rules as code, where no lint exists for them. Each finding is `file:line: message`.
//!
//! Rules read text only, so they run without a build; each is a pure function with a test that
//! plants a violation. What the case tables must obey is the business of their own unit tests.

mod cycles;
mod imports;
mod manifest;
mod names;
mod repository;
mod rules;
mod source;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cowlab_sys::Cmd;

use crate::exit;
use crate::terminal;

use self::tree::TextFile;

/// A broken rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// Relative to the root of the workspace.
    path: PathBuf,
    /// Counted from one.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &Path, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_path_buf(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.message)
    }
}

/// Checks every rule and prints what is broken.
pub(crate) fn run(root: &Path) -> anyhow::Result<u8> {
    let files = tree::read(root)?;
    let mut findings = check(&files);
    findings.extend(manifest::c_dependencies(&xtask_closure()?));
    findings.sort();
    for finding in &findings {
        terminal::result(finding);
    }
    if let Some(warning) =
        manifest::toolchain_differs(&files, &Cmd::new("rustc").arg("--version").read()?)
    {
        terminal::warning(&warning);
    }
    terminal::note(format_args!(
        "tidy: {} files read, {} findings",
        files.len(),
        findings.len()
    ));
    Ok(if findings.is_empty() {
        0
    } else {
        exit::FINDING
    })
}

/// Every rule that needs the files and nothing else.
fn check(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        findings.extend(rules::check(file));
    }
    findings.extend(manifest::check(files));
    findings.extend(names::check(files, &manifest::drivers(files)));
    findings.extend(repository::check(files));
    findings.extend(cycles::check(files));
    findings
}

/// The packages that are compiled for `cargo xtask` on this host, one a line.
fn xtask_closure() -> anyhow::Result<String> {
    Cmd::new("cargo")
        .args([
            "tree",
            "--package",
            "xtask",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .read()
        .context("failed to list what xtask is made of")
}
