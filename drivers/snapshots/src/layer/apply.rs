//! Applying a layer: its archive unpacked over the parent's tree, whiteouts honored, digests proved.
//!
//! A layer that is not what it should be is an error after which the tree is half-made; the caller
//! throws it away. Nothing is flushed; the caller does that too.

use std::io::{Read, Write};

use super::archive::Archive;
use super::error::{EntryName, LayerError, Result};
use super::reader::{self, Content, ReadOptions};
use super::recipe::Recorder;
pub use super::target::{Duplicates, Target};
use super::unpack::Unpacker;
use super::view::View;

/// How a layer is applied.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// What the stream has to be.
    pub read: ReadOptions,
    /// What happens to an entry whose name was there before.
    pub duplicates: Duplicates,
    /// Who owns everything, in place of the owners that the entries have.
    pub owner: Option<(u32, u32)>,
}

/// What a layer was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The stream: digests, sizes, compression.
    pub content: Content,
    /// What was in it.
    pub counts: Counts,
    /// The first name that the layer had twice.
    pub first_repeated: Option<EntryName>,
}

/// What was in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All entries, whiteouts included.
    pub entries: u64,
    /// Whiteouts of either kind.
    pub whiteouts: u64,
    /// Bytes of file content that were written.
    pub bytes: u64,
    /// Entries that replaced an earlier one of the same name, directories that repeat aside.
    pub repeated: u64,
    /// Entries that are no part of the tree: what aufs kept for itself.
    pub skipped: u64,
    /// Extended attributes that were left out, because they belong to a file system or to the
    /// host: `trusted.overlay.`, `user.overlay.`, `user.fuseoverlayfs.`, `security.selinux`, and what is in none of the
    /// name spaces `user`, `trusted` and `security` and no POSIX ACL.
    pub dropped_xattrs: u64,
    /// Device files that were left out, because only the host's root may make them (mknod(2)).
    pub left_out: u64,
}

/// Reads a layer from `source` to its end and unpacks it into `target`.
///
/// # Errors
///
/// Any [`LayerError`]. The tree is half-made then.
pub fn apply_to(
    target: Target,
    source: &mut (dyn Read + Send),
    options: &ApplyOptions,
) -> Result<Applied> {
    apply_recorded(target, source, options, None)
}

/// As [`apply_to`], and writes what makes the layer's archive again to `recipe`: see [`recipe`](super::recipe).
///
/// # Errors
///
/// As [`apply_to`], and when the recipe cannot be written.
pub fn apply_recorded(
    target: Target,
    source: &mut (dyn Read + Send),
    options: &ApplyOptions,
    recipe: Option<&mut dyn Write>,
) -> Result<Applied> {
    let ((counts, first_repeated), content) = reader::read(source, &options.read, |input| {
        let recorder = match recipe {
            Some(recipe) => Some(Recorder::new(recipe)?),
            None => None,
        };
        let mut archive = Archive::new(input, options.read.is_vouched_for(), recorder);
        let mut unpacker = Unpacker::new(View::open(target, options.duplicates)?);
        while let Some(mut entry) = archive.next()? {
            if let Some((uid, gid)) = options.owner {
                (entry.metadata.uid, entry.metadata.gid) = (uid, gid);
            }
            unpacker
                .apply(&entry, &mut archive)
                .map_err(|error| match error {
                    LayerError::Sys(source) => LayerError::Entry {
                        entry: entry.name.clone(),
                        source,
                    },
                    error => error,
                })?;
        }
        archive.finish()?;
        let (counts, first_repeated) = unpacker.finish()?;
        if counts.left_out > 0 {
            let count = counts.left_out;
            tracing::warn!(
                count,
                "device files are left out: only the host's root may make them"
            );
        }
        Ok((counts, first_repeated))
    })?;
    Ok(Applied {
        content,
        counts,
        first_repeated,
    })
}
