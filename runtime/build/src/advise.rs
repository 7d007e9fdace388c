//! `build --advise`: which steps to move or to merge, by what the last change of a source and the layers themselves show.
//!
//! A step that was run again after a changed `COPY` and gave the files that it had given before did not need what was copied: it
//! can stand above. A step that removes or replaces what an earlier one made shrinks nothing, for both layers are kept: the two
//! can be one. The root keeps what became of the steps of the last build of a Dockerfile, and of the last that changed.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use cowlab_driver::Bytes;
use cowlab_layer::{Change, ChangeKind, Digest};
use cowlab_runtime::Root;
use cowlab_runtime::graph::LayerRow;
use cowlab_sys::{FileKind, io, stat};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::options::BuildOptions;
use crate::tree::put;
use crate::{Error, Result};

/// What programs write anew at each run: it says nothing of what they depend on.
const VOLATILE: [&str; 4] = ["/var/log", "/var/cache", "/tmp", "/run"];

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// The stage, by its place in the file.
    pub stage: usize,
    /// The first line of the instruction.
    pub line: usize,
    /// The instruction.
    pub text: String,
    /// Its name.
    pub kind: String,
    /// The chain id of the layer that it made; `None` where it changed no file.
    pub layer: Option<String>,
    /// Whether the cache had it.
    pub is_cached: bool,
    /// How long it takes when it is run.
    pub nanoseconds: u64,
}

impl StepReport {
    fn is_the_same(&self, other: &Self) -> bool {
        self.stage == other.stage && self.text == other.text
    }
}

/// What is known of the builds of a Dockerfile.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    steps: Vec<StepReport>,
    changes: Vec<Changed>,
}

/// A source that changed, and the steps that were run again for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Changed {
    cause: StepReport,
    /// As they were, and as they are.
    again: Vec<(StepReport, StepReport)>,
}

/// What a step copied from the layers below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// The line of the instruction.
    pub line: usize,
    /// The instruction.
    pub text: String,
    /// The bytes of its layer's archive.
    pub size: u64,
    /// How many files it copied up.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many names it removed.
    pub whiteouts: u64,
}

/// What would have been saved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hint {
    /// What to do.
    pub remedy: Remedy,
    /// The line of the step that it is about.
    pub line: usize,
    /// The step.
    pub text: String,
    /// The line of the other step.
    pub other_line: usize,
    /// The other step.
    pub other: String,
    /// Seconds of the last build that ran it again.
    pub seconds: f64,
    /// Bytes of layers.
    pub bytes: u64,
}

/// What to do with two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Put the step above the other, which it does not need.
    Move,
    /// Make one step of both: the one removes or replaces what the other made.
    Merge,
    /// Have `COPY` give owners and modes itself.
    CopyWithOwner,
}

/// What is advised.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Advice {
    /// What to do, what saves most time first.
    pub hints: Vec<Hint>,
    /// What each step copied up.
    pub copied: Vec<Copied>,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for hint in &self.hints {
            let (line, text, other) = (hint.line, &hint.text, hint.other_line);
            match hint.remedy {
                Remedy::Move => writeln!(
                    f,
                    "move line {line} above line {other}: `{text}` does not need what `{}` copies; the last change of it would have saved {:.1} s and {}",
                    hint.other,
                    hint.seconds,
                    Bytes(hint.bytes)
                )?,
                Remedy::Merge => writeln!(
                    f,
                    "merge line {line} into line {other}: `{text}` removes or replaces {} of `{}`, which stay in its layer",
                    Bytes(hint.bytes),
                    hint.other
                )?,
                Remedy::CopyWithOwner => writeln!(
                    f,
                    "give line {other} `--chown` or `--chmod`: `{text}` copies {} of `{}` for it",
                    Bytes(hint.bytes),
                    hint.other
                )?,
            }
        }
        for step in &self.copied {
            writeln!(
                f,
                "line {}: {}, {} files of {} copied up, {} names removed: `{}`",
                step.line,
                Bytes(step.size),
                step.files,
                Bytes(step.bytes),
                step.whiteouts,
                step.text
            )?;
        }
        if self.hints.is_empty() {
            writeln!(f, "nothing to move and nothing to merge is known")?;
        }
        Ok(())
    }
}

/// Where the builds of a Dockerfile are remembered.
fn place(root: &Root, options: &BuildOptions) -> PathBuf {
    let context = options.context.as_deref().unwrap_or(Path::new(""));
    let target = options.target.as_deref().unwrap_or_default();
    let name = format!(
        "{}\n{}\n{target}",
        options.dockerfile.file,
        context.display()
    );
    let digest = Digest::of(name.as_bytes()).to_string();
    let digits = digest.trim_start_matches("sha256:");
    root.dir()
        .join("build/last")
        .join(digits.get(..32).unwrap_or(digits))
}

fn recall(path: &Path) -> Memory {
    let bytes = std::fs::read(path).unwrap_or_default();
    // One of another version tells nothing, and is replaced.
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Keeps what became of the steps of a build.
pub(crate) fn remember(root: &Root, options: &BuildOptions, steps: &[StepReport]) -> Result<()> {
    let path = place(root, options);
    let before = recall(&path);
    let changes = changed(&before.steps, steps);
    let memory = Memory {
        steps: steps
            .iter()
            .map(|step| StepReport {
                is_cached: true,
                ..step.clone()
            })
            .collect(),
        changes: match changes.is_empty() {
            true => before.changes.clone(),
            false => changes,
        },
    };
    if memory == before {
        return Ok(());
    }
    let dir = path.parent().unwrap_or(&path);
    io("mkdir", dir, std::fs::create_dir_all(dir))?;
    let text = serde_json::to_vec(&memory).map_err(|error| Error::refused(error.to_string()))?;
    let partial = path.with_extension(std::process::id().to_string());
    // Nothing is flushed: what a power cut takes is one advice.
    io("write", &partial, std::fs::write(&partial, text))?;
    Ok(io("rename", &path, std::fs::rename(&partial, &path))?)
}

/// The sources that changed since the last build, each with the steps of its stage that were run again.
fn changed(before: &[StepReport], now: &[StepReport]) -> Vec<Changed> {
    let old = |step: &StepReport| before.iter().find(|old| old.is_the_same(step)).cloned();
    let mut changes: Vec<Changed> = Vec::new();
    let mut stage = None;
    for step in now {
        if stage != Some(step.stage) {
            stage = Some(step.stage);
            let first = now
                .iter()
                .filter(|one| one.stage == step.stage)
                .find(|one| !one.is_cached);
            let first = first.filter(|one| ["COPY", "ADD"].contains(&one.kind.as_str()));
            if let Some(cause) = first
                && old(cause).is_some()
            {
                changes.push(Changed {
                    cause: cause.clone(),
                    again: Vec::new(),
                });
            }
            continue;
        }
        if let Some(change) = changes
            .last_mut()
            .filter(|one| one.cause.stage == step.stage)
            && !step.is_cached
            && !step.is_the_same(&change.cause)
            && let Some(old) = old(step)
        {
            change.again.push((old, step.clone()));
        }
    }
    changes
}

/// Advises on the Dockerfile of a build that was done.
pub fn advise(root: &Root, options: &BuildOptions, steps: &[StepReport]) -> Result<Advice> {
    let memory = recall(&place(root, options));
    let mut advice = Advice::default();
    for change in &memory.changes {
        for (old, new) in &change.again {
            if new.kind != "RUN" || !gave_the_same(root, old, new)? {
                continue;
            }
            let size = layer(root, new)?.map_or(0, |layer| layer.size);
            let nanoseconds = u32::try_from(new.nanoseconds / 1_000_000).unwrap_or(u32::MAX);
            advice.hints.push(Hint {
                remedy: Remedy::Move,
                line: new.line,
                text: new.text.clone(),
                other_line: change.cause.line,
                other: change.cause.text.clone(),
                seconds: f64::from(nanoseconds) / 1000.0,
                bytes: size,
            });
        }
    }
    advice.hints.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    find_waste(root, steps, &mut advice)?;
    Ok(advice)
}

fn layer(root: &Root, step: &StepReport) -> Result<Option<LayerRow>> {
    match &step.layer {
        Some(layer) => Ok(root.graph().layer(layer)?),
        None => Ok(None),
    }
}

/// Whether a step gave the same files in two builds, whatever their times; not known where a layer is gone.
fn gave_the_same(root: &Root, old: &StepReport, new: &StepReport) -> Result<bool> {
    match (layer(root, old)?, layer(root, new)?) {
        (Some(old), Some(new)) => Ok(content(root, &old)? == content(root, &new)?),
        _ => Ok(old.layer.is_none() && new.layer.is_none()),
    }
}

fn changes(root: &Root, layer: &LayerRow) -> Result<Vec<Change>> {
    let changes = root.store().changes(&layer.cache_id);
    Ok(changes.map_err(cowlab_runtime::Error::from)?)
}

/// Digests what a layer changes, without times and without what programs write anew each time.
fn content(root: &Root, layer: &LayerRow) -> Result<Digest> {
    let changes = changes(root, layer)?;
    let digested = root.store().with_content(&layer.cache_id, |tree| {
        let mut hasher = Sha256::new();
        for change in &changes {
            if !VOLATILE
                .iter()
                .any(|volatile| change.path.starts_with(volatile))
            {
                put_change(&mut hasher, tree, change)?;
            }
        }
        Ok::<_, Error>(Digest::from_hasher(hasher))
    });
    digested.map_err(cowlab_runtime::Error::from)?
}

fn put_change(hasher: &mut Sha256, tree: &Path, change: &Change) -> Result<()> {
    let place = inside(tree, &change.path);
    if change.kind == ChangeKind::Deleted {
        put(hasher, change.path.as_os_str().as_encoded_bytes());
        put(hasher, b"deleted");
        return Ok(());
    }
    let found = stat::lstat(&place)?;
    if found.kind() == FileKind::Directory && change.kind == ChangeKind::Modified {
        // Its time changed with what is in it.
        return Ok(());
    }
    put(hasher, change.path.as_os_str().as_encoded_bytes());
    put(
        hasher,
        format!("{:o} {} {}", found.mode, found.uid, found.gid).as_bytes(),
    );
    match found.kind() {
        FileKind::Regular => {
            let mut file = io("open", &place, std::fs::File::open(&place))?;
            let mut buffer = vec![0; 128 << 10];
            let mut digest = Sha256::new();
            loop {
                match io("read", &place, file.read(&mut buffer))? {
                    0 => break,
                    count => digest.update(&buffer[..count]),
                }
            }
            put(hasher, &digest.finalize());
        }
        FileKind::Symlink => {
            let target = io("readlink", &place, std::fs::read_link(&place))?;
            put(hasher, target.as_os_str().as_encoded_bytes());
        }
        _ => {}
    }
    Ok(())
}

/// A path of the layer in the tree: a change's own path has no link in it but its last name.
fn inside(tree: &Path, path: &Path) -> PathBuf {
    tree.join(path.strip_prefix("/").unwrap_or(path))
}

/// Finds steps that remove or replace what an earlier one of their stage made, and counts what each copied up.
fn find_waste(root: &Root, steps: &[StepReport], advice: &mut Advice) -> Result<()> {
    let mut waste = Waste::default();
    for (number, step) in steps.iter().enumerate() {
        if number > 0 && steps[number - 1].stage != step.stage {
            waste.made.clear();
        }
        let Some(row) = layer(root, step)? else {
            continue;
        };
        let copied = root.store().copied(&row.cache_id);
        let copied = copied.map_err(cowlab_runtime::Error::from)?;
        advice.copied.push(Copied {
            line: step.line,
            text: step.text.clone(),
            size: row.size,
            files: copied.files,
            bytes: copied.bytes.0,
            whiteouts: copied.whiteouts,
        });
        let changes = changes(root, &row)?;
        let sizes = root
            .store()
            .with_content(&row.cache_id, |tree| sizes(tree, &changes));
        let sizes = sizes.map_err(cowlab_runtime::Error::from)??;
        for (change, size) in changes.iter().zip(sizes) {
            waste.add(number, change, size);
        }
    }
    let hints = waste
        .pairs
        .into_iter()
        .filter_map(|((maker, number), pair)| {
            let (maker, step) = (&steps[maker], &steps[number]);
            Some(Hint {
                remedy: pair.remedy(maker, step)?,
                line: step.line,
                text: step.text.clone(),
                other_line: maker.line,
                other: maker.text.clone(),
                seconds: 0.0,
                bytes: pair.bytes,
            })
        });
    advice.hints.extend(hints);
    Ok(())
}

/// What steps of a stage made of files, and what later ones made of that.
#[derive(Debug, Default)]
struct Waste {
    /// The step that made a file last, and its size.
    made: BTreeMap<PathBuf, (usize, u64)>,
    /// By the step that made files and the one that removed or replaced them.
    pairs: BTreeMap<(usize, usize), Pair>,
}

/// What two steps have in common.
#[derive(Debug)]
struct Pair {
    bytes: u64,
    /// Whether every file is there afterwards, of the same size.
    keeps_sizes: bool,
}

impl Waste {
    /// Takes in what a step did to a path; `size` is that of the file that is there now.
    fn add(&mut self, number: usize, change: &Change, size: Option<u64>) {
        let below = self.made.range(change.path.clone()..);
        let below = below.take_while(|(path, _)| path.starts_with(&change.path));
        let gone: Vec<_> = match change.kind {
            ChangeKind::Deleted => below.map(|(path, _)| path.clone()).collect(),
            _ => self
                .made
                .contains_key(&change.path)
                .then(|| change.path.clone())
                .into_iter()
                .collect(),
        };
        for path in gone {
            if let Some((maker, bytes)) = self.made.remove(&path) {
                let pair = self.pairs.entry((maker, number)).or_insert(Pair {
                    bytes: 0,
                    keeps_sizes: true,
                });
                pair.bytes += bytes;
                pair.keeps_sizes &= size == Some(bytes);
            }
        }
        if let Some(size) = size {
            self.made.insert(change.path.clone(), (number, size));
        }
    }
}

impl Pair {
    fn remedy(&self, maker: &StepReport, step: &StepReport) -> Option<Remedy> {
        match maker.kind.as_str() {
            _ if step.kind != "RUN" || self.bytes == 0 => None,
            "COPY" | "ADD" => self.keeps_sizes.then_some(Remedy::CopyWithOwner),
            "RUN" => Some(Remedy::Merge),
            _ => None,
        }
    }
}

/// The sizes of the regular files among changes.
fn sizes(tree: &Path, changes: &[Change]) -> Result<Vec<Option<u64>>> {
    let size = |change: &Change| {
        if change.kind == ChangeKind::Deleted {
            return Ok(None);
        }
        let found = stat::lstat(inside(tree, &change.path))?;
        Ok((found.kind() == FileKind::Regular).then_some(found.size))
    };
    changes.iter().map(size).collect()
}
