//! The tasks that are subcommands of `cowlab`, and the proofs of it, which are a program beside it: sets the machine up, builds
//! in release and runs the program with all arguments and its exit code.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cowlab_sys::Cmd;
use serde::Deserialize;

use crate::commit;
use crate::exit::{self, Refusal};
use crate::flags;
use crate::guest;
use crate::setup::{self, Consent, Purpose};

/// What `cargo metadata` says that matters here.
#[derive(Debug, Deserialize)]
struct Metadata {
    target_directory: PathBuf,
}

/// Runs `cowlab VERB`, or the proofs, with the arguments of `flags`; `--yes` among them is consent to install.
pub(crate) fn run(verb: &str, flags: flags::Program) -> anyhow::Result<u8> {
    let (yes, arguments) = without_yes(flags.arguments);
    let consent = Consent::from_flag(yes);
    setup::ensure(purposes(verb, &arguments), consent)?;
    let prepare = || prepared(verb, &arguments);
    let program = match guest::comes_along(verb, &arguments, consent) {
        true => guest::meanwhile(prepare)?,
        false => prepare()?,
    };
    // Not as a child: an interrupt must end the program, which then cleans up, and leave nobody who
    // returns to the shell before it is done.
    match program.exec()? {}
}

/// What a command needs of the machine.
fn purposes(verb: &str, arguments: &[OsString]) -> &'static [Purpose] {
    match verb {
        _ if asks_for_help(arguments) => &[Purpose::Build],
        "guest" => match arguments.first().and_then(|word| word.to_str()) {
            Some("build") => &[Purpose::Build, Purpose::GuestRun, Purpose::GuestBuild],
            Some("run" | "shell" | "import") => &[Purpose::Build, Purpose::GuestRun],
            _ => &[Purpose::Build],
        },
        // It makes an image as well.
        "report" | "prove" => &[Purpose::Build, Purpose::Run, Purpose::Report],
        _ => &[Purpose::Build, Purpose::Run],
    }
}

const PRODUCT: &str = "cowlab";
const PROOFS: &str = "cowlab-proofs";

/// What is built in release, each a package with one binary of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Programs {
    /// `cowlab` alone.
    Product,
    /// The proofs too, which look for `cowlab` beside themselves.
    WithProofs,
}

impl Programs {
    fn of(verb: &str) -> Self {
        match verb {
            "prove" => Self::WithProofs,
            _ => Self::Product,
        }
    }

    const fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Product => &[PRODUCT],
            Self::WithProofs => &[PRODUCT, PROOFS],
        }
    }

    /// The command that builds them.
    fn cargo_build(self) -> Cmd {
        let cargo = Cmd::new("cargo").args(["build", "--release", "--bins"]);
        let packages = self.packages().iter();
        cargo.args(packages.flat_map(|package| ["--package", *package]))
    }

    /// Builds them and returns the directory that they lie in.
    pub(crate) fn build(self) -> anyhow::Result<PathBuf> {
        run_cargo(&self.cargo_build())?;
        Ok(target_directory()?.join("release"))
    }
}

/// Builds the proofs and what they prove with the feature `faults` as well, and returns where a copy of the proofs lies: both
/// builds end at the same place.
pub(crate) fn build_proofs_with_faults() -> anyhow::Result<PathBuf> {
    let programs = Programs::WithProofs;
    run_cargo(&programs.cargo_build().args(["--features", "faults"]))?;
    let release = target_directory()?.join("release");
    let copies = release.join("with-faults");
    std::fs::create_dir_all(&copies)
        .with_context(|| format!("failed to make `{}`", copies.display()))?;
    for program in programs.packages() {
        let copy = copies.join(program);
        std::fs::copy(release.join(program), &copy)
            .with_context(|| format!("failed to write `{}`", copy.display()))?;
    }
    // Nobody should find a program there that can be told to forget its flushes.
    programs.build()?;
    Ok(copies.join(PROOFS))
}

fn run_cargo(cargo: &Cmd) -> anyhow::Result<()> {
    if cargo.status_inherit()? != 0 {
        return Err(Refusal::new(exit::FINDING, format!("`{cargo}` failed")).into());
    }
    Ok(())
}

/// The command of a verb: the proofs are a program of their own.
fn command(programs: &Path, verb: &str) -> Cmd {
    match verb {
        "prove" => Cmd::new(programs.join(PROOFS)),
        _ => Cmd::new(programs.join(PRODUCT)).arg(verb),
    }
}

/// Builds the program and prepares to run it with the arguments. It writes the commit that it is told into its results.
pub(crate) fn prepared(verb: &str, arguments: &[OsString]) -> anyhow::Result<Cmd> {
    let programs = Programs::of(verb).build()?;
    let mut program = command(&programs, verb).args(arguments);
    if let Some(commit) = commit::checked_out() {
        program = program.env("COWLAB_COMMIT", commit);
    }
    Ok(program)
}

/// Where cargo puts what it builds, whatever its configuration says.
fn target_directory() -> anyhow::Result<PathBuf> {
    let answer = Cmd::new("cargo")
        .args(["metadata", "--no-deps", "--format-version=1"])
        .read()?;
    let metadata: Metadata =
        serde_json::from_str(&answer).context("failed to read the answer of `cargo metadata`")?;
    Ok(metadata.target_directory)
}

/// Runs `command` with our outputs and returns its exit code; with `each`, its standard output is read line by line.
pub(crate) fn exit_code(command: &Cmd, each: Option<&mut dyn FnMut(&str)>) -> anyhow::Result<u8> {
    let status = match each {
        None => command.status_inherit()?,
        Some(each) => command.status_by_line(each)?,
    };
    Ok(u8::try_from(status).unwrap_or(exit::FINDING))
}

/// Takes every `--yes` out of the arguments before a `--`.
fn without_yes(arguments: Vec<OsString>) -> (bool, Vec<OsString>) {
    let end = arguments
        .iter()
        .position(|word| word == "--")
        .unwrap_or(arguments.len());
    let mut yes = false;
    let mut rest = Vec::with_capacity(arguments.len());
    for (index, word) in arguments.into_iter().enumerate() {
        if index < end && word == "--yes" {
            yes = true;
        } else {
            rest.push(word);
        }
    }
    (yes, rest)
}

fn asks_for_help(arguments: &[OsString]) -> bool {
    arguments
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word == "--help" || word == "-h")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn yes_is_ours_and_the_rest_is_not() {
        let (yes, rest) = without_yes(words("run --image dir --yes --keep"));
        assert!(yes);
        assert_eq!(rest, words("run --image dir --keep"));
    }

    #[test]
    fn after_two_dashes_nothing_is_ours() {
        let (yes, rest) = without_yes(words("run -- --yes"));
        assert!(!yes);
        assert_eq!(rest, words("run -- --yes"));
    }

    #[test]
    fn a_guest_needs_no_file_systems_of_this_host() {
        assert!(purposes("guest", &words("build")).contains(&Purpose::GuestBuild));
        assert_eq!(
            purposes("guest", &words("run -- build")),
            [Purpose::Build, Purpose::GuestRun]
        );
        assert_eq!(purposes("guest", &words("list")), [Purpose::Build]);
        assert!(purposes("bench", &words("run")).contains(&Purpose::Run));
    }

    #[test]
    fn help_needs_no_file_systems() {
        assert!(asks_for_help(&words("run --help")));
        assert!(!asks_for_help(&words("run -- -h")));
    }
}
