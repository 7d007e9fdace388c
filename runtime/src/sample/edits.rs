//! The ten thin layers of the sample image: what images do to the files of their base.
//!
//! An edit chooses its files by position in the sorted tree, so it works on any root file system.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::regular_files;

/// One thin layer.
#[derive(Debug)]
pub(super) struct Edit {
    /// Kebab-case, part of a snapshot key.
    pub(super) name: &'static str,
    /// For the progress line.
    pub(super) what: &'static str,
    /// Changes the mounted tree.
    pub(super) apply: fn(&Path) -> io::Result<()>,
}

/// The layers in order, lowest first.
pub(super) const ALL: &[Edit] = &[
    Edit {
        name: "configure",
        what: "appending to 20 configuration files",
        apply: configure,
    },
    Edit {
        name: "patch",
        what: "changing one byte in the 3 largest files",
        apply: patch,
    },
    Edit {
        name: "prune",
        what: "deleting every 40th file",
        apply: prune,
    },
    Edit {
        name: "rename",
        what: "renaming 30 files",
        apply: rename,
    },
    Edit {
        name: "link",
        what: "linking 30 files",
        apply: link,
    },
    Edit {
        name: "chmod",
        what: "changing the mode of 100 files",
        apply: chmod,
    },
    Edit {
        name: "retype",
        what: "replacing files by a directory and a symbolic link",
        apply: retype,
    },
    Edit {
        name: "recreate",
        what: "removing a directory and making it again",
        apply: recreate,
    },
    Edit {
        name: "add",
        what: "adding 500 small files",
        apply: add,
    },
    Edit {
        name: "touch",
        what: "changing only the time of 50 files",
        apply: touch,
    },
];

/// Takes `count` files, evenly spread over the tree from position `phase`.
fn spread(root: &Path, count: usize, phase: usize) -> io::Result<Vec<PathBuf>> {
    let files = regular_files(root)?;
    let step = (files.len() / count).max(1);
    Ok(files
        .into_iter()
        .skip(phase % step)
        .step_by(step)
        .take(count)
        .collect())
}

fn sibling(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn configure(root: &Path) -> io::Result<()> {
    let files = regular_files(&root.join("etc"))?;
    for file in files.iter().take(20) {
        writeln!(
            OpenOptions::new().append(true).open(file)?,
            "# configured by the image"
        )?;
    }
    Ok(())
}

fn patch(root: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for file in regular_files(root)? {
        files.push((fs::symlink_metadata(&file)?.size(), file));
    }
    files.sort();
    for (size, path) in files.iter().rev().take(3) {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.seek(SeekFrom::Start(size / 2))?;
        file.write_all(b"!")?;
    }
    Ok(())
}

fn prune(root: &Path) -> io::Result<()> {
    regular_files(root)?
        .iter()
        .skip(7)
        .step_by(40)
        .try_for_each(fs::remove_file)
}

fn rename(root: &Path) -> io::Result<()> {
    spread(root, 30, 3)?
        .iter()
        .try_for_each(|file| fs::rename(file, sibling(file, ".renamed")))
}

fn link(root: &Path) -> io::Result<()> {
    spread(root, 30, 5)?
        .iter()
        .try_for_each(|file| fs::hard_link(file, sibling(file, ".link")))
}

fn chmod(root: &Path) -> io::Result<()> {
    spread(root, 100, 11)?
        .iter()
        .try_for_each(|file| fs::set_permissions(file, Permissions::from_mode(0o4711)))
}

fn retype(root: &Path) -> io::Result<()> {
    for (position, file) in spread(root, 10, 13)?.iter().enumerate() {
        fs::remove_file(file)?;
        if position % 2 == 0 {
            fs::create_dir(file)?;
            fs::write(file.join("was-a-file"), "")?;
        } else {
            symlink("/etc/hostname", file)?;
        }
    }
    Ok(())
}

fn recreate(root: &Path) -> io::Result<()> {
    let dir = regular_files(root)?
        .iter()
        .filter_map(|file| file.parent())
        .find(|dir| *dir != root && fs::read_dir(dir).is_ok_and(|entries| entries.count() > 3))
        .map(Path::to_owned)
        .ok_or_else(|| io::Error::other("no directory with more than three entries"))?;
    fs::remove_dir_all(&dir)?;
    fs::create_dir(&dir)?;
    fs::write(dir.join("new"), "made again\n")
}

fn add(root: &Path) -> io::Result<()> {
    for number in 0..500_u32 {
        let dir = root.join(format!("srv/application/{}", number % 10));
        fs::create_dir_all(&dir)?;
        fs::write(
            dir.join(format!("file-{number}")),
            format!("{number}\n").repeat(200),
        )?;
    }
    Ok(())
}

fn touch(root: &Path) -> io::Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    spread(root, 50, 17)?
        .iter()
        .try_for_each(|file| File::open(file)?.set_modified(time))
}
