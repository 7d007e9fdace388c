//! Archives made header by header, for the tests and cases that read them: what a tar library refuses to write included.
//!
//! The format is POSIX.1-2001 pax: ustar headers, with extended headers where an entry has records. Nothing is checked, and
//! [`Entry::field`] overwrites whatever a header says. Archives that are meant to be right are written by `cowlab_layer`.

/// When every entry was changed last, in seconds since 1970.
pub const TIME: i64 = 1_000_000_000;

/// One entry of an archive.
#[derive(Debug, Clone)]
pub struct Entry {
    name: Vec<u8>,
    kind: u8,
    mode: u32,
    owner: (u32, u32),
    link: Vec<u8>,
    content: Vec<u8>,
    device: (u32, u32),
    records: Vec<(String, Vec<u8>)>,
    /// What the header has instead at some places of it.
    fields: Vec<(usize, Vec<u8>)>,
}

impl Entry {
    fn new(name: impl AsRef<[u8]>, kind: u8, mode: u32) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            kind,
            mode,
            owner: (0, 0),
            link: Vec::new(),
            content: Vec::new(),
            device: (0, 0),
            records: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// An entry of any type, a `b'S'` or one that nobody knows, whose content is `content`.
    pub fn typed(name: impl AsRef<[u8]>, kind: u8, content: impl AsRef<[u8]>) -> Self {
        Self {
            content: content.as_ref().to_vec(),
            ..Self::new(name, kind, 0o644)
        }
    }

    /// A regular file with mode 0644.
    pub fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self {
            content: content.as_ref().to_vec(),
            ..Self::new(name, b'0', 0o644)
        }
    }

    /// A directory with mode 0755.
    pub fn dir(name: impl AsRef<[u8]>) -> Self {
        Self::new(name, b'5', 0o755)
    }

    /// A symbolic link.
    pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self {
            link: target.as_ref().to_vec(),
            ..Self::new(name, b'2', 0o777)
        }
    }

    /// A hard link to another entry, or to a file of a layer below.
    pub fn link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self {
            link: target.as_ref().to_vec(),
            ..Self::new(name, b'1', 0o644)
        }
    }

    /// A character (`b'3'`) or block (`b'4'`) device, or a FIFO (`b'6'`).
    pub fn special(name: impl AsRef<[u8]>, kind: u8, major: u32, minor: u32) -> Self {
        Self {
            device: (major, minor),
            ..Self::new(name, kind, 0o600)
        }
    }

    /// Sets the mode.
    #[must_use]
    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// Sets the owner: in the header up to 2^21 - 1, beyond that by records.
    #[must_use]
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        for (key, id) in [("uid", uid), ("gid", gid)] {
            if id >= 1 << 21 {
                self = self.record(key, id.to_string());
            }
        }
        self.owner = (uid % (1 << 21), gid % (1 << 21));
        self
    }

    /// Adds a record to the entry's extended header.
    #[must_use]
    pub fn record(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.records.push((key.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Overwrites what the header has at `at`; the checksum is right all the same.
    #[must_use]
    pub fn field(mut self, at: usize, bytes: impl AsRef<[u8]>) -> Self {
        self.fields.push((at, bytes.as_ref().to_vec()));
        self
    }

    /// Has the header tell another size than that of the content, which is padded all the same.
    #[must_use]
    pub fn size(self, size: u64) -> Self {
        self.field(124, format!("{size:011o}"))
    }

    fn write(&self, tar: &mut Vec<u8>) {
        let mut records = self.records.clone();
        // A name of more than 100 bytes goes into a record; the header then holds its beginning.
        for (key, value) in [("path", &self.name), ("linkpath", &self.link)] {
            if value.len() > 100 {
                records.push((key.to_owned(), value.clone()));
            }
        }
        if !records.is_empty() {
            let body: Vec<u8> = records
                .iter()
                .flat_map(|(key, value)| record(key, value))
                .collect();
            Self {
                content: body,
                ..Self::new("PaxHeaders/entry", b'x', 0o644)
            }
            .write_block(tar);
        }
        self.write_block(tar);
    }

    fn write_block(&self, tar: &mut Vec<u8>) {
        let mut block = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, format!("{:07o}", self.owner.0).as_bytes());
        put(116, format!("{:07o}", self.owner.1).as_bytes());
        put(124, format!("{:011o}", self.content.len()).as_bytes());
        put(136, format!("{TIME:011o}").as_bytes());
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}", self.device.0).as_bytes());
        put(337, format!("{:07o}", self.device.1).as_bytes());
        for (at, bytes) in &self.fields {
            put(*at, bytes);
        }
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&block);
        tar.extend_from_slice(&self.content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
}

/// A record of an extended header: `LENGTH KEY=VALUE\n`, the length counting itself (pax, "pax Extended Header").
#[must_use]
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut bytes = format!("{length} {key}=").into_bytes();
    bytes.extend_from_slice(value);
    bytes.push(b'\n');
    bytes
}

/// Writes a whole archive.
#[must_use]
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Vec::new();
    for entry in entries {
        entry.write(&mut tar);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_record_counts_itself() {
        assert_eq!(record("path", b"x"), b"9 path=x\n");
        let long = record("path", &[b'x'; 93]);
        assert!(long.starts_with(b"103 path="));
        assert_eq!(long.len(), 103);
    }

    #[test]
    fn gnu_tar_reads_the_archive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layer.tar");
        let long = "n".repeat(200);
        let entries = [
            Entry::dir("d/"),
            Entry::file(&long, "text"),
            Entry::symlink("s", "d"),
        ];
        std::fs::write(&path, archive(&entries)).unwrap();
        let list = cowlab_sys::cmd::Cmd::new("tar")
            .arg("-tf")
            .arg(&path)
            .read()
            .unwrap();
        assert_eq!(list.lines().collect::<Vec<_>>(), ["d/", &long, "s"]);
    }
}
