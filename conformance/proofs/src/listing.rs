//! What a root shows: its objects by the commands that people look with, and every file of every snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use cowlab_conformance::manifest::{Entry, Manifest};
use cowlab_runtime::{Root, RootOptions};
use cowlab_snapshots::{Filter, Kind};
use serde_json::Value;

use crate::root::{FILE, TestRoot};
use crate::store::{is_frozen, on_content};

/// A container that flushes what it writes, and the file.
pub(crate) const FLUSHER: &str = "con-c";
pub(crate) const FLUSHED: &str = "/flushed";
/// The snapshot whose content is promised though it can be written.
const UNTOUCHED: &str = "untouched";
/// The kind of a volume's content.
const VOLUME: &str = "a volume";

/// What a root shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// The ids of images by their names.
    pub(crate) names: BTreeMap<String, String>,
    /// The ids of images.
    pub(crate) images: BTreeSet<String>,
    /// The markers in volumes, by their names.
    pub(crate) volumes: BTreeMap<String, String>,
    /// Containers by their ids.
    pub(crate) containers: BTreeMap<String, Container>,
    /// Snapshots by their keys, volumes and flushed files; empty where no content was looked at.
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
}

/// What a root shows of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) state: String,
    /// The id of its image.
    pub(crate) image: String,
    /// Whether it is removed when its program has ended; that of `run --rm` ends at once.
    pub(crate) is_removed_at_end: bool,
    /// Its volumes, named and anonymous.
    pub(crate) volumes: Vec<String>,
    /// What [`FILE`] holds; nothing of one that is half made or half removed.
    pub(crate) text: Option<String>,
}

impl Container {
    /// Whether it was cut off while it was made or removed: then only `rm` is promised.
    pub(crate) fn is_half(&self) -> bool {
        matches!(self.state.as_str(), "creating" | "removing")
    }

    /// Whether it has a process.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.state.as_str(), "running" | "paused")
    }

    /// Whether it ended, or never ran.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state.as_str(), "created" | "exited" | "dead")
    }

    /// Whether all is equal that no command changes.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let fixed = |one: &Self| {
            let Self {
                name,
                image,
                volumes,
                ..
            } = one.clone();
            (name, image, volumes, one.is_removed_at_end)
        };
        fixed(self) == fixed(other)
    }
}

/// The entries of a tree, in words, by path.
type Tree = Arc<BTreeMap<String, String>>;

/// A snapshot, with its content where that is promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    kind: &'static str,
    tree: Option<Tree>,
}

/// The trees of snapshots that do not change, by key: a life looks at each once.
pub(crate) type Known = BTreeMap<String, Tree>;

impl Snapshot {
    pub(crate) fn is_active(&self) -> bool {
        self.kind == "active"
    }

    pub(crate) fn is_empty_volume(&self) -> bool {
        self.kind == VOLUME && self.tree.as_ref().is_some_and(|tree| tree.is_empty())
    }

    /// What a snapshot is, for people, against what it should be.
    pub(crate) fn tell(found: Option<&Self>, expected: Option<&Self>) -> String {
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
}

impl Listing {
    /// Looks at the objects of a root, with the commands that people look with.
    pub(crate) fn of(root: &TestRoot) -> anyhow::Result<Self> {
        let mut listing = Self::default();
        for row in root.json(&["images", "--json"])? {
            let id = text(&row["Id"])?;
            for name in row["RepoTags"].as_array().into_iter().flatten() {
                listing.names.insert(text(name)?, id.clone());
            }
            listing.images.insert(id);
        }
        for row in root.json(&["volume", "ls", "--json"])? {
            let name = text(&row["name"])?;
            let marker = Path::new(&text(&row["mountpoint"])?).join("marker");
            let held = fs::read_to_string(marker).unwrap_or_else(|_| "nothing".to_owned());
            listing.volumes.insert(name, held);
        }
        listing.containers = containers(root)?;
        let images: Vec<_> = listing.images.iter().map(String::as_str).collect();
        inspected(root, "image", &images)?;
        let volumes: Vec<_> = listing.volumes.keys().map(String::as_str).collect();
        inspected(root, "volume", &volumes)?;
        Ok(listing)
    }

    /// Looks at every file of every snapshot as well.
    pub(crate) fn with_content(root: &TestRoot, known: Option<&mut Known>) -> anyhow::Result<Self> {
        let mut listing = Self::of(root)?;
        listing.snapshots = snapshots(root, known)?;
        for name in listing.volumes.keys() {
            let mut tree = in_words(&Manifest::capture(&root.volume(name))?);
            // The marker is the proof's own.
            tree.retain(|path, _| !["/", "/marker"].contains(&path.as_str()));
            let tree = Some(Arc::new(tree));
            let kind = VOLUME;
            listing
                .snapshots
                .insert(volume_key(name), Snapshot { kind, tree });
        }
        for (id, one) in &listing.containers {
            if one.name == FLUSHER && !one.is_half() {
                let copied = root.copy_out(id, FLUSHED);
                let tree = copied
                    .ok()
                    .map(|content| Arc::new([(FLUSHED.to_owned(), format!("{content:?}"))].into()));
                let kind = "a flushed file";
                listing
                    .snapshots
                    .insert(format!("{FLUSHED} of {id}"), Snapshot { kind, tree });
            }
        }
        Ok(listing)
    }

    /// The same, with numbers for the random keys of layers and for the ids of images, which have a time in them: a step that
    /// is repeated gives others.
    pub(crate) fn numbered(&self) -> Self {
        let is_layer = |(key, _): &(String, Snapshot)| {
            key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let snapshots = self.snapshots.clone().into_iter();
        let (layers, others): (Vec<_>, Vec<_>) = snapshots.partition(is_layer);
        let layers = layers.into_iter().enumerate();
        let layers = layers.map(|(number, (_, one))| (format!("layer {number}"), one));
        let numbers: BTreeMap<_, _> = self.images.iter().zip(0..).collect();
        let number = |id: &String| numbers.get(id).map_or(id.clone(), ToString::to_string);
        let names = self.names.iter();
        Self {
            names: names.map(|(name, id)| (name.clone(), number(id))).collect(),
            images: self.images.iter().map(number).collect(),
            volumes: self.volumes.clone(),
            containers: self.containers.clone(),
            snapshots: others.into_iter().chain(layers).collect(),
        }
    }

    /// What a volume holds, where that was looked at.
    pub(crate) fn volume(&self, name: &str) -> Option<&Snapshot> {
        self.snapshots.get(&volume_key(name))
    }
}

fn volume_key(name: &str) -> String {
    format!("volume {name}")
}

fn containers(root: &TestRoot) -> anyhow::Result<BTreeMap<String, Container>> {
    let mut rows = root.json(&["ps", "-a", "--json"])?;
    // A killed build leaves that of its step to the next build and to `prune`.
    rows.retain(|row| {
        let name = row["name"].as_str().unwrap_or_default();
        !name.starts_with("build-")
    });
    let ids = rows.iter().map(|row| text(&row["id"]));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let mut listed = BTreeMap::new();
    for (row, found) in rows.iter().zip(inspected(root, "container", &ids)?) {
        listed.insert(text(&row["id"])?, container(root, row, &found)?);
    }
    let whole = listed.iter().filter(|(_, one)| !one.is_half());
    let (ids, names): (Vec<_>, Vec<_>) = whole.map(|(id, one)| (id, one.name.as_str())).unzip();
    for (id, found) in ids.into_iter().zip(inspected(root, "container", &names)?) {
        if found["Id"] != id.as_str() {
            bail!("container {id} is not found by its name");
        }
    }
    Ok(listed)
}

fn container(root: &TestRoot, row: &Value, found: &Value) -> anyhow::Result<Container> {
    let (id, name, state) = (text(&row["id"])?, text(&row["name"])?, text(&row["state"])?);
    if found["State"]["Status"] != state.as_str() {
        bail!(
            "`ps` says that `{name}` is {state}, `inspect` {}",
            found["State"]["Status"]
        );
    }
    let volumes = found["Mounts"].as_array().into_iter().flatten();
    let volumes = volumes.filter_map(|mount| mount["name"].as_str());
    let mut one = Container {
        name,
        state,
        image: found["Image"].as_str().unwrap_or_default().to_owned(),
        is_removed_at_end: found["HostConfig"]["AutoRemove"] == true,
        volumes: volumes.map(str::to_owned).collect(),
        text: None,
    };
    if !one.is_half() {
        one.text = Some(String::from_utf8(root.copy_out(&id, FILE)?)?);
    }
    Ok(one)
}

/// What `inspect` tells of each of these names, in their order.
fn inspected(root: &TestRoot, kind: &str, names: &[&str]) -> anyhow::Result<Vec<Value>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let found = root.json(&[&["inspect", "--type", kind], names].concat())?;
    if found.len() != names.len() {
        bail!("`inspect` tells of {} {kind}s among {names:?}", found.len());
    }
    Ok(found)
}

fn text(value: &Value) -> anyhow::Result<String> {
    Ok(value
        .as_str()
        .context("no text where one should be")?
        .to_owned())
}

fn open(root: &TestRoot) -> anyhow::Result<Root> {
    Ok(Root::open(&RootOptions {
        dir: Some(root.dir.clone()),
        ..RootOptions::default()
    })?)
}

/// The keys and names of all snapshots of a root, children before their parents.
pub(crate) fn keys(root: &TestRoot) -> anyhow::Result<Vec<String>> {
    let mut all = open(root)?.store().list(&Filter::default())?;
    all.sort_by_key(|info| std::cmp::Reverse(info.id));
    Ok(all.into_iter().map(|info| info.key).collect())
}

fn snapshots(
    root: &TestRoot,
    mut known: Option<&mut Known>,
) -> anyhow::Result<BTreeMap<String, Snapshot>> {
    let root = open(root)?;
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
