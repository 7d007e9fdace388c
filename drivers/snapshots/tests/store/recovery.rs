//! What dead processes leave, and operations that fail halfway.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::place::{Place, commit, directory, files, keys, message, prepare};
use cowlab_driver::{
    Chain, CreateOptions, Driver, Durability, Entry, OpenOptions, SnapshotId, WriteWatch,
};
use cowlab_snapshots::{CommitOptions, Error, Kind, PrepareOptions};
use cowlab_sys::Errno;

#[test]
fn interrupted_creation_is_rolled_back() {
    let place = Place::new();
    let store = place.open();
    commit(&store, "base", None);
    let id = prepare(&store, "key", Some("base"), "half").id;
    drop(store);
    for kind in ["active", "committed"] {
        let operation = if kind == "active" { "create" } else { "apply" };
        place.tamper(&format!(
            "UPDATE snapshots SET operation = '{operation}', kind = '{kind}' WHERE name = 'key'"
        ));
        let store = place.open();
        assert_eq!(store.recovery().rolled_back, ["key"]);
        assert_eq!(keys(&store), ["base"]);
        assert_eq!(place.data(), ["1"]);
        assert!(!place.root().join("locks").join(id.to_string()).exists());
        prepare(&store, "key", Some("base"), "again");
    }
}

#[test]
fn creation_that_made_nothing_is_rolled_back() {
    let place = Place::new();
    let store = place.open();
    prepare(&store, "key", None, "a");
    drop(store);
    place.tamper("UPDATE snapshots SET operation = 'create'");
    std::fs::remove_dir_all(place.root().join("driver/1")).unwrap();
    let store = place.open();
    assert_eq!(store.recovery().rolled_back, ["key"]);
    assert!(keys(&store).is_empty());
}

/// One row of the table of what recovery does: an operation that was cut off, what is known about it, and the snapshots
/// that are there afterwards.
struct Cut {
    operation: &'static str,
    same_boot: bool,
    flushed: bool,
    frozen: bool,
    leaves: &'static [&'static str],
}

const ROLLED_BACK: &[&str] = &["key"];
const FINISHED: &[&str] = &["name"];
const ABSENT: &[&str] = &[];

const fn cut(
    operation: &'static str,
    [same_boot, flushed, frozen]: [bool; 3],
    leaves: &'static [&'static str],
) -> Cut {
    Cut {
        operation,
        same_boot,
        flushed,
        frozen,
        leaves,
    }
}

const TABLE: &[Cut] = &[
    cut("commit", [true, true, true], FINISHED),
    cut("commit", [true, true, false], FINISHED),
    cut("commit", [true, false, true], FINISHED),
    cut("commit", [true, false, false], FINISHED),
    cut("commit", [false, true, true], FINISHED),
    cut("commit", [false, true, false], FINISHED),
    cut("commit", [false, false, true], ROLLED_BACK),
    cut("commit", [false, false, false], ROLLED_BACK),
    cut("create", [true, true, false], ABSENT),
    cut("create", [true, false, false], ABSENT),
    cut("create", [false, true, false], ABSENT),
    cut("create", [false, false, false], ABSENT),
    cut("apply", [true, true, true], ABSENT),
    cut("apply", [true, true, false], ABSENT),
    cut("apply", [true, false, true], ABSENT),
    cut("apply", [true, false, false], ABSENT),
    cut("apply", [false, true, true], ABSENT),
    cut("apply", [false, true, false], ABSENT),
    cut("apply", [false, false, true], ABSENT),
    cut("apply", [false, false, false], ABSENT),
    cut("remove", [true, true, true], ABSENT),
    cut("remove", [true, false, false], ABSENT),
    cut("remove", [false, true, true], ABSENT),
    cut("remove", [false, false, false], ABSENT),
];

#[test]
fn every_row_of_the_recovery_table_holds() {
    for row in TABLE {
        let name = format!(
            "{} same boot {}, flushed {}, frozen {}",
            row.operation, row.same_boot, row.flushed, row.frozen
        );
        let place = Place::new();
        let store = place.open();
        let id = prepare(&store, "key", None, "file").id;
        if row.frozen {
            store.driver().freeze(id).unwrap();
        }
        drop(store);
        place.cut_off(row.operation, row.same_boot, row.flushed);
        let store = place.open();
        assert_eq!(keys(&store), row.leaves, "{name}");
        let recovery = store.recovery();
        let settled = match row.leaves {
            FINISHED => &recovery.completed,
            _ if row.operation == "remove" => &recovery.completed,
            _ => &recovery.rolled_back,
        };
        assert_eq!(*settled, ["key"], "{name}");
        match row.leaves {
            FINISHED => {
                let info = store.stat("name").unwrap();
                let found = (info.kind, info.labels["a"].as_str());
                assert_eq!(found, (Kind::Committed, "1"), "{name}");
                assert_eq!(files(&store, "name"), ["file"], "{name}");
            }
            ROLLED_BACK => {
                // Writable as before, and it can be committed.
                std::fs::write(directory(&store, "key").join("more"), "").unwrap();
                let options = CommitOptions::default();
                store.commit("key", "name", &options).unwrap();
                assert_eq!(files(&store, "name"), ["file", "more"], "{name}");
            }
            _ => assert!(place.data().is_empty(), "{name}"),
        }
    }
}

#[test]
fn a_commit_cut_off_by_an_older_program_is_rolled_back() {
    let place = Place::new();
    let store = place.open();
    prepare(&store, "key", None, "file");
    drop(store);
    place.cut_off("commit", true, true);
    // It wrote the intent before the flush, and no boot.
    place.tamper("UPDATE snapshots SET intent_boot = NULL");
    assert_eq!(keys(&place.open()), ["key"]);
}

#[test]
fn a_removal_that_was_cut_off_is_completed() {
    let place = Place::new();
    let store = place.open();
    prepare(&store, "key", None, "file");
    drop(store);
    place.tamper("UPDATE snapshots SET operation = 'remove'");
    let store = place.open();
    assert_eq!(store.recovery().completed, ["key"]);
    assert!(keys(&store).is_empty() && place.data().is_empty());
}

#[test]
fn live_operations_are_not_touched() {
    let place = Place::new();
    let store = place.open();
    let id = prepare(&store, "key", None, "file").id;
    let lock = place.lock(id);
    place.tamper("UPDATE snapshots SET operation = 'create'");
    let second = place.open();
    assert_eq!(second.recovery().in_progress, ["key"]);
    assert_eq!(place.data(), ["1"]);
    assert!(matches!(second.stat("key"), Err(Error::NotFound { .. })));
    let taken = second.prepare("key", None, &PrepareOptions::default());
    assert!(matches!(taken, Err(Error::Exists { .. })));
    place.tamper("UPDATE snapshots SET operation = NULL");
    let busy = second.remove("key");
    assert!(matches!(busy, Err(Error::InProgress { .. })));
    drop(lock);
    second.remove("key").unwrap();
}

#[test]
fn the_next_operation_settles_what_it_needs_without_an_open() {
    let place = Place::new();
    let store = place.open();
    prepare(&store, "key", None, "file");
    place.tamper("UPDATE snapshots SET operation = 'create'");
    prepare(&store, "key", None, "new");
    place.cut_off("commit", true, false);
    store
        .prepare("child", Some("name"), &PrepareOptions::default())
        .unwrap();
    place.tamper("UPDATE snapshots SET operation = 'remove' WHERE name = 'child'");
    store.remove("child").unwrap();
    assert_eq!(keys(&store), ["name"]);
}

#[test]
fn the_first_open_after_a_reboot_checks_everything() {
    let place = Place::new();
    let store = place.open();
    assert!(store.recovery().check.is_some());
    commit(&store, "kept", None);
    commit(&store, "lost", None);
    prepare(&store, "key", None, "a");
    let options = CommitOptions {
        durability: Durability::None,
        ..CommitOptions::default()
    };
    store.commit("key", "unflushed", &options).unwrap();
    drop(store);
    let driver = place.root().join("driver");
    std::fs::rename(driver.join("2"), driver.join("77")).unwrap();
    assert!(place.open().recovery().check.is_none());

    place.tamper("UPDATE meta SET value = 'another' WHERE name = 'checked_boot'");
    place.tamper("UPDATE snapshots SET unflushed = 'another' WHERE unflushed IS NOT NULL");
    let store = place.open();
    let report = store.recovery().check.as_ref().unwrap();
    assert_eq!(report.missing, ["lost"]);
    assert_eq!(report.doubtful, ["unflushed"]);
    let [(id, path)] = report.quarantined.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!(id.number(), 77);
    assert!(path.starts_with(driver.join("quarantine")) && path.exists());
    assert_eq!(prepare(&store, "next", None, "a").id.number(), 78);
    assert_eq!(files(&store, "kept"), ["kept"]);
}

#[test]
fn data_that_has_the_next_number_is_not_deleted() {
    let place = Place::new();
    let store = place.open();
    let stray = place.root().join("driver/1");
    std::fs::create_dir_all(stray.join("fs")).unwrap();
    let refused = store.prepare("key", None, &PrepareOptions::default());
    assert_eq!(
        message(refused),
        "prepare `key`: data of a snapshot `key` already exists"
    );
    assert!(stray.exists() && keys(&store).is_empty());
    assert_eq!(store.check().unwrap().quarantined.len(), 1);
    prepare(&store, "key", None, "a");
}

#[test]
fn the_lock_file_of_a_number_to_come_is_left_alone() {
    let place = Place::new();
    let store = place.open();
    prepare(&store, "gone", None, "a");
    store.remove("gone").unwrap();
    let locks = place.root().join("locks");
    for number in ["1", "2"] {
        std::fs::write(locks.join(number), "").unwrap();
    }
    store.check().unwrap();
    assert!(!locks.join("1").exists());
    assert!(locks.join("2").exists());
}

#[test]
fn a_check_of_a_store_in_use_finds_nothing() {
    let place = Place::new();
    let store = place.open();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            for number in 0..30 {
                let name = format!("n{number}");
                commit(&store, &name, None);
                store.remove(&name).unwrap();
            }
        });
        let checker = place.open();
        while !worker.is_finished() {
            let report = checker.check().unwrap();
            assert!(report.is_sound(), "{report:?}");
        }
    });
}

/// Which call of the driver fails next: 0 none, else the number below.
static FAIL: AtomicU8 = AtomicU8::new(0);
const CREATE: u8 = 1;
const FREEZE: u8 = 2;
const DESTROY: u8 = 3;
const FLUSH: u8 = 4;

/// How often a snapshot was made mountable, by tests that run one after the other in one thread.
static ACTIVATIONS: AtomicU8 = AtomicU8::new(0);
/// How often the storage of a watched driver has refused a write that its writer believed done.
static REFUSED: AtomicU8 = AtomicU8::new(0);
/// Whether a watched driver has no room for a flush.
static IS_FULL: AtomicBool = AtomicBool::new(false);

/// The plain-copy driver on a disk that fills up at the worst moment, perhaps with a watch over its writes.
#[derive(Debug)]
struct Full {
    inner: Box<dyn Driver>,
    is_watched: bool,
}

impl WriteWatch for Full {
    fn epoch(&self) -> cowlab_driver::Result<String> {
        Ok(REFUSED.load(Ordering::SeqCst).to_string())
    }

    fn lost_since(&self, epoch: &str) -> cowlab_driver::Result<Option<String>> {
        let lost = epoch != self.epoch()?;
        Ok(lost.then(|| "the disk lost writes".to_owned()))
    }
}

fn fill_up(call: u8, id: SnapshotId) -> cowlab_driver::Result<()> {
    let path = id.to_string();
    let fails = FAIL.load(Ordering::SeqCst) == call;
    let result = if fails { Err(Errno::NOSPC) } else { Ok(()) };
    Ok(cowlab_sys::sys("write", path, result)?)
}

impl Driver for Full {
    fn create(
        &self,
        id: SnapshotId,
        parent: Option<&Chain>,
        options: &CreateOptions,
    ) -> cowlab_driver::Result<()> {
        self.inner.create(id, parent, options)?;
        fill_up(CREATE, id)
    }

    fn flush(&self, id: SnapshotId, durability: Durability) -> cowlab_driver::Result<()> {
        fill_up(FLUSH, id)?;
        if self.is_watched && IS_FULL.load(Ordering::SeqCst) {
            cowlab_sys::sys("write", id.to_string(), Err(Errno::NOSPC))?;
        }
        self.inner.flush(id, durability)
    }

    fn freeze(&self, id: SnapshotId) -> cowlab_driver::Result<()> {
        // The mark is there, and its flush fails.
        self.inner.freeze(id)?;
        fill_up(FREEZE, id)
    }

    fn thaw(&self, id: SnapshotId) -> cowlab_driver::Result<()> {
        self.inner.thaw(id)
    }

    fn destroy(&self, id: SnapshotId) -> cowlab_driver::Result<()> {
        fill_up(DESTROY, id)?;
        self.inner.destroy(id)
    }

    fn activate(
        &self,
        chain: &Chain,
        access: cowlab_driver::Access,
    ) -> cowlab_driver::Result<cowlab_driver::Activation> {
        if self.is_watched {
            ACTIVATIONS.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.activate(chain, access)
    }

    fn info(&self) -> &cowlab_driver::DriverInfo {
        self.inner.info()
    }

    fn mount_matchers(
        &self,
        id: SnapshotId,
    ) -> cowlab_driver::Result<Vec<cowlab_driver::MountMatcher>> {
        self.inner.mount_matchers(id)
    }

    fn describe_mount(
        &self,
        chain: &Chain,
        access: cowlab_driver::Access,
    ) -> cowlab_driver::Result<cowlab_driver::Mounts> {
        self.inner.describe_mount(chain, access)
    }

    fn write_watch(&self) -> Option<&dyn WriteWatch> {
        self.is_watched.then_some(self)
    }

    fn deactivate(&self, id: SnapshotId) -> cowlab_driver::Result<()> {
        self.inner.deactivate(id)
    }

    fn staging(&self, chain: &Chain) -> cowlab_driver::Result<cowlab_driver::Staging> {
        self.inner.staging(chain)
    }

    fn usage(&self, id: SnapshotId) -> cowlab_driver::Result<cowlab_driver::Usage> {
        self.inner.usage(id)
    }

    fn candidates(
        &self,
        chain: &Chain,
    ) -> cowlab_driver::Result<Option<cowlab_driver::Candidates>> {
        self.inner.candidates(chain)
    }

    fn inventory(&self) -> cowlab_driver::Result<Vec<SnapshotId>> {
        self.inner.inventory()
    }

    fn root(&self) -> &std::path::Path {
        self.inner.root()
    }
}

fn open_full(options: &OpenOptions, is_watched: bool) -> cowlab_driver::Result<Box<dyn Driver>> {
    let inner = (cowlab_vfs::ENTRY.open)(options)?;
    Ok(Box::new(Full { inner, is_watched }))
}

fn entry(open: fn(&OpenOptions) -> cowlab_driver::Result<Box<dyn Driver>>) -> Entry {
    Entry {
        open,
        ..cowlab_vfs::ENTRY
    }
}

/// One test, for [`FAIL`] is one.
#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    let place = Place::new();
    let entry = entry(|options| open_full(options, false));
    let store = place.try_open(&entry).unwrap();

    FAIL.store(CREATE, Ordering::SeqCst);
    let refused = store.prepare("key", None, &PrepareOptions::default());
    assert!(message(refused).starts_with("prepare `key`: write"));
    assert!(keys(&store).is_empty() && place.data().is_empty());

    FAIL.store(0, Ordering::SeqCst);
    prepare(&store, "key", None, "file");
    for call in [FLUSH, FREEZE] {
        FAIL.store(call, Ordering::SeqCst);
        let refused = store.commit("key", "name", &CommitOptions::default());
        assert!(message(refused).starts_with("commit `key`: write"));
        assert_eq!(store.stat("key").unwrap().kind, Kind::Active);
        std::fs::write(directory(&store, "key").join("more"), "").unwrap();
    }

    // Half removed, it is gone for everybody, and going on removes the rest.
    FAIL.store(DESTROY, Ordering::SeqCst);
    assert!(message(store.remove("key")).starts_with("remove `key`: write"));
    assert!(matches!(store.stat("key"), Err(Error::NotFound { .. })));
    assert!(store.remove("key").is_err());
    FAIL.store(0, Ordering::SeqCst);
    store.remove("key").unwrap();
    assert!(place.data().is_empty());
}

/// One test, for [`REFUSED`], [`IS_FULL`] and [`ACTIVATIONS`] are one.
#[test]
fn a_watched_driver_is_asked_before_and_after_writes_and_its_doubts_stay() {
    let place = Place::new();
    let entry = entry(|options| open_full(options, true));
    let store = place.try_open(&entry).unwrap();
    store
        .prepare("key", None, &PrepareOptions::default())
        .unwrap();
    // A question has no effect on storage.
    store.describe_mount("key").unwrap();
    assert_eq!(ACTIVATIONS.load(Ordering::SeqCst), 0);
    std::fs::write(directory(&store, "key").join("file"), "").unwrap();
    assert_eq!(ACTIVATIONS.load(Ordering::SeqCst), 1);

    REFUSED.fetch_add(1, Ordering::SeqCst);
    let refused = store.commit("key", "name", &CommitOptions::default());
    assert!(matches!(refused, Err(Error::Suspect { .. })), "{refused:?}");
    drop(store);
    let store = place.try_open(&entry).unwrap();
    let text = message(store.commit("key", "name", &CommitOptions::default()));
    assert!(
        text.contains("the disk lost writes") && text.contains("trust key"),
        "{text}"
    );
    store.trust("key").unwrap();
    store
        .commit("key", "name", &CommitOptions::default())
        .unwrap();

    // What the storage refuses while nobody can write to a snapshot says nothing of it.
    store
        .prepare("other", None, &PrepareOptions::default())
        .unwrap();
    IS_FULL.store(true, Ordering::SeqCst);
    let refused = store.commit("other", "later", &CommitOptions::default());
    assert!(matches!(refused, Err(Error::Driver { .. })), "{refused:?}");
    IS_FULL.store(false, Ordering::SeqCst);
    REFUSED.fetch_add(1, Ordering::SeqCst);
    store
        .commit("other", "later", &CommitOptions::default())
        .unwrap();
}
