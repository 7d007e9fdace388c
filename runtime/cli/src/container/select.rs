//! Which containers `ps` lists.

use cowlab_runtime::Root;
use cowlab_runtime::container::mounts::Attached;
use cowlab_runtime::container::{Containers, Found, Phase};
use cowlab_runtime::image::Image;
use serde_json::json;

use crate::exit::{self, Stop};
use crate::filter::{self, Filter, Filters};

const KNOWN: [&str; 10] = [
    "ancestor", "before", "exited", "id", "label", "name", "network", "since", "status", "volume",
];

const REFUSED: [(&str, &str); 5] = [
    ("health", "there are no health checks"),
    ("publish", "ports are not published"),
    ("expose", "ports are not published"),
    ("is-task", "there is no swarm"),
    ("isolation", "it is Windows's"),
];

/// docker's states, and those of this runtime alone.
const STATES: [&str; 11] = [
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
    "creating",
    "starting",
    "unwatched",
    "damaged",
];

// Flags of `ps` that select.
#[derive(Debug, clap::Args)]
pub(super) struct Selection {
    /// Those too that do not run.
    #[arg(long, short)]
    all: bool,
    /// Only those that fulfil a condition, such as `name=REGEX`, `label=NAME[=VALUE]`, `status=exited`, `ancestor=IMAGE`; an
    /// unknown one is told which there are.
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,
    /// The last that were created, so many, whether they run or not.
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = -1, hide_default_value = true,
          allow_negative_numbers = true)]
    last: i64,
    /// The last that was created, whether it runs or not.
    #[arg(long, short)]
    latest: bool,
}

fn usage(message: String) -> anyhow::Error {
    let code = exit::USAGE;
    Stop { code, message }.into()
}

impl Selection {
    /// The containers that are selected, newest first.
    ///
    /// # Errors
    ///
    /// [`Stop`] for a condition that does not exist; a container that a condition names and that is not there.
    pub(super) fn of(
        &self,
        root: &Root,
        containers: &Containers<'_>,
    ) -> anyhow::Result<Vec<Found>> {
        let filters = Filters::new(&self.filter, &KNOWN, &REFUSED)?;
        let limit = if self.latest { 1 } else { self.last };
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0);
        let states = filters.read("status", |value| match STATES.contains(&value) {
            true => Ok(value.to_owned()),
            false => Err(usage(format!(
                "invalid filter 'status={value}': there are {}",
                STATES.join(", ")
            ))),
        })?;
        let mut all = between(containers, filters)?;
        let show_all = self.all || limit.is_some() || !states.is_empty();
        all.retain(|found| show_all || found.phase.is_alive());
        all.retain(|found| filter::any(&states, |state| has_state(found, state)));
        retain(&mut all, filters)?;
        if filters.has("ancestor") {
            let wanted = filters.read("ancestor", |name| Ok(root.image(name).ok()))?;
            all.retain(|found| {
                let id = found.record.image_id.as_deref();
                let image = id.and_then(|id| root.image(id).ok());
                let mut wanted = wanted.iter().flatten();
                image.is_some_and(|image| wanted.any(|wanted| is_made_of(&image, wanted)))
            });
        }
        all.truncate(limit.unwrap_or(usize::MAX));
        Ok(all)
    }
}

/// All containers, but for what `before` and `since` leave out by the order in which they were created.
fn between(containers: &Containers<'_>, filters: Filters<'_>) -> anyhow::Result<Vec<Found>> {
    let all = containers.list()?;
    let place = |name: &str| {
        let id = containers.find(name)?.record.id;
        Ok(all.iter().position(|found| found.record.id == id))
    };
    let since = filters.read("since", place)?;
    let before = filters.read("before", place)?;
    let end = since.into_iter().flatten().min().unwrap_or(all.len());
    let start = before
        .into_iter()
        .flatten()
        .max()
        .map_or(0, |place| place + 1);
    let all = all.into_iter().enumerate();
    let wanted = all.filter(|(place, _)| (start..end).contains(place));
    Ok(wanted.map(|(_, found)| found).collect())
}

fn has_state(found: &Found, state: &str) -> bool {
    let running = state == "running" && found.phase == Phase::Unwatched;
    running || json!(found.phase) == state
}

/// Keeps those that fulfil what can be said of their records.
fn retain(all: &mut Vec<Found>, filters: Filters<'_>) -> anyhow::Result<()> {
    let (names, ids) = (filters.patterns("name")?, filters.patterns("id")?);
    let exited = filters.read("exited", |value| {
        let code = value.parse::<i32>();
        code.map_err(|error| usage(format!("invalid filter 'exited={value}': {error}")))
    })?;
    let volumes = filters.read("volume", |value| Ok(value.to_owned()))?;
    let networks = filters.read("network", |value| Ok(value.to_owned()))?;
    all.retain(|found| {
        let (record, state) = (&found.record, &found.state);
        // A name has a slash before it for docker, and scripts write it.
        let slashed = format!("/{}", record.name);
        let has_ended = !found.phase.is_alive() && state.started.is_some();
        filters.have_labels(&record.labels)
            && filter::any(&names, |name| {
                name.is_match(&record.name) || name.is_match(&slashed)
            })
            && filter::any(&ids, |id| id.is_match(&record.id))
            && filter::any(&exited, |code| has_ended && state.exit_code == Some(*code))
            && filter::any(&volumes, |volume| has_volume(&record.mounts, volume))
            && filter::any(&networks, |network| json!(record.network) == **network)
    });
    Ok(())
}

/// Whether a mount has this name, source or place.
fn has_volume(mounts: &[Attached], wanted: &str) -> bool {
    mounts.iter().any(|mount| {
        let is_source = match mount {
            Attached::Volume { name, .. } => name == wanted,
            Attached::Bind { source, .. } => source.as_os_str() == wanted,
            Attached::Tmpfs { .. } => false,
        };
        is_source || mount.target().as_os_str() == wanted
    })
}

/// Whether an image is this one, or made of it: it has more layers, or more steps, upon the same.
fn is_made_of(image: &Image, wanted: &Image) -> bool {
    let layers = |image: &Image| -> Vec<_> {
        let layers = image.layers.iter();
        layers.map(|layer| layer.chain_id.clone()).collect()
    };
    let steps = |image: &Image| image.config.history().clone().unwrap_or_default();
    let (above, below) = (
        (layers(image), steps(image)),
        (layers(wanted), steps(wanted)),
    );
    let has_all = above.0.starts_with(&below.0) && above.1.starts_with(&below.1);
    let is_empty = below.0.is_empty() && below.1.is_empty();
    image.id == wanted.id || (has_all && !is_empty && above != below)
}
