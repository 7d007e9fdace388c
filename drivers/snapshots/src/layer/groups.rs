//! Hard links: which names are one file, before and after.
//!
//! A name that is otherwise unchanged counts as modified when it is one file with others than
//! before: with a name that was added or replaced, or without one that is unchanged as well. What
//! was one file with it and is removed or replaced now makes no difference: applying the layer
//! takes that name away and leaves the rest together.

use std::collections::{HashMap, HashSet};

use cowlab_sys::{FileKind, Stat};

/// A file: the device and the inode.
pub(super) type Inode = (u64, u64);

/// The names of files that have several, in both trees.
#[derive(Debug, Default)]
pub(super) struct Groups {
    parent: HashMap<Inode, Group>,
    child: HashMap<Inode, Group>,
    names: Vec<Name>,
}

/// The names of one file.
#[derive(Debug, Default)]
struct Group {
    names: Vec<usize>,
    links: u64,
}

#[derive(Debug)]
struct Name {
    path: Vec<u8>,
    parent: Option<Inode>,
    child: Option<Inode>,
    /// Whether both trees have it and nothing else about it differs.
    is_kept: bool,
}

/// The file that a name belongs to, if it has several names.
pub(super) fn linked(stat: &Stat) -> Option<Inode> {
    let is_linked = stat.nlink > 1 && stat.kind() != FileKind::Directory;
    is_linked.then_some((stat.dev, stat.ino))
}

impl Groups {
    /// Notes a name, what both trees have there, and whether that is otherwise the same.
    pub(super) fn note(
        &mut self,
        path: &[u8],
        parent: Option<&Stat>,
        child: Option<&Stat>,
        is_kept: bool,
    ) {
        let name = Name {
            path: path.to_vec(),
            parent: parent.and_then(linked),
            child: child.and_then(linked),
            is_kept,
        };
        if name.parent.is_none() && name.child.is_none() {
            return;
        }
        let index = self.names.len();
        for (groups, inode, stat) in [
            (&mut self.parent, name.parent, parent),
            (&mut self.child, name.child, child),
        ] {
            if let Some(inode) = inode {
                let group = groups.entry(inode).or_default();
                group.names.push(index);
                group.links = stat.map_or(0, |stat| stat.nlink);
            }
        }
        self.names.push(name);
    }

    /// Tells whether an otherwise unchanged name is one file with other names than before.
    fn has_changed(&self, index: usize) -> bool {
        let name = &self.names[index];
        let alone = [index];
        let group = |groups: &HashMap<Inode, Group>, inode: Option<Inode>| match inode {
            Some(inode) => groups[&inode].names.clone(),
            None => alone.to_vec(),
        };
        let mut before = group(&self.parent, name.parent);
        before.retain(|index| self.names[*index].is_kept);
        name.is_kept && before != group(&self.child, name.child)
    }

    /// The files of the parent of which a name may have changed that was not looked at: a name that
    /// was looked at has left the others, and not all of them are known.
    pub(super) fn incomplete(&self) -> HashSet<Inode> {
        let left = |(index, name): (usize, &Name)| {
            let inode = name.parent.filter(|_| name.is_kept)?;
            let group = &self.parent[&inode];
            let links = name.child.map_or(1, |child| self.child[&child].links);
            let is_known = u64::try_from(group.names.len()).is_ok_and(|known| known >= group.links);
            let has_left = links != group.links || self.has_changed(index);
            (has_left && !is_known).then_some(inode)
        };
        self.names.iter().enumerate().filter_map(left).collect()
    }

    /// Whether a name was noted.
    pub(super) fn has_seen(&self, inode: Inode, path: &[u8]) -> bool {
        let names = self
            .parent
            .get(&inode)
            .map_or(&[][..], |group| &group.names);
        names.iter().any(|index| self.names[*index].path == path)
    }

    /// The names that are modified for their links alone.
    pub(super) fn changed_names(&self) -> Vec<Vec<u8>> {
        let changed = (0..self.names.len()).filter(|index| self.has_changed(*index));
        changed
            .map(|index| self.names[index].path.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(ino: u64, nlink: u64) -> Stat {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "").unwrap();
        Stat {
            ino,
            nlink,
            dev: 1,
            ..cowlab_sys::stat::lstat(dir.path().join("f")).unwrap()
        }
    }

    /// An inode and its links, if it is there.
    type Seen = Option<(u64, u64)>;

    fn groups(names: &[(&str, Seen, Seen)]) -> Groups {
        let mut groups = Groups::default();
        for (path, parent, child) in names {
            let stat = |pair: &Seen| pair.map(|(ino, nlink)| stat(ino, nlink));
            let (parent, child) = (stat(parent), stat(child));
            let is_kept = parent.is_some() && child.is_some();
            groups.note(path.as_bytes(), parent.as_ref(), child.as_ref(), is_kept);
        }
        groups
    }

    fn changed(names: &[(&str, Seen, Seen)]) -> Vec<String> {
        let text = |path| String::from_utf8(path).unwrap();
        groups(names)
            .changed_names()
            .into_iter()
            .map(text)
            .collect()
    }

    #[test]
    fn a_group_is_its_names_and_not_its_inode() {
        let same = [
            ("a", Some((1, 2)), Some((7, 2))),
            ("b", Some((1, 2)), Some((7, 2))),
        ];
        assert!(changed(&same).is_empty());
        // Of three names, one became a file of its own.
        let names = [
            ("a", Some((1, 3)), Some((7, 2))),
            ("b", Some((1, 3)), Some((7, 2))),
            ("c", Some((1, 3)), Some((8, 1))),
        ];
        assert_eq!(changed(&names), ["a", "b", "c"]);
        // A link was added to a file that had one name.
        assert_eq!(
            changed(&[("a", Some((1, 1)), Some((1, 2))), ("b", None, Some((1, 2)))]),
            ["a"]
        );
        // One of two was removed: the other stays as it is.
        assert!(
            changed(&[("a", Some((1, 2)), Some((1, 1))), ("b", Some((1, 2)), None)]).is_empty()
        );
    }

    #[test]
    fn names_that_were_not_looked_at_are_missed_only_where_they_matter() {
        // Of two links one became a file of its own, and the other is unknown.
        assert_eq!(
            groups(&[("a", Some((1, 2)), Some((7, 1)))]).incomplete(),
            [(1, 1)].into()
        );
        // Both are known; or nothing happened; or the name is gone.
        let both = [
            ("a", Some((1, 2)), Some((7, 1))),
            ("b", Some((1, 2)), Some((1, 2))),
        ];
        assert!(groups(&both).incomplete().is_empty());
        assert!(
            groups(&[("a", Some((1, 2)), Some((1, 2)))])
                .incomplete()
                .is_empty()
        );
        assert!(groups(&[("a", Some((1, 2)), None)]).incomplete().is_empty());
    }
}
