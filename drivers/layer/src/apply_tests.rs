//! Layers applied over one another, to a plain directory and as any user: what they make, in which
//! orders they make the same, and what they are refused for.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use cowlab_tarball::{Entry, TIME};

use crate::EntryName;
use crate::apply::{ApplyOptions, Duplicates, Target, apply_to};
use crate::error::LayerError;
use crate::fixture::{applied, apply, archive_of, listing, refused};

fn base() -> Vec<Entry> {
    vec![
        Entry::dir("d/"),
        Entry::file("d/a", b"a"),
        Entry::dir("d/sub/"),
        Entry::file("d/sub/x", b"x"),
        Entry::file("d/sub/y", b"y"),
        Entry::file("e", b"e"),
        Entry::dir("usr"),
        Entry::dir("usr/bin"),
        Entry::symlink("bin", "usr/bin"),
    ]
}

fn over_base(layer: &[Entry]) -> Vec<String> {
    listing(applied(&[&base(), layer]).path())
}

/// The layer's listing, without what the base has and it does not touch.
fn about(layer: &[Entry], name: &str) -> Vec<String> {
    over_base(layer)
        .into_iter()
        .filter(|line| line.starts_with(name))
        .collect()
}

#[test]
fn entries_have_their_attributes_and_directories_their_times() {
    let layer = vec![
        Entry::dir("t"),
        Entry::file("t/f", b"content").record("mtime", b"-1.25"),
        Entry::file("implied/f", b""),
    ];
    let dir = applied(&[&layer]);
    let stat = |name: &str| cowlab_sys::stat::lstat(dir.path().join(name)).unwrap();
    assert_eq!((stat("t").mtime.sec, stat("t").mtime.nsec), (TIME, 0));
    assert_eq!(
        (stat("t/f").mtime.sec, stat("t/f").mtime.nsec),
        (-2, 750_000_000)
    );
    assert_eq!(stat("t/f").permissions(), 0o644);
    assert_eq!(
        (stat("implied").permissions(), stat("implied").mtime.sec),
        (0o755, 0)
    );
    assert_eq!(stat("").mtime.sec, 0);

    // A further layer in a directory changes the time of that directory only if it says so.
    let more = vec![Entry::file("t/g", b""), Entry::dir("other")];
    apply(dir.path(), false, &archive_of(&more), Duplicates::LastWins).unwrap();
    assert_eq!((stat("t").mtime.sec, stat("").mtime.sec), (TIME, 0));
}

#[test]
fn old_headers_hold_times_before_1970() {
    let old = Entry::file("f", "").field(136, [0xff; 12]);
    let dir = applied(&[&[old]]);
    assert_eq!(fs::metadata(dir.path().join("f")).unwrap().mtime(), -1);
}

#[test]
fn a_whiteout_removes_what_the_parent_has() {
    assert_eq!(about(&[Entry::file(".wh.e", b"")], "e"), [""; 0]);
    assert_eq!(about(&[Entry::file("d/.wh.a", b"")], "d/a"), [""; 0]);
    assert_eq!(about(&[Entry::file(".wh.d", b"")], "d"), [""; 0]);
    // Missing names, missing directories, and a symbolic link that is removed and not followed.
    for name in [
        ".wh.none",
        "none/.wh.x",
        "e/.wh.x",
        "d/a/.wh.x",
        ".wh..wh.plnk/1.2",
    ] {
        assert_eq!(over_base(&[Entry::file(name, b"")]), over_base(&[]));
    }
    let rest = over_base(&[Entry::file(".wh.bin", b"")]);
    assert!(rest.contains(&"usr/bin/".to_owned()) && !rest.iter().any(|line| line.contains("->")));
    // The parent's directory may be reached through a link.
    let base = [base(), vec![Entry::file("usr/bin/sh", b"")]].concat();
    let dir = applied(&[&base, &[Entry::file("bin/.wh.sh", b"")]]);
    assert!(!dir.path().join("usr/bin/sh").exists());
}

#[test]
fn the_order_of_entries_does_not_matter() {
    let layers = [
        // What is not carried by an opaque directory goes, and what is stays.
        vec![
            Entry::file("d/.wh..wh..opq", b""),
            Entry::dir("d"),
            Entry::file("d/new", b"new"),
            Entry::file("d/sub/x", b"other"),
            Entry::file("d/sub/.wh.y", b""),
        ],
        // A directory that is removed and made again.
        vec![
            Entry::file(".wh.d", b""),
            Entry::dir("d"),
            Entry::file("d/sub/z", b"z"),
            Entry::file(".wh.e", b""),
        ],
        // A whiteout beside an entry of its own name, in a directory that is implied.
        vec![
            Entry::file("d/sub/.wh.x", b""),
            Entry::file("d/sub/x", b"own"),
            Entry::file("d/.wh.sub", b""),
        ],
        vec![
            Entry::file(".wh..wh..opq", b""),
            Entry::file("e", b"own"),
            Entry::file("d/a", b"own"),
        ],
    ];
    let expected = [
        vec!["d/", "d/new=new", "d/sub/", "d/sub/x=other", "e=e"],
        vec!["d/", "d/sub/", "d/sub/z=z"],
        vec!["d/", "d/a=a", "d/sub/", "d/sub/x=own", "e=e"],
        vec!["d/", "d/a=own", "e=own"],
    ];
    for (layer, expected) in layers.iter().zip(&expected) {
        for order in permutations(layer.len()) {
            let entries: Vec<_> = order.iter().map(|index| layer[*index].clone()).collect();
            let dir = applied(&[&base(), &entries]);
            let mut lines = listing(dir.path());
            lines.retain(|line| line.starts_with(['d', 'e']));
            assert_eq!(lines, *expected, "{order:?}");
            // A directory that is only implied keeps nothing of the one that was removed.
            let implied = fs::metadata(dir.path().join("d/sub")).map(|sub| sub.mtime());
            assert!(implied.is_ok_and(|time| time == 0) || expected.contains(&"d/a=own"));
        }
    }
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else {
        return vec![Vec::new()];
    };
    let put = |order: Vec<usize>| {
        (0..=order.len()).map(move |at| {
            let mut order = order.clone();
            order.insert(at, last);
            order
        })
    };
    permutations(last).into_iter().flat_map(put).collect()
}

#[test]
fn links_and_implied_directories_take_the_place_of_what_the_parent_has() {
    assert_eq!(about(&[Entry::link("d", "e")], "d"), ["d=e"]);
    // The directory above is a file in the parent.
    assert_eq!(
        about(&[Entry::file("e/f/g", b"")], "e"),
        ["e/", "e/f/", "e/f/g="]
    );
}

#[test]
fn hard_links_join_names_of_the_layer_and_of_its_parent() {
    let layer = vec![
        Entry::file("n", b"n"),
        Entry::link("n2", "./n"),
        Entry::link("bin/e", "e"),
        Entry::symlink("s", "nowhere"),
        Entry::link("s2", "s"),
    ];
    let dir = applied(&[&base(), &layer]);
    let inode = |name: &str| fs::symlink_metadata(dir.path().join(name)).unwrap().ino();
    assert_eq!(inode("n"), inode("n2"));
    assert_eq!(inode("e"), inode("usr/bin/e"));
    assert_eq!(inode("s"), inode("s2"));
    for (target, reason) in [
        ("none", "is neither in the layer nor in its parent"),
        ("d/a/none", "is neither in the layer nor in its parent"),
        ("d", "is a directory"),
        (".", "is a directory"),
        ("h", "is neither in the layer nor in its parent"),
    ] {
        let error = refused(&base(), &[Entry::link("h", target)]).to_string();
        let expected = format!("layer entry `h` is malformed: its target `{target}` {reason}");
        assert_eq!(error, expected);
    }
    let error = refused(&base(), &[Entry::link("bin/../e", "e")]);
    assert!(matches!(error, LayerError::Escape { .. }), "{error}");
    let error = refused(&base(), &[Entry::link("d/a", "d/a")]).to_string();
    assert!(error.contains("is the entry itself"), "{error}");
}

#[test]
fn links_on_the_way_are_followed_within_the_layer() {
    assert_eq!(
        about(&[Entry::file("bin/sh", b"")], "usr/bin/"),
        ["usr/bin/", "usr/bin/sh="]
    );
    let rooted = [
        base(),
        vec![
            Entry::symlink("run", "/usr/bin"),
            Entry::symlink("d/up", "../usr/./bin/"),
            Entry::symlink("r", "/"),
        ],
    ]
    .concat();
    for name in ["run/f", "d/up/f", "r/run/f", "r/d/up/f"] {
        let dir = applied(&[&rooted, &[Entry::file(name, b"")]]);
        assert!(dir.path().join("usr/bin/f").exists(), "{name}");
    }
}

#[test]
fn deep_trees_and_long_names_fit() {
    let name = "n".repeat(255);
    let path = vec![name.as_str(); 40].join("/");
    let layer = vec![
        Entry::file("x", b"deep").record("path", format!("{path}/f").as_bytes()),
        Entry::file("x", b"deeper").record("path", vec!["d"; 900].join("/").as_bytes()),
        Entry::file("x", b"").record("path", format!("{path}/.wh.f").as_bytes()),
    ];
    let dir = applied(&[&layer, &[Entry::dir("e")], &layer]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    let gone = vec![
        Entry::file(format!(".wh.{}", &name[..90]), b""),
        Entry::file(".wh.d", b""),
    ];
    let rest = applied(&[&layer, &gone]);
    assert_eq!(fs::read_dir(rest.path()).unwrap().count(), 1);
    let error = refused(
        &base(),
        &[Entry::file("x", b"").record("path", [b'n'; 256])],
    );
    assert_eq!(
        error.errno(),
        Some(cowlab_sys::Errno::NAMETOOLONG),
        "{error}"
    );
}

#[test]
fn names_may_be_any_bytes() {
    let name = b"n\xff\xfe\n\\:,";
    let entry = Entry::file("x", b"content").record("hdrcharset", b"BINARY");
    let dir = applied(&[&[entry.record("path", name)]]);
    assert_eq!(
        fs::read(dir.path().join(EntryName::new(*name).to_path())).unwrap(),
        b"content"
    );
}

#[test]
fn a_mode_is_set_whatever_the_mask() {
    let dir = applied(&[&[Entry::file("suid", "").mode(0o6777)]]);
    let mode = fs::metadata(dir.path().join("suid"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o6777);
}

#[test]
fn notes_of_overlayfs_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let entry = Entry::file("f", b"")
        .record("SCHILY.xattr.trusted.overlay.redirect", b"/etc")
        .record("SCHILY.xattr.trusted.overlay.metacopy", b"")
        .record("SCHILY.xattr.security.selinux", b"x");
    let archive = archive_of(&[entry]);
    let target = Target::base(dir.path()).unwrap();
    let applied = apply_to(target, &mut &archive[..], &ApplyOptions::default()).unwrap();
    assert_eq!(applied.counts.dropped_xattrs, 3);
    let names = cowlab_sys::xattr::list(dir.path().join("f")).unwrap();
    assert!(
        !names
            .iter()
            .any(|name| name.to_string_lossy().contains("overlay"))
    );
}
