//! Getting the files of one snapshot onto the disk, without those of strangers where that is possible.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::SystemTime;

use cowlab_sys::at::{self, OFlags};
use cowlab_sys::durability::{fsync_fd, start_writing, syncfs};
use cowlab_sys::stat::{self, EXT4_MAGIC, XFS_MAGIC};
use cowlab_sys::{FileKind, io};

use crate::tree::{self, Visited};
use crate::{Durability, Result};

/// The most entries that are flushed one by one. Above, syncfs(2) takes less time even beside a stranger who writes:
/// `cargo bench -p cowlab-bench -- neighbours/flush`.
const MOST: usize = 1_000;
/// The files that wait for the disk side by side: each fsync(2) is a wait, and a journal commits what several wait for at once.
const THREADS: usize = 16;

/// Returns when the tree at `top` survives a power cut, if `durability` asks for that.
///
/// syncfs(2) waits for what strangers write to the same file system. A small tree on a file system whose journal is written in order
/// is flushed file by file. What has no descriptor to flush, a symbolic link or a device, is on the disk with the change
/// that is made and flushed last: jbd2 and the log of xfs write no change before those made earlier
/// (Documentation/filesystems/journalling.rst; xfs-delayed-logging-design.rst).
///
/// # Errors
///
/// What could not be written, also before the call, if nobody was told of it yet. An error of a file is forgotten with an inode that
/// the kernel evicted since; syncfs(2) would report it.
pub fn flush(top: &Path, durability: Durability) -> Result<()> {
    if durability < Durability::Commit {
        return Ok(());
    }
    let by_file = durability == Durability::Commit
        && [EXT4_MAGIC, XFS_MAGIC].contains(&stat::statfs(top)?.fstype_magic)
        && start_writing_files(top)?;
    if !by_file {
        return Ok(syncfs(top)?);
    }
    flush_entries(top)?;
    let dir = io("open", top, File::open(top))?;
    io("utimensat", top, dir.set_modified(SystemTime::now()))?;
    Ok(fsync_fd(dir)?)
}

/// Starts to write the files of a tree. False when there are too many of them to flush one by one.
fn start_writing_files(top: &Path) -> Result<bool> {
    let mut entries = 0;
    tree::walk(top, &mut |entry| {
        entries += 1;
        if entries <= MOST && entry.kind == FileKind::Regular {
            start_writing(open(entry)?)?;
        }
        Ok(())
    })?;
    Ok(entries <= MOST)
}

/// Flushes every file and directory below `top`.
fn flush_entries(top: &Path) -> Result<()> {
    let (found, next) = sync_channel(THREADS);
    let next = Mutex::new(next);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| flush_found(&next)))
            .collect();
        let walked = tree::walk(top, &mut |entry| {
            if matches!(entry.kind, FileKind::Regular | FileKind::Directory) {
                let file = open(entry)?;
                found
                    .send(file)
                    .expect("workers receive until the channel is closed");
            }
            Ok(())
        });
        drop(found);
        let flushed = workers.into_iter().map(|worker| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        flushed.fold(walked, Result::and)
    })
}

/// Flushes what the walk finds until it ends. One that fails does not stop the walk, and the first error is returned.
fn flush_found(next: &Mutex<Receiver<OwnedFd>>) -> Result<()> {
    let mut flushed = Ok(());
    loop {
        let received = next.lock().expect("no worker panics").recv();
        let Ok(file) = received else {
            return flushed;
        };
        flushed = flushed.and(fsync_fd(file).map_err(Into::into));
    }
}

fn open(entry: &Visited<'_>) -> Result<OwnedFd> {
    Ok(at::open(
        entry.dir,
        entry.name(),
        OFlags::RDONLY | OFlags::NONBLOCK,
        0,
    )?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_kind_of_entry_can_be_flushed() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("dir");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("file"), "content").unwrap();
        symlink("nothing", dir.join("link")).unwrap();
        // To open it would wait for a writer.
        let dir = File::open(&dir).unwrap();
        at::mknod(dir, "fifo", FileKind::Fifo, 0o600, 0).unwrap();
        flush(top.path(), Durability::Commit).unwrap();
        flush_entries(top.path()).unwrap();
    }

    #[test]
    fn many_entries_are_not_flushed_one_by_one() {
        let top = tempfile::tempdir().unwrap();
        for name in 0..MOST {
            fs::write(top.path().join(name.to_string()), "").unwrap();
        }
        assert!(start_writing_files(top.path()).unwrap());
        fs::write(top.path().join("one more"), "").unwrap();
        assert!(!start_writing_files(top.path()).unwrap());
    }
}
