//! Hard links: which names are one file, before and after.
//!
//! A name has changed when the set of names that it is one file with has. Not all names need be
//! looked at to know: a name that is in one of the two sets only has changed itself, so it is among
//! those looked at, and comparing the sets cut down to these gives the same answer.

use std::collections::HashMap;

use cowlab_sys::{FileKind, Stat};

/// A file: the device and the inode.
type Inode = (u64, u64);

/// The names of files that have several, in both trees.
#[derive(Debug, Default)]
pub(super) struct Groups {
    parent: HashMap<Inode, Vec<usize>>,
    child: HashMap<Inode, Vec<usize>>,
    names: Vec<Name>,
}

#[derive(Debug)]
struct Name {
    path: Vec<u8>,
    parent: Option<Inode>,
    child: Option<Inode>,
    /// Whether both trees have it: else it is added or deleted anyway.
    is_in_both: bool,
}

impl Groups {
    /// Notes a name and what both trees have there.
    pub(super) fn note(&mut self, path: &[u8], parent: Option<&Stat>, child: Option<&Stat>) {
        let inode = |stat: &Stat| {
            let is_linked = stat.nlink > 1 && stat.kind() != FileKind::Directory;
            is_linked.then_some((stat.dev, stat.ino))
        };
        let name = Name {
            path: path.to_vec(),
            parent: parent.and_then(inode),
            child: child.and_then(inode),
            is_in_both: parent.is_some() && child.is_some(),
        };
        if name.parent.is_none() && name.child.is_none() {
            return;
        }
        let index = self.names.len();
        for (groups, inode) in [
            (&mut self.parent, name.parent),
            (&mut self.child, name.child),
        ] {
            if let Some(inode) = inode {
                groups.entry(inode).or_default().push(index);
            }
        }
        self.names.push(name);
    }

    /// The names, in both trees, whose links are others than before.
    pub(super) fn changed_names(self) -> Vec<Vec<u8>> {
        let Self {
            parent,
            child,
            names,
        } = self;
        let has_changed: Vec<bool> = names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let alone = [index];
                let group = |groups: &HashMap<Inode, Vec<usize>>, inode: Option<Inode>| {
                    inode.map_or_else(|| alone.to_vec(), |inode| groups[&inode].clone())
                };
                name.is_in_both && group(&parent, name.parent) != group(&child, name.child)
            })
            .collect();
        let changed = names
            .into_iter()
            .zip(has_changed)
            .filter(|(_, changed)| *changed);
        changed.map(|(name, _)| name.path).collect()
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

    fn changed(names: &[(&str, Seen, Seen)]) -> Vec<String> {
        let mut groups = Groups::default();
        for (path, parent, child) in names {
            let stat = |pair: &Seen| pair.map(|(ino, nlink)| stat(ino, nlink));
            groups.note(path.as_bytes(), stat(parent).as_ref(), stat(child).as_ref());
        }
        let text = |path| String::from_utf8(path).unwrap();
        groups.changed_names().into_iter().map(text).collect()
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
        // A link was added to a file that had one name; one was removed.
        assert_eq!(
            changed(&[("a", Some((1, 1)), Some((1, 2))), ("b", None, Some((1, 2)))]),
            ["a"]
        );
        assert_eq!(
            changed(&[("a", Some((1, 2)), Some((1, 1))), ("b", Some((1, 2)), None)]),
            ["a"]
        );
    }

    #[test]
    fn what_was_not_looked_at_makes_no_difference() {
        // Another name of the group is unchanged and no candidate.
        assert!(changed(&[("a", Some((1, 2)), Some((7, 2)))]).is_empty());
    }
}
