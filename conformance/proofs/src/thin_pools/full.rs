//! Pools that are full: of data, of metadata, at once or after a wait.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use cowlab_snapshots::Store;
use cowlab_sys::{Cmd, Guard};
use cowlab_testbed::BackingFs;

use super::pool::{Pool, resize};
use super::{Fault, Findings, expect_refusal, layer, open};

const MIB: u64 = 1 << 20;
/// What a writer writes and flushes at a time.
const PIECE: usize = 1 << 20;
/// How long the kernel lets writers wait is a minute (`no_space_timeout`).
const PATIENCE: Duration = Duration::from_secs(50);

/// Something that runs out.
struct Scarce {
    is: &'static str,
    /// Bytes for metadata and for data, at first and later.
    first: (u64, u64),
    later: (u64, u64),
}

const SCARCE: [Scarce; 2] = [
    Scarce {
        is: "data",
        first: (8 * MIB, 48 * MIB),
        later: (8 * MIB, 256 * MIB),
    },
    Scarce {
        is: "metadata",
        // 32 blocks, of which the kernel keeps three.
        first: (128 << 10, 256 * MIB),
        later: (8 * MIB, 256 * MIB),
    },
];

/// Proves that a full pool costs nothing that was committed, is named, and is forgotten when it has grown.
pub(super) fn prove(
    made: &BackingFs,
    fault: Option<Fault>,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    for scarce in &SCARCE {
        runs_out(made, scarce, fault, findings).with_context(|| scarce.is)?;
    }
    waits(made, findings).context("a writer that waits")
}

fn runs_out(
    made: &BackingFs,
    scarce: &Scarce,
    fault: Option<Fault>,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let pool = Pool::fresh(made)?;
    // As device-mapper makes it when nobody says otherwise: a writer would wait.
    pool.renew(scarce.first.0, scarce.first.1, "0")?;
    let root = made.mount_point().join(scarce.is);
    let target = made.mount_point().join(format!("{}-target", scarce.is));
    fs::create_dir(&target)?;
    let store = open(&root, &pool.settings)?;
    ensure!(
        pool.table()?.contains("error_if_no_space"),
        "writers to a full pool wait unless it is asked for"
    );
    layer(&store, &target, None, "base")?;
    for key in ["key", "idle"] {
        store.prepare(key, Some("base"), &Default::default())?;
    }
    let mut mounted = store.mount("key", &target)?;
    let failed = write_until(&target.join("large"), scarce.first.1).is_err();
    mounted.close()?;
    if !failed {
        findings.add(format_args!("{}: the writer met no error", scarce.is));
    }
    while_full(&store, &pool, &target, scarce, findings)?;
    if fault == Some(Fault::NoNotes) {
        store.trust("key")?;
    }
    drop(store);
    give_room(&pool, scarce)?;
    afterwards(&open(&root, &pool.settings)?, &target, scarce, findings)
}

/// Everything that takes room is refused, and the refusal names the pool and what to do.
fn while_full(
    store: &Store,
    pool: &Pool,
    target: &Path,
    scarce: &Scarce,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let no_room = format!("has no {} space left", scarce.is);
    // For want of metadata the kernel may have to abort a transaction; then a check comes first.
    let (state, remedy) = if pool.status()?.contains("needs_check") {
        ("metadata needs a check", "thin_check")
    } else {
        (no_room.as_str(), "larger")
    };
    let words = [pool.name.as_str(), state, remedy];
    let in_what = |what: &str| format!("{what} without {} space", scarce.is);
    let tried = store.prepare("new", Some("base"), &Default::default());
    expect_refusal(findings, &in_what("prepare"), &words, tried)?;
    let tried = store.commit("key", "name", &Default::default());
    expect_refusal(findings, &in_what("commit"), &words, tried)?;
    let tried = store.mount("idle", target);
    expect_refusal(findings, &in_what("mount"), &words, tried)?;
    expect_refusal(findings, &in_what("health"), &words, store.health())?;
    if store.stat("name").is_ok() || store.stat("new").is_ok() {
        findings.add(format_args!("{}: something is there in half", scarce.is));
    }
    Ok(())
}

/// Does what the errors said.
fn give_room(pool: &Pool, scarce: &Scarce) -> anyhow::Result<()> {
    if !pool.status()?.contains("needs_check") {
        resize(&pool.metadata, scarce.later.0)?;
        return resize(&pool.data, scarce.later.1);
    }
    let table = pool.table()?;
    pool.deactivate()?;
    let check = Cmd::new("thin_check").arg("--clear-needs-check-flag");
    check.arg(&pool.metadata).run()?;
    resize(&pool.metadata, scarce.later.0)?;
    pool.activate(table.trim())
}

/// What lost a write is not committed and can be looked at; all else goes on.
fn afterwards(
    store: &Store,
    target: &Path,
    scarce: &Scarce,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let tried = store.commit("key", "name", &Default::default());
    let what = format!("commit after a write refused for {}", scarce.is);
    let words = ["refused writes", "remove it"];
    expect_refusal(findings, &what, &words, tried)?;
    if store.stat("key").is_err() {
        // It was committed, which is a finding already.
        return Ok(());
    }
    let mounted = store.mount("key", target)?;
    let kept = fs::read_to_string(target.join("f"))?;
    ensure!(kept == "base", "`f` reads `{kept}`");
    drop(mounted);
    store.remove("key")?;
    layer(store, target, Some("base"), "after")?;
    store.commit("idle", "idle-name", &Default::default())?;
    let report = store.check()?;
    if !report.is_sound() {
        findings.add(format_args!("{}: the check found {report:?}", scarce.is));
    }
    Ok(())
}

/// With the setting, a writer waits until there is space, and what it wrote is committed.
fn waits(made: &BackingFs, findings: &mut Findings) -> anyhow::Result<()> {
    let pool = Pool::fresh(made)?;
    pool.renew(8 * MIB, 48 * MIB, "1 error_if_no_space")?;
    let mut settings = pool.settings.clone();
    settings.insert("if-full".to_owned(), "queue".to_owned());
    let root = made.mount_point().join("waits");
    let target = made.mount_point().join("waits-target");
    fs::create_dir(&target)?;
    let store = open(&root, &settings)?;
    store.prepare("key", None, &Default::default())?;
    let mounted = store.mount("key", &target)?;
    let large = target.join("large");
    let size = 64 * MIB;
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&large, size));
        let began = Instant::now();
        while !pool.status()?.contains("out_of_data_space") {
            if began.elapsed() > PATIENCE || writer.is_finished() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        resize(&pool.data, 256 * MIB)?;
        // Whoever prepares next has the pool take its new size.
        store.prepare("next", None, &Default::default())?;
        match writer.join() {
            Ok(written) => written,
            Err(_) => bail!("the writer panicked"),
        }
    });
    if let Err(error) = written {
        findings.add(format_args!("a writer that could wait met {error:#}"));
    }
    drop(mounted);
    if let Err(error) = store.commit("key", "name", &Default::default()) {
        findings.add(format_args!("what had waited is not committed: {error}"));
        return Ok(());
    }
    store.view("view", "name")?;
    let mounted = store.mount("view", &target)?;
    let whole = fs::read(&large)?;
    ensure!(
        whole.len() as u64 == size && whole.iter().all(|byte| *byte == b'x'),
        "what had waited is not whole"
    );
    drop(mounted);
    Ok(())
}

/// Writes that many bytes, and has each piece on the device before the next.
fn write_until(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let mut file = File::create(path)?;
    for _ in 0..bytes / PIECE as u64 {
        file.write_all(&[b'x'; PIECE])?;
        file.sync_data()?;
    }
    Ok(())
}
