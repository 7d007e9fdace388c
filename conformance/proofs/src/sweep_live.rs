//! Sweeps beside a live run and a live store, after killing other runs at different moments.
//!
//! All of it lies in one directory: a run that another process holds, with file systems and a mounted snapshot; a store
//! as an engine would have it, on a loop device and in a directory that are named otherwise; a directory that only looks
//! like a test run. Every other victim has a mount namespace of its own, which a kill ends, and leaves loop devices only; the
//! others leave their mounts as well. The list of mounts, loop devices and files there is taken before a victim starts. The victim is
//! killed with -9, `cowlab sweep` runs, and the list has to be the same again, entry by entry.

mod holder;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use cowlab_random::Random;
use cowlab_snapshots::{Store, StoreOptions};
use cowlab_sys::cmd::Running;
use cowlab_sys::loopdev::{LoopDevice, LoopOptions};
use cowlab_sys::{Cmd, Guard, MountSpec, mount, mountinfo};
use cowlab_testbed::Run;

use super::traces::{DEVICES, MOUNTS, Traces};
use super::{Driver, Findings, cowlab, say, start, stop_if_asked};

pub(super) use holder::{HolderArgs, hold};

/// A kind of what is listed.
const ENTRIES: &str = "directory entries";
/// How far apart the looks for a file of a holder are, and how many there are at most.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSES: u32 = 6000;
/// A victim needs this long until all is made, or a little less: the moments are drawn from it.
const MAKING: Duration = Duration::from_millis(500);
/// The size of the engine's file system, in bytes.
const SPACE: u64 = 128 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many runs are killed, the last one after it made everything.
    #[arg(long, value_name = "COUNT", default_value_t = 12)]
    kills: u32,
    /// What decides when.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Have the sweep go wrong.
    #[arg(long, value_enum)]
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// The live run loses the lock by which it is known to live.
    LockLost,
}

/// Proves the claim.
pub(super) fn prove(args: &Args, run: &Run, findings: &mut Findings) -> anyhow::Result<()> {
    let place = run.scratch("place")?;
    let mut engine = Engine::make(&place)?;
    let proved = with_live(args, &place, findings);
    let closed = engine.close();
    proved?;
    closed
}

fn with_live(args: &Args, place: &Path, findings: &mut Findings) -> anyhow::Result<()> {
    let alike = place.join("cowlab-test-alike");
    fs::create_dir(&alike)?;
    fs::write(alike.join("file"), "not ours")?;
    let mut live = Holder::start(place, "live", false)?;
    live.wait_until_ready()?;
    if args.fault == Some(Fault::LockLost) {
        fs::remove_file(live.run()?.join("lock"))?;
    }
    let mut random = Random::new(args.seed);
    for number in 1..=args.kills {
        stop_if_asked()?;
        let moment = (number < args.kills).then(|| {
            let longest = usize::try_from(MAKING.as_micros()).unwrap_or(usize::MAX);
            Duration::from_micros(u64::try_from(random.below(longest)).unwrap_or(0))
        });
        sweep_beside(place, moment, number % 2 == 0, findings)?;
        if !live.process.is_alive()? {
            findings.add("the live run ended before its time");
        }
        if !findings.are_none() {
            break;
        }
    }
    fs::write(&live.stop, "")?;
    let status = live.process.wait()?;
    if status != 0 {
        findings.add(format_args!("the live run ended with {status}"));
    }
    Ok(())
}

/// Kills a run at a moment, or when it made everything, and sweeps.
fn sweep_beside(
    place: &Path,
    moment: Option<Duration>,
    private: bool,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let before = list(place, &[])?;
    let mut victim = Holder::start(place, "victim", private)?;
    match moment {
        Some(moment) => std::thread::sleep(moment),
        None => victim.wait_until_ready()?,
    }
    victim.process.kill()?;
    victim.forget()?;
    let runs = runs_in(place)?;
    let dead = list(place, &runs)?;
    let sweep = cowlab()?
        .args(["sweep", "--yes", "--dir"])
        .arg(place)
        .output()?;
    if sweep.status != Some(0) {
        findings.add(format_args!(
            "the sweep ended with {:?}: {}",
            sweep.status,
            String::from_utf8_lossy(&sweep.stderr).trim()
        ));
    }
    let after = list(place, &runs)?;
    for difference in before.differences(&after) {
        findings.add(difference);
    }
    let moment = moment.map_or("when all was made".to_owned(), |moment| {
        format!("after {} ms", moment.as_millis())
    });
    say(format_args!(
        "killed {moment}{}: {} left; after the sweep {} of {} entries of the living are as before",
        if private { ", mounts of its own" } else { "" },
        dead.beyond(&before),
        after.kept_of(&before),
        before.kept_of(&before),
    ))
}

/// Lists everything that a sweep could touch: what is below `place`, in the file systems mounted there as well, and loop devices
/// of files whose file system is mounted nowhere anymore and whose names begin with one of `runs`.
fn list(place: &Path, runs: &[String]) -> anyhow::Result<Traces> {
    let mut all = Traces::of(&[MOUNTS, DEVICES, ENTRIES]);
    for mount in mountinfo::at_or_below(&mountinfo::read_self()?, place) {
        all.add(
            MOUNTS,
            format!(
                "mount {} of {} `{}` at `{}`",
                mount.mount_id,
                mount.fstype,
                mount.source.display(),
                mount.mount_point.display()
            ),
        );
    }
    all.add_devices(|image| {
        // A tmpfs went with the mount namespace of who was killed: the path begins at its root.
        let lost = |run: &String| image.to_string_lossy().starts_with(&format!("/{run}-"));
        image.starts_with(place) || runs.iter().any(lost)
    })?;
    list_entries(&mut all, place)?;
    Ok(all)
}

fn list_entries(all: &mut Traces, dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let found = fs::symlink_metadata(&path)?;
        all.add(
            ENTRIES,
            format!(
                "file `{}`: device {}, inode {}, mode {:o}, {} names, {} bytes",
                path.display(),
                found.dev(),
                found.ino(),
                found.mode(),
                found.nlink(),
                found.len()
            ),
        );
        if found.is_dir() {
            list_entries(all, &path)?;
        }
    }
    Ok(())
}

/// The names of the runs in `place`, dead and alive.
fn runs_in(place: &Path) -> anyhow::Result<Vec<String>> {
    let mut runs = Vec::new();
    for entry in fs::read_dir(place)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("cowlab-test-") {
            runs.push(name);
        }
    }
    Ok(runs)
}

/// Another process of this program with a run.
struct Holder {
    process: Running,
    ready: PathBuf,
    stop: PathBuf,
}

impl Holder {
    fn start(place: &Path, name: &str, private: bool) -> anyhow::Result<Self> {
        let (ready, stop) = (
            place.join(format!("{name}-ready")),
            place.join(format!("{name}-stop")),
        );
        let private = private.then(|| "--private".to_owned());
        let arguments = [
            "sweep-holder".to_owned(),
            format!("--in={}", place.display()),
            format!("--ready={}", ready.display()),
            format!("--stop={}", stop.display()),
        ];
        let process = start(arguments.into_iter().chain(private))?;
        Ok(Self {
            process,
            ready,
            stop,
        })
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        for _ in 0..PAUSES {
            if self.ready.exists() {
                return Ok(());
            }
            if !self.process.is_alive()? {
                bail!("a process with a run ended with {}", self.process.wait()?);
            }
            std::thread::sleep(PAUSE);
        }
        bail!("a process with a run made nothing");
    }

    /// The directory of its run.
    fn run(&self) -> anyhow::Result<PathBuf> {
        let text = fs::read_to_string(&self.ready)
            .with_context(|| format!("failed to read `{}`", self.ready.display()))?;
        Ok(text.into())
    }

    /// Removes the file by which it told that it was ready, whole or not.
    fn forget(&self) -> anyhow::Result<()> {
        for file in [&self.ready, &self.ready.with_extension("written")] {
            if file.exists() {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }
}

/// A store in use, made by nothing that the sweep knows.
#[derive(Debug)]
struct Engine {
    /// In the order in which they are taken back.
    guards: Vec<Box<dyn Guard>>,
}

impl Engine {
    fn make(place: &Path) -> anyhow::Result<Self> {
        let dir = place.join("engine");
        let (image, disk, merged) = (dir.join("image"), dir.join("disk"), dir.join("merged"));
        for made in [&dir, &disk, &merged] {
            fs::create_dir(made)?;
        }
        fs::File::create(&image)?.set_len(SPACE)?;
        let device = LoopDevice::attach(&image, LoopOptions::default())?;
        Cmd::new("mkfs.ext4").arg("-q").arg(device.path()).run()?;
        let spec = MountSpec {
            fstype: "ext4".to_owned(),
            source: Some(device.path().to_path_buf()),
            ..MountSpec::default()
        };
        let mounted = mount::mount(&spec, &disk)?;
        let snapshot = hold_snapshot(&disk.join("store"), &merged)?;
        Ok(Self {
            guards: vec![Box::new(snapshot), Box::new(mounted), Box::new(device)],
        })
    }

    fn close(&mut self) -> anyhow::Result<()> {
        for guard in &mut self.guards {
            guard.close()?;
        }
        Ok(())
    }
}

/// Makes a store and mounts an active snapshot of it.
fn hold_snapshot(store: &Path, target: &Path) -> anyhow::Result<cowlab_snapshots::Mounted> {
    let store = Store::open(store, Driver::usual().entry(), &StoreOptions::default())?;
    store.prepare("layer", None, &Default::default())?;
    store.commit("layer", "base", &Default::default())?;
    store.prepare("container", Some("base"), &Default::default())?;
    let mounted = store.mount("container", target)?;
    fs::write(target.join("file"), "alive")?;
    Ok(mounted)
}
