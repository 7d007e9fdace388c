//! What proofs do on a root: prepare it, run commands on it, mark its volumes, remove everything.

use std::fs::{self, File};
use std::time::Duration;

use anyhow::{Context, bail};
use cowlab_sys::durability;
use cowlab_sys::task::{self, Task};

use crate::commands::Plan;
use crate::judgement::Outcome;
use crate::listing::Listing;
use crate::root::{FILE, KILL, LASTING, TestRoot};
use crate::traces::Traces;

/// The longest that a command may take that nobody kills.
const LONGEST: Duration = Duration::from_secs(120);

impl TestRoot {
    /// The words of a command.
    pub(crate) fn words(&self, plan: &Plan) -> Vec<String> {
        let place = |name: &str| self.place(name);
        let mut words = Vec::new();
        for word in plan.words().split(' ') {
            let word = match word {
                "{image}" => plan.image.to_owned(),
                "{other}" => plan.other.to_owned(),
                "{name}" => plan.name.to_owned(),
                "{volume}" => plan.volume.to_owned(),
                "{tar}" => place("tree.tar"),
                "{archive}" => place(plan.image),
                "{file}" => place("file"),
                "{context}" => place("context"),
                "{out}" => place("out"),
                // Whole or not at all.
                "{write}" => format!("echo -n {} >/next && mv /next {FILE}", plan.text),
                "{lasting}" => {
                    words.extend(LASTING.map(str::to_owned));
                    continue;
                }
                word => word
                    .replace("{image}", plan.image)
                    .replace("{name}", plan.name)
                    .replace("{volume}", plan.volume),
            };
            words.push(word);
        }
        words
    }

    /// Runs a command; kills it after `moment`, and with `reboot` everything that works on the root. Returns what it printed.
    pub(crate) fn run(
        &self,
        plan: &Plan,
        moment: Option<Duration>,
        reboot: bool,
    ) -> anyhow::Result<(Outcome, String)> {
        self.clear_output()?;
        self.write_input(&plan.text)?;
        let words = self.words(plan);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let printed = self.scratch.join("printed");
        let output = File::create(&printed)?;
        let pid = self
            .command(&words)?
            .detach(File::open("/dev/null")?, output)?;
        let task = Task::open(pid)?.context("a child that was not waited for is gone")?;
        let ended = task.ends_within(moment.unwrap_or(LONGEST))?;
        if reboot {
            self.kill_all()?;
        } else if !ended {
            task.signal(KILL)?;
        }
        let status = task::wait(pid)?;
        let printed = fs::read_to_string(&printed).unwrap_or_default();
        if !ended && moment.is_none() {
            bail!(
                "`{}` took longer than {LONGEST:?}: {printed}",
                words.join(" ")
            );
        }
        let outcome = match status {
            _ if reboot => Outcome::Rebooted,
            137 if !ended => Outcome::Killed,
            0 => Outcome::Done,
            _ => Outcome::Refused,
        };
        Ok((outcome, printed))
    }

    /// Leaves a marker in each volume that has none yet and, where its content was looked at, is empty: what is flushed for a
    /// marker would flush a seed as well. Returns whether there was one.
    pub(crate) fn mark_volumes(&self, listing: &mut Listing) -> anyhow::Result<bool> {
        let is_seeded = |name: &String| {
            let content = listing.volume(name);
            content.is_some_and(|content| !content.is_empty_volume())
        };
        let unmarked = listing
            .volumes
            .iter()
            .filter(|(_, held)| *held == "nothing");
        let unmarked = unmarked
            .map(|(name, _)| name.clone())
            .filter(|name| !is_seeded(name));
        let unmarked: Vec<_> = unmarked.collect();
        for name in &unmarked {
            let (held, place) = (format!("marker of {name}"), self.volume(name));
            fs::write(place.join("marker"), &held)?;
            durability::fsync(place.join("marker"))?;
            durability::fsync_dir(place)?;
            listing.volumes.insert(name.clone(), held);
        }
        Ok(!unmarked.is_empty())
    }

    /// Makes the archives that commands load, and returns the traces of an empty root.
    pub(crate) fn prepare(&self) -> anyhow::Result<Traces> {
        self.ok(&["import", &self.place("tree.tar"), "one:1"])?;
        self.ok(&["run", "--name", "con-a", "one:1", "touch", "/second"])?;
        self.ok(&["commit", "con-a", "two:1"])?;
        for name in ["one:1", "two:1"] {
            self.ok(&["save", "-o", &self.place(name), name])?;
        }
        self.ok(&["rm", "con-a"])?;
        for name in ["one:1", "two:1"] {
            self.ok(&["rmi", name])?;
        }
        self.ok(&["volume", "prune", "-f"])?;
        self.ok(&["system", "prune", "-f"])?;
        Listing::of(self)?;
        Traces::take(&self.dir, &[])
    }

    /// Removes everything by name, as people do, and returns what went wrong.
    pub(crate) fn remove_all(&self) -> anyhow::Result<Vec<String>> {
        let mut wrong = Vec::new();
        let mut run = |words: &[&str]| {
            if let Err(error) = self.ok(words) {
                wrong.push(format!("{error:#}"));
            }
        };
        let listing = Listing::of(self)?;
        for one in listing.containers.values() {
            run(&["rm", "-f", "-v", &one.name]);
        }
        for name in listing.names.keys() {
            run(&["rmi", name]);
        }
        for name in listing.volumes.keys().filter(|name| name.len() < 64) {
            run(&["volume", "rm", name]);
        }
        run(&["volume", "prune", "-f"]);
        run(&["system", "prune", "-f"]);
        let left = Listing::of(self)?;
        if left != Listing::default() {
            wrong.push(format!("not removed: {left:?}"));
        }
        Ok(wrong)
    }
}
