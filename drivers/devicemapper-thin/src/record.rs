//! What the driver writes down about its pool, in the file `pool` of its root.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use cowlab_driver::Result;
use cowlab_sys::durability::{fsync_dir, fsync_file};
use cowlab_sys::{Error, io};

/// The version of this file.
const FORMAT: &str = "1";

/// The pool of a store, and what its snapshots are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The pool's name.
    pub(crate) pool: String,
    /// Its UUID in device-mapper; empty where it had none.
    pub(crate) uuid: String,
    /// The transaction id that marks its metadata as this store's.
    pub(crate) mark: u64,
    /// The file system of every snapshot.
    pub(crate) filesystem: String,
    /// The size of every snapshot, in sectors.
    pub(crate) sectors: u64,
    /// The pool's table as it was, for people who have to make it again after a reboot.
    pub(crate) table: String,
    /// Inodes in use in an empty snapshot; `None` until the base device is made.
    pub(crate) inodes: Option<u64>,
}

impl Record {
    /// Reads the record in `root`; `None` where there is none.
    pub(crate) fn read(root: &Path) -> Result<Option<Self>> {
        let path = root.join("pool");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => io("read", &path, read)?,
        };
        let parsed = Self::parse(&text);
        Ok(Some(parsed.ok_or_else(|| {
            Error::parse("the record of a pool", text.clone())
        })?))
    }

    fn parse(text: &str) -> Option<Self> {
        let fields: BTreeMap<_, _> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let field = |name| fields.get(name).map(|value| (*value).to_owned());
        if field("format")? != FORMAT {
            return None;
        }
        let inodes = match field("inodes") {
            Some(inodes) => Some(inodes.parse().ok()?),
            None => None,
        };
        Some(Self {
            pool: field("pool")?,
            uuid: field("uuid")?,
            mark: field("mark")?.parse().ok()?,
            filesystem: field("filesystem")?,
            sectors: field("sectors")?.parse().ok()?,
            table: field("table")?,
            inodes,
        })
    }

    /// Puts the record on disk, whole.
    pub(crate) fn write(&self, root: &Path) -> Result<()> {
        let Self {
            pool,
            uuid,
            mark,
            filesystem,
            sectors,
            table,
            inodes,
        } = self;
        let mut text = format!(
            "format={FORMAT}\npool={pool}\nuuid={uuid}\nmark={mark}\nfilesystem={filesystem}\n\
             sectors={sectors}\ntable={table}\n"
        );
        if let Some(inodes) = inodes {
            text.push_str(&format!("inodes={inodes}\n"));
        }
        let (path, fresh) = (root.join("pool"), root.join("tmp/pool"));
        write_flushed(&fresh, &text)?;
        io("rename", &path, fs::rename(&fresh, &path))?;
        Ok(fsync_dir(root)?)
    }
}

/// Writes a small file and flushes it.
pub(crate) fn write_flushed(path: &Path, text: &str) -> Result<()> {
    let mut file = io("open", path, File::create(path))?;
    io("write", path, file.write_all(text.as_bytes()))?;
    Ok(fsync_file(&file, path)?)
}

/// Removes a small file, if it is there.
pub(crate) fn remove_if_present(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => Ok(io("unlink", path, removed)?),
    }
}

/// Reads a small file; `None` where there is none.
pub(crate) fn read_if_present(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => Ok(Some(io("read", path, read)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("tmp")).unwrap();
        assert_eq!(Record::read(root.path()).unwrap(), None);
        let mut record = Record {
            pool: "p".into(),
            uuid: String::new(),
            mark: u64::MAX,
            filesystem: "xfs".into(),
            sectors: 8,
            table: "0 8 thin-pool 7:1 7:0 128 0".into(),
            inodes: None,
        };
        for inodes in [None, Some(3)] {
            record.inodes = inodes;
            record.write(root.path()).unwrap();
            assert_eq!(Record::read(root.path()).unwrap(), Some(record.clone()));
        }
        fs::write(root.path().join("pool"), "format=2\n").unwrap();
        assert!(Record::read(root.path()).is_err());
    }
}
