//! What differs between a tree and its parent: exact, and the same whichever driver keeps them.
//!
//! Compared are type, mode, owner, size, modification time to the nanosecond, device number, link
//! target, extended attributes (those that `is_portable` knows as
//! content), content, and which names are one file. Not compared are access and change times, the
//! number of links and where holes are.
//!
//! A driver's candidates only shorten the walk. They are a superset of what changed, so names that
//! are looked at and not listed by the driver, or listed and unchanged, make no difference. One
//! thing no driver knows: overlayfs breaks a link by copying one name up, and the other names, which
//! it did not touch, are one file less. Only then the parent is searched for these.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use cowlab_driver::{Candidate, Reach};
use cowlab_sys::cursor::{Cursor, common_prefix, has_prefix};
use cowlab_sys::{FileKind, Stat, Time, at, dir, stat};

use crate::compare::{Comparison, Depth};
use crate::compare::{Groups, Inode, linked};
use crate::error::Result;

/// A path that differs from the parent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Change {
    /// Absolute, with the snapshot's root as `/`.
    pub path: PathBuf,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// What happened to a path.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// The parent does not have it. Everything below an added directory is listed too.
    Added,
    /// The parent has it otherwise: as another type, with other attributes or content, or as a
    /// name of another set of hard links. A directory to which a name was added is modified,
    /// because its time is.
    Modified,
    /// Only the parent has it. What was below a deleted directory is not listed.
    Deleted,
}

/// Lists what differs between `parent` and `root`, sorted by the bytes of the paths. Without a
/// parent, everything is added.
///
/// The root itself counts as a directory like any other, with the path `/`. Neither tree may change
/// meanwhile.
pub fn between(
    parent: Option<&Path>,
    root: &Path,
    candidates: Option<&[Candidate]>,
) -> Result<Vec<Change>> {
    compare(parent, root, candidates, None)
}

/// Lists the same for a `root` that began as a copy of `parent` with the same inode numbers and times, made at `copied` or
/// later. What has the parent's inode number, change time and other attributes is taken for unchanged, its content unread.
/// Costs O(entries of both trees).
///
/// The kernel sets the change time whenever content or attributes change, for a write through a mapping at its first page
/// fault (`file_update_time`), and no call sets it otherwise. It comes from a clock with ticks of some milliseconds: what the
/// parent changed in the tick of `copied` or later proves nothing, and is compared.
///
/// Not noticed are changes under a change time that was there before: made by root after it set the clock back to that very
/// nanosecond, through an XFS handle (`XFS_IOC_OPEN_BY_HANDLE` suppresses times), or on the device below the file system.
pub fn between_copies(parent: &Path, root: &Path, copied: Time) -> Result<Vec<Change>> {
    compare(Some(parent), root, None, Some(copied))
}

fn compare(
    parent: Option<&Path>,
    root: &Path,
    candidates: Option<&[Candidate]>,
    copied: Option<Time>,
) -> Result<Vec<Change>> {
    let child = Cursor::open(root)?;
    let child_stat = stat::fstat(child.dir())?;
    let mut walk = Walk::new(child);
    match parent {
        None => walk.added(child_stat)?,
        Some(parent) => {
            let parent = Cursor::open(parent)?;
            let parent_stat = stat::fstat(parent.dir())?;
            walk.comparison = Comparison::of(&parent_stat, &child_stat).of_copies(copied);
            walk.parent = Some(parent);
            let tree = candidates.map_or_else(Nodes::subtree, Nodes::from_candidates);
            walk.root(&tree, &parent_stat, &child_stat)?;
            let missed = walk.groups.incomplete();
            if candidates.is_some() && !missed.is_empty() {
                let found = walk.other_names(&missed)?;
                walk.root(&Nodes::from_candidates(&found), &parent_stat, &child_stat)?;
            }
        }
    }
    Ok(walk.finish())
}

/// Tells whether one entry, with these attributes, is the same in a directory of two trees. Of directories, what is in them
/// is not compared.
pub fn same_entry(
    dirs: (&std::fs::File, &std::fs::File),
    name: &OsStr,
    (parent, child): (&Stat, &Stat),
) -> Result<bool> {
    if parent.kind() != child.kind() {
        return Ok(false);
    }
    let mut comparison = Comparison::of(parent, child);
    Ok(!comparison.differ(dirs, name, (parent, child), Depth::Content)?)
}

/// Lists everything in a tree as added, with what is mounted in it; nothing below the directories that `skip` is true of.
pub fn everything(root: &Path, skip: &dyn Fn(&Path) -> bool) -> Result<Vec<Change>> {
    let mut found = vec![b"/".to_vec()];
    let mut cursor = Cursor::open(root)?.across_mounts(true);
    descend(&mut cursor, &mut Vec::new(), &mut |path, _| {
        found.push(path.to_vec());
        !skip(Path::new(OsStr::from_bytes(path)))
    })?;
    found.sort_unstable();
    let change = |path| Change {
        path: OsString::from_vec(path).into(),
        kind: ChangeKind::Added,
    };
    Ok(found.into_iter().map(change).collect())
}

/// What a driver says about one path.
#[derive(Debug, Default)]
struct Node {
    /// Whether the entry itself may have changed.
    is_candidate: bool,
    reach: Option<Reach>,
    /// The names below it, with the places of their nodes.
    below: BTreeMap<OsString, usize>,
}

/// Stands for what a candidate reaches at any depth.
const EVERYTHING: usize = 0;
/// Stands for a name that is looked at because its directory is a candidate.
const NAME: usize = 1;
/// The root of the trees.
const ROOT: usize = 2;

/// The candidates as a tree. Nodes lie side by side, so that a deep tree costs no stack.
#[derive(Debug)]
struct Nodes(Vec<Node>);

impl Nodes {
    fn new(root: Node) -> Self {
        let everything = Node {
            is_candidate: true,
            reach: Some(Reach::Subtree),
            ..Node::default()
        };
        Self(vec![everything, Node::default(), root])
    }

    fn subtree() -> Self {
        Self::new(Node {
            is_candidate: true,
            reach: Some(Reach::Subtree),
            ..Node::default()
        })
    }

    /// Costs no more than the names in which each path differs from the one before it: drivers list what is below a
    /// directory together.
    fn from_candidates(candidates: &[Candidate]) -> Self {
        let mut tree = Self::new(Node::default());
        let mut last: &[u8] = &[];
        // Where the names of the last path end in it, and their nodes.
        let mut way: Vec<(usize, usize)> = Vec::new();
        for candidate in candidates {
            let path = candidate.path.as_os_str().as_bytes();
            let common = common_prefix(path, last);
            while way
                .last()
                .is_some_and(|(end, _)| !has_prefix(path, *end, common))
            {
                way.pop();
            }
            let (mut end, mut node) = way.last().copied().unwrap_or((0, ROOT));
            while end < path.len() {
                let start = end + usize::from(path[end] == b'/');
                let length = path[start..].iter().position(|byte| *byte == b'/');
                end = length.map_or(path.len(), |length| start + length);
                if !matches!(&path[start..end], b"" | b".") {
                    node = tree.insert(node, OsStr::from_bytes(&path[start..end]));
                }
                way.push((end, node));
            }
            let node = &mut tree.0[node];
            node.is_candidate = true;
            node.reach = node.reach.max(Some(candidate.reach));
            last = path;
        }
        tree
    }

    fn insert(&mut self, above: usize, name: &OsStr) -> usize {
        if let Some(node) = self.0[above].below.get(name) {
            return *node;
        }
        let node = self.0.len();
        self.0.push(Node::default());
        self.0[above].below.insert(name.to_owned(), node);
        node
    }

    /// The node of a name below, given what reaches it from here.
    fn child(&self, node: usize, name: &OsStr) -> Option<(usize, Depth)> {
        match (self.0[node].reach, self.0[node].below.get(name)) {
            (Some(Reach::Subtree), _) => Some((EVERYTHING, Depth::Content)),
            (_, Some(node)) if self.0[*node].is_candidate => Some((*node, Depth::Content)),
            (_, Some(node)) => Some((*node, Depth::Attributes)),
            (Some(Reach::Children), None) => Some((NAME, Depth::Attributes)),
            (_, None) => None,
        }
    }
}

/// A walk of both trees at once.
struct Walk {
    child: Cursor,
    parent: Option<Cursor>,
    comparison: Comparison,
    /// The path of the current directory, without a slash at its end.
    path: Vec<u8>,
    changes: Vec<(Vec<u8>, ChangeKind)>,
    groups: Groups,
}

/// A directory of both trees, and the names in it that are still to be compared.
struct Frame {
    node: usize,
    names: std::vec::IntoIter<OsString>,
    /// The length of the path above.
    above: usize,
}

impl Walk {
    fn new(child: Cursor) -> Self {
        Self {
            child,
            parent: None,
            comparison: Comparison::default(),
            path: Vec::new(),
            changes: Vec::new(),
            groups: Groups::default(),
        }
    }

    fn finish(mut self) -> Vec<Change> {
        self.changes.extend(
            self.groups
                .changed_names()
                .into_iter()
                .map(|name| (name, ChangeKind::Modified)),
        );
        self.changes.sort_unstable();
        // A name may have changed in itself and in its links.
        self.changes.dedup_by(|next, last| next.0 == last.0);
        let changes = self.changes.into_iter();
        let change = |(path, kind)| Change {
            path: OsString::from_vec(path).into(),
            kind,
        };
        changes.map(change).collect()
    }

    fn note(&mut self, kind: ChangeKind) {
        let path = if self.path.is_empty() {
            b"/".to_vec()
        } else {
            self.path.clone()
        };
        self.changes.push((path, kind));
    }

    fn root(&mut self, tree: &Nodes, parent: &Stat, child: &Stat) -> Result<()> {
        if self
            .comparison
            .differ_here(self.parent_dir(), self.child.dir(), parent, child)?
        {
            self.note(ChangeKind::Modified);
        }
        let mut frames = vec![self.frame(tree, ROOT, 0)?];
        while let Some(frame) = frames.last_mut() {
            let Some(name) = frame.names.next() else {
                let above = frame.above;
                frames.pop();
                if !frames.is_empty() {
                    self.path.truncate(above);
                    self.child.leave()?;
                    self.parent_mut().leave()?;
                }
                continue;
            };
            let Some((node, depth)) = tree.child(frame.node, &name) else {
                continue;
            };
            if let Some(frame) = self.visit(tree, node, &name, depth)? {
                frames.push(frame);
            }
        }
        Ok(())
    }

    /// Compares one name of the current directories; goes into it where both have a directory and
    /// there may be more to compare.
    fn visit(
        &mut self,
        tree: &Nodes,
        node: usize,
        name: &OsStr,
        depth: Depth,
    ) -> Result<Option<Frame>> {
        let above = self.path.len();
        self.path.push(b'/');
        self.path.extend_from_slice(name.as_bytes());
        let parent = at::stat_if_present(self.parent_dir(), name)?;
        let child = at::stat_if_present(self.child.dir(), name)?;
        let mut is_kept = false;
        let is_directory = |stat: &Stat| stat.kind() == FileKind::Directory;
        match (&parent, &child) {
            (None, None) => {}
            (None, Some(child)) => self.added_name(name, child)?,
            (Some(parent), None) => {
                self.note(ChangeKind::Deleted);
                self.gone(name, parent)?;
            }
            (Some(parent), Some(child)) if parent.kind() != child.kind() => {
                self.note(ChangeKind::Modified);
                self.gone(name, parent)?;
                if is_directory(child) {
                    self.child.enter(name)?;
                    self.added_below()?;
                    self.child.leave()?;
                }
            }
            (Some(parent), Some(child)) => {
                let Some(parent_cursor) = &self.parent else {
                    unreachable!("two trees are compared")
                };
                let dirs = (parent_cursor.dir(), self.child.dir());
                if self.comparison.differ(dirs, name, (parent, child), depth)? {
                    self.note(ChangeKind::Modified);
                } else {
                    is_kept = true;
                }
                let has_more =
                    tree.0[node].reach > Some(Reach::Entry) || !tree.0[node].below.is_empty();
                if is_directory(child) && has_more {
                    self.child.enter(name)?;
                    self.parent_mut().enter(name)?;
                    return self.frame(tree, node, above).map(Some);
                }
            }
        }
        self.groups
            .note(&self.path, parent.as_ref(), child.as_ref(), is_kept);
        self.path.truncate(above);
        Ok(None)
    }

    /// Searches the parent for names of these files that were not looked at.
    fn other_names(&mut self, files: &HashSet<Inode>) -> Result<Vec<Candidate>> {
        let mut found = Vec::new();
        self.path.clear();
        let groups = &self.groups;
        let parent = self.parent.as_mut().expect("two trees are compared");
        descend(parent, &mut self.path, &mut |path, stat| {
            if let Some(inode) = linked(stat).filter(|inode| files.contains(inode))
                && !groups.has_seen(inode, path)
            {
                let path = OsStr::from_bytes(&path[1..]).into();
                let reach = Reach::Entry;
                found.push(Candidate { path, reach });
            }
            true
        })?;
        Ok(found)
    }

    /// The names to compare in the current directories.
    fn frame(&self, tree: &Nodes, node: usize, above: usize) -> Result<Frame> {
        let names = if tree.0[node].reach > Some(Reach::Entry) {
            union(names(self.parent_dir())?, names(self.child.dir())?)
        } else {
            tree.0[node].below.keys().cloned().collect()
        };
        Ok(Frame {
            node,
            names: names.into_iter(),
            above,
        })
    }

    /// Everything is new, the root included.
    fn added(&mut self, root: Stat) -> Result<()> {
        debug_assert_eq!(root.kind(), FileKind::Directory);
        self.note(ChangeKind::Added);
        self.added_below()
    }

    fn added_name(&mut self, name: &OsStr, stat: &Stat) -> Result<()> {
        self.note(ChangeKind::Added);
        if stat.kind() == FileKind::Directory {
            self.child.enter(name)?;
            self.added_below()?;
            self.child.leave()?;
        }
        Ok(())
    }

    /// Notes everything below the current directory of the child.
    fn added_below(&mut self) -> Result<()> {
        let mut found = Vec::new();
        descend(&mut self.child, &mut self.path, &mut |path, stat| {
            found.push((path.to_vec(), *stat));
            true
        })?;
        for (path, stat) in found {
            self.groups.note(&path, None, Some(&stat), false);
            self.changes.push((path, ChangeKind::Added));
        }
        Ok(())
    }

    /// Notes the links below what only the parent has.
    fn gone(&mut self, name: &OsStr, stat: &Stat) -> Result<()> {
        if stat.kind() != FileKind::Directory {
            return Ok(());
        }
        let parent = self
            .parent
            .as_mut()
            .expect("only a parent has what is gone");
        parent.enter(name)?;
        let groups = &mut self.groups;
        descend(parent, &mut self.path, &mut |path, stat| {
            groups.note(path, Some(stat), None, false);
            true
        })?;
        parent.leave()?;
        Ok(())
    }

    fn parent_dir(&self) -> &std::fs::File {
        self.parent.as_ref().expect("two trees are compared").dir()
    }

    fn parent_mut(&mut self) -> &mut Cursor {
        self.parent.as_mut().expect("two trees are compared")
    }
}

/// Whether nothing among the candidates, or in the whole tree, has a change time after `time`. For what the times prove, see
/// [`between_copies`].
pub fn is_older(root: &Path, candidates: Option<&[Candidate]>, time: Time) -> Result<bool> {
    let whole = [Candidate {
        path: PathBuf::new(),
        reach: Reach::Subtree,
    }];
    let tree = cowlab_sys::Root::open(root)?;
    for candidate in candidates.unwrap_or(&whole) {
        let path = &candidate.path;
        let found = match path.as_os_str().is_empty() {
            true => Some(stat::fstat(tree.dir(path)?)?),
            false => match tree.open_parent(path) {
                Ok((dir, name)) => at::stat_if_present(&dir, &name)?,
                // It is gone, and what it was in tells so.
                Err(_) => None,
            },
        };
        let Some(found) = found else { continue };
        if found.ctime > time {
            return Ok(false);
        }
        if candidate.reach == Reach::Subtree && found.kind() == FileKind::Directory {
            let mut cursor = Cursor::from_dir(dir::open(root.join(path))?.into());
            let mut is_older = true;
            descend(&mut cursor, &mut Vec::new(), &mut |_, found| {
                is_older &= found.ctime <= time;
                is_older
            })?;
            if !is_older {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Shows everything below the current directory, except what is below a directory for which `show` returns false.
fn descend(
    cursor: &mut Cursor,
    path: &mut Vec<u8>,
    show: &mut dyn FnMut(&[u8], &Stat) -> bool,
) -> Result<()> {
    let mut frames = vec![(names(cursor.dir())?.into_iter(), path.len())];
    while let Some((rest, above)) = frames.last_mut() {
        path.truncate(*above);
        let Some(name) = rest.next() else {
            frames.pop();
            if !frames.is_empty() {
                cursor.leave()?;
            }
            continue;
        };
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
        let stat = at::stat(cursor.dir(), &name)?;
        if show(path, &stat) && stat.kind() == FileKind::Directory {
            cursor.enter(&name)?;
            frames.push((names(cursor.dir())?.into_iter(), path.len()));
        }
    }
    Ok(())
}

/// The names in a directory, sorted.
pub(crate) fn names(dir: &std::fs::File) -> Result<Vec<OsString>> {
    let mut names: Vec<_> = dir::read_dir_fd(dir)?
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// Merges two sorted lists.
fn union(a: Vec<OsString>, b: Vec<OsString>) -> Vec<OsString> {
    let mut merged = Vec::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return merged,
        };
        if order == Ordering::Equal {
            b.next();
        }
        merged.extend(if order == Ordering::Greater {
            b.next()
        } else {
            a.next()
        });
    }
}
