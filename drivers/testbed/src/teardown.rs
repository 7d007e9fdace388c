//! Taking down what lies in a run's directory: mounts, loop devices, files.
//!
//! Both the end of a run and the sweep come here. Nothing outside the directory is touched: a
//! mount counts by its mount point, a loop device by the file it is bound to.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use cowlab_sys::mountinfo::{self, MountEntry};
use cowlab_sys::{Errno, Error as SysError, Leak, dir, holders, io, loopdev, mount, stat, sys};

use crate::journal::{JOURNAL, Record};
use crate::shared::LOCK;
use crate::{Result, thin, zpool};

/// Returns what is mounted or bound below `directory`, innermost first, in words.
pub(crate) fn leftovers(directory: &Path) -> Result<Vec<String>> {
    let mounts = mounts_below(directory)?.into_iter().rev();
    let mut found: Vec<_> = mounts.map(|mount| describe_mount(&mount)).collect();
    let pools = pools_of(directory)?.into_iter();
    found.extend(pools.map(|pool| zpool::describe(&pool)));
    let mappers = mappers_of(directory)?.into_iter();
    found.extend(mappers.map(|name| thin::describe(&name)));
    let loops = loops_below(directory)?.into_iter();
    found.extend(loops.map(|(device, image)| describe_loop(&device, &image)));
    Ok(found)
}

fn describe_mount(mount: &MountEntry) -> String {
    format!(
        "the mount of {} at `{}`",
        mount.fstype,
        mount.mount_point.display()
    )
}

fn describe_loop(device: &Path, image: &Path) -> String {
    format!(
        "the loop device `{}` of `{}`",
        device.display(),
        image.display()
    )
}

/// Unmounts and frees everything below `directory`, innermost first, and returns what resists.
///
/// Mounts and loop devices lie on one another in any order (an image on a tmpfs, an overlay on
/// what the image holds), so it goes in rounds until a round gets nothing done.
pub(crate) fn take_down(directory: &Path) -> Result<Vec<Leak>> {
    loop {
        let mut resisting = Vec::new();
        let mut progress = false;
        for mount in mounts_below(directory)?.iter().rev() {
            match mount::unmount(&mount.mount_point) {
                Ok(()) => progress = true,
                Err(error) => resisting.push(busy_mount(mount, error)),
            }
        }
        for pool in pools_of(directory)? {
            match zpool::destroy(&pool) {
                Ok(()) => progress = true,
                Err(source) => {
                    let what = zpool::describe(&pool);
                    resisting.push(Leak { what, source });
                }
            }
        }
        for name in mappers_of(directory)? {
            match thin::remove_all(&name) {
                Ok(()) => progress = true,
                Err(source) => {
                    let what = thin::describe(&name);
                    resisting.push(Leak { what, source });
                }
            }
        }
        if !pools_of(directory)?.is_empty() || !mappers_of(directory)?.is_empty() {
            // Its loop device would go on serving it and free itself at some time (loop(4), LO_FLAGS_AUTOCLEAR).
            if progress {
                continue;
            }
            return Ok(resisting);
        }
        let mounted = mountinfo::read_self()?;
        for (device, image) in loops_below(directory)? {
            let is_source = |mount: &MountEntry| Path::new(&mount.source) == device;
            if mounted.iter().any(is_source) {
                continue;
            }
            match free(&device, &image) {
                Ok(()) => progress = true,
                Err(source) => {
                    let what = describe_loop(&device, &image) + &loopdev::users(&device);
                    resisting.push(Leak { what, source });
                }
            }
        }
        if resisting.is_empty() || !progress {
            return Ok(resisting);
        }
    }
}

/// Removes the run's directory: what its journal names, then the journal, the lock and the
/// directory. What is not in the journal stays, and so do journal, lock and directory with it.
/// Without a `record`, the journal is read.
pub(crate) fn remove_run(directory: &Path, record: Option<Record>) -> Result<()> {
    let record = match record {
        Some(record) => Some(record),
        None => Record::read(directory)?,
    };
    let mut leaks = Vec::new();
    for name in record.iter().flat_map(Record::names) {
        let path = directory.join(name);
        if let Err(source) = dir::remove_tree(&path) {
            leaks.push(Leak {
                what: format!("`{}`", path.display()),
                source,
            });
        }
    }
    for path in unknown(directory)? {
        // What could not be removed above has been named there.
        if !leaks
            .iter()
            .any(|leak| leak.what == format!("`{}`", path.display()))
        {
            let source = named("remove", &path, Errno::NOTEMPTY);
            let what = format!("`{}`, which is not in the run's journal,", path.display());
            leaks.push(Leak { what, source });
        }
    }
    if !leaks.is_empty() {
        return Err(leaks.into());
    }
    // In this order: a directory with a lock alone, or empty, can still be told for a dead run's.
    for name in [JOURNAL, LOCK] {
        dir::remove_tree(directory.join(name))?;
    }
    io("rmdir", directory, std::fs::remove_dir(directory))?;
    Ok(())
}

/// Returns the entries of a run's directory besides lock and journal.
pub(crate) fn unknown(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = dir::read_dir(directory)?
        .into_iter()
        .map(|entry| entry.name);
    let others = entries.filter(|name| name != LOCK && name != JOURNAL);
    Ok(others.map(|name| directory.join(name)).collect())
}

/// Returns the mounts at or below `directory`, the innermost last.
pub(crate) fn mounts_below(directory: &Path) -> Result<Vec<MountEntry>> {
    let mounts = mountinfo::read_self()?;
    Ok(mountinfo::at_or_below(&mounts, directory)
        .into_iter()
        .cloned()
        .collect())
}

/// Returns the loop devices bound to files below `directory`, with the files.
///
/// An image on a tmpfs is below the directory as long as the tmpfs is mounted. Where that went with the mount namespace of
/// a killed run, the device keeps the file, and the kernel shows its path from the root of the tmpfs: `/<image>`. It is
/// known by its name, which the journal has.
pub(crate) fn loops_below(directory: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let record = Record::read(directory)?;
    let in_memory: Vec<_> = record.iter().flat_map(Record::images_in_memory).collect();
    let is_lost = |image: &Path| {
        let name = image.strip_prefix("/").ok();
        name.is_some_and(|name| in_memory.iter().any(|image| name == Path::new(image)))
    };
    let all = loopdev::list()?.into_iter();
    Ok(all
        .filter(|(_, image)| image.starts_with(directory) || is_lost(&without_deleted(image)))
        .collect())
}

/// Returns the ZFS pools of the run in `directory` that the kernel knows.
fn pools_of(directory: &Path) -> Result<Vec<String>> {
    let record = Record::read(directory)?;
    let announced: Vec<_> = record.iter().flat_map(Record::pools).collect();
    if announced.is_empty() {
        return Ok(Vec::new());
    }
    let mut pools = zpool::imported()?;
    pools.retain(|pool| announced.contains(&pool.as_str()));
    Ok(pools)
}

/// Returns the device-mapper devices that the run in `directory` announced and that are there, or others on them.
fn mappers_of(directory: &Path) -> Result<Vec<String>> {
    let record = Record::read(directory)?;
    let mut announced: Vec<_> = record
        .iter()
        .flat_map(Record::mappers)
        .map(str::to_owned)
        .collect();
    if !announced.is_empty() {
        let there = thin::devices()?;
        announced.retain(|name| {
            let above = format!("{name}-");
            let is_own = |device: &String| device == name || device.starts_with(&above);
            there.iter().any(is_own)
        });
    }
    Ok(announced)
}

/// Frees a loop device that is bound to `image`, whether or not the file was removed since.
fn free(device: &Path, image: &Path) -> cowlab_sys::Result<()> {
    match loopdev::detach_image(device, image) {
        // The disk of a killed run may record no more: nobody serves its file.
        Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NOTCONN)) => {
            loopdev::detach(device)
        }
        result => result,
    }
}

/// Names a mount that cannot be unmounted, and who uses it.
fn busy_mount(mount: &MountEntry, source: SysError) -> Leak {
    let mut what = describe_mount(mount);
    if source.errno() == Some(Errno::BUSY) {
        // On btrfs, files have another device than the mount table says.
        let device = stat::lstat(&mount.mount_point).map_or(mount.device_number(), |s| s.dev);
        let users = holders::users_of(&[device]).unwrap_or_default();
        let users: Vec<_> = users.iter().map(ToString::to_string).collect();
        if !users.is_empty() {
            what = format!("{what} ({})", users.join(", "));
        }
    }
    Leak { what, source }
}

/// Returns the path of a removed file as it was, from what the kernel says of it.
pub(crate) fn without_deleted(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let bytes = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
    OsString::from_vec(bytes.to_vec()).into()
}

pub(crate) fn named(call: &'static str, path: &Path, source: Errno) -> SysError {
    match sys(call, path, Err::<(), _>(source)) {
        Err(error) => error,
        Ok(()) => unreachable!("the result is an error"),
    }
}
