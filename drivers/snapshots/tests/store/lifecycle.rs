//! The verbs of the store, and what each refuses.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::place::{Place, commit, directory, files, keys, message, prepare};
use cowlab_driver::Durability;
use cowlab_snapshots::{
    CommitOptions, Error, Filter, Kind, Labels, PrepareOptions, Store, StoreOptions,
};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn a_child_has_its_parents_content_and_its_own() {
    let place = Place::new();
    let store = place.open();
    commit(&store, "base", None);
    let child = commit(&store, "child", Some("base"));
    assert_eq!(child.kind, Kind::Committed);
    assert_eq!(child.parent.as_deref(), Some("base"));
    assert_eq!(files(&store, "base"), ["base"]);
    assert_eq!(files(&store, "child"), ["base", "child"]);
    assert_eq!(keys(&store), ["base", "child"]);
}

#[test]
fn a_commit_keeps_the_number_and_replaces_the_labels() {
    let place = Place::new();
    let store = place.open();
    let options = PrepareOptions {
        labels: labels(&[("old", "1")]),
        ..PrepareOptions::default()
    };
    let active = store.prepare("key", None, &options).unwrap();
    assert_eq!(active.labels, labels(&[("old", "1")]));
    let options = CommitOptions {
        labels: labels(&[("new", "2")]),
        durability: Durability::Full,
        ..CommitOptions::default()
    };
    let committed = store.commit("key", "name", &options).unwrap();
    assert_eq!(committed.id, active.id);
    assert_eq!(committed.labels, labels(&[("new", "2")]));
    assert!(matches!(store.stat("key"), Err(Error::NotFound { .. })));
}

#[test]
fn keys_and_names_are_one_namespace() {
    let place = Place::new();
    let store = place.open();
    commit(&store, "base", None);
    prepare(&store, "active", None, "a");
    for taken in ["base", "active"] {
        let refused = store.prepare(taken, None, &PrepareOptions::default());
        assert!(message(refused).contains(&format!("`{taken}` already exists")));
        let refused = store.commit("active", taken, &CommitOptions::default());
        assert!(message(refused).contains(&format!("`{taken}` already exists")));
    }
    assert_eq!(keys(&store), ["active", "base"]);
}

#[test]
fn a_parent_is_committed_and_there() {
    let place = Place::new();
    let store = place.open();
    prepare(&store, "active", None, "a");
    let refused = store.prepare("child", Some("active"), &PrepareOptions::default());
    assert_eq!(
        message(refused),
        "snapshot `active` is active, and only committed snapshots are parents"
    );
    let refused = store.view("child", "nothing");
    assert_eq!(message(refused), "snapshot `nothing` does not exist");
    assert_eq!(keys(&store), ["active"]);
    assert_eq!(place.data(), ["1"]);
}

#[test]
fn only_active_snapshots_are_committed_and_committed_ones_are_not_mounted() {
    let place = Place::new();
    let store = place.open();
    commit(&store, "base", None);
    store.view("view", "base").unwrap();
    for key in ["base", "view"] {
        let refused = store.commit(key, "other", &CommitOptions::default());
        assert!(matches!(refused, Err(Error::WrongKind { .. })), "{key}");
    }
    assert!(matches!(store.mounts("base"), Err(Error::WrongKind { .. })));
}

#[test]
fn a_snapshot_with_children_stays() {
    let place = Place::new();
    let store = place.open();
    commit(&store, "base", None);
    for number in 0..10 {
        store.view(&format!("view-{number}"), "base").unwrap();
    }
    let text = message(store.remove("base"));
    assert!(text.contains("`base` has children"), "{text}");
    assert!(
        text.contains("`view-0`") && text.ends_with("and 2 more"),
        "{text}"
    );
    for number in 0..10 {
        store.remove(&format!("view-{number}")).unwrap();
    }
    store.remove("base").unwrap();
    assert!(place.data().is_empty());
    assert!(matches!(store.remove("base"), Err(Error::NotFound { .. })));
}

#[test]
fn a_commit_with_an_open_writer_names_the_process() {
    let place = Place::new();
    let store = place.open();
    prepare(&store, "key", None, "file");
    let path = directory(&store, "key").join("file");
    let writer = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap();
    let Err(Error::Busy { key, holders }) = store.commit("key", "name", &CommitOptions::default())
    else {
        panic!("committed under a writer");
    };
    assert_eq!(key, "key");
    assert!(
        holders
            .iter()
            .any(|holder| holder.pid == std::process::id() && holder.path == path)
    );
    assert_eq!(store.stat("key").unwrap().kind, Kind::Active);
    drop(writer);
    let reader = std::fs::File::open(&path).unwrap();
    store
        .commit("key", "name", &CommitOptions::default())
        .unwrap();
    drop(reader);
}

#[test]
fn a_removal_leaves_a_file_to_who_has_it_open() {
    let place = Place::new();
    let store = place.open();
    prepare(&store, "key", None, "file");
    let path = directory(&store, "key").join("file");
    let before = std::fs::read(&path).unwrap();
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .append(true)
        .open(&path)
        .unwrap();
    store.remove("key").unwrap();
    assert!(place.data().is_empty());
    std::io::Write::write_all(&mut file, b"more").unwrap();
    let mut kept = vec![0; before.len() + 4];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut kept, 0).unwrap();
    assert_eq!(kept, [before.as_slice(), b"more"].concat());
}

#[test]
fn numbers_are_never_reused_and_end_at_the_limit() {
    let place = Place::new();
    let store = place.open();
    let first = prepare(&store, "a", None, "a").id;
    store.remove("a").unwrap();
    let second = prepare(&store, "a", None, "a").id;
    assert!(second > first);
    drop(store);
    place.tamper("UPDATE sqlite_sequence SET seq = 16777214");
    let store = place.open();
    assert_eq!(prepare(&store, "last", None, "a").id.number(), 16_777_215);
    let refused = store.prepare("more", None, &PrepareOptions::default());
    assert!(matches!(refused, Err(Error::Limit { .. })));
}

#[test]
fn keys_and_labels_that_cannot_be_are_refused() {
    let place = Place::new();
    let store = place.open();
    let refused = store.prepare("", None, &PrepareOptions::default());
    assert!(matches!(refused, Err(Error::InvalidKey { .. })));
    let options = PrepareOptions {
        labels: labels(&[("", "x")]),
        ..PrepareOptions::default()
    };
    let refused = store.prepare("a", None, &options);
    assert!(matches!(refused, Err(Error::InvalidLabel { .. })));
    assert!(place.data().is_empty());
}

#[test]
fn labels_change_one_by_one() {
    let place = Place::new();
    let store = place.open();
    let before = commit(&store, "base", None);
    let set = |pairs: &[(&str, Option<&str>)]| {
        let changes: BTreeMap<_, _> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)))
            .collect();
        store.update_labels("base", &changes).unwrap()
    };
    set(&[("a", Some("1")), ("b", Some("2"))]);
    let after = set(&[("a", None), ("c", Some("3"))]);
    assert_eq!(after.labels, labels(&[("b", "2"), ("c", "3")]));
    assert!(after.updated > before.updated && after.created == before.created);
}

#[test]
fn a_list_is_filtered_by_every_part() {
    let place = Place::new();
    let store = place.open();
    commit(&store, "base", None);
    commit(&store, "base/child", Some("base"));
    let options = PrepareOptions {
        labels: labels(&[("use", "test")]),
        ..PrepareOptions::default()
    };
    store.prepare("work", Some("base"), &options).unwrap();
    let found = |filter: Filter| -> Vec<String> {
        let all = store.list(&filter).unwrap();
        all.into_iter().map(|info| info.key).collect()
    };
    let by_kind = |kind| Filter {
        kind: Some(kind),
        ..Filter::default()
    };
    assert_eq!(found(by_kind(Kind::Active)), ["work"]);
    let by_parent = Filter {
        parent: Some("base".into()),
        ..Filter::default()
    };
    assert_eq!(found(by_parent), ["base/child", "work"]);
    let by_prefix = Filter {
        prefix: Some("base".into()),
        ..by_kind(Kind::Committed)
    };
    assert_eq!(found(by_prefix), ["base", "base/child"]);
    for (value, count) in [
        (None, 1),
        (Some("test".to_owned()), 1),
        (Some("x".to_owned()), 0),
    ] {
        let filter = Filter {
            label: Some(("use".into(), value)),
            ..Filter::default()
        };
        assert_eq!(found(filter).len(), count);
    }
}

#[test]
fn a_view_may_show_nothing_and_has_labels() {
    let place = Place::new();
    let store = place.open();
    let options = PrepareOptions {
        labels: labels(&[("use", "test")]),
        ..PrepareOptions::default()
    };
    let view = store.view_with("nothing", None, &options).unwrap();
    assert_eq!((view.kind, view.parent), (Kind::View, None));
    assert_eq!(view.labels, options.labels);
    let shown = std::fs::read_dir(directory(&store, "nothing")).unwrap();
    assert_eq!(shown.count(), 0);
    let refused = PrepareOptions {
        labels: labels(&[("a=b", "c")]),
        ..PrepareOptions::default()
    };
    let refused = store.view_with("other", None, &refused);
    assert!(matches!(refused, Err(Error::InvalidLabel { .. })));
}

#[test]
fn errors_of_the_driver_name_keys_and_no_numbers() {
    let place = Place::new();
    let store = place.open();
    let base = commit(&store, "base", None);
    let data = place.root().join("driver");
    std::fs::rename(data.join(base.id.to_string()), data.join("away")).unwrap();
    let refused = store.prepare("key", Some("base"), &PrepareOptions::default());
    assert_eq!(
        message(refused),
        "prepare `key`: the data of snapshot `base` does not exist"
    );
}

#[test]
fn a_commit_waits_for_a_writer_that_ends() {
    let place = Place::new();
    let store = place.open();
    prepare(&store, "key", None, "file");
    let writer = std::fs::File::create(directory(&store, "key").join("file")).unwrap();
    let refused = store.commit("key", "name", &CommitOptions::default());
    assert!(matches!(refused, Err(Error::Busy { .. })));
    let patient = CommitOptions {
        wait: Duration::from_secs(60),
        ..CommitOptions::default()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            drop(writer);
        });
        store.commit("key", "name", &patient).unwrap();
    });
}

#[test]
fn any_two_snapshots_are_compared() {
    let place = Place::new();
    let store = place.open();
    commit(&store, "base", None);
    commit(&store, "left", Some("base"));
    commit(&store, "right", Some("base"));
    let changed = |base: &str, key: &str| -> Vec<String> {
        let changes = store.changes_since(base, key).unwrap();
        let names = changes
            .iter()
            .map(|change| change.path.display().to_string());
        names.filter(|name| name != "/").collect()
    };
    assert_eq!(changed("left", "right"), ["/left", "/right"]);
    assert_eq!(changed("base", "right"), ["/right"]);
    assert_eq!(changed("right", "base"), ["/right"]);
    assert_eq!(changed("right", "right"), [""; 0]);
    assert!(matches!(
        store.changes_since("nothing", "base"),
        Err(Error::NotFound { .. })
    ));
}

#[test]
fn usage_is_what_a_snapshot_holds() {
    let place = Place::new();
    let store = place.open();
    prepare(&store, "key", None, "file");
    let usage = store.usage("key").unwrap();
    // The file and the root, and nothing that the driver has beside them.
    assert_eq!(usage.exclusive.inodes, 2);
    store
        .commit("key", "name", &CommitOptions::default())
        .unwrap();
    let recorded = store.usage("name").unwrap();
    assert_eq!(recorded.exclusive, usage.exclusive);
    std::fs::remove_file(place.root().join("driver/1/fs/file")).unwrap();
    assert_eq!(store.usage("name").unwrap(), recorded);
    assert!(matches!(
        store.usage("nothing"),
        Err(Error::NotFound { .. })
    ));
}

#[test]
fn a_store_opens_as_what_it_was_made() {
    let place = Place::new();
    let identity = place.open().identity().clone();
    assert_eq!(*place.open().identity(), identity);
    let other = cowlab_driver::Entry {
        name: "other",
        ..entry_of(|options| (cowlab_vfs::ENTRY.open)(options))
    };
    let text = message(place.try_open(&other));
    assert!(text.contains("driver `vfs`, not `other`"), "{text}");
    let options = StoreOptions {
        variant: Some("nothing".into()),
        ..StoreOptions::default()
    };
    let refused = Store::open(&place.root(), &cowlab_vfs::ENTRY, &options);
    assert!(message(refused).contains("variant"));
    let fresh = Store::open(&place.root().join("fresh"), &cowlab_vfs::ENTRY, &options);
    assert!(message(fresh).contains("has no variant `nothing`"));
}

#[test]
fn another_stores_driver_root_is_refused() {
    let place = Place::new();
    drop(place.open());
    let foreign = StoreOptions {
        driver_root: Some(place.root().join("driver")),
        ..StoreOptions::default()
    };
    let other = Place::new();
    let refused = Store::open(&other.root(), &cowlab_vfs::ENTRY, &foreign);
    assert!(
        matches!(refused, Err(Error::ForeignRoot { .. })),
        "{refused:?}"
    );
    drop(other.open());
    let refused = Store::open(&other.root(), &cowlab_vfs::ENTRY, &foreign);
    assert!(
        matches!(refused, Err(Error::Recorded { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_driver_that_cannot_run_binds_no_store() {
    let place = Place::new();
    let broken = entry_of(|_| {
        Err(cowlab_driver::Error::Unavailable(cowlab_driver::Missing {
            what: "everything".into(),
            remedy: "get it".into(),
        }))
    });
    let refused = place.try_open(&broken);
    assert_eq!(message(refused), "everything is missing: get it");
    commit(&place.open(), "base", None);
}

/// The plain-copy driver, opened otherwise.
fn entry_of(
    open: fn(&cowlab_driver::OpenOptions) -> cowlab_driver::Result<Box<dyn cowlab_driver::Driver>>,
) -> cowlab_driver::Entry {
    cowlab_driver::Entry {
        open,
        ..cowlab_vfs::ENTRY
    }
}
