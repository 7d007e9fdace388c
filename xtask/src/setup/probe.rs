//! Finds out by trying whether something is there: the compiler is asked for headers and libraries,
//! because it alone knows where it looks.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use cowlab_sys::Cmd;

use super::packages::{Component, Proof};

/// Whether `proof` holds on this machine.
pub(super) fn holds(proof: &Proof) -> bool {
    match proof {
        Proof::Program(name) => Cmd::find(name).is_some(),
        Proof::Header(name) => compiler_finds_header(name),
        Proof::Library(name) => linker_finds_library(name),
        Proof::File(patterns) => patterns
            .iter()
            .any(|pattern| matches_a_file(Path::new("/"), pattern)),
    }
}

/// Whether cargo has the subcommand of a toolchain component.
pub(super) fn has_component(component: &Component) -> bool {
    succeeds(&Cmd::new("cargo").arg(component.subcommand).arg("--version"))
}

fn compiler_finds_header(name: &str) -> bool {
    succeeds(&Cmd::new("cc").args(["-E", "-include", name, "-x", "c", "/dev/null"]))
}

/// `cc -print-file-name` answers with a path if the linker would find the file, else with the bare
/// name (gcc(1)).
fn linker_finds_library(name: &str) -> bool {
    let answer = Cmd::new("cc")
        .arg(format!("-print-file-name={name}"))
        .read();
    answer.is_ok_and(|path| Path::new(path.trim()).is_absolute())
}

fn succeeds(command: &Cmd) -> bool {
    command
        .output()
        .is_ok_and(|output| output.status == Some(0))
}

/// Whether a file below `root` matches `pattern`, in which `*` stands for any part of one name.
fn matches_a_file(root: &Path, pattern: &str) -> bool {
    let mut found = vec![root.to_path_buf()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        found = found
            .iter()
            .flat_map(|dir| matching_entries(dir, part))
            .collect();
    }
    !found.is_empty()
}

fn matching_entries(dir: &Path, pattern: &str) -> Vec<PathBuf> {
    if !pattern.contains('*') {
        let path = dir.join(pattern);
        return path.exists().then_some(path).into_iter().collect();
    }
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| matches_name(&entry.file_name(), pattern))
        .map(|entry| entry.path())
        .filter(|path| path.exists())
        .collect()
}

fn matches_name(name: &OsStr, pattern: &str) -> bool {
    let Some(mut rest) = name.to_str() else {
        return false;
    };
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(after_first) = rest.strip_prefix(first) else {
        return false;
    };
    rest = after_first;
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_a_part_of_one_name() {
        let cases = [
            ("libclang-14.so.1", "libclang*.so*", true),
            ("libclang.so", "libclang*.so*", true),
            ("libclang-cpp.a", "libclang*.so*", false),
            ("llvm-14", "llvm-*", true),
            ("gcc", "llvm-*", false),
            ("gcc", "gcc", true),
            ("gcc-12", "gcc", false),
        ];
        for (name, pattern, expected) in cases {
            assert_eq!(
                matches_name(OsStr::new(name), pattern),
                expected,
                "{name} {pattern}"
            );
        }
    }

    #[test]
    fn a_pattern_finds_files_through_folders() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("usr/lib/llvm-14/lib")).unwrap();
        fs::write(dir.path().join("usr/lib/llvm-14/lib/libclang.so.1"), "").unwrap();
        assert!(matches_a_file(
            dir.path(),
            "/usr/lib/llvm-*/lib/libclang*.so*"
        ));
        assert!(!matches_a_file(dir.path(), "/usr/lib64/libclang.so*"));
    }

    #[test]
    fn a_dangling_link_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("gone", dir.path().join("libclang.so")).unwrap();
        assert!(!matches_a_file(dir.path(), "/libclang.so*"));
    }
}
