//! Loading images from OCI image layouts in directories.

use std::path::Path;

use cowlab_layer::Digest;

use super::document::Descriptor;
use super::install::Progress;
use super::layout_dir::{FULL_NAME, LayoutDir, REF_NAME};
use super::name::Name;
use super::plan::Plan;
use crate::blobs::{Expected, Stored};
use crate::{Error, Result, Root};

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: Digest,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The name that it was given, if any.
    pub name: Option<String>,
}

impl Root {
    /// Loads every image of the OCI image layout in a directory.
    ///
    /// An image takes its name from the annotation of the index; one without a whole name stays nameless. Images before
    /// one that is broken stay loaded.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] for what is no layout, [`Error::Digest`], [`Error::BadImage`], [`Error::BadBlob`], [`Error::Unpack`].
    pub fn load_directory(&self, dir: &Path, progress: Progress<'_>) -> Result<Vec<Loaded>> {
        let adding = self.adding()?;
        let loaded = self.load_layout(dir, progress);
        drop(adding);
        self.discard_blobs()?;
        loaded
    }

    fn load_layout(&self, dir: &Path, progress: Progress<'_>) -> Result<Vec<Loaded>> {
        let source = LayoutDir::open(dir)?;
        let mut loaded = Vec::new();
        let mut passed = None;
        for descriptor in source.entries()? {
            let descriptor = descriptor.map_err(|reason| source.bad(reason))?;
            let name = name_of(&descriptor);
            let mut stored = Vec::new();
            let plan = self
                .gather(&source, &descriptor, name.as_deref(), &mut stored)
                .and_then(|plan| self.install(&plan, progress).map(|()| plan));
            if plan.is_err() {
                self.blobs()
                    .roll_back(&stored, &self.graph().used_blobs()?)?;
            }
            let plan = match plan {
                // Signatures and the like lie beside images.
                Err(artifact @ Error::Artifact { .. }) => {
                    passed = Some(artifact);
                    continue;
                }
                plan => plan?,
            };
            if let Some(name) = &name {
                self.name_image(name, &plan)?;
            }
            loaded.push(Loaded {
                id: plan.id,
                manifest: plan.manifest,
                name,
            });
        }
        match passed {
            Some(artifact) if loaded.is_empty() => Err(artifact),
            _ => Ok(loaded),
        }
    }

    /// Keeps every blob of an image, tells which in `stored`, and returns what they say.
    fn gather(
        &self,
        source: &LayoutDir,
        descriptor: &Descriptor,
        name: Option<&str>,
        stored: &mut Vec<Stored>,
    ) -> Result<Plan> {
        let shown = match name {
            Some(name) => name.to_owned(),
            None => descriptor.digest.to_string(),
        };
        let (manifest, bytes) = source.manifest(&shown, descriptor)?;
        let (config, size) = manifest.config()?;
        let plan = manifest.plan(&source.document(&config, size)?)?;
        let rest = plan.layers.iter().map(|layer| (layer.blob, layer.size));
        for (digest, size) in rest.chain([(config, size)]) {
            stored.push(self.blobs().keep(
                &mut source.blob(&digest)?,
                Some(Expected { digest, size }),
                &source.path().display().to_string(),
            )?);
        }
        stored.push(self.blobs().keep_bytes(&bytes)?);
        Ok(plan)
    }
}

/// The whole name that an index gives an image, if it does.
pub(super) fn name_of(descriptor: &Descriptor) -> Option<String> {
    let annotations = &descriptor.annotations;
    let full = annotations.get(FULL_NAME);
    // The specification's annotation may be a mere tag, which names nothing.
    let own = annotations
        .get(REF_NAME)
        .filter(|name| name.contains(['/', ':']));
    let name: Name = full.or(own)?.parse().ok()?;
    name.tagged()
}
