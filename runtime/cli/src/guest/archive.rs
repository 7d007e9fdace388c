//! `cowlab guest export` and `cowlab guest import`.

use std::io::Write;
use std::path::PathBuf;

use cowlab_guest::{Cache, Error, Release};

use super::list::say;
use crate::exit;

#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// The file to write, a tar archive.
    file: PathBuf,
    /// Which release's image; the one that runs when none is named.
    #[arg(long, value_name = "RELEASE")]
    release: Option<Release>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// The file to read, which `guest export` wrote.
    file: PathBuf,
}

/// Writes an image to a file.
pub(super) fn export(args: &ExportArgs) -> anyhow::Result<u8> {
    let release = args.release;
    let image = Cache::open()?
        .find(release)?
        .ok_or(Error::NoImage { release })?;
    image.export(&args.file)?;
    let manifest = &image.manifest;
    writeln!(
        std::io::stdout(),
        "written: {} (Linux {}, ZFS {}) to {}",
        manifest.release,
        manifest.kernel,
        manifest.zfs,
        args.file.display()
    )?;
    Ok(exit::OK)
}

/// Takes in an image and starts it once.
pub(super) fn import(args: &ImportArgs) -> anyhow::Result<u8> {
    let cache = Cache::open()?;
    let image = cache.import(&args.file)?;
    match image.try_out() {
        Ok(_) => {
            cache.prefer(&image)?;
            cache.prune()?;
        }
        // It may be for another machine that shares the cache, so it stays.
        Err(error) => writeln!(
            std::io::stderr(),
            "cowlab: it is in the cache, but was not seen to start: {error}"
        )?,
    }
    say(&image, "in the cache")
}
