//! The commands that are killed: words, what they need to be done, and what is so afterwards.

use super::ledger::Seen;
use crate::random::Random;

/// Small pools, so that commands meet each other's objects.
const IMAGES: [&str; 3] = ["one:1", "two:1", "made:1"];
const CONTAINERS: [&str; 3] = ["con-a", "con-b", "con-c"];
const VOLUMES: [&str; 2] = ["vol-a", "vol-b"];

/// The program of the containers that go on, and its argument, by which its process is known.
pub(crate) const LASTING: [&str; 2] = ["/bin/sleep", "100000"];

/// A command: `{image}` and the like stand for what is picked.
#[derive(Debug)]
pub(crate) struct Verb {
    pub(crate) words: &'static str,
    /// Where all of this is so, the command has to be done.
    needs: &'static [Need],
    pub(crate) effect: Effect,
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
pub(crate) enum Effect {
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
    pub(crate) fn draw(random: &mut Random, turn: usize, seen: &Seen) -> Self {
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
            if plan.can_be_done(seen) {
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

    pub(crate) fn effect(&self) -> Effect {
        VERBS[self.verb].effect
    }

    /// The name of the image that the command is about to give or to take.
    pub(crate) fn image_name(&self) -> Option<&'static str> {
        match self.effect() {
            Effect::Named | Effect::Unnamed => Some(self.image),
            Effect::OtherNamed => Some(self.other),
            _ => None,
        }
    }

    /// Whether the command is about the container.
    pub(crate) fn is_about(&self, name: &str) -> bool {
        name == self.name && self.words().contains("{name}")
    }

    /// Whether the command may make or remove the volume.
    pub(crate) fn touches_volume(&self, name: &str) -> bool {
        name == self.volume && self.words().contains("{volume}")
    }

    /// Whether the command has to be done.
    pub(crate) fn can_be_done(&self, seen: &Seen) -> bool {
        VERBS[self.verb]
            .needs
            .iter()
            .all(|need| self.meets(*need, seen))
    }

    fn meets(&self, need: Need, seen: &Seen) -> bool {
        let mut named = seen.containers.values().filter(|one| one.name == self.name);
        match need {
            Need::Image => seen.names.contains_key(self.image),
            Need::NameFree => named.next().is_none(),
            Need::Is(states) => match (named.next(), named.next()) {
                (Some(one), None) => states.contains(&one.state.as_str()),
                _ => false,
            },
            Need::ImageFree => seen.names.get(self.image).is_none_or(|id| {
                let is_used = seen.containers.values().any(|one| one.image == *id);
                !is_used || seen.names.values().filter(|other| *other == id).count() > 1
            }),
            Need::Volume => seen.volumes.contains_key(self.volume),
            Need::VolumeFree => {
                let mut all = seen.containers.values();
                !all.any(|one| one.volumes.iter().any(|name| name == self.volume))
            }
        }
    }
}
