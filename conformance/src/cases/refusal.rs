//! What the store refuses, with an error of the right kind and everything as before.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cowlab_driver::Mounts;
use cowlab_snapshots::{CommitOptions, Error as StoreError, PrepareOptions, Store, StoreOptions};
use cowlab_sys::cmd::Cmd;
use cowlab_sys::{Errno, MountOption};

use crate::context::Result;
use crate::disk_full::is_full;
use crate::prelude::*;
use crate::support::full::{LEFT, expect_pool_named};
use crate::support::store::{read_text, refused, write_text};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "refusal/key-in-use",
        spec: "A key or name that is in use is refused to prepare, view and commit.",
        see: &["containerd core/snapshots/testsuite, checkPrepareViewFailing"],
        catalogue: &["M06", "M28"],
        impact: Impact::DataLoss,
        store: &[
            store::layer("base", None, &[write("/f", "f")]),
            store::prepare("active", Some("base")),
            store::view("view", "base"),
            store::prepare("base", None).fails("exists"),
            store::prepare("active", None).fails("exists"),
            store::prepare("view", None).fails("exists"),
            store::view("base", "base").fails("exists"),
            store::view("active", "base").fails("exists"),
            store::view("view", "base").fails("exists"),
            store::commit("active", "base").fails("exists"),
            store::commit("active", "active").fails("exists"),
            store::commit("active", "view").fails("exists"),
            store::prepare("", None).fails("invalid key"),
            store::prepare("a\nb", None).fails("invalid key"),
            store::prepare(text(&[b'x'; 5000]), None).fails("invalid key"),
        ],
        ..Case::BASE
    },
    Case {
        id: "refusal/parent-that-is-not-committed",
        spec: "Only committed snapshots are parents, and a missing parent is named.",
        see: &["containerd core/snapshots/storage/metastore.go, CreateSnapshot"],
        catalogue: &["M07", "M10"],
        impact: Impact::Isolation,
        store: &[
            store::layer("base", None, &[write("/f", "f")]),
            store::prepare("active", Some("base")),
            store::view("view", "base"),
            store::prepare("x", Some("active")).fails("wrong kind"),
            store::prepare("x", Some("view")).fails("wrong kind"),
            store::prepare("x", Some("none")).fails("not found"),
            store::view("x", "active").fails("wrong kind"),
            store::view("x", "none").fails("not found"),
        ],
        ..Case::BASE
    },
    Case {
        id: "refusal/what-is-not-active-is-not-committed",
        spec: "A view, a committed snapshot and a missing one cannot be committed.",
        see: &["containerd core/snapshots/storage/metastore.go, CommitActive"],
        catalogue: &["M07"],
        impact: Impact::DataLoss,
        store: &[
            store::layer("base", None, &[write("/f", "f")]),
            store::view("view", "base"),
            store::commit("view", "x").fails("wrong kind"),
            store::commit("base", "x").fails("wrong kind"),
            store::commit("none", "x").fails("not found"),
        ],
        ..Case::BASE
    },
    Case {
        id: "refusal/view-of-relative-layers-stays",
        spec: "A view that somebody mounted by hand, with layers by relative paths where it is an overlay, is not removed.",
        see: &["containerd core/mount/mount_linux.go, compactLowerdirOption"],
        catalogue: &["M08"],
        impact: Impact::DataLoss,
        run: Some(view_of_relative_layers),
        ..Case::BASE
    },
    Case {
        id: "refusal/parent-with-children-stays",
        spec: "A snapshot with children cannot be removed, and the children keep their content.",
        see: &["containerd core/snapshots/testsuite, checkRemoveIntermediateSnapshot"],
        catalogue: &["M08", "S08"],
        impact: Impact::DataLoss,
        store: &[
            store::layer("base", None, &[write("/f", "f")]),
            store::layer("top", Some("base"), &[append("/f", "+")]),
            store::remove("base").fails("has children"),
            store::viewed("top", &[reads("/f", "f+")]),
            store::remove("top"),
            store::remove("base"),
        ],
        ..Case::BASE
    },
    Case {
        id: "refusal/missing-snapshot-is-named",
        spec: "Every verb says of a snapshot that is not there that it is not there.",
        see: &["containerd core/snapshots/storage, errdefs.ErrNotFound"],
        catalogue: &["M10"],
        impact: Impact::AppVisible,
        store: &[
            store::stat("none").fails("not found"),
            store::remove("none").fails("not found"),
            store::mounts("none").fails("not found"),
            store::usage("none").fails("not found"),
            store::mount("none").fails("not found"),
        ],
        ..Case::BASE
    },
    Case {
        id: "refusal/second-writable-mount",
        spec: "An active snapshot that is mounted is not mounted a second time.",
        see: &[
            "overlayfs.rst, Sharing and copying layers",
            "xfstests overlay/036",
        ],
        catalogue: &["L02", "M18"],
        impact: Impact::DataLoss,
        store: &[
            store::prepare("key", None),
            store::mounted("key", &[]).meanwhile(&[store::mount("key").fails("busy")]),
            store::mount("key"),
        ],
        ..Case::BASE
    },
    Case {
        id: "refusal/commit-and-remove-while-mounted",
        spec: "A mounted snapshot is neither committed nor removed, and can be both after the unmount.",
        see: &["moby/moby issue 27381"],
        catalogue: &["M18"],
        impact: Impact::DataLoss,
        store: &[
            store::prepare("key", None),
            store::mounted("key", &[write("/f", "kept")]).meanwhile(&[
                store::commit("key", "name").fails("busy"),
                store::remove("key").fails("busy"),
            ]),
            store::commit("key", "name"),
            store::viewed("name", &[reads("/f", "kept")])
                .meanwhile(&[store::remove("name.view").fails("busy")]),
            store::remove("name"),
        ],
        ..Case::BASE
    },
    Case {
        id: "refusal/commit-and-remove-while-mounted-elsewhere",
        spec: "A snapshot mounted in another mount namespace only is neither committed nor removed.",
        see: &["mount_namespaces(7)", "moby/moby issue 27381"],
        catalogue: &["M18"],
        impact: Impact::DataLoss,
        run: Some(while_mounted_elsewhere),
        ..Case::BASE
    },
    Case {
        id: "refusal/full-file-system",
        spec: "A file system that is full in the middle of a prepare, write and commit costs nothing that was there before.",
        see: &["write(2), ENOSPC", "containers/storage, disk full"],
        catalogue: &["M36"],
        impact: Impact::DataLoss,
        risk: Risk::Fs,
        run: Some(full_file_system),
        ..Case::BASE
    },
    Case {
        id: "refusal/another-stores-driver-root",
        spec: "A store does not open the driver's directory of another store.",
        see: &["containerd plugins/snapshots, root directories"],
        catalogue: &["M31"],
        impact: Impact::DataLoss,
        run: Some(foreign_driver_root),
        ..Case::BASE
    },
    Case {
        id: "refusal/store-of-a-newer-program",
        spec: "A store whose database a newer program made is refused and left as it is.",
        see: &["sqlite.org/pragma.html, user_version"],
        catalogue: &["M38"],
        impact: Impact::DataLoss,
        run: Some(newer_store),
        ..Case::BASE
    },
];

fn prepare(store: &Store, key: &str, parent: Option<&str>) -> std::result::Result<(), StoreError> {
    store
        .prepare(key, parent, &PrepareOptions::default())
        .map(drop)
}

fn commit(store: &Store, key: &str, name: &str) -> std::result::Result<(), StoreError> {
    store.commit(key, name, &CommitOptions::default()).map(drop)
}

fn view_of_relative_layers(context: &mut Context) -> Result<()> {
    let store = context.store();
    for (key, parent) in [("base", None), ("top", Some("base"))] {
        let active = format!("{key}.active");
        prepare(store, &active, parent)?;
        context.with_mount(&active, |dir| {
            write_text(&Tree::open(dir)?, &format!("/{key}"), key)
        })?;
        store.commit(&active, key, &CommitOptions::default())?;
    }
    store.view("view", "top")?;
    let target = context.mount_point();
    mount_by_hand(store, &store.mounts("view")?, &target)?;
    let seen = refused("remove of the view", "busy", store.remove("view"))
        .and_then(|()| read_text(&Tree::open(&target)?, "/base"));
    cowlab_sys::mount::unmount(&target)?;
    expect("/base", "content", "base".to_owned(), seen?)?;
    Ok(store.remove("view")?)
}

/// Mounts as containerd does: an overlay with options that are too long for a page is mounted from within a directory above
/// the layers, with paths relative to it. It is the one above this run's: the stores of other columns have layers of the same numbers.
fn mount_by_hand(store: &Store, mounts: &Mounts, target: &Path) -> Result<()> {
    let root = store.driver().root();
    let root = root.ancestors().nth(4).unwrap_or(root);
    let mut layers = Vec::new();
    if let Mounts::FileSystem(spec) = mounts {
        for option in &spec.options {
            match option {
                MountOption::Text(key, value) if key == "lowerdir+" => {
                    layers.push(value.to_string_lossy().into_owned());
                }
                MountOption::Text(key, value) if key == "lowerdir" => {
                    let value = value.to_string_lossy();
                    layers.extend(value.split(':').map(str::to_owned));
                }
                _ => {}
            }
        }
    }
    if layers.is_empty() {
        mounts.mount_at(target)?.keep();
        return Ok(());
    }
    let relative = |layer: &String| {
        let path = Path::new(layer);
        path.strip_prefix(root)
            .unwrap_or(path)
            .display()
            .to_string()
    };
    let layers: Vec<_> = layers.iter().map(relative).collect();
    let options = format!("ro,lowerdir={}", layers.join(":"));
    let mount = Cmd::new("mount").args(["-t", "overlay", "-o", &options, "overlay"]);
    Ok(mount.arg(target).current_dir(root).run()?)
}

/// Holds the mounts of this moment in a namespace of its own until the file `done` appears.
const HOLD_MOUNTS: &str = "touch ready; while [ ! -e done ]; do sleep 0.02; done";

fn while_mounted_elsewhere(context: &mut Context) -> Result<()> {
    prepare(context.store(), "key", None)?;
    let signals = context.dir().join("signals");
    fs::create_dir(&signals)?;
    let holder = Cmd::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "unchanged",
            "sh",
            "-c",
            HOLD_MOUNTS,
        ])
        .current_dir(&signals);
    let (held, judged) = thread::scope(|scope| {
        let mut holding = None;
        let judged = context.with_mount("key", |dir| {
            write_text(&Tree::open(dir)?, "/f", "kept")?;
            holding = Some(scope.spawn(|| holder.run()));
            wait_for(&signals.join("ready"))
        });
        let judged = judged.and_then(|()| {
            refused("commit", "busy", commit(context.store(), "key", "name"))?;
            refused("remove", "busy", context.store().remove("key"))
        });
        // The holder ends whatever was judged; without this the scope would wait for ever.
        let ended = fs::write(signals.join("done"), "");
        (
            holding.map(thread::ScopedJoinHandle::join),
            ended.map_err(Difference::from).and(judged),
        )
    });
    judged?;
    match held {
        Some(Ok(run)) => run?,
        _ => return Err(Difference::new("namespace", "process", "held", "lost")),
    }
    commit(context.store(), "key", "name")?;
    context.with_view("name", |dir| {
        expect(
            "/f",
            "content",
            "kept".to_owned(),
            read_text(&Tree::open(dir)?, "/f")?,
        )
    })
}

fn wait_for(path: &Path) -> Result<()> {
    let start = Instant::now();
    while !path.exists() {
        if start.elapsed() > Duration::from_secs(20) {
            return Err(Difference::new(
                "namespace",
                "process",
                "ready within 20 s",
                "not ready",
            ));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn full_file_system(context: &mut Context) -> Result<()> {
    context.move_to_small_disk()?;
    context.layer(None, "base", &[write_sized("/f", 100_000, 31)])?;
    let before = context.manifest("base")?;
    prepare(context.store(), "key", Some("base"))?;
    let filler = context.fill(LEFT)?;
    let written = context.with_mount("key", |dir| {
        let path = dir.join("large");
        let mut file = fs::File::create(path)?;
        // A file system on a device with less room than it says learns of it when it writes.
        let written = file
            .write_all(&vec![b'x'; 64 << 20])
            .and_then(|()| file.sync_all());
        Ok(match written {
            Ok(()) => "ok".to_owned(),
            Err(error) if is_full(Errno::from_io_error(&error)) => "refused".to_owned(),
            Err(error) => error.to_string(),
        })
    });
    let named = expect_pool_named(context);
    // First of all: a file system that stays full would fail every case after this one.
    context.make_space(filler)?;
    named?;
    expect(
        "/large",
        "write of 64 MiB into 24 MiB",
        "refused".to_owned(),
        written?,
    )?;
    context.reopen()?;
    context.with_mount("key", |dir| write_text(&Tree::open(dir)?, "/small", "fits"))?;
    let committed = commit(context.store(), "key", "name");
    context.unchanged(&before, &context.manifest("base")?)?;
    let is_sound = context.store().check()?.is_sound();
    expect("store", "soundness", true, is_sound)?;
    match committed {
        Err(StoreError::Suspect { .. }) => {
            let what = "commit after a refused write";
            Err(Difference::new("key", what, "committed", "damaged"))
        }
        committed => Ok(committed?),
    }
}

fn foreign_driver_root(context: &mut Context) -> Result<()> {
    context.layer(None, "base", &[write("/f", "f")])?;
    let options = StoreOptions {
        driver_root: Some(context.store_root().join("driver")),
        ..context.store_options()
    };
    let other = context.dir().join("other");
    refused(
        "open",
        "foreign root",
        Store::open(&other, context.entry(), &options),
    )?;
    context.reopen()?;
    context.with_view("base", |dir| {
        expect(
            "/f",
            "content",
            "f".to_owned(),
            read_text(&Tree::open(dir)?, "/f")?,
        )
    })
}

fn newer_store(context: &mut Context) -> Result<()> {
    let root = context.dir().join("newer");
    let options = context.options_of_another_store()?;
    drop(Store::open(&root, context.entry(), &options)?);
    let database = rusqlite::Connection::open(root.join("snapshots.db"))?;
    database.pragma_update(None, "user_version", 9999)?;
    refused(
        "open",
        "newer",
        Store::open(&root, context.entry(), &options),
    )?;
    let version = database.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    expect("database", "version", 9999_u32, version)
}
