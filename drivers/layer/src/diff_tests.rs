//! Trees, their differences and layers: random pairs of small trees on a plain directory, as any
//! user. A layer made of a difference and applied to the parent has to give the tree.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use cowlab_driver::{Candidate, Reach};
use cowlab_sys::{FileKind, Time, at, xattr};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::apply::{ApplyOptions, Target, apply_to};
use crate::changes::{Change, ChangeKind, between};
use crate::diff::{self, DiffOptions};
use crate::stream::ReadOptions;

/// Names in any directory: few, so that trees meet, and awkward.
const NAMES: [&[u8]; 5] = [b"a", b"a-b", b"b\xff\n", b"c c", b"d"];
/// Something in a tree.
#[derive(Debug, Clone)]
enum Item {
    File {
        content: u8,
        holes: bool,
    },
    Directory(BTreeMap<usize, Thing>),
    Symlink(u8),
    Fifo,
    /// A further name of the file made just before, wherever that is.
    Link,
}

#[derive(Debug, Clone)]
struct Thing {
    item: Item,
    mode: u32,
    time: (i64, u32),
    attribute: Option<u8>,
}

fn thing() -> impl Strategy<Value = Thing> {
    let leaf = prop_oneof![
        4 => (0..3_u8, any::<bool>()).prop_map(|(content, holes)| Item::File { content, holes }),
        1 => (0..2_u8).prop_map(Item::Symlink),
        1 => Just(Item::Fifo),
        2 => Just(Item::Link),
    ];
    attributed(leaf).prop_recursive(3, 24, 4, |inner| {
        let below = prop::collection::btree_map(0..NAMES.len(), inner, 0..4);
        attributed(below.prop_map(Item::Directory))
    })
}

fn attributed(item: impl Strategy<Value = Item>) -> impl Strategy<Value = Thing> {
    let times = prop_oneof![
        Just((1, 0)),
        Just((7, 123_456_789)),
        Just((-3, 5)),
        Just((-3, 0))
    ];
    let modes = prop_oneof![Just(0o644), Just(0o755), Just(0o4711)];
    (item, modes, times, prop::option::weighted(0.2, 0..2_u8)).prop_map(
        |(item, mode, time, attribute)| Thing {
            item,
            mode,
            time,
            attribute,
        },
    )
}

fn tree() -> impl Strategy<Value = BTreeMap<usize, Thing>> {
    prop::collection::btree_map(0..NAMES.len(), thing(), 0..5)
}

/// A name, perhaps in a directory, and what is there afterwards.
type Edit = (usize, Option<usize>, Option<Thing>);

fn edit(mut things: BTreeMap<usize, Thing>, edits: &[Edit]) -> BTreeMap<usize, Thing> {
    for (above, name, thing) in edits {
        let (place, name) = match (things.get_mut(above), name) {
            (
                Some(Thing {
                    item: Item::Directory(below),
                    ..
                }),
                Some(name),
            ) => (below, name),
            _ => (&mut things, above),
        };
        match thing {
            Some(thing) => place.insert(*name, thing.clone()),
            None => place.remove(name),
        };
    }
    things
}

/// Everything that counts about a tree, found without the code under test.
fn dump(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut first_names = BTreeMap::new();
    let mut rest = vec![root.to_owned()];
    while let Some(path) = rest.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let kind = stat.file_type();
        let mut content = Vec::new();
        let mut below = Vec::new();
        if kind.is_dir() {
            below = fs::read_dir(&path)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            below.sort_by(|a, b| b.cmp(a));
        } else if kind.is_symlink() {
            content = fs::read_link(&path)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec();
        } else if kind.is_file() {
            content = fs::read(&path).unwrap();
            content.dedup();
        }
        let first = first_names
            .entry(stat.ino())
            .or_insert_with(|| path.clone())
            .clone();
        lines.push(format!(
            "{:?} {:o} {} {} {}.{} {} {:?} {:?} {:?}",
            path.strip_prefix(root).unwrap(),
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.mtime(),
            stat.mtime_nsec(),
            if kind.is_dir() { 0 } else { stat.len() },
            content,
            xattr::read_all(&path).unwrap(),
            first.strip_prefix(root).unwrap(),
        ));
        rest.extend(below);
    }
    lines
}

/// Makes a tree on disk; links need a file that was made before.
fn make(dir: &Path, things: &BTreeMap<usize, Thing>, last: &mut Option<PathBuf>) {
    for (name, thing) in things {
        let path = dir.join(OsStr::from_bytes(NAMES[*name]));
        match &thing.item {
            Item::File { content, holes } => {
                let file = fs::File::create(&path).unwrap();
                let offset = if *holes { 100_000 } else { 0 };
                std::os::unix::fs::FileExt::write_all_at(&file, &[b'0' + content; 5], offset)
                    .unwrap();
                file.set_len(100_005).unwrap();
                *last = Some(path.clone());
            }
            Item::Directory(below) => {
                fs::create_dir(&path).unwrap();
                make(&path, below, last);
            }
            Item::Symlink(target) => symlink(format!("target {target}"), &path).unwrap(),
            Item::Fifo => {
                at::mknod(
                    fs::File::open(dir).unwrap(),
                    path.file_name().unwrap(),
                    FileKind::Fifo,
                    0o600,
                    0,
                )
                .unwrap();
            }
            Item::Link => match last {
                Some(file) => {
                    fs::hard_link(file, &path).unwrap();
                    continue;
                }
                None => continue,
            },
        }
        let is_symlink = matches!(thing.item, Item::Symlink(_));
        let is_file = matches!(thing.item, Item::File { .. } | Item::Directory(_));
        if let Some(value) = thing.attribute.filter(|_| is_file && has_attributes(dir)) {
            xattr::set(&path, "user.test=", &[value, 0, b'\n']).unwrap();
        }
        if !is_symlink {
            let mode = if path.is_dir() {
                0o700 | thing.mode
            } else {
                thing.mode
            };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        set_time(&path, thing.time);
    }
}

fn has_attributes(dir: &Path) -> bool {
    xattr::set(dir, "user.probe", b"").is_ok() && xattr::remove(dir, "user.probe").is_ok()
}

fn set_time(path: &Path, (sec, nsec): (i64, u32)) {
    let dir = fs::File::open(path.parent().unwrap()).unwrap();
    let time = Time { sec, nsec };
    at::set_times(dir, path.file_name().unwrap(), time, time).unwrap();
}

fn made(things: &BTreeMap<usize, Thing>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), things, &mut None);
    // What was made in a directory changed its time.
    fn settle(dir: &Path, things: &BTreeMap<usize, Thing>) {
        for (name, thing) in things {
            if let Item::Directory(below) = &thing.item {
                let path = dir.join(OsStr::from_bytes(NAMES[*name]));
                settle(&path, below);
                set_time(&path, thing.time);
            }
        }
    }
    settle(dir.path(), things);
    set_time(dir.path(), (9, 9));
    dir
}

fn layer(root: &Path, changes: &[Change]) -> Vec<u8> {
    let mut archive = Vec::new();
    let written = diff::write(root, changes, &mut archive, &DiffOptions::default()).unwrap();
    assert_eq!(written.diff_id, crate::Digest::of(&archive));
    archive
}

fn apply(target: Target, archive: &[u8]) {
    let diff_id = Some(crate::Digest::of(archive));
    let read = ReadOptions {
        diff_id,
        ..ReadOptions::default()
    };
    let options = ApplyOptions {
        read,
        duplicates: crate::apply::Duplicates::Refused,
        ..ApplyOptions::default()
    };
    apply_to(target, &mut &*archive, &options).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_difference_applied_to_the_parent_is_the_tree(
        before in tree(),
        edits in prop::collection::vec(
            (0..NAMES.len(), prop::option::of(0..NAMES.len()), prop::option::of(thing())),
            0..6,
        ),
        extra in prop::collection::vec((0..NAMES.len(), 0..NAMES.len(), 0..3_usize), 0..6),
    ) {
        let (before, after) = (made(&before), made(&edit(before.clone(), &edits)));
        let (before, after) = (before.path(), after.path());

        let base = layer(before, &between(None, before, None).unwrap());
        let copy = tempfile::tempdir().unwrap();
        apply(Target::base(copy.path()).unwrap(), &base);
        prop_assert_eq!(dump(copy.path()), dump(before));
        prop_assert_eq!(between(Some(before), copy.path(), None).unwrap(), []);
        // One tree has one archive.
        prop_assert!(layer(copy.path(), &between(None, copy.path(), None).unwrap()) == base);

        let changes = between(Some(before), after, None).unwrap();
        prop_assert!(changes.is_sorted_by(|a, b| bytes(a) < bytes(b)));
        prop_assert_eq!(changes.is_empty(), dump(before) == dump(after));
        apply(Target::union(copy.path()).unwrap(), &layer(after, &changes));
        prop_assert_eq!(dump(copy.path()), dump(after));

        // Whatever a driver lists besides, the changes are the same.
        let reaches = [Reach::Entry, Reach::Children, Reach::Subtree];
        let mut candidates: Vec<_> = changes.iter().map(candidate).collect();
        candidates.extend(extra.iter().map(|(above, name, reach)| Candidate {
            path: [above, name].map(|name| OsStr::from_bytes(NAMES[*name])).iter().collect(),
            reach: reaches[*reach],
        }));
        prop_assert_eq!(&between(Some(before), after, Some(&candidates)).unwrap(), &changes);
    }
}

fn bytes(change: &Change) -> &[u8] {
    change.path.as_os_str().as_bytes()
}

fn candidate(change: &Change) -> Candidate {
    let path = change.path.strip_prefix("/").unwrap().to_owned();
    Candidate {
        path,
        reach: Reach::Entry,
    }
}

fn kinds(before: &Path, after: &Path) -> Vec<(ChangeKind, String)> {
    let changes = between(Some(before), after, None).unwrap();
    changes
        .into_iter()
        .map(|change| (change.kind, change.path.display().to_string()))
        .collect()
}

fn two_copies(fill: impl Fn(&Path)) -> (TempDir, TempDir) {
    let make = || {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path());
        for name in ["d/e", "d", "f", ""] {
            let path = dir.path().join(name);
            if path.exists() {
                set_time(&path, (5, 5));
            }
        }
        dir
    };
    (make(), make())
}

#[test]
fn changes_name_what_happened() {
    use ChangeKind::{Added, Deleted, Modified};
    let (before, after) = two_copies(|dir| {
        fs::create_dir_all(dir.join("d/e")).unwrap();
        fs::write(dir.join("d/e/x"), "x").unwrap();
        fs::write(dir.join("f"), "content").unwrap();
        set_time(&dir.join("d/e/x"), (5, 5));
    });
    let (before, after) = (before.path(), after.path());
    assert_eq!(kinds(before, after), []);

    // Content alone, with size and time as before.
    fs::write(after.join("f"), "CONTENT").unwrap();
    set_time(&after.join("f"), (5, 5));
    assert_eq!(kinds(before, after), [(Modified, "/f".into())]);

    // A directory removed is one deletion; what it was in has another time.
    fs::remove_dir_all(after.join("d/e")).unwrap();
    let expected = [(Modified, "/d"), (Deleted, "/d/e"), (Modified, "/f")];
    assert_eq!(
        kinds(before, after),
        expected.map(|(kind, path)| (kind, path.into()))
    );
    set_time(&after.join("d"), (5, 5));
    assert_eq!(
        kinds(before, after),
        [(Deleted, "/d/e".into()), (Modified, "/f".into())]
    );

    // Everything in an added directory is added, and a replaced type is a modification.
    fs::create_dir_all(after.join("new/sub")).unwrap();
    fs::remove_file(after.join("f")).unwrap();
    fs::create_dir(after.join("f")).unwrap();
    fs::write(after.join("f/g"), "").unwrap();
    let expected = [
        (Modified, "/"),
        (Deleted, "/d/e"),
        (Modified, "/f"),
        (Added, "/f/g"),
        (Added, "/new"),
        (Added, "/new/sub"),
    ];
    assert_eq!(
        kinds(before, after),
        expected.map(|(kind, path)| (kind, path.into()))
    );
}

#[test]
fn names_of_one_file_change_together() {
    use ChangeKind::{Added, Deleted, Modified};
    let (before, after) = two_copies(|dir| {
        fs::create_dir_all(dir.join("d")).unwrap();
        fs::write(dir.join("d/a"), "a").unwrap();
        fs::hard_link(dir.join("d/a"), dir.join("f")).unwrap();
        fs::hard_link(dir.join("d/a"), dir.join("g")).unwrap();
    });
    let (before, after) = (before.path(), after.path());
    let check = |expected: &[(ChangeKind, &str)]| {
        set_time(after, (5, 5));
        let expected: Vec<_> = expected
            .iter()
            .map(|(kind, path)| (*kind, (*path).into()))
            .collect();
        assert_eq!(kinds(before, after), expected);
    };
    check(&[]);
    // One name less changes no other.
    fs::remove_dir_all(after.join("d")).unwrap();
    check(&[(Deleted, "/d")]);
    // A further name, and a name that is a file of its own, change all that are left.
    fs::hard_link(after.join("g"), after.join("h")).unwrap();
    check(&[
        (Deleted, "/d"),
        (Modified, "/f"),
        (Modified, "/g"),
        (Added, "/h"),
    ]);
    fs::remove_file(after.join("h")).unwrap();
    fs::remove_file(after.join("g")).unwrap();
    fs::write(after.join("g"), "a").unwrap();
    for name in [after.join("f"), after.join("g"), before.join("f")] {
        set_time(&name, (3, 3));
    }
    check(&[(Deleted, "/d"), (Modified, "/f"), (Modified, "/g")]);

    // A driver that lists one of the two is enough.
    let listed = [("d", Reach::Entry), ("g", Reach::Entry)];
    let listed = listed.map(|(path, reach)| Candidate {
        path: path.into(),
        reach,
    });
    let whole = between(Some(before), after, None).unwrap();
    assert_eq!(between(Some(before), after, Some(&listed)).unwrap(), whole);
}

#[test]
fn an_unchanged_tree_has_an_empty_layer() {
    let (before, after) = two_copies(|dir| fs::write(dir.join("f"), "f").unwrap());
    let archive = layer(
        after.path(),
        &between(Some(before.path()), after.path(), None).unwrap(),
    );
    assert_eq!(archive, [0; 1024]);
}

#[test]
fn whiteouts_come_first_and_reserved_names_not_at_all() {
    let (before, after) = two_copies(|dir| {
        fs::create_dir(dir.join("d")).unwrap();
        fs::write(dir.join("d/z"), "").unwrap();
    });
    fs::remove_file(after.path().join("d/z")).unwrap();
    fs::write(after.path().join("d/a"), "").unwrap();
    let changes = between(Some(before.path()), after.path(), None).unwrap();
    let archive = layer(after.path(), &changes);
    let names: Vec<_> = archive
        .chunks(512)
        .filter(|block| block[257..].starts_with(b"ustar") && block[156] != b'x')
        .map(|block| {
            block[..100]
                .split(|byte| *byte == 0)
                .next()
                .unwrap()
                .escape_ascii()
                .to_string()
        })
        .collect();
    assert_eq!(names, ["d/", "d/.wh.z", "d/a"]);

    fs::write(after.path().join("d/.wh.x"), "").unwrap();
    let changes = between(Some(before.path()), after.path(), None).unwrap();
    let error = diff::write(
        after.path(),
        &changes,
        &mut Vec::new(),
        &DiffOptions::default(),
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.starts_with("`d/.wh.x` in a layer, where it would be a whiteout, is not"),
        "{error}"
    );
}
