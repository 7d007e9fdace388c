//! Archives that pass through a faulty store: taken apart into members, changed, put together again.
//!
//! An archive that would not come out the same without a change, a compressed or a broken one for example, passes as it is.

use cowlab_tarball::record;

/// What a faulty store does to archives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StreamFault {
    /// To those that it is given.
    Applied(Filter),
    /// To those that it makes.
    Made(Filter),
}

/// What is done to the members of an archive.
pub(crate) type Filter = fn(Vec<Member>) -> Vec<Member>;

/// The size of a header, and what contents are padded to.
const BLOCK: usize = 512;
/// Where a ustar header has what, and how long that is (pax(1), "ustar Header Block").
const NAME: (usize, usize) = (0, 100);
const MODE: (usize, usize) = (100, 8);
const UID: (usize, usize) = (108, 8);
const GID: (usize, usize) = (116, 8);
const SIZE: (usize, usize) = (124, 12);
const MTIME: (usize, usize) = (136, 12);
const SUM: (usize, usize) = (148, 8);
const KIND: usize = 156;
const LINK: (usize, usize) = (157, 100);
const MAJOR: (usize, usize) = (329, 8);
const MINOR: (usize, usize) = (337, 8);
const PREFIX: (usize, usize) = (345, 155);

/// A member of an archive: its header, the records of its extended header, its content.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    extended: Option<[u8; BLOCK]>,
    header: [u8; BLOCK],
    /// The records of its extended header.
    pub(crate) records: Vec<(String, Vec<u8>)>,
    /// Its content.
    pub(crate) content: Vec<u8>,
}

impl Member {
    /// Its type: `b'0'` for a file, `b'5'` for a directory.
    pub(crate) const fn kind(&self) -> u8 {
        self.header[KIND]
    }

    /// Its name.
    pub(crate) fn name(&self) -> Vec<u8> {
        self.text("path", NAME)
    }

    /// The last part of its name.
    pub(crate) fn last_name(&self) -> Vec<u8> {
        let name = self.name();
        let trimmed = name.strip_suffix(b"/").unwrap_or(&name);
        let start = trimmed.iter().rposition(|byte| *byte == b'/');
        trimmed[start.map_or(0, |slash| slash + 1)..].to_vec()
    }

    /// The directory that its name is in.
    pub(crate) fn directory(&self) -> Vec<u8> {
        let name = self.name();
        let length = name.len() - self.last_name().len() - usize::from(name.ends_with(b"/"));
        name[..length].to_vec()
    }

    /// What it is a link to.
    pub(crate) fn link(&self) -> Vec<u8> {
        self.text("linkpath", LINK)
    }

    /// Whether it is a whiteout or an opaque whiteout.
    pub(crate) fn is_whiteout(&self) -> bool {
        self.last_name().starts_with(b".wh.")
    }

    /// Whether it is an opaque whiteout.
    pub(crate) fn is_opaque(&self) -> bool {
        self.last_name() == b".wh..wh..opq"
    }

    /// Its mode.
    pub(crate) fn mode(&self) -> u64 {
        self.octal(MODE).unwrap_or(0)
    }

    /// Its device numbers.
    pub(crate) fn device(&self) -> (u64, u64) {
        (
            self.octal(MAJOR).unwrap_or(0),
            self.octal(MINOR).unwrap_or(0),
        )
    }

    /// The value of a record.
    pub(crate) fn record(&self, key: &str) -> Option<&[u8]> {
        let found = self.records.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_slice())
    }

    /// Gives it another name.
    pub(crate) fn set_name(&mut self, name: &[u8]) {
        self.set_text("path", NAME, name);
    }

    /// Makes it a link to something else.
    pub(crate) fn set_link(&mut self, link: &[u8]) {
        self.set_text("linkpath", LINK, link);
    }

    /// Makes it of another type.
    pub(crate) const fn set_kind(&mut self, kind: u8) {
        self.header[KIND] = kind;
    }

    /// Gives it another mode.
    pub(crate) fn set_mode(&mut self, mode: u64) {
        self.set_octal(MODE, mode);
    }

    /// Gives it another owner.
    pub(crate) fn set_owner(&mut self, uid: u64, gid: u64) {
        self.lose_records(|key, _| key == "uid" || key == "gid");
        self.set_octal(UID, uid);
        self.set_octal(GID, gid);
    }

    /// Gives it other device numbers.
    pub(crate) fn set_device(&mut self, major: u64, minor: u64) {
        self.set_octal(MAJOR, major);
        self.set_octal(MINOR, minor);
    }

    /// Gives it another modification time.
    pub(crate) fn set_mtime(&mut self, seconds: u64) {
        self.lose_records(|key, _| key == "mtime");
        self.set_octal(MTIME, seconds);
    }

    /// Gives it other content.
    pub(crate) fn set_content(&mut self, content: Vec<u8>) {
        self.lose_records(|key, _| key == "size");
        self.content = content;
    }

    /// Changes a record.
    pub(crate) fn change_record(&mut self, key: &str, change: impl FnOnce(&[u8]) -> Vec<u8>) {
        if let Some((_, value)) = self.records.iter_mut().find(|(known, _)| known == key) {
            *value = change(value);
        }
    }

    /// Removes the directories that a ustar header has in a field of their own.
    pub(crate) fn lose_prefix(&mut self) {
        self.header[PREFIX.0..PREFIX.0 + PREFIX.1].fill(0);
    }

    /// Removes records.
    pub(crate) fn lose_records(&mut self, lost: impl Fn(&str, &[u8]) -> bool) {
        self.records.retain(|(key, value)| !lost(key, value));
    }

    fn text(&self, key: &str, (at, length): (usize, usize)) -> Vec<u8> {
        if let Some(value) = self.record(key) {
            return value.to_vec();
        }
        let field = &self.header[at..at + length];
        let end = field.iter().position(|byte| *byte == 0);
        field[..end.unwrap_or(length)].to_vec()
    }

    fn set_text(&mut self, key: &str, (at, length): (usize, usize), text: &[u8]) {
        self.lose_records(|known, _| known == key);
        if text.len() > length {
            self.records.push((key.to_owned(), text.to_vec()));
        }
        let short = &text[..text.len().min(length)];
        self.header[at..at + length].fill(0);
        self.header[at..at + short.len()].copy_from_slice(short);
    }

    fn octal(&self, field: (usize, usize)) -> Option<u64> {
        octal(&self.header, field)
    }

    fn set_octal(&mut self, (at, length): (usize, usize), number: u64) {
        let digits = format!("{number:0width$o}\0", width = length - 1);
        self.header[at..at + length].copy_from_slice(digits.as_bytes());
    }

    fn write(&self, tar: &mut Vec<u8>) {
        if !self.records.is_empty() {
            let body = self
                .records
                .iter()
                .flat_map(|(key, value)| record(key, value));
            let mut extended = Self {
                extended: None,
                header: self.extended.unwrap_or(self.header),
                records: Vec::new(),
                content: body.collect(),
            };
            extended.header[KIND] = b'x';
            extended.write(tar);
        }
        let mut header = self.clone();
        // A link may tell the size of what it is a link to.
        if octal(&self.header, SIZE) != u64::try_from(self.content.len()).ok()
            && self.kind() != b'1'
            && self.record("size").is_none()
        {
            header.set_octal(SIZE, u64::try_from(self.content.len()).unwrap_or(u64::MAX));
        }
        let old = self.header[SUM.0..SUM.0 + SUM.1].to_vec();
        let sum = sum(&header.header);
        if octal(&self.header, SUM) != Some(sum) {
            header.header[SUM.0..SUM.0 + SUM.1].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        } else {
            header.header[SUM.0..SUM.0 + SUM.1].copy_from_slice(&old);
        }
        tar.extend_from_slice(&header.header);
        tar.extend_from_slice(&self.content);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
}

/// The sum over a header, in which the field of the sum counts as spaces.
fn sum(header: &[u8; BLOCK]) -> u64 {
    let at = |(index, byte): (usize, &u8)| match (SUM.0..SUM.0 + SUM.1).contains(&index) {
        true => u64::from(b' '),
        false => u64::from(*byte),
    };
    header.iter().enumerate().map(at).sum()
}

fn octal(header: &[u8; BLOCK], (at, length): (usize, usize)) -> Option<u64> {
    let text = std::str::from_utf8(&header[at..at + length]).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

/// Changes an archive, where that is possible.
pub(crate) fn pass(archive: Vec<u8>, filter: Filter) -> Vec<u8> {
    let Some((members, end)) = take_apart(&archive) else {
        return archive;
    };
    let end = archive[end..].to_vec();
    if put_together(&members, &end) != archive {
        return archive;
    }
    put_together(&filter(members), &end)
}

/// The targets of the symbolic links of an archive with the last names of the files whose names lead through them.
pub(super) fn through_links(archive: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (members, _) = take_apart(archive).unwrap_or_default();
    let is_link = |member: &&Member| member.kind() == b'2';
    let links: Vec<_> = members.iter().filter(is_link).collect();
    let files = members.iter().filter(|member| member.kind() == b'0');
    let pairs = files.flat_map(|file| {
        let dir = file.directory();
        let dir = dir.strip_suffix(b"/").unwrap_or(&dir).to_vec();
        let through = links.iter().filter(move |link| {
            let name = link.name();
            name.strip_suffix(b"/").unwrap_or(&name) == dir
        });
        through.map(|link| (link.link(), file.last_name()))
    });
    pairs.collect()
}

fn put_together(members: &[Member], end: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    for member in members {
        member.write(&mut tar);
    }
    tar.extend_from_slice(end);
    tar
}

/// The members, and where the zeros after the last one begin.
fn take_apart(archive: &[u8]) -> Option<(Vec<Member>, usize)> {
    let mut members = Vec::new();
    let (mut at, mut extended, mut records) = (0, None, Vec::new());
    while let Some(header) = archive.get(at..at + BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let header: [u8; BLOCK] = header.try_into().ok()?;
        let told = records
            .iter()
            .find(|(key, _): &&(String, Vec<u8>)| key == "size");
        let told = told.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
        let size = if header[KIND] == b'1' {
            0
        } else {
            told.or_else(|| octal(&header, SIZE))?
        };
        let start = at + BLOCK;
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        let content = archive.get(start..end)?.to_vec();
        at = end.next_multiple_of(BLOCK);
        if header[KIND] == b'x' {
            records = take_records(&content)?;
            extended = Some(header);
            continue;
        }
        members.push(Member {
            extended: extended.take(),
            header,
            records: std::mem::take(&mut records),
            content,
        });
    }
    Some((members, at))
}

fn take_records(mut body: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let mut records = Vec::new();
    while !body.is_empty() {
        let space = body.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&body[..space]).ok()?.parse().ok()?;
        let text = body.get(space + 1..length.checked_sub(1)?)?;
        let equals = text.iter().position(|byte| *byte == b'=')?;
        let key = std::str::from_utf8(&text[..equals]).ok()?.to_owned();
        records.push((key, text[equals + 1..].to_vec()));
        body = body.get(length..)?;
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use cowlab_tarball::{Entry, archive};

    use super::*;

    #[test]
    fn an_archive_without_a_change_is_the_same() {
        let entries = [
            Entry::dir("d/"),
            Entry::file("n".repeat(200), vec![b'x'; 700]).owner(1 << 22, 5),
            Entry::link("l", "d/f"),
            Entry::special("null", b'3', 1, 3),
        ];
        let tar = archive(&entries);
        let (members, end) = take_apart(&tar).unwrap();
        assert_eq!(members.len(), entries.len());
        assert_eq!(put_together(&members, &tar[end..]), tar);
    }

    #[test]
    fn a_changed_member_is_read_back() {
        let tar = pass(archive(&[Entry::file("d/f", "text")]), |mut members| {
            members[0].set_name(&[b'n'; 150]);
            members[0].set_content(b"other".to_vec());
            members
        });
        let (members, _) = take_apart(&tar).unwrap();
        assert_eq!(members[0].name(), [b'n'; 150]);
        assert_eq!(members[0].content, b"other");
    }
}
