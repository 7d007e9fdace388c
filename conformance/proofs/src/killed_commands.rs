//! Commands about images, containers and volumes are killed at random moments, and nothing is half done or left.
//!
//! A seeded generator picks a command, its objects and the moment of its death, within what it takes when nobody kills it. Now
//! and then everything that works on the root is killed at once, as by a reboot: the records then name processes of another
//! boot, or other processes have their numbers. After every turn the root is looked at with the ordinary commands, which have to
//! agree, and compared with what it showed before: what a command is not about is as it was, what was done is so, what was cut
//! off has happened or has not. `cowlab system check` finds a sound store all the while. At the end everything is removed by
//! name, and what there is of mounts, loop devices, cgroups, processes and files is what an empty root has.

pub(super) mod ledger;
pub(super) mod stand;
pub(super) mod verbs;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use cowlab_conformance::product;
use cowlab_driver::Settings;
use cowlab_testbed::{Media, Run};

use super::random::Random;
use super::traces::{self, Traces};
use super::{Driver, Findings, on_file_system, say, stop_if_asked};
use ledger::{Outcome, Seen, Turn};
use stand::Stand;
use verbs::{Plan, VERBS};

/// The size of a file system, in bytes; it is sparse.
const SPACE: u64 = 2 << 30;
/// After so many turns, on average, there is a reboot.
const REBOOT: usize = 6;
/// After so many turns the store is checked.
const CHECK: usize = 10;
/// How long the kernel may take to remove what nobody uses any more.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The driver below the root.
    #[arg(long, default_value_t = Driver::usual())]
    driver: Driver,
    /// How many commands there are, of which most are killed.
    #[arg(long, value_name = "COUNT", default_value_t = 60)]
    kills: usize,
    /// What decides on the commands and the moments.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Have something get lost or stay.
    #[arg(long, value_enum)]
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// The marker of a volume is taken away behind the commands' backs.
    Marker,
    /// The directory of a container stays that was removed.
    Directory,
    /// The cgroup of a container stays that was removed.
    Cgroup,
}

/// Proves the claim.
pub(super) fn prove(args: &Args, run: &Run, findings: &mut Findings) -> anyhow::Result<()> {
    let scratch = run.scratch("in-and-out")?;
    // A difference of the suite is no error of the standard library's.
    let files = product::base_tar().map_err(|difference| anyhow!("{difference}"))?;
    fs::write(scratch.join("tree.tar"), files)?;
    on_file_system(run, args.driver.backing(), Media::Disk, SPACE, |place| {
        let stand = Stand {
            root: place.join("root"),
            scratch,
            driver: args.driver.name(),
            settings: Settings::new(),
            fault: None,
        };
        let proved = Proof::begin(args, &stand).and_then(|mut proof| proof.go(findings));
        // Whatever is left would keep the file system in use.
        let killed = stand.kill_all();
        proved?;
        killed
    })
}

/// A proof with what it has seen.
struct Proof<'a> {
    args: &'a Args,
    stand: &'a Stand,
    random: Random,
    /// What the root showed last.
    seen: Seen,
    /// How long each command takes that nobody kills.
    usual: Vec<Duration>,
    /// The traces of an empty root.
    empty: Traces,
    /// Every container that there was.
    ids: Vec<String>,
    outcomes: BTreeMap<&'static str, usize>,
}

impl<'a> Proof<'a> {
    /// Makes the archives, and lists what an empty root has.
    fn begin(args: &'a Args, stand: &'a Stand) -> anyhow::Result<Self> {
        let tar = stand.scratch.join("tree.tar").display().to_string();
        let archive = |name: &str| stand.scratch.join(name).display().to_string();
        stand.ok(&["import", &tar, "one:1"])?;
        stand.ok(&["run", "--name", "con-a", "one:1", "touch", "/second"])?;
        stand.ok(&["commit", "con-a", "two:1"])?;
        for name in ["one:1", "two:1"] {
            stand.ok(&["save", "-o", &archive(name), name])?;
        }
        stand.ok(&["rm", "con-a"])?;
        stand.ok(&["rmi", "one:1"])?;
        stand.ok(&["rmi", "two:1"])?;
        Ok(Self {
            args,
            stand,
            random: Random(args.seed),
            seen: stand.look()?,
            usual: Vec::new(),
            empty: Traces::take(&stand.root, &[])?,
            ids: Vec::new(),
            outcomes: BTreeMap::new(),
        })
    }

    fn go(&mut self, findings: &mut Findings) -> anyhow::Result<()> {
        let began = Instant::now();
        for verb in 0..VERBS.len() {
            let plan = Plan::first(verb);
            let began = Instant::now();
            let (outcome, printed) = self.stand.run(&plan, None, false)?;
            self.usual.push(began.elapsed());
            self.look(0, &plan, outcome, &printed, findings)?;
        }
        let mut reboots = 0;
        for turn in 1..=self.args.kills {
            stop_if_asked()?;
            if !findings.are_none() {
                break;
            }
            let plan = Plan::draw(&mut self.random, turn, &self.seen);
            let reboot = self.random.below(REBOOT) == 0;
            let (outcome, printed) = self.turn(&plan, reboot)?;
            reboots += usize::from(reboot);
            self.look(turn, &plan, outcome, &printed, findings)?;
            if turn % CHECK == 0 {
                self.check(turn, findings);
            }
            if turn >= self.args.kills / 2 {
                self.plant_loss()?;
            }
        }
        self.check(self.args.kills, findings);
        self.remove_all(findings)?;
        self.compare_with_empty(findings)?;
        let count = |outcome| self.outcomes.get(outcome).copied().unwrap_or_default();
        say(format_args!(
            "{}: {} commands with seed {} in {:.0} s: {} killed, {} with all others as by a reboot, {} done, {} refused; {} containers",
            self.stand.driver,
            self.args.kills,
            self.args.seed,
            began.elapsed().as_secs_f64(),
            count("killed"),
            reboots,
            count("done"),
            count("refused"),
            self.ids.len(),
        ))
    }

    /// Runs one command and kills it, or lets it end.
    fn turn(&mut self, plan: &Plan, reboot: bool) -> anyhow::Result<(Outcome, String)> {
        let usual = self.usual.get(plan.verb).copied().unwrap_or_default();
        // A quarter beyond what it takes: now and then it ends.
        let most = usize::try_from(usual.as_micros())? * 5 / 4;
        let moment = Duration::from_micros(self.random.below(most).try_into()?);
        let by_boot = self.random.below(2) == 0;
        let (outcome, printed) = self.stand.run(plan, Some(moment), reboot)?;
        if reboot {
            self.stand.forget_boot(by_boot)?;
        }
        let word = match outcome {
            Outcome::Done => "done",
            Outcome::Refused => "refused",
            Outcome::Killed => "killed",
            Outcome::Rebooted => "rebooted",
        };
        *self.outcomes.entry(word).or_default() += 1;
        tracing::info!(command = self.stand.words(plan).join(" "), ?moment, word);
        Ok((outcome, printed))
    }

    /// Looks at the root, and compares it with what it showed before.
    fn look(
        &mut self,
        turn: usize,
        plan: &Plan,
        outcome: Outcome,
        printed: &str,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        for id in self.stand.ids()? {
            if !self.ids.contains(&id) {
                self.ids.push(id);
            }
        }
        let settled = self.stand.settle();
        let settled = settled.and_then(|()| self.stand.end_transactions());
        let looked = settled.and_then(|()| self.stand.look());
        let mut after = match looked {
            Ok(after) => after,
            Err(error) => {
                findings.add(self.told(turn, plan, outcome, printed, &format!("{error:#}")));
                return Ok(());
            }
        };
        let judged = Turn {
            plan,
            outcome,
            before: &self.seen,
            after: &after,
        };
        for wrong in judged.judge() {
            findings.add(self.told(turn, plan, outcome, printed, &wrong));
        }
        self.stand.mark_volumes(&mut after)?;
        self.seen = after;
        Ok(())
    }

    fn told(
        &self,
        turn: usize,
        plan: &Plan,
        outcome: Outcome,
        printed: &str,
        wrong: &str,
    ) -> String {
        format!(
            "{}, turn {turn}, `{}` ({outcome:?}): {wrong}; it printed `{}`; {}",
            self.stand.driver,
            self.stand.words(plan).join(" "),
            printed.trim(),
            self.again(),
        )
    }

    fn again(&self) -> String {
        format!(
            "again: cargo xtask prove killed-commands --driver {} --kills {} --seed {}",
            self.stand.driver, self.args.kills, self.args.seed
        )
    }

    fn check(&self, turn: usize, findings: &mut Findings) {
        if let Err(error) = self.stand.ok(&["system", "check"]) {
            findings.add(format_args!(
                "check after turn {turn}: {error:#}; {}",
                self.again()
            ));
        }
    }

    /// Removes everything by name, as people do.
    fn remove_all(&self, findings: &mut Findings) -> anyhow::Result<()> {
        let remove = |words: &[&str], findings: &mut Findings| {
            if let Err(error) = self.stand.ok(words) {
                findings.add(format_args!("at the end: {error:#}; {}", self.again()));
            }
        };
        let seen = &self.seen;
        for one in seen.containers.values() {
            remove(&["rm", "-f", "-v", &one.name], findings);
        }
        for name in seen.names.keys() {
            remove(&["rmi", name], findings);
        }
        for name in seen.volumes.keys().filter(|name| name.len() < 64) {
            remove(&["volume", "rm", name], findings);
        }
        remove(&["volume", "prune", "-f"], findings);
        remove(&["system", "prune", "-f"], findings);
        let left = self.stand.look()?;
        if left != Seen::default() {
            findings.add(format_args!("not removed: {left:?}; {}", self.again()));
        }
        Ok(())
    }

    /// Compares what there is of traces with those of an empty root.
    fn compare_with_empty(&self, findings: &mut Findings) -> anyhow::Result<()> {
        let plant = self.plant_rest()?;
        let until = Instant::now() + PATIENCE;
        let locks = format!("{}/", self.stand.root.join("locks").display());
        let mut differences;
        loop {
            let after = Traces::take(&self.stand.root, &self.ids)?;
            differences = self.empty.differences(&after);
            // Lock files of layers stay, a fixed number.
            differences.retain(|line| !line.contains(&locks));
            if differences.is_empty() || Instant::now() > until {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        for difference in differences {
            findings.add(format_args!("at the end: {difference}; {}", self.again()));
        }
        if let Some(plant) = plant {
            fs::remove_dir(plant)?;
        }
        Ok(())
    }

    /// Plants the loss that the ledger has to show.
    fn plant_loss(&self) -> anyhow::Result<()> {
        if self.args.fault != Some(Fault::Marker) {
            return Ok(());
        }
        let volumes = self.stand.root.join("volumes");
        for name in self.seen.volumes.keys() {
            fs::remove_file(volumes.join(name).join("_data/marker"))?;
        }
        Ok(())
    }

    /// Plants what the traces have to show; returns a directory to take back.
    fn plant_rest(&self) -> anyhow::Result<Option<PathBuf>> {
        let id = self.ids.first().context("there was no container")?;
        let dir = match self.args.fault {
            Some(Fault::Directory) => self.stand.root.join("containers").join(id),
            Some(Fault::Cgroup) => traces::some_cgroup()?.join(id),
            Some(Fault::Marker) | None => return Ok(None),
        };
        fs::create_dir(&dir)?;
        Ok(Some(dir))
    }
}
