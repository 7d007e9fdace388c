//! What is looked at after a kill, and at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use cowlab_snapshots::{Filter, Kind, Store};

use super::Bench;
use super::layer::{FILES, content, place_of};
use crate::Findings;
use crate::store::{chain, on_content};

/// Looks at the store while the other workers go on.
pub(super) fn look(bench: &Bench, victim: usize, findings: &mut Findings) -> anyhow::Result<()> {
    let store = bench.open()?;
    for (key, error) in &store.recovery().failed {
        findings.add(format_args!("`{key}` could not be settled: {error}"));
    }
    let report = store.check()?;
    if !report.is_sound() {
        findings.add(format_args!("the check found {report:?}"));
    }
    look_at_snapshots(bench, &store, victim, findings)?;
    for number in 0..bench.workers {
        if let Ok(note) = fs::read_to_string(bench.note(number)) {
            findings.add(note.trim());
        }
    }
    Ok(())
}

/// Compares the snapshots of one worker, which is not running, with its journal and their names.
fn look_at_snapshots(
    bench: &Bench,
    store: &Store,
    number: usize,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let all = store.list(&Filter {
        prefix: Some(format!("w{number}/")),
        kind: Some(Kind::Committed),
        ..Filter::default()
    })?;
    let there: BTreeSet<_> = all.into_iter().map(|info| info.key).collect();
    let mut promised = BTreeMap::new();
    for line in fs::read_to_string(bench.journal(number))?.lines() {
        match line.split_once(' ') {
            Some(("committed" | "kept", name)) => promised.insert(name.to_owned(), Some(true)),
            Some(("removed", name)) => promised.insert(name.to_owned(), Some(false)),
            Some(("remove", name)) => promised.insert(name.to_owned(), None),
            _ => None,
        };
    }
    for (name, state) in promised {
        // Active snapshots are removed as well.
        if state == Some(true) && !there.contains(&name) && !name.ends_with("-active") {
            findings.add(format_args!("`{name}` was committed and is not there"));
        }
        if state == Some(false) && store.stat(&name).is_ok() {
            findings.add(format_args!("`{name}` was removed and is there"));
        }
    }
    for name in &there {
        if let Err(error) = look_at_content(store, name) {
            findings.add(format_args!("`{name}` is not whole: {error:#}"));
        }
    }
    Ok(())
}

fn look_at_content(store: &Store, name: &str) -> anyhow::Result<()> {
    on_content(store, name, |root| compare_content(store, name, root))
}

fn compare_content(store: &Store, name: &str, root: &Path) -> anyhow::Result<()> {
    let members = chain(store, name)?;
    let mut expected = BTreeSet::new();
    for layer in members.into_iter().map(|info| info.key) {
        let dir = root.join(place_of(&layer));
        for file in 0..FILES {
            let path = dir.join(file.to_string());
            if fs::read(&path).with_context(|| path.display().to_string())? != content(&layer, file)
            {
                bail!("{} has other content", path.display());
            }
        }
        expected.insert(place_of(&layer));
    }
    for entry in fs::read_dir(root)? {
        let found = entry?.file_name().to_string_lossy().into_owned();
        if !expected.contains(&found) {
            bail!("`{found}` should not be there");
        }
    }
    Ok(())
}

/// Looks at the store when nobody uses it: what is on disk is exactly what is in the database.
pub(super) fn look_at_rest(bench: &Bench, findings: &mut Findings) -> anyhow::Result<usize> {
    for number in 0..bench.workers {
        look(bench, number, findings)?;
    }
    let store = bench.open()?;
    let all = store.list(&Filter::default())?;
    let known: BTreeSet<_> = all.iter().map(|info| info.id).collect();
    let on_disk: BTreeSet<_> = store.driver().inventory()?.into_iter().collect();
    for id in known.symmetric_difference(&on_disk) {
        findings.add(format_args!(
            "snapshot {id} is on disk only, or in the database only"
        ));
    }
    for dir in ["tmp", "trash", "quarantine"] {
        for entry in fs::read_dir(store.driver().root().join(dir))? {
            findings.add(format_args!("`{}` is left", entry?.path().display()));
        }
    }
    for entry in fs::read_dir(bench.store().join("locks"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "open" && !known.iter().any(|id| id.to_string() == name) {
            findings.add(format_args!("the lock `{name}` is left"));
        }
    }
    let committed = all.iter().filter(|info| info.kind == Kind::Committed);
    Ok(committed.count())
}
