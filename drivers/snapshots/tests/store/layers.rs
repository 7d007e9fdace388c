//! Layers into the store and out of it.

use std::path::Path;

use cowlab_layer::{ChangeKind, LayerError};
use cowlab_snapshots::{Error, Store};

use crate::place::{Place, commit, directory, prepare};

fn changes(store: &Store, key: &str) -> Vec<(String, ChangeKind)> {
    let all = store.changes(key).unwrap();
    all.into_iter()
        .map(|change| (change.path.to_str().unwrap().to_owned(), change.kind))
        .collect()
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
