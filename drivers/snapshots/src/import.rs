//! Applying a layer: one recorded operation from an empty snapshot to a committed one.
//!
//! The snapshot appears under its name when the whole layer is unpacked, its digests are proved and
//! the data is flushed as asked. Until then it is an intent that any failure, or the next open after a
//! crash, removes whole.

use std::io::{Read, Write};

use cowlab_driver::{CreateOptions, Durability, Staging};

use cowlab_layer::apply::{self, Counts, Duplicates, Target};
use cowlab_layer::stream::{Content, ReadOptions};
use cowlab_layer::{DiffId, Digest};

use crate::info::{Info, Kind, Labels};
use crate::lifecycle::PendingOperation;
use crate::readable::Readable;
use crate::row::Operation;
use crate::store::Store;
use crate::suspicion;
use crate::{Error, Result};

/// How a layer is applied.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// The digest that the stream has to have as it comes.
    pub digest: Option<Digest>,
    /// The digest that the archive in it has to have, uncompressed.
    pub diff_id: Option<DiffId>,
    /// The most bytes that the archive may have, uncompressed.
    pub size_limit: Option<u64>,
    /// What happens to a name that the archive has twice.
    pub duplicates: Duplicates,
    /// The labels of the committed snapshot.
    pub labels: Labels,
    /// What the committed snapshot survives.
    pub durability: Durability,
}

impl ApplyOptions {
    /// What the layer has to be, and how it is unpacked.
    fn for_the_layer(&self) -> apply::ApplyOptions {
        apply::ApplyOptions {
            read: ReadOptions {
                digest: self.digest,
                diff_id: self.diff_id,
                size_limit: self.size_limit,
            },
            duplicates: self.duplicates,
            owner: None,
        }
    }
}

/// A layer that was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The committed snapshot.
    pub info: Info,
    /// The digest of the stream as it came.
    pub digest: Digest,
    /// The digest of the archive in it, uncompressed.
    pub diff_id: DiffId,
    /// The length of the stream as it came, in bytes.
    pub size: u64,
    /// The stream's other properties.
    pub content: Content,
    /// What was in the layer.
    pub counts: Counts,
}

impl Store {
    /// Makes a committed snapshot of a parent and a layer: a tar archive, plain or compressed with
    /// gzip or zstd, read from `source` to its end.
    ///
    /// # Errors
    ///
    /// [`Error::Layer`] for a layer that is broken, malicious or not the one asked for, and for a file
    /// system that is full; [`Error::Exists`], [`Error::NotFound`], [`Error::WrongKind`],
    /// [`Error::InvalidKey`], [`Error::Driver`]. Then nothing is there.
    pub fn apply(
        &self,
        name: &str,
        parent: Option<&str>,
        source: &mut (dyn Read + Send),
        options: &ApplyOptions,
    ) -> Result<Applied> {
        self.apply_recorded(name, parent, source, options, None)
    }

    /// As [`apply`](Self::apply), and writes what makes the layer's archive again from the snapshot to `recipe`: see
    /// [`rebuild`](Self::rebuild).
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply), and when the recipe cannot be written.
    #[tracing::instrument(level = "debug", skip(self, source, options, recipe))]
    pub fn apply_recorded(
        &self,
        name: &str,
        parent: Option<&str>,
        source: &mut (dyn Read + Send),
        options: &ApplyOptions,
        recipe: Option<&mut dyn Write>,
    ) -> Result<Applied> {
        let explained = |error| self.explained("apply", name, error);
        let kind = Kind::Committed;
        let pending = self
            .begin(Operation::Apply, kind, name, parent, &options.labels)
            .map_err(explained)?;
        self.warn_of_health();
        match self.fill(name, &pending, source, options, recipe) {
            Ok(applied) => Ok(applied),
            Err(error) => {
                let error = explained(error);
                self.roll_back(pending, &error);
                Err(error)
            }
        }
    }

    fn fill(
        &self,
        name: &str,
        pending: &PendingOperation,
        source: &mut (dyn Read + Send),
        options: &ApplyOptions,
        recipe: Option<&mut dyn Write>,
    ) -> Result<Applied> {
        let failed = || Error::driver("apply a layer to", name);
        let (driver, id) = (&*self.driver, pending.id);
        let create_options = CreateOptions {
            // One flush at the end writes what was copied as well.
            durability: Durability::None,
            ..CreateOptions::default()
        };
        driver
            .create(id, pending.parent.as_ref(), &create_options)
            .map_err(failed())?;
        // An apply that is cut off is rolled back, so nothing of it has to be remembered.
        let watch = driver.write_watch();
        let epoch = match watch {
            Some(watch) => Some(watch.epoch().map_err(failed())?),
            None => None,
        };
        let staging = driver.staging(&pending.chain()).map_err(failed())?;
        let applied = {
            // The mounts end before the freeze, which some drivers cannot do to a mounted snapshot.
            let _mounts;
            let target = match &staging {
                Staging::Union(mounts) => {
                    let shown = Readable::new(mounts).map_err(failed())?;
                    let target = match pending.parent {
                        Some(_) => Target::union(shown.path()),
                        None => Target::base(shown.path()),
                    };
                    _mounts = Some(shown);
                    target
                }
                Staging::Upper {
                    dir,
                    parent,
                    opaque,
                } => {
                    let shown = parent.as_ref().map(Readable::new).transpose();
                    let shown = shown.map_err(failed())?;
                    let target = Target::upper(dir, shown.as_ref().map(Readable::path), opaque);
                    _mounts = shown;
                    target
                }
            };
            let apply_options = options.for_the_layer();
            target
                .and_then(|target| apply::apply_recorded(target, source, &apply_options, recipe))
                .map_err(Error::layer("apply a layer to", name))?
        };
        driver.deactivate(id).map_err(failed())?;
        driver.flush(id, options.durability).map_err(failed())?;
        if let Some((watch, epoch)) = watch.zip(epoch) {
            suspicion::refuse(name, watch.lost_since(&epoch).map_err(failed())?)?;
        }
        driver.freeze(id).map_err(failed())?;
        let content = applied.content;
        warn_of_repeated(&applied);
        Ok(Applied {
            info: self.end_apply(pending, options.durability)?,
            digest: content.digest,
            diff_id: content.diff_id,
            size: content.size,
            content,
            counts: applied.counts,
        })
    }
}

/// Names the layer and the first of the names that it has more than once.
fn warn_of_repeated(applied: &apply::Applied) {
    if let Some(first) = &applied.first_repeated {
        tracing::warn!(
            layer = %applied.content.diff_id,
            entries = applied.counts.repeated,
            "the layer has names twice, {first} first: the last entry of each counts (`--strict` refuses such layers)"
        );
    }
}
