//! The image of the capacity workloads: layers that the caller has, or a small one of a thousand files made here.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cowlab_driver::Durability;
use cowlab_random::Random;
use cowlab_snapshots::ApplyOptions;

use crate::store_fixture::StoreFixture;
use crate::workloads::copy_up::write_file;

/// Layers of the image that is made here: a base and ten thin ones.
const LAYERS: u64 = 11;

/// Files of its base layer, in so many directories.
const FILES: u64 = 1000;
const DIRECTORIES: u64 = 40;

/// File sizes are uniform below this, which makes about 20 MiB.
const LARGEST: u64 = 40 << 10;

/// Commits the layers of an image and returns their names, oldest first.
pub(crate) fn commit(
    fixture: &StoreFixture,
    prefix: &str,
    archives: &[PathBuf],
    seed: u64,
) -> anyhow::Result<Vec<String>> {
    let count = if archives.is_empty() {
        LAYERS
    } else {
        u64::try_from(archives.len())?
    };
    let mut names: Vec<String> = Vec::new();
    for number in 0..count {
        let name = format!("{prefix}-{number}");
        let parent = names.last().map(String::as_str);
        match archives.get(usize::try_from(number)?) {
            Some(archive) => apply(fixture, &name, parent, archive)?,
            None => fixture.layer(&name, parent, |dir| write_layer(dir, number, seed))?,
        }
        names.push(name);
    }
    Ok(names)
}

fn apply(
    fixture: &StoreFixture,
    name: &str,
    parent: Option<&str>,
    archive: &Path,
) -> anyhow::Result<()> {
    let context = || format!("failed to apply the layer `{}`", archive.display());
    let mut source = File::open(archive).with_context(context)?;
    let options = ApplyOptions {
        durability: Durability::None,
        ..ApplyOptions::default()
    };
    fixture
        .store()?
        .apply(name, parent, &mut source, &options)
        .with_context(context)?;
    Ok(())
}

fn write_layer(dir: &Path, number: u64, seed: u64) -> anyhow::Result<()> {
    if number == 0 {
        return write_base(dir, seed);
    }
    let change = || -> std::io::Result<()> {
        // Files that no other layer touches: eight for each of the ten.
        let file = |index: u64| file_path(dir, number * 80 + index * 10);
        for index in 0..3 {
            let mut changed = OpenOptions::new().append(true).open(file(index))?;
            writeln!(changed, "changed by layer {number}")?;
        }
        fs::remove_file(file(3))?;
        fs::remove_file(file(4))?;
        fs::rename(file(5), dir.join(format!("renamed-{number}")))?;
        fs::hard_link(file(6), dir.join(format!("linked-{number}")))
    };
    change().with_context(|| format!("failed to write layer {number}"))?;
    write_file(&dir.join(format!("added-{number}")), LARGEST, seed)
}

fn write_base(dir: &Path, seed: u64) -> anyhow::Result<()> {
    for number in 0..DIRECTORIES {
        let made = dir.join(format!("directory-{number}"));
        fs::create_dir(&made).with_context(|| format!("failed to make `{}`", made.display()))?;
    }
    let mut random = Random::stream(seed, &["image"]);
    for number in 0..FILES {
        let size = random.number() % LARGEST;
        write_file(&file_path(dir, number), size, seed)?;
    }
    Ok(())
}

fn file_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("directory-{}/file-{number}", number % DIRECTORIES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layers_change_delete_rename_and_link() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..LAYERS {
            write_layer(dir.path(), number, 1).unwrap();
        }
        let entries = cowlab_driver::tree::allocation(dir.path()).unwrap();
        // The root, the directories and the files; each of ten layers adds one and deletes two.
        assert_eq!(entries.inodes, 1 + DIRECTORIES + FILES - 10);
        assert!(entries.bytes.0 < crate::plan::OWN_IMAGE.0);
        assert!(dir.path().join("renamed-10").exists());
    }
}
