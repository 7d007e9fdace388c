//! Reading what `zfs diff -FH` prints.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use cowlab_sys::{Error, Result};

/// The directory that the attributes of a file show as (zfs_znode.c, `zfs_obj_to_path_impl`).
const XATTR_DIR: &str = "<xattrdir>";
/// What stands for the path of a file that is deleted and still open (libzfs_diff.c, `get_stats_for_obj`).
const DELETE_QUEUE: &[u8] = b"(on_delete_queue)";

/// A line of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) what: What,
    pub(crate) is_directory: bool,
    /// Relative to the snapshot's root.
    pub(crate) path: PathBuf,
}

/// What happened to a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Added,
    Removed,
    Modified,
    /// The path is the old one; the new one follows, where there is one still.
    Renamed(Option<PathBuf>),
}

/// Reads the output of a comparison of two data sets, the later of which is mounted at `mount_point`.
///
/// # Errors
///
/// A line of another form: it may be that something that changed is not understood.
pub(crate) fn parse(output: &[u8], mount_point: &Path) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for line in output.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        let unexpected = || Error::parse("a line of `zfs diff`", line);
        lines.extend(parse_line(line, mount_point).ok_or_else(unexpected)?);
    }
    Ok(lines)
}

/// Reads a line; the inner `None` is one that says nothing about the trees.
fn parse_line(line: &[u8], mount_point: &Path) -> Option<Option<Line>> {
    let mut fields = line.split(|byte| *byte == b'\t');
    let (what, kind, path) = (fields.next()?, fields.next()?, fields.next()?);
    let last = fields.next();
    if fields.next().is_some() {
        return None;
    }
    let path = relative(path, mount_point)?;
    let what = match (what, last) {
        (b"+", None) => What::Added,
        (b"-", None) => What::Removed,
        // With the change of the number of links in brackets.
        (b"M", None | Some([b'(', .., b')'])) => What::Modified,
        (b"R", Some(new)) => What::Renamed(relative(new, mount_point)?),
        _ => return None,
    };
    let is_directory = kind == b"/";
    Some(path.map(|path| Line {
        what,
        is_directory,
        path,
    }))
}

/// The path below the mount point; the inner `None` is a file without one.
fn relative(field: &[u8], mount_point: &Path) -> Option<Option<PathBuf>> {
    use std::os::unix::ffi::OsStrExt;
    let path = unescape(field)?;
    let below = path.strip_prefix(mount_point.as_os_str().as_bytes())?;
    match below {
        DELETE_QUEUE => Some(None),
        [] => Some(Some(PathBuf::new())),
        [b'/', rest @ ..] => Some(Some(OsString::from_vec(rest.to_vec()).into())),
        _ => None,
    }
}

/// Undoes the escapes: a backslash and four octal digits stand for a byte (libzfs_diff.c, `stream_bytes`).
fn unescape(field: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'\\' {
            let digits = std::str::from_utf8(tail.get(..4)?).ok()?;
            bytes.push(u8::try_from(u32::from_str_radix(digits, 8).ok()?).ok()?);
            rest = &tail[4..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    Some(bytes)
}

/// The file that a path within the attributes of a file belongs to.
pub(crate) fn owner_of_attribute(path: &Path) -> Option<PathBuf> {
    let mut owner = PathBuf::new();
    for part in path {
        if part == XATTR_DIR {
            return Some(owner);
        }
        owner.push(part);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Line> {
        parse(text.as_bytes(), Path::new("/m n")).unwrap()
    }

    fn line(what: What, is_directory: bool, path: &str) -> Line {
        Line {
            what,
            is_directory,
            path: path.into(),
        }
    }

    #[test]
    fn every_kind_of_line_is_read() {
        let text = "M\t/\t/m\\0040n/\n\
                    +\tF\t/m\\0040n/new\\0012line\n\
                    -\t@\t/m\\0040n/gone\n\
                    M\tF\t/m\\0040n/linked\t(+1)\n\
                    R\t/\t/m\\0040n/old\t/m\\0040n/dir/new\\0303\\0244\n";
        let renamed = What::Renamed(Some("dir/newä".into()));
        assert_eq!(
            read(text),
            [
                line(What::Modified, true, ""),
                line(What::Added, false, "new\nline"),
                line(What::Removed, false, "gone"),
                line(What::Modified, false, "linked"),
                line(renamed, true, "old"),
            ]
        );
    }

    #[test]
    fn what_is_deleted_and_open_has_no_path() {
        assert_eq!(read("+\tF\t/m\\0040n(on_delete_queue)\n"), []);
        assert_eq!(
            read("R\tF\t/m\\0040n/f\t/m\\0040n(on_delete_queue)\n"),
            [line(What::Renamed(None), false, "f")]
        );
    }

    #[test]
    fn another_form_is_an_error() {
        for text in [
            "M\tF\n",
            "X\tF\t/m\\0040n/f\n",
            "M\tF\t/elsewhere/f\n",
            "M\tF\t/m\\0040n/f\t+1\n",
            "M\tF\t/m\\0040n/f\\00\n",
            "R\tF\t/m\\0040n/f\n",
        ] {
            assert!(parse(text.as_bytes(), Path::new("/m n")).is_err(), "{text}");
        }
    }

    #[test]
    fn an_attribute_belongs_to_its_file() {
        let owner = |path: &str| owner_of_attribute(Path::new(path));
        assert_eq!(owner("a/f/<xattrdir>/user.x"), Some("a/f".into()));
        assert_eq!(owner("a/f"), None);
    }
}
