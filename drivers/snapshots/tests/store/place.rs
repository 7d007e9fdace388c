//! A store on the plain-copy driver in a temporary directory: it needs no privilege.

use std::path::{Path, PathBuf};

use cowlab_driver::{Entry, Mounts, SnapshotId};
use cowlab_snapshots::{Error, Info, PrepareOptions, Result, Store, StoreOptions};
use cowlab_sys::lock::FileLock;

/// A temporary directory with a store in it.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn open(&self) -> Store {
        self.try_open(&cowlab_vfs::ENTRY).unwrap()
    }

    pub(crate) fn try_open(&self, entry: &Entry) -> Result<Store> {
        let options = StoreOptions {
            lock_timeout: std::time::Duration::from_millis(200),
            ..StoreOptions::default()
        };
        Store::open(&self.root(), entry, &options)
    }

    /// Changes the database behind the store's back, as a cut would leave it.
    pub(crate) fn tamper(&self, statement: &str) {
        let database = rusqlite::Connection::open(self.root().join("snapshots.db")).unwrap();
        assert!(database.execute(statement, []).unwrap() > 0, "{statement}");
    }

    /// Leaves the only snapshot as a process that died in the middle of an operation on it. With a boot that is another, or a
    /// commit that promised no flush, its content was not on the disk for certain.
    pub(crate) fn cut_off(&self, operation: &str, same_boot: bool, flushed: bool) {
        let boot = cowlab_sys::process::boot_id().unwrap();
        let boot = if same_boot { &boot } else { "another" };
        let durability = if flushed { "commit" } else { "none" };
        let target = match operation {
            "commit" => format!(
                ", target = 'name', target_labels = '{{\"a\":\"1\"}}', target_durability = '{durability}'"
            ),
            "apply" => ", kind = 'committed'".to_owned(),
            _ => String::new(),
        };
        self.tamper(&format!(
            "UPDATE snapshots SET operation = '{operation}', intent_boot = '{boot}'{target}"
        ));
    }

    /// Takes the lock of a snapshot, as an operation of another process would.
    pub(crate) fn lock(&self, id: SnapshotId) -> FileLock {
        let path = self.root().join("locks").join(id.to_string());
        FileLock::try_exclusive(&path).unwrap().unwrap()
    }

    /// What lies in the driver's directory, the empty ones that are always there left out.
    pub(crate) fn data(&self) -> Vec<String> {
        let driver = self.root().join("driver");
        let mut found = Vec::new();
        for below in ["", "tmp", "trash", "quarantine"] {
            for entry in std::fs::read_dir(driver.join(below)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if !["tmp", "trash", "quarantine", "store"].contains(&name.as_str()) {
                    found.push(Path::new(below).join(name).to_str().unwrap().to_owned());
                }
            }
        }
        found.sort();
        found
    }
}

/// The directory that shows a snapshot.
pub(crate) fn directory(store: &Store, key: &str) -> PathBuf {
    match store.mounts(key).unwrap() {
        Mounts::Bind { source, .. } => source,
        Mounts::FileSystem(spec) => panic!("not a plain directory: {spec:?}"),
    }
}

/// Makes an active snapshot with one file in it.
pub(crate) fn prepare(store: &Store, key: &str, parent: Option<&str>, file: &str) -> Info {
    let info = store
        .prepare(key, parent, &PrepareOptions::default())
        .unwrap();
    std::fs::write(directory(store, key).join(file), file).unwrap();
    info
}

/// Makes a committed snapshot with one file in it.
pub(crate) fn commit(store: &Store, name: &str, parent: Option<&str>) -> Info {
    let key = format!("{name} to be");
    prepare(store, &key, parent, &name.replace("/", "_"));
    store.commit(&key, name, &Default::default()).unwrap()
}

/// The files that a committed snapshot shows.
pub(crate) fn files(store: &Store, name: &str) -> Vec<String> {
    store.view("files", name).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(directory(store, "files"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    store.remove("files").unwrap();
    names.sort();
    names
}

/// The keys of all snapshots.
pub(crate) fn keys(store: &Store) -> Vec<String> {
    let all = store.list(&Default::default()).unwrap();
    all.into_iter().map(|info| info.key).collect()
}

/// The error's message, for what has to be named in it.
pub(crate) fn message<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}
