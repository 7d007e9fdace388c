//! The exit codes of every program here, from which error each comes, and how an error is told.

use std::io::Write;
use std::process::ExitCode;

use cowlab_driver::Error as DriverError;
use cowlab_guest::{Cause, Error as GuestError};
use cowlab_layer::LayerError;
use cowlab_reports::result::WriteError;
use cowlab_runtime::Error as RuntimeError;
use cowlab_runtime::container::Error as ContainerError;
use cowlab_snapshots::Error as StoreError;
use cowlab_testbed::Error as TestbedError;

/// Success.
pub const OK: u8 = 0;
/// A finding: a failed case, a relevant regression, something left behind.
pub const FINDING: u8 = 1;
/// The command line names something that does not exist or cannot be used.
pub const USAGE: u8 = 2;
/// Not enough evidence for an answer.
pub const UNKNOWN: u8 = 3;
/// There is no such snapshot.
pub const NOT_FOUND: u8 = 4;
/// A snapshot of that key or name is there already.
pub const EXISTS: u8 = 5;
/// The snapshot is of a kind that the command does not take.
pub const WRONG_KIND: u8 = 6;
/// The snapshot is mounted, or open for writing.
pub const BUSY: u8 = 7;
/// Another command works on the snapshot.
pub const LOCKED: u8 = 8;
/// Other snapshots are built on the snapshot.
pub const HAS_CHILDREN: u8 = 9;
/// Bad input data.
pub const DATA: u8 = 65;
/// A missing prerequisite.
pub const UNAVAILABLE: u8 = 69;
/// Stopped by the host guard.
pub const GUARD: u8 = 75;
/// Needs privilege.
pub const PRIVILEGE: u8 = 77;

/// Prints an error with its causes on one line of stderr.
pub fn print(error: &anyhow::Error) -> std::io::Result<()> {
    writeln!(std::io::stderr().lock(), "cowlab: {}", line(error))
}

/// Prints an error and picks its exit code.
#[must_use]
pub fn report(error: &anyhow::Error) -> ExitCode {
    // Nobody is left to report it to when stderr is closed.
    print(error).map_or(FINDING, |()| code_of(error)).into()
}

/// An error with its causes. A message that has its cause in it already is not told twice.
#[must_use]
pub fn line(error: &anyhow::Error) -> String {
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

/// The exit code that an error ends the program with.
#[must_use]
pub fn code_of(error: &anyhow::Error) -> u8 {
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
        | RuntimeError::Rootless { .. }
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
fn store_code(error: &StoreError) -> u8 {
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
pub struct Stop {
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
pub fn need_root(what: &str) -> anyhow::Result<()> {
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
