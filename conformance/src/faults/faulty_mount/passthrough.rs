//! A file system that passes everything through to a directory, but for one fault.
//!
//! Every file is held by an `O_PATH` descriptor, so that renames and removals need no paths. The kernel keeps nothing
//! that it is told (all times are 0) and checks permissions itself.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cowlab_sys::{FileKind, Stat, at, dir, stat};
use cowlab_testbed::fuse;
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Gid, Mode, OFlags, RenameFlags, SeekFrom, Timespec, Timestamps,
    UTIME_NOW, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::mount_fault::MountFault;
use super::protocol::{self, Answer, Call, ROOT, Request};

/// What an open(2) of the kernel's has that the file below is opened with.
const OPEN_FLAGS: OFlags = OFlags::ACCMODE;
/// `fuse_setattr_in.valid`
const SET_MODE: u32 = 1;
const SET_UID: u32 = 1 << 1;
const SET_GID: u32 = 1 << 2;
const SET_SIZE: u32 = 1 << 3;
const SET_ATIME: u32 = 1 << 4;
const SET_MTIME: u32 = 1 << 5;
const SET_HANDLE: u32 = 1 << 6;
const SET_ATIME_NOW: u32 = 1 << 7;
const SET_MTIME_NOW: u32 = 1 << 8;
/// `FUSE_WRITE_CACHE`: a write of a mapped page.
const WRITE_CACHE: u32 = 1;
/// What a new file in a directory gets from it.
const DEFAULT_ACL: &str = "system.posix_acl_default";
/// How late a rename is that is acknowledged first.
const LATE: Duration = Duration::from_millis(2);
/// Entries in an answer to one readdir(3).
const LISTED_AT_ONCE: usize = 64;

/// A file that the kernel knows.
#[derive(Debug)]
struct Node {
    fd: OwnedFd,
    lookups: u64,
}

/// An open file or directory.
#[derive(Debug)]
enum Handle {
    File(File),
    Directory(Vec<Listed>),
}

/// An entry of a directory that is being read.
#[derive(Debug, Clone)]
struct Listed {
    inode: u64,
    kind: FileKind,
    name: OsString,
}

/// The file system.
#[derive(Debug)]
pub(super) struct Passthrough {
    fault: MountFault,
    nodes: HashMap<u64, Node>,
    numbers: HashMap<(u64, u64), u64>,
    next_node: u64,
    handles: HashMap<u64, Handle>,
    next_handle: u64,
}

fn sys<T>(result: cowlab_sys::Result<T>) -> Result<T, Errno> {
    result.map_err(|error| error.errno().unwrap_or(Errno::IO))
}

fn std_io<T>(result: std::io::Result<T>) -> Result<T, Errno> {
    result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl Passthrough {
    /// Shows the directory `root`.
    pub(super) fn new(root: OwnedFd, fault: MountFault) -> Result<Self, Errno> {
        let found = sys(stat::fstat(&root))?;
        let node = Node {
            fd: root,
            lookups: 1,
        };
        Ok(Self {
            fault,
            nodes: HashMap::from([(ROOT, node)]),
            numbers: HashMap::from([((found.dev, found.ino), ROOT)]),
            next_node: ROOT + 1,
            handles: HashMap::new(),
            next_handle: 1,
        })
    }

    /// Does what is asked; none where no answer is expected.
    pub(super) fn answer(&mut self, request: Request<'_>) -> Option<Answer> {
        match request.call() {
            Call::Forget => {
                self.forget(request.node(), request.u64(0));
                None
            }
            Call::ForgetBatch => {
                for index in 0..request.u32(0) as usize {
                    let at = 8 + index * 16;
                    self.forget(request.u64(at), request.u64(at + 8));
                }
                None
            }
            call => Some(self.call(call, request)),
        }
    }

    fn call(&mut self, call: Call, request: Request<'_>) -> Answer {
        match call {
            Call::Init => Ok(self.init()),
            Call::Lookup => self.lookup(request.node(), request.name(0)),
            Call::GetAttr => Ok(protocol::attributes(&self.attributes(request.node())?)),
            Call::SetAttr => self.set_attributes(request),
            Call::ReadLink => self.read_link(request.node()),
            Call::Symlink | Call::MkNod | Call::MkDir => self.make(call, request),
            Call::Create => self.create(request),
            Call::TmpFile => self.create_nameless(request),
            Call::Unlink => self.unlink(request.node(), request.name(0)),
            Call::RmDir => self.remove_directory(request.node(), request.name(0)),
            Call::Rename => self.rename(request, 8, RenameFlags::empty()),
            Call::Rename2 => {
                let flags = RenameFlags::from_bits_retain(request.u32(8));
                self.rename(request, 16, flags)
            }
            Call::Link => self.link(request),
            Call::Open => self.open(request.node(), request.u32(0)),
            Call::Read => self.read(request),
            Call::Write => self.write(request),
            Call::StatFs => self.stat_fs(),
            Call::Release | Call::ReleaseDir => {
                self.handles.remove(&request.u64(0));
                Ok(Vec::new())
            }
            Call::FSync => self.fsync(request),
            Call::OpenDir => self.open_directory(request.node()),
            Call::ReadDir => self.read_directory(request),
            Call::FSyncDir => Ok(Vec::new()),
            Call::Flush | Call::Destroy | Call::SetLock => Ok(Vec::new()),
            Call::FAllocate => self.fallocate(request),
            Call::Seek => self.seek(request),
            Call::CopyRange => self.copy_range(request),
            Call::SetXattr | Call::GetXattr | Call::ListXattr | Call::RemoveXattr => {
                self.xattr(call, request)
            }
            Call::Forget | Call::ForgetBatch | Call::Other => Err(Errno::NOSYS),
        }
    }

    fn init(&self) -> Vec<u8> {
        fuse::init(match self.fault {
            MountFault::LocksAreNotTaken => protocol::FLAGS | protocol::LOCKS,
            // With ACLs the kernel checks permissions, whatever the mount's options say.
            MountFault::PermissionsAreNotChecked => protocol::FLAGS & !protocol::ACL,
            _ => protocol::FLAGS,
        })
    }

    fn fd(&self, node: u64) -> Result<&OwnedFd, Errno> {
        self.nodes
            .get(&node)
            .map(|node| &node.fd)
            .ok_or(Errno::STALE)
    }

    /// A path to a file, whatever its name is by now.
    fn path(&self, node: u64) -> Result<PathBuf, Errno> {
        Ok(at::descriptor_path(self.fd(node)?))
    }

    fn file(&self, handle: u64) -> Result<&File, Errno> {
        match self.handles.get(&handle) {
            Some(Handle::File(file)) => Ok(file),
            _ => Err(Errno::BADF),
        }
    }

    fn keep(&mut self, handle: Handle) -> u64 {
        let number = self.next_handle;
        self.next_handle += 1;
        self.handles.insert(number, handle);
        number
    }

    fn forget(&mut self, number: u64, lookups: u64) {
        let Some(node) = self.nodes.get_mut(&number) else {
            return;
        };
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups == 0 && number != ROOT {
            self.nodes.remove(&number);
            self.numbers.retain(|_, known| *known != number);
        }
    }

    fn attributes(&self, node: u64) -> Result<Stat, Errno> {
        let found = sys(stat::fstat(self.fd(node)?))?;
        Ok(self.fault.about(found))
    }

    /// Has the kernel know a file: the answer to a lookup.
    fn know(&mut self, fd: OwnedFd) -> Answer {
        let found = sys(stat::fstat(&fd))?;
        let key = (found.dev, found.ino);
        let is_directory = found.kind() == FileKind::Directory;
        let known = self.numbers.get(&key).copied();
        let known =
            known.filter(|_| is_directory || self.fault != MountFault::EveryLookupIsAnotherFile);
        let number = if let Some(number) = known {
            if let Some(node) = self.nodes.get_mut(&number) {
                node.lookups += 1;
            }
            number
        } else {
            let number = self.next_node;
            self.next_node += 1;
            self.numbers.insert(key, number);
            self.nodes.insert(number, Node { fd, lookups: 1 });
            number
        };
        Ok(protocol::entry(number, &self.fault.about(found)))
    }

    fn lookup(&mut self, parent: u64, name: &OsStr) -> Answer {
        if self.fault.hides(name) {
            return Err(Errno::NOENT);
        }
        let name = self.fault.name_below(name);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.fd(parent)?, name, flags, Mode::empty())?;
        self.know(fd)
    }

    fn read_link(&self, node: u64) -> Answer {
        let mut target = rustix::fs::readlinkat(self.fd(node)?, "", Vec::new())?.into_bytes();
        if self.fault == MountFault::LongSymlinksAreCut {
            target.truncate(1023);
        }
        Ok(target)
    }
}

/// Names that are made, moved and removed.
impl Passthrough {
    /// The mode of a new file: the caller's umask counts where the directory has no default ACL (acl(5)).
    fn mode(&self, parent: u64, mode: u32, umask: u32) -> Result<Mode, Errno> {
        let has_default =
            rustix::fs::getxattr(self.path(parent)?, DEFAULT_ACL, &mut [0_u8; 0][..]).is_ok();
        let ignored = self.fault == MountFault::DefaultAclsAreIgnored;
        let mode = if has_default && !ignored {
            mode
        } else {
            mode & !umask
        };
        Ok(Mode::from_raw_mode(mode & 0o7777))
    }

    /// Gives a new file to who made it; to its directory's group where that says so (inode(7), S_ISGID).
    fn give(&self, parent: u64, name: &OsStr, caller: (u32, u32)) -> Result<(), Errno> {
        let (mut uid, mut gid) = caller;
        let above = self.fd(parent)?;
        let directory = sys(stat::fstat(above))?;
        if directory.mode & 0o2000 != 0
            && self.fault != MountFault::NewFilesIgnoreTheGroupOfTheDirectory
        {
            gid = directory.gid;
        }
        if self.fault == MountFault::NewFilesBelongToRoot {
            (uid, gid) = (0, 0);
        }
        let made = sys(at::stat(above, name))?;
        if (made.uid, made.gid) == (uid, gid) {
            return Ok(());
        }
        sys(at::chown(above, name, uid, gid))?;
        // chown(2) cleared what it takes for a privilege.
        if made.kind() == FileKind::Regular && made.mode & 0o6000 != 0 {
            sys(at::chmod(above, name, made.permissions()))?;
        }
        Ok(())
    }

    fn make(&mut self, call: Call, request: Request<'_>) -> Answer {
        let (parent, caller) = (request.node(), request.caller());
        let name = match call {
            Call::MkNod => {
                let (mode, device) = (request.u32(0), protocol::decode_device(request.u32(4)));
                let name = request.name(16);
                let mut kind = FileKind::from_mode(mode);
                if kind == FileKind::CharDevice
                    && device == 0
                    && self.fault == MountFault::NoDeviceZero
                {
                    return Err(Errno::PERM);
                }
                if kind == FileKind::Fifo && self.fault == MountFault::FifosAreFiles {
                    kind = FileKind::Regular;
                }
                let mode = self.mode(parent, mode, request.u32(8))?.as_raw_mode();
                sys(at::mknod(self.fd(parent)?, name, kind, mode, device))?;
                name
            }
            Call::MkDir => {
                let name = request.name(8);
                let mode = self.mode(parent, request.u32(0), request.u32(4))?;
                rustix::fs::mkdirat(self.fd(parent)?, name, mode)?;
                if self.fault == MountFault::ARemovedDirectoryComesBack {
                    self.fill_again(parent, name)?;
                }
                name
            }
            _ => {
                let (name, target) = request.names(0);
                rustix::fs::symlinkat(target, self.fd(parent)?, name)?;
                name
            }
        };
        self.give(parent, name, caller)?;
        self.lookup(parent, name)
    }

    /// Puts a file into a new directory: one that was removed, as a missing opaque mark would bring it back.
    fn fill_again(&self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        let directory = sys(at::open_dir(self.fd(parent)?, name))?;
        sys(at::create(&directory, "came-back", 0o644)).map(drop)
    }

    fn create(&mut self, request: Request<'_>) -> Answer {
        let (parent, name) = (request.node(), request.name(16));
        let mode = self.mode(parent, request.u32(4), request.u32(8))?;
        let flags = OFlags::from_bits_retain(request.u32(0)) & OPEN_FLAGS
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.fd(parent)?, name, flags, mode)?;
        self.give(parent, name, request.caller())?;
        let entry = self.lookup(parent, name)?;
        let handle = self.keep(Handle::File(File::from(file)));
        Ok([entry, protocol::opened(handle)].concat())
    }

    fn create_nameless(&mut self, request: Request<'_>) -> Answer {
        if self.fault == MountFault::NoNamelessFiles {
            return Err(Errno::OPNOTSUPP);
        }
        let parent = request.node();
        let mode = self.mode(parent, request.u32(4), request.u32(8))?;
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.fd(parent)?, ".", flags, mode)?;
        let (uid, gid) = request.caller();
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        let path = at::descriptor_path(&file);
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let entry = self.know(fd)?;
        let handle = self.keep(Handle::File(File::from(file)));
        Ok([entry, protocol::opened(handle)].concat())
    }

    fn unlink(&self, parent: u64, name: &OsStr) -> Answer {
        let directory = self.fd(parent)?;
        match self.fault {
            MountFault::RemovedFilesStay => return Ok(Vec::new()),
            MountFault::RemovalEmptiesTheFile => {
                let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                drop(rustix::fs::openat(directory, name, flags, Mode::empty()));
            }
            MountFault::RemovalOfALinkTakesAll => {
                let removed = sys(at::stat(directory, name))?;
                for other in sys(dir::read_dir_fd(directory))? {
                    let is_same = sys(at::stat(directory, &other.name))?.ino == removed.ino;
                    if is_same && other.name != name {
                        sys(at::unlink(directory, &other.name))?;
                    }
                }
            }
            _ => {}
        }
        sys(at::unlink(directory, name)).map(|()| Vec::new())
    }

    fn remove_directory(&self, parent: u64, name: &OsStr) -> Answer {
        let directory = self.fd(parent)?;
        match self.fault {
            MountFault::FullDirectoriesAreRemoved => {
                let inside = sys(at::open_dir(directory, name))?;
                for entry in sys(dir::read_dir_fd(&inside))? {
                    drop(at::unlink(&inside, &entry.name));
                }
            }
            MountFault::EmptiedDirectoriesStay => return Err(Errno::NOTEMPTY),
            _ => {}
        }
        sys(at::rmdir(directory, name)).map(|()| Vec::new())
    }

    fn rename(&self, request: Request<'_>, names: usize, flags: RenameFlags) -> Answer {
        let (old_dir, new_dir) = (self.fd(request.node())?, self.fd(request.u64(0))?);
        let (old, new) = request.names(names);
        let is_directory = sys(at::stat(old_dir, old))?.kind() == FileKind::Directory;
        let mut flags = flags;
        match self.fault {
            MountFault::ExchangeOnlyMoves => flags.remove(RenameFlags::EXCHANGE),
            MountFault::NoWhiteoutIsLeft => flags.remove(RenameFlags::WHITEOUT),
            MountFault::DirectoriesDoNotMove if is_directory => return Err(Errno::XDEV),
            MountFault::RenameRemovesTheTargetFirst if flags.is_empty() => {
                return rename_late(old_dir, old, new_dir, new);
            }
            MountFault::RenameCopies if !is_directory => {
                sys(at::link(old_dir, old, new_dir, new))?;
                return Ok(Vec::new());
            }
            MountFault::RenameSetsTheTime => {
                let now = stat::Time::now();
                sys(at::set_times(old_dir, old, now, now))?;
            }
            MountFault::RenameIntoTheDirectoryOfAnotherFails
                if request.node() != request.u64(0) =>
            {
                return Err(Errno::XDEV);
            }
            _ => {}
        }
        rustix::fs::renameat_with(old_dir, old, new_dir, new, flags)?;
        Ok(Vec::new())
    }

    fn link(&mut self, request: Request<'_>) -> Answer {
        let (parent, name) = (request.node(), request.name(8));
        let old = self.path(request.u64(0))?;
        let directory = self.fd(parent)?;
        if self.fault == MountFault::LinksAreCopies {
            let mut source = std_io(File::open(&old))?;
            let mut copy = sys(at::create(directory, name, 0o644))?;
            std_io(std::io::copy(&mut source, &mut copy))?;
        } else {
            let flags = AtFlags::SYMLINK_FOLLOW;
            rustix::fs::linkat(CWD, &old, directory, name, flags)?;
        }
        self.lookup(parent, name)
    }
}

/// Content and attributes.
impl Passthrough {
    fn open(&mut self, node: u64, flags: u32) -> Answer {
        let flags = OFlags::from_bits_retain(flags);
        if self.fault == MountFault::NoDirectIo && flags.contains(OFlags::DIRECT) {
            return Err(Errno::INVAL);
        }
        let path = self.path(node)?;
        let file = rustix::fs::open(path, flags & OPEN_FLAGS | OFlags::CLOEXEC, Mode::empty())?;
        let handle = self.keep(Handle::File(File::from(file)));
        Ok(protocol::opened(handle))
    }

    fn read(&self, request: Request<'_>) -> Answer {
        let file = self.file(request.u64(0))?;
        let (offset, wanted) = (request.u64(8), request.u32(16) as usize);
        let mut content = vec![0; wanted];
        let mut filled = 0;
        while filled < wanted {
            let at = offset + filled as u64;
            match std_io(file.read_at(&mut content[filled..], at))? {
                0 => break,
                count => filled += count,
            }
        }
        content.truncate(filled);
        if self.fault == MountFault::EndsOfLargeFilesAreLost && offset >= 64 << 10 {
            content.fill(0);
        }
        Ok(content)
    }

    fn write(&self, request: Request<'_>) -> Answer {
        let data = request.bytes(40);
        let is_of_mapping = request.u32(20) & WRITE_CACHE != 0;
        if !(is_of_mapping && self.fault == MountFault::MappedWritesAreLost) {
            let file = self.file(request.u64(0))?;
            std_io(file.write_all_at(data, request.u64(8)))?;
        }
        Ok(protocol::size(data.len()))
    }

    fn fsync(&self, request: Request<'_>) -> Answer {
        if self.fault == MountFault::NothingCanBeFlushed {
            return Err(Errno::INVAL);
        }
        let file = self.file(request.u64(0))?;
        let is_data_alone = request.u32(8) & 1 != 0;
        let done = if is_data_alone {
            if self.fault == MountFault::NoFlushOfDataAlone {
                return Err(Errno::INVAL);
            }
            file.sync_data()
        } else {
            file.sync_all()
        };
        std_io(done).map(|()| Vec::new())
    }

    fn fallocate(&self, request: Request<'_>) -> Answer {
        let flags = FallocateFlags::from_bits_retain(request.u32(24));
        if self.fault == MountFault::HolesAreNotPunched
            && flags.contains(FallocateFlags::PUNCH_HOLE)
        {
            return Ok(Vec::new());
        }
        let file = self.file(request.u64(0))?;
        rustix::fs::fallocate(file, flags, request.u64(8), request.u64(16))?;
        Ok(Vec::new())
    }

    fn seek(&self, request: Request<'_>) -> Answer {
        const SEEK_DATA: u32 = 3;
        let file = self.file(request.u64(0))?;
        let offset = request.u64(8);
        if self.fault == MountFault::HolesAreData {
            let size = sys(stat::fstat(file))?.size;
            let found = if request.u32(16) == SEEK_DATA {
                offset
            } else {
                size
            };
            return Ok(fuse::wide([found]));
        }
        let from = match request.u32(16) {
            SEEK_DATA => SeekFrom::Data(offset),
            _ => SeekFrom::Hole(offset),
        };
        Ok(fuse::wide([rustix::fs::seek(file, from)?]))
    }

    fn copy_range(&self, request: Request<'_>) -> Answer {
        let (source, target) = (self.file(request.u64(0))?, self.file(request.u64(24))?);
        let (mut from, mut to) = (request.u64(8), request.u64(32));
        let wanted = length(request.u64(40));
        if self.fault == MountFault::CopiedRangesAreZeros {
            let zeros = vec![0; wanted.min(1 << 20)];
            std_io(target.write_all_at(&zeros, to))?;
            return Ok(protocol::size(zeros.len()));
        }
        let copied =
            rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), wanted)?;
        Ok(protocol::size(copied))
    }

    fn stat_fs(&self) -> Answer {
        let mut found = sys(stat::statfs(self.path(ROOT)?))?;
        match self.fault {
            MountFault::NamesMayBeShort => found.name_max = 64,
            MountFault::NoSpaceIsFree => (found.free, found.avail) = (0, 0),
            _ => {}
        }
        Ok(protocol::file_system(&found))
    }

    fn set_attributes(&self, request: Request<'_>) -> Answer {
        let node = request.node();
        let asked = self.fault.sets(request.u32(0));
        let fd = self.fd(node)?;
        let before = sys(stat::fstat(fd))?;
        if asked & SET_SIZE != 0 {
            self.set_size(request, asked)?;
        }
        if asked & (SET_UID | SET_GID) != 0 {
            let uid = if asked & SET_UID != 0 {
                request.u32(76)
            } else {
                before.uid
            };
            let gid = if asked & SET_GID != 0 {
                request.u32(80)
            } else {
                before.gid
            };
            sys(at::chown(fd, "", uid, gid))?;
            // The kernel asks for the mode without the bits as well.
            if self.fault == MountFault::OwnerChangeKeepsSetuid
                && before.kind() != FileKind::Symlink
            {
                sys(at::chmod_descriptor(fd, before.permissions()))?;
                return Ok(protocol::attributes(&self.attributes(node)?));
            }
        }
        if asked & SET_MODE != 0 {
            sys(at::chmod_descriptor(fd, request.u32(68) & 0o7777))?;
            if self.fault == MountFault::ModeChangeSetsTheTime {
                let now = stat::Time::now();
                sys(at::set_times(fd, "", before.atime, now))?;
            }
        }
        self.set_times(request, asked)?;
        Ok(protocol::attributes(&self.attributes(node)?))
    }

    fn set_size(&self, request: Request<'_>, asked: u32) -> Result<(), Errno> {
        let size = request.u64(16);
        if self.fault == MountFault::FilesDoNotShrink {
            let now = sys(stat::fstat(self.fd(request.node())?))?.size;
            if size < now {
                return Ok(());
            }
        }
        if asked & SET_HANDLE != 0 {
            return std_io(self.file(request.u64(8))?.set_len(size));
        }
        let path = self.path(request.node())?;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        std_io(file.set_len(size))
    }

    fn set_times(&self, request: Request<'_>, asked: u32) -> Result<(), Errno> {
        let any = SET_ATIME | SET_MTIME | SET_ATIME_NOW | SET_MTIME_NOW;
        if asked & any == 0 {
            return Ok(());
        }
        let time = |given: u32, now: u32, seconds: usize, nanoseconds: usize| {
            let tv_nsec = match (asked & now != 0, asked & given != 0) {
                (true, _) => UTIME_NOW,
                (false, true) if self.fault == MountFault::TimesHaveSeconds => 0,
                (false, true) => request.u32(nanoseconds).into(),
                (false, false) => UTIME_OMIT,
            };
            let tv_sec = i64::from_ne_bytes(request.u64(seconds).to_ne_bytes());
            Timespec { tv_sec, tv_nsec }
        };
        let times = Timestamps {
            last_access: time(SET_ATIME, SET_ATIME_NOW, 32, 56),
            last_modification: time(SET_MTIME, SET_MTIME_NOW, 40, 60),
        };
        let fd = self.fd(request.node())?;
        rustix::fs::utimensat(fd, "", &times, AtFlags::EMPTY_PATH)
    }

    fn xattr(&self, call: Call, request: Request<'_>) -> Answer {
        let path = self.path(request.node())?;
        match call {
            Call::SetXattr => self.set_xattr(&path, request),
            Call::RemoveXattr => {
                if self.fault == MountFault::XattrsStay {
                    return Ok(Vec::new());
                }
                rustix::fs::removexattr(path, request.name(0))?;
                Ok(Vec::new())
            }
            Call::GetXattr => {
                let mut value = vec![0; 65_536];
                let size = rustix::fs::getxattr(path, request.name(8), &mut value[..])?;
                value.truncate(size);
                if self.fault == MountFault::XattrsAreCut {
                    value.truncate(255);
                }
                fitting(value, request.u32(0) as usize)
            }
            _ => {
                let mut names = vec![0; 65_536];
                let size = rustix::fs::listxattr(path, &mut names[..])?;
                names.truncate(size);
                let kept = names.split_inclusive(|byte| *byte == 0);
                let kept = kept.filter(|name| !self.fault.hides_xattr(name));
                fitting(kept.flatten().copied().collect(), request.u32(0) as usize)
            }
        }
    }

    fn set_xattr(&self, path: &Path, request: Request<'_>) -> Answer {
        let name = request.name(8);
        let value = request.bytes(8 + name.len() + 1);
        let value = value.get(..request.u32(0) as usize).ok_or(Errno::INVAL)?;
        let mut flags = XattrFlags::from_bits_retain(request.u32(4));
        if self.fault == MountFault::XattrFlagsAreIgnored {
            flags = XattrFlags::empty();
        }
        rustix::fs::setxattr(path, name, value, flags)?;
        Ok(Vec::new())
    }
}

/// Removes the target and has the file take its place when the kernel believes it done.
fn rename_late(old_dir: &OwnedFd, old: &OsStr, new_dir: &OwnedFd, new: &OsStr) -> Answer {
    drop(at::unlink(new_dir, new));
    let (from, to) = (std_io(old_dir.try_clone())?, std_io(new_dir.try_clone())?);
    let (old, new) = (old.to_owned(), new.to_owned());
    std::thread::spawn(move || {
        std::thread::sleep(LATE);
        at::rename(from, old, to, new, RenameFlags::empty())
    });
    Ok(Vec::new())
}

/// A value or a list of names for a caller with so much room; the size for one with none.
fn fitting(value: Vec<u8>, room: usize) -> Answer {
    match room {
        0 => Ok(protocol::size(value.len())),
        room if room < value.len() => Err(Errno::RANGE),
        _ => Ok(value),
    }
}

/// Directories.
impl Passthrough {
    fn open_directory(&mut self, node: u64) -> Answer {
        let listed = self.list(node)?;
        let handle = self.keep(Handle::Directory(listed));
        Ok(protocol::opened(handle))
    }

    fn list(&self, node: u64) -> Result<Vec<Listed>, Errno> {
        let fd = self.fd(node)?;
        let own = sys(stat::fstat(fd))?;
        let above = match node {
            ROOT => own,
            _ => sys(at::stat(fd, ".."))?,
        };
        let dots = [(own.ino, "."), (above.ino, "..")];
        let dots = dots.map(|(inode, name)| Listed {
            inode,
            kind: FileKind::Directory,
            name: name.into(),
        });
        let entries = sys(dir::read_dir_fd(fd))?.into_iter().map(|entry| Listed {
            inode: entry.inode,
            kind: entry.kind,
            name: entry.name,
        });
        let all = dots.into_iter().chain(entries);
        Ok(self.fault.listing(all.collect()))
    }

    fn read_directory(&mut self, request: Request<'_>) -> Answer {
        let (handle, offset) = (request.u64(0), length(request.u64(8)));
        let fresh = match offset {
            0 if self.fault != MountFault::RewindShowsTheOldListing => {
                Some(self.list(request.node())?)
            }
            _ if self.fault == MountFault::OffsetsShiftWithRemovals => {
                Some(self.list(request.node())?)
            }
            _ => None,
        };
        let Some(Handle::Directory(listed)) = self.handles.get_mut(&handle) else {
            return Err(Errno::BADF);
        };
        if let Some(fresh) = fresh {
            *listed = fresh;
        }
        let room = request.u32(16) as usize;
        let mut out = Vec::new();
        for (index, entry) in listed.iter().enumerate().skip(offset).take(LISTED_AT_ONCE) {
            let next = index as u64 + 1;
            let record = protocol::directory_entry(entry.inode, next, entry.kind, &entry.name);
            if out.len() + record.len() > room {
                break;
            }
            out.extend(record);
        }
        Ok(out)
    }
}

impl MountFault {
    /// What the fault makes of a file's attributes.
    fn about(self, mut found: Stat) -> Stat {
        let is_directory = found.kind() == FileKind::Directory;
        match self {
            Self::NumbersChangeWithTheContent if !is_directory => {
                found.ino = found.ino.wrapping_add(found.size << 20);
            }
            Self::SymlinksShareANumber if found.kind() == FileKind::Symlink => found.ino = 7,
            Self::EveryFileHasOneName if !is_directory => found.nlink = 1,
            Self::DirectoriesHaveOneLink if is_directory => found.nlink = 9,
            Self::SizesAreRounded if found.kind() == FileKind::Regular => {
                found.size = found.size.next_multiple_of(4096);
            }
            Self::NothingIsAllocated => found.blocks = 0,
            _ => {}
        }
        found
    }

    /// What it makes of a listing.
    fn listing(self, mut all: Vec<Listed>) -> Vec<Listed> {
        match self {
            Self::ListingHasOtherNumbers => {
                let own = all.iter_mut().skip(2);
                own.for_each(|entry| entry.inode ^= 1 << 40);
            }
            Self::DotsHaveOtherNumbers => {
                let dots = all.iter_mut().take(2);
                dots.for_each(|entry| entry.inode ^= 1 << 40);
            }
            Self::ListingHasNoTypes => {
                all.iter_mut()
                    .for_each(|entry| entry.kind = FileKind::Unknown);
            }
            Self::ListingHasWrongTypes => {
                let links = all.iter_mut();
                let links = links.filter(|entry| entry.kind == FileKind::Symlink);
                links.for_each(|entry| entry.kind = FileKind::Regular);
            }
            Self::WideDirectoriesAreCut => all.truncate(1000),
            Self::ListingHasANameTwice => {
                if let Some(last) = all.last().cloned() {
                    all.push(last);
                }
            }
            Self::LongNamesAreNotListed => all.retain(|entry| entry.name.len() < 200),
            Self::OddNamesAreNotListed => all.retain(|entry| entry.name.to_str().is_some()),
            _ => {}
        }
        all
    }

    /// Whether a name is not found.
    fn hides(self, name: &OsStr) -> bool {
        match self {
            Self::WhiteoutNamesAreReserved => name.as_bytes().starts_with(b".wh."),
            Self::LongNamesAreNotFound => name.len() >= 200,
            _ => false,
        }
    }

    /// The name below that is taken for a name.
    fn name_below(self, name: &OsStr) -> OsString {
        match self {
            Self::CaseIsIgnored => name.to_ascii_lowercase(),
            _ => name.to_owned(),
        }
    }

    fn hides_xattr(self, name: &[u8]) -> bool {
        match self {
            Self::OverlayLikeXattrsAreHidden => name.windows(7).any(|part| part == b"overlay"),
            Self::XattrsAreNotListed => name.starts_with(b"user."),
            Self::SecurityLabelsAreHidden => name.starts_with(b"security.selinux"),
            _ => false,
        }
    }

    /// Which attributes are set of those that are asked for (`fuse_setattr_in.valid`).
    const fn sets(self, asked: u32) -> u32 {
        match self {
            Self::ModeIsKept => asked & !SET_MODE,
            Self::OwnerIsKept => asked & !(SET_UID | SET_GID),
            Self::AccessTimesAreKept => asked & !(SET_ATIME | SET_ATIME_NOW),
            Self::ModificationTimesAreKept => asked & !(SET_MTIME | SET_MTIME_NOW),
            _ => asked,
        }
    }
}
