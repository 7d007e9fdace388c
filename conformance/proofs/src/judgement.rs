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

    fn is_legal<T: PartialEq + Copy>(&self, old: T, new: T, now: T) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn container(state: &str, text: &str) -> Container {
        Container {
            name: "con-a".to_owned(),
            state: state.to_owned(),
            text: Some(text.to_owned()),
            ..Container::default()
        }
    }

    fn listing(container: Option<Container>) -> Listing {
        let containers = container.map(|one| ("id".to_owned(), one));
        Listing {
            containers: containers.into_iter().collect(),
            ..Listing::default()
        }
    }

    /// Whether `found` may be left of a command that turns `before` into `done`.
    fn may_be(line: &str, outcome: Outcome, [before, done, found]: [Option<Container>; 3]) -> bool {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        let [before, done, found] = [before, done, found].map(listing);
        let judgement = Judgement {
            words: &words,
            outcome,
            before: &before,
            done: &done,
            found: &found,
        };
        judgement.wrong().is_empty()
    }

    #[test]
    fn a_container_is_as_before_or_as_the_command_leaves_it() {
        use Outcome::{Done, Killed, Rebooted, Refused};
        let is = |state| Some(container(state, "old"));
        let holds = |text| Some(container("running", text));
        let stop = [is("running"), is("exited")];
        let make = [None, is("running")];
        let remove = [is("running"), None];
        let write = [holds("old"), holds("new")];
        for (line, outcome, [before, done], found, expected) in [
            ("stop", Done, stop.clone(), is("exited"), true),
            ("stop", Done, stop.clone(), is("running"), false),
            ("stop", Refused, stop.clone(), is("running"), true),
            ("stop", Refused, stop.clone(), is("exited"), false),
            ("stop", Killed, stop.clone(), is("running"), true),
            ("stop", Killed, stop.clone(), is("dead"), false),
            ("stop", Killed, stop.clone(), None, false),
            ("stop", Rebooted, stop.clone(), is("dead"), true),
            ("stop", Rebooted, stop, is("running"), false),
            ("run", Killed, make.clone(), is("creating"), true),
            ("run", Killed, make.clone(), None, true),
            ("run", Done, make, None, false),
            ("rm", Killed, remove.clone(), is("removing"), true),
            ("rm", Rebooted, remove.clone(), None, true),
            ("rm", Refused, remove, None, false),
            ("exec", Killed, write.clone(), holds("new"), true),
            ("exec", Killed, write.clone(), holds("half"), false),
            ("exec", Done, write, holds("old"), false),
        ] {
            assert_eq!(
                may_be(line, outcome, [before, done, found.clone()]),
                expected,
                "{line} {outcome:?} {found:?}"
            );
        }
    }

    #[test]
    fn a_container_that_passes_may_be_left_where_its_command_was_cut_off() {
        let left = [None, None, Some(container("exited", ""))];
        let line = "run --rm --name con-a image";
        assert!(may_be(line, Outcome::Killed, left.clone()));
        assert!(!may_be(line, Outcome::Done, left.clone()));
        assert!(!may_be(
            "run --rm --name con-b image",
            Outcome::Killed,
            left
        ));
    }

    #[test]
    fn a_name_is_as_before_or_as_the_command_leaves_it_and_nothing_is_new() {
        let named = |id: &str| Listing {
            names: [("one:1".to_owned(), id.to_owned())].into(),
            ..Listing::default()
        };
        let wrong = |outcome, found: &Listing| {
            let judgement = Judgement {
                words: &[],
                outcome,
                before: &named("old"),
                done: &named("new"),
                found,
            };
            judgement.wrong().len()
        };
        assert_eq!(wrong(Outcome::Killed, &named("old")), 0);
        assert_eq!(wrong(Outcome::Killed, &named("new")), 0);
        assert_eq!(wrong(Outcome::Killed, &named("other")), 1);
        assert_eq!(wrong(Outcome::Done, &named("old")), 1);
        let volume = Listing {
            volumes: [("vol".to_owned(), "nothing".to_owned())].into(),
            ..named("new")
        };
        assert_eq!(wrong(Outcome::Killed, &volume), 1);
    }
}
