//! A snapshot whose file system was not unmounted: what a diff shows of it is what a mount would show.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, ensure};
use cowlab_layer::changes::Change;
use cowlab_snapshots::Store;
use cowlab_sys::mount;
use cowlab_testbed::BackingFs;

use super::pool::{Pool, dmsetup};
use super::{Findings, layer, open};

/// The size of a file that no snapshot changes, in bytes.
const LARGE: usize = 4 << 20;

/// Proves it for both file systems.
pub(super) fn prove(made: &BackingFs, findings: &mut Findings) -> anyhow::Result<()> {
    for filesystem in ["ext4", "xfs"] {
        is_cut_off(made, filesystem, findings).with_context(|| filesystem.to_owned())?;
    }
    Ok(())
}

fn is_cut_off(
    made: &BackingFs,
    filesystem: &'static str,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let pool = Pool::fresh(made)?;
    let mut settings = pool.settings.clone();
    settings.insert("filesystem".to_owned(), filesystem.to_owned());
    settings.insert("size".to_owned(), "1G".to_owned());
    let place = made.mount_point();
    let target = place.join(format!("{filesystem}-target"));
    fs::create_dir(&target)?;
    let store = open(&place.join(filesystem), &settings)?;
    store.prepare("large", None, &Default::default())?;
    let mounted = store.mount("large", &target)?;
    fs::write(target.join("large"), vec![b'l'; LARGE])?;
    drop(mounted);
    store.commit("large", "base", &Default::default())?;
    layer(&store, &target, Some("base"), "parent")?;
    for key in ["key", "idle"] {
        store.prepare(key, Some("parent"), &Default::default())?;
    }
    cut_off(&store, &pool, &target)?;

    let (changes, read) = counted(|| Ok(store.changes("key")?))?;
    let expected = ["/", "/f", "/new"];
    if changes.iter().map(|change| &change.path).ne(expected) {
        findings.add(format_args!(
            "{filesystem}: after a crash the diff lists {changes:?}, and what was flushed is {expected:?}"
        ));
    }
    // The superblock of XFS does not tell a crash in this boot from an unmount that the store was not told of.
    if filesystem == "ext4" && read < 2 * LARGE as u64 {
        findings.add(format_args!(
            "{filesystem}: after a crash, which can leave new content under old times, content was not compared"
        ));
    }
    let (changes, read) = counted(|| Ok(store.changes("idle")?))?;
    ensure!(changes.is_empty(), "`idle` has {changes:?}");
    if read >= LARGE as u64 {
        findings.add(format_args!(
            "{filesystem}: a diff read what had not changed"
        ));
    }
    store.commit("key", "after", &Default::default())?;
    let report = store.check()?;
    if !report.is_sound() {
        findings.add(format_args!("{filesystem}: the check found {report:?}"));
    }
    Ok(())
}

/// Writes and flushes, and takes the device away below the file system before it is unmounted, as a power cut does.
fn cut_off(store: &Store, pool: &Pool, target: &Path) -> anyhow::Result<()> {
    let target = store.mount("key", target)?.keep();
    for name in ["f", "new"] {
        fs::write(target.join(name), "after the crash")?;
        File::open(target.join(name))?.sync_all()?;
    }
    File::open(&target)?.sync_all()?;
    let device = format!("{}-{}", pool.name, store.stat("key")?.id);
    dmsetup(["wipe_table", "--noflush", "--nolockfs", &device])?;
    mount::unmount(&target)?;
    dmsetup(["remove", &device])
}

/// Does something, and tells how many bytes of files this thread read for it.
fn counted(
    work: impl FnOnce() -> anyhow::Result<Vec<Change>>,
) -> anyhow::Result<(Vec<Change>, u64)> {
    let read = || -> anyhow::Result<u64> {
        let text = fs::read_to_string("/proc/thread-self/io")?;
        let read = text.lines().find_map(|line| line.strip_prefix("rchar: "));
        Ok(read
            .context("no `rchar` in /proc/thread-self/io")?
            .parse()?)
    };
    let before = read()?;
    Ok((work()?, read()? - before))
}
