//! Applies a layer of 1 GiB and looks at the most memory that this process had resident.
//!
//! The layer is generated while it is read, in a thread behind a pipe, so that only what the store keeps of it counts,
//! and a few buffers of the generator. It is one file of half a gigabyte and many small ones, of which every name and
//! every directory might be kept as well.

use std::io::{self, BufWriter, Read, Write};
use std::time::Instant;

use clap::ValueEnum;
use cowlab_layer::ArchiveWriter;
use cowlab_random::Random;
use cowlab_snapshots::{Applied, Store, StoreOptions};
use cowlab_sys::process::ResidentSet;
use cowlab_testbed::{Media, Run};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Driver, Findings, on_file_system, say, stop_if_asked};

const MIB: u64 = 1 << 20;
/// What the peak must stay below, in bytes.
const LIMIT: u64 = 64 * MIB;
/// The size of the file system, in bytes; it is sparse.
const SPACE: u64 = 3 << 30;
/// The one large file, in bytes.
const LARGE: u64 = 512 << 20;
/// The size of a small file, in bytes.
const SMALL: u64 = 8 << 10;
/// With this many small files the layer is of 1 GiB.
const SMALL_COUNT: u64 = LARGE / SMALL;
/// Small files in a directory.
const SMALL_IN_DIR: u64 = 512;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Apply worse.
    #[arg(long, value_enum)]
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// Keep the first 128 MiB of the layer in memory.
    Hoard,
}

#[derive(Debug, Clone, Copy)]
enum Encoding {
    Plain,
    Gzip,
}

/// Proves the claim.
pub(super) fn prove(args: &Args, run: &Run, findings: &mut Findings) -> anyhow::Result<()> {
    for driver in Driver::all() {
        for encoding in [Encoding::Plain, Encoding::Gzip] {
            stop_if_asked()?;
            on_file_system(run, driver.backing(), Media::Disk, SPACE, |place| {
                let store = Store::open(
                    &place.join("store"),
                    driver.entry(),
                    &StoreOptions::default(),
                )?;
                let started = Instant::now();
                ResidentSet::reset_peak()?;
                let before = ResidentSet::read()?.current;
                let applied = apply(&store, encoding, args.fault)?;
                let peak = ResidentSet::read()?.peak;
                let line = format!(
                    "{} on {}, {encoding:?}: {} MiB of archive in {:.1} s, peak {} MiB resident, {} MiB before",
                    driver.name(),
                    driver.backing(),
                    applied.size / MIB,
                    started.elapsed().as_secs_f64(),
                    peak.div_ceil(MIB),
                    before.div_ceil(MIB),
                );
                if peak >= LIMIT {
                    findings.add(&line);
                }
                say(line)
            })?;
        }
    }
    Ok(())
}

fn apply(store: &Store, encoding: Encoding, fault: Option<Fault>) -> anyhow::Result<Applied> {
    let (mut reader, writer) = io::pipe()?;
    std::thread::scope(|scope| {
        let generator = scope.spawn(move || generate(writer, encoding));
        let mut hoard = Vec::new();
        if fault == Some(Fault::Hoard) {
            (&mut reader).take(128 * MIB).read_to_end(&mut hoard)?;
        }
        let mut source = hoard.as_slice().chain(reader);
        let applied = store.apply("layer", None, &mut source, &Default::default());
        // Where the store has given up, nobody reads on and the generator ends as well.
        drop(source);
        let generated = generator
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let applied = applied?;
        generated?;
        Ok(applied)
    })
}

fn generate(pipe: io::PipeWriter, encoding: Encoding) -> io::Result<()> {
    let pipe = BufWriter::new(pipe);
    match encoding {
        Encoding::Plain => write_layer(pipe)?.flush(),
        Encoding::Gzip => {
            let encoder = GzEncoder::new(pipe, Compression::fast());
            write_layer(encoder)?.finish()?.flush()
        }
    }
}

fn write_layer<W: Write>(sink: W) -> io::Result<W> {
    let mut random = Endless(Random::new(1));
    let mut archive = ArchiveWriter::new(sink);
    archive.directory("layer")?;
    archive.file("layer/large", LARGE, &mut random)?;
    for number in 0..SMALL_COUNT {
        let dir = format!("layer/{}", number / SMALL_IN_DIR);
        if number % SMALL_IN_DIR == 0 {
            archive.directory(&dir)?;
        }
        archive.file(&format!("{dir}/{number}"), SMALL, &mut random)?;
    }
    archive.finish()
}

/// Numbers without end, as bytes.
struct Endless(Random);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.fill(buffer);
        Ok(buffer.len())
    }
}
