//! Where a path of a container comes from: a mount, the container's own layer, or a layer of its image; what lies below it
//! there, what a write would copy, and after one what it did copy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cowlab_driver::{Bytes, Copied, CopyUp};
use cowlab_snapshots::{Facts, Trace, Traced};
use cowlab_sys::{FileKind, Root};
use serde::Serialize;

use super::mounts::Attached;
use super::place::{Containers, Found};
use super::{Error, Result, spec};
use crate::image::Image;

/// Where a path comes from.
#[derive(Debug, Clone, Serialize)]
pub struct Origin {
    /// The container's id.
    pub container: String,
    /// The path, with links before its last name followed.
    pub path: PathBuf,
    /// The driver.
    pub driver: String,
    /// What is mounted there; then the layers have no say.
    pub mount: Option<MountedAt>,
    /// What the container sees there; `None` for what a layer removed.
    pub shown: Option<Entry>,
    /// What the layers have there, the newest first.
    pub layers: Vec<LayerEntry>,
    /// Where the container reads it, for a driver whose snapshots are whole trees, as long as it is as in the image; a device
    /// or a data set where the snapshot has no directory.
    pub read_from: Option<PathBuf>,
    /// What a first write would copy up; `None` for what is the container's own, or removed.
    pub would_copy: Option<CopyCost>,
    /// What a write did copy up; `None` for what the container has not written.
    pub copied: Option<CopyDone>,
}

/// A mount that a path is on.
#[derive(Debug, Clone, Serialize)]
pub struct MountedAt {
    /// `volume`, `bind`, `tmpfs`, or `system` for what every container gets.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The name of a volume.
    pub name: Option<String>,
    /// The mount point.
    pub target: PathBuf,
    /// Where the path is on the host.
    pub place: Option<PathBuf>,
    /// Whether the container cannot write to it.
    pub read_only: bool,
}

/// An entry.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Entry {
    /// `file`, `directory`, `symlink`, ...
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The size in bytes.
    pub size: u64,
    /// What it allocates.
    pub allocated: Bytes,
    /// Its names.
    pub links: u64,
}

/// What a layer has to do with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// What the container sees is of this layer.
    Shown,
    /// A directory: the names in it show as well.
    Merged,
    /// A layer above hides it.
    Hidden,
    /// It removes what is below.
    Removes,
}

/// What a layer has at a path.
#[derive(Debug, Clone, Serialize)]
pub struct LayerEntry {
    /// The chain id; `None` for the container's own layer.
    pub chain_id: Option<String>,
    /// The command of the image's history that made the layer.
    pub step: Option<String>,
    /// The snapshot: the cache id of an image's layer.
    pub snapshot: String,
    /// Its part in what the container sees.
    pub part: Part,
    /// The entry; `None` where it is removed.
    pub entry: Option<Entry>,
    /// Where it lies on disk.
    pub place: Option<PathBuf>,
    /// The device or data set that it lies in.
    pub volume: Option<PathBuf>,
}

/// What a first write would copy up.
#[derive(Debug, Clone, Serialize)]
pub struct CopyCost {
    /// Bytes that are copied before anything is written.
    pub bytes: u64,
    /// Inodes that the container's layer gets for it.
    pub inodes: u64,
    /// Why it is so.
    pub because: String,
}

/// What a write did copy up.
#[derive(Debug, Clone, Serialize)]
pub struct CopyDone {
    /// Bytes that were copied; `None` where no whole file is, or it was made anew.
    pub bytes: Option<u64>,
    /// What the container's copy allocates alone; `None` where the driver cannot tell it of one file.
    pub allocated: Option<Bytes>,
    /// Inodes that it takes in the container's layer.
    pub inodes: u64,
    /// Why it is so.
    pub because: String,
}

impl Containers<'_> {
    /// Says where a path of a container comes from, whether it runs or not.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where neither the container nor a layer of it has such a path; [`Error::Store`].
    pub fn origin(&self, found: &Found, path: &Path) -> Result<Origin> {
        let record = &found.record;
        let path = self.resolve(found, &Path::new("/").join(path))?;
        let mount = self.mount_at(found, &path)?;
        let mut origin = Origin {
            container: record.id.clone(),
            path: path.clone(),
            driver: self.store().identity().driver.clone(),
            mount,
            shown: None,
            layers: Vec::new(),
            read_from: None,
            would_copy: None,
            copied: None,
        };
        if origin.mount.is_some() {
            return Ok(origin);
        }
        let trace = self.store().trace(&record.snapshot, &path)?;
        if trace.shown.is_none() && trace.traces.is_empty() {
            let reason = format!(
                "neither container `{}` nor a layer of its image has it",
                record.name
            );
            return Err(Error::invalid("path", &path.display().to_string(), reason));
        }
        origin.shown = trace.shown.as_ref().map(entry);
        origin.layers = self.layers_of(found, &trace)?;
        let is_own = trace.traces.first().is_some_and(|first| first.is_head);
        if origin.shown.is_some() && !is_own {
            origin.read_from = trace.place.clone().or_else(|| trace.volume.clone());
        }
        match trace.traces.first() {
            Some(first) if first.is_head => origin.copied = copied(&trace, first),
            _ if trace.shown.is_none() => {}
            _ => origin.would_copy = Some(cost(&trace, record.read_only)),
        }
        Ok(origin)
    }

    /// The path as the container sees it: through its own mounts where it runs.
    fn resolve(&self, found: &Found, path: &Path) -> Result<PathBuf> {
        match self.init(found)? {
            Some(init) => {
                let root = Root::open(Path::new(&format!("/proc/{}/root", init.pid())))?;
                Ok(root.resolve_name_inside(path)?)
            }
            None => Ok(self.store().resolve(&found.record.snapshot, path)?),
        }
    }

    fn mount_at(&self, found: &Found, path: &Path) -> Result<Option<MountedAt>> {
        let mut deepest: Option<MountedAt> = None;
        let mut offer = |mount: MountedAt| {
            let depth = |mount: &MountedAt| mount.target.components().count();
            let is_deeper = |old: &MountedAt| depth(&mount) >= depth(old);
            if path.starts_with(&mount.target) && deepest.as_ref().is_none_or(is_deeper) {
                deepest = Some(mount);
            }
        };
        for target in spec::system_places() {
            offer(MountedAt {
                kind: "system",
                name: None,
                place: None,
                read_only: false,
                target,
            });
        }
        for file in ["hosts", "hostname", "resolv.conf"] {
            let target = Path::new("/etc").join(file);
            let own = |one: &Attached| [Path::new("/etc"), &target].contains(&one.target());
            if found.record.mounts.iter().any(own) {
                continue;
            }
            offer(MountedAt {
                kind: "system",
                name: None,
                place: Some(self.dir_of(&found.record.id).join(file)),
                read_only: false,
                target,
            });
        }
        for attached in &found.record.mounts {
            let target = self.resolve(found, attached.target())?;
            let below = path.strip_prefix(&target).unwrap_or(Path::new(""));
            let join = |dir: &Path| match below.as_os_str().is_empty() {
                true => dir.to_owned(),
                false => dir.join(below),
            };
            let (kind, name, place, read_only) = match attached {
                Attached::Volume {
                    name, read_only, ..
                } => {
                    let place = self.volumes().get(name)?.mountpoint;
                    ("volume", Some(name.clone()), Some(join(&place)), *read_only)
                }
                Attached::Bind {
                    source, read_only, ..
                } => ("bind", None, Some(join(source)), *read_only),
                Attached::Tmpfs { .. } => ("tmpfs", None, None, false),
            };
            offer(MountedAt {
                kind,
                name,
                target,
                place,
                read_only,
            });
        }
        Ok(deepest)
    }

    fn layers_of(&self, found: &Found, trace: &Trace) -> Result<Vec<LayerEntry>> {
        let record = &found.record;
        let image = match &record.image_id {
            Some(id) => Some(self.root().image(id)?),
            None => None,
        };
        let mut steps = BTreeMap::new();
        for line in image.iter().flat_map(Image::history) {
            if let Some(layer) = line.layer {
                steps.insert(layer, line.created_by.or(line.comment));
            }
        }
        let rows = image.iter().flat_map(|image| &image.layers);
        let chain_ids: BTreeMap<_, _> = rows.map(|row| (&row.cache_id, &row.chain_id)).collect();
        let (mut is_first, mut is_covered) = (true, false);
        let mut layers = Vec::new();
        for traced in &trace.traces {
            let part = match (&traced.entry, is_covered, is_first) {
                (None, _, _) => Part::Removes,
                (Some(_), true, _) => Part::Hidden,
                (Some(_), false, true) => Part::Shown,
                (Some(_), false, false) => Part::Merged,
            };
            is_first = false;
            is_covered |= !traced.merges;
            let chain_id = chain_ids.get(&traced.snapshot).map(|id| (*id).clone());
            layers.push(LayerEntry {
                step: chain_id.as_ref().and_then(|id| steps.get(id).cloned()?),
                chain_id,
                snapshot: traced.snapshot.clone(),
                part,
                entry: traced.entry.as_ref().map(entry),
                place: traced.place.clone(),
                volume: traced.volume.clone(),
            });
        }
        Ok(layers)
    }
}

fn entry(facts: &Facts) -> Entry {
    Entry {
        kind: match facts.kind {
            FileKind::Regular => "file",
            FileKind::Directory => "directory",
            FileKind::Symlink => "symlink",
            FileKind::CharDevice => "character device",
            FileKind::BlockDevice => "block device",
            FileKind::Fifo => "FIFO",
            FileKind::Socket => "socket",
            FileKind::Unknown => "unknown",
        },
        size: facts.size,
        allocated: facts.allocated,
        links: facts.links,
    }
}

fn cost(trace: &Trace, read_only: bool) -> CopyCost {
    let kind = trace.shown.map_or(FileKind::Unknown, |facts| facts.kind);
    let nothing = |because: &str| CopyCost {
        bytes: 0,
        inodes: 0,
        because: because.to_owned(),
    };
    if read_only {
        return nothing("the container's root file system is read-only: no write is let through");
    }
    match trace.copy_up {
        CopyUp::Everything => nothing("the driver copied every file when the container was made"),
        CopyUp::Blocks => nothing(
            "only the blocks that are written are allocated anew; the rest stays shared with the image",
        ),
        CopyUp::File => {
            let (bytes, what) = match (kind, trace.shown) {
                (FileKind::Regular, Some(facts)) => (facts.size, "the whole file"),
                (FileKind::Directory, _) => (0, "the directory without its content"),
                _ => (0, "the entry"),
            };
            let above = match trace.directories {
                0 => String::new(),
                1 => " and the directory above it".to_owned(),
                more => format!(" and {more} directories above it"),
            };
            CopyCost {
                bytes,
                inodes: 1 + trace.directories,
                because: format!("opening it for writing copies {what}{above}"),
            }
        }
    }
}

/// What was copied of an entry that is the container's own; `None` where that removed it.
fn copied(trace: &Trace, first: &Traced) -> Option<CopyDone> {
    let own = first.entry.as_ref()?;
    let below = trace.traces.get(1).and_then(|next| next.entry.as_ref());
    let is_file = own.kind == FileKind::Regular;
    let original = below.filter(|below| is_file && below.kind == FileKind::Regular);
    let mut done = CopyDone {
        bytes: None,
        allocated: own.exclusive,
        inodes: 1,
        because: String::new(),
    };
    let Some(original) = original else {
        let is_changed = below.is_some_and(|below| below.kind == own.kind);
        done.because = match (trace.copy_up, first.copied) {
            (CopyUp::File, Some(Copied::Whole)) => "the entry was copied up for a change in it",
            (CopyUp::File, _) => "the container made it",
            _ if is_changed => {
                done.inodes = 0;
                "the container changed it in place"
            }
            _ => "the container made it",
        }
        .to_owned();
        return Some(done);
    };
    done.because = match (trace.copy_up, first.copied) {
        (CopyUp::File, Some(Copied::Attributes)) => {
            done.bytes = Some(0);
            "its attributes alone were copied up (metacopy)"
        }
        // overlayfs marks no copy of a file with several names (fs/overlayfs/copy_up.c, `ovl_copy_up_one`).
        (CopyUp::File, Some(Copied::Nothing)) if original.links < 2 => {
            "the container made another file in its place"
        }
        (CopyUp::File, _) => {
            done.bytes = Some(original.size);
            "the whole file was copied up before the first write"
        }
        (CopyUp::Everything, _) => {
            done.bytes = Some(original.size);
            "the driver copied it when the container was made"
        }
        (CopyUp::Blocks, _) => {
            done.inodes = 0;
            match own.exclusive {
                Some(_) => "only the blocks that were written are its own",
                None => "only the blocks that were written are its own; the driver counts them for the whole container",
            }
        }
    }
    .to_owned();
    Some(done)
}
