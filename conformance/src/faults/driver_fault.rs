//! What the faults do to the directory of a layer that is being frozen.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cowlab_driver::{Result, tree};
use cowlab_sys::at::{self, OFlags, RenameFlags};
use cowlab_sys::stat::{FileKind, Stat, Time};
use cowlab_sys::{dir, io, reflink, stat, xattr};

/// Files are cut after so many bytes.
const CUT: u64 = 64 << 10;
/// Names of more bytes are dropped.
const LONG: usize = 100;
/// What a file is called while it is split from its link group.
const SPLIT: &str = ".split";

/// What a faulty driver does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DriverFault {
    /// Layers in the wrong order.
    SwapLowers,
    /// Whiteouts removed.
    DropWhiteouts,
    /// User attributes removed.
    LoseXattrs,
    /// Modification times set to zero.
    ZeroTimes,
    /// Link groups split.
    SplitLinks,
    /// Setuid, setgid and sticky bits cleared.
    LoseSetuid,
    /// Files cut.
    CutFiles,
    /// Entries with long names removed.
    DropLongNames,
}

impl DriverFault {
    /// Does it to everything below a directory.
    pub(crate) fn do_to(self, top: &Path) -> Result<()> {
        if self == Self::SwapLowers {
            return Ok(());
        }
        self.walk(&dir::open(top)?)
    }

    /// Children come before their directory. Its time is put back: a changed one would give away faults of any kind.
    fn walk(self, dir: &OwnedFd) -> Result<()> {
        let before = stat::fstat(dir)?;
        for entry in dir::read_dir_fd(dir)? {
            let stat = at::stat(dir, &entry.name)?;
            if stat.kind() == FileKind::Directory {
                self.walk(&at::open_dir(dir, &entry.name)?)?;
            }
            self.harm_entry(dir, &entry.name, &stat)?;
        }
        Ok(at::set_times(dir, "", before.atime, before.mtime)?)
    }

    fn harm_entry(self, dir: &OwnedFd, name: &OsStr, stat: &Stat) -> Result<()> {
        let is_file = stat.kind() == FileKind::Regular;
        match self {
            Self::DropWhiteouts if stat.is_whiteout() => at::unlink(dir, name)?,
            Self::LoseXattrs => lose_xattrs(&at::open_path(dir, name)?)?,
            Self::ZeroTimes => at::set_times(dir, name, stat.atime, Time::default())?,
            Self::SplitLinks if is_file && stat.nlink > 1 => split(dir, name, stat)?,
            Self::LoseSetuid if stat.permissions() > 0o777 && stat.kind() != FileKind::Symlink => {
                at::chmod(dir, name, stat.permissions() & 0o777)?;
            }
            Self::CutFiles if is_file && stat.size > CUT => {
                let file = File::from(at::open(dir, name, OFlags::WRONLY, 0)?);
                io("ftruncate", name, file.set_len(CUT))?;
                at::set_times(dir, name, stat.atime, stat.mtime)?;
            }
            Self::DropLongNames if name.as_bytes().len() > LONG => {
                dir::remove_tree(at::descriptor_path(dir).join(name))?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn lose_xattrs(entry: &OwnedFd) -> Result<()> {
    for (name, _) in xattr::read_all_fd(entry)? {
        if name.as_bytes().starts_with(b"user.") {
            xattr::remove_fd(entry, name)?;
        }
    }
    Ok(())
}

/// Puts a copy in the place of one name of a file.
fn split(dir: &OwnedFd, name: &OsStr, stat: &Stat) -> Result<()> {
    let original = at::open_path(dir, name)?;
    let source = File::from(at::open(dir, name, OFlags::RDONLY, 0)?);
    let copy = at::create(dir, SPLIT, 0o600)?;
    reflink::copy_file(&source, &copy)?;
    tree::copy_attributes(original, stat, dir, Path::new(SPLIT), |_| true)?;
    Ok(at::rename(dir, SPLIT, dir, name, RenameFlags::empty())?)
}
