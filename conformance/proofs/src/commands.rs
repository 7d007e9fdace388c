//! The commands that are cut off: words, what they need to be done, and what each acknowledges.

use cowlab_random::Random;

use crate::listing::{Container, Listing};

/// Small pools, so that commands meet each other's objects.
const IMAGES: [&str; 3] = ["one:1", "two:1", "made:1"];
const CONTAINERS: [&str; 3] = ["con-a", "con-b", "con-c"];
const VOLUMES: [&str; 2] = ["vol-a", "vol-b"];

/// A command: `{image}` and the like stand for what is picked.
#[derive(Debug)]
pub(crate) struct Verb {
    words: &'static str,
    /// Where all of this is so, the command has to be done.
    needs: &'static [Need],
    effect: Effect,
}

/// What has to be so before a command.
#[derive(Debug, Clone, Copy)]
enum Need {
    /// There is an image of the first name.
    Image,
    /// No container uses the image of the first name, or it has other names.
    ImageFree,
    /// No container has the name.
    NameFree,
    /// One container has the name, in one of these states.
    Is(&'static [&'static str]),
    /// No container has the volume.
    VolumeFree,
    /// There is the volume.
    Volume,
}

/// What is so after a command that was done. Nothing else may change by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing has changed.
    Nothing,
    /// The first name is an image's.
    Named,
    /// The second name is an image's.
    OtherNamed,
    /// The first name is no image's.
    Unnamed,
    /// One container more has the name, in this state.
    Made(&'static str),
    /// A container of the name was there meanwhile.
    Passed,
    /// The container is in this state.
    Is(&'static str),
    /// The container was stopped, if it ran, and runs.
    Restarted,
    /// The container's file has the text.
    Holds,
    /// The container is gone.
    Gone,
    /// The volume is there.
    VolumeMade,
    /// The volume is gone.
    VolumeGone,
    /// Images without names are gone.
    Pruned,
    /// Containers that do not run are gone.
    ContainersPruned,
}

const STOPPED: Need = Need::Is(&["created", "exited", "dead"]);
const WHOLE: Need = Need::Is(&["created", "exited", "dead", "running", "paused"]);
const RUNNING: Need = Need::Is(&["running"]);
const ALIVE: Need = Need::Is(&["running", "paused"]);

const fn verb(words: &'static str, needs: &'static [Need], effect: Effect) -> Verb {
    Verb {
        words,
        needs,
        effect,
    }
}

/// In an order in which each can be done after those before it, with the first name of each pool: so their usual durations are
/// learned.
pub(crate) const VERBS: &[Verb] = &[
    verb("import {tar} {image}", &[], Effect::Named),
    verb("volume create {volume}", &[], Effect::VolumeMade),
    verb(
        "create --name {name} -v {volume}:/vol {image} {lasting}",
        &[Need::Image, Need::NameFree],
        Effect::Made("created"),
    ),
    verb("start {name}", &[STOPPED], Effect::Is("running")),
    verb("exec {name} sh -c {write}", &[RUNNING], Effect::Holds),
    verb("cp {file} {name}:/testfile", &[WHOLE], Effect::Holds),
    verb("cp {name}:/bin {out}", &[WHOLE], Effect::Nothing),
    verb("commit {name} {other}", &[WHOLE], Effect::OtherNamed),
    verb("tag {image} {other}", &[Need::Image], Effect::OtherNamed),
    verb(
        "build -q --network none --build-arg BASE={image} -t {other} {context}",
        &[Need::Image],
        Effect::OtherNamed,
    ),
    verb("diff {name}", &[WHOLE], Effect::Nothing),
    verb("export -o {out} {name}", &[WHOLE], Effect::Nothing),
    verb("save -o {out} {image}", &[Need::Image], Effect::Nothing),
    verb("pause {name}", &[RUNNING], Effect::Is("paused")),
    verb(
        "unpause {name}",
        &[Need::Is(&["paused"])],
        Effect::Is("running"),
    ),
    verb("restart -t 0 {name}", &[WHOLE], Effect::Restarted),
    verb("stop -t 0 {name}", &[ALIVE], Effect::Is("exited")),
    verb(
        "rm -f {name}",
        &[Need::Is(&[
            "created", "exited", "dead", "running", "paused", "creating", "removing",
        ])],
        Effect::Gone,
    ),
    verb(
        "run --rm --name {name} {image} touch /new",
        &[Need::Image, Need::NameFree],
        Effect::Passed,
    ),
    verb(
        "run -d --name {name} -v /anonymous {image} {lasting}",
        &[Need::Image, Need::NameFree],
        Effect::Made("running"),
    ),
    verb("kill {name}", &[ALIVE], Effect::Is("exited")),
    verb(
        "volume rm {volume}",
        &[Need::Volume, Need::VolumeFree],
        Effect::VolumeGone,
    ),
    verb("load -q -i {archive}", &[], Effect::Named),
    verb(
        "rmi {image}",
        &[Need::Image, Need::ImageFree],
        Effect::Unnamed,
    ),
    verb("system prune -f", &[], Effect::Pruned),
    verb("image prune -f", &[], Effect::Pruned),
    verb("container prune -f", &[], Effect::ContainersPruned),
    verb("system check", &[], Effect::Nothing),
];

/// A command with its objects.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) verb: usize,
    pub(crate) image: &'static str,
    pub(crate) other: &'static str,
    pub(crate) name: &'static str,
    pub(crate) volume: &'static str,
    /// What is written where something is.
    pub(crate) text: String,
}

impl Plan {
    /// The command with the first name of each pool.
    pub(crate) fn first(verb: usize) -> Self {
        Self {
            verb,
            image: IMAGES[0],
            other: IMAGES[1],
            name: CONTAINERS[0],
            volume: VOLUMES[0],
            text: format!("learned-{verb}"),
        }
    }

    /// Draws a command; mostly one that can be done.
    pub(crate) fn draw(random: &mut Random, turn: usize, listing: &Listing) -> Self {
        let mut draw = || Self {
            verb: random.below(VERBS.len()),
            image: IMAGES[random.below(IMAGES.len())],
            other: IMAGES[random.below(IMAGES.len())],
            name: CONTAINERS[random.below(CONTAINERS.len())],
            volume: VOLUMES[random.below(VOLUMES.len())],
            text: format!("turn-{turn}"),
        };
        let mut plan = draw();
        for _ in 0..4 {
            if plan.can_be_done(listing) {
                break;
            }
            plan = draw();
        }
        // An archive has one image, under the name that it was saved by.
        if plan.words().contains("{archive}") && plan.image == IMAGES[2] {
            plan.image = IMAGES[0];
        }
        plan
    }

    pub(crate) fn words(&self) -> &'static str {
        VERBS[self.verb].words
    }

    fn effect(&self) -> Effect {
        VERBS[self.verb].effect
    }

    /// What the command acknowledges: what a root that showed `before` shows when it was done. Ids that it gives are those that were
    /// found, and what it may remove and need not is as it was found.
    pub(crate) fn done(&self, before: &Listing, found: &Listing) -> Listing {
        let mut done = before.clone();
        match self.effect() {
            Effect::Nothing | Effect::Passed => {}
            Effect::Named => name_image(self.image, &mut done, found),
            Effect::OtherNamed => name_image(self.other, &mut done, found),
            Effect::Unnamed => {
                let id = done.names.remove(self.image);
                done.images
                    .retain(|image| Some(image) != id.as_ref() || found.images.contains(image));
            }
            Effect::Pruned => {
                let Listing { names, images, .. } = &mut done;
                let is_named = |id: &String| names.values().any(|named| named == id);
                images.retain(|id| is_named(id) || found.images.contains(id));
            }
            Effect::VolumeMade => {
                let held = found.volumes.get(self.volume).cloned();
                let held = held.unwrap_or_else(|| "nothing".to_owned());
                done.volumes.entry(self.volume.to_owned()).or_insert(held);
            }
            Effect::VolumeGone => {
                done.volumes.remove(self.volume);
            }
            Effect::Made(state) => {
                give_volumes(&mut done, found);
                let is_new = |id: &String| !before.containers.contains_key(id);
                let mut new = found.containers.iter();
                let new = new.find(|(id, one)| is_new(id) && self.is_about(&one.name));
                let (id, mut one) = match new {
                    Some((id, one)) => (id.clone(), one.clone()),
                    None => ("(new)".to_owned(), Container::default()),
                };
                state.clone_into(&mut one.state);
                done.containers.insert(id, one);
            }
            Effect::ContainersPruned => done.containers.retain(|_, one| !one.has_ended()),
            Effect::Gone => self.remove_one(&mut done, found),
            Effect::Is(_) | Effect::Restarted | Effect::Holds => self.change(&mut done, found),
        }
        done
    }

    /// Removes one container of the name, of which there may be some that were half made.
    fn remove_one(&self, done: &mut Listing, found: &Listing) {
        let all = done.containers.iter();
        let mut named = all.filter(|(_, one)| self.is_about(&one.name));
        let first = named.clone().next();
        let gone = named.find(|(id, _)| !found.containers.contains_key(*id));
        if let Some(id) = gone.or(first).map(|(id, _)| id.clone()) {
            done.containers.remove(&id);
        }
    }

    fn change(&self, done: &mut Listing, found: &Listing) {
        done.containers.retain(|id, one| {
            if !self.is_about(&one.name) || one.is_half() {
                return true;
            }
            match self.effect() {
                // What does not run is left alone.
                Effect::Is("exited") if !one.is_alive() => {}
                Effect::Is("running") if one.is_removed_at_end => {
                    return found.containers.contains_key(id);
                }
                Effect::Is(state) => state.clone_into(&mut one.state),
                Effect::Restarted => "running".clone_into(&mut one.state),
                Effect::Holds => one.text = Some(self.text.clone()),
                _ => {}
            }
            true
        });
    }

    /// Whether the command is about the container.
    fn is_about(&self, name: &str) -> bool {
        name == self.name && self.words().contains("{name}")
    }

    /// Whether the command has to be done.
    pub(crate) fn can_be_done(&self, listing: &Listing) -> bool {
        VERBS[self.verb]
            .needs
            .iter()
            .all(|need| self.meets(*need, listing))
    }

    fn meets(&self, need: Need, listing: &Listing) -> bool {
        let mut named = listing
            .containers
            .values()
            .filter(|one| one.name == self.name);
        match need {
            Need::Image => listing.names.contains_key(self.image),
            Need::NameFree => named.next().is_none(),
            Need::Is(states) => match (named.next(), named.next()) {
                (Some(one), None) => states.contains(&one.state.as_str()),
                _ => false,
            },
            Need::ImageFree => listing.names.get(self.image).is_none_or(|id| {
                let is_used = listing.containers.values().any(|one| one.image == *id);
                !is_used || listing.names.values().filter(|other| *other == id).count() > 1
            }),
            Need::Volume => listing.volumes.contains_key(self.volume),
            Need::VolumeFree => {
                let mut all = listing.containers.values();
                !all.any(|one| one.volumes.iter().any(|name| name == self.volume))
            }
        }
    }
}

/// Gives an image a name; what had it keeps its other names, or stays without one.
fn name_image(name: &str, done: &mut Listing, found: &Listing) {
    done.images
        .extend(found.images.difference(&done.images).next().cloned());
    let id = found.names.get(name).cloned();
    done.names
        .insert(name.to_owned(), id.unwrap_or_else(|| "(new)".to_owned()));
}

/// Has the volumes that were found, as a container gets them, some without a name.
fn give_volumes(done: &mut Listing, found: &Listing) {
    for (name, held) in &found.volumes {
        done.volumes
            .entry(name.clone())
            .or_insert_with(|| held.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judgement::{Judgement, Outcome};

    /// What is wrong where a command says that it was done and has changed nothing.
    fn wrong_of_idle(words: &str, before: &Listing) -> usize {
        let is_it = |verb: &&Verb| verb.words.starts_with(words);
        let verb = VERBS.iter().position(|verb| is_it(&verb)).unwrap();
        let judgement = Judgement {
            words: &[],
            outcome: Outcome::Done,
            before,
            done: &Plan::first(verb).done(before, before),
            found: before,
        };
        judgement.wrong().len()
    }

    #[test]
    fn a_command_that_does_nothing_is_noticed() {
        let empty = Listing::default();
        let running = Container {
            name: CONTAINERS[0].to_owned(),
            state: "running".to_owned(),
            ..Container::default()
        };
        let full = Listing {
            names: [(IMAGES[0].to_owned(), "id".to_owned())].into(),
            images: ["id".to_owned()].into(),
            volumes: [(VOLUMES[0].to_owned(), "nothing".to_owned())].into(),
            containers: [("id".to_owned(), running)].into(),
            ..Listing::default()
        };
        let makes = ["import", "volume create", "create", "run -d"];
        let changes = [
            "exec",
            "cp {file}",
            "tag",
            "pause",
            "stop",
            "rm -f",
            "kill",
            "volume rm",
            "rmi",
        ];
        for (words, before) in makes
            .map(|words| (words, &empty))
            .into_iter()
            .chain(changes.map(|words| (words, &full)))
        {
            assert_eq!(wrong_of_idle(words, before), 1, "{words}");
        }
        for words in ["run --rm", "diff", "system check", "start", "restart"] {
            assert_eq!(wrong_of_idle(words, &full), 0, "{words}");
        }
    }
}
