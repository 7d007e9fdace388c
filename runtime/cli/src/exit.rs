//! Exit codes, and from which error each comes.

use std::io::Write;
use std::process::ExitCode;

use cowlab_driver::Error as DriverError;
use cowlab_guest::{Cause, Error as GuestError};
use cowlab_reports::result::WriteError;
use cowlab_runtime::Error as RuntimeError;
use cowlab_runtime::container::Error as ContainerError;
use cowlab_snapshots::{Error as StoreError, LayerError};
use cowlab_testbed::Error as TestbedError;
use serde_json::{Value, json};

/// Success.
pub(crate) const OK: u8 = 0;
/// A finding: a failed case, a relevant regression, something left behind.
pub(crate) const FINDING: u8 = 1;
/// The command line names something that does not exist or cannot be used.
pub(crate) const USAGE: u8 = 2;
/// Not enough evidence for an answer.
pub(crate) const UNKNOWN: u8 = 3;
/// There is no such snapshot.
pub(crate) const NOT_FOUND: u8 = 4;
/// A snapshot of that key or name is there already.
pub(crate) const EXISTS: u8 = 5;
/// The snapshot is of a kind that the command does not take.
pub(crate) const WRONG_KIND: u8 = 6;
/// The snapshot is mounted, or open for writing.
pub(crate) const BUSY: u8 = 7;
/// Another command works on the snapshot.
pub(crate) const LOCKED: u8 = 8;
/// Other snapshots are built on the snapshot.
pub(crate) const HAS_CHILDREN: u8 = 9;
/// Bad input data.
pub(crate) const DATA: u8 = 65;
/// A missing prerequisite.
pub(crate) const UNAVAILABLE: u8 = 69;
/// Stopped by the host guard.
pub(crate) const GUARD: u8 = 75;
/// Needs privilege.
pub(crate) const PRIVILEGE: u8 = 77;

/// Of `run`: it failed before its program started.
pub(crate) const BEFORE_START: u8 = 125;

/// The table for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    ok
  1    a finding: a failed case, a relevant regression
  2    usage
  3    not enough evidence
  4    a snapshot that does not exist
  5    a snapshot that exists already
  6    a snapshot of another kind than is needed
  7    a snapshot that is busy: mounted, or open for writing
  8    a snapshot that is locked by another command
  9    a snapshot that has children
  65   bad input data
  69   a missing prerequisite
  75   stopped by the host guard
  77   needs privilege
  125  of run: it failed before its program started, whatever the reason; of start, restart and
       exec: the start failed, and not for the program
  126  of run, start, restart and exec: a program that cannot be run
  127  of run, start, restart and exec: a program that is not there
  130  interrupted
  where docker's create, start, exec and the like end with 1, the codes from 1 to 77 tell more
  of run, exec, attach, start -a and wait else the program's own, 128 and the number of a signal that ended it

Environment:
  COWLAB_CONFIG    the configuration file (default /etc/cowlab/config.json, or cowlab/config.json in
                   $XDG_CONFIG_HOME): data-root, storage-driver, insecure-registries, discard-blobs
  COWLAB_TEST_DIR  where throw-away file systems are made (default /var/tmp)
  COWLAB_LOG       warn, info, debug (external commands), trace (system calls)
  NO_COLOR         no color";

/// How a command speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// To people.
    Text,
    /// To programs.
    Json,
}

/// The exit code of a `run` whose program did not start (docker's): that of a start that was tried, else one for all.
pub(crate) fn before_start(error: &anyhow::Error) -> u8 {
    match code_of(error) {
        code @ (126 | 127 | cowlab_sys::interrupt::EXIT_CODE) => code,
        _ => BEFORE_START,
    }
}

/// Prints an error with its causes and picks its exit code.
pub(crate) fn report(error: &anyhow::Error, output: Output) -> ExitCode {
    // Nothing is left to tell it to when stderr is closed.
    if print(error, output).is_err() {
        return ExitCode::from(FINDING);
    }
    ExitCode::from(code_of(error))
}

/// Prints an error with its causes on one line of stderr.
///
/// # Errors
///
/// When stderr is closed.
pub(crate) fn print(error: &anyhow::Error, output: Output) -> std::io::Result<()> {
    let mut stderr = std::io::stderr().lock();
    match output {
        Output::Text => writeln!(stderr, "cowlab: {}", line(error)),
        Output::Json => writeln!(stderr, "{}", object(error)),
    }
}

/// An error for programs: what `code` tells in a number, `kind` tells in a word.
fn object(error: &anyhow::Error) -> Value {
    let store = error.chain().find_map(store_error);
    let code = code_of(error);
    let causes = error.chain().skip(1).map(ToString::to_string);
    json!({
        "code": code,
        "kind": kind(code),
        "key": store.and_then(StoreError::key),
        "message": line(error),
        "causes": causes.collect::<Vec<_>>(),
        "remedy": store.and_then(remedy),
    })
}

/// The store's error, as it is or within one of the runtime.
fn store_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a StoreError> {
    match cause.downcast_ref() {
        Some(RuntimeError::Store(error)) => Some(error),
        Some(RuntimeError::Unpack { reason, .. }) => Some(reason),
        _ => cause.downcast_ref(),
    }
}

/// The word for an exit code.
const fn kind(code: u8) -> &'static str {
    match code {
        USAGE => "invalid-argument",
        UNKNOWN => "unknown",
        NOT_FOUND => "not-found",
        EXISTS => "exists",
        WRONG_KIND => "wrong-kind",
        BUSY => "busy",
        LOCKED => "locked",
        HAS_CHILDREN => "has-children",
        DATA => "bad-data",
        UNAVAILABLE => "unavailable",
        GUARD => "stopped-by-guard",
        PRIVILEGE => "no-privilege",
        cowlab_sys::interrupt::EXIT_CODE => "interrupted",
        _ => "failed",
    }
}

/// What to do about an error of the store, where one thing helps.
fn remedy(error: &StoreError) -> Option<String> {
    let text = match error {
        StoreError::Exists { .. } => "choose another name, or remove it first",
        StoreError::NotFound { .. } => "`cowlab snapshot ls` lists what there is",
        StoreError::WrongKind { needed, .. } => needed,
        StoreError::HasChildren { .. } => {
            "remove its children first: `cowlab snapshot tree` shows them"
        }
        StoreError::Busy { .. } => {
            "unmount it and end who has its files open, or wait: `commit --wait TIME`"
        }
        StoreError::InProgress { .. } => "wait for the other command to end",
        StoreError::Driver { reason, .. } => return driver_remedy(reason),
        StoreError::Unusable(reason) => return driver_remedy(reason),
        _ => return None,
    };
    Some(text.to_owned())
}

fn driver_remedy(error: &DriverError) -> Option<String> {
    match error {
        DriverError::Unsupported { remedy, .. } | DriverError::Pool { remedy, .. } => {
            Some(remedy.clone())
        }
        DriverError::Unavailable(missing) => Some(missing.remedy.to_string()),
        _ => None,
    }
}

/// An error with its causes. A message that has its cause in it already is not told twice.
pub(crate) fn line(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |line, cause| {
        let cause = cause.to_string();
        if line.is_empty() {
            cause
        } else if line.ends_with(&cause) {
            line
        } else {
            format!("{line}: {cause}")
        }
    })
}

fn code_of(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(stop) = cause.downcast_ref::<Stop>() {
            return stop.code;
        }
        if cause.is::<cowlab_driver::Missing>() {
            return UNAVAILABLE;
        }
        if let Some(code) = cause.downcast_ref().and_then(testbed_code) {
            return code;
        }
        if let Some(code) = cause.downcast_ref().and_then(guest_code) {
            return code;
        }
        if let Some(error) = cause.downcast_ref() {
            return store_code(error);
        }
        if let Some(error) = cause.downcast_ref() {
            return container_code(error);
        }
        if let Some(WriteError::Open { .. }) = cause.downcast_ref() {
            return USAGE;
        }
        if cause.is::<cowlab_reports::result::ReadError>() {
            return DATA;
        }
        if let Some(error) = cause.downcast_ref() {
            return runtime_code(error);
        }
        if let Some(error) = cause.downcast_ref() {
            return sys_code(error);
        }
    }
    FINDING
}

/// What the testbed refuses before it makes anything; anything else is a finding.
const fn testbed_code(error: &TestbedError) -> Option<u8> {
    match error {
        TestbedError::Directory { .. } => Some(USAGE),
        TestbedError::Missing { .. } => Some(UNAVAILABLE),
        TestbedError::NoSpace { .. } | TestbedError::NoMemory { .. } => Some(GUARD),
        TestbedError::NotRoot { .. } => Some(PRIVILEGE),
        _ => None,
    }
}

/// What the runtime refuses because of the command line, the input, or the host; anything else is a finding.
fn runtime_code(error: &RuntimeError) -> u8 {
    match error {
        RuntimeError::OtherDriver { .. }
        | RuntimeError::UnknownDriver { .. }
        | RuntimeError::Configuration { .. }
        | RuntimeError::InvalidName { .. }
        | RuntimeError::NotFound { .. }
        | RuntimeError::Ambiguous { .. } => USAGE,
        RuntimeError::Layout { .. }
        | RuntimeError::Digest { .. }
        | RuntimeError::NoImage { .. }
        | RuntimeError::Artifact { .. }
        | RuntimeError::BadImage { .. }
        | RuntimeError::BadBlob { .. }
        | RuntimeError::NoBlob { .. }
        | RuntimeError::Lost { .. }
        | RuntimeError::Archive { .. }
        | RuntimeError::Graph { .. } => DATA,
        RuntimeError::Interrupted => cowlab_sys::interrupt::EXIT_CODE,
        RuntimeError::Denied { .. } => PRIVILEGE,
        RuntimeError::NotInRegistry { .. } => USAGE,
        RuntimeError::Registry { .. } => DATA,
        RuntimeError::Unreachable { .. }
        | RuntimeError::NoAuthorities { .. }
        | RuntimeError::NoDriver { .. }
        | RuntimeError::Ordinary { .. }
        | RuntimeError::Root { .. } => UNAVAILABLE,
        RuntimeError::Unpack { reason, .. } => store_code(reason),
        RuntimeError::Store(error) => store_code(error),
        RuntimeError::Sys(error) => sys_code(error),
        _ => FINDING,
    }
}

/// What is wrong with the host, the command line or a file; a build or a machine that fails is a finding.
fn guest_code(error: &GuestError) -> Option<u8> {
    match error {
        GuestError::UnknownRelease { .. }
        | GuestError::BadMirror { .. }
        | GuestError::Variable { .. }
        | GuestError::Payload { .. } => Some(USAGE),
        GuestError::Absent(_)
        | GuestError::NoImage { .. }
        | GuestError::NoMirror
        | GuestError::NoKeyring
        | GuestError::Machine { .. }
        | GuestError::Mirror { .. }
        | GuestError::NotInstallable { .. }
        | GuestError::NoCacheDirectory
        | GuestError::Sys(cowlab_sys::Error::MissingProgram { .. }) => Some(UNAVAILABLE),
        GuestError::NoSubordinateIds { .. } => Some(PRIVILEGE),
        GuestError::NoSpace { .. } | GuestError::Memory { .. } | GuestError::Scratch { .. } => {
            Some(GUARD)
        }
        GuestError::Format { .. } | GuestError::Damaged { .. } | GuestError::BadExport { .. } => {
            Some(DATA)
        }
        GuestError::Interrupted => Some(cowlab_sys::interrupt::EXIT_CODE),
        GuestError::Lost(lost) if lost.cause == Cause::Interrupted => {
            Some(cowlab_sys::interrupt::EXIT_CODE)
        }
        _ => None,
    }
}

/// What a snapshot store refused: what was asked for, what was read, or what is missing; anything else is a finding.
pub(crate) fn store_code(error: &StoreError) -> u8 {
    match error {
        StoreError::NotFound { .. } => NOT_FOUND,
        StoreError::Exists { .. } => EXISTS,
        StoreError::WrongKind { .. } => WRONG_KIND,
        StoreError::Busy { .. } => BUSY,
        StoreError::InProgress { .. } => LOCKED,
        StoreError::HasChildren { .. } => HAS_CHILDREN,
        StoreError::InvalidKey { .. }
        | StoreError::InvalidLabel { .. }
        | StoreError::InvalidFilter { .. }
        | StoreError::InvalidSetting { .. }
        | StoreError::Recorded { .. }
        | StoreError::UnknownVariant { .. } => USAGE,
        StoreError::Newer { .. } | StoreError::NotAStore { .. } => DATA,
        StoreError::Layer { reason, .. } => match **reason {
            LayerError::Sys(_) | LayerError::Entry { .. } | LayerError::Sink(_) => FINDING,
            _ => DATA,
        },
        StoreError::Unusable(error) => driver_code(error),
        StoreError::Driver { reason, .. } => driver_code(reason),
        StoreError::Sys(error) => sys_code(error),
        _ => FINDING,
    }
}

/// What a container or a volume refused; a program that could not be started has the status that shells have for it.
fn container_code(error: &ContainerError) -> u8 {
    match error {
        ContainerError::NotFound { .. }
        | ContainerError::Ambiguous { .. }
        | ContainerError::NameTaken { .. }
        | ContainerError::Invalid { .. } => USAGE,
        ContainerError::Start { status, .. } => u8::try_from(*status).unwrap_or(FINDING),
        ContainerError::Damaged { .. } => DATA,
        ContainerError::Store(error) => store_code(error),
        ContainerError::Root(error) => runtime_code(error),
        ContainerError::Sys(error) => sys_code(error),
        _ => FINDING,
    }
}

fn driver_code(error: &DriverError) -> u8 {
    match error {
        DriverError::Unavailable(_) => UNAVAILABLE,
        DriverError::Unsupported { .. } => USAGE,
        DriverError::Busy { .. } => BUSY,
        DriverError::Frozen(_) => WRONG_KIND,
        // A row without its data, or data without its row.
        DriverError::NotFound(_) | DriverError::Exists(_) | DriverError::Damaged { .. } => DATA,
        DriverError::Sys(error) => sys_code(error),
        _ => FINDING,
    }
}

fn sys_code(error: &cowlab_sys::Error) -> u8 {
    match error {
        cowlab_sys::Error::MissingProgram { .. } => UNAVAILABLE,
        error if error.errno() == Some(cowlab_sys::Errno::PERM) => PRIVILEGE,
        _ => FINDING,
    }
}

/// A reason to stop, with its exit code.
#[derive(Debug)]
pub(crate) struct Stop {
    /// The exit code.
    pub code: u8,
    /// The message, whole.
    pub message: String,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Stop {}

/// Refuses to go on without root.
///
/// # Errors
///
/// [`Stop`] with [`PRIVILEGE`].
pub(crate) fn need_root(what: &str) -> anyhow::Result<()> {
    if cowlab_sys::process::is_root() {
        return Ok(());
    }
    Err(Stop {
        code: PRIVILEGE,
        message: format!("{what} mounts file systems and needs root: run it with sudo"),
    }
    .into())
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn every_refusal_has_its_code() {
        let code = |error: TestbedError| code_of(&anyhow::Error::new(error).context("measure"));
        let directory = "/d".into();
        let reason = "it does not exist".to_owned();
        assert_eq!(code(TestbedError::Directory { directory, reason }), USAGE);
        let what = "mkfs.xfs".to_owned();
        let remedy = "apt-get install xfsprogs".to_owned();
        assert_eq!(code(TestbedError::Missing { what, remedy }), UNAVAILABLE);
        let (needed, available) = (2, 1);
        assert_eq!(code(TestbedError::NoMemory { needed, available }), GUARD);
        let action = "start a test run";
        assert_eq!(code(TestbedError::NotRoot { action }), PRIVILEGE);
        assert_eq!(code_of(&anyhow!("anything else")), FINDING);
    }

    #[test]
    fn what_keeps_a_guest_from_running_has_its_code() {
        let code = |error: GuestError| code_of(&anyhow::Error::new(error));
        assert_eq!(
            code(GuestError::Absent(cowlab_guest::Absent::Qemu)),
            UNAVAILABLE
        );
        assert_eq!(code(GuestError::NoMirror), UNAVAILABLE);
        assert_eq!(code(GuestError::Interrupted), 130);
        let (needed_mib, available_mib) = (2, 1);
        let memory = GuestError::Memory {
            needed_mib,
            available_mib,
        };
        assert_eq!(code(memory), GUARD);
        let (path, found) = ("/i".into(), 9);
        assert_eq!(code(GuestError::Format { path, found }), DATA);
    }

    #[test]
    fn programs_tell_refusals_of_the_store_apart() {
        let key = || "k".to_owned();
        let kind = cowlab_snapshots::Kind::View;
        let refusals = [
            (StoreError::NotFound { key: key() }, 4, "not-found"),
            (StoreError::Exists { key: key() }, 5, "exists"),
            (
                StoreError::WrongKind {
                    key: key(),
                    kind,
                    needed: "n",
                },
                6,
                "wrong-kind",
            ),
            (
                StoreError::Busy {
                    key: key(),
                    holders: Vec::new(),
                },
                7,
                "busy",
            ),
            (StoreError::InProgress { key: key() }, 8, "locked"),
            (
                StoreError::HasChildren {
                    key: key(),
                    children: Vec::new(),
                    count: 1,
                },
                9,
                "has-children",
            ),
        ];
        for (error, code, word) in refusals {
            let object = object(&anyhow::Error::new(error).context("commit"));
            assert_eq!(object["code"], code);
            assert_eq!(object["kind"], word);
            assert_eq!(object["key"], "k");
            assert!(object["remedy"].is_string(), "{word}");
            assert_eq!(object["causes"].as_array().map(Vec::len), Some(1));
        }
        let other = object(&anyhow!("anything else"));
        assert_eq!(
            (&other["kind"], &other["key"]),
            (&json!("failed"), &Value::Null)
        );
    }

    #[test]
    fn a_cause_is_told_once() {
        let missing = std::path::Path::new("/nonexistent/results.jsonl");
        let error = cowlab_reports::result::ResultSet::read(missing).expect_err("nothing is there");
        let error = anyhow::Error::new(error).context("compare");
        assert_eq!(
            line(&error),
            "compare: failed to read results `/nonexistent/results.jsonl`: No such file or directory (os error 2)"
        );
    }
}
