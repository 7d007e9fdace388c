//! `cp`: files between the host and a container, running or not.
//!
//! The container's side is resolved as the container sees it: its links lead on inside it, never to the host. What is
//! copied is made under another name and renamed, so that a file is whole or as before.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use cowlab_layer::apply::{self, ApplyOptions, Target};
use cowlab_layer::{Change, ChangeKind, DiffOptions, LayerError};
use cowlab_layer::{changes, diff};
use cowlab_sys::at::RenameFlags;
use cowlab_sys::mount::{self, MountAttributes, MountGuard};
use cowlab_sys::process::with_private_mounts;
use cowlab_sys::stat::{self, Stat};
use cowlab_sys::{FileKind, Root, at, dir, io};

use super::mounts::{Attached, cleaned};
use super::place::{Containers, Found};
use super::view::{self, View};
use super::{Error, Result, files, spec};

/// Who owns what was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Root, or the user of this process: docker's default.
    Receiver,
    /// Whoever owned it (`-a`).
    Kept,
}

/// What becomes of a source that is a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// The link is copied: docker's default.
    Kept,
    /// What it leads to is copied, under the link's name (`-L`).
    Followed,
}

/// Copies `source` of the host into a container at `target`.
///
/// # Errors
///
/// [`Error::Invalid`] for places that do not fit, [`Error::Store`], [`Error::Sys`].
pub fn copy_in(
    containers: &Containers<'_>,
    found: &Found,
    source: &Path,
    target: &Path,
    owner: Owner,
    links: Links,
) -> Result<()> {
    let host = Root::open(Path::new("/"))?;
    let source_absolute = io("getcwd", source, std::path::absolute(source))?;
    let source_absolute = cleaned(&source_absolute);
    let from = End::new(&host, &source_absolute, source);
    with_tree(containers, found, |root| {
        copy(
            &from,
            &End::new(root, &cleaned(target), target).of_container(),
            owner,
            links,
        )
    })
}

/// Copies `source` of a container to `target` on the host.
pub fn copy_out(
    containers: &Containers<'_>,
    found: &Found,
    source: &Path,
    target: &Path,
    owner: Owner,
    links: Links,
) -> Result<()> {
    let host = Root::open(Path::new("/"))?;
    let target_absolute = io("getcwd", target, std::path::absolute(target))?;
    let target_absolute = cleaned(&target_absolute);
    let to = End::new(&host, &target_absolute, target);
    with_tree(containers, found, |root| {
        copy(
            &End::new(root, &cleaned(source), source).of_container(),
            &to,
            owner,
            links,
        )
    })
}

/// Writes `source` of a container as a tar, as `cp CONTAINER:PATH -` has it.
pub fn copy_to_stream(
    containers: &Containers<'_>,
    found: &Found,
    source: &Path,
    sink: &mut (dyn Write + Send),
    links: Links,
) -> Result<()> {
    with_tree(containers, found, |root| {
        let path = cleaned(source);
        let from = End::new(root, &path, source).of_container();
        let (whole, stat) = from.source(links)?;
        let (dir, name) = match from.is_content() {
            true => (opened(&from, &whole)?, None),
            false => {
                let (dir, name) = root.parent_inside(&whole)?;
                (dir, Some(Path::new("/").join(name)))
            }
        };
        let mut changes = match stat.kind() {
            FileKind::Directory => {
                let tree = opened(&from, &whole)?;
                everything(&from, &whole, &at::descriptor_path(&tree))?
            }
            _ => vec![added(PathBuf::from("/"))],
        };
        for change in &mut changes {
            if let Some(name) = &name {
                let below = change.path.strip_prefix("/").unwrap_or(&change.path);
                change.path = match below.as_os_str().is_empty() {
                    true => name.clone(),
                    false => name.join(below),
                };
            }
        }
        let options = DiffOptions {
            across_mounts: true,
            sparse: false,
        };
        diff::write(&at::descriptor_path(&dir), &changes, sink, &options)
            .map(drop)
            .map_err(|reason| layer(&from, reason))
    })
}

/// Unpacks a tar into the directory `target` of a container, as `cp - CONTAINER:PATH` has it: owners are the tar's.
pub fn copy_from_stream(
    containers: &Containers<'_>,
    found: &Found,
    source: &mut (dyn Read + Send),
    target: &Path,
) -> Result<()> {
    with_tree(containers, found, |root| {
        let path = cleaned(target);
        let to = End::new(root, &path, target).of_container();
        let place = opened(&to, &path)?;
        if stat::fstat(&place)?.kind() != FileKind::Directory {
            return Err(to.bad("a tar is unpacked into a directory, and it is none"));
        }
        let union = Target::union(&at::descriptor_path(&place)).map(Target::across_mounts);
        let unpacked =
            union.and_then(|union| apply::apply_to(union, source, &ApplyOptions::default()));
        unpacked.map(drop).map_err(|reason| layer(&to, reason))
    })
}

/// Gives `work` the tree of a container: through its first process where it runs, else mounted for nobody else to see.
fn with_tree<T: Send>(
    containers: &Containers<'_>,
    found: &Found,
    work: impl FnOnce(&Root) -> Result<T> + Send,
) -> Result<T> {
    if let Some(init) = containers.init(found)? {
        let root = Root::open(Path::new(&format!("/proc/{}/root", init.pid())))?;
        return work(&root);
    }
    let _lock = containers.lock(&found.record)?;
    let rootfs = containers.dir_of(&found.record.id).join("rootfs");
    files::make_dir(&rootfs)?;
    with_private_mounts(|| {
        let mounted = containers.store().mount(&found.record.snapshot, &rootfs)?;
        let done = Root::open(mounted.target())
            .map_err(Error::from)
            .and_then(|root| {
                let mut binds =
                    bind_all(containers, &found.record.mounts, &root, mounted.target())?;
                let done = work(&root);
                // Deeper ones were bound later.
                while let Some(bind) = binds.pop() {
                    drop(bind);
                }
                done
            });
        drop(mounted);
        done
    })?
}

/// Binds volumes and directories of the host where the container has them, as far as the mount points are there: the first
/// start makes them.
fn bind_all(
    containers: &Containers<'_>,
    attached: &[Attached],
    root: &Root,
    rootfs: &Path,
) -> Result<Vec<MountGuard>> {
    let mut binds = Vec::new();
    let attached = attached.iter().collect();
    for one in view::ordered(&View::new(root), attached, |one: &&Attached| one.target())? {
        let (source, read_only) = match one {
            Attached::Volume {
                name, read_only, ..
            } => (containers.volumes().get(name)?.mountpoint, *read_only),
            Attached::Bind {
                source, read_only, ..
            } => (source.clone(), *read_only),
            Attached::Tmpfs { .. } => continue,
        };
        let Some((inside, _)) = root.resolve_inside(one.target())? else {
            continue;
        };
        let attributes = MountAttributes {
            read_only,
            ..MountAttributes::default()
        };
        let target = rootfs.join(inside.strip_prefix("/").unwrap_or(&inside));
        binds.push(mount::bind(&source, &target, attributes)?);
    }
    Ok(binds)
}

/// One side of a copy.
#[derive(Debug, Clone, Copy)]
struct End<'a> {
    root: &'a Root,
    path: &'a Path,
    /// As it was written, for its last character and for messages.
    text: &'a Path,
    is_container: bool,
}

impl<'a> End<'a> {
    fn new(root: &'a Root, path: &'a Path, text: &'a Path) -> Self {
        Self {
            root,
            path,
            text,
            is_container: false,
        }
    }

    fn of_container(self) -> Self {
        Self {
            is_container: true,
            ..self
        }
    }

    fn ends_in(&self, end: &str) -> bool {
        self.text
            .as_os_str()
            .as_encoded_bytes()
            .ends_with(end.as_bytes())
    }

    /// Whether what is in a directory is meant, and not the directory.
    fn is_content(&self) -> bool {
        self.ends_in("/.") || self.path == Path::new("/")
    }

    /// What is copied, and where that is.
    fn source(&self, links: Links) -> Result<(PathBuf, Stat)> {
        let mut whole = self.path.components().as_path().to_owned();
        if links == Links::Followed {
            whole = View::new(self.root).find(&whole)?.path;
        }
        let found = match whole.file_name() {
            Some(name) if !self.is_content() && !self.ends_in("/") => {
                let (parent, _) = self.root.parent_inside(&whole)?;
                at::stat_if_present(&parent, name)?
            }
            _ => self.root.resolve_inside(&whole)?.map(|(_, stat)| stat),
        };
        let found = found.ok_or_else(|| self.bad("there is no such file"))?;
        Ok((whole, found))
    }

    fn bad(&self, reason: &str) -> Error {
        Error::invalid("path", &self.text.display().to_string(), reason)
    }
}

/// What kinds the two sides are decides what the copy is called: cp(1)'s and docker's rules.
fn copy(from: &End<'_>, to: &End<'_>, owner: Owner, links: Links) -> Result<()> {
    let is_content = from.is_content();
    let (whole, found) = from.source(links)?;
    let there = to.root.resolve_inside(to.path)?;
    let there_is_dir = there
        .as_ref()
        .is_some_and(|(_, stat)| stat.kind() == FileKind::Directory);
    let is_dir = found.kind() == FileKind::Directory;
    if (is_content || from.ends_in("/")) && !is_dir {
        return Err(from.bad("it is no directory"));
    }
    if !is_dir && to.ends_in("/") && !there_is_dir {
        return Err(to.bad("there is no such directory"));
    }
    if is_dir && there.is_some() && !there_is_dir {
        return Err(to.bad("a directory cannot take the place of a file"));
    }
    // Through links, dangling ones as well; a link in the directory that receives is replaced (moby/pkg/archive/copy.go,
    // `CopyInfoDestinationPath`).
    let place = View::new(to.root).find(to.path)?.path;
    let target = match (there_is_dir, is_content, from.path.file_name()) {
        (true, false, Some(name)) => place.join(name),
        _ => place,
    };
    match is_dir {
        true => directory(from, &whole, to, &target, owner),
        false => single(from, &whole, to, &target, owner),
    }
}

/// Copies a directory: into the one that is there, or under its name at once.
fn directory(
    from: &End<'_>,
    whole: &Path,
    to: &End<'_>,
    target: &Path,
    owner: Owner,
) -> Result<()> {
    let source = opened(from, whole)?;
    let source = at::descriptor_path(&source);
    let found = everything(from, whole, &source)?;
    match to.root.resolve_inside(target)? {
        Some((inside, stat)) if stat.kind() == FileKind::Directory => {
            let place = opened(to, &inside)?;
            // The directory itself stays as it is.
            let below: Vec<Change> = found
                .into_iter()
                .filter(|one| one.path != Path::new("/"))
                .collect();
            pour(
                from,
                &source,
                &below,
                Target::union(&at::descriptor_path(&place)).map(Target::across_mounts),
            )?;
            owned(owner, &place, &below)
        }
        Some(_) => Err(to.bad("a directory cannot take the place of a file")),
        None => {
            let (parent, name) = parent(to, target)?;
            let new = new_name()?;
            at::mkdir(&parent, &new, 0o700)?;
            let done = at::open_dir(&parent, &new)
                .map_err(Error::from)
                .and_then(|place| {
                    pour(
                        from,
                        &source,
                        &found,
                        Target::base(&at::descriptor_path(&place)),
                    )?;
                    owned(owner, &place, &found)
                })
                .and_then(|()| {
                    Ok(at::rename(
                        &parent,
                        &new,
                        &parent,
                        &name,
                        RenameFlags::empty(),
                    )?)
                });
            rolled_back(done, &parent, &new)
        }
    }
}

/// What is in the directory `whole`, which is open at `source`.
fn everything(from: &End<'_>, whole: &Path, source: &Path) -> Result<Vec<Change>> {
    // What the kernel shows in a container is no file of its.
    let system = spec::system_places();
    let inside = from.root.resolve_inside(whole)?.map(|(inside, _)| inside);
    let is_system = |below: &Path| {
        let below = below.strip_prefix("/").unwrap_or(below);
        let place = inside.as_ref().map(|inside| inside.join(below));
        from.is_container && place.is_some_and(|place| system.contains(&place))
    };
    changes::everything(source, &is_system).map_err(|reason| layer(from, reason))
}

fn added(path: PathBuf) -> Change {
    let kind = ChangeKind::Added;
    Change { path, kind }
}

/// Copies anything but a directory.
fn single(from: &End<'_>, whole: &Path, to: &End<'_>, target: &Path, owner: Owner) -> Result<()> {
    let (source, old) = from.root.parent_inside(whole)?;
    let source = at::descriptor_path(&source);
    let change = added(Path::new("/").join(&old));
    let (parent, name) = parent(to, target)?;
    if at::stat_if_present(&parent, &name)?.is_some_and(|stat| stat.kind() == FileKind::Directory) {
        return Err(to.bad("a file cannot take the place of a directory"));
    }
    let new = new_name()?;
    at::mkdir(&parent, &new, 0o700)?;
    let done = at::open_dir(&parent, &new)
        .map_err(Error::from)
        .and_then(|place| {
            pour(
                from,
                &source,
                std::slice::from_ref(&change),
                Target::base(&at::descriptor_path(&place)),
            )?;
            owned(owner, &place, std::slice::from_ref(&change))?;
            Ok(at::rename(
                &place,
                &old,
                &parent,
                &name,
                RenameFlags::empty(),
            )?)
        });
    let done = rolled_back(done, &parent, &new);
    if done.is_ok() {
        at::rmdir(&parent, &new)?;
    }
    done
}

fn opened(end: &End<'_>, path: &Path) -> Result<std::os::fd::OwnedFd> {
    let found = end.root.find_inside(path)?;
    found.ok_or_else(|| end.bad("there is no such file"))
}

fn parent(to: &End<'_>, target: &Path) -> Result<(std::os::fd::OwnedFd, PathBuf)> {
    to.root
        .parent_inside(target)
        .map_err(|error| match error.errno() {
            Some(cowlab_sys::Errno::NOENT) => {
                to.bad("the directory that it would be in does not exist")
            }
            _ => error.into(),
        })
}

fn new_name() -> Result<PathBuf> {
    let unique = cowlab_sys::IdSource::Kernel.uuid("cp")?;
    Ok(PathBuf::from(format!(".cowlab-cp-{unique}")))
}

/// Removes what a failed copy made.
fn rolled_back(done: Result<()>, parent: &impl AsFd, new: &Path) -> Result<()> {
    if done.is_err()
        && let Err(error) = dir::remove_tree(at::descriptor_path(parent).join(new))
    {
        tracing::warn!(%error, "left behind");
    }
    done
}

/// A layer's writer and reader back to back: between them they know every attribute.
fn pour(
    from: &End<'_>,
    source: &Path,
    found: &[Change],
    target: Result<Target, LayerError>,
) -> Result<()> {
    let target = target.map_err(|reason| layer(from, reason))?;
    let (mut reader, mut writer) = io("pipe", source, std::io::pipe())?;
    let options = ApplyOptions::default();
    let (written, applied) = std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let options = DiffOptions {
                across_mounts: true,
                ..DiffOptions::default()
            };
            diff::write(source, found, &mut writer, &options).map(drop)
        });
        let applied = apply::apply_to(target, &mut reader, &options);
        // A writer whose reader failed would wait for room for ever.
        drop(reader);
        (writing.join(), applied)
    });
    let written = written.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    applied
        .map(drop)
        .and(written)
        .map_err(|reason| layer(from, reason))
}

fn layer(from: &End<'_>, reason: LayerError) -> Error {
    cowlab_snapshots::Error::Layer {
        action: "copy",
        key: from.text.display().to_string(),
        reason: Box::new(reason),
    }
    .into()
}

/// Gives what was copied to whoever receives it; what was there before keeps its owner.
fn owned(owner: Owner, place: &impl AsFd, copied: &[Change]) -> Result<()> {
    if owner == Owner::Kept {
        return Ok(());
    }
    let uid = cowlab_sys::process::effective_uid();
    for change in copied {
        let path = change.path.strip_prefix("/").unwrap_or(&change.path);
        let Some(name) = path.file_name() else {
            at::chown(place, "", uid, uid)?;
            continue;
        };
        let mut dir = at::open_dir(place, ".")?;
        for step in path.parent().into_iter().flatten() {
            dir = at::enter_across(&dir, step)?;
        }
        at::chown(&dir, name, uid, uid)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn try_copy(place: &Path, from: &str, to: &str) -> Result<()> {
        let host = Root::open(Path::new("/"))?;
        let (from, to) = (
            format!("{}/{from}", place.display()),
            format!("{}/{to}", place.display()),
        );
        let (from, to) = (Path::new(&from), Path::new(&to));
        copy(
            &End::new(&host, from, from),
            &End::new(&host, to, to),
            Owner::Kept,
            Links::Kept,
        )
    }

    #[test]
    fn names_follow_dockers_rules() {
        let place = tempfile::tempdir().unwrap();
        let at = place.path().canonicalize().unwrap();
        fs::create_dir_all(at.join("src/sub")).unwrap();
        fs::create_dir(at.join("there")).unwrap();
        fs::write(at.join("src/sub/file"), "content").unwrap();
        let copied = |from, to| try_copy(&at, from, to);
        copied("src", "new").unwrap();
        assert!(at.join("new/sub/file").is_file());
        copied("src", "there").unwrap();
        assert!(at.join("there/src/sub/file").is_file());
        copied("src/.", "there").unwrap();
        assert!(at.join("there/sub/file").is_file());
        copied("src/sub/file", "there").unwrap();
        copied("src/sub/file", "there/other").unwrap();
        assert_eq!(fs::read(at.join("there/other")).unwrap(), b"content");
        copied("src/sub/file", "there/other").unwrap();
        for (from, to) in [
            ("none", "x"),
            ("src", "there/file"),
            ("src/sub/file", "x/"),
            ("src/sub/file", "x/y"),
        ] {
            assert!(copied(from, to).is_err(), "{from} {to}");
        }
        let left = fs::read_dir(&at)
            .unwrap()
            .chain(fs::read_dir(at.join("there")).unwrap());
        assert!(
            left.flatten()
                .all(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        );
    }
}
