//! Comparing a snapshot with its parent, or with any other: the list of changes, and the layer.
//!
//! A driver only says where to look, so every driver gives the same answer.

use std::io::{Read, Write};
use std::path::Path;

use cowlab_layer::changes::{self, Change};
use cowlab_layer::diff::{self, DiffOptions, Written};
use cowlab_layer::recipe::{self, Rebuilt};
use cowlab_layer::stream::ReadOptions;
use cowlab_layer::verify;

use crate::Error;
use crate::Result;
use crate::locks::Hold;
use crate::readable::Readable;
use crate::row::{self, Row};
use crate::store::Store;
use crate::trace::CopiedUp;

impl Store {
    /// Lists the paths in which a snapshot differs from its parent, sorted by their bytes. Everything is
    /// added in a snapshot without a parent. An active snapshot may be mounted, but whoever writes to it
    /// meanwhile gets a list of neither state.
    ///
    /// Costs O(changes + entries of changed directories) where the driver can tell where to look, else a
    /// walk of both trees.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Layer`], [`Error::Driver`].
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn changes(&self, key: &str) -> Result<Vec<Change>> {
        self.compare(key, None, |_, _, changes| Ok(changes))
    }

    /// Lists the paths in which a snapshot differs from any other one, `base`. Costs a walk of both trees, unless `base` is
    /// the parent.
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn changes_since(&self, base: &str, key: &str) -> Result<Vec<Change>> {
        self.compare(key, Some(base), |_, _, changes| Ok(changes))
    }

    /// Writes the difference between a snapshot and its parent as a layer: an uncompressed tar archive that,
    /// applied to the parent, gives the same tree.
    ///
    /// # Errors
    ///
    /// As [`changes`](Self::changes); [`Error::Layer`] also when `sink` fails.
    #[tracing::instrument(level = "debug", skip(self, sink, options))]
    pub fn diff(&self, key: &str, sink: &mut dyn Write, options: &DiffOptions) -> Result<Written> {
        self.compare(key, None, |shown, _, changes| {
            diff::write(shown.path(), &changes, sink, options)
                .map_err(Error::layer("write the layer of", key))
        })
    }

    /// Writes the layer that, applied to `base`, gives the tree of the snapshot.
    #[tracing::instrument(level = "debug", skip(self, sink, options))]
    pub fn diff_since(
        &self,
        base: &str,
        key: &str,
        sink: &mut dyn Write,
        options: &DiffOptions,
    ) -> Result<Written> {
        self.compare(key, Some(base), |shown, _, changes| {
            diff::write(shown.path(), &changes, sink, options)
                .map_err(Error::layer("write the layer of", key))
        })
    }

    /// Writes the layer of some of the changes: those that `select` leaves in the list, which holds a directory and what is below it
    /// one by one.
    #[tracing::instrument(level = "debug", skip(self, select, sink, options))]
    pub fn diff_of(
        &self,
        key: &str,
        select: impl FnOnce(&mut Vec<Change>),
        sink: &mut dyn Write,
        options: &DiffOptions,
    ) -> Result<Written> {
        self.compare(key, None, |shown, _, mut changes| {
            select(&mut changes);
            diff::write(shown.path(), &changes, sink, options)
                .map_err(Error::layer("write the layer of", key))
        })
    }

    /// Writes the whole tree of a snapshot as a tar archive, except what `keep` is false of.
    #[tracing::instrument(level = "debug", skip(self, keep, sink, options))]
    pub fn export(
        &self,
        key: &str,
        keep: impl Fn(&Change) -> bool,
        sink: &mut dyn Write,
        options: &DiffOptions,
    ) -> Result<Written> {
        let (row, lock) = self.hold(key, Hold::Shared)?;
        let written = self.compare_rows(&row, None, |shown, _, mut changes| {
            changes.retain(&keep);
            diff::write(shown.path(), &changes, sink, options).map_err(Error::layer("export", key))
        });
        drop(lock);
        self.release(row.id);
        written
    }

    /// Counts what a snapshot copied from its parent and what it removed. Costs as much as [`changes`](Self::changes).
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn copied(&self, key: &str) -> Result<CopiedUp> {
        let id = self.stat(key)?.id;
        self.compare(key, None, |shown, parent, changes| {
            let Some(parent) = parent else {
                return Ok(CopiedUp::default());
            };
            self.count_copied(key, id, (shown, parent), &changes)
        })
    }

    /// Makes the archive again that a snapshot was made of, by the recipe that [`apply_recorded`](Self::apply_recorded) wrote.
    /// The caller proves the digest.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Driver`]; [`Error::Layer`] for a broken recipe and when `sink` fails. Content that is
    /// not what it was is no error: [`Rebuilt::lost`].
    #[tracing::instrument(level = "debug", skip(self, recipe, sink))]
    pub fn rebuild(
        &self,
        name: &str,
        recipe: &mut dyn Read,
        sink: &mut dyn Write,
    ) -> Result<Rebuilt> {
        let (row, lock) = self.hold(name, Hold::Shared)?;
        let rebuilt = self.open_readable(&row).and_then(|shown| {
            recipe::rebuild(recipe, shown.path(), sink)
                .map_err(Error::layer("make the archive again of", name))
        });
        drop(lock);
        self.release(row.id);
        rebuilt
    }

    /// Verifies a committed snapshot against its layer, without unpacking. True proves equality; false proves nothing: see
    /// [`verify`].
    ///
    /// # Errors
    ///
    /// As [`changes`](Self::changes), and what is wrong with the layer's stream.
    #[tracing::instrument(level = "debug", skip(self, source, options))]
    pub fn verify_layer(
        &self,
        name: &str,
        source: &mut (dyn Read + Send),
        options: &ReadOptions,
    ) -> Result<bool> {
        let (row, lock) = self.hold(name, Hold::Shared)?;
        let mentioned_paths = self.open_readable(&row).and_then(|shown| {
            verify::verify(shown.path(), source, options)
                .map_err(Error::layer("compare with its layer", name))
        });
        drop(lock);
        self.release(row.id);
        let Some(mentioned_paths) = mentioned_paths? else {
            return Ok(false);
        };
        let changes = self.changes(name)?;
        Ok(changes
            .iter()
            .all(|change| mentioned_paths.contains(&change.path)))
    }

    /// Whether nothing was written to a committed snapshot since, as the change times in its own part tell: a yes costs no reading
    /// of files, a no is none yet, for a restored backup has new times too. Snapshots that are block devices of their own are
    /// not looked into.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Driver`].
    #[tracing::instrument(level = "debug", skip(self))]
    pub fn is_as_committed(&self, name: &str) -> Result<bool> {
        let (row, lock) = self.hold(name, Hold::Shared)?;
        let failed = || Error::driver("look into", name);
        let looked = (|| {
            let candidates = self.driver.candidates(&self.chain(&row)?);
            let candidates = candidates.map_err(failed())?;
            if candidates.is_none() && self.driver.keeps_inodes(row.id).map_err(failed())? {
                return Ok(true);
            }
            let shown = self.open_readable(&row)?;
            changes::is_older(shown.path(), candidates.as_deref(), row.created())
                .map_err(Error::layer("look into", name))
        })();
        drop(lock);
        self.release(row.id);
        looked
    }

    /// Compares a snapshot with `base`, or with its parent.
    fn compare<T>(
        &self,
        key: &str,
        base: Option<&str>,
        work: impl FnOnce(&Readable, Option<&Readable>, Vec<Change>) -> Result<T>,
    ) -> Result<T> {
        let (row, lock) = self.hold(key, Hold::Shared)?;
        let (base, base_lock) = match (base, row.parent) {
            (Some(base), _) => {
                let (base, lock) = self.hold(base, Hold::Shared)?;
                (Some(base), Some(lock))
            }
            (None, Some(parent)) => {
                let parent = self.database.read(|tx| row::by_id(tx, parent))?;
                let lock = parent.as_ref().map(|row| self.share(row)).transpose()?;
                (parent, lock)
            }
            (None, None) => (None, None),
        };
        let done = self.compare_rows(&row, base.as_ref(), work);
        // The driver takes both back only when nobody holds their locks.
        drop((lock, base_lock));
        self.release(row.id);
        if let Some(base) = base {
            self.release(base.id);
        }
        done
    }

    fn compare_rows<T>(
        &self,
        row: &Row,
        base_row: Option<&Row>,
        work: impl FnOnce(&Readable, Option<&Readable>, Vec<Change>) -> Result<T>,
    ) -> Result<T> {
        let shown = self.open_readable(row)?;
        let base = base_row.map(|base| self.open_readable(base)).transpose()?;
        let changes = match (base_row, &base) {
            (Some(parent_row), Some(parent)) if row.parent == Some(parent_row.id) => {
                self.changes_of_child(row, parent_row, (parent.path(), shown.path()))?
            }
            _ => changes::between(base.as_ref().map(Readable::path), shown.path(), None)
                .map_err(Error::layer("compare", &row.name))?,
        };
        tracing::debug!(key = row.name, changes = changes.len(), "compared");
        work(&shown, base.as_ref(), changes)
    }

    /// Compares a snapshot with its parent in the cheapest way that the driver allows. Where somebody writes meanwhile, this sees
    /// what was written before.
    fn changes_of_child(
        &self,
        row: &Row,
        parent_row: &Row,
        (parent, root): (&Path, &Path),
    ) -> Result<Vec<Change>> {
        let failed = || Error::driver("compare", &row.name);
        let candidates = self.driver.candidates(&self.chain(row)?);
        let changes = match candidates.map_err(failed())? {
            Some(candidates) => changes::between(Some(parent), root, Some(&candidates)),
            None if self.driver.keeps_inodes(row.id).map_err(failed())? => {
                changes::between_copies(parent, root, parent_row.created())
            }
            None => changes::between(Some(parent), root, None),
        };
        changes.map_err(Error::layer("compare", &row.name))
    }
}
