//! Full disks: small places, what fills them, and space again.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use cowlab_snapshots::PrepareOptions;
use cowlab_sys::file::FallocateFlags;
use cowlab_sys::{Errno, Error as SysError, Guard, stat};
use cowlab_testbed::Small;

use crate::context::{Context, Result};

/// The size of a small pool, in bytes.
const SMALL: u64 = 256 << 20;
/// How much a small pool grows by, in bytes.
const MORE: u64 = 256 << 20;
/// How much is allocated at once, in bytes: little, when little is left.
const STEPS: [u64; 4] = [64 << 20, 8 << 20, 1 << 20, 64 << 10];
/// The snapshot that fills a pool whose room only snapshots have.
const FILLER: &str = "filler";

/// What takes the space.
#[derive(Debug)]
#[must_use = "what stays full fails every case after this one"]
pub(crate) struct Filler {
    /// To be removed; a pool grows instead.
    file: Option<PathBuf>,
}

impl Filler {
    /// Of a pool that a case filled itself.
    pub(crate) const fn of_a_pool() -> Self {
        Self { file: None }
    }
}

impl Context {
    /// Moves to a new store in a pool with little room, where what lies below the snapshots is a pool. Elsewhere
    /// everything stays where it is.
    ///
    /// # Errors
    ///
    /// When the pool, or the store, cannot be made.
    pub(crate) fn move_to_small_disk(&mut self) -> Result<()> {
        match self.small_place()? {
            Some(small) => self.move_to(small),
            None => Ok(()),
        }
    }

    /// A new place with little room; `None` where nothing but the backing file system is the room.
    pub(crate) fn small_place(&self) -> Result<Option<Small>> {
        Ok(self.places().small(SMALL)?)
    }

    /// Fills the room of the snapshots and leaves so many bytes.
    pub(crate) fn fill(&self, left: u64) -> Result<Filler> {
        let path = self.dir().join(FILLER);
        match self.small() {
            None => {
                let filled = reserve(&path, left);
                let filler = Filler { file: Some(path) };
                match filled {
                    // btrfs frees space when the transaction that gave it back is on disk.
                    Ok(()) => cowlab_sys::durability::syncfs(self.dir())?,
                    Err(error) => {
                        self.make_space(filler)?;
                        return Err(error.into());
                    }
                }
                return Ok(filler);
            }
            Some(small) if small.directory.is_some() => self.write(&path, left)?,
            Some(_) => {
                self.store()
                    .prepare(FILLER, None, &PrepareOptions::default())?;
                let mut mounted = self.store().mount(FILLER, &self.mount_point())?;
                let written = self.write(&mounted.target().join(FILLER), left);
                // A full pool may refuse what an unmount writes.
                let closed = mounted.close();
                written?;
                closed?;
            }
        }
        Ok(Filler { file: None })
    }

    /// Makes space: a pool gets a larger device, a file system loses the file that filled it.
    pub(crate) fn make_space(&self, filler: Filler) -> Result<()> {
        if let Some(file) = filler.file {
            fs::remove_file(file)?;
        }
        if let Some(small) = self.small() {
            self.places().grow(small, MORE, 0)?;
        }
        Ok(())
    }

    /// Writes what cannot be compressed, until so many bytes are free: not every file system keeps fallocate(2)'s
    /// promise, or any pool.
    fn write(&self, path: &Path, left: u64) -> Result<()> {
        let mut file = File::create(path)?;
        let block = cowlab_random::bytes(90, 1 << 20);
        // What is free is known exactly when all is on disk, and that takes long: most is written at once.
        for _ in 0..3 {
            let mut more = self.free()?.saturating_sub(left);
            while more > 0 {
                let size = usize::try_from(more).map_or(block.len(), |size| size.min(block.len()));
                match file.write_all(&block[..size]) {
                    Ok(()) => more -= size as u64,
                    Err(error) if is_full(Errno::from_io_error(&error)) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            match file.sync_all() {
                Err(error) if !is_full(Errno::from_io_error(&error)) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// What a pool has free, once everything is written.
    pub(crate) fn free(&self) -> Result<u64> {
        let used = self.used()?;
        Ok(match self.small() {
            Some(small) if small.directory.is_none() => small.bytes.saturating_sub(used),
            _ => stat::statfs(self.dir())?.available_bytes(),
        })
    }
}

/// Whether a write says that there is no room. A thin device may say it as an error of the device.
pub(crate) fn is_full(errno: Option<Errno>) -> bool {
    matches!(errno, Some(Errno::NOSPC | Errno::DQUOT | Errno::IO))
}

/// Allocates all that is free but `left` bytes. The file system is small and throw-away.
///
/// It allocates until nothing is left and gives some back: what statfs(2) counts as free has reserves in it that
/// nobody may take (ext4's reserved clusters) or root alone.
///
/// # Errors
///
/// `EOPNOTSUPP` where fallocate(2) takes nothing: on ZFS it succeeds for ever.
fn reserve(path: &Path, left: u64) -> std::result::Result<(), SysError> {
    let file = cowlab_sys::io("open", path, File::create(path))?;
    let room = stat::statfs(path)?;
    let all = room.blocks.saturating_mul(room.block_size);
    let flags = FallocateFlags::empty();
    let mut size = 0;
    for step in STEPS {
        while cowlab_sys::file::fallocate(&file, flags, size, step).is_ok() {
            size += step;
            if size > all {
                return cowlab_sys::io("fallocate", path, Err(Errno::OPNOTSUPP.into()));
            }
        }
    }
    cowlab_sys::io("ftruncate", path, file.set_len(size.saturating_sub(left)))
}
