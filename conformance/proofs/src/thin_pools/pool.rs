//! A pool from outside, as its administrator has it: dmsetup, losetup and the files behind the devices.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cowlab_driver::Settings;
use cowlab_sys::{Cmd, page_cache};
use cowlab_testbed::BackingFs;

/// Of a data device, what is compared, in bytes.
const COMPARED: u64 = 1 << 20;
const PROGRAM: &str = "dmsetup";

/// A pool that the testbed made.
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) settings: Settings,
    pub(super) metadata: PathBuf,
    pub(super) data: PathBuf,
}

impl Pool {
    pub(super) fn fresh(made: &BackingFs) -> anyhow::Result<Self> {
        let settings = made.places().fresh()?;
        let name = settings.get("pool").cloned();
        let name = name.context("the testbed names no pool")?;
        let table = Cmd::new(PROGRAM).args(["table", &name]).read()?;
        let mut words = table.split_ascii_whitespace().skip(3);
        let mut device = || device_of(words.next().context("a table without devices")?);
        Ok(Self {
            metadata: device()?,
            data: device()?,
            name,
            settings,
        })
    }

    /// What must stay as it is when the pool is not ours: the metadata, and the beginning of the data.
    pub(super) fn content(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = fs::read(image_of(&self.metadata)?)?;
        File::open(image_of(&self.data)?)?
            .take(COMPARED)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn message(&self, text: &str) -> anyhow::Result<()> {
        dmsetup(["message", &self.name, "0", text])
    }

    pub(super) fn status(&self) -> anyhow::Result<String> {
        Ok(Cmd::new(PROGRAM).args(["status", &self.name]).read()?)
    }

    pub(super) fn table(&self) -> anyhow::Result<String> {
        Ok(Cmd::new(PROGRAM).args(["table", &self.name]).read()?)
    }

    pub(super) fn deactivate(&self) -> anyhow::Result<()> {
        dmsetup(["remove", &self.name])
    }

    pub(super) fn activate(&self, table: &str) -> anyhow::Result<()> {
        dmsetup(["create", &self.name, "--noudevrules", "--table", table])
    }

    /// Makes the pool anew, with as many bytes for metadata and for data, and these features.
    pub(super) fn renew(&self, metadata: u64, data: u64, features: &str) -> anyhow::Result<()> {
        self.deactivate()?;
        for (device, bytes) in [(&self.metadata, metadata), (&self.data, data)] {
            File::create(image_of(device)?)?;
            resize(device, bytes)?;
            page_cache::evict(&File::open(device)?)?;
        }
        self.activate(&format!(
            "0 {} thin-pool {} {} 128 0 {features}",
            data / 512,
            self.metadata.display(),
            self.data.display()
        ))
    }

    /// The kernel's name of the pool's node.
    pub(super) fn node(&self) -> anyhow::Result<PathBuf> {
        let number = Cmd::new(PROGRAM)
            .args(["info", "-c", "--noheadings", "--separator", ":", "-o"])
            .args(["major,minor", &self.name])
            .read()?;
        device_of(number.trim())
    }
}

pub(super) fn dmsetup<'a>(arguments: impl IntoIterator<Item = &'a str>) -> anyhow::Result<()> {
    Ok(Cmd::new(PROGRAM).args(arguments).run()?)
}

/// Gives a device another size, as a larger disk or volume would have.
pub(super) fn resize(device: &Path, bytes: u64) -> anyhow::Result<()> {
    let image = image_of(device)?;
    File::options().write(true).open(image)?.set_len(bytes)?;
    Ok(Cmd::new("losetup").arg("-c").arg(device).run()?)
}

fn device_of(number: &str) -> anyhow::Result<PathBuf> {
    let link = fs::canonicalize(Path::new("/sys/dev/block").join(number))?;
    Ok(Path::new("/dev").join(link.file_name().context("a device without a name")?))
}

/// The file behind a loop device.
fn image_of(device: &Path) -> anyhow::Result<PathBuf> {
    let name = device.file_name().context("a device without a name")?;
    let path = Path::new("/sys/block").join(name).join("loop/backing_file");
    Ok(PathBuf::from(fs::read_to_string(path)?.trim_end()))
}
