//! What a root shows, and whether a command may have turned what it showed before into what it shows now.

use std::collections::{BTreeMap, BTreeSet};

use super::verbs::{Effect, Plan};

/// What a root shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The ids of images by their names.
    pub(crate) names: BTreeMap<String, String>,
    /// The ids of images.
    pub(crate) images: BTreeSet<String>,
    /// The markers in volumes, by their names.
    pub(crate) volumes: BTreeMap<String, String>,
    /// Containers by their ids.
    pub(crate) containers: BTreeMap<String, OneContainer>,
}

/// What a root shows of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OneContainer {
    pub(crate) name: String,
    pub(crate) state: String,
    /// The id of its image.
    pub(crate) image: String,
    /// Whether it is removed when its program has ended; that of `run --rm` ends at once.
    pub(crate) is_removed_at_end: bool,
    /// Its volumes, named and anonymous.
    pub(crate) volumes: Vec<String>,
    /// What its file holds; nothing of one that is half made or half removed.
    pub(crate) text: Option<String>,
}

impl OneContainer {
    /// Whether it was cut off while it was made or removed: then only `rm` is promised.
    pub(crate) fn is_half(&self) -> bool {
        matches!(self.state.as_str(), "creating" | "removing")
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With exit code 0.
    Done,
    /// With another one.
    Refused,
    /// By SIGKILL.
    Killed,
    /// By SIGKILL, with everything else that worked on the root.
    Rebooted,
}

impl Outcome {
    /// Whether it may have gone on until anywhere.
    const fn is_cut(self) -> bool {
        matches!(self, Self::Killed | Self::Rebooted)
    }
}

/// A turn: what was shown before and after a command.
pub(crate) struct Turn<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) outcome: Outcome,
    pub(crate) before: &'a Seen,
    pub(crate) after: &'a Seen,
}

impl Turn<'_> {
    /// What should not be.
    pub(crate) fn judge(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        self.judge_names(&mut wrong);
        self.judge_images(&mut wrong);
        self.judge_volumes(&mut wrong);
        self.judge_others(&mut wrong);
        self.judge_container(&mut wrong);
        if self.outcome == Outcome::Refused && self.plan.can_be_done(self.before) {
            wrong.push("the command was refused".to_owned());
        }
        wrong
    }

    fn judge_names(&self, wrong: &mut Vec<String>) {
        let target = self.plan.image_name();
        let all = self.before.names.keys().chain(self.after.names.keys());
        for name in all.collect::<BTreeSet<_>>() {
            let (before, after) = (self.before.names.get(name), self.after.names.get(name));
            if before != after && (target != Some(name) || self.outcome == Outcome::Refused) {
                wrong.push(format!("image `{name}` was {before:?} and is {after:?}"));
            }
        }
        let is_named = target.map(|name| self.after.names.contains_key(name));
        let should = self.plan.effect() != Effect::Unnamed;
        if self.outcome == Outcome::Done && is_named == Some(!should) {
            wrong.push(format!(
                "the name of image `{target:?}` is there: {}",
                !should
            ));
        }
    }

    fn judge_images(&self, wrong: &mut Vec<String>) {
        let named: BTreeSet<_> = self.before.names.values().collect();
        for id in self.before.images.difference(&self.after.images) {
            let is_its = match self.plan.effect() {
                Effect::Unnamed => self.before.names.get(self.plan.image) == Some(id),
                Effect::Pruned => !named.contains(id),
                _ => false,
            };
            if !is_its || self.outcome == Outcome::Refused {
                wrong.push(format!("image {id} is gone"));
            }
        }
        let new: Vec<_> = self.after.images.difference(&self.before.images).collect();
        let makes = matches!(self.plan.effect(), Effect::Named | Effect::OtherNamed);
        if !new.is_empty() && (!makes || self.outcome == Outcome::Refused || new.len() > 1) {
            wrong.push(format!("images {new:?} are new"));
        }
    }

    fn judge_volumes(&self, wrong: &mut Vec<String>) {
        for (name, marker) in &self.before.volumes {
            let is_its = self.plan.effect() == Effect::VolumeGone && self.plan.touches_volume(name);
            match self.after.volumes.get(name) {
                Some(now) if now != marker => {
                    wrong.push(format!("volume `{name}` held `{marker}` and holds `{now}`"));
                }
                None if !is_its || self.outcome == Outcome::Refused => {
                    wrong.push(format!("volume `{name}` is gone"));
                }
                _ => {}
            }
        }
        let is_there = self.after.volumes.contains_key(self.plan.volume);
        let should = match self.plan.effect() {
            Effect::VolumeMade => true,
            Effect::VolumeGone => false,
            _ => is_there,
        };
        if self.outcome == Outcome::Done && is_there != should {
            wrong.push(format!(
                "volume `{}` is there: {is_there}",
                self.plan.volume
            ));
        }
    }

    /// The containers that the command is not about.
    fn judge_others(&self, wrong: &mut Vec<String>) {
        let others = |seen: &Seen| {
            let mut all = seen.containers.clone();
            all.retain(|_, one| !self.plan.is_about(&one.name));
            all
        };
        let (mut before, mut after) = (others(self.before), others(self.after));
        if self.plan.effect() == Effect::ContainersPruned && self.outcome != Outcome::Refused {
            let has_ended =
                |one: &OneContainer| ["created", "exited", "dead"].contains(&one.state.as_str());
            before.retain(|id, one| {
                let is_gone = match after.get(id) {
                    None => true,
                    Some(now) => self.outcome.is_cut() && now.state == "removing",
                };
                let is_pruned = has_ended(one) && (is_gone || self.outcome == Outcome::Done);
                if is_pruned && is_gone {
                    after.remove(id);
                }
                !is_pruned
            });
        }
        for one in before.values_mut() {
            one.state = self.rebooted(&one.state).to_owned();
        }
        let ids = before.keys().chain(after.keys());
        for id in ids.collect::<BTreeSet<_>>() {
            if before.get(id) != after.get(id) {
                let (before, after) = (before.get(id), after.get(id));
                wrong.push(format!("another container was {before:?} and is {after:?}"));
            }
        }
    }

    /// What a container is after the turn that nobody touched.
    fn rebooted<'a>(&self, state: &'a str) -> &'a str {
        match (self.outcome, state) {
            (Outcome::Rebooted, "running" | "paused") => "dead",
            _ => state,
        }
    }

    /// The container that the command is about.
    fn judge_container(&self, wrong: &mut Vec<String>) {
        let about = |seen: &Seen| {
            let mut all = seen.containers.clone();
            all.retain(|_, one| self.plan.is_about(&one.name));
            all
        };
        let (before, after) = (about(self.before), about(self.after));
        let effect = self.plan.effect();
        for (id, one) in &before {
            match after.get(id) {
                Some(now) => self.judge_change(one, now, wrong),
                None if effect == Effect::Gone && self.outcome != Outcome::Refused => {}
                None if effect == Effect::Is("running") && one.is_removed_at_end => {}
                None => wrong.push(format!("container `{}` is gone", one.name)),
            }
        }
        let new: Vec<_> = after
            .iter()
            .filter(|(id, _)| !before.contains_key(*id))
            .collect();
        let most = usize::from(matches!(effect, Effect::Made(_) | Effect::Passed));
        let fits = match (self.outcome, effect) {
            (Outcome::Done, Effect::Made(state)) => {
                new.len() == 1 && new.iter().all(|(_, one)| one.state == state)
            }
            (Outcome::Done | Outcome::Refused, _) => new.is_empty(),
            (Outcome::Killed | Outcome::Rebooted, _) => new.len() <= most,
        };
        if !fits {
            wrong.push(format!("containers {new:?} are new"));
        }
        let is_done = self.outcome == Outcome::Done && effect == Effect::Gone;
        if is_done && after.len() != before.len().saturating_sub(1) {
            wrong.push(format!("containers {after:?} are not gone"));
        }
    }

    /// A container that the command is about, and that was there before.
    fn judge_change(&self, before: &OneContainer, after: &OneContainer, wrong: &mut Vec<String>) {
        let rebooted = self.rebooted(&before.state);
        let is_cut = self.outcome.is_cut();
        let mut states = match self.plan.effect() {
            // What does not run is left alone.
            Effect::Is("exited")
                if self.outcome == Outcome::Done
                    && !["running", "paused"].contains(&before.state.as_str()) =>
            {
                vec![before.state.as_str()]
            }
            Effect::Restarted if self.outcome == Outcome::Done => vec!["running"],
            Effect::Restarted if is_cut => vec![rebooted, "exited", "running"],
            Effect::Is(state) if self.outcome == Outcome::Done => vec![state],
            Effect::Is(state) if is_cut => vec![rebooted, state],
            Effect::Gone if is_cut => vec![rebooted, "exited", "dead", "removing"],
            _ => vec![rebooted],
        };
        // Another one has the name.
        if before.is_half() {
            states.push(&before.state);
        }
        if self.outcome == Outcome::Rebooted
            && (states.contains(&"running") || states.contains(&"paused"))
        {
            states.push("dead");
        }
        if !states.contains(&after.state.as_str()) {
            wrong.push(format!(
                "container `{}` was {} and is {}",
                before.name, before.state, after.state
            ));
        }
        let mut texts = vec![before.text.as_deref()];
        if self.plan.effect() == Effect::Holds {
            match self.outcome {
                Outcome::Done => texts = vec![Some(&self.plan.text)],
                Outcome::Refused => {}
                Outcome::Killed | Outcome::Rebooted => texts.push(Some(&self.plan.text)),
            }
        }
        if !after.is_half() && !texts.contains(&after.text.as_deref()) {
            wrong.push(format!(
                "container `{}` held {:?} and holds {:?}",
                before.name, before.text, after.text
            ));
        }
        if (&before.image, &before.volumes) != (&after.image, &after.volumes) {
            wrong.push(format!("container {before:?} is {after:?}"));
        }
    }
}
