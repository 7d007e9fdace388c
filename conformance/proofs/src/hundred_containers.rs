//! A hundred containers of one image at once: ten processes at a time start them, and remove them.
//!
//! Every other container is run with `--rm` and killed, so that its monitor removes it; the others are removed by `rm -f`. What
//! there is of mounts in any namespace, loop devices, cgroups, processes and files is listed before, and has to be the same
//! afterwards, entry by entry. The root has to pass `cowlab system check`.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use clap::ValueEnum;
use cowlab_conformance::product;
use cowlab_runtime::container::Containers;
use cowlab_runtime::{Root, RootOptions};
use cowlab_testbed::{Media, Run};

use super::traces::{self, Traces};
use super::{Driver, Findings, cowlab, on_file_system, say, stop_if_asked};

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
    let tar = run.scratch("image")?.join("tree.tar");
    // A difference of the suite is no error of the standard library's.
    let files = product::base_tar().map_err(|difference| anyhow!("{difference}"))?;
    fs::write(&tar, files).with_context(|| format!("write `{}`", tar.display()))?;
    let drivers = match args.driver {
        Some(driver) => vec![driver],
        None => Driver::all(),
    };
    for driver in drivers {
        stop_if_asked()?;
        on_file_system(run, driver.backing(), Media::Disk, SPACE, |place| {
            let stand = Stand::make(driver, place, &tar)?;
            let proved = stand.prove(args, findings);
            // Whatever is left would keep the file system in use.
            let cleared = stand.remove_all();
            proved?;
            cleared
        })?;
    }
    Ok(())
}

/// A root with the image.
struct Stand {
    driver: Driver,
    root: Root,
}

impl Stand {
    fn make(driver: Driver, place: &Path, tar: &Path) -> anyhow::Result<Self> {
        let root = Root::open(&RootOptions {
            dir: Some(place.join("root")),
            driver: Some(driver.name().to_owned()),
            ..RootOptions::default()
        })?;
        let name = IMAGE.parse()?;
        let mut archive = fs::File::open(tar)?;
        root.import(&mut archive, "(made)", Some(&name), "made for a proof")?;
        Ok(Self { driver, root })
    }

    fn cowlab(&self, verb: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let command = cowlab()?
            .args(verb.split(' '))
            .arg("--root")
            .arg(self.root.dir())
            .args(arguments);
        Ok(command.read()?)
    }

    fn prove(&self, args: &Args, findings: &mut Findings) -> anyhow::Result<()> {
        // What the first container of a root makes for all of them is no leak.
        self.cowlab("run", &["--rm", IMAGE, PROGRAM, "0"])?;
        let before = Traces::take(self.root.dir(), &[])?;
        let began = Instant::now();
        let names: Vec<_> = (0..args.count)
            .map(|number| format!("box-{number}"))
            .collect();
        let ids = Mutex::new(Vec::new());
        in_parallel(&names, |number, name| {
            let mut words = vec!["-d", "--name", name];
            words.extend((number % 2 == 0).then_some("--rm"));
            words.extend([IMAGE, PROGRAM, "100000"]);
            let id = self.cowlab("run", &words)?;
            ids.lock()
                .expect("no thread panics")
                .push(id.trim().to_owned());
            Ok(())
        })?;
        let started = began.elapsed();
        let ids = ids.into_inner().expect("no thread panics");
        let running = self.cowlab("ps", &["-q"])?.lines().count();
        if running != args.count {
            findings.add(format_args!("{running} of {} containers run", args.count));
        }
        let during = Traces::take(self.root.dir(), &ids)?;
        let kept = (args.fault == Some(Fault::Container)).then(|| args.count - 1);
        in_parallel(&names, |number, name| {
            if Some(number) == kept {
                return Ok(());
            }
            let words = if number % 2 == 0 {
                ("kill", vec![name])
            } else {
                ("rm", vec!["-f", name])
            };
            self.cowlab(words.0, &words.1).map(drop)
        })?;
        self.wait_until_gone(usize::from(kept.is_some()))?;
        let plant = self.plant(args.fault, &ids)?;
        let after = settled(&before, || Traces::take(self.root.dir(), &ids))?;
        for difference in before.differences(&after) {
            findings.add(format_args!("{}: {difference}", self.driver.name()));
        }
        if let Some(plant) = plant {
            fs::remove_dir(plant)?;
        }
        self.check(findings);
        say(format_args!(
            "{}: {} containers at once, started in {:.1} s, all in {:.1} s; {} more while they ran, {} afterwards",
            self.driver.name(),
            running,
            started.as_secs_f64(),
            began.elapsed().as_secs_f64(),
            during.beyond(&before),
            after.beyond(&before),
        ))
    }

    fn check(&self, findings: &mut Findings) {
        if let Err(error) = self.cowlab("system check", &[]) {
            let driver = self.driver.name();
            findings.add(format_args!("{driver}: the check found: {error:#}"));
        }
    }

    /// Waits until monitors have removed what they remove; `left` containers stay.
    fn wait_until_gone(&self, left: usize) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while Containers::open(&self.root)?.list()?.len() > left && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Plants what the traces have to show; returns a directory to take back.
    fn plant(
        &self,
        fault: Option<Fault>,
        ids: &[String],
    ) -> anyhow::Result<Option<std::path::PathBuf>> {
        let id = ids.first().context("no container was started")?;
        match fault {
            Some(Fault::File) => {
                let dir = self.root.dir().join("containers").join(id);
                fs::create_dir(&dir)?;
                Ok(Some(dir))
            }
            Some(Fault::Cgroup) => {
                let dir = traces::some_cgroup()?.join(id);
                fs::create_dir(&dir)?;
                Ok(Some(dir))
            }
            Some(Fault::Container) | None => Ok(None),
        }
    }

    fn remove_all(&self) -> anyhow::Result<()> {
        let containers = Containers::open(&self.root)?;
        for found in containers.list()? {
            self.cowlab("rm", &["-f", &found.record.name])?;
        }
        Ok(())
    }
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
