//! Making file systems: the mkfs command of each backing, and files with every block written.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use cowlab_sys::{Cmd, MountOption, fiemap, io};

use crate::{Backing, BackingOptions, Extra, Result, zpool};

/// The logical sector size of xfs and its loop device: on a device of 4096-byte blocks, xfs with
/// smaller sectors answers some operations with `ENOSYS`.
const XFS_SECTOR: u32 = 4096;
/// How much is written at once to a file that gets every block written, in bytes.
const FILL: usize = 1 << 20;

/// The seed that ext4 hashes names with. It decides in which order a directory is listed: one of mkfs's own choice has
/// what depends on the order, as some programs do, differ from run to run (mke2fs(8), hash_seed).
const HASH_SEED: &str = "c0713ab0-0000-4000-8000-000000000001";

/// Returns the sector size that the loop device of a backing needs; `None` is the kernel's own.
pub(crate) fn sector_size(backing: Backing) -> Option<u32> {
    let xfs = matches!(
        backing,
        Backing::Xfs | Backing::XfsNoReflink | Backing::ThinXfs
    );
    xfs.then_some(XFS_SECTOR)
}

/// Returns the command that makes the file system, without the device; `None` for tmpfs. A UUID that is given replaces
/// every random choice of mkfs; ext4 hashes names with a seed of its own beside the UUID.
pub(crate) fn command(backing: Backing, preallocate: bool, uuid: Option<&str>) -> Option<Cmd> {
    let command = Cmd::new(backing.mkfs()?);
    // Lazy initialization would write in the background of the first measurements, and discarding
    // punches holes into the file behind the loop device.
    Some(match backing {
        Backing::Ext4 | Backing::ThinExt4 => {
            let discard = if preallocate { ",nodiscard" } else { "" };
            let seed = uuid.unwrap_or(HASH_SEED);
            let options =
                format!("lazy_itable_init=0,lazy_journal_init=0{discard},hash_seed={seed}");
            let command = command.args(["-q", "-E"]).arg(options);
            match uuid {
                Some(uuid) => command.args(["-U", uuid]),
                None => command,
            }
        }
        Backing::Xfs | Backing::XfsNoReflink | Backing::ThinXfs => {
            let reflink = u8::from(backing != Backing::XfsNoReflink);
            let command = command.args(["-q", "-s", &format!("size={XFS_SECTOR}"), "-m"]);
            let uuid = uuid.map_or_else(String::new, |uuid| format!(",uuid={uuid}"));
            let command = command.arg(format!("reflink={reflink}{uuid}"));
            if preallocate {
                command.arg("-K")
            } else {
                command
            }
        }
        Backing::Btrfs => {
            let mut command = command.arg("-q");
            if let Some(uuid) = uuid {
                command = command.args(["-U", uuid]);
            }
            if preallocate {
                command.arg("-K")
            } else {
                command
            }
        }
        Backing::Zfs => zpool::command(),
        Backing::Tmpfs => return None,
    })
}

/// Returns what mkfs has to be told besides.
pub(crate) fn features(backing: Backing, extra: Option<Extra>) -> &'static [&'static str] {
    match (backing, extra) {
        // The wider inodes that project ids lie in are made without asking (ext4(5)).
        (Backing::Ext4 | Backing::ThinExt4, Some(Extra::SizeLimits)) => &["-O", "quota,project"],
        (Backing::Ext4 | Backing::ThinExt4, Some(Extra::Verity)) => &["-O", "verity"],
        _ => &[],
    }
}

/// Returns the command that has a mounted file system keep account of what is in its parts, where it takes one.
pub(crate) fn enable_quotas(backing: Backing, mount_point: &Path) -> Option<Cmd> {
    // Kept in the file system, and on from its next mount as well.
    (backing == Backing::Btrfs)
        .then(|| Cmd::new("btrfs").args(["quota", "enable"]).arg(mount_point))
}

/// Returns the mount options of a backing: its own, then those asked for.
pub(crate) fn mount_options(backing: Backing, options: &BackingOptions) -> Vec<MountOption> {
    let mut all = Vec::new();
    match backing {
        // btrfs discards freed extents in the background by default (btrfs(5), discard), which
        // would take the file's written blocks away.
        Backing::Btrfs if options.preallocate => all.push(MountOption::flag("nodiscard")),
        Backing::Tmpfs => all.push(MountOption::text("size", options.bytes.to_string())),
        _ => {}
    }
    let has_projects = matches!(backing.fstype(), "ext4" | "xfs");
    if has_projects && options.extra == Some(Extra::SizeLimits) {
        // Without, usage may be counted, but nothing is refused.
        all.push(MountOption::flag("prjquota"));
    }
    all.extend(options.mount_options.iter().cloned());
    all
}

/// Returns the version of a mkfs program, in its own words.
pub(crate) fn version(mkfs: &str) -> Result<String> {
    let option = match mkfs {
        "mkfs.btrfs" => "--version",
        "zpool" => "version",
        _ => "-V",
    };
    let output = Cmd::new(mkfs).arg(option).output()?;
    // mke2fs tells its version on standard error.
    let text = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Makes a sparse file of this size, which must not exist.
pub(crate) fn make_image(path: &Path, bytes: u64) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let file = io("open", path, options.open(path))?;
    io("ftruncate", path, file.set_len(bytes))?;
    Ok(())
}

/// Writes zeros wherever the file reads as zeros without having blocks written, and flushes it.
/// It comes after mkfs, which zeroes parts of the device by punching holes.
pub(crate) fn write_holes(path: &Path) -> Result<()> {
    let file = io(
        "open",
        path,
        OpenOptions::new().read(true).write(true).open(path),
    )?;
    let bytes = io("fstat", path, file.metadata())?.len();
    let zeros = vec![0; FILL];
    let mut offset = 0;
    let end = (bytes, 0);
    for (start, length) in fiemap::data_segments(&file)?.into_iter().chain([end]) {
        write_zeros(&file, path, &zeros, offset..start)?;
        offset = start + length;
    }
    io("fsync", path, file.sync_all())?;
    Ok(())
}

fn write_zeros(file: &File, path: &Path, zeros: &[u8], range: std::ops::Range<u64>) -> Result<()> {
    let mut offset = range.start;
    while offset < range.end {
        let room = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
        let part = &zeros[..room.min(zeros.len())];
        io("write", path, file.write_all_at(part, offset))?;
        offset += u64::try_from(part.len()).unwrap_or(u64::MAX);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_keep_blocks_where_asked() {
        let line = |backing, preallocate| {
            command(backing, preallocate, None)
                .map(|command| command.to_string())
                .unwrap_or_default()
        };
        assert_eq!(
            line(Backing::Ext4, true),
            format!(
                "mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0,nodiscard,hash_seed={HASH_SEED}"
            )
        );
        assert_eq!(
            line(Backing::Xfs, false),
            "mkfs.xfs -q -s size=4096 -m reflink=1"
        );
        assert_eq!(
            line(Backing::XfsNoReflink, true),
            "mkfs.xfs -q -s size=4096 -m reflink=0 -K"
        );
        assert_eq!(line(Backing::Btrfs, true), "mkfs.btrfs -q -K");
        assert_eq!(line(Backing::Tmpfs, true), "");
    }

    #[test]
    fn a_uuid_leaves_nothing_to_chance() {
        let line = |backing| {
            command(backing, false, Some("u"))
                .map(|command| command.to_string())
                .unwrap_or_default()
        };
        assert_eq!(
            line(Backing::Ext4),
            "mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0,hash_seed=u -U u"
        );
        assert_eq!(
            line(Backing::Xfs),
            "mkfs.xfs -q -s size=4096 -m reflink=1,uuid=u"
        );
        assert_eq!(line(Backing::Btrfs), "mkfs.btrfs -q -U u");
    }

    #[test]
    fn quotas_are_asked_for_where_they_are_kept() {
        let options = BackingOptions {
            extra: Some(Extra::SizeLimits),
            ..BackingOptions::default()
        };
        let asked = |backing| {
            let made = features(backing, options.extra).join(" ");
            let mounted: Vec<_> = mount_options(backing, &options)
                .iter()
                .map(ToString::to_string)
                .collect();
            let enabled = enable_quotas(backing, Path::new("/m"));
            let enabled = enabled.map(|command| command.to_string());
            [made, mounted.join(" "), enabled.unwrap_or_default()].join("; ")
        };
        assert_eq!(asked(Backing::Ext4), "-O quota,project; prjquota; ");
        assert_eq!(asked(Backing::ThinXfs), "; prjquota; ");
        assert_eq!(asked(Backing::Btrfs), "; ; btrfs quota enable /m");
        assert_eq!(asked(Backing::Zfs), "; ; ");
        assert!(features(Backing::Ext4, None).is_empty());
        assert!(mount_options(Backing::Xfs, &BackingOptions::default()).is_empty());
    }

    #[test]
    fn writes_holes_and_keeps_data() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("image");
        make_image(&path, 3 << 20).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"data", (1 << 20) + 4096).unwrap();
        write_holes(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 3 << 20);
        assert_eq!(&bytes[(1 << 20) + 4096..][..4], b"data");
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 4);
        let file = File::open(&path).unwrap();
        assert_eq!(fiemap::data_segments(&file).unwrap(), [(0, 3 << 20)]);
        assert!(make_image(&path, 1).is_err());
    }
}
