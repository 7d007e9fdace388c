//! A tree that a build copies files from: the context, or what a stage or an image has.
//!
//! It is read as far as it is asked for, each directory once, and each file is hashed once. Links lead on inside it and
//! never out (openat2(2), `RESOLVE_IN_ROOT`).

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cowlab_dockerfile::{Ignore, Mode, Pattern, Verdict, has_wildcards};
use cowlab_layer::{Digest, is_portable};
use cowlab_sys::at::{self, OFlags};
use cowlab_sys::{Errno, FileKind, Root, Stat, dir, io, stat, xattr};
use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

/// How much of a file is read at a time, in bytes.
const PIECE: usize = 128 << 10;

/// A tree.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Root,
    /// What it is, for messages.
    what: String,
    ignore: Ignore,
    listings: Mutex<HashMap<PathBuf, Arc<Vec<Node>>>>,
    digests: Mutex<HashMap<PathBuf, Digest>>,
    /// Whether owners are the tree's: files of a context are nobody's.
    pub(crate) keeps_owners: bool,
}

/// Something in a tree.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Its path from the tree's root, without links.
    pub(crate) path: PathBuf,
    pub(crate) stat: Stat,
    /// What the context's patterns say of it.
    verdict: Verdict,
}

/// What one source of an instruction selects: a file, or a directory's content.
#[derive(Debug, Clone)]
pub(crate) struct Selected {
    /// The last name of the source as it was written: that of a file in a directory.
    pub(crate) name: OsString,
    /// The directories above it, where they come along (`--parents`).
    pub(crate) parents: Option<PathBuf>,
    pub(crate) node: Node,
    /// What is in it, parents before children, with paths from it.
    pub(crate) below: Vec<(PathBuf, Node)>,
}

impl Selected {
    /// Everything with its path from the source, which itself has an empty one.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Path, &Node)> {
        let own = std::iter::once((Path::new(""), &self.node));
        own.chain(self.below.iter().map(|(path, node)| (path.as_path(), node)))
    }
}

/// What becomes of files when they are copied, as far as a digest has to know.
#[derive(Debug, Default)]
pub(crate) struct Changes<'a> {
    pub(crate) mode: Option<&'a Mode>,
    /// Whether owners are another's than the tree's.
    pub(crate) replaces_owners: bool,
}

impl Tree {
    /// Opens a tree at a directory; `what` says for messages what it is.
    pub(crate) fn open(place: &Path, what: String, ignore: Ignore) -> Result<Self> {
        Ok(Self {
            root: Root::open(place)?,
            what,
            ignore,
            listings: Mutex::default(),
            digests: Mutex::default(),
            keeps_owners: true,
        })
    }

    /// The directory, without links.
    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// Whether nothing of it is left out.
    pub(crate) const fn is_whole(&self) -> bool {
        self.ignore.is_empty()
    }

    /// Selects what a source names: a path, or a pattern, which may match nothing.
    pub(crate) fn select(
        &self,
        source: &str,
        exclude: &Ignore,
        with_parents: bool,
    ) -> Result<Vec<Selected>> {
        let clean = cleaned(source);
        let paths = match has_wildcards(source) {
            true => self.matching(&clean)?,
            false => vec![clean],
        };
        let mut selected = Vec::new();
        for path in paths {
            let node = self.find(&path)?;
            let mut below = Vec::new();
            if node.stat.kind() == FileKind::Directory {
                self.descend(
                    &node,
                    Path::new(""),
                    exclude,
                    &Verdict::default(),
                    &mut below,
                )?;
            } else if node.stat.kind() == FileKind::Socket {
                let path = path.display();
                return Err(Error::refused(format!(
                    "`{path}` of {} is a socket, which cannot be copied",
                    self.what
                )));
            }
            let parents = path.parent().filter(|_| with_parents);
            selected.push(Selected {
                name: path.file_name().unwrap_or_default().to_owned(),
                parents: parents.map(Path::to_owned),
                node,
                below,
            });
        }
        Ok(selected)
    }

    /// Finds what a path leads to, links followed.
    fn find(&self, path: &Path) -> Result<Node> {
        let shown = path.display();
        let absent = || {
            Error::refused(format!(
                "there is no `{shown}` in {}{}",
                self.what,
                match self.ignore.is_empty() {
                    true => "",
                    false => ", or its `.dockerignore` leaves it out",
                }
            ))
        };
        let found = match self.root.resolve_inside(&Path::new("/").join(path)) {
            Err(error) if error.errno() == Some(Errno::NOTDIR) => None,
            Err(error) if error.errno() == Some(Errno::LOOP) => {
                let reason = format!(
                    "`{shown}` of {} is a link that leads in a circle",
                    self.what
                );
                return Err(Error::refused(reason));
            }
            found => found?,
        };
        let (inside, stat) = found.ok_or_else(absent)?;
        let path = inside.strip_prefix("/").unwrap_or(&inside).to_owned();
        let verdict = self.verdict(&path);
        if verdict.excluded && !self.may_have(&path) {
            return Err(absent());
        }
        Ok(Node {
            path,
            stat,
            verdict,
        })
    }

    fn verdict(&self, path: &Path) -> Verdict {
        let mut verdict = Verdict::default();
        let mut here = PathBuf::new();
        for part in path.components() {
            here.push(part);
            verdict = self.ignore.verdict(&here.to_string_lossy(), &verdict);
        }
        verdict
    }

    /// Whether something below an excluded directory can be in again.
    fn may_have(&self, path: &Path) -> bool {
        self.ignore.may_include_below(&path.to_string_lossy())
    }

    /// The paths that a pattern matches, sorted.
    fn matching(&self, pattern: &Path) -> Result<Vec<PathBuf>> {
        let mut found = vec![PathBuf::new()];
        for part in pattern.components() {
            let text = part.as_os_str().to_string_lossy();
            if !has_wildcards(&text) {
                found.iter_mut().for_each(|path| path.push(part));
                continue;
            }
            let name = Pattern::new(&text).map_err(Error::refused)?;
            let mut next = Vec::new();
            for dir in found {
                let node = match self.find(&dir) {
                    Ok(node) if node.stat.kind() == FileKind::Directory => node,
                    Ok(_) | Err(Error::Refused { .. }) => continue,
                    Err(error) => return Err(error),
                };
                for child in self.list(&node)?.iter() {
                    let own = child.path.file_name().unwrap_or_default();
                    if name.matches(&own.to_string_lossy()) && !child.verdict.excluded {
                        next.push(dir.join(own));
                    }
                }
            }
            found = next;
        }
        // What a name behind a pattern does not have is not matched.
        found.retain(|path| self.find(path).is_ok());
        Ok(found)
    }

    /// What is in a directory, sorted by name, without what the context leaves out. Read once.
    fn list(&self, node: &Node) -> Result<Arc<Vec<Node>>> {
        if let Some(known) = lock(&self.listings).get(&node.path) {
            return Ok(known.clone());
        }
        let opened = self.open_node(&node.path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut nodes = Vec::new();
        for entry in dir::read_dir_fd(&opened)? {
            let path = node.path.join(&entry.name);
            let verdict = match self.ignore.is_empty() {
                true => Verdict::default(),
                false => self.ignore.verdict(&path.to_string_lossy(), &node.verdict),
            };
            let is_out = verdict.excluded;
            if is_out && (entry.kind != FileKind::Directory || !self.may_have(&path)) {
                continue;
            }
            // It went away since.
            let Some(stat) = at::stat_if_present(&opened, &entry.name)? else {
                continue;
            };
            // No archive has a type for it, and it outlives no process.
            if stat.kind() != FileKind::Socket {
                nodes.push(Node {
                    path,
                    stat,
                    verdict,
                });
            }
        }
        nodes.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
        let nodes = Arc::new(nodes);
        lock(&self.listings).insert(node.path.clone(), nodes.clone());
        Ok(nodes)
    }

    /// Adds everything below a directory. One that the context leaves out is there for what it has that is in again.
    fn descend(
        &self,
        dir: &Node,
        from: &Path,
        exclude: &Ignore,
        verdict: &Verdict,
        into: &mut Vec<(PathBuf, Node)>,
    ) -> Result<()> {
        for node in self.list(dir)?.iter() {
            let path = from.join(node.path.file_name().unwrap_or_default());
            let said = match exclude.is_empty() {
                true => Verdict::default(),
                false => exclude.verdict(&path.to_string_lossy(), verdict),
            };
            let is_dir = node.stat.kind() == FileKind::Directory;
            let is_out = node.verdict.excluded || said.excluded;
            if !is_dir {
                if !is_out {
                    into.push((path, node.clone()));
                }
                continue;
            }
            if said.excluded && !exclude.may_include_below(&path.to_string_lossy()) {
                continue;
            }
            let before = into.len();
            into.push((path.clone(), node.clone()));
            self.descend(node, &path, exclude, &said, into)?;
            if is_out && into.len() == before + 1 {
                into.pop();
            }
        }
        Ok(())
    }

    fn open_node(&self, path: &Path, flags: OFlags) -> Result<File> {
        let mut flags = flags | OFlags::NOFOLLOW;
        if !flags.contains(OFlags::PATH) {
            // A FIFO would wait for a writer. openat2(2) refuses the flag where nothing is opened but a path.
            flags |= OFlags::NONBLOCK | OFlags::NOCTTY;
        }
        Ok(self.root.open_inside(path, flags, 0)?.into())
    }

    /// Opens a file that was found, and refuses one that is not what it was.
    pub(crate) fn open_file(&self, node: &Node) -> Result<File> {
        let file = match self.open_node(&node.path, OFlags::RDONLY) {
            Err(Error::Sys(error)) if error.errno() == Some(Errno::NOENT) => {
                return Err(self.changed(node));
            }
            file => file?,
        };
        self.refuse_changed(node, &file)?;
        Ok(file)
    }

    /// Refuses a file that is not what it was.
    pub(crate) fn refuse_changed(&self, node: &Node, file: &File) -> Result<()> {
        let (is, was) = (stat::fstat(file)?, &node.stat);
        let same = (is.ino, is.size, is.mtime, is.mode) == (was.ino, was.size, was.mtime, was.mode);
        match same {
            true => Ok(()),
            false => Err(self.changed(node)),
        }
    }

    fn changed(&self, node: &Node) -> Error {
        Error::Changed {
            path: node.path.clone(),
            tree: self.what.clone(),
        }
    }

    /// What a link says.
    pub(crate) fn link(&self, node: &Node) -> Result<PathBuf> {
        let dir = self.parent(node)?;
        Ok(at::read_link(
            &dir,
            node.path.file_name().unwrap_or_default(),
        )?)
    }

    fn parent(&self, node: &Node) -> Result<File> {
        let parent = node.path.parent().unwrap_or(Path::new(""));
        self.open_node(parent, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// The extended attributes that belong to an image.
    pub(crate) fn xattrs(&self, node: &Node) -> Result<Vec<(OsString, Vec<u8>)>> {
        let opened = self.open_node(&node.path, OFlags::PATH)?;
        let mut found = xattr::read_all_fd(&opened)?;
        found.retain(|(name, _)| is_portable(name));
        Ok(found)
    }

    /// Digests what was selected: names, content, modes and owners as they will be, and no times.
    pub(crate) fn digest(&self, selected: &[Selected], changes: &Changes<'_>) -> Result<Digest> {
        self.hash_all(selected)?;
        let mut hasher = Sha256::new();
        let mut links = HashMap::new();
        for one in selected {
            put_names(&mut hasher, one);
            for (path, node) in one.entries() {
                put(&mut hasher, path.as_os_str().as_bytes());
                self.put_node(&mut hasher, node, changes, &mut links)?;
            }
        }
        Ok(Digest::from_hasher(hasher))
    }

    fn put_node<'n>(
        &self,
        hasher: &mut Sha256,
        node: &'n Node,
        changes: &Changes<'_>,
        links: &mut HashMap<(u64, u64), &'n Path>,
    ) -> Result<()> {
        let found = &node.stat;
        let kind = found.kind();
        let is_dir = kind == FileKind::Directory;
        let mode = match changes.mode {
            Some(mode) => mode.apply(found.permissions(), is_dir),
            None => found.permissions(),
        };
        let owner = match changes.replaces_owners || !self.keeps_owners {
            true => (0, 0),
            false => (found.uid, found.gid),
        };
        put(
            hasher,
            format!("{kind:?} {mode:o} {owner:?} {}", found.rdev).as_bytes(),
        );
        if self.keeps_owners {
            for (name, value) in self.xattrs(node)? {
                put(hasher, name.as_bytes());
                put(hasher, &value);
            }
        }
        match kind {
            FileKind::Regular => {
                if let Some(digest) = lock(&self.digests).get(&node.path) {
                    put(hasher, digest.as_bytes());
                }
                if found.nlink > 1 {
                    let first = links.entry((found.dev, found.ino)).or_insert(&node.path);
                    put(hasher, first.as_os_str().as_bytes());
                }
            }
            FileKind::Symlink => put(hasher, self.link(node)?.as_os_str().as_bytes()),
            _ => {}
        }
        Ok(())
    }

    /// Digests what stat(2) tells of what was selected: where that is the same, so is the content.
    pub(crate) fn stat_digest(&self, selected: &[Selected]) -> Digest {
        let mut hasher = Sha256::new();
        for one in selected {
            put_names(&mut hasher, one);
            for (path, node) in one.entries() {
                put(&mut hasher, path.as_os_str().as_bytes());
                let s = &node.stat;
                for number in [s.dev, s.ino, s.size, s.rdev, s.nlink] {
                    hasher.update(number.to_le_bytes());
                }
                for number in [s.mode, s.uid, s.gid] {
                    hasher.update(number.to_le_bytes());
                }
                for time in [s.mtime, s.ctime] {
                    hasher.update(time.sec.to_le_bytes());
                    hasher.update(time.nsec.to_le_bytes());
                }
            }
        }
        Digest::from_hasher(hasher)
    }

    /// Hashes files that were not, several at a time.
    fn hash_all(&self, selected: &[Selected]) -> Result<()> {
        let files: Vec<&Node> = {
            let known = lock(&self.digests);
            let entries = selected.iter().flat_map(Selected::entries);
            let files = entries.map(|(_, node)| node).filter(|node| {
                node.stat.kind() == FileKind::Regular && !known.contains_key(&node.path)
            });
            files.collect()
        };
        in_parallel(&files, |node| {
            let digest = self.hash(node)?;
            lock(&self.digests).insert(node.path.clone(), digest);
            Ok(())
        })
    }

    fn hash(&self, node: &Node) -> Result<Digest> {
        let mut file = self.open_file(node)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; PIECE.min(usize::try_from(node.stat.size).unwrap_or(PIECE) + 1)];
        loop {
            match io("read", &node.path, file.read(&mut buffer))? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        self.refuse_changed(node, &file)?;
        Ok(Digest::from_hasher(hasher))
    }
}

/// Does the same with many things, on as many threads as there are processors; the first error ends it.
pub(crate) fn in_parallel<T: Sync>(
    things: &[T],
    work: impl Fn(&T) -> Result<()> + Sync,
) -> Result<()> {
    let most = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some(thing) = things.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work(thing) {
                next.store(things.len(), Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    };
    // A thread costs as much as a few small files.
    if most == 1 || things.len() < 8 {
        return worker();
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..most).map(|_| scope.spawn(worker)).collect();
        let ended = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}

/// Adds something with its length, so that no two lists have the same bytes.
pub(crate) fn put(hasher: &mut Sha256, bytes: &[u8]) {
    hasher.update((bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

fn put_names(hasher: &mut Sha256, one: &Selected) {
    let parents = one.parents.as_ref().map(|path| path.as_os_str().as_bytes());
    put(hasher, one.name.as_bytes());
    put(hasher, if parents.is_some() { b"parents" } else { b"" });
    put(hasher, parents.unwrap_or_default());
}

/// A path from a root, without `.` and `..`, which do not lead out of it.
pub(crate) fn cleaned(path: impl AsRef<OsStr>) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in Path::new(path.as_ref()).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
