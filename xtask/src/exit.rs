//! Exit codes, the same as those of `cowlab`, and the error that carries one.

use std::fmt;

/// A stage failed, a rule is broken, a claim does not hold.
pub(crate) const FINDING: u8 = 1;
/// The command line names something that does not exist.
pub(crate) const USAGE: u8 = 2;
/// A package, program or toolchain component is missing (`EX_UNAVAILABLE` of sysexits.h).
pub(crate) const MISSING: u8 = 69;
/// The task needs root (`EX_NOPERM` of sysexits.h).
pub(crate) const PRIVILEGE: u8 = 77;

/// What `--help` says about them.
pub(crate) const HELP: &str = "\
Exit codes:
    0    done, everything holds
    1    a finding: a failed stage, a broken rule, a claim that does not hold
    2    wrong usage
    3    not enough evidence (cowlab)
   65    bad input data (cowlab)
   69    a missing prerequisite; the command that provides it is printed
   75    stopped to protect the host (cowlab)
   77    needs root
  130    interrupted";

/// An error that decides the exit code of the task.
#[derive(Debug)]
pub(crate) struct Refusal {
    code: u8,
    message: String,
}

impl Refusal {
    /// A refusal with one of the codes above.
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// The exit code of `error`: that of the [`Refusal`] in it, else [`FINDING`].
pub(crate) fn code_of(error: &anyhow::Error) -> u8 {
    error
        .downcast_ref::<Refusal>()
        .map_or(FINDING, |refusal| refusal.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_code_through_context() {
        let error = anyhow::Error::new(Refusal::new(MISSING, "no cc")).context("failed to build");
        assert_eq!(code_of(&error), MISSING);
        assert_eq!(code_of(&anyhow::anyhow!("anything else")), FINDING);
    }
}
