//! `cowlab guest run` and `cowlab guest shell`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use cowlab_guest::{Machine, Release, ready};
use cowlab_sys::interrupt;

use crate::exit::{self, Stop};

pub(super) const EXAMPLES: &str = "\
Examples:
  cowlab guest run -- uname -r
  cowlab guest run --file build/tool:/usr/local/bin/tool -- tool --check
  cowlab guest run --result /var/tmp/log --results log.tar -- sh -c 'dmesg >/var/tmp/log'

The guest has no network. /var/tmp is an ext4 disk; /, /tmp and /dev/shm are in memory. COWLAB_TEST_DIR says where on the host
the disk's file lies (default /var/tmp); it has no name there.";

// What the guest is made of.
#[derive(Debug, clap::Args)]
struct Parts {
    /// The Debian release of the guest [default: COWLAB_GUEST_RELEASE, else the newest that was seen to start].
    #[arg(long, value_name = "RELEASE")]
    release: Option<Release>,
    /// Its memory: a number of MiB, or with the unit M or G.
    #[arg(long, value_name = "SIZE", value_parser = mebibytes, default_value = "2G")]
    memory: u32,
    /// Copy a file or directory into the guest; without GUEST it keeps its name, in /root.
    #[arg(long = "file", value_name = "HOST[:GUEST]", value_parser = taken)]
    files: Vec<(PathBuf, PathBuf)>,
}

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    parts: Parts,
    /// End the guest after this time, as a failure: a number of seconds, or with the unit s, m or h.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1h")]
    time_limit: Duration,
    /// Copy a file or directory of the guest into the archive of --results.
    #[arg(long = "result", value_name = "GUEST", requires = "archive")]
    results: Vec<String>,
    /// The tar archive to write what --result names to.
    #[arg(
        long = "results",
        value_name = "FILE",
        id = "archive",
        requires = "results"
    )]
    archive: Option<PathBuf>,
    /// Count instructions instead of time: the guest's clock is the same in every run with this seed.
    #[arg(long, value_name = "SEED")]
    deterministic: Option<u64>,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShellArgs {
    #[command(flatten)]
    parts: Parts,
}

/// Runs a command and returns its exit status.
pub(super) fn run(args: RunArgs) -> anyhow::Result<u8> {
    let mut machine = machine(args.parts)?;
    machine.command = args.command;
    machine.time_limit = args.time_limit;
    machine.results = args.results;
    machine.deterministic = args.deterministic;
    interrupt::watch()?;
    let mut archive: Box<dyn Write> = match &args.archive {
        Some(path) => Box::new(
            File::create(path).with_context(|| format!("failed to create `{}`", path.display()))?,
        ),
        None => Box::new(std::io::sink()),
    };
    let ended =
        machine.run_for_results(&mut std::io::stdout(), &mut std::io::stderr(), &mut archive);
    let exit = ended?;
    tracing::info!(accel = %exit.accel, ready = ?exit.ready, "the guest has run");
    Ok(exit.code)
}

/// Connects the terminal with a shell and returns its exit status.
pub(super) fn shell(args: ShellArgs) -> anyhow::Result<u8> {
    if !std::io::stdin().is_terminal() {
        return Err(Stop {
            code: exit::FINDING,
            message: "`cowlab guest shell` needs a terminal on standard input: for a script use \
                      `cowlab guest run -- COMMAND`"
                .to_owned(),
        }
        .into());
    }
    let mut machine = machine(args.parts)?;
    machine.command = vec!["bash".into(), "-l".into()];
    machine.time_limit = Duration::MAX;
    if let Some(terminal) = std::env::var_os("TERM") {
        machine.env.push(("TERM".into(), terminal));
    }
    Ok(machine.interact()?.code)
}

fn machine(parts: Parts) -> anyhow::Result<Machine> {
    let image = ready::image(parts.release)?;
    Ok(Machine {
        memory_mib: parts.memory,
        payload: parts.files,
        ..Machine::new(image)
    })
}

fn mebibytes(text: &str) -> Result<u32, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(unit.unwrap_or(text.len()));
    let factor = match unit {
        "" | "M" | "MiB" => 1,
        "G" | "GiB" => 1024,
        _ => return Err("a size is a number of MiB, or one with the unit M or G".to_owned()),
    };
    let size = number
        .parse::<u32>()
        .ok()
        .and_then(|n| n.checked_mul(factor));
    size.filter(|size| *size >= 256)
        .ok_or_else(|| "the guest needs at least 256M".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(unit.unwrap_or(text.len()));
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => {
            return Err("a time is a number of seconds, or one with the unit s, m or h".to_owned());
        }
    };
    let seconds = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor));
    seconds
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
        .ok_or_else(|| "a time is more than nothing".to_owned())
}

fn taken(text: &str) -> Result<(PathBuf, PathBuf), String> {
    let (host, guest) = match text.split_once(':') {
        Some((host, guest)) => (host, Path::new(guest).to_path_buf()),
        None => {
            let name = Path::new(text).file_name();
            let name = name.ok_or_else(|| format!("`{text}` names no file"))?;
            (text, Path::new(concat!("/", "root")).join(name))
        }
    };
    let plain = |part| {
        matches!(
            part,
            std::path::Component::RootDir | std::path::Component::Normal(_)
        )
    };
    if !guest.is_absolute() || !guest.components().all(plain) || guest.parent().is_none() {
        return Err(format!(
            "`{}` is no absolute path of a file in the guest",
            guest.display()
        ));
    }
    Ok((host.into(), guest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_and_times() {
        assert_eq!(mebibytes("2G"), Ok(2048));
        assert_eq!(mebibytes("512"), Ok(512));
        assert!(mebibytes("64M").is_err() && mebibytes("1T").is_err() && mebibytes("G").is_err());
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("0").is_err() && duration("1d").is_err() && duration("").is_err());
    }

    #[test]
    fn a_file_keeps_its_name_or_gets_a_path() {
        assert_eq!(taken("a/b:/c/d").unwrap().1, Path::new("/c/d"));
        assert!(taken("a/b").unwrap().1.ends_with("b"));
        for bad in ["a:b", "a:/../b", "/", "a:/", ".."] {
            assert!(taken(bad).is_err(), "{bad}");
        }
    }
}
