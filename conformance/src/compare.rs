//! Comparing two trees: the first difference, path by path.

use std::collections::BTreeSet;

use cowlab_sys::stat::{self, Time};

use crate::difference::Difference;
use crate::executor::show_segments;
use crate::manifest::{Entry, Manifest};
use crate::terms::Kind;
use crate::text;
use crate::timestamps::Timestamps;

/// How modification times are compared.
#[derive(Debug, Clone, Copy)]
pub enum Times<'a> {
    /// To the nanosecond: the same tree, seen twice.
    Exact,
    /// By what happened then, for two trees made at different times: the timestamps of the expected and of the other.
    Timestamps(&'a Timestamps, &'a Timestamps),
}

/// Returns the first difference between the tree that is expected and the other, paths in byte order.
#[must_use]
pub fn first_difference(
    expected: &Manifest,
    got: &Manifest,
    times: Times<'_>,
) -> Option<Difference> {
    let paths: BTreeSet<_> = expected.entries.keys().chain(got.entries.keys()).collect();
    let groups = (expected.link_groups(), got.link_groups());
    paths.into_iter().find_map(|path| {
        let shown = text::escape(path);
        let (left, right) = (expected.entries.get(path), got.entries.get(path));
        let (Some(left), Some(right)) = (left, right) else {
            let kind = |entry: Option<&Entry>| entry.map_or("nothing", |entry| entry.kind.name());
            return Some(Difference::new(shown, "type", kind(left), kind(right)));
        };
        let names = |group: Option<&Vec<&[u8]>>| {
            let group: Vec<_> = group
                .into_iter()
                .flatten()
                .map(|path| text::escape(path))
                .collect();
            if group.is_empty() {
                shown.clone()
            } else {
                group.join(" ")
            }
        };
        let links = (
            names(groups.0.get(path.as_slice())),
            names(groups.1.get(path.as_slice())),
        );
        entry_difference(left, right, links, times)
            .map(|(aspect, left, right)| Difference::new(&shown, aspect, left, right))
    })
}

type Aspect = (String, String, String);

fn entry_difference(
    left: &Entry,
    right: &Entry,
    links: (String, String),
    times: Times<'_>,
) -> Option<Aspect> {
    let pairs = [
        (
            "type",
            left.kind.name().to_owned(),
            right.kind.name().to_owned(),
        ),
        ("mode", mode(left), mode(right)),
        ("owner", owner(left), owner(right)),
        ("device number", device(left), device(right)),
        ("size", left.size.to_string(), right.size.to_string()),
        ("content", left.content.clone(), right.content.clone()),
        ("names", links.0, links.1),
        ("link count", link_count(left), link_count(right)),
        (
            "data ranges",
            show_segments(&left.segments),
            show_segments(&right.segments),
        ),
        (
            "d_type",
            agreement(left.type_agrees),
            agreement(right.type_agrees),
        ),
        (
            "d_ino",
            agreement(left.inode_agrees),
            agreement(right.inode_agrees),
        ),
    ];
    pairs
        .into_iter()
        .find(|(_, left, right)| left != right)
        .map(|(aspect, left, right)| (aspect.to_owned(), left, right))
        .or_else(|| xattr_difference(left, right))
        .or_else(|| time_difference(left.mtime, right.mtime, times))
}

fn xattr_difference(left: &Entry, right: &Entry) -> Option<Aspect> {
    let names: BTreeSet<_> = left.xattrs.keys().chain(right.xattrs.keys()).collect();
    let show = |value: Option<&Vec<u8>>| value.map_or("none".to_owned(), |value| text::show(value));
    names.into_iter().find_map(|name| {
        let (left, right) = (left.xattrs.get(name), right.xattrs.get(name));
        (left != right).then(|| (text::escape(name), show(left), show(right)))
    })
}

fn time_difference(left: Time, right: Time, times: Times<'_>) -> Option<Aspect> {
    let (left, right) = match times {
        // The numbers change from run to run, and one line has to stand for all of them.
        Times::Exact if left != right => ("as before".to_owned(), "another".to_owned()),
        Times::Exact => return None,
        Times::Timestamps(one, two) => (one.moment(left), two.moment(right)),
    };
    (left != right).then(|| ("modification time".to_owned(), left, right))
}

fn mode(entry: &Entry) -> String {
    format!("{:04o}", entry.mode)
}

fn owner(entry: &Entry) -> String {
    format!("{}:{}", entry.owner.0, entry.owner.1)
}

fn device(entry: &Entry) -> String {
    match entry.kind {
        Kind::CharDevice | Kind::BlockDevice => {
            format!(
                "{}:{}",
                stat::major(entry.device),
                stat::minor(entry.device)
            )
        }
        _ => String::new(),
    }
}

fn link_count(entry: &Entry) -> String {
    match entry.kind {
        // Some file systems count subdirectories and some do not; a case of its own looks at that.
        Kind::Dir => String::new(),
        _ => entry.link_count.to_string(),
    }
}

fn agreement(agrees: bool) -> String {
    if agrees {
        "as in stat"
    } else {
        "other than in stat"
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn trees() -> (tempfile::TempDir, impl Fn(&str) -> std::path::PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().to_owned();
        for side in ["one", "two"] {
            std::fs::create_dir(path.join(side)).unwrap();
            std::fs::write(path.join(side).join("f"), "text").unwrap();
        }
        (place, move |name| path.join(name))
    }

    fn difference(one: &Path, two: &Path) -> Option<String> {
        let (one, two) = (
            Manifest::capture(one).unwrap(),
            Manifest::capture(two).unwrap(),
        );
        let timestamps = Timestamps::begin();
        let times = Times::Timestamps(&timestamps, &timestamps);
        first_difference(&one, &two, times).map(|difference| difference.line().to_owned())
    }

    #[test]
    fn equal_trees_do_not_differ() {
        let (_place, path) = trees();
        assert_eq!(difference(&path("one"), &path("two")), None);
    }

    #[test]
    fn the_first_difference_is_one_line() {
        let (_place, path) = trees();
        std::fs::write(path("two").join("g"), "").unwrap();
        std::fs::write(path("two").join("f"), "tent").unwrap();
        let found = difference(&path("one"), &path("two"));
        assert_eq!(
            found.as_deref(),
            Some("/f: content: expected text, got tent")
        );
        std::fs::remove_file(path("two").join("f")).unwrap();
        let found = difference(&path("one"), &path("two"));
        assert_eq!(
            found.as_deref(),
            Some("/f: type: expected file, got nothing")
        );
    }

    #[test]
    fn a_split_link_is_a_difference() {
        let (_place, path) = trees();
        std::fs::hard_link(path("one").join("f"), path("one").join("g")).unwrap();
        std::fs::write(path("two").join("g"), "text").unwrap();
        let found = difference(&path("one"), &path("two"));
        assert_eq!(found.as_deref(), Some("/f: names: expected /f /g, got /f"));
    }
}
