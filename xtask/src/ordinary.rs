//! Runs the unit tests as a user without privileges, which is what most people who change a line are.
//!
//! The checkout may lie where only root can enter, so each test program is copied to a folder that
//! everybody can enter; it starts in the folder of its package, as under cargo.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::Context;
use cowlab_sys::{Cmd, process};
use serde::Deserialize;

use crate::exit;
use crate::terminal;

/// `nobody` and `nogroup` in Debian; they need no entry in /etc/passwd for setpriv(1).
const NOBODY: u32 = 65_534;

/// One line of `cargo test --message-format=json`.
#[derive(Debug, Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
    #[serde(default)]
    profile: Profile,
}

#[derive(Debug, Default, Deserialize)]
struct Profile {
    test: bool,
}

/// A test program and the folder of its package.
#[derive(Debug, PartialEq, Eq)]
struct TestProgram {
    pub(crate) executable: PathBuf,
    package: PathBuf,
}

/// Builds the test programs and runs each as [`NOBODY`].
pub(crate) fn run() -> anyhow::Result<u8> {
    if !process::is_root() {
        terminal::note("the stage `tests` already ran without privileges");
        return Ok(0);
    }
    let messages = Cmd::new("cargo")
        .args([
            "test",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--no-run",
            "--quiet",
        ])
        .arg("--message-format=json")
        .read()?;
    let scratch = std::env::temp_dir().join(format!("cowlab-test-nobody-{}", std::process::id()));
    let result = run_below(&scratch, &test_programs(&messages)?);
    let removed = fs::remove_dir_all(&scratch)
        .with_context(|| format!("failed to remove `{}`", scratch.display()));
    let code = result?;
    removed?;
    Ok(code)
}

fn run_below(scratch: &Path, programs: &[TestProgram]) -> anyhow::Result<u8> {
    let writable = scratch.join("tmp");
    make_dir(scratch)?;
    make_dir(&writable)?;
    chown(&writable, Some(NOBODY), Some(NOBODY))
        .with_context(|| format!("failed to give away `{}`", writable.display()))?;
    let copy = scratch.join("tests");
    let mut failed = 0_usize;
    for program in programs {
        fs::copy(&program.executable, &copy)
            .with_context(|| format!("failed to copy `{}`", program.executable.display()))?;
        failed += usize::from(!passes(program, &copy, &writable)?);
    }
    terminal::note(format_args!(
        "{} test programs ran as uid {NOBODY}, {failed} failed",
        programs.len()
    ));
    Ok(if failed == 0 { 0 } else { exit::FINDING })
}

fn make_dir(dir: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .mode(0o755)
        .create(dir)
        // The mode is subject to the umask.
        .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("failed to make `{}`", dir.display()))
}

fn passes(program: &TestProgram, copy: &Path, writable: &Path) -> anyhow::Result<bool> {
    let output = Cmd::new("setpriv")
        .args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")])
        .args(["--clear-groups", "--bounding-set=-all", "--no-new-privs"])
        .arg(copy)
        .arg("--quiet")
        .env("TMPDIR", writable)
        .env("HOME", writable)
        .current_dir(&program.package)
        .output()?;
    if output.status != Some(0) {
        terminal::error(&format!(
            "the tests of `{}` fail as uid {NOBODY}",
            program.package.display()
        ));
        terminal::note(String::from_utf8_lossy(&output.stdout));
        terminal::note(String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.status == Some(0))
}

/// The test programs among cargo's messages.
fn test_programs(messages: &str) -> anyhow::Result<Vec<TestProgram>> {
    let mut programs = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Message =
            serde_json::from_str(line).context("failed to read a message of cargo")?;
        let (Some(executable), Some(manifest), true) = (
            message.executable,
            message.manifest_path,
            message.profile.test,
        ) else {
            continue;
        };
        let package = manifest.parent().map(Path::to_path_buf).unwrap_or_default();
        programs.push(TestProgram {
            executable,
            package,
        });
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_programs_are_taken_from_the_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","executable":"/t/a-1","manifest_path":"/w/a/Cargo.toml","profile":{"test":true}}"#,
            "\n",
            r#"{"reason":"compiler-artifact","executable":"/t/b","manifest_path":"/w/b/Cargo.toml","profile":{"test":false}}"#,
            "\n",
            r#"{"reason":"build-script-executed","package_id":"c"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let expected = TestProgram {
            executable: "/t/a-1".into(),
            package: "/w/a".into(),
        };
        assert_eq!(test_programs(messages).unwrap(), [expected]);
    }
}
