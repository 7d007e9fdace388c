//! No room left: everything is made whole or refused, the refusal says why, and with more room everything goes on.

use std::thread;
use std::time::{Duration, Instant};

use cowlab_snapshots::{CommitOptions, Error as StoreError, Filter, Kind, PrepareOptions};

use crate::context::Result;
use crate::prelude::*;
use crate::support::full::told;
use crate::support::store::{read_text, write_text};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "full/prepare-is-whole-or-refused",
        spec: "Without room a snapshot is prepared whole or refused with the reason, and with room it is prepared.",
        see: &["write(2), ENOSPC", "containers/storage, disk full"],
        catalogue: &["M36"],
        impact: Impact::DataLoss,
        risk: Risk::Fs,
        run: Some(prepare_is_whole),
        ..Case::BASE
    },
    Case {
        id: "full/commit-is-whole-or-refused",
        spec: "Without room a snapshot is committed whole or refused with the reason, and with room it is committed.",
        see: &["write(2), ENOSPC", "containers/storage, disk full"],
        catalogue: &["M36"],
        impact: Impact::DataLoss,
        risk: Risk::Fs,
        run: Some(commit_is_whole),
        ..Case::BASE
    },
    Case {
        id: "full/removal-makes-room",
        spec: "Without room a snapshot can be removed nevertheless, and what it held is room again.",
        see: &["unlink(2)", "zfs(4), spa_slop_shift"],
        catalogue: &["M36", "M17"],
        impact: Impact::AppVisible,
        risk: Risk::Fs,
        run: Some(removal_makes_room),
        ..Case::BASE
    },
];

/// The most snapshots that are prepared without room.
const ATTEMPTS: usize = 8;
const MIB: u64 = 1 << 20;

/// Expects success, or a refusal that says that there is no room; tells which.
fn done_or_told<T>(
    context: &Context,
    what: &str,
    given: std::result::Result<T, StoreError>,
) -> Result<bool> {
    match given {
        Ok(_) => Ok(true),
        given => told(context, what, given).map(|()| false),
    }
}

fn expect_sound(context: &Context) -> Result<()> {
    let rows = context.store().list(&Filter::default())?.len();
    let kept = context.store().driver().inventory()?.len();
    expect("store", "snapshots on disk", rows, kept)?;
    let is_sound = context.store().check()?.is_sound();
    expect("store", "soundness", true, is_sound)
}

fn prepare_is_whole(context: &mut Context) -> Result<()> {
    context.move_to_small_disk()?;
    context.layer(None, "base", &[write_sized("/f", 100_000, 91)])?;
    let before = context.manifest("base")?;
    let filler = context.fill(0)?;
    let options = PrepareOptions::default();
    let attempt = |number: usize| -> Result<(bool, String)> {
        let key = format!("key-{number}");
        let made = context.store().prepare(&key, Some("base"), &options);
        Ok((done_or_told(context, "prepare", made)?, key))
    };
    let attempts: Vec<_> = (0..ATTEMPTS).map(attempt).collect();
    context.make_space(filler)?;
    context.reopen()?;
    for attempt in attempts {
        let (is_made, key) = attempt?;
        let is_there = context.store().stat(&key).is_ok();
        expect(&key, "is there", is_made, is_there)?;
        if !is_made {
            context.store().prepare(&key, Some("base"), &options)?;
        }
        context.with_mount(&key, |dir| {
            let tree = Tree::open(dir)?;
            let size = tree.stat("/f").map(|stat| stat.size).unwrap_or(0);
            expect("/f", "size", 100_000, size)?;
            write_text(&tree, "/new", "fits")
        })?;
        context.store().remove(&key)?;
    }
    context.unchanged(&before, &context.manifest("base")?)?;
    expect_sound(context)
}

fn commit_is_whole(context: &mut Context) -> Result<()> {
    context.move_to_small_disk()?;
    context.layer(None, "base", &[write_sized("/f", 100_000, 92)])?;
    let options = PrepareOptions::default();
    context.store().prepare("key", Some("base"), &options)?;
    context.with_mount("key", |dir| {
        write_text(&Tree::open(dir)?, "/new", "written before")?;
        Ok(cowlab_sys::durability::syncfs(dir)?)
    })?;
    let filler = context.fill(0)?;
    let options = CommitOptions::default();
    let given = context.store().commit("key", "name", &options);
    let judged = done_or_told(context, "commit", given);
    context.make_space(filler)?;
    context.reopen()?;
    let is_committed = judged?;
    let kind = context.store().stat("name").ok().map(|info| info.kind);
    if kind.is_none() {
        expect("name", "is there after success", false, is_committed)?;
        context.store().commit("key", "name", &options)?;
    }
    let kind = context.store().stat("name")?.kind;
    expect("name", "is committed", true, kind == Kind::Committed)?;
    context.with_view("name", |dir| {
        let tree = Tree::open(dir)?;
        let new = read_text(&tree, "/new")?;
        expect("/new", "content", "written before".to_owned(), new)
    })?;
    expect_sound(context)
}

fn removal_makes_room(context: &mut Context) -> Result<()> {
    context.move_to_small_disk()?;
    context.layer(None, "base", &[write("/f", "f")])?;
    context.layer(Some("base"), "large", &[write_sized("/g", 32 << 20, 93)])?;
    let filler = context.fill(4 * MIB)?;
    let full = context.used();
    let removed = context.store().remove("large");
    let freed = full.and_then(|full| wait_until_free(context, full.saturating_sub(28 * MIB)));
    context.make_space(filler)?;
    removed?;
    freed?;
    expect_sound(context)
}

/// Waits until no more than so many bytes are in use.
fn wait_until_free(context: &Context, most: u64) -> Result<()> {
    let start = Instant::now();
    while context.used()? > most {
        if start.elapsed() > Duration::from_secs(10) {
            return Err(Difference::new("backing", "space", "free again", "in use"));
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
