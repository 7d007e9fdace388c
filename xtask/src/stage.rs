//! One step of a task that has many: what it claims, how it is run, how it ended.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use cowlab_sys::{Cmd, process};

use crate::exit;
use crate::ordinary;
use crate::program;
use crate::setup::Purpose;
use crate::terminal;
use crate::tidy;

/// A named step.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Short, kebab-case, what a person types.
    pub(crate) name: &'static str,
    /// What is true if it passes, as a sentence.
    pub(crate) claim: &'static str,
    /// What the machine must have for it.
    pub(crate) needs: &'static [Purpose],
    /// How it is run.
    pub(crate) job: Job,
    /// What it should take at most on two idle cores, if that is promised; more is printed and no failure.
    pub(crate) budget: Option<Duration>,
}

/// How a step is run. No shell is involved.
#[derive(Debug)]
pub(crate) enum Job {
    /// `cargo ARGS`, with more environment variables.
    Cargo {
        arguments: &'static [&'static str],
        environment: &'static [(&'static str, &'static str)],
    },
    /// `cowlab ARGS`, or the proofs with these, built in release first; needs root.
    Cowlab(&'static [&'static str]),
    /// A proof, of a build that can plant faults.
    ProofWithFaults(&'static [&'static str]),
    /// The unit tests again, as a user without privileges.
    OrdinaryUser,
    /// The house rules, in this process.
    Tidy,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// With the exit code that the task should end with.
    Failed(u8),
}

/// A finished step.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) name: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) elapsed: Duration,
}

impl Job {
    /// The command for a person to repeat it with.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Cargo {
                arguments,
                environment,
            } => {
                let mut line = String::new();
                for (name, value) in *environment {
                    // Writing to a `String` cannot fail.
                    write!(line, "{name}='{value}' ").ok();
                }
                line + "cargo " + &arguments.join(" ")
            }
            Self::Cowlab(arguments) => format!("cargo xtask {}", arguments.join(" ")),
            Self::ProofWithFaults(arguments) => {
                let build = "cargo build --release --features faults --package cowlab --package cowlab-proofs";
                let arguments = arguments.join(" ");
                format!("{build} && target/release/cowlab-proofs {arguments}")
            }
            Self::OrdinaryUser => "cargo xtask ci ordinary-user".to_owned(),
            Self::Tidy => "cargo xtask tidy".to_owned(),
        }
    }

    /// Runs it and returns its exit code. What a command of the program prints goes to standard output, by `each` line
    /// where somebody wants them.
    fn run(&self, root: &Path, each: Option<&mut dyn FnMut(&str)>) -> anyhow::Result<u8> {
        match self {
            Self::Cargo {
                arguments,
                environment,
            } => {
                let cargo = Cmd::new("cargo").args(*arguments);
                let cargo = environment
                    .iter()
                    .fold(cargo, |cargo, (name, value)| cargo.env(name, value));
                // 101, which cargo ends with, means nothing to our callers.
                Ok(if program::exit_code(&cargo, None)? == 0 {
                    0
                } else {
                    exit::FINDING
                })
            }
            Self::Cowlab(_) | Self::ProofWithFaults(_) if !process::is_root() => {
                Err(exit::Refusal::new(
                    exit::PRIVILEGE,
                    "needs root: it mounts file systems on loop devices",
                )
                .into())
            }
            Self::Cowlab(line) => {
                let (verb, arguments) = line.split_first().context("the stage has no command")?;
                let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
                let command = program::prepared(verb, &arguments)?;
                program::exit_code(&command, each)
            }
            Self::ProofWithFaults(line) => {
                let proofs = program::build_proofs_with_faults()?;
                program::exit_code(&Cmd::new(proofs).args(*line), each)
            }
            Self::OrdinaryUser => ordinary::run(),
            Self::Tidy => tidy::run(root),
        }
    }
}

impl Stage {
    /// Runs it and says how it ended.
    pub(crate) fn run(&self, root: &Path) -> Finished {
        self.run_by_line(root, None)
    }

    /// Runs it, and returns as well the last line that a command of the program printed.
    pub(crate) fn run_for_result(&self, root: &Path) -> (Finished, Option<String>) {
        let mut last = None;
        let mut each = |line: &str| {
            terminal::result(line);
            if !line.trim().is_empty() {
                last = Some(line.trim().to_owned());
            }
        };
        let finished = self.run_by_line(root, Some(&mut each));
        (finished, last)
    }

    fn run_by_line(&self, root: &Path, each: Option<&mut dyn FnMut(&str)>) -> Finished {
        let started = Instant::now();
        let outcome = match self.job.run(root, each) {
            Ok(0) => Outcome::Passed,
            Ok(code) => Outcome::Failed(code),
            Err(error) => {
                terminal::error(&format!("{}: {error:#}", self.name));
                Outcome::Failed(exit::code_of(&error))
            }
        };
        Finished {
            name: self.name,
            outcome,
            elapsed: started.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_shows_the_command_that_repeats_it() {
        let docs = Job::Cargo {
            arguments: &["doc", "--no-deps"],
            environment: &[("RUSTDOCFLAGS", "-D warnings")],
        };
        assert_eq!(
            docs.line(),
            "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps"
        );
        assert_eq!(
            Job::Cowlab(&["bench", "list"]).line(),
            "cargo xtask bench list"
        );
    }
}
