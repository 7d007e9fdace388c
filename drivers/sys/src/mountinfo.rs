//! The mount tables: of this process, and of every mount namespace on the host.
//!
//! The source is `/proc/PID/mountinfo` (proc_pid_mountinfo(5)). Two things are not seen: namespaces
//! that no process is in, kept alive by a bind mount of their `ns/mnt` file alone; and mounts that
//! no process can reach from its root, such as those a chroot left behind in its namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::{Error, Result, io, processes, stat};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// The mount's id, unique on the host while it exists.
    pub mount_id: u64,
    /// The id of the mount it is on.
    pub parent_id: u64,
    /// The file system's device, major and minor number: what its files have for `st_dev`, except
    /// on btrfs, where each subvolume has its own.
    pub device: (u32, u32),
    /// The directory of the file system that is mounted; for a btrfs subvolume, its path.
    pub root: PathBuf,
    /// Where it is mounted, as seen from the reading process's root.
    pub mount_point: PathBuf,
    /// The mount's own options, separated by commas.
    pub options: String,
    /// The file system type.
    pub fstype: String,
    /// The device or name that was mounted.
    pub source: OsString,
    /// The file system's options as they stand in the table: separated by commas and escaped.
    /// [`MountEntry::super_option`] takes them apart.
    pub super_options: OsString,
}

impl MountEntry {
    /// Returns the values of a file system option, which may occur more than once (`lowerdir+`).
    pub fn super_option(&self, key: &str) -> Vec<OsString> {
        self.super_options
            .as_bytes()
            .split(|byte| *byte == b',')
            .filter_map(|option| option.strip_prefix(key.as_bytes())?.strip_prefix(b"="))
            .map(unescape)
            .collect()
    }

    /// Returns the device number, to compare with [`stat::Stat::dev`].
    pub fn device_number(&self) -> u64 {
        stat::device(self.device.0, self.device.1)
    }
}

/// A mount namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// The inode of its `ns/mnt` file: its identity, where that could be looked up.
    pub inode: u64,
    /// The processes with a thread in it.
    pub pids: Vec<u32>,
    /// Its mounts, as far as the roots of these processes show them.
    pub mounts: Vec<MountEntry>,
}

/// Returns the mounts that this process sees, in the kernel's order: a mount comes after the one
/// it is on.
pub fn read_self() -> Result<Vec<MountEntry>> {
    // A thread may have a namespace of its own.
    let path = Path::new("/proc/thread-self/mountinfo");
    parse(&io("read", path, std::fs::read(path))?)
}

/// Returns the mounts of every mount namespace. Threads count one by one, for each may have a
/// namespace of its own; those that end while it is read are left out. Kernel threads share the first
/// namespace, and one of them is asked.
///
/// # Errors
///
/// Returns [`Error::Sys`] where `/proc`, or the table of a process that lives, cannot be read, and [`Error::Parse`]: who asks
/// whether something is mounted would take the silence for a no.
pub fn every_namespace() -> Result<Vec<Namespace>> {
    let mut scan = Scan::default();
    let mut has_kernel_thread = false;
    for pid in processes::all()? {
        if !processes::runs_a_program(pid) && std::mem::replace(&mut has_kernel_thread, true) {
            continue;
        }
        for task in processes::tasks(pid) {
            match scan.task(pid, &task) {
                Err(error) if processes::has_ended(&error) => {}
                // Everybody may read its table all the same (fs/proc_namespace.c, `mounts_open_common`).
                Err(error) if processes::is_forbidden(&error) => scan.unknown.push((pid, task)),
                looked => looked?,
            }
        }
    }
    scan.read_unknown()?;
    Ok(scan.into_namespaces())
}

/// The namespaces found so far.
#[derive(Default)]
struct Scan {
    /// A process sees the mounts below its own root only, so one table is read for each pair of namespace and root.
    roots: BTreeSet<(u64, u64, u64)>,
    found: BTreeMap<u64, (BTreeSet<u32>, BTreeMap<u64, MountEntry>)>,
    /// Tasks with more rights than this process, which may not learn their namespace and root.
    unknown: Vec<(u32, PathBuf)>,
}

impl Scan {
    fn task(&mut self, pid: u32, task: &Path) -> Result<()> {
        let namespace = stat::stat(task.join("ns/mnt"))?.ino;
        let root = stat::stat(task.join("root"))?;
        let root = (namespace, root.dev, root.ino);
        if self.roots.contains(&root) {
            self.found.entry(namespace).or_default().0.insert(pid);
            return Ok(());
        }
        let table = read_table(task)?;
        self.roots.insert(root);
        let (pids, mounts) = self.found.entry(namespace).or_default();
        pids.insert(pid);
        for entry in parse(&table)? {
            mounts.entry(entry.mount_id).or_insert(entry);
        }
        Ok(())
    }

    /// Adds the mounts that only tasks in unknown namespaces see.
    fn read_unknown(&mut self) -> Result<()> {
        let tables = self.found.values().flat_map(|(_, mounts)| mounts.keys());
        let mut known: BTreeSet<u64> = tables.copied().collect();
        for (pid, task) in std::mem::take(&mut self.unknown) {
            let table = match read_table(&task) {
                Err(error) if processes::has_ended(&error) => continue,
                table => table?,
            };
            let mut mounts = parse(&table)?;
            mounts.retain(|mount| known.insert(mount.mount_id));
            if !mounts.is_empty() {
                // No namespace has such a number.
                let (pids, found) = self.found.entry(pid.into()).or_default();
                pids.insert(pid);
                found.extend(mounts.into_iter().map(|mount| (mount.mount_id, mount)));
            }
        }
        Ok(())
    }

    fn into_namespaces(self) -> Vec<Namespace> {
        let namespaces = self
            .found
            .into_iter()
            .map(|(inode, (pids, mounts))| Namespace {
                inode,
                pids: pids.into_iter().collect(),
                mounts: mounts.into_values().collect(),
            });
        namespaces.collect()
    }
}

fn read_table(task: &Path) -> Result<Vec<u8>> {
    let path = task.join("mountinfo");
    io("read", &path, std::fs::read(&path))
}

/// Reads the text of a mountinfo file.
///
/// # Errors
///
/// Returns [`Error::Parse`] with the first line that has another form.
pub fn parse(text: &[u8]) -> Result<Vec<MountEntry>> {
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| entry(line).ok_or_else(|| Error::parse("mountinfo", line)))
        .collect()
}

fn entry(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mount_id = number(fields.next()?)?;
    let parent_id = number(fields.next()?)?;
    let (major, minor) = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
    let root = unescape(fields.next()?).into();
    let mount_point = unescape(fields.next()?).into();
    let options = text(fields.next()?);
    // Any number of propagation fields, then a hyphen alone.
    fields.find(|field| *field == b"-")?;
    let fstype = text(fields.next()?);
    let source = unescape(fields.next()?);
    let super_options = OsString::from_vec(fields.next().unwrap_or_default().to_vec());
    let device = (major.parse().ok()?, minor.parse().ok()?);
    Some(MountEntry {
        mount_id,
        parent_id,
        device,
        root,
        mount_point,
        options,
        fstype,
        source,
        super_options,
    })
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn text(field: &[u8]) -> String {
    unescape(field).to_string_lossy().into_owned()
}

/// Undoes the kernel's octal escapes (`seq_escape`): `\040` is a space.
pub fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        match tail.get(..3).and_then(octal) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

fn octal(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok()?;
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    u8::from_str_radix(digits, 8).ok()
}

/// Returns the mounts at or below `directory`, the innermost last.
pub fn at_or_below<'a>(mounts: &'a [MountEntry], directory: &Path) -> Vec<&'a MountEntry> {
    mounts
        .iter()
        .filter(|mount| mount.mount_point.starts_with(directory))
        .collect()
}

/// Returns the mount that `path` is on: the last one of those with the longest mount point.
pub fn of_path<'a>(mounts: &'a [MountEntry], path: &Path) -> Option<&'a MountEntry> {
    let above = mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.mount_point));
    above.max_by_key(|mount| OsStr::len(mount.mount_point.as_os_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unescapes_octal_only() {
        assert_eq!(unescape(br"/a\040b\134c\011"), OsString::from("/a b\\c\t"));
        assert_eq!(unescape(br"\04"), OsString::from(r"\04"));
        assert_eq!(unescape(br"\999\+12"), OsString::from(r"\999\+12"));
        assert_eq!(unescape(br"\777"), OsString::from(r"\777"));
        assert_eq!(
            unescape(b"\\303\\244\xff"),
            OsString::from_vec(b"\xc3\xa4\xff".to_vec())
        );
        assert_eq!(unescape(b""), OsString::new());
    }

    #[test]
    fn reads_a_table() {
        let table =
            b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw\n\
            40 36 0:52 / /m rw - overlay none rw,lowerdir+=/a\\054b,lowerdir+=/c,upperdir=/u\n";
        let mounts = parse(table).unwrap();
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[0].mount_id, mounts[0].parent_id), (36, 35));
        assert_eq!(mounts[0].device, (98, 0));
        assert_eq!(mounts[0].mount_point, Path::new("/mnt 2"));
        assert_eq!(mounts[0].root, Path::new("/mnt1"));
        assert_eq!(mounts[0].fstype, "ext3");
        assert_eq!(mounts[1].super_option("lowerdir+"), ["/a,b", "/c"]);
        assert_eq!(mounts[1].super_option("upperdir"), ["/u"]);
        assert_eq!(at_or_below(&mounts, Path::new("/m")).len(), 1);
        assert_eq!(of_path(&mounts, Path::new("/m/x")).unwrap().mount_id, 40);
        assert!(parse(b"1 2 3").is_err());
        assert!(parse(b"").unwrap().is_empty());
    }

    #[test]
    fn reads_the_own_table() {
        assert!(!read_self().unwrap().is_empty());
    }
}
