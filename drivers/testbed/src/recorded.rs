//! Disks that record what is written to them and flushed: files of a FUSE file system in this process, below loop devices.
//!
//! Every write arrives here in the order in which it ended, and a flush of the loop device as fsync (FUSE_FSYNC): the files
//! are opened with `FOPEN_DIRECT_IO`, so no page cache is between. After a power cut, files made in the same order as before
//! have what the cut left.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use cowlab_sys::mount::{MountGuard, MountOption, MountSpec, mount};
use cowlab_sys::{Cmd, Errno, Guard, Leak, process};

use crate::Error;
use crate::fuse::{self, Files};
use crate::recording::{BLOCK, Cut, Moment, Recording, Shared, lock};
use crate::thin::METADATA;

/// The device of FUSE, and the module that has it.
const DEVICE: &str = "/dev/fuse";
const MODULE: &str = "fuse";
/// The disks of a file system, with all that happened to them.
#[derive(Clone, Debug)]
pub struct Disks {
    recording: Shared,
    trouble: Arc<Trouble>,
    lost_flushes: Arc<Mutex<LostFlushes>>,
}

impl Disks {
    /// Empty disks, or those that a power cut left.
    pub(crate) fn new(cut: Option<Arc<Cut>>) -> Self {
        Self {
            recording: Arc::new(Mutex::new(Recording::after(cut))),
            trouble: Arc::default(),
            lost_flushes: Arc::default(),
        }
    }

    /// Has no flush reach the metadata of thin pools that are made from now on: a power cut may take all that was ever written
    /// to it.
    pub fn lose_metadata_flushes(&self) {
        self.lost_flushes().begins = true;
    }

    fn lost_flushes(&self) -> MutexGuard<'_, LostFlushes> {
        self.lost_flushes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many writes and flushes there were: a moment between two of them.
    pub fn position(&self) -> usize {
        lock(&self.recording).position()
    }

    /// Returns how many writes there were in a range of positions.
    pub fn writes(&self, range: std::ops::Range<usize>) -> usize {
        lock(&self.recording).writes(range)
    }

    /// Picks power cuts within a range of positions: at every flush, with all, nothing and a random part of what was not
    /// flushed, then between. The same seed picks the same.
    pub fn pick(&self, range: std::ops::Range<usize>, count: usize, seed: u64) -> Vec<Moment> {
        lock(&self.recording).pick(range, count, seed)
    }

    pub(crate) fn cut(&self, moment: Moment) -> Arc<Cut> {
        Arc::new(Cut::new(&self.recording, moment))
    }

    /// Has one write fail from now on: with 0 the next, with 1 the one after it.
    pub fn fail_write(&self, number: usize, errno: Errno) {
        self.trouble
            .errno
            .store(errno.raw_os_error(), Ordering::SeqCst);
        self.trouble.after.store(number + 1, Ordering::SeqCst);
    }

    /// Returns whether no write is to fail any more.
    pub fn has_failed(&self) -> bool {
        self.trouble.after.load(Ordering::SeqCst) == 0
    }

    /// Has every write succeed from now on.
    pub fn heal(&self) {
        self.trouble.after.store(0, Ordering::SeqCst);
    }
}

/// The disks that no flush reaches.
#[derive(Debug, Default)]
struct LostFlushes {
    begins: bool,
    disks: Vec<usize>,
}

/// The write that fails.
#[derive(Debug, Default)]
struct Trouble {
    /// One more than the writes before it; 0 for none.
    after: AtomicUsize,
    errno: AtomicI32,
}

impl Trouble {
    /// Fails where the write at hand is the one.
    fn strike(&self) -> Result<(), Errno> {
        let count = |after: usize| after.checked_sub(1);
        match self
            .after
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, count)
        {
            Ok(1) => Err(Errno::from_raw_os_error(self.errno.load(Ordering::SeqCst))),
            _ => Ok(()),
        }
    }
}

/// The file system that serves disks, mounted.
#[derive(Debug)]
pub(crate) struct Served {
    mount: Option<MountGuard>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Served {
    /// Mounts it at a directory.
    pub(crate) fn at(target: &Path, name: &str, disks: &Disks) -> crate::Result<Self> {
        if !Path::new(DEVICE).exists() {
            Cmd::new("modprobe")
                .arg(MODULE)
                .run()
                .map_err(|_error| missing())?;
        }
        let images = Images {
            disks: disks.clone(),
            names: Mutex::default(),
        };
        let (sender, receiver) = mpsc::channel();
        let (target, name) = (target.to_owned(), name.to_owned());
        let thread = std::thread::spawn(move || {
            let begun = begin(&target, &name);
            let (device, mount) = match begun {
                Ok((device, mount)) => (Some(device), Ok(mount)),
                Err(error) => (None, Err(error)),
            };
            sender.send(mount).map_err(io::Error::other)?;
            device.map_or(Ok(()), |device| fuse::serve_files(&device, &images))
        });
        let mount = receiver.recv().map_err(|_error| missing())??;
        Ok(Self {
            mount: Some(mount),
            thread: Some(thread),
        })
    }

    /// Leaves it to the run.
    pub(crate) fn keep(mut self) {
        self.mount.take().map(MountGuard::keep);
        self.thread = None;
    }
}

fn missing() -> Error {
    Error::Missing {
        what: "FUSE in this kernel".to_owned(),
        remedy: format!("`modprobe {MODULE}`, or boot a kernel that has it"),
    }
}

/// Mounts the file system from the thread that serves it. That thread alone has the descriptor of the connection: when the
/// process is killed while another thread waits for the disk, the connection ends with this thread, and the wait with it.
/// With a descriptor table in common, each would wait for the other's end.
fn begin(target: &Path, name: &str) -> crate::Result<(File, MountGuard)> {
    process::unshare_descriptors(&[])?;
    let device = File::options().read(true).write(true).open(DEVICE);
    let device = cowlab_sys::io("open", DEVICE, device)?;
    let spec = MountSpec {
        fstype: "fuse".to_owned(),
        source: Some(name.into()),
        options: vec![
            MountOption::text("fd", device.as_raw_fd().to_string()),
            MountOption::text("rootmode", "40000"),
            MountOption::text("user_id", "0"),
            MountOption::text("group_id", "0"),
        ],
        ..MountSpec::default()
    };
    let mount = mount(&spec, target)?;
    Ok((device, mount))
}

impl Guard for Served {
    fn describe(&self) -> String {
        "the disks that record".to_owned()
    }

    fn close(&mut self) -> Result<(), Leak> {
        if let Some(mount) = &mut self.mount {
            mount.close()?;
        }
        self.mount = None;
        // The kernel ends the connection with the last mount; another mount namespace may have one for a moment.
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            tracing::warn!(%error, "the file system of the disks did not end well");
        }
        Ok(())
    }
}

/// The disks as files, numbered from 2.
#[derive(Debug)]
struct Images {
    disks: Disks,
    /// Names and sizes, by disk; no name once removed.
    names: Mutex<Vec<(Option<Vec<u8>>, u64)>>,
}

impl Images {
    fn names(&self) -> MutexGuard<'_, Vec<(Option<Vec<u8>>, u64)>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which disk a file is.
fn disk_of(file: u64) -> usize {
    usize::try_from(file)
        .unwrap_or(usize::MAX)
        .saturating_sub(2)
}

fn number_of(disk: usize) -> u64 {
    disk as u64 + 2
}

impl Files for Images {
    fn find(&self, name: &[u8]) -> Option<u64> {
        let names = self.names();
        let disk = names
            .iter()
            .position(|(own, _)| own.as_deref() == Some(name));
        disk.map(number_of)
    }

    fn create(&self, name: &[u8]) -> u64 {
        let mut names = self.names();
        names.push((Some(name.to_owned()), 0));
        let disk = names.len() - 1;
        let mut lost = self.disks.lost_flushes();
        if lost.begins && String::from_utf8_lossy(name).contains(METADATA) {
            lost.disks.push(disk);
        }
        number_of(disk)
    }

    fn unlink(&self, name: &[u8]) -> Result<(), Errno> {
        let file = self.find(name).ok_or(Errno::NOENT)?;
        self.names()[disk_of(file)].0 = None;
        Ok(())
    }

    fn size(&self, file: u64) -> Result<u64, Errno> {
        let names = self.names();
        names
            .get(disk_of(file))
            .map(|(_, size)| *size)
            .ok_or(Errno::NOENT)
    }

    fn set_size(&self, file: u64, size: u64) {
        if let Some((_, own)) = self.names().get_mut(disk_of(file)) {
            *own = size;
        }
    }

    fn read(&self, file: u64, offset: u64, length: usize) -> Result<Vec<u8>, Errno> {
        let end = self.size(file)?.min(offset.saturating_add(length as u64));
        // Whole blocks are recorded; whoever reads a part of one gets a part.
        let start = offset / BLOCK * BLOCK;
        let whole = end.next_multiple_of(BLOCK).saturating_sub(start);
        let mut bytes = vec![0; usize::try_from(whole).unwrap_or(0)];
        lock(&self.disks.recording).read(disk_of(file), start, &mut bytes);
        bytes.truncate(usize::try_from(end.saturating_sub(start)).unwrap_or(0));
        let skip = usize::try_from(offset - start)
            .unwrap_or(0)
            .min(bytes.len());
        Ok(bytes.split_off(skip))
    }

    fn write(&self, file: u64, offset: u64, data: &[u8]) -> Result<(), Errno> {
        if !offset.is_multiple_of(BLOCK) || !(data.len() as u64).is_multiple_of(BLOCK) {
            return Err(Errno::INVAL);
        }
        self.disks.trouble.strike()?;
        lock(&self.disks.recording).write(disk_of(file), offset, data);
        Ok(())
    }

    fn zero(&self, file: u64, offset: u64, length: u64) {
        lock(&self.disks.recording).zero(disk_of(file), offset..offset.saturating_add(length));
    }

    fn flush(&self, file: u64) {
        let disk = disk_of(file);
        if !self.disks.lost_flushes().disks.contains(&disk) {
            lock(&self.disks.recording).flush(disk);
        }
    }
}
