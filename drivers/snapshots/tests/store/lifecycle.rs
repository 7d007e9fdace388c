//! The verbs of the store, and what each refuses.

use std::time::Duration;

use crate::place::{Place, commit, directory, message, prepare};
use cowlab_driver::Durability;
use cowlab_snapshots::{CommitOptions, Error, Kind, Labels, PrepareOptions, Store, StoreOptions};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
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
