//! A small image with a program of this host: nothing has to be fetched or installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cowlab_snapshots::DiffOptions;
use cowlab_snapshots::layer::{changes, diff};

/// The program in the image; it takes a number of seconds.
pub(super) const PROGRAM: &str = "/bin/sleep";

/// Makes the tar of a root file system with the program and the libraries that every program of this host has, those of
/// this process.
pub(super) fn make(dir: &Path) -> anyhow::Result<PathBuf> {
    let tree = dir.join("tree");
    for (link, target) in [
        ("bin", "usr/bin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
    ] {
        fs::create_dir_all(tree.join(target))?;
        std::os::unix::fs::symlink(target, tree.join(link))?;
    }
    let program = fs::read(PROGRAM).with_context(|| format!("read `{PROGRAM}`"))?;
    let mut wanted = vec![PathBuf::from(PROGRAM)];
    wanted.extend(interpreter(&program));
    wanted.extend(libraries()?);
    for path in wanted {
        let below = path.strip_prefix("/").unwrap_or(&path);
        let place = match below.starts_with("usr") {
            true => tree.join(below),
            false => tree.join("usr").join(below),
        };
        fs::create_dir_all(place.parent().unwrap_or(&tree))?;
        fs::copy(&path, &place).with_context(|| format!("copy `{}`", path.display()))?;
    }
    let tar = dir.join("tree.tar");
    let all = changes::between(None, &tree, None)?;
    let mut file = fs::File::create(&tar)?;
    diff::write(&tree, &all, &mut file, &DiffOptions::default())?;
    Ok(tar)
}

/// The dynamic loader that a program names (elf(5), `PT_INTERP`): the text stands in the file as it is.
fn interpreter(program: &[u8]) -> Option<PathBuf> {
    let mut words = program.split(|byte| *byte == 0);
    let word = words.find(|word| word.starts_with(b"/lib"))?;
    std::str::from_utf8(word).ok().map(PathBuf::from)
}

/// The libraries that this process has mapped (proc_pid_maps(5)).
fn libraries() -> anyhow::Result<Vec<PathBuf>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let mut paths: Vec<_> = maps
        .lines()
        .filter_map(|line| line.find('/').map(|start| PathBuf::from(&line[start..])))
        .filter(|path| path.to_string_lossy().contains(".so"))
        .collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}
