//! `COPY` and `ADD`.
//!
//! A step is looked for twice: by what stat(2) tells of the files, or by the layers that they are of, and by their content.
//! The first costs no reading, and stands for the second once that was known.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cowlab_dockerfile::{Add, Base, Copy, Document, Ignore, Mode, Remote, Source};
use cowlab_layer::apply::{self, ApplyOptions};
use cowlab_runtime::container::owner;
use cowlab_runtime::graph::LayerRow;
use cowlab_runtime::image::open_archive;
use cowlab_sys::{FileKind, Root, at, io};

use crate::cache::{Key, Outcome};
use crate::copy::{Options, Target, make_dirs};
use crate::progress::Step;
use crate::stage::Stage;
use crate::state::State;
use crate::tree::{Changes, Selected, Tree};
use crate::{Error, Result};

/// How long ago a file has to have been changed for stat(2) to tell the next change: the clock of a file system goes in steps
/// (ext4's by jiffies, and others by seconds).
const SETTLED: Duration = Duration::from_secs(2);

/// What `COPY` and `ADD` have in common.
pub(crate) struct Transfer<'i> {
    from: Option<&'i str>,
    sources: &'i [Source],
    destination: &'i str,
    owner: Option<&'i str>,
    mode: Option<&'i str>,
    link: bool,
    parents: bool,
    exclude: &'i [String],
    unpacks: bool,
}

impl<'i> From<&'i Copy> for Transfer<'i> {
    fn from(copy: &'i Copy) -> Self {
        Self {
            from: copy.from.as_deref(),
            sources: &copy.sources,
            destination: &copy.destination,
            owner: copy.owner.as_deref(),
            mode: copy.mode.as_deref(),
            link: copy.link,
            parents: copy.parents,
            exclude: &copy.exclude,
            unpacks: false,
        }
    }
}

impl<'i> From<&'i Add> for Transfer<'i> {
    fn from(add: &'i Add) -> Self {
        Self {
            from: None,
            sources: &add.sources,
            destination: &add.destination,
            owner: add.owner.as_deref(),
            mode: add.mode.as_deref(),
            link: add.link,
            parents: false,
            exclude: &add.exclude,
            unpacks: add.unpack.unwrap_or(true),
        }
    }
}

impl Transfer<'_> {
    fn paths(&self) -> Result<Vec<&str>> {
        let mut paths = Vec::new();
        for source in self.sources {
            if let Source::Path(path) = source {
                if self.from.is_none() && Remote::of(path).is_some() {
                    return Err(Error::refused(format!(
                        "`{path}` is an address, and nothing is fetched here: fetch it in a `RUN`, or put it into the context"
                    )));
                }
                paths.push(path.as_str());
            }
        }
        Ok(paths)
    }

    fn documents(&self) -> impl Iterator<Item = &Document> {
        self.sources.iter().filter_map(|source| match source {
            Source::Document(document) => Some(document),
            Source::Path(_) => None,
        })
    }

    /// What the result depends on beside the files.
    fn describe(&self, key: &mut Key, destination: &str) {
        key.add(destination);
        for option in [self.owner, self.mode] {
            key.add(option.map_or("none".to_owned(), |option| format!("={option}")));
        }
        key.add(format!("{} {} {}", self.link, self.parents, self.unpacks));
        for document in self.documents() {
            key.add(&document.name).add(&document.text);
        }
    }
}

/// A step with all that is known of it before its files are looked at.
struct Prepared<'p> {
    transfer: &'p Transfer<'p>,
    destination: String,
    mode: Option<Mode>,
    exclude: Ignore,
    /// On what the files are copied: nothing, with `--link`.
    parent: Option<&'p LayerRow>,
    key: Key,
}

impl Stage<'_, '_> {
    /// Copies files.
    pub(crate) fn copy(
        &self,
        state: &State,
        transfer: &Transfer<'_>,
        step: &Step,
    ) -> Result<Outcome> {
        let destination = state.absolute(transfer.destination);
        let parent = state.top().filter(|_| !transfer.link);
        let mut key = self.key("copy", parent);
        transfer.describe(&mut key, &destination);
        let exclude = transfer.exclude.iter().map(String::as_str);
        let prepared = Prepared {
            transfer,
            destination,
            mode: transfer
                .mode
                .map(Mode::parse)
                .transpose()
                .map_err(Error::refused)?,
            exclude: Ignore::of_patterns(exclude).map_err(Error::refused)?,
            parent,
            key,
        };
        let outcome = match transfer.from {
            None if transfer.paths()?.is_empty() => {
                let key = prepared.key.clone().finish();
                self.make(step, &key, parent, || self.transfer(&prepared, None))?
            }
            None => self.copy_from_context(&prepared, step)?,
            Some(from) => self.copy_from_layers(&prepared, from, step)?,
        };
        match (outcome.layer, state.top()) {
            (Some(layer), Some(top)) if transfer.link => Ok(Outcome {
                layer: Some(self.builder.build.rebase(&layer, top)?),
                ..outcome
            }),
            (layer, _) => Ok(Outcome { layer, ..outcome }),
        }
    }

    fn copy_from_context(&self, prepared: &Prepared<'_>, step: &Step) -> Result<Outcome> {
        let tree = self.builder.context()?;
        let selected = select(tree, prepared)?;
        let mut quick = prepared.key.clone();
        quick
            .add("stat")
            .add(tree.stat_digest(&selected).as_bytes());
        let quick = quick.finish();
        if let Some(found) = self.cached_quickly(step, &quick)? {
            return Ok(found);
        }
        let outcome = self.copy_selected(prepared, tree, &selected, step)?;
        if is_settled(&selected) {
            self.remember(&quick, prepared.parent, &outcome, step)?;
        }
        Ok(outcome)
    }

    fn copy_from_layers(
        &self,
        prepared: &Prepared<'_>,
        from: &str,
        step: &Step,
    ) -> Result<Outcome> {
        let (layers, what) = self.layers_of(from)?;
        let mut quick = prepared.key.clone();
        quick.add("layers");
        quick.add(layers.last().map_or("", |layer| &layer.chain_id));
        for text in prepared.transfer.paths()? {
            quick.add("source").add(text);
        }
        for text in prepared.transfer.exclude {
            quick.add("exclude").add(text);
        }
        let quick = quick.finish();
        if let Some(found) = self.cached_quickly(step, &quick)? {
            return Ok(found);
        }
        let outcome = self.builder.with_layers(&layers, what, |tree| {
            let selected = select(tree, prepared)?;
            self.copy_selected(prepared, tree, &selected, step)
        })?;
        self.remember(&quick, prepared.parent, &outcome, step)?;
        Ok(outcome)
    }

    /// The layers of a stage or an image that an instruction names.
    pub(crate) fn layers_of(&self, from: &str) -> Result<(Vec<LayerRow>, String)> {
        let builder = self.builder;
        match builder.options.dockerfile.source(from, self.planned.stage) {
            Base::Scratch => Ok((Vec::new(), "`scratch`".to_owned())),
            Base::Stage(number) => {
                let layers = builder.stage(number)?.layers.clone();
                Ok((layers, format!("stage `{from}`")))
            }
            Base::Image(name) => {
                let layers = builder.image(&name, None)?.layers.clone();
                Ok((layers, format!("image `{name}`")))
            }
        }
    }

    fn copy_selected(
        &self,
        prepared: &Prepared<'_>,
        tree: &Tree,
        selected: &[Selected],
        step: &Step,
    ) -> Result<Outcome> {
        let changes = Changes {
            mode: prepared.mode.as_ref(),
            replaces_owners: prepared.transfer.owner.is_some(),
        };
        let mut key = prepared.key.clone();
        key.add("content");
        key.add(tree.digest(selected, &changes)?.as_bytes());
        self.make(step, &key.finish(), prepared.parent, || {
            self.transfer(prepared, Some((tree, selected)))
        })
    }

    /// Copies files into a new snapshot, and makes a layer of it.
    fn transfer(
        &self,
        prepared: &Prepared<'_>,
        selected: Option<(&Tree, &[Selected])>,
    ) -> Result<Option<LayerRow>> {
        let build = self.builder.build;
        let snapshot = build.prepare(prepared.parent)?;
        build.with_mounted(&snapshot, |place| {
            let root = Root::open(place)?;
            let owner = prepared.transfer.owner.map(|text| owner(&root, text));
            let options = Options {
                owner: owner.transpose()?,
                mode: prepared.mode.clone(),
            };
            let target = Target {
                root: &root,
                options: &options,
            };
            if let Some((tree, selected)) = selected {
                place_selected(&target, tree, selected, prepared)?;
            }
            for document in prepared.transfer.documents() {
                write_document(&target, document, &prepared.destination)?;
            }
            Ok::<_, Error>(())
        })?;
        Ok(build.commit(&snapshot, prepared.parent, &self.step_options())?)
    }
}

/// What the paths of an instruction select.
fn select(tree: &Tree, prepared: &Prepared<'_>) -> Result<Vec<Selected>> {
    let transfer = prepared.transfer;
    let mut selected = Vec::new();
    for path in transfer.paths()? {
        selected.extend(tree.select(path, &prepared.exclude, transfer.parents)?);
    }
    let count = selected.len();
    if count > 1 && !prepared.destination.ends_with('/') {
        return Err(Error::refused(format!(
            "{count} sources are copied to `{}`: a destination of several is a directory, and ends with `/`",
            transfer.destination
        )));
    }
    Ok(selected)
}

/// Whether every file was changed so long ago that the next change shows.
pub(crate) fn is_settled(selected: &[Selected]) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap_or_default().saturating_sub(SETTLED).as_secs();
    let entries = selected.iter().flat_map(Selected::entries);
    let mut times = entries.map(|(_, node)| node.stat.ctime.sec);
    times.all(|changed| u64::try_from(changed).is_ok_and(|changed| changed < now))
}

/// Copies what one source selected; archives are unpacked where the instruction is `ADD`.
fn place_selected(
    target: &Target<'_>,
    tree: &Tree,
    selected: &[Selected],
    prepared: &Prepared<'_>,
) -> Result<()> {
    if !prepared.transfer.unpacks {
        return target.copy(tree, selected, &prepared.destination);
    }
    for one in selected {
        let is_file = one.node.stat.kind() == FileKind::Regular;
        if !is_file || !unpack(target, tree, one, &prepared.destination)? {
            target.copy(tree, std::slice::from_ref(one), &prepared.destination)?;
        }
    }
    Ok(())
}

/// Unpacks an archive into the directory `destination`; false where it is none.
fn unpack(target: &Target<'_>, tree: &Tree, one: &Selected, destination: &str) -> Result<bool> {
    let file = tree.open_file(&one.node)?;
    let Some(mut archive) = io("read", &one.node.path, open_archive(&file))? else {
        return Ok(false);
    };
    let failed = |reason| Error::Archive {
        name: one.node.path.display().to_string(),
        reason: Box::new(reason),
    };
    let owner = target.options.owner;
    make_dirs(target.root, Path::new(destination), owner.unwrap_or((0, 0)))?;
    let flags = at::OFlags::RDONLY | at::OFlags::DIRECTORY;
    let dir = target.root.open_inside(Path::new(destination), flags, 0)?;
    let union = apply::Target::union(&at::descriptor_path(&dir)).map_err(failed)?;
    let options = ApplyOptions {
        owner,
        ..ApplyOptions::default()
    };
    apply::apply_to(union, &mut archive, &options).map_err(failed)?;
    tree.refuse_changed(&one.node, &file)?;
    Ok(true)
}

/// Makes a file of a here-document.
fn write_document(target: &Target<'_>, document: &Document, destination: &str) -> Result<()> {
    let (root, options) = (target.root, target.options);
    let mut place = Path::new(destination).to_owned();
    let found = root.resolve_inside(&place)?;
    let is_dir = found.is_some_and(|(_, found)| found.kind() == FileKind::Directory);
    if is_dir || destination.ends_with('/') {
        place.push(&document.name);
    }
    let owner = options.owner.unwrap_or((0, 0));
    make_dirs(root, place.parent().unwrap_or(Path::new("/")), owner)?;
    let place = root.lead_inside(&place)?;
    let (dir, name) = root.parent_inside(&place)?;
    if at::stat_if_present(&dir, &name)?.is_some() {
        at::unlink(&dir, &name)?;
    }
    let mut file = at::create(&dir, &name, 0o644)?;
    io("write", &place, file.write_all(document.text.as_bytes()))?;
    at::chown(&dir, &name, owner.0, owner.1)?;
    let mode = options
        .mode
        .as_ref()
        .map_or(0o644, |mode| mode.apply(0o644, false));
    Ok(at::chmod_descriptor(&file, mode)?)
}
