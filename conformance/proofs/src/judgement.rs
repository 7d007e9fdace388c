//! Whether a command may have turned what a root showed into what it shows now, however the command ended.
//!
//! Every object is as it was before the command or as the command leaves it: after a success the one, after an error the other, and
//! either where the command was cut off; never something else, and never half. What passes through further states is listed here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use crate::listing::{Container, Listing, Snapshot};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With exit code 0.
    Done,
    /// With another one.
    Refused,
    /// By SIGKILL.
    Killed,
    /// With everything else that worked on the root, by SIGKILL or by a power cut.
    Rebooted,
}

/// A command, with what the root showed before it, what it would show if the command had succeeded, and what it shows.
pub(crate) struct Judgement<'a> {
    /// Empty where it was no command of `cowlab`.
    pub(crate) words: &'a [String],
    pub(crate) outcome: Outcome,
    pub(crate) before: &'a Listing,
    pub(crate) done: &'a Listing,
    pub(crate) found: &'a Listing,
}

impl Judgement<'_> {
    /// What should not be.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let [before, done] = [self.before, self.done].map(judged);
        let mut found = judged(self.found);
        complete(&mut found.volumes, &before.volumes, &done.volumes, |held| {
            held == "nothing"
        });
        complete(
            &mut found.snapshots,
            &before.snapshots,
            &done.snapshots,
            Snapshot::is_empty_volume,
        );
        let all = [&before, &done, &found];
        let mut wrong = Vec::new();
        self.compare("image", all.map(|one| &one.names), debug, &mut wrong);
        let images = all.map(|one| one.images.iter().map(|id| (id.clone(), ())).collect());
        self.compare("image", images.each_ref(), debug, &mut wrong);
        self.compare("volume", all.map(|one| &one.volumes), debug, &mut wrong);
        let snapshots = all.map(|one| &one.snapshots);
        self.compare("snapshot", snapshots, Snapshot::tell, &mut wrong);
        self.compare_containers(&mut wrong);
        wrong
    }

    /// Compares objects that have no states of their own.
    fn compare<T: PartialEq>(
        &self,
        what: &str,
        all: [&BTreeMap<String, T>; 3],
        tell: fn(Option<&T>, Option<&T>) -> String,
        wrong: &mut Vec<String>,
    ) {
        for name in keys(all) {
            let [old, new, now] = all.map(|one| one.get(name));
            if !self.is_legal(old, new, now) {
                wrong.push(format!(
                    "{what} `{name}` is {}; it was {} and would be {}",
                    tell(now, new.or(old)),
                    tell(old, None),
                    tell(new, None)
                ));
            }
        }
    }

    fn is_legal<T: PartialEq>(&self, old: T, new: T, now: T) -> bool {
        match self.outcome {
            Outcome::Done => now == new,
            Outcome::Refused => now == old,
            Outcome::Killed | Outcome::Rebooted => now == old || now == new,
        }
    }

    fn compare_containers(&self, wrong: &mut Vec<String>) {
        let all = [self.before, self.done, self.found].map(|one| &one.containers);
        for id in keys(all) {
            let [old, new, now] = all.map(|one| one.get(id));
            let is_legal = match (self.outcome, now) {
                (Outcome::Killed | Outcome::Rebooted, Some(now)) => {
                    self.is_on_its_way(old, new, now)
                }
                _ => self.is_legal(old, new, now),
            };
            if !is_legal {
                wrong.push(format!(
                    "container {id} is {now:?}; it was {old:?} and would be {new:?}"
                ));
            }
        }
    }

    /// Whether a container may be so where the command was cut off.
    fn is_on_its_way(
        &self,
        old: Option<&Container>,
        new: Option<&Container>,
        now: &Container,
    ) -> bool {
        if self.outcome == Outcome::Rebooted && now.is_alive() {
            return false;
        }
        let Some(old) = old else {
            return new.is_some() || self.passing() == Some(&now.name);
        };
        let ends = [Some(old), new];
        let mut ends = ends.iter().flatten();
        let mut states: Vec<_> = ends.clone().map(|one| one.state.as_str()).collect();
        if self.outcome == Outcome::Rebooted && ends.clone().any(|one| one.is_alive()) {
            states.push("dead");
        }
        if self.words.first().is_some_and(|verb| verb == "restart") {
            states.push("exited");
        }
        if new.is_none() {
            states.push("removing");
            if old.is_alive() {
                states.extend(["exited", "dead"]);
            }
        }
        states.contains(&now.state.as_str())
            && ends.clone().any(|one| one.is_same(now))
            && (now.is_half() || ends.any(|one| one.text == now.text))
    }

    /// The name of the container that is there only while the command runs.
    fn passing(&self) -> Option<&String> {
        let mut words = self.words.iter();
        words.clone().find(|word| *word == "--rm")?;
        words.find(|word| *word == "--name")?;
        words.next()
    }
}

/// What is judged: a container's snapshot is its own business, and what nobody names any more is looked for at the end.
fn judged(listing: &Listing) -> Listing {
    let mut judged = listing.clone();
    judged
        .snapshots
        .retain(|key, one| !one.is_active() || !key.contains("container"));
    judged
}

/// A volume is there a moment before its seed, and before the marker that the proof leaves in it.
fn complete<T: Clone>(
    found: &mut BTreeMap<String, T>,
    before: &BTreeMap<String, T>,
    done: &BTreeMap<String, T>,
    is_empty: impl Fn(&T) -> bool,
) {
    for (name, held) in found {
        if let Some(complete) = done.get(name)
            && is_empty(held)
            && !before.contains_key(name)
        {
            held.clone_from(complete);
        }
    }
}

fn keys<T>(all: [&BTreeMap<String, T>; 3]) -> BTreeSet<&String> {
    all.into_iter().flat_map(BTreeMap::keys).collect()
}

fn debug<T: Debug>(one: Option<&T>, _: Option<&T>) -> String {
    format!("{one:?}")
}
