//! Finds out, by doing it on the backing file system, whether what a case needs is there.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use cowlab_sys::at::{self, OFlags, RenameFlags};
use cowlab_sys::cmd::Cmd;
use cowlab_sys::file::{self, FallocateFlags, IFlags};
use cowlab_sys::mount::DetachedMount;
use cowlab_sys::project::{self, Project};
use cowlab_sys::stat::{self, FileKind, Time};
use cowlab_sys::{
    Error, MountAttributes, Result, dir, fiemap, id_map, io, process, reflink, xattr,
};
use cowlab_testbed::{Backing, Extra};

use crate::case::Need;
use crate::errno::Code;
use crate::product::debian;

/// Tells whether a file system lacks something by its nature.
type Lacks = fn(Need) -> bool;

/// What is known to be missing, by the nature of the file system: such a skip is no gap of the host, and
/// passes in strict mode.
///
/// Sources: mkfs.xfs(8), `reflink`; ext4(5); XFS_SYMLINK_MAXLEN; tmpfs(5).
const LACKS: &[(Backing, Lacks)] = &[
    (Backing::Ext4, ext4_lacks),
    (Backing::ThinExt4, ext4_lacks),
    (Backing::Xfs, xfs_lacks),
    (Backing::ThinXfs, xfs_lacks),
    (Backing::XfsNoReflink, |need| {
        need == Need::Reflink || xfs_lacks(need)
    }),
    (Backing::Btrfs, |need| match need {
        // One leaf of 16 KiB for the item, its header and its name.
        Need::XattrSize(size) => size > 16_000,
        _ => false,
    }),
    (Backing::Zfs, |need| need == Need::Verity),
    (Backing::Tmpfs, |need| match need {
        Need::Reflink | Need::SizeLimit | Need::Verity => true,
        Need::SymlinkTarget(size) => size > 4095,
        _ => false,
    }),
];

fn ext4_lacks(need: Need) -> bool {
    match need {
        Need::Reflink => true,
        // One block of 4096 bytes for all attributes of a file (without the ea_inode feature).
        Need::XattrSize(size) => size > 3900,
        Need::FileSize(size) => size > 16 << 40,
        _ => false,
    }
}

fn xfs_lacks(need: Need) -> bool {
    match need {
        Need::SymlinkTarget(size) => size > 1023,
        need => need == Need::Verity,
    }
}

/// A requirement of a case that is not met here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MissingRequirement {
    /// The need, and what refused it.
    pub(crate) reason: String,
    /// Why strict mode lets it pass, if it does.
    pub(crate) skip_reason: Option<SkipReason>,
}

/// Why something that is missing is no gap in the host's set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SkipReason {
    /// The file system has not got it, whatever the host.
    FileSystem,
    /// The host's kernel has not got it: the guest's has.
    Kernel,
    /// An external checker, or what rootless users need, is not installed.
    NotInstalled,
}

/// Tries a need in an empty directory on the backing file system, and leaves the directory empty.
#[must_use]
pub(crate) fn missing(need: Need, backing: Backing, place: &Path) -> Option<MissingRequirement> {
    let tried = try_need(need, backing, place);
    let emptied = empty(place);
    let error = Code::from(tried.and(emptied).err()?);
    Some(refused(need, backing, error))
}

/// The missing requirement where a need was refused with this error.
#[must_use]
pub(crate) fn refused(need: Need, backing: Backing, error: Code) -> MissingRequirement {
    let by_nature = LACKS
        .iter()
        .any(|(kind, lacks)| *kind == backing && lacks(need));
    if need == Need::OrdinaryUsers {
        return MissingRequirement {
            reason: format!("needs {need}; here: {error}"),
            skip_reason: Some(SkipReason::NotInstalled),
        };
    }
    if let Need::Program(_) | Need::DebianRoot = need {
        return MissingRequirement {
            reason: format!(
                "needs {need}: `cargo xtask setup --yes --judges` installs what it can"
            ),
            skip_reason: Some(SkipReason::NotInstalled),
        };
    }
    let kernel = matches!(need, Need::SizeLimit | Need::Verity | Need::IdMappedMount);
    let skip_reason = match (by_nature, kernel) {
        (true, _) => Some(SkipReason::FileSystem),
        (false, true) => Some(SkipReason::Kernel),
        (false, false) => None,
    };
    let reason = match skip_reason {
        Some(SkipReason::FileSystem) => format!("{backing} has not got {need}"),
        Some(SkipReason::Kernel | SkipReason::NotInstalled) | None => {
            format!("needs {need}; here: {error}")
        }
    };
    MissingRequirement {
        reason,
        skip_reason,
    }
}

/// What a file system has to be made with for a need.
#[must_use]
pub(crate) fn extra(need: Need, backing: Backing) -> Option<Extra> {
    match (need, backing) {
        (Need::SizeLimit, Backing::Zfs | Backing::Tmpfs) => None,
        (Need::SizeLimit, _) => Some(Extra::SizeLimits),
        (Need::Verity, Backing::Ext4 | Backing::ThinExt4) => Some(Extra::Verity),
        (Need::DebianRoot, _) => Some(Extra::Room),
        _ => None,
    }
}

fn empty(place: &Path) -> Result<()> {
    for entry in dir::read_dir(place)? {
        dir::remove_tree(place.join(entry.name))?;
    }
    Ok(())
}

fn try_need(need: Need, backing: Backing, place: &Path) -> Result<()> {
    let path = place.join("probe");
    let make = |name: &str| {
        let path = place.join(name);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        io("open", &path, options.open(&path))
    };
    match need {
        Need::XattrSize(size) => {
            make("probe")?;
            xattr::set(&path, "user.probe", &vec![7; size])
        }
        Need::SymlinkTarget(size) => at::symlink("t".repeat(size), dir::open(place)?, "probe"),
        Need::Reflink => {
            let source = make("probe")?;
            io("write", &path, fs::write(&path, [1; 4096]))?;
            reflink::clone_file(&source, &make("clone")?)
        }
        Need::Acl => {
            make("probe")?;
            xattr::set(&path, "system.posix_acl_access", MINIMAL_ACL)
        }
        Need::Holes => has_holes(&make("probe")?),
        Need::PunchHole => {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            file::fallocate(&make("probe")?, flags, 0, 4096)
        }
        Need::InodeFlags => takes_inode_flags(&make("probe")?),
        Need::TmpFile => {
            let flags = OFlags::TMPFILE | OFlags::RDWR;
            at::open(dir::open(place)?, ".", flags, 0o600).map(drop)
        }
        Need::DirectIo => {
            make("probe")?;
            at::open(dir::open(place)?, "probe", OFlags::RDWR | OFlags::DIRECT, 0).map(drop)
        }
        Need::FileHandles => file::has_handle(make("probe")?),
        Need::RenameExchange => rename(place, RenameFlags::EXCHANGE),
        Need::RenameWhiteout => rename(place, RenameFlags::WHITEOUT),
        Need::TimesBefore1970 => keeps_time(place, -86_400),
        Need::TimesAfter2038 => keeps_time(place, 4_000_000_000),
        Need::FreeSpace(size) => {
            let available = stat::statfs(place)?.available_bytes();
            enough(available >= size, "statfs", place)
        }
        Need::FileSize(size) => io("ftruncate", &path, make("probe")?.set_len(size)),
        // btrfs took quotas when it was made, and ZFS always does.
        Need::SizeLimit if matches!(backing, Backing::Btrfs | Backing::Zfs) => Ok(()),
        Need::SizeLimit => limits_projects(place),
        Need::Verity => protects(&path),
        Need::Program(name) => enough(Cmd::find(name).is_some(), "execve", Path::new(name)),
        Need::DebianRoot => enough(debian::tar().is_ok(), "mmdebstrap", place),
        Need::OrdinaryUsers => ordinary_users(),
        Need::IdMappedMount => {
            let mount = DetachedMount::bind(place, MountAttributes::default())?;
            id_map::shift(&mount, 100_000)
        }
    }
}

fn takes_inode_flags(file: &File) -> Result<()> {
    file::set_inode_flags(file, IFlags::IMMUTABLE)?;
    file::set_inode_flags(file, IFlags::empty())
}

fn protects(path: &Path) -> Result<()> {
    io("write", path, fs::write(path, [7; 5000]))?;
    file::enable_verity(io("open", path, File::open(path))?)
}

/// An access control list as the kernel keeps it (linux/posix_acl_xattr.h): version 2, then owner rw, user 1 r,
/// group r, mask r, others nothing; tag, permissions, id.
const MINIMAL_ACL: &[u8] = &[
    2, 0, 0, 0, //
    1, 0, 6, 0, 255, 255, 255, 255, //
    2, 0, 4, 0, 1, 0, 0, 0, //
    4, 0, 4, 0, 255, 255, 255, 255, //
    16, 0, 4, 0, 255, 255, 255, 255, //
    32, 0, 0, 0, 255, 255, 255, 255, //
];

/// Puts a directory into a project, limits that, and has somebody without privileges write too much.
fn limits_projects(place: &Path) -> Result<()> {
    const OWN: Project = Project {
        id: 4242,
        inherited: true,
    };
    // xfs wants room for a chunk of inodes before it makes one.
    let (path, limit) = (place.join("limited"), 4 << 20);
    io("mkdir", &path, fs::create_dir(&path))?;
    let dir = dir::open(&path)?;
    OWN.assign(&dir)?;
    project::limit(&dir, OWN.id, Some(limit))?;
    let file = path.join("f");
    let mut opened = io("open", &file, File::create(&file))?;
    let too_much = vec![7; 8 << 20];
    let written = process::as_user(1, || opened.write_all(&too_much))?;
    project::limit(&dir, OWN.id, None)?;
    enough(written.is_err(), "write", &file)
}

fn has_holes(file: &File) -> Result<()> {
    io("ftruncate", "", file.set_len(1 << 20))?;
    enough(
        fiemap::data_segments(file)?.is_empty(),
        "lseek",
        Path::new("probe"),
    )
}

fn rename(place: &Path, flags: RenameFlags) -> Result<()> {
    let dir = dir::open(place)?;
    at::mknod(&dir, "a", FileKind::Regular, 0o600, 0)?;
    if flags == RenameFlags::EXCHANGE {
        at::mknod(&dir, "b", FileKind::Regular, 0o600, 0)?;
    }
    at::rename(&dir, "a", &dir, "b", flags)
}

fn keeps_time(place: &Path, sec: i64) -> Result<()> {
    let dir = dir::open(place)?;
    at::mknod(&dir, "probe", FileKind::Regular, 0o600, 0)?;
    let time = Time { sec, nsec: 5 };
    at::set_times(&dir, "probe", time, time)?;
    enough(
        at::stat(dir.as_fd(), "probe")?.mtime == time,
        "utimensat",
        place,
    )
}

fn ordinary_users() -> Result<()> {
    for program in ["newuidmap", "newgidmap", "setpriv"] {
        enough(Cmd::find(program).is_some(), "execve", Path::new(program))?;
    }
    for table in ["/etc/subuid", "/etc/subgid"] {
        io("stat", table, fs::metadata(table))?;
    }
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let command = Cmd::new("setpriv").args(nobody);
    let made = command.args(["unshare", "--user", "true"]).run();
    enough(made.is_ok(), "unshare", Path::new("/proc/self/ns/user"))
}

fn enough(holds: bool, call: &'static str, path: &Path) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::Sys {
        call,
        path: path.to_owned(),
        source: cowlab_sys::Errno::OPNOTSUPP,
    })
}
