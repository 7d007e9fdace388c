//! Commands about images, containers and volumes are killed at random moments, and nothing is half done or left.
//!
//! A seeded generator picks a command, its objects and the moment of its death, within what it takes when nobody kills it. Now
//! and then everything that works on the root is killed at once, as by a reboot: the records then name processes of another
//! boot, or other processes have their numbers. After every turn the root is looked at with the ordinary commands, which have to
//! agree, and compared with what it showed before: what a command is not about is as it was, what was done is so, what was cut
//! off has happened or has not. `cowlab system check` finds a sound store all the while. At the end everything is removed by
//! name, and what there is of mounts, loop devices, cgroups, processes and files is what an empty root has.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use cowlab_driver::Settings;
use cowlab_random::Random;
use cowlab_testbed::{Media, Run};

use super::traces::{self, Traces};
use super::{Driver, Findings, on_file_system, say, stop_if_asked};
use crate::commands::{Plan, VERBS};
use crate::judgement::{Judgement, Outcome};
use crate::listing::Listing;
use crate::root::TestRoot;

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
    on_file_system(run, args.driver.backing(), Media::Disk, SPACE, |place| {
        let dir = place.join("root");
        let root = TestRoot::new(run, dir, args.driver.name(), Settings::new())?;
        let proved = Proof::begin(args, &root).and_then(|mut proof| proof.go(findings));
        // Whatever is left would keep the file system in use.
        let killed = root.kill_all();
        proved?;
        killed
    })
}

/// A proof with what it has seen.
struct Proof<'a> {
    args: &'a Args,
    root: &'a TestRoot,
    random: Random,
    /// What the root showed last.
    seen: Listing,
    /// How long each command takes that nobody kills.
    usual: Vec<Duration>,
    /// The traces of an empty root.
    empty: Traces,
    /// Every container that there was.
    ids: Vec<String>,
    outcomes: BTreeMap<&'static str, usize>,
}

impl<'a> Proof<'a> {
    fn begin(args: &'a Args, root: &'a TestRoot) -> anyhow::Result<Self> {
        Ok(Self {
            args,
            root,
            random: Random::new(args.seed),
            empty: root.prepare()?,
            seen: Listing::of(root)?,
            usual: Vec::new(),
            ids: Vec::new(),
            outcomes: BTreeMap::new(),
        })
    }

    fn go(&mut self, findings: &mut Findings) -> anyhow::Result<()> {
        let began = Instant::now();
        for verb in 0..VERBS.len() {
            let plan = Plan::first(verb);
            let began = Instant::now();
            let (outcome, printed) = self.root.run(&plan, None, false)?;
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
        for wrong in self.root.remove_all()? {
            findings.add(format_args!("at the end: {wrong}; {}", self.again()));
        }
        self.compare_with_empty(findings)?;
        let count = |outcome| self.outcomes.get(outcome).copied().unwrap_or_default();
        say(format_args!(
            "{}: {} commands with seed {} in {:.0} s: {} killed, {} with all others as by a reboot, {} done, {} refused; {} containers",
            self.root.driver,
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
        let (outcome, printed) = self.root.run(plan, Some(moment), reboot)?;
        if reboot {
            self.root.forget_boot(by_boot)?;
        }
        let word = match outcome {
            Outcome::Done => "done",
            Outcome::Refused => "refused",
            Outcome::Killed => "killed",
            Outcome::Rebooted => "rebooted",
        };
        *self.outcomes.entry(word).or_default() += 1;
        tracing::info!(command = self.root.words(plan).join(" "), ?moment, word);
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
        for id in self.root.ids()? {
            if !self.ids.contains(&id) {
                self.ids.push(id);
            }
        }
        let settled = self.root.settle();
        let settled = settled.and_then(|()| self.root.end_transactions());
        let mut after = match settled.and_then(|()| Listing::of(self.root)) {
            Ok(after) => after,
            Err(error) => {
                findings.add(self.told(turn, plan, outcome, printed, &format!("{error:#}")));
                return Ok(());
            }
        };
        let judgement = Judgement {
            words: &self.root.words(plan),
            outcome,
            before: &self.seen,
            done: &plan.done(&self.seen, &after),
            found: &after,
        };
        let mut wrong = judgement.wrong();
        if outcome == Outcome::Refused && plan.can_be_done(&self.seen) {
            wrong.push("the command was refused".to_owned());
        }
        for wrong in wrong {
            findings.add(self.told(turn, plan, outcome, printed, &wrong));
        }
        self.root.mark_volumes(&mut after)?;
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
            self.root.driver,
            self.root.words(plan).join(" "),
            printed.trim(),
            self.again(),
        )
    }

    fn again(&self) -> String {
        format!(
            "again: cargo xtask prove killed-commands --driver {} --kills {} --seed {}",
            self.root.driver, self.args.kills, self.args.seed
        )
    }

    fn check(&self, turn: usize, findings: &mut Findings) {
        if let Err(error) = self.root.ok(&["system", "check"]) {
            findings.add(format_args!(
                "check after turn {turn}: {error:#}; {}",
                self.again()
            ));
        }
    }

    /// Compares what there is of traces with those of an empty root.
    fn compare_with_empty(&self, findings: &mut Findings) -> anyhow::Result<()> {
        let plant = self.plant_rest()?;
        let until = Instant::now() + PATIENCE;
        let mut differences;
        loop {
            differences = self.root.differences(&self.empty, &self.ids)?;
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

    /// Plants the loss that the judgement has to show.
    fn plant_loss(&self) -> anyhow::Result<()> {
        if self.args.fault != Some(Fault::Marker) {
            return Ok(());
        }
        for name in self.seen.volumes.keys() {
            fs::remove_file(self.root.volume(name).join("marker"))?;
        }
        Ok(())
    }

    /// Plants what the traces have to show; returns a directory to take back.
    fn plant_rest(&self) -> anyhow::Result<Option<PathBuf>> {
        let id = self.ids.first().context("there was no container")?;
        Ok(match self.args.fault {
            Some(Fault::Directory) => Some(traces::plant_directory(&self.root.dir, id)?),
            Some(Fault::Cgroup) => Some(traces::plant_cgroup(id)?),
            Some(Fault::Marker) | None => None,
        })
    }
}
