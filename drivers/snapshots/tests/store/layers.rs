//! Layers into the store and out of it.

use std::path::Path;

use cowlab_layer::{ChangeKind, Digest, LayerError};
use cowlab_snapshots::{ApplyOptions, Error, Kind, Store};

use crate::place::{Place, commit, directory, files, keys, message, prepare};

/// The layer of a snapshot.
fn layer(store: &Store, key: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    store.diff(key, &mut archive, &Default::default()).unwrap();
    archive
}

fn changes(store: &Store, key: &str) -> Vec<(String, ChangeKind)> {
    let all = store.changes(key).unwrap();
    all.into_iter()
        .map(|change| (change.path.to_str().unwrap().to_owned(), change.kind))
        .collect()
}

#[test]
fn what_is_written_and_applied_is_the_same() {
    let place = Place::new();
    let store = place.open();
    commit(&store, "base", None);
    prepare(&store, "key", Some("base"), "new");
    std::fs::remove_file(directory(&store, "key").join("base")).unwrap();
    store.commit("key", "child", &Default::default()).unwrap();

    let base = layer(&store, "base");
    let child = layer(&store, "child");
    let options = ApplyOptions {
        digest: Some(Digest::of(&base)),
        diff_id: Some(Digest::of(&base)),
        ..ApplyOptions::default()
    };
    let applied = store
        .apply("base again", None, &mut base.as_slice(), &options)
        .unwrap();
    assert_eq!(applied.info.kind, Kind::Committed);
    assert_eq!(applied.diff_id, Digest::of(&base));
    assert_eq!(applied.size, u64::try_from(base.len()).unwrap());
    let parent = Some("base again");
    store
        .apply(
            "child again",
            parent,
            &mut child.as_slice(),
            &Default::default(),
        )
        .unwrap();
    assert_eq!(files(&store, "child again"), ["new"]);
    assert_eq!(layer(&store, "child again"), child);
}

#[test]
fn changes_are_sorted_and_exact_for_every_kind() {
    let place = Place::new();
    let store = place.open();
    commit(&store, "base", None);
    prepare(&store, "key", Some("base"), "a");
    let dir = directory(&store, "key");
    std::fs::write(dir.join("base"), "other").unwrap();
    let expected = [
        ("/".to_owned(), ChangeKind::Modified),
        ("/a".to_owned(), ChangeKind::Added),
        ("/base".to_owned(), ChangeKind::Modified),
    ];
    assert_eq!(changes(&store, "key"), expected);
    store.commit("key", "child", &Default::default()).unwrap();
    assert_eq!(changes(&store, "child"), expected);
    store.view("view", "child").unwrap();
    assert!(changes(&store, "view").is_empty());
    let all_added = changes(&store, "base");
    assert!(all_added.iter().all(|(_, kind)| *kind == ChangeKind::Added));
}

#[test]
fn a_layer_that_is_refused_leaves_nothing() {
    let place = Place::new();
    let store = place.open();
    commit(&store, "base", None);
    let good = layer(&store, "base");
    let (before, data) = (keys(&store), place.data());
    let wrong = ApplyOptions {
        diff_id: Some(Digest::of(b"other")),
        ..ApplyOptions::default()
    };
    let cut = &good[..good.len() / 3];
    for (mut source, options) in [
        (good.as_slice(), &wrong),
        (cut, &ApplyOptions::default()),
        (b"junk".repeat(1000).as_slice(), &ApplyOptions::default()),
    ] {
        let refused = store.apply("new", Some("base"), &mut source, options);
        assert!(matches!(refused, Err(Error::Layer { .. })), "{refused:?}");
        assert_eq!((keys(&store), place.data()), (before.clone(), data.clone()));
    }
    let refused = store.apply("new", Some("base"), &mut good.as_slice(), &wrong);
    let text = message(refused);
    assert!(
        text.starts_with("apply a layer to `new`: diff_id mismatch"),
        "{text}"
    );
    let taken = store.apply("base", None, &mut good.as_slice(), &Default::default());
    assert!(matches!(taken, Err(Error::Exists { .. })));
    assert!(!Path::new(&place.root()).join("locks/2").exists());
}

#[test]
fn a_sink_that_fails_is_named() {
    let place = Place::new();
    let store = place.open();
    commit(&store, "base", None);
    let mut full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let refused = store.diff("base", &mut full, &Default::default());
    let Err(Error::Layer { key, reason, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(key, "base");
    assert!(matches!(*reason, LayerError::Sink(_)));
}

#[test]
fn a_path_is_traced_to_the_snapshots_that_have_it() {
    let place = Place::new();
    let store = place.open();
    commit(&store, "base", None);
    prepare(&store, "key", Some("base"), "new");
    store.commit("key", "child", &Default::default()).unwrap();
    prepare(&store, "top", Some("child"), "other");
    let dir = directory(&store, "top");
    let trace = |path: &str| store.trace("top", Path::new(path)).unwrap();
    let who = |path: &str| -> Vec<_> {
        let found = trace(path).traces.into_iter();
        found
            .map(|one| (one.snapshot, one.entry.is_some()))
            .collect()
    };
    assert_eq!(who("/base"), [("base".to_owned(), true)]);
    assert_eq!(who("/new"), [("child".to_owned(), true)]);
    std::fs::write(dir.join("base"), "longer").unwrap();
    std::fs::remove_file(dir.join("new")).unwrap();
    let both = [("top".to_owned(), true), ("base".to_owned(), true)];
    assert_eq!(who("/base"), both);
    assert!(trace("/base").traces[0].is_head);
    assert_eq!(trace("/base").shown.unwrap().size, 6);
    let removed = [("top".to_owned(), false), ("child".to_owned(), true)];
    assert_eq!(who("/new"), removed);
    assert!(trace("/new").shown.is_none() && who("/none/below").is_empty());
    let copied = store.copied("top").unwrap();
    assert_eq!((copied.files, copied.whiteouts), (1, 1));
}
