//! What may differ between a snapshot and its parent: what has other attributes, change times above all.
//!
//! Not `zfs diff`, although its cost is that of the changes alone. ZFS keeps one directory of a file, that of the name
//! which was made last. When that name goes, the file has no path for `zfs diff`, which then says nothing of it, and
//! ends well: what a child does to such a file would be lost in its layer (openzfs/zfs issues 13283, 14990 and 16753).
//! Which files these are no call tells.

use std::collections::HashMap;
use std::path::Path;

use cowlab_driver::{Candidate, Candidates, Reach, Result, tree};
use cowlab_sys::{FileKind, Root, Stat, at};

/// Compares the attributes of everything in two trees, which costs O(entries); nothing is read of any content.
///
/// A clone keeps inode numbers and times, whatever is done to a file sets its change time, and nobody can set that
/// otherwise than by the clock.
pub(crate) fn find(parent: &Path, child: &Path) -> Result<Candidates> {
    let mut before = HashMap::new();
    each(parent, &mut |path, mark| {
        before.insert(path.to_owned(), mark);
    })?;
    let mut candidates = Vec::new();
    each(child, &mut |path, now| {
        if before.get(path) != Some(&now) {
            // A name that is gone shows in its directory.
            let reach = if now.kind == FileKind::Directory {
                Reach::Children
            } else {
                Reach::Entry
            };
            candidates.push(Candidate {
                path: path.to_owned(),
                reach,
            });
        }
    })?;
    Ok(candidates)
}

/// What changes when a file is changed or replaced. The change time would do, were it finer than a tick of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    inode: u64,
    kind: FileKind,
    changed: (i64, u32),
    modified: (i64, u32),
    size: u64,
    links: u64,
    mode: u32,
    owner: (u32, u32),
}

impl Mark {
    fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.ino,
            kind: stat.kind(),
            changed: (stat.ctime.sec, stat.ctime.nsec),
            modified: (stat.mtime.sec, stat.mtime.nsec),
            size: stat.size,
            links: stat.nlink,
            mode: stat.permissions(),
            owner: (stat.uid, stat.gid),
        }
    }
}

/// Visits the top and everything below.
fn each(top: &Path, visit: &mut dyn FnMut(&Path, Mark)) -> Result<()> {
    visit(Path::new(""), Mark::of(&at::stat(Root::open(top)?, "")?));
    tree::walk(top, &mut |visited| {
        if let Some(stat) = visited.stat()? {
            visit(visited.path, Mark::of(&stat));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    fn paths(candidates: &[Candidate]) -> Vec<(String, Reach)> {
        let of = |one: &Candidate| (one.path.display().to_string(), one.reach);
        let mut all: Vec<_> = candidates.iter().map(of).collect();
        all.sort();
        all
    }

    #[test]
    fn a_tree_has_no_candidates_in_itself() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f"), "f").unwrap();
        assert!(find(dir.path(), dir.path()).unwrap().is_empty());
    }

    #[test]
    fn what_was_changed_or_made_is_named_under_every_name() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path();
        fs::create_dir(top.join("d")).unwrap();
        fs::write(top.join("d/f"), "f").unwrap();
        fs::hard_link(top.join("d/f"), top.join("g")).unwrap();
        let before = marks(top);
        fs::write(top.join("g"), "longer").unwrap();
        let after = marks(top);
        let differs = |path: &str| before.get(Path::new(path)) != after.get(Path::new(path));
        assert!(differs("d/f") && differs("g"));
        assert!(!differs("") && !differs("d"));
    }

    #[test]
    fn a_directory_counts_with_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let [parent, child] = ["parent", "child"].map(|name| dir.path().join(name));
        for top in [&parent, &child] {
            fs::create_dir_all(top.join("d")).unwrap();
            fs::write(top.join("d/f"), "f").unwrap();
        }
        let found = find(&parent, &child).unwrap();
        assert_eq!(
            paths(&found),
            [
                (String::new(), Reach::Children),
                ("d".to_owned(), Reach::Children),
                ("d/f".to_owned(), Reach::Entry),
            ]
        );
    }

    fn marks(top: &Path) -> HashMap<PathBuf, Mark> {
        let mut marks = HashMap::new();
        each(top, &mut |path, mark| {
            marks.insert(path.to_owned(), mark);
        })
        .unwrap();
        marks
    }
}
