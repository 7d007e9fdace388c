//! The trees of two snapshots: what lines of `zfs diff` mean in them, and what to do without.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use cowlab_driver::{Candidate, Candidates, Reach, Result, tree};
use cowlab_sys::{Errno, FileKind, Root, Stat, at};

use crate::diff::{self, Line, What};

fn candidate(path: PathBuf, reach: Reach) -> Candidate {
    Candidate { path, reach }
}

/// Both snapshots, mounted.
#[derive(Debug)]
pub(crate) struct Trees {
    pub(crate) parent: PathBuf,
    pub(crate) child: PathBuf,
}

impl Trees {
    /// What the lines of `zfs diff` mean, and the other names of files with several: of these a line names one.
    pub(crate) fn widen(&self, lines: &[Line]) -> Result<Candidates> {
        let tops = [Root::open(&self.parent)?, Root::open(&self.child)?];
        let mut candidates = Vec::new();
        let mut linked = HashSet::new();
        for line in lines {
            candidates.extend(of_line(line));
        }
        for candidate in &candidates {
            for top in &tops {
                let stat = stat_below(top, &candidate.path)?;
                linked.extend(stat.filter(has_names).map(|stat| stat.ino));
            }
        }
        if !linked.is_empty() {
            for top in [&self.parent, &self.child] {
                candidates.extend(names_of(&linked, top)?);
            }
        }
        Ok(candidates)
    }

    /// Compares the change times of both trees, which costs O(entries). A clone keeps inode numbers, and whatever is
    /// done to a file sets its change time.
    pub(crate) fn by_change_time(&self) -> Result<Candidates> {
        let before = change_times(&self.parent)?;
        let mut candidates = Vec::new();
        for (path, now) in change_times(&self.child)? {
            if before.get(&path) != Some(&now) {
                // A name that is gone shows in its directory.
                let reach = if now.is_directory {
                    Reach::Children
                } else {
                    Reach::Entry
                };
                candidates.push(candidate(path, reach));
            }
        }
        Ok(candidates)
    }
}

/// What changes when a file is changed or replaced.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    inode: u64,
    is_directory: bool,
    changed: (i64, u32),
}

impl Mark {
    fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.ino,
            is_directory: stat.kind() == FileKind::Directory,
            changed: (stat.ctime.sec, stat.ctime.nsec),
        }
    }
}

fn change_times(top: &Path) -> Result<HashMap<PathBuf, Mark>> {
    let root = at::stat(Root::open(top)?, "")?;
    let mut marks = HashMap::from([(PathBuf::new(), Mark::of(&root))]);
    tree::walk(top, &mut |visited| {
        if let Some(stat) = visited.stat()? {
            marks.insert(visited.path.to_owned(), Mark::of(&stat));
        }
        Ok(())
    })?;
    Ok(marks)
}

/// The candidates that one line stands for.
///
/// - A directory counts with the names in it, for what was moved into it or out of it.
/// - A directory that was renamed counts with everything below: what is in it did not change, its paths did.
/// - What lies among the attributes of a file counts as the file, and as a file of that name as well.
fn of_line(line: &Line) -> Candidates {
    let reach = if line.is_directory {
        Reach::Children
    } else {
        Reach::Entry
    };
    let mut found = vec![candidate(line.path.clone(), reach)];
    if let What::Renamed(Some(new)) = &line.what {
        let reach = if line.is_directory {
            Reach::Subtree
        } else {
            Reach::Entry
        };
        found.push(candidate(new.clone(), reach));
    }
    let owner = diff::owner_of_attribute(&line.path);
    found.extend(owner.map(|owner| candidate(owner, Reach::Entry)));
    found
}

fn has_names(stat: &Stat) -> bool {
    stat.nlink > 1 && stat.kind() != FileKind::Directory
}

/// The attributes of what is at `path` below `top`, or `None` where nothing is.
fn stat_below(top: &Root, path: &Path) -> Result<Option<Stat>> {
    if path.as_os_str().is_empty() {
        return Ok(Some(at::stat(top, "")?));
    }
    match tree::open_parent(top.as_fd(), path) {
        Err(cowlab_driver::Error::Sys(error))
            if matches!(error.errno(), Some(Errno::NOENT | Errno::NOTDIR)) =>
        {
            Ok(None)
        }
        opened => {
            let (dir, name) = opened?;
            match at::stat_if_present(dir, name) {
                Err(error) if error.errno() == Some(Errno::NOTDIR) => Ok(None),
                stat => Ok(stat?),
            }
        }
    }
}

/// Every name in a tree of these inodes.
fn names_of(inodes: &HashSet<u64>, top: &Path) -> Result<Candidates> {
    let mut found = Vec::new();
    tree::walk(top, &mut |visited| {
        if visited.kind != FileKind::Directory
            && let Some(stat) = visited.stat()?
            && inodes.contains(&stat.ino)
        {
            found.push(candidate(visited.path.to_owned(), Reach::Entry));
        }
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(candidates: &[Candidate]) -> Vec<(&str, Reach)> {
        let of = |one: &Candidate| (one.path.to_str().unwrap_or_default().to_owned(), one.reach);
        let mut all: Vec<_> = candidates.iter().map(of).collect();
        all.sort();
        all.into_iter()
            .map(|(path, reach)| (&*path.leak(), reach))
            .collect()
    }

    fn trees() -> (tempfile::TempDir, Trees) {
        let dir = tempfile::tempdir().unwrap();
        let (parent, child) = (dir.path().join("parent"), dir.path().join("child"));
        for top in [&parent, &child] {
            std::fs::create_dir_all(top.join("d")).unwrap();
            std::fs::write(top.join("d/f"), "f").unwrap();
            std::fs::hard_link(top.join("d/f"), top.join("g")).unwrap();
            std::fs::write(top.join("h"), "h").unwrap();
        }
        (dir, Trees { parent, child })
    }

    #[test]
    fn a_changed_file_counts_under_each_of_its_names() {
        let (_dir, trees) = trees();
        let line = |path: &str| Line {
            what: What::Modified,
            is_directory: false,
            path: path.into(),
        };
        let found = trees.widen(&[line("g")]).unwrap();
        assert!(paths(&found).contains(&("d/f", Reach::Entry)));
        let found = trees
            .widen(&[line("h"), line("gone/f"), line("h/f")])
            .unwrap();
        assert!(paths(&found).iter().all(|(path, _)| *path != "g"));
    }

    #[test]
    fn a_renamed_directory_counts_with_what_is_below() {
        let line = Line {
            what: What::Renamed(Some("new".into())),
            is_directory: true,
            path: "old".into(),
        };
        assert_eq!(
            paths(&of_line(&line)),
            [("new", Reach::Subtree), ("old", Reach::Children)]
        );
    }

    #[test]
    fn an_attribute_counts_as_its_file() {
        let line = Line {
            what: What::Added,
            is_directory: false,
            path: "f/<xattrdir>/user.x".into(),
        };
        assert!(paths(&of_line(&line)).contains(&("f", Reach::Entry)));
    }

    #[test]
    fn change_times_tell_what_to_compare() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "f").unwrap();
        let same = Trees {
            parent: dir.path().to_owned(),
            child: dir.path().to_owned(),
        };
        assert!(same.by_change_time().unwrap().is_empty());
        let (_dir, other) = trees();
        let found = other.by_change_time().unwrap();
        assert!(paths(&found).contains(&("d", Reach::Children)));
    }
}
