//! What a stranger's writes to the same file system cost: the flush of one layer, in the ways that there are, and fifty
//! containers started at once.
//!
//! The stranger is dd, which writes 1 GiB that is never flushed by itself. A turn begins when some of it waits to be written.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};
use cowlab_driver::{Durability, tree};
use cowlab_reports::units;
use cowlab_sys::cmd::Running;
use cowlab_sys::durability::{fsync, fsync_dir, syncfs};
use cowlab_sys::{Cmd, FileKind, Guard, IdSource, dir};
use cowlab_testbed::{Backing, BackingFs, BackingOptions, Run};

use crate::Terminal;
use crate::sampler::nanoseconds;

/// The name of the benchmark, and the beginning of each task's.
pub const NAME: &str = "neighbours";

/// Room for the stranger's file, a layer and the containers.
const BYTES: u64 = 4 << 30;
/// What the stranger writes, in MiB.
const STRANGER: u64 = 1024;
/// How much of it has to be there before a turn begins, in bytes.
const AHEAD: u64 = 256 << 20;
/// Containers that start at once.
const CONTAINERS: usize = 50;
/// Files of the layers that are flushed, 4 KiB each and a hundred to a directory.
const FILES: [usize; 3] = [10, 1_000, 20_000];
/// Turns of each arm.
const ROUNDS: usize = 3;

/// The environment variables that name the programs whose containers are started.
const PROGRAMS: [&str; 2] = ["COWLAB_PROGRAM", "COWLAB_OTHER_PROGRAM"];

/// Runs `neighbours/flush` and `neighbours/start`, or those of which the name contains one of `filters`.
///
/// # Errors
///
/// What the testbed or the programs could not do.
pub fn run(filters: &[String]) -> anyhow::Result<()> {
    let wanted = |task: &str| {
        let name = format!("{NAME}/{task}");
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    };
    cowlab_sys::interrupt::watch()?;
    let terminal = Terminal::new();
    let run = Run::start_with_private_mounts(None, IdSource::Kernel)?;
    let options = BackingOptions {
        bytes: BYTES,
        ..BackingOptions::default()
    };
    for backing in [Backing::Ext4, Backing::Xfs, Backing::Btrfs] {
        if wanted("flush") {
            let mut fs = run.backing(backing, &options)?;
            let measured = flush(&fs, &terminal);
            fs.close()?;
            measured?;
        }
    }
    if wanted("start") {
        let mut fs = run.backing(Backing::Ext4, &options)?;
        let measured = start(&fs, &terminal);
        fs.close()?;
        measured?;
    }
    Ok(run.close()?)
}

/// The samples of arms, by row and column of the table that is printed.
type Samples = BTreeMap<(String, String), Vec<f64>>;

/// A way to have a layer on the disk.
type Flush = fn(&Path) -> anyhow::Result<()>;

const FLUSHES: [(&str, Flush); 3] = [
    ("syncfs", |top| Ok(syncfs(top)?)),
    ("fsync of each, one after the other", |top| {
        let (files, dirs) = listed(top)?;
        files.iter().try_for_each(fsync)?;
        Ok(dirs.iter().try_for_each(fsync_dir)?)
    }),
    ("what the drivers do", |top| {
        Ok(cowlab_driver::flush(top, Durability::Commit)?)
    }),
];

/// The files and the directories of a tree.
fn listed(top: &Path) -> anyhow::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut files, mut dirs) = (Vec::new(), vec![top.to_owned()]);
    tree::walk(top, &mut |entry| {
        match entry.kind {
            FileKind::Directory => dirs.push(top.join(entry.path)),
            FileKind::Regular => files.push(top.join(entry.path)),
            _ => {}
        }
        Ok(())
    })?;
    Ok((files, dirs))
}

fn flush(fs: &BackingFs, terminal: &Terminal) -> anyhow::Result<()> {
    let mut samples = Samples::new();
    for files in FILES {
        for (label, flush) in FLUSHES {
            for round in 0..ROUNDS {
                for stranger in [false, true] {
                    terminal.line(&format!(
                        "{NAME}/flush: {files} files, {label}, round {}",
                        round + 1
                    ));
                    let layer = fs.mount_point().join("layer");
                    make_layer(&layer, files)?;
                    let stranger = stranger.then(|| Stranger::start(fs)).transpose()?;
                    let begun = Instant::now();
                    flush(&layer)?;
                    let time = nanoseconds(begun.elapsed());
                    let column = format!(
                        "{files}{}",
                        if stranger.is_some() { ", stranger" } else { "" }
                    );
                    samples
                        .entry((label.to_owned(), column))
                        .or_default()
                        .push(time);
                    stranger.map_or(Ok(()), Stranger::end)?;
                    dir::remove_tree(&layer)?;
                    syncfs(fs.mount_point())?;
                }
            }
        }
    }
    print(
        &format!("{NAME}/flush: a layer's files on {}", fs.backing().name()),
        &samples,
    )
}

fn make_layer(layer: &Path, files: usize) -> anyhow::Result<()> {
    for file in 0..files {
        let dir = layer.join((file / 100).to_string());
        if file % 100 == 0 {
            fs::create_dir_all(&dir)?;
        }
        fs::write(dir.join(file.to_string()), [1; 4096])?;
    }
    Ok(())
}

/// Somebody else who writes to the file system.
struct Stranger {
    writer: Running,
    file: PathBuf,
}

impl Stranger {
    /// Begins to write, and returns when enough of it is there.
    fn start(fs: &BackingFs) -> anyhow::Result<Self> {
        let file = fs.mount_point().join("stranger");
        let writer = Cmd::new("dd").args(["if=/dev/zero", "bs=1M"]);
        let writer = writer
            .arg(format!("count={STRANGER}"))
            .arg(format!("of={}", file.display()));
        let mut stranger = Self {
            writer: writer.attach(File::create(fs.mount_point().join("stranger.log"))?)?,
            file,
        };
        while stranger.writer.is_alive()?
            && fs::metadata(&stranger.file).map_or(0, |found| found.len()) < AHEAD
        {
            std::thread::yield_now();
        }
        Ok(stranger)
    }

    fn end(mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.writer.wait()? == 0, "the stranger could not write");
        Ok(fs::remove_file(&self.file)?)
    }
}

/// Starts fifty containers at once and waits until all have ended.
fn start(fs: &BackingFs, terminal: &Terminal) -> anyhow::Result<()> {
    let image = fs.mount_point().join("image.tar");
    // The program `true` with what it is linked with: its start costs next to nothing.
    let pack = "tar -chf \"$0\" /bin/true $(ldd /bin/true | grep -o '/[^ ]*') 2>&1";
    Cmd::new("sh").args(["-c", pack]).arg(&image).run()?;
    let mut arms = Vec::new();
    for variable in PROGRAMS {
        let Some(program) = std::env::var_os(variable) else {
            continue;
        };
        let root = fs.mount_point().join(variable);
        let cowlab = move || {
            Cmd::new(&program)
                .env("COWLAB_ROOT", &root)
                .env("COWLAB_DRIVER", "overlay2")
        };
        cowlab().arg("import").arg(&image).arg("image").run()?;
        arms.push((variable, cowlab));
    }
    anyhow::ensure!(
        !arms.is_empty(),
        "name the program to measure in {}",
        PROGRAMS[0]
    );
    let mut samples = Samples::new();
    for round in 0..2 * ROUNDS {
        for (label, cowlab) in &arms {
            for stranger in [false, true] {
                terminal.line(&format!("{NAME}/start: {label}, round {}", round + 1));
                syncfs(fs.mount_point())?;
                let stranger = stranger.then(|| Stranger::start(fs)).transpose()?;
                let begun = Instant::now();
                run_containers(fs, cowlab)?;
                let time = nanoseconds(begun.elapsed());
                let column = if stranger.is_some() {
                    "stranger"
                } else {
                    "quiet"
                };
                samples
                    .entry(((*label).to_owned(), column.to_owned()))
                    .or_default()
                    .push(time);
                stranger.map_or(Ok(()), Stranger::end)?;
            }
        }
    }
    print(
        &format!("{NAME}/start: {CONTAINERS} containers at once on overlay2 on ext4"),
        &samples,
    )
}

/// Runs the containers, all at once, and waits until the last has ended.
fn run_containers(fs: &BackingFs, cowlab: &impl Fn() -> Cmd) -> anyhow::Result<()> {
    let log = File::create(fs.mount_point().join("start.log"))?;
    let mut running = Vec::new();
    for _ in 0..CONTAINERS {
        let command = cowlab().args(["run", "--rm", "image", "/bin/true"]);
        running.push(command.attach(log.try_clone()?)?);
    }
    for one in &mut running {
        let status = one.wait()?;
        anyhow::ensure!(
            status == 0,
            "a container ended with {status}: see start.log"
        );
    }
    Ok(())
}

/// Prints medians, and beneath each what it is times the fastest of its column.
fn print(title: &str, samples: &Samples) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["", "where", "median", "least", "most"]);
    for ((row, column), times) in samples {
        let mut times = times.clone();
        times.sort_by(f64::total_cmp);
        let least = times.first().context("no samples")?;
        let most = times.last().context("no samples")?;
        let shown = [times[times.len() / 2], *least, *most].map(units::duration);
        let [median, least, most] = shown;
        table.add_row([row.clone(), column.clone(), median, least, most]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(writeln!(std::io::stdout(), "{title}\n\n{table}\n")?)
}
