//! What a root shows, and whether a power cut may have left it.
//!
//! Every object is as it was when the last command was acknowledged, or as the command that was cut off would have left it:
//! never something else, and never half.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::sync::Arc;

use anyhow::Context;
use cowlab_conformance::manifest::{Entry, Manifest};
use cowlab_runtime::{Root, RootOptions};
use cowlab_snapshots::{Filter, Kind};

use super::Stand;
use super::life::{FLUSHED, FLUSHER, Step};
use crate::kill_nine::look::{is_frozen, on_content};
use crate::killed_commands::ledger::{OneContainer, Seen};

/// What snapshots are called whose content is promised though they can be written.
const UNTOUCHED: &str = "untouched";
/// What a volume's content is called.
const VOLUME: &str = "a volume";

/// The entries of a tree, in words, by path.
type Tree = Arc<BTreeMap<String, String>>;

/// A snapshot, with its content where that is promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    kind: &'static str,
    tree: Option<Tree>,
}

impl Snapshot {
    fn is_empty_volume(&self) -> bool {
        self.kind == VOLUME && self.tree.as_ref().is_some_and(|tree| tree.is_empty())
    }
}

/// All that a root shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    pub(super) snapshots: BTreeMap<String, Snapshot>,
    pub(super) seen: Seen,
}

/// The trees of snapshots that do not change, by key: a life looks at each once.
pub(super) type Known = BTreeMap<String, Tree>;

impl Look {
    /// Looks at a root, with the commands that people look with and at every file of every snapshot.
    pub(super) fn at(stand: &Stand, known: Option<&mut Known>) -> anyhow::Result<Self> {
        let seen = stand.look()?;
        let mut snapshots = look_at_snapshots(stand, known)?;
        for name in seen.volumes.keys() {
            let data = stand.root.join("volumes").join(name).join("_data");
            let mut tree = in_words(&Manifest::capture(&data)?);
            // The marker is the proof's own.
            tree.retain(|path, _| !["/", "/marker"].contains(&path.as_str()));
            let tree = Some(Arc::new(tree));
            let kind = VOLUME;
            snapshots.insert(format!("volume {name}"), Snapshot { kind, tree });
        }
        for (id, one) in &seen.containers {
            if one.name == FLUSHER && !one.is_half() {
                let copy = stand.scratch.join("out-flushed").display().to_string();
                let copied = stand.ok(&["cp", &format!("{id}:{FLUSHED}"), &copy]);
                let tree = copied.is_ok().then(|| fs::read(&copy)).transpose()?;
                let tree = tree
                    .map(|content| Arc::new([(FLUSHED.to_owned(), format!("{content:?}"))].into()));
                let kind = "a flushed file";
                snapshots.insert(format!("{FLUSHED} of {id}"), Snapshot { kind, tree });
            }
        }
        Ok(Self { snapshots, seen })
    }

    /// The same, with numbers for the random keys of layers and for the ids of images, which have a time in them: a step that
    /// is repeated gives others.
    pub(super) fn with_numbered_layers(&self) -> Self {
        let mut numbered = self.clone();
        let all = std::mem::take(&mut numbered.snapshots);
        let is_layer =
            |key: &str| key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (layers, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(key, _)| is_layer(key));
        let layers = layers.into_iter().map(|(_, one)| one).enumerate();
        numbered.snapshots = layers
            .map(|(number, one)| (format!("layer {number}"), one))
            .collect();
        numbered.snapshots.extend(others);
        let images = std::mem::take(&mut numbered.seen.images).into_iter();
        let images: BTreeMap<_, _> = images
            .zip((0..).map(|number| format!("{number}")))
            .collect();
        for id in numbered.seen.names.values_mut() {
            if let Some(number) = images.get(id) {
                id.clone_from(number);
            }
        }
        numbered.seen.images = images.into_values().collect();
        numbered
    }

    /// Leaves a marker in each empty volume that has none, and returns whether there was one. What is flushed for a marker
    /// would flush a seed as well.
    pub(super) fn mark_volumes(&mut self, stand: &Stand) -> anyhow::Result<bool> {
        let mut empty = Seen {
            volumes: self.seen.volumes.clone(),
            ..Seen::default()
        };
        empty.volumes.retain(|name, held| {
            let content = self.snapshots.get(&format!("volume {name}"));
            held == "nothing" && content.is_some_and(Snapshot::is_empty_volume)
        });
        stand.mark_volumes(&mut empty)?;
        let is_new = !empty.volumes.is_empty();
        self.seen.volumes.extend(empty.volumes);
        Ok(is_new)
    }
}

fn open(stand: &Stand) -> anyhow::Result<Root> {
    Ok(Root::open(&RootOptions {
        dir: Some(stand.root.clone()),
        ..RootOptions::default()
    })?)
}

/// The keys and names of all snapshots, children before their parents.
pub(super) fn snapshots(stand: &Stand) -> anyhow::Result<Vec<String>> {
    let mut all = open(stand)?.store().list(&Filter::default())?;
    all.sort_by_key(|info| std::cmp::Reverse(info.id));
    Ok(all.into_iter().map(|info| info.key).collect())
}

fn look_at_snapshots(
    stand: &Stand,
    mut known: Option<&mut Known>,
) -> anyhow::Result<BTreeMap<String, Snapshot>> {
    let root = open(stand)?;
    let store = root.store();
    let mut snapshots = BTreeMap::new();
    for info in store.list(&Filter::default())? {
        let (kind, is_promised) = match info.kind {
            Kind::Active => ("active", info.key == UNTOUCHED),
            Kind::View => ("a view", true),
            Kind::Committed if is_frozen(store, &info.key)? => ("committed", true),
            Kind::Committed => ("committed and can be written", true),
        };
        let tree = match known.as_ref().and_then(|known| known.get(&info.key)) {
            _ if !is_promised => None,
            Some(tree) => Some(Arc::clone(tree)),
            None => {
                let manifest = on_content(store, &info.key, |root| Ok(Manifest::capture(root)?));
                let manifest = manifest.with_context(|| format!("snapshot `{}`", info.key))?;
                let tree = Arc::new(in_words(&manifest));
                if let Some(known) = &mut known {
                    known.insert(info.key.clone(), Arc::clone(&tree));
                }
                Some(tree)
            }
        };
        snapshots.insert(info.key, Snapshot { kind, tree });
    }
    Ok(snapshots)
}

fn in_words(manifest: &Manifest) -> BTreeMap<String, String> {
    let words = |entry: &Entry| {
        let Entry {
            kind,
            mode,
            owner,
            device,
            size,
            content,
            xattrs,
            mtime,
            ..
        } = entry;
        format!("{kind:?} {mode:o} {owner:?} {device} {size} {content} {xattrs:?} {mtime:?}")
    };
    let path = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let entries = manifest.entries.iter();
    entries
        .map(|(key, entry)| (path(key), words(entry)))
        .collect()
}

/// What a snapshot is, for people, against what it should be.
fn tell(found: Option<&Snapshot>, expected: Option<&Snapshot>) -> String {
    let Some(found) = found else {
        return "absent".to_owned();
    };
    let trees = found
        .tree
        .as_ref()
        .zip(expected.and_then(|one| one.tree.as_ref()));
    let difference = trees.and_then(|(found, expected)| {
        let paths: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
        let mut differing = paths
            .into_iter()
            .filter(|path| found.get(*path) != expected.get(*path));
        let first = differing.next()?;
        Some(format!(
            ", `{first}` is {:?} and was {:?}, {} other entries differ",
            found.get(first),
            expected.get(first),
            differing.count()
        ))
    });
    format!("{}{}", found.kind, difference.unwrap_or_default())
}

/// A root after a power cut, between what it showed before a step and after it.
pub(super) struct Judgement<'a> {
    pub(super) before: &'a Look,
    pub(super) step: &'a Step,
    pub(super) after: &'a Look,
    pub(super) found: &'a Look,
}

impl Judgement<'_> {
    /// What should not be.
    pub(super) fn wrong(&self) -> Vec<String> {
        let mut wrong = self.wrong_snapshots();
        let Self {
            before,
            after,
            found,
            ..
        } = self;
        let (before, after, found) = (&before.seen, &after.seen, &found.seen);
        either(
            "image",
            &before.names,
            &after.names,
            &found.names,
            &mut wrong,
        );
        let images = |seen: &Seen| seen.images.iter().map(|id| (id.clone(), ())).collect();
        either(
            "image",
            &images(before),
            &images(after),
            &images(found),
            &mut wrong,
        );
        let mut volumes = found.volumes.clone();
        for (name, held) in &mut volumes {
            // Its marker comes a moment after the volume.
            if held == "nothing" && !before.volumes.contains_key(name) {
                *held = after.volumes.get(name).cloned().unwrap_or_default();
            }
        }
        either(
            "volume",
            &before.volumes,
            &after.volumes,
            &volumes,
            &mut wrong,
        );
        self.judge_containers(&mut wrong);
        wrong
    }

    fn wrong_snapshots(&self) -> Vec<String> {
        let all = |look: &Look| {
            let own = look.snapshots.clone().into_iter();
            // A container's snapshot is its own business: what nobody names any more is looked for at the end.
            own.filter(|(key, one)| one.kind != "active" || !key.contains("container"))
                .collect::<BTreeMap<_, _>>()
        };
        let (before, after, found) = (all(self.before), all(self.after), all(self.found));
        let mut wrong = Vec::new();
        let keys = before.keys().chain(after.keys()).chain(found.keys());
        for key in keys.collect::<BTreeSet<_>>() {
            let [old, new, now] = [&before, &after, &found].map(|all| all.get(key));
            // A volume is there before its seed.
            let is_unseeded = old.is_none() && now.is_some_and(Snapshot::is_empty_volume);
            if now != old && now != new && !is_unseeded {
                wrong.push(format!(
                    "snapshot `{key}` is {}; it was {} and would be {}",
                    tell(now, new.or(old)),
                    tell(old, None),
                    tell(new, None)
                ));
            }
        }
        wrong
    }

    fn judge_containers(&self, wrong: &mut Vec<String>) {
        let [before, after, found] =
            [self.before, self.after, self.found].map(|look| &look.seen.containers);
        let ids = before.keys().chain(after.keys()).chain(found.keys());
        for id in ids.collect::<BTreeSet<_>>() {
            let (old, new, now) = (before.get(id), after.get(id), found.get(id));
            let Some(now) = now else {
                if let (Some(old), Some(_)) = (old, new) {
                    wrong.push(format!("container {old:?} is gone"));
                }
                continue;
            };
            let is_certain = old.is_some() && new.is_some();
            let is_half = now.is_half() && is_certain;
            let is_legal =
                now.is_half() || self.legal_states(old, new).contains(&now.state.as_str());
            let is_passing = self.step.is_passing() || old.is_some() || new.is_some();
            if is_half || !is_legal || !is_passing {
                wrong.push(format!(
                    "container {now:?} was {old:?} and would be {new:?}"
                ));
            }
            let texts: Vec<_> = [old, new]
                .into_iter()
                .flatten()
                .map(|one| &one.text)
                .collect();
            if is_certain && !texts.contains(&&now.text) {
                wrong.push(format!("container {now:?} held {texts:?}"));
            }
            let same = |one: &&OneContainer| {
                (&one.name, &one.image, &one.volumes) == (&now.name, &now.image, &now.volumes)
            };
            if is_certain && !old.iter().chain(&new).any(same) {
                wrong.push(format!("container {now:?} was {old:?}"));
            }
        }
    }

    /// The states that a container may have in the next boot, where nothing runs: the one it had, or, where a step changed it or
    /// made it, any that a step passes through.
    fn legal_states<'a>(
        &self,
        old: Option<&'a OneContainer>,
        new: Option<&'a OneContainer>,
    ) -> Vec<&'a str> {
        match (old, new) {
            (Some(old), Some(new)) if old.state == new.state => match old.state.as_str() {
                "running" if self.step.is_restart() => vec!["exited", "dead"],
                "running" => vec!["dead"],
                state => vec![state],
            },
            _ => vec!["created", "exited", "dead"],
        }
    }
}

/// Each object is as it was before, or as it is after.
fn either<T: Debug + PartialEq>(
    what: &str,
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
    found: &BTreeMap<String, T>,
    wrong: &mut Vec<String>,
) {
    let names = before.keys().chain(after.keys()).chain(found.keys());
    for name in names.collect::<BTreeSet<_>>() {
        let (old, new, now) = (before.get(name), after.get(name), found.get(name));
        if now != old && now != new {
            wrong.push(format!(
                "{what} `{name}` is {now:?}; it was {old:?} and would be {new:?}"
            ));
        }
    }
}
