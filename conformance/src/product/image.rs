//! A root file system of the programs that are here, with the libraries they load: an image that any machine can make
//! without a network.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cowlab_layer::Digest;
use cowlab_sys::cmd::Cmd;
use serde_json::{Value, json};

use crate::context::Result;
use crate::difference::Difference;
use crate::product::layered::architecture;
use cowlab_tarball::{Entry, archive};

/// What cases run in containers.
const PROGRAMS: &[&str] = &[
    "cat", "chmod", "chown", "cp", "dd", "env", "false", "hostname", "id", "ln", "ls", "mkdir",
    "mv", "readlink", "rm", "sh", "sleep", "stat", "stty", "touch", "true", "wc",
];

/// The tar, made once a process.
///
/// # Errors
///
/// A program that is not here, or cannot be read.
pub(super) fn tar() -> Result<&'static [u8]> {
    static TAR: OnceLock<Result<Vec<u8>>> = OnceLock::new();
    match TAR.get_or_init(make) {
        Ok(tar) => Ok(tar),
        Err(difference) => Err(difference.clone()),
    }
}

/// An archive as docker writes it, with the tar as the one layer.
pub(super) fn docker_archive(name: &str, config: &Value) -> Result<Vec<u8>> {
    let tar = tar()?;
    let diff_id = Digest::of(tar).to_string();
    let configuration = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
    Ok(archive(&[
        Entry::file("config.json", configuration.to_string()),
        Entry::file("layer.tar", tar),
        Entry::file("manifest.json", manifest.to_string()),
    ]))
}

fn make() -> Result<Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut links = Vec::new();
    for name in PROGRAMS {
        let found = Cmd::find(name)
            .ok_or_else(|| Difference::new(name, "program for containers", "found", "none"))?;
        // A program of many names, which goes by the name that it is called by.
        let program = cowlab_sys::io("realpath", &found, found.canonicalize())?;
        let file_name = program.file_name().unwrap_or_default();
        if file_name != *name {
            links.push(Entry::symlink(
                format!("bin/{name}"),
                file_name.as_encoded_bytes(),
            ));
        }
        for library in libraries(&program)? {
            files.insert(library.clone(), library);
        }
        files.insert(Path::new("/bin").join(file_name), program);
    }
    let mut entries = directories(files.keys());
    for (name, source) in &files {
        let content = cowlab_sys::io("read", source, fs::read(source))?;
        let name = name.strip_prefix("/").unwrap_or(name);
        entries.push(Entry::file(name.as_os_str().as_encoded_bytes(), content).mode(0o755));
    }
    entries.extend(links);
    entries.extend([
        Entry::dir("tmp").mode(0o1777),
        Entry::dir("etc"),
        Entry::file(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nsomebody:x:1000:1000::/:/bin/sh\n",
        ),
        Entry::file("etc/group", "root:x:0:\nsomebody:x:1000:\n"),
        Entry::file("testfile", "test"),
        Entry::dir("srv").mode(0o750).owner(1000, 1000),
        Entry::file("srv/data", "served").mode(0o640).owner(1000, 8),
    ]);
    Ok(archive(&entries))
}

/// The directories that these files lie in, the outer ones first.
fn directories<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Vec<Entry> {
    let above = files.flat_map(|file| file.ancestors().skip(1));
    let names: BTreeSet<_> = above.filter(|dir| dir.parent().is_some()).collect();
    let name = |dir: &&Path| dir.strip_prefix("/").unwrap_or(dir).to_owned();
    let names = names.iter().map(name);
    names
        .map(|name| Entry::dir(name.as_os_str().as_encoded_bytes()))
        .collect()
}

/// The libraries that a program loads and what loads them, as the loader itself tells (ld.so(8),
/// `LD_TRACE_LOADED_OBJECTS`). A program without a loader runs instead, and prints its version or an error.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Cmd::new(program)
        .arg("--version")
        .env("LD_TRACE_LOADED_OBJECTS", "1")
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().filter_map(library).collect())
}

/// Reads `libc.so.6 => /lib/libc.so.6 (0x...)` and `/lib64/ld-linux.so.2 (0x...)`.
fn library(line: &str) -> Option<PathBuf> {
    let line = line.trim();
    let (rest, address) = line.rsplit_once(" (0x")?;
    address.strip_suffix(')')?;
    let path = rest.split_once(" => ").map_or(rest, |(_, path)| path);
    path.starts_with('/').then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_lines_are_read() {
        let path = |line| library(line).map(|path| path.display().to_string());
        assert_eq!(
            path("\tlibc.so.6 => /lib/libc.so.6 (0x00007f)").as_deref(),
            Some("/lib/libc.so.6")
        );
        assert_eq!(
            path("\t/lib64/ld.so (0x00007f)").as_deref(),
            Some("/lib64/ld.so")
        );
        assert_eq!(path("\tlinux-vdso.so.1 (0x00007ffe)"), None);
        assert_eq!(path("BusyBox v1.37.0 (Debian)"), None);
    }
}
