//! How the program ends: the table of exit codes for the help, and errors for people and for programs.

use std::io::Write;
use std::process::ExitCode;

use cowlab_driver::Error as DriverError;
use cowlab_runtime::Error as RuntimeError;
use cowlab_snapshots::Error as StoreError;
use serde_json::{Value, json};

pub(crate) use cowlab_engine::exit::{
    BUSY, DATA, EXISTS, FINDING, GUARD, HAS_CHILDREN, LOCKED, NOT_FOUND, OK, PRIVILEGE, Stop,
    UNAVAILABLE, UNKNOWN, USAGE, WRONG_KIND, code_of, line, need_root,
};

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
  125  run: a failure before the program started; start, restart, exec: a failed start that is not
       the program's fault
  126  run, start, restart, exec: a program that cannot be executed
  127  run, start, restart, exec: a program that does not exist
  130  interrupted
  create, start, exec and others exit with a code from 1 to 77 where docker exits with 1
  run, exec, attach, start -a and wait exit with the program's status, 128 + N after signal N

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
    match output {
        Output::Text => cowlab_engine::exit::report(error),
        Output::Json => print(error, output)
            .map_or(FINDING, |()| code_of(error))
            .into(),
    }
}

/// Prints an error with its causes on one line of stderr.
pub(crate) fn print(error: &anyhow::Error, output: Output) -> std::io::Result<()> {
    match output {
        Output::Text => cowlab_engine::exit::print(error),
        Output::Json => writeln!(std::io::stderr(), "{}", object(error)),
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

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn what_is_no_refusal_of_the_store_has_no_key() {
        let other = object(&anyhow!("anything else"));
        assert_eq!(
            (&other["kind"], &other["key"]),
            (&json!("failed"), &Value::Null)
        );
    }
}
