//! Throw-away thin pools, each on two loop devices: for tests only, for a loop device can neither be trusted with data nor
//! be as fast as what is below it.
//!
//! A pool is known to the kernel until it is removed, whoever made it; the journal has its name before it is made, and
//! stands for the devices `<pool>-...` on it as well.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cowlab_sys::file::{FallocateFlags, fallocate};
use cowlab_sys::loopdev::{LoopDevice, LoopOptions};
use cowlab_sys::{Cmd, Guard, Leak, dir, io, page_cache};

use crate::journal::Intent;
use crate::shared::Shared;
use crate::{Error, Media, Result, mkfs};

/// The size of a pool's blocks, in sectors of 512 bytes: the smallest there is, which is docker's choice too.
const BLOCK: u64 = 128;
const SECTOR: u64 = 512;
/// The kernel tells whoever listens when only one in so many blocks is free.
const LOW_WATER: u64 = 16;
/// A part of the name of the disk that has a pool's metadata.
pub(crate) const METADATA: &str = "-metadata";
/// A metadata device has one byte for so many of the data device, and at least some.
const METADATA_SHARE: u64 = 64;
const METADATA_LEAST: u64 = 8 << 20;
/// The program that talks to device-mapper.
const PROGRAM: &str = "dmsetup";

/// Where the files of a pool lie.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) run: Arc<Shared>,
    pub(crate) directory: PathBuf,
    /// The name of the tmpfs at `directory`, where there is one.
    pub(crate) on: Option<String>,
    pub(crate) media: Media,
    /// The logical sector size of the devices.
    pub(crate) sector_size: Option<u32>,
    pub(crate) preallocate: bool,
}

/// A file behind a loop device.
#[derive(Debug)]
struct Disk {
    image: PathBuf,
    device: LoopDevice,
    bytes: u64,
}

/// A thin pool.
#[derive(Debug)]
pub(crate) struct ThinPool {
    ground: Ground,
    name: String,
    data: Option<Disk>,
    metadata: Option<Disk>,
    is_open: bool,
}

impl ThinPool {
    fn make(ground: &Ground, name: String, bytes: u64) -> Result<Self> {
        let mut made = Self {
            ground: ground.clone(),
            name,
            data: None,
            metadata: None,
            is_open: true,
        };
        let built = made.build(bytes);
        if let Err(error) = built {
            if let Err(leak) = made.close() {
                tracing::error!(%leak, "a pool was made in part");
            }
            return Err(error);
        }
        Ok(made)
    }

    fn build(&mut self, bytes: u64) -> Result<()> {
        let metadata = (bytes / METADATA_SHARE).max(METADATA_LEAST) / SECTOR * SECTOR;
        self.data = Some(self.ground.disk(&format!("{}-data", self.name), bytes)?);
        let name = format!("{}{METADATA}", self.name);
        self.metadata = Some(self.ground.disk(&name, metadata)?);
        self.ground.run.record(&Intent::Mapper {
            name: self.name.clone(),
        })?;
        self.activate()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn disks(&self) -> impl Iterator<Item = &Disk> {
        self.data.iter().chain(&self.metadata)
    }

    /// The table that says what the pool is.
    fn table(&self) -> String {
        let path = |disk: &Option<Disk>| {
            let device = disk.as_ref().map(|disk| disk.device.path());
            device.map_or_else(String::new, |path| path.display().to_string())
        };
        let blocks = self.data.as_ref().map_or(0, |disk| disk.bytes) / SECTOR / BLOCK;
        format!(
            "0 {} thin-pool {} {} {BLOCK} {} 1 error_if_no_space",
            blocks * BLOCK,
            path(&self.metadata),
            path(&self.data),
            blocks / LOW_WATER
        )
    }

    /// Tells the kernel of the pool; once more has no effect.
    pub(crate) fn activate(&self) -> Result<()> {
        if devices()?.contains(&self.name) {
            return Ok(());
        }
        create(&self.name, &self.table())
    }

    /// Has the kernel forget the pool and what is active on it; on its devices it stays.
    pub(crate) fn deactivate(&self) -> Result<()> {
        Ok(remove_all(&self.name)?)
    }

    /// Makes it empty, as if it were new.
    pub(crate) fn renew(&self) -> Result<()> {
        self.deactivate()?;
        for disk in self.disks() {
            let image = OpenOptions::new().write(true).open(&disk.image);
            let flags = if self.ground.preallocate {
                FallocateFlags::ZERO_RANGE
            } else {
                FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE
            };
            fallocate(&io("open", &disk.image, image)?, flags, 0, disk.bytes)?;
            // The device has pages of its own of what was there.
            let device = std::fs::File::open(disk.device.path());
            page_cache::evict(&io("open", disk.device.path(), device)?)?;
        }
        self.activate()
    }

    /// Makes the one thin device that the testbed itself has in a pool, or activates the one there is, and returns its
    /// node. The size is in bytes.
    pub(crate) fn thin(&self, bytes: u64, new: bool) -> Result<PathBuf> {
        let name = format!("{}-0", self.name);
        if new {
            message(&self.name, "create_thin 0")?;
        }
        if !devices()?.contains(&name) {
            let table = format!("0 {} thin {} 0", bytes / SECTOR, number(&self.name)?);
            create(&name, &table)?;
        }
        node(&name)
    }

    /// The bytes in use, and those for metadata.
    pub(crate) fn used(&self) -> Result<(u64, u64)> {
        let line = Cmd::new(PROGRAM).args(["status", &self.name]).read()?;
        let used = |word: usize| {
            let word = line.split_ascii_whitespace().nth(word)?;
            word.split_once('/')?.0.parse::<u64>().ok()
        };
        let (Some(metadata), Some(data)) = (used(4), used(5)) else {
            return Err(cowlab_sys::Error::parse("the status of a thin pool", line).into());
        };
        Ok((data * BLOCK * SECTOR, metadata << 12))
    }

    /// The bytes that were ever written to the device for data (Documentation/block/stat.rst, "write sectors").
    pub(crate) fn written(&self) -> Result<u64> {
        // A status has the pool write what it has to write, and wait for it.
        self.used()?;
        let Some(disk) = &self.data else {
            return Ok(0);
        };
        let name = disk.device.path().file_name().unwrap_or_default();
        let path = Path::new("/sys/class/block").join(name).join("stat");
        let text = io("read", &path, std::fs::read_to_string(&path))?;
        let sectors = text.split_ascii_whitespace().nth(6);
        let sectors: Option<u64> = sectors.and_then(|word| word.parse().ok());
        let sectors = sectors.ok_or_else(|| cowlab_sys::Error::parse("stat", text.clone()))?;
        Ok(sectors * SECTOR)
    }

    /// Makes its devices larger; the pool is not told.
    pub(crate) fn grow(&mut self, data: u64, metadata: u64) -> Result<()> {
        for (disk, more) in [(&mut self.data, data), (&mut self.metadata, metadata)] {
            let Some(disk) = disk else { continue };
            disk.bytes += more;
            let image = OpenOptions::new().write(true).open(&disk.image);
            let image = io("open", &disk.image, image)?;
            io("ftruncate", &disk.image, image.set_len(disk.bytes))?;
            disk.device.resize()?;
        }
        Ok(())
    }

    /// Tells whether it has this many bytes for data.
    pub(crate) fn holds(&self, bytes: u64) -> bool {
        self.data.as_ref().is_some_and(|disk| disk.bytes == bytes)
    }

    /// The images, for a cache to be emptied of them.
    pub(crate) fn images(&self) -> impl Iterator<Item = &Path> {
        self.disks().map(|disk| disk.image.as_path())
    }

    /// Writes every block of its devices.
    pub(crate) fn preallocate(&mut self) -> Result<()> {
        self.deactivate()?;
        for disk in [&mut self.data, &mut self.metadata].into_iter().flatten() {
            // Two ways into one file would not see each other's pages: the device goes first.
            disk.device.close()?;
            mkfs::write_holes(&disk.image)?;
            disk.device = self.ground.attach(&disk.image)?;
        }
        self.activate()
    }

    /// Leaves it to the run.
    pub(crate) fn keep(mut self) {
        self.is_open = false;
        for disk in [self.data.take(), self.metadata.take()]
            .into_iter()
            .flatten()
        {
            disk.device.keep();
        }
    }
}

impl std::fmt::Display for ThinPool {
    /// Writes what the pool is, for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("thin pool on loop devices (for tests only), blocks of 64 KiB")
    }
}

impl Ground {
    /// Makes an empty pool of that name with this many bytes for data.
    pub(crate) fn pool(&self, name: String, bytes: u64) -> Result<ThinPool> {
        ThinPool::make(self, name, bytes)
    }

    fn disk(&self, name: &str, bytes: u64) -> Result<Disk> {
        let name = format!("{name}.img");
        let image = self.directory.join(&name);
        if self.on.is_none() {
            self.run.reserve(&image, self.media, bytes)?;
        }
        let on = self.on.clone();
        self.run.record(&Intent::Image { name, on, bytes })?;
        mkfs::make_image(&image, bytes)?;
        Ok(Disk {
            device: self.attach(&image)?,
            image,
            bytes,
        })
    }

    fn attach(&self, image: &Path) -> Result<LoopDevice> {
        let name = image.file_name().unwrap_or_default();
        self.run.record(&Intent::Loop {
            image: name.to_string_lossy().into_owned(),
        })?;
        let options = LoopOptions {
            read_only: false,
            direct_io: true,
            sector_size: self.sector_size,
        };
        Ok(LoopDevice::attach(image, options)?)
    }
}

impl Guard for ThinPool {
    fn describe(&self) -> String {
        describe(&self.name)
    }

    fn close(&mut self) -> Result<(), Leak> {
        if !self.is_open {
            return Ok(());
        }
        let leak = |source| Leak {
            what: describe(&self.name),
            source,
        };
        remove_all(&self.name).map_err(leak)?;
        for disk in [&mut self.data, &mut self.metadata].into_iter().flatten() {
            disk.device.close()?;
            dir::remove_tree(&disk.image).map_err(leak)?;
        }
        self.is_open = false;
        Ok(())
    }
}

impl Drop for ThinPool {
    fn drop(&mut self) {
        if let Err(leak) = self.close() {
            tracing::error!(%leak, "a thin pool is left for the run to take down");
        }
    }
}

/// Names a device in words.
pub(crate) fn describe(name: &str) -> String {
    format!("the device-mapper device `{name}`")
}

/// Makes a device that udev neither scans nor activates anything on. Without udev the program makes the node.
fn create(name: &str, table: &str) -> Result<()> {
    let made = Cmd::new(PROGRAM)
        .args(["create", name, "--noudevrules", "--table", table])
        .run();
    made.map_err(|error| match &error {
        cowlab_sys::Error::MissingProgram { program, package } => Error::Missing {
            what: format!("the program `{program}`"),
            remedy: format!("install the Debian package `{package}`"),
        },
        cowlab_sys::Error::Command { stderr, .. } if is_missing(stderr) => Error::Missing {
            what: "device-mapper with thin provisioning in this kernel".to_owned(),
            remedy: "`modprobe dm-thin-pool`, or boot a kernel that has it".to_owned(),
        },
        _ => error.into(),
    })
}

fn is_missing(stderr: &str) -> bool {
    stderr.contains("/dev/mapper/control")
        || stderr.contains("device-mapper driver")
        || stderr.contains("target type")
}

fn message(name: &str, text: &str) -> cowlab_sys::Result<()> {
    Cmd::new(PROGRAM).args(["message", name, "0", text]).run()
}

/// Removes the device of this name and those on it, whose names begin with it.
pub(crate) fn remove_all(name: &str) -> cowlab_sys::Result<()> {
    let above = format!("{name}-");
    let mut own = devices()?;
    own.retain(|device| device == name || device.starts_with(&above));
    // What lies on the pool goes first.
    own.sort_by_key(|device| device == name);
    for device in own {
        Cmd::new(PROGRAM)
            .args(["remove", "--retry", &device])
            .run()?;
    }
    Ok(())
}

/// Returns the names of all device-mapper devices. Without device-mapper there is none, and nothing is loaded to find out.
pub(crate) fn devices() -> cowlab_sys::Result<Vec<String>> {
    Ok(blocks()?.into_iter().map(|(_, name)| name).collect())
}

/// Returns all device-mapper devices: the kernel's name and their own.
fn blocks() -> cowlab_sys::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in dir::read_dir("/sys/block")? {
        let block = entry.name.to_string_lossy().into_owned();
        let path = format!("/sys/block/{block}/dm/name");
        if block.starts_with("dm-")
            && let Ok(name) = std::fs::read_to_string(path)
        {
            found.push((block, name.trim_end().to_owned()));
        }
    }
    Ok(found)
}

fn block(name: &str) -> cowlab_sys::Result<String> {
    let found = blocks()?.into_iter().find(|(_, own)| own == name);
    found
        .map(|(block, _)| block)
        .ok_or_else(|| cowlab_sys::Error::parse("the devices of device-mapper", name))
}

fn number(name: &str) -> cowlab_sys::Result<String> {
    let path = format!("/sys/block/{}/dev", block(name)?);
    let text = io("read", &path, std::fs::read_to_string(&path))?;
    Ok(text.trim_end().to_owned())
}

/// The node that the kernel names the device by.
fn node(name: &str) -> Result<PathBuf> {
    Ok(Path::new("/dev").join(block(name)?))
}
