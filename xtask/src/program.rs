//! The tasks that are subcommands of `cowlab`: sets the machine up, builds the program in release and
//! runs it with all arguments and its exit code.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context;
use cowlab_sys::Cmd;
use serde::Deserialize;

use crate::commit;
use crate::exit::{self, Refusal};
use crate::flags;
use crate::payload;
use crate::setup::{self, Consent, Purpose};

/// What `cargo metadata` says that matters here.
#[derive(Debug, Deserialize)]
struct Metadata {
    target_directory: PathBuf,
}

/// Runs `cowlab VERB` with the arguments of `flags`; `--yes` among them is consent to install.
pub(crate) fn run(verb: &str, flags: flags::Program) -> anyhow::Result<u8> {
    let (yes, arguments) = without_yes(flags.arguments);
    let consent = Consent::from_flag(yes);
    setup::ensure(purposes(verb, &arguments), consent)?;
    let program = prepared(verb, &arguments, consent)?;
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

/// Builds the program and returns where it lies.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let cargo = cargo_build();
    if cargo.status_inherit()? != 0 {
        return Err(Refusal::new(exit::FINDING, format!("`{cargo}` failed")).into());
    }
    Ok(target_directory()?.join("release/cowlab"))
}

/// Builds the program with the feature `faults` as well, and returns where a copy of it lies: both builds end at the same
/// place.
pub(crate) fn build_with_faults() -> anyhow::Result<PathBuf> {
    let cargo = cargo_build().args(["--features", "faults"]);
    if cargo.status_inherit()? != 0 {
        return Err(Refusal::new(exit::FINDING, format!("`{cargo}` failed")).into());
    }
    let release = target_directory()?.join("release");
    let copy = release.join("cowlab-with-faults");
    std::fs::copy(release.join("cowlab"), &copy)
        .with_context(|| format!("failed to write `{}`", copy.display()))?;
    // Nobody should find a program there that can be told to forget its flushes.
    build()?;
    Ok(copy)
}

/// The command that builds the program in release.
pub(crate) fn cargo_build() -> Cmd {
    Cmd::new("cargo").args([
        "build",
        "--release",
        "--package",
        "cowlab",
        "--bin",
        "cowlab",
    ])
}

/// Builds the program, where it may need it also for the guest, and prepares to run it with the arguments. It writes
/// the commit that it is told into its results.
pub(crate) fn prepared(
    verb: &str,
    arguments: &[OsString],
    consent: Consent,
) -> anyhow::Result<Cmd> {
    let mut program = Cmd::new(build()?).arg(verb).args(arguments);
    if let Some(commit) = commit::checked_out() {
        program = program.env("COWLAB_COMMIT", commit);
    }
    if may_use_guest(verb, arguments) {
        program = payload::name_to(program, payload::build(consent)?.as_deref());
    }
    Ok(program)
}

/// Where cargo puts what it builds, whatever its configuration says.
pub(crate) fn target_directory() -> anyhow::Result<PathBuf> {
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

/// Whether the program may run a part of its work in the guest.
fn may_use_guest(verb: &str, arguments: &[OsString]) -> bool {
    let word = |text: &str| arguments.iter().any(|argument| argument == text);
    let on_host = word("--where=host")
        || arguments
            .windows(2)
            .any(|pair| pair[0] == "--where" && pair[1] == "host");
    let works = match verb {
        "conformance" => !word("faults"),
        "bench" => word("run"),
        "report" | "prove" => true,
        _ => false,
    };
    works && !on_host && !asks_for_help(arguments)
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
    fn what_stays_on_the_host_needs_no_build_for_the_guest() {
        assert!(may_use_guest("conformance", &words("--driver zfs")));
        assert!(may_use_guest("bench", &words("run copy-up --where guest")));
        assert!(!may_use_guest("bench", &words("compare a b")));
        assert!(!may_use_guest("conformance", &words("--where host")));
        assert!(!may_use_guest("conformance", &words("--where=host")));
        assert!(!may_use_guest("conformance", &words("--help")));
        assert!(!may_use_guest("sweep", &[]));
        assert!(may_use_guest("report", &words("--full")));
        assert!(!may_use_guest("report", &words("--where host")));
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
