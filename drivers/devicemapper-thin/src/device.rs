//! Block devices by their numbers: where their nodes are, how large they are, and reading them past the page cache.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use cowlab_driver::Result;
use cowlab_sys::at::{self, OFlags};
use cowlab_sys::{Cmd, Error, dir, io};

use crate::metadata::{BLOCK, Blocks};
use crate::missing::require_program;

/// The major number of loop devices (Documentation/admin-guide/devices.txt).
const LOOP_MAJOR: &str = "7:";

/// Whether `major:minor` is a loop device.
pub(crate) fn is_loop(number: &str) -> bool {
    number.starts_with(LOOP_MAJOR)
}

/// The size of the device `major:minor`, in sectors.
pub(crate) fn sectors(number: &str) -> Result<u64> {
    let path = format!("/sys/dev/block/{number}/size");
    let text = io("read", &path, fs::read_to_string(&path))?;
    let size = text.trim().parse().ok();
    Ok(size.ok_or_else(|| Error::parse("the size of a block device", text))?)
}

/// The node of the device `major:minor`.
pub(crate) fn node(number: &str) -> Result<PathBuf> {
    let path = format!("/sys/dev/block/{number}/uevent");
    let text = io("read", &path, fs::read_to_string(&path))?;
    let name = text.lines().find_map(|line| line.strip_prefix("DEVNAME="));
    let name = name.ok_or_else(|| Error::parse("the name of a block device", text.clone()))?;
    Ok(Path::new("/dev").join(name))
}

/// What blkid(8) knows of the content of a block device; `None` where that is nothing.
pub(crate) fn content(node: &Path) -> Result<Option<String>> {
    require_program("blkid")?;
    let output = Cmd::new("blkid")
        .args(["-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "value"])
        .arg(node)
        .output()?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status {
        // blkid(8), EXIT STATUS: found, nothing found, more than one thing found.
        Some(0) => {
            let words: Vec<_> = words.split_whitespace().collect();
            Ok(Some(format!("`{}`", words.join("`, `"))))
        }
        Some(2) => Ok(None),
        Some(8) => Ok(Some("more than one kind of content".to_owned())),
        _ => Err(Error::parse("what blkid says of a device", node.display().to_string()).into()),
    }
}

/// A metadata device, open for reading what is on the disk.
#[derive(Debug)]
pub(crate) struct Direct {
    file: File,
    path: PathBuf,
}

impl Direct {
    /// Opens the device `major:minor`. The kernel writes metadata past the page cache, so it is read past it as well.
    pub(crate) fn open(number: &str) -> Result<Self> {
        let path = node(number)?;
        let name = path.strip_prefix("/dev").unwrap_or(&path);
        let file = at::open(dir::open("/dev")?, name, OFlags::RDONLY | OFlags::DIRECT, 0)?;
        Ok(Self {
            file: file.into(),
            path,
        })
    }
}

impl Blocks for Direct {
    fn block(&self, number: u64) -> cowlab_sys::Result<Vec<u8>> {
        // Direct reads want memory that begins on a block's border (open(2), O_DIRECT).
        let mut room = vec![0; 2 * BLOCK];
        let start = room.as_ptr().align_offset(BLOCK).min(BLOCK);
        let block = &mut room[start..start + BLOCK];
        let offset = number.saturating_mul(BLOCK as u64);
        io("read", &self.path, self.file.read_exact_at(block, offset))?;
        Ok(block.to_vec())
    }
}
