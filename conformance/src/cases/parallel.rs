//! Threads that work on one store at the same time.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use cowlab_snapshots::{ApplyOptions, CommitOptions, Error as StoreError, Filter, PrepareOptions};

use crate::context::Result;
use crate::prelude::*;
use crate::support::store::read_text;
use cowlab_tarball::{Entry, archive};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "life/parallel-operations-on-one-store",
        spec: "Four threads that prepare, write, commit and remove on one store each find exactly their own snapshots.",
        see: &["containerd core/snapshots/storage, concurrent transactions"],
        catalogue: &["M22"],
        impact: Impact::DataLoss,
        run: Some(parallel_operations),
        ..Case::BASE
    },
    Case {
        id: "life/readers-come-and-go",
        spec: "Four threads that look at one snapshot, each by views of its own and by its changes, never disturb one another.",
        see: &[
            "containerd core/snapshots/snapshotter.go, View",
            "Linux drivers/md/dm.c, dm_swap_table",
        ],
        catalogue: &["M14", "M22", "I14"],
        impact: Impact::AppVisible,
        run: Some(readers_come_and_go),
        ..Case::BASE
    },
    Case {
        id: "life/one-layer-applied-by-two",
        spec: "Of four threads that apply a layer under one name at the same time one succeeds, the others are told, and the layer is whole.",
        see: &[
            "containerd core/snapshots/snapshotter.go, Commit",
            "moby daemon/internal/layer, RegisterExistingLayer",
        ],
        catalogue: &["M23"],
        impact: Impact::DataLoss,
        run: Some(applied_at_once),
        ..Case::BASE
    },
];

/// How many threads there are.
const THREADS: usize = 4;

/// Runs something in all threads, by their numbers.
fn at_once(work: &(dyn Fn(usize) -> Result<()> + Sync)) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(done) => done?,
                Err(_) => return Err(Difference::new("store", "thread", "done", "a panic")),
            }
        }
        Ok(())
    })
}

fn parallel_operations(context: &mut Context) -> Result<()> {
    const ROUNDS: usize = 5;
    context.layer(None, "base", &[write("/f", "base")])?;
    let store = context.store();
    let work = |thread: usize| -> std::result::Result<(), StoreError> {
        for round in 0..ROUNDS {
            let (key, name) = (
                format!("key-{thread}-{round}"),
                format!("name-{thread}-{round}"),
            );
            store.prepare(&key, Some("base"), &PrepareOptions::default())?;
            store.commit(&key, &name, &CommitOptions::default())?;
            if round % 2 == 1 {
                store.remove(&name)?;
            }
        }
        Ok(())
    };
    at_once(&|thread| Ok(work(thread)?))?;
    let found: BTreeSet<_> = store
        .list(&Filter::default())?
        .into_iter()
        .map(|info| info.key)
        .collect();
    let kept = (0..THREADS).flat_map(|thread| {
        (0..ROUNDS)
            .step_by(2)
            .map(move |round| format!("name-{thread}-{round}"))
    });
    let expected: BTreeSet<_> = kept.chain(["base".to_owned()]).collect();
    expect(
        "store",
        "snapshots",
        format!("{expected:?}"),
        format!("{found:?}"),
    )
}

fn readers_come_and_go(context: &mut Context) -> Result<()> {
    const ROUNDS: usize = 6;
    context.layer(None, "base", &[write("/f", "base")])?;
    context.layer(Some("base"), "top", &[write("/g", "top")])?;
    let (store, dir) = (context.store(), context.dir());
    let changes = store.changes("top")?;
    at_once(&|thread| {
        let target = dir.join(format!("reader-{thread}"));
        std::fs::create_dir(&target)?;
        for round in 0..ROUNDS {
            let key = format!("view-{thread}-{round}");
            store.view(&key, "top")?;
            let mut mounted = store.mount(&key, &target)?;
            let content = read_text(&Tree::open(&target)?, "/g")?;
            cowlab_sys::Guard::close(&mut mounted)?;
            expect("/g", "content", "top".to_owned(), content)?;
            store.remove(&key)?;
            let is_same = store.changes("top")? == changes;
            expect("top", "changes are the same", true, is_same)?;
        }
        Ok(())
    })?;
    let is_sound = store.check()?.is_sound();
    expect("store", "soundness", true, is_sound)
}

fn applied_at_once(context: &mut Context) -> Result<()> {
    let bytes = archive(&[
        Entry::file("f", vec![b'x'; 1 << 20]),
        Entry::file("last", "l"),
    ]);
    let store = context.store();
    let applied = AtomicUsize::new(0);
    at_once(&|_| match store.apply(
        "layer",
        None,
        &mut bytes.as_slice(),
        &ApplyOptions::default(),
    ) {
        Ok(_) => {
            applied.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        Err(StoreError::Exists { .. } | StoreError::InProgress { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    })?;
    expect("layer", "applied", 1, applied.into_inner())?;
    context.with_view("layer", |dir| {
        let tree = Tree::open(dir)?;
        expect(
            "/last",
            "content",
            "l".to_owned(),
            read_text(&tree, "/last")?,
        )?;
        expect("/f", "bytes", 1 << 20, read_text(&tree, "/f")?.len())
    })
}
