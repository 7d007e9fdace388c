//! Faults of drivers that mount wrongly, and of stores that answer wrongly or do half of what they are asked for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use cowlab_driver::{Allocation, Bytes, SnapshotId, Usage};
use cowlab_layer::ChangeKind;
use cowlab_snapshots::{
    Applied, CheckReport, Error, Filter, Info, Kind, PrepareOptions, Result, Store,
};
use cowlab_sys::io;
use cowlab_sys::mount::MountAttributes;

use super::driver::DriverFault;
use super::store::StoreFault;
use super::stream;
use super::{Fault, Plant};

pub(super) const FAULTS: &[Fault] = &[
    // What a driver says of its mounts.
    ancestors(
        "lowers-swapped",
        "A05",
        "The two newest layers below a snapshot are stacked in the wrong order.",
        |ids| {
            if ids.len() > 1 {
                ids.swap(0, 1);
            }
        },
    ),
    ancestors(
        "deep-lowers-reversed",
        "A05",
        "Layers below the fifth are stacked in the wrong order.",
        |ids| {
            if let Some(deep) = ids.get_mut(5..) {
                deep.reverse();
            }
        },
    ),
    ancestors(
        "lowest-layer-lost",
        "L08",
        "Of more than sixty layers the lowest ones are left out.",
        |ids| ids.truncate(60),
    ),
    attributes(
        "mounted-nosuid-nodev",
        "J06",
        "Snapshots are mounted such that setuid programs and devices have no effect.",
        |attributes| {
            (attributes.nosuid, attributes.nodev) = (true, true);
        },
    ),
    attributes(
        "mounted-noexec",
        "J06",
        "Snapshots are mounted such that nothing in them can be executed.",
        |attributes| {
            attributes.noexec = true;
        },
    ),
    attributes(
        "mounted-noatime",
        "I12",
        "Snapshots are mounted such that reading leaves access times alone.",
        |attributes| {
            attributes.noatime = true;
        },
    )
    .of_whole_trees(),
    paths(
        "colons-end-paths",
        "L09",
        "A path in a mount option ends at its first colon.",
        |path| cut_at(path, ':'),
    ),
    paths(
        "commas-end-paths",
        "L14",
        "A path in a mount option ends at its first comma.",
        |path| cut_at(path, ','),
    ),
    paths(
        "backslashes-lost",
        "A24",
        "A path in a mount option loses its backslashes.",
        |path| path.to_string_lossy().replace('\\', "").into(),
    ),
    // Prepare and view.
    store(
        "parent-forgotten",
        "M02",
        "A new snapshot is empty although it has a parent.",
        StoreFault::Prepare(|store, key, _, options| store.prepare(key, None, options)),
    ),
    store(
        "grandparent-in-place",
        "M05",
        "A new snapshot stands on the parent of its parent.",
        StoreFault::Prepare(|store, key, parent, options| {
            let above = parent.map(|parent| store.stat(parent)).transpose()?;
            let above = above.and_then(|info| info.parent);
            store.prepare(key, above.as_deref().or(parent), options)
        }),
    ),
    store(
        "key-taken-over",
        "M06",
        "A key that is in use is prepared again.",
        StoreFault::Prepare(|store, key, parent, options| {
            match store.prepare(key, parent, options) {
                Err(Error::Exists { .. }) => store.stat(key),
                prepared => prepared,
            }
        }),
    ),
    store(
        "any-parent-will-do",
        "M07",
        "A snapshot that is not committed can be a parent.",
        StoreFault::Prepare(|store, key, parent, options| {
            match store.prepare(key, parent, options) {
                Err(Error::WrongKind { .. }) => store.prepare(key, None, options),
                prepared => prepared,
            }
        }),
    ),
    store(
        "size-limit-ignored",
        "O01",
        "A size limit is taken and forgotten.",
        StoreFault::Prepare(without_limit),
    ),
    store(
        "size-limit-refused",
        "O07",
        "A size limit cannot be asked for.",
        StoreFault::Prepare(|store, key, parent, options| match options.size_limit {
            Some(_) => Err(not_found()),
            None => store.prepare(key, parent, options),
        }),
    ),
    store(
        "views-are-writable",
        "M14",
        "A view can be written.",
        StoreFault::View(|store, key, parent| {
            store.prepare(key, Some(parent), &PrepareOptions::default())
        }),
    ),
    store(
        "writes-through-views",
        "L01",
        "A mount that shows a committed snapshot can be written.",
        StoreFault::View(|store, key, parent| {
            store.prepare(key, Some(parent), &PrepareOptions::default())
        }),
    ),
    // Commit.
    store(
        "key-stays",
        "M03",
        "A key is still there after its commit.",
        StoreFault::Commit(|store, key, name, options| {
            let info = store.commit(key, name, options)?;
            store.prepare(key, Some(name), &PrepareOptions::default())?;
            Ok(info)
        }),
    ),
    store(
        "commit-stays-active",
        "M04",
        "stat says of a committed snapshot that it is active.",
        StoreFault::Stat(|store, key| {
            let info = store.stat(key)?;
            Ok(Info {
                kind: Kind::Active,
                ..info
            })
        }),
    ),
    store(
        "parent-not-told",
        "M04",
        "stat tells no parent.",
        StoreFault::Stat(|store, key| {
            let info = store.stat(key)?;
            Ok(Info {
                parent: None,
                ..info
            })
        }),
    ),
    store(
        "every-tenth-commit-lost",
        "M22",
        "One commit of ten is acknowledged and lost.",
        StoreFault::Commit(|store, key, name, options| {
            static COUNT: AtomicUsize = AtomicUsize::new(1);
            let info = store.commit(key, name, options)?;
            if COUNT.fetch_add(1, Ordering::Relaxed).is_multiple_of(10) {
                store.remove(name)?;
            }
            Ok(info)
        }),
    ),
    // Remove.
    store(
        "parents-can-be-removed",
        "M08",
        "The removal of a snapshot with children is acknowledged.",
        StoreFault::Remove(|store, key| match store.remove(key) {
            Err(Error::HasChildren { .. }) => Ok(()),
            removed => removed,
        }),
    ),
    store(
        "removed-key-stays-taken",
        "M09",
        "A removal is acknowledged and not made.",
        StoreFault::Remove(|store, key| store.stat(key).map(drop)),
    ),
    store(
        "busy-snapshots-removed",
        "M18",
        "The removal of a snapshot that is mounted is acknowledged.",
        StoreFault::Remove(|store, key| match store.remove(key) {
            Err(Error::Busy { .. }) => Ok(()),
            removed => removed,
        }),
    ),
    store(
        "removed-data-stays",
        "M17",
        "A removal leaves the data on disk.",
        StoreFault::Remove(keep_data),
    ),
    store(
        "opened-without-active",
        "M19",
        "Opening a store removes active snapshots.",
        StoreFault::Opened(|store| {
            let active = Filter {
                kind: Some(Kind::Active),
                ..Filter::default()
            };
            store
                .list(&active)?
                .iter()
                .try_for_each(|info| store.remove(&info.key))
        }),
    ),
    // Stat, list, labels.
    store(
        "missing-is-invalid",
        "M10",
        "A missing snapshot is reported as an invalid key.",
        StoreFault::Stat(|store, key| match store.stat(key) {
            Err(Error::NotFound { .. }) => store.prepare("", None, &PrepareOptions::default()),
            found => found,
        }),
    ),
    store(
        "missing-can-be-removed",
        "M10",
        "The removal of a missing snapshot is acknowledged.",
        StoreFault::Remove(|store, key| match store.remove(key) {
            Err(Error::NotFound { .. }) => Ok(()),
            removed => removed,
        }),
    ),
    store(
        "filters-ignored",
        "M11",
        "A list ignores its filter.",
        StoreFault::List(|store, _| store.list(&Filter::default())),
    ),
    store(
        "label-values-ignored",
        "M11",
        "A filter on a label takes every value.",
        StoreFault::List(|store, filter| {
            let label = filter.label.clone().map(|(name, _)| (name, None));
            store.list(&Filter {
                label,
                ..filter.clone()
            })
        }),
    ),
    store(
        "last-of-list-lost",
        "M25",
        "A list lacks its last snapshot.",
        StoreFault::List(|store, filter| {
            let mut list = store.list(filter)?;
            list.pop();
            Ok(list)
        }),
    ),
    store(
        "labels-forgotten",
        "M13",
        "A change of labels is acknowledged and not made.",
        StoreFault::UpdateLabels(|store, key, _| store.stat(key)),
    ),
    store(
        "label-change-not-told",
        "M13",
        "A change of labels leaves the time of the last change.",
        StoreFault::Stat(|store, key| {
            let info = store.stat(key)?;
            Ok(Info {
                updated: info.created,
                ..info
            })
        }),
    ),
    // Usage.
    store(
        "usage-zero",
        "M16",
        "The store says of every snapshot that it uses nothing.",
        StoreFault::Usage(|_| Usage::default()),
    ),
    store(
        "usage-doubled",
        "O05",
        "The store says of every snapshot that it uses twice of what it does.",
        StoreFault::Usage(|usage| {
            let Bytes(bytes) = usage.exclusive.bytes;
            Usage {
                exclusive: Allocation {
                    bytes: Bytes(bytes * 2),
                    ..usage.exclusive
                },
                ..usage
            }
        }),
    ),
    store(
        "child-is-limited",
        "O03",
        "A child has no room but what its parent's limit leaves.",
        StoreFault::Prepare(|store, key, parent, options| {
            let size_limit = options.size_limit.or_else(|| parent.map(|_| Bytes::mib(1)));
            store.prepare(
                key,
                parent,
                &PrepareOptions {
                    size_limit,
                    ..options.clone()
                },
            )
        }),
    ),
    // Changes.
    store(
        "last-change-lost",
        "M26",
        "The changes of a snapshot lack the last one.",
        StoreFault::Changes(|mut changes| {
            changes.pop();
            changes
        }),
    ),
    store(
        "additions-are-modifications",
        "M26",
        "The changes of a snapshot tell additions as modifications.",
        StoreFault::Changes(|mut changes| {
            for change in &mut changes {
                if change.kind == ChangeKind::Added {
                    change.kind = ChangeKind::Modified;
                }
            }
            changes
        }),
    ),
    store(
        "changes-unsorted",
        "M26",
        "The changes of a snapshot come in any order.",
        StoreFault::Changes(|mut changes| {
            changes.reverse();
            changes
        }),
    ),
    store(
        "metadata-is-no-change",
        "N25",
        "A change of a snapshot that adds and removes nothing is none.",
        StoreFault::Changes(|mut changes| {
            changes.retain(|change| change.kind != ChangeKind::Modified);
            changes
        }),
    ),
    // Mounts.
    store(
        "second-mount-shown",
        "L02",
        "A snapshot that is mounted writable can be mounted a second time.",
        StoreFault::Mount(|store, key, target| match store.mount(key, target) {
            Err(Error::Busy { .. }) => {
                store.prepare("second", None, &PrepareOptions::default())?;
                store.mount("second", target)
            }
            mounted => mounted,
        }),
    ),
    store(
        "mount-is-another",
        "M33",
        "A snapshot that is mounted again shows another one.",
        StoreFault::Mount(|store, key, target| {
            static COUNT: AtomicUsize = AtomicUsize::new(1);
            let again = format!("again-{}", COUNT.fetch_add(1, Ordering::Relaxed));
            let info = store.stat(key)?;
            let parent = info.parent.filter(|_| info.kind == Kind::Active);
            let Some(parent) = parent else {
                return store.mount(key, target);
            };
            store.prepare(&again, Some(&parent), &PrepareOptions::default())?;
            store.mount(&again, target)
        }),
    ),
    // Layers.
    store(
        "applied-twice-taken",
        "M06",
        "A layer applied under a name that is there takes its place.",
        StoreFault::Apply(|store, name, parent, bytes, options| {
            let mut given = bytes;
            match store.apply(name, parent, &mut given, options) {
                Err(Error::Exists { .. }) => {
                    store.remove(name)?;
                    store.apply(name, parent, &mut &*bytes, options)
                }
                applied => applied,
            }
        }),
    ),
    store(
        "full-disk-not-told",
        "M36",
        "A layer for which there is no room fails for another reason.",
        StoreFault::Apply(|store, name, parent, bytes, options| {
            let mut given = bytes;
            match store.apply(name, parent, &mut given, options) {
                Err(Error::Layer { .. } | Error::Driver { .. } | Error::Sys(_)) => Err(not_found()),
                applied => applied,
            }
        }),
    ),
    store(
        "every-puller-succeeds",
        "M23",
        "A layer that is applied twice at the same time is there twice.",
        StoreFault::Apply(|store, name, parent, bytes, options| {
            static COUNT: AtomicUsize = AtomicUsize::new(1);
            let mut given = bytes;
            match store.apply(name, parent, &mut given, options) {
                Err(Error::Exists { .. } | Error::InProgress { .. }) => {
                    let other = format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
                    store.apply(&other, parent, &mut &*bytes, options)
                }
                applied => applied,
            }
        }),
    ),
    store(
        "applied-size-wrong",
        "M27",
        "The store tells another size of a layer than it has.",
        StoreFault::Apply(|store, name, parent, bytes, options| {
            let applied = store.apply(name, parent, &mut &*bytes, options)?;
            Ok(Applied {
                size: applied.size / 2,
                ..applied
            })
        }),
    ),
    store(
        "unknown-snapshots-not-told",
        "M20",
        "A check tells of no snapshot that no record knows.",
        StoreFault::Check(|report| CheckReport {
            quarantined: Vec::new(),
            ..report
        }),
    ),
    store(
        "symlinks-lead-out",
        "N06",
        "A file of a layer lands where a symbolic link of the layer leads.",
        StoreFault::Apply(|store, name, parent, bytes, options| {
            for (dir, file) in stream::through_links(bytes) {
                let path = Path::new(OsStr::from_bytes(&dir)).join(OsStr::from_bytes(&file));
                if path.is_file() {
                    io("write", &path, std::fs::write(&path, "x"))?;
                }
            }
            store.apply(name, parent, &mut &*bytes, options)
        }),
    ),
];

const fn ancestors(
    id: &'static str,
    check: &'static str,
    what: &'static str,
    order: fn(&mut Vec<SnapshotId>),
) -> Fault {
    let fault = DriverFault::Ancestors(order);
    Fault::new(id, check, what, Plant::Driver(fault)).of_stacked_layers()
}

const fn attributes(
    id: &'static str,
    check: &'static str,
    what: &'static str,
    change: fn(&mut MountAttributes),
) -> Fault {
    let fault = DriverFault::Attributes(change);
    Fault::new(id, check, what, Plant::Driver(fault))
}

const fn paths(
    id: &'static str,
    check: &'static str,
    what: &'static str,
    change: fn(&Path) -> PathBuf,
) -> Fault {
    Fault::new(id, check, what, Plant::Driver(DriverFault::Paths(change)))
}

const fn store(
    id: &'static str,
    check: &'static str,
    what: &'static str,
    fault: StoreFault,
) -> Fault {
    Fault::new(id, check, what, Plant::Store(fault))
}

fn cut_at(path: &Path, end: char) -> PathBuf {
    let text = path.to_string_lossy();
    text.split(end).next().unwrap_or_default().into()
}

fn without_limit(
    store: &Store,
    key: &str,
    parent: Option<&str>,
    options: &PrepareOptions,
) -> Result<Info> {
    let options = PrepareOptions {
        size_limit: None,
        ..options.clone()
    };
    store.prepare(key, parent, &options)
}

/// An error that nobody expects.
fn not_found() -> Error {
    let key = "missing".to_owned();
    Error::NotFound { key }
}

fn keep_data(store: &Store, key: &str) -> Result<()> {
    // Out of the way for the time of the removal, for which an absent snapshot is a removed one.
    let id = store.stat(key)?.id;
    let data = store.driver().root().join(id.to_string());
    let aside = data.with_extension("kept");
    io("rename", &data, std::fs::rename(&data, &aside))?;
    let removed = store.remove(key);
    io("rename", &aside, std::fs::rename(&aside, &data))?;
    removed
}
