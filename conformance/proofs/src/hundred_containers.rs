//! A hundred containers of one image at once: ten processes at a time start them, and remove them.
//!
//! Every other container is run with `--rm` and killed, so that its monitor removes it; the others are removed by `rm -f`. What
//! there is of mounts in any namespace, loop devices, cgroups, processes and files is listed before, and has to be the same
//! afterwards, entry by entry. The root has to pass `cowlab system check`.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;
use cowlab_driver::Settings;
use cowlab_testbed::{Media, Run};

use super::root::TestRoot;
use super::traces::{self, Traces};
use super::{Driver, Findings, on_file_system, say, stop_if_asked};

/// The size of a file system, in bytes, for a hundred full copies of the image; it is sparse.
const SPACE: u64 = 2 << 30;
/// How many processes are at work at a time.
const AT_A_TIME: usize = 10;
/// How long monitors that remove their containers, and the kernel that removes their cgroups, may take.
const PATIENCE: Duration = Duration::from_secs(60);

const IMAGE: &str = "hundred:1";
/// The program in the image; it takes a number of seconds.
const PROGRAM: &str = "/bin/sleep";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The driver; by default each that runs on any host.
    #[arg(long)]
    driver: Option<Driver>,
    /// How many containers there are at once.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    count: usize,
    /// Have something leak.
    #[arg(long, value_enum)]
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// One container is not removed: a mount, a cgroup, processes and files stay.
    Container,
    /// One file of a container that was removed stays.
    File,
    /// A cgroup of a container that was removed stays.
    Cgroup,
}

/// Proves the claim.
pub(super) fn prove(args: &Args, run: &Run, findings: &mut Findings) -> anyhow::Result<()> {
    let drivers = match args.driver {
        Some(driver) => vec![driver],
        None => Driver::all(),
    };
    for driver in drivers {
        stop_if_asked()?;
        on_file_system(run, driver.backing(), Media::Disk, SPACE, |place| {
            let root = TestRoot::new(run, place.join("root"), driver.name(), Settings::new())?;
            let proved = on_root(args, &root, findings);
            // Whatever is left would keep the file system in use.
            let removed = root.remove_all();
            let killed = root.kill_all();
            proved?;
            removed?;
            killed
        })?;
    }
    Ok(())
}

fn on_root(args: &Args, root: &TestRoot, findings: &mut Findings) -> anyhow::Result<()> {
    // What the first container of a root makes for all of them is no leak.
    root.ok(&["import", &root.place("tree.tar"), IMAGE])?;
    root.ok(&["run", "--rm", IMAGE, PROGRAM, "0"])?;
    let before = Traces::take(&root.dir, &[])?;
    let began = Instant::now();
    let names: Vec<_> = (0..args.count)
        .map(|number| format!("box-{number}"))
        .collect();
    let ids = Mutex::new(Vec::new());
    in_parallel(&names, |number, name| {
        let mut words = vec!["run", "-d", "--name", name];
        words.extend((number % 2 == 0).then_some("--rm"));
        words.extend([IMAGE, PROGRAM, "100000"]);
        let id = root.ok(&words)?;
        ids.lock()
            .expect("no thread panics")
            .push(id.trim().to_owned());
        Ok(())
    })?;
    let started = began.elapsed();
    let ids = ids.into_inner().expect("no thread panics");
    let running = root.ok(&["ps", "-q"])?.lines().count();
    if running != args.count {
        findings.add(format_args!("{running} of {} containers run", args.count));
    }
    let during = Traces::take(&root.dir, &ids)?;
    let kept = (args.fault == Some(Fault::Container)).then(|| args.count - 1);
    in_parallel(&names, |number, name| {
        if Some(number) == kept {
            return Ok(());
        }
        let removed = match number % 2 {
            0 => root.ok(&["kill", name]),
            _ => root.ok(&["rm", "-f", name]),
        };
        removed.map(drop)
    })?;
    wait_until_gone(root, usize::from(kept.is_some()))?;
    let plant = plant(args.fault, root, &ids)?;
    let after = settled(&before, || Traces::take(&root.dir, &ids))?;
    for difference in before.differences(&after) {
        findings.add(format_args!("{}: {difference}", root.driver));
    }
    if let Some(plant) = plant {
        fs::remove_dir(plant)?;
    }
    if let Err(error) = root.ok(&["system", "check"]) {
        findings.add(format_args!("{}: the check found: {error:#}", root.driver));
    }
    say(format_args!(
        "{}: {} containers at once, started in {:.1} s, all in {:.1} s; {} more while they ran, {} afterwards",
        root.driver,
        running,
        started.as_secs_f64(),
        began.elapsed().as_secs_f64(),
        during.beyond(&before),
        after.beyond(&before),
    ))
}

/// Waits until monitors have removed what they remove; `left` containers stay.
fn wait_until_gone(root: &TestRoot, left: usize) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    while root.ok(&["ps", "-a", "-q"])?.lines().count() > left && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Plants what the traces have to show; returns a directory to take back.
fn plant(fault: Option<Fault>, root: &TestRoot, ids: &[String]) -> anyhow::Result<Option<PathBuf>> {
    let id = ids.first().context("no container was started")?;
    Ok(match fault {
        Some(Fault::File) => Some(traces::plant_directory(&root.dir, id)?),
        Some(Fault::Cgroup) => Some(traces::plant_cgroup(id)?),
        Some(Fault::Container) | None => None,
    })
}

/// Does something with each name, a few at a time; all that can be done is.
fn in_parallel(
    names: &[String],
    work: impl Fn(usize, &str) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for lane in 0..AT_A_TIME {
            let (work, failed) = (&work, &failed);
            scope.spawn(move || {
                for (number, name) in names.iter().enumerate().skip(lane).step_by(AT_A_TIME) {
                    if let Err(error) = work(number, name) {
                        let mut failed = failed.lock().expect("no thread panics");
                        failed.push(format!("{name}: {error:#}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no thread panics");
    match failed.first() {
        None => Ok(()),
        Some(first) => bail!(
            "{} of {} commands failed, such as {first}",
            failed.len(),
            names.len()
        ),
    }
}

/// Looks until what was there before is all that is there: monitors end a moment after their containers.
fn settled(before: &Traces, look: impl Fn() -> anyhow::Result<Traces>) -> anyhow::Result<Traces> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let now = look()?;
        if before.differences(&now).is_empty() || Instant::now() > until {
            return Ok(now);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
