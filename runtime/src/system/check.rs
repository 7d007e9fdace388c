//! Checking the root: the store's records against its inventory, blobs against their digests, and layers against the blobs
//! that they were made of.
//!
//! A layer is compared with its blob in place; where that gives no proof, the blob is unpacked once more beside it and the two
//! are compared, so that a change from outside is named file by file, whatever the driver. Repairing unpacks anew: the layer and those above it are removed and made
//! again, which only works while no container is built on them. Of a layer whose blob was discarded, the archive made again
//! stands in for it: it brings back attributes and names, and content only while nobody changed any.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use cowlab_layer::changes::between;
use cowlab_layer::stream::ReadOptions;
use cowlab_layer::{Change, Digest};
use cowlab_snapshots::{ApplyOptions, CheckReport, Error as StoreError, Filter};
use cowlab_sys::IdSource;

use crate::blobs::Stored;
use crate::graph::{LayerRow, LayerState};
use crate::image::PlannedLayer;
use crate::{Error, Result, Root, root};

/// What the name of a layer begins with that is unpacked to be compared.
pub(super) const FRESH: &str = "check-";

/// A layer that is not what its blob says, or of which nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LayerFinding {
    /// The layer.
    pub chain_id: String,
    /// What differs from the blob: paths with the layers below it.
    pub changes: Vec<Change>,
    /// Why the layer could not be compared.
    pub unknown: Option<String>,
    /// Whether content is gone that only a blob had, which was discarded: it cannot be made again.
    pub lost: bool,
    /// Whether it was made again.
    pub repaired: bool,
    /// Why it could not be made again.
    pub kept: Option<String>,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Health {
    /// The snapshot store's own check.
    pub store: CheckReport,
    /// What SQLite finds wrong with the graph.
    pub graph: Vec<String>,
    /// Blobs whose content changed.
    pub damaged: Vec<String>,
    /// Blobs that an image names and that are not there. Where its layers are, they were never fetched.
    pub missing: Vec<String>,
    /// Layers that are not what they should be.
    pub layers: Vec<LayerFinding>,
    /// How many layers were compared.
    pub compared: usize,
    /// How many of them are kept without their blobs.
    pub recipes: usize,
}

impl Health {
    /// Whether everything is as it should be, or is again.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.store.is_sound()
            && self.graph.is_empty()
            && self.damaged.is_empty()
            && self.layers.iter().all(|layer| layer.repaired)
    }
}

impl Root {
    /// Checks everything; reads every blob and every layer, and unpacks those that changed. With `repair`, layers that changed are made again.
    ///
    /// # Errors
    ///
    /// [`Error::Store`], [`Error::Database`]: what is found is no error.
    pub fn check(&self, repair: bool) -> Result<Health> {
        let adding = self.adding()?;
        let mut made = Vec::new();
        let health = self.check_all(repair, &mut made);
        drop(adding);
        self.give_back(&made)?;
        health
    }

    fn check_all(&self, repair: bool, made: &mut Vec<Stored>) -> Result<Health> {
        let mut health = Health {
            store: self.store().check()?,
            graph: self.graph().findings()?,
            ..Health::default()
        };
        self.check_blobs(&mut health)?;
        let mut changed: BTreeMap<String, BTreeSet<Change>> = BTreeMap::new();
        for layer in self.graph().layers()? {
            if layer.state != LayerState::Ready {
                continue;
            }
            health.compared += 1;
            health.recipes += usize::from(self.is_without_blob(&layer)?);
            let mut finding = LayerFinding {
                chain_id: layer.chain_id.clone(),
                changes: Vec::new(),
                unknown: None,
                lost: false,
                repaired: false,
                kept: None,
            };
            // What a layer below shows is told there.
            let below = layer.parent.as_ref().and_then(|parent| changed.get(parent));
            let below = below.cloned().unwrap_or_default();
            match self.compare(&layer) {
                Ok(Compared { mut changes, lost }) => {
                    changes.retain(|change| !below.contains(change));
                    finding.changes = changes;
                    finding.lost = lost;
                }
                Err(error) => finding.unknown = Some(error.to_string()),
            }
            let own = finding.changes.iter().cloned();
            changed.insert(
                layer.chain_id.clone(),
                below.into_iter().chain(own).collect(),
            );
            if finding.changes.is_empty() && finding.unknown.is_none() {
                continue;
            }
            if repair {
                match self.make_again(&layer, made) {
                    Ok(()) => finding.repaired = true,
                    Err(error) => finding.kept = Some(error.to_string()),
                }
            }
            health.layers.push(finding);
        }
        Ok(health)
    }

    fn check_blobs(&self, health: &mut Health) -> Result<()> {
        for (digest, _) in self.blobs().list()? {
            if !self.blobs().verify(&digest)? {
                health.damaged.push(digest.to_string());
            }
        }
        for blob in self.graph().used_blobs()? {
            if self
                .blobs()
                .size(&root::digest(&blob, self.graph())?)?
                .is_none()
            {
                health.missing.push(blob);
            }
        }
        Ok(())
    }

    /// Whether a layer has a recipe and no blob.
    fn is_without_blob(&self, layer: &LayerRow) -> Result<bool> {
        let blob = root::digest(&layer.blob, self.graph())?;
        Ok(self.blobs().size(&blob)?.is_none() && self.has_recipe(layer)?)
    }

    /// What differs between a layer and what it was made of.
    pub(crate) fn compare(&self, layer: &LayerRow) -> Result<Compared> {
        let without_blob = self.is_without_blob(layer)?;
        if without_blob {
            let rebuilt = self.rebuild(layer, &mut std::io::sink())?;
            if !rebuilt.lost.is_empty() {
                return Ok(Compared {
                    changes: rebuilt.lost,
                    lost: true,
                });
            }
        }
        let blob = root::digest(&layer.blob, self.graph())?;
        let options = ReadOptions {
            digest: (!without_blob).then_some(blob),
            diff_id: Some(root::digest(&layer.diff_id, self.graph())?),
            ..ReadOptions::default()
        };
        let is_shown = self.with_archive(layer, |source| {
            Ok(self
                .store()
                .verify_layer(&layer.cache_id, source, &options)?)
        })?;
        let changes = match is_shown {
            true => Vec::new(),
            false => {
                self.with_archive(layer, |source| self.compare_with(layer, &options, source))?
            }
        };
        Ok(Compared {
            changes,
            lost: false,
        })
    }

    /// Reads a layer's archive, which comes from its blob or is made again.
    fn with_archive<T: Send>(
        &self,
        layer: &LayerRow,
        work: impl FnOnce(&mut (dyn Read + Send)) -> Result<T>,
    ) -> Result<T> {
        if !self.is_without_blob(layer)? {
            let blob = root::digest(&layer.blob, self.graph())?;
            return work(&mut self.blobs().file(&blob)?);
        }
        // It is read while it is made: it is nowhere whole.
        let (mut reader, mut writer) = cowlab_sys::io("pipe", "", std::io::pipe())?;
        let (done, made) = std::thread::scope(|scope| {
            let maker = scope.spawn(move || self.rebuild(layer, &mut writer));
            let done = work(&mut reader);
            drop(reader);
            (done, maker.join())
        });
        let made = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (done, made) {
            // Whoever reads half an archive says that it is not what it should be, and not why there is no more of it.
            (Err(_), Err(reason)) if !is_broken_pipe(&reason) => Err(reason),
            (Err(reason), _) => Err(reason),
            (Ok(done), made) => made.map(|_| done),
        }
    }

    /// What differs between a layer and its archive unpacked anew on the same parent.
    fn compare_with(
        &self,
        layer: &LayerRow,
        read: &ReadOptions,
        source: &mut (dyn Read + Send),
    ) -> Result<Vec<Change>> {
        let parent = match &layer.parent {
            Some(parent) => self.graph().layer(parent)?,
            None => None,
        };
        let fresh = format!("{FRESH}{}", IdSource::Kernel.uuid("check")?);
        let options = ApplyOptions {
            digest: read.digest,
            diff_id: read.diff_id,
            durability: cowlab_driver::Durability::None,
            ..ApplyOptions::default()
        };
        let parent = parent.as_ref().map(|row| row.cache_id.as_str());
        self.store().apply(&fresh, parent, source, &options)?;
        let store = self.store();
        let changes = store.with_content(&fresh, |should| {
            store.with_content(&layer.cache_id, |is| between(Some(should), is, None))
        });
        store.remove(&fresh)?;
        changes??.map_err(|reason| {
            Error::Store(StoreError::Layer {
                action: "compare",
                key: layer.chain_id.clone(),
                reason: Box::new(reason),
            })
        })
    }

    /// Removes a layer and those above it, and unpacks them anew.
    pub(crate) fn make_again(&self, layer: &LayerRow, made: &mut Vec<Stored>) -> Result<()> {
        let every = self.graph().layers()?;
        let mut subtree: Vec<&LayerRow> = Vec::new();
        for row in &every {
            let above = |parent: &String| subtree.iter().any(|below| below.chain_id == *parent);
            if row.chain_id == layer.chain_id || row.parent.as_ref().is_some_and(above) {
                subtree.push(row);
            }
        }
        let mut plans = Vec::new();
        for row in &subtree {
            let plan = self.planned(row)?;
            let mut blob = plan.blob;
            if self.is_without_blob(row)? {
                let stored = self.remake_blob(row)?;
                made.push(stored);
                blob = stored.digest;
            } else if !self.blobs().verify(&plan.blob)? {
                return Err(Error::NoBlob {
                    digest: row.blob.clone(),
                    remedy: "its content changed: remove it and pull the image again",
                });
            }
            for info in self.store().list(&Filter {
                parent: Some(row.cache_id.clone()),
                ..Filter::default()
            })? {
                if !subtree.iter().any(|one| one.cache_id == info.key) {
                    return Err(Error::InUse {
                        kind: "layer",
                        name: row.chain_id.clone(),
                        users: format!("snapshot `{}`", info.key),
                        remedy: "commit or remove the container that it belongs to first",
                    });
                }
            }
            plans.push((plan, blob));
        }
        for row in subtree.iter().rev() {
            let _lock = self.lock_layer(&root::digest(&row.chain_id, self.graph())?)?;
            self.graph().doubt_layer(&row.chain_id)?;
            match self.store().remove(&row.cache_id) {
                Ok(()) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let name = self.image_with(layer)?;
        for (plan, blob) in &plans {
            self.unpack_blob(&name, plan, blob)?;
        }
        Ok(())
    }

    /// The name of an image that has a layer, for messages.
    fn image_with(&self, layer: &LayerRow) -> Result<String> {
        let mut users = self.layer_images()?;
        let Some(id) = users.remove(&layer.chain_id).unwrap_or_default().pop() else {
            return Ok(layer.chain_id.clone());
        };
        Ok(self.image(&id)?.shown())
    }

    fn planned(&self, row: &LayerRow) -> Result<PlannedLayer> {
        let digest = |text: &str| root::digest(text, self.graph());
        let parent: Option<Digest> = match &row.parent {
            Some(parent) => Some(digest(parent)?),
            None => None,
        };
        Ok(PlannedLayer {
            blob: digest(&row.blob)?,
            size: row.blob_size,
            media_type: row.media_type.clone(),
            diff_id: digest(&row.diff_id)?,
            chain_id: digest(&row.chain_id)?,
            parent,
        })
    }
}

/// Whether a writer failed because its reader had gone.
fn is_broken_pipe(error: &Error) -> bool {
    let mut causes =
        std::iter::successors(Some(error as &dyn std::error::Error), |one| one.source());
    causes.any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// How a layer compares with what it was made of.
pub(crate) struct Compared {
    pub(crate) changes: Vec<Change>,
    lost: bool,
}
