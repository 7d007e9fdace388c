//! Image archives: a tar file with an OCI image layout, with what `docker save` writes, or with both in one.
//!
//! An archive is read once, from a pipe as well. Each file in it becomes a blob under its digest at once, for all that
//! matters in such an archive is named by a digest; names are only looked up afterwards, never opened.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use tar_core::parse::{Limits, ParseEvent, Parser};
use tar_core::{EntryType, HEADER_SIZE};

use super::compression;
use crate::blobs::Stored;
use crate::{Error, Result, Root};

/// The most members of an archive: docker's have a handful for each layer.
const MEMBER_LIMIT: usize = 20_000;
/// The most links from a name to its file.
const LINK_LIMIT: usize = 8;
/// The most bytes of names and extended headers of one member.
const METADATA_LIMIT: u32 = 1 << 20;

/// What an archive has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Member {
    /// A file, kept as a blob.
    File(Stored),
    /// The name that a link leads to: docker writes symbolic links for layers that images share, tar(1) hard ones for files
    /// that it has written before.
    Link(String),
}

/// The members of an archive, by name without `./` in front.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) path: PathBuf,
    names: BTreeMap<String, Member>,
}

impl Members {
    /// Reads an archive, plain or compressed, and keeps its files as blobs.
    pub(crate) fn read(root: &Root, path: &Path, source: &mut (dyn Read + Send)) -> Result<Self> {
        let mut members = Self {
            path: path.to_owned(),
            names: BTreeMap::new(),
        };
        let filled = members.fill(root, source);
        if filled.is_err() {
            members.forget(root)?;
        }
        filled.map(|()| members)
    }

    fn fill(&mut self, root: &Root, source: &mut (dyn Read + Send)) -> Result<()> {
        let from = self.path.display().to_string();
        let mut archive = Archive::new(&self.path, source)?;
        while let Some((name, kind)) = archive.next()? {
            let member = match kind {
                Kind::File => {
                    let kept = root.blobs().keep(&mut archive, None, &from);
                    if let Some(broken) = &archive.broken {
                        return Err(self.bad(broken.clone()));
                    }
                    Member::File(kept?)
                }
                Kind::Link(target) => Member::Link(target),
                Kind::Other => continue,
            };
            self.names.insert(name, member);
            if self.names.len() > MEMBER_LIMIT {
                return Err(self.bad(format!("it has more than {MEMBER_LIMIT} members")));
            }
        }
        Ok(())
    }

    /// The file under a name, through a few links.
    pub(crate) fn file(&self, name: &str) -> Option<Stored> {
        let mut name = within("", name)?;
        for _ in 0..LINK_LIMIT {
            match self.names.get(&name)? {
                Member::File(stored) => return Some(*stored),
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }

    /// Removes the blobs that came with the archive and that nothing names.
    pub(crate) fn forget(&self, root: &Root) -> Result<()> {
        let used = root.graph().used_blobs()?;
        let files = self.names.values().filter_map(|member| match member {
            Member::File(stored) => Some(*stored),
            Member::Link(_) => None,
        });
        let files: Vec<_> = files.collect();
        root.blobs().roll_back(&files, &used)?;
        Ok(())
    }

    pub(crate) fn bad(&self, reason: String) -> Error {
        Error::Archive {
            path: self.path.clone(),
            reason,
        }
    }
}

/// The name that a text means in a directory of the archive, if it stays in the archive.
fn within(dir: &str, text: &str) -> Option<String> {
    if text.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in dir.split('/').chain(text.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The name that a symbolic link leads to, in the archive.
fn beside(name: &str, target: &str) -> Option<String> {
    within(name.rsplit_once('/').map_or("", |(dir, _)| dir), target)
}

#[derive(Debug)]
enum Kind {
    File,
    Link(String),
    Other,
}

/// A tar archive that is being read; reading from it gives what is left of the current member.
struct Archive<'a> {
    path: &'a Path,
    input: Box<dyn Read + Send + 'a>,
    parser: Parser,
    head: Vec<u8>,
    content: u64,
    padding: u64,
    /// Why reading failed, which an error of input and output does not tell whole.
    broken: Option<String>,
}

impl<'a> Archive<'a> {
    fn new(path: &'a Path, source: &'a mut (dyn Read + Send)) -> Result<Self> {
        let bad = |error: std::io::Error| Error::Archive {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let (packing, whole) = compression::detect(source).map_err(bad)?;
        let input = compression::unpacked(packing, whole).map_err(bad)?;
        let limits = Limits {
            max_metadata_size: METADATA_LIMIT,
            ..Limits::default()
        };
        let mut parser = Parser::new(limits);
        parser.set_ignore_pax_errors(true);
        Ok(Self {
            path,
            input,
            parser,
            head: Vec::new(),
            content: 0,
            padding: 0,
            broken: None,
        })
    }

    fn bad(&self, reason: String) -> Error {
        Error::Archive {
            path: self.path.to_owned(),
            reason,
        }
    }

    /// Skips what is left of a member and tells of the next.
    fn next(&mut self) -> Result<Option<(String, Kind)>> {
        std::io::copy(self, &mut std::io::sink()).map_err(|error| self.bad(error.to_string()))?;
        self.content = std::mem::take(&mut self.padding);
        std::io::copy(self, &mut std::io::sink()).map_err(|error| self.bad(error.to_string()))?;
        let mut wanted = HEADER_SIZE;
        loop {
            self.gather(wanted)?;
            match self.parser.parse(&self.head) {
                Ok(ParseEvent::NeedData { min_bytes }) => {
                    if self.head.len() < wanted {
                        return Err(self.bad("it is cut off, or no tar archive".to_owned()));
                    }
                    wanted = min_bytes;
                }
                Ok(ParseEvent::Entry { consumed, entry }) => {
                    let name = String::from_utf8_lossy(&entry.path).into_owned();
                    let target = entry.link_target.as_deref().unwrap_or_default();
                    let target = String::from_utf8_lossy(target);
                    // What lies or leads outside of the archive is nothing that a manifest can name.
                    let kind = match entry.entry_type {
                        EntryType::Regular | EntryType::Continuous => Some(Kind::File),
                        EntryType::Symlink => beside(&name, &target).map(Kind::Link),
                        EntryType::Link => within("", &target).map(Kind::Link),
                        _ => None,
                    };
                    let kind = kind.unwrap_or(Kind::Other);
                    let name = within("", &name).unwrap_or(name);
                    let is_file = matches!(kind, Kind::File);
                    self.content = if is_file { entry.size } else { 0 };
                    self.padding = self.content.next_multiple_of(512) - self.content;
                    self.head.drain(..consumed);
                    return Ok(Some((name, kind)));
                }
                Ok(ParseEvent::SparseEntry { .. }) => {
                    return Err(
                        self.bad("it has a sparse file, which no image archive has".to_owned())
                    );
                }
                Ok(ParseEvent::GlobalExtensions { consumed, .. }) => {
                    self.head.drain(..consumed);
                    wanted = HEADER_SIZE;
                }
                Ok(ParseEvent::End { .. }) => return Ok(None),
                Err(error) => return Err(self.bad(format!("it is no tar archive: {error}"))),
            }
        }
    }

    /// Reads until `wanted` bytes are at hand or the stream ends.
    fn gather(&mut self, wanted: usize) -> Result<()> {
        let missing = wanted.saturating_sub(self.head.len());
        let limit = u64::try_from(missing).unwrap_or(u64::MAX);
        let read = (&mut self.input).take(limit).read_to_end(&mut self.head);
        read.map(drop).map_err(|error| self.bad(error.to_string()))
    }
}

impl Read for Archive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.read_member(buffer);
        if let Err(error) = &read
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            self.broken = Some(error.to_string());
        }
        read
    }
}

impl Archive<'_> {
    fn read_member(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.content)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = match self.head.is_empty() {
            true => self.input.read(&mut buffer[..most])?,
            false => {
                let count = self.head.len().min(most);
                buffer[..count].copy_from_slice(&self.head[..count]);
                self.head.drain(..count);
                count
            }
        };
        if count == 0 {
            return Err(std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                "it is cut off in the middle of a member",
            ));
        }
        self.content -= u64::try_from(count).unwrap_or(self.content);
        Ok(count)
    }
}
