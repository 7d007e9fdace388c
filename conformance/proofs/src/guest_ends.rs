//! Ends guests in every way that they can end, and looks at what is left.
//!
//! At random moments of a guest that writes to its disk, SIGKILL goes to the program or to QEMU. After a kill of the
//! program QEMU must be gone; after one of QEMU the program must say so and end as a failure. A panic, no memory and a time
//! limit must be failures that show the guest's console. None of them may leave a process, a file, a loop device or a mount.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use cowlab_engine::exit::{self, Stop};
use cowlab_random::Random;
use cowlab_sys::Cmd;
use cowlab_sys::cmd::Running;
use cowlab_testbed::Run;

use super::{Findings, cowlab, say, stop_if_asked};

/// Of the time between a start and a kill, the most; a guest runs its command after three to ten seconds.
const LONGEST: Duration = Duration::from_secs(12);
/// A process that is killed may be a while in the kernel: it gives back the guest's memory.
const PATIENCE: Duration = Duration::from_secs(10);
/// Keeps disk and memory of the guest busy.
const WORK: &str = "while :; do dd if=/dev/zero of=/var/tmp/work bs=1M count=64; done";

/// What the guest does, what the program is told, and what its message must have.
const FAILURES: [(&str, &[&str], &str); 3] = [
    (
        "echo c >/proc/sysrq-trigger",
        &[],
        "its kernel panicked: sysrq",
    ),
    (
        "for dir in /tmp /dev/shm /run; do dd if=/dev/zero of=$dir/big bs=1M & done; wait; sleep 60",
        &["--memory", "512M"],
        "it ran out of its 512 MiB of memory",
    ),
    (
        "sleep 3600",
        &["--time-limit", "15"],
        "its command had not ended after 15 s",
    ),
];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How often a guest is killed.
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    kills: usize,
    /// What decides when, and whether the program or QEMU is killed.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Have something go wrong.
    #[arg(long, value_enum)]
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// QEMU is taken for killed with the program, and is not.
    Outlive,
    /// A file is left where the guest's disk lies.
    Leave,
}

/// A run of the program.
struct Guest {
    program: Running,
    /// What it says.
    output: PathBuf,
}

/// Proves the claim.
pub(super) fn prove(args: &Args, run: &Run, findings: &mut Findings) -> anyhow::Result<()> {
    let place = run.scratch("guest")?;
    let logs = run.scratch("output")?;
    let mut random = Random::new(args.seed);
    let (mut programs, mut machines) = (0, 0);
    for _ in 0..args.kills {
        stop_if_asked()?;
        let mut guest = Guest::start(&place, &logs, WORK, &[])?;
        let machine = guest.machine()?;
        let longest = usize::try_from(LONGEST.as_millis())?;
        std::thread::sleep(Duration::from_millis(random.below(longest).try_into()?));
        if random.below(2) == 0 {
            programs += 1;
            kill_program(args, &mut guest, machine, findings)?;
        } else {
            machines += 1;
            signal(machine)?;
            guest.must_fail("it ended before its command did", findings)?;
        }
        if args.fault == Some(Fault::Leave) {
            fs::write(place.join("left"), "")?;
        }
        look(&place, machine, findings)?;
        if !findings.are_none() {
            break;
        }
    }
    for (script, options, message) in FAILURES {
        stop_if_asked()?;
        let mut guest = Guest::start(&place, &logs, script, options)?;
        let machine = guest.machine()?;
        guest.must_fail(message, findings)?;
        look(&place, machine, findings)?;
    }
    say(format!(
        "{programs} kills of the program and {machines} of QEMU with seed {}; a panic, no memory, a time limit",
        args.seed
    ))
}

fn kill_program(
    args: &Args,
    guest: &mut Guest,
    machine: u32,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    if args.fault == Some(Fault::Outlive) {
        if alive(machine) {
            findings.add("QEMU outlived its program");
        }
        return Ok(guest.program.kill()?);
    }
    guest.program.kill()?;
    if !ends(machine) {
        findings.add("QEMU outlived its program");
    }
    Ok(())
}

/// Adds what is left of a guest that has ended.
fn look(place: &Path, machine: u32, findings: &mut Findings) -> anyhow::Result<()> {
    if !ends(machine) {
        findings.add(format_args!("QEMU still runs as process {machine}"));
    }
    for entry in fs::read_dir(place)? {
        let path = entry?.path();
        findings.add(format_args!("`{}` is left", path.display()));
    }
    let (text, place) = (place.display().to_string(), place.display());
    for table in ["/proc/self/mounts", "/proc/swaps"] {
        if fs::read_to_string(table)?.contains(&text) {
            findings.add(format_args!("`{table}` has something of `{place}`"));
        }
    }
    Ok(())
}

impl Guest {
    fn start(place: &Path, logs: &Path, script: &str, options: &[&str]) -> anyhow::Result<Self> {
        let output = logs.join("output");
        let program = cowlab()?
            .env("COWLAB_TEST_DIR", place)
            .args(["guest", "run"])
            .args(options)
            .args(["--", "sh", "-c", script])
            .attach(File::create(&output)?)?;
        Ok(Self { program, output })
    }

    /// Waits until the program has started QEMU and returns its process.
    fn machine(&mut self) -> anyhow::Result<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.program.pid());
        let begun = Instant::now();
        loop {
            let text = fs::read_to_string(&children).unwrap_or_default();
            let mut found = text.split_whitespace().filter_map(|word| word.parse().ok());
            // Between fork and exec it has the program's name.
            if let Some(pid) = found.find(|pid| name(*pid).starts_with("qemu")) {
                return Ok(pid);
            }
            if !self.program.is_alive()? {
                return Err(Stop {
                    code: exit::UNAVAILABLE,
                    message: fs::read_to_string(&self.output)?.trim().to_owned(),
                }
                .into());
            }
            anyhow::ensure!(begun.elapsed() < 12 * PATIENCE, "no QEMU was started");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the end, which must be a failure with `message` and the console.
    fn must_fail(&mut self, message: &str, findings: &mut Findings) -> anyhow::Result<()> {
        let status = self.program.wait()?;
        let said = fs::read(&self.output).context("failed to read the output")?;
        let said = String::from_utf8_lossy(&said);
        if status != i32::from(exit::FINDING) {
            findings.add(format_args!(
                "where `{message}`, the program ended with {status}"
            ));
        }
        if !said.contains(message) || !said.contains("its console ") {
            findings.add(format_args!(
                "the program does not say `{message}`, but: {said}"
            ));
        }
        Ok(())
    }
}

/// The name of a process, empty where there is none or it is only waited for.
fn name(pid: u32) -> String {
    // proc_pid_stat(5): number, name in parentheses, state.
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    match text
        .split_once('(')
        .and_then(|(_, rest)| rest.rsplit_once(") "))
    {
        Some((name, state)) if !state.starts_with(['Z', 'X']) => name.to_owned(),
        _ => String::new(),
    }
}

fn alive(pid: u32) -> bool {
    name(pid).starts_with("qemu")
}

/// Whether the process ends while one is patient.
fn ends(pid: u32) -> bool {
    let begun = Instant::now();
    while alive(pid) {
        if begun.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Sends SIGKILL to a process that is not our child.
fn signal(pid: u32) -> anyhow::Result<()> {
    Ok(Cmd::new("sh")
        .args(["-c", "kill -KILL \"$0\"", &pid.to_string()])
        .run()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_its_name_as_long_as_it_runs() {
        assert!(!name(std::process::id()).is_empty());
        let mut child = Cmd::new("sleep").arg("60").spawn().unwrap();
        let pid = child.pid();
        assert!(!name(pid).is_empty());
        child.kill().unwrap();
        assert_eq!(name(pid), "");
    }
}
