//! A process with a run: two backing file systems, one of them in memory, and a mounted snapshot.

use std::fs;
use std::os::unix::process::parent_id;
use std::path::PathBuf;

use anyhow::ensure;
use cowlab_engine::exit;
use cowlab_sys::Guard;
use cowlab_testbed::{Backing, BackingOptions, Media, Run};

use super::{PAUSE, hold_snapshot};

/// The size of a file system, in bytes.
const SPACE: u64 = 64 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct HolderArgs {
    /// Where the run is made.
    #[arg(long = "in")]
    place: PathBuf,
    /// The file to write the run's directory to when all is made.
    #[arg(long)]
    ready: PathBuf,
    /// The file that tells it to end.
    #[arg(long)]
    stop: PathBuf,
    /// Whether its mounts end with it, as those of a test run do.
    #[arg(long)]
    private: bool,
}

/// Makes a run, holds it until told to end, and takes it back.
///
/// # Errors
///
/// Where something could not be made, is not as it was, or could not be taken back.
pub(crate) fn hold(args: &HolderArgs) -> anyhow::Result<u8> {
    if args.private {
        cowlab_sys::process::unshare_mounts()?;
    }
    let run = Run::start(Some(args.place.clone()))?;
    let backing = |media| {
        let options = BackingOptions {
            bytes: SPACE,
            media,
            ..BackingOptions::default()
        };
        run.backing(Backing::Ext4, &options)
    };
    let mut disk = backing(Media::Disk)?;
    let mut memory = backing(Media::Memory)?;
    let target = run.scratch("merged")?;
    let mut mounted = hold_snapshot(&disk.mount_point().join("store"), &target)?;
    fs::write(memory.mount_point().join("file"), "alive")?;
    // At once: a file that is there is whole.
    let written = args.ready.with_extension("written");
    fs::write(&written, run.directory().as_os_str().as_encoded_bytes())?;
    fs::rename(&written, &args.ready)?;
    let parent = parent_id();
    while !args.stop.exists() && parent_id() == parent {
        std::thread::sleep(PAUSE);
    }
    for file in [target.join("file"), memory.mount_point().join("file")] {
        ensure!(
            fs::read(&file)? == b"alive",
            "`{}` has other content",
            file.display()
        );
    }
    mounted.close()?;
    memory.close()?;
    disk.close()?;
    run.close()?;
    Ok(exit::OK)
}
