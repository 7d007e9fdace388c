//! Taking names and images away, and what nothing needs after that.
//!
//! The rows go first, then layers, then blobs: what a crash leaves behind has no name, and `system prune` collects it.
//! Nothing is collected while somebody adds something, for what he adds has no name yet either.

use std::collections::BTreeSet;

use cowlab_snapshots::Error as StoreError;

use super::Name;
use crate::graph::LayerRow;
use crate::{Error, Result, Root, root};

/// What became of something that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "what", content = "id")]
pub enum Removed {
    /// A name was taken away; other names stay, or the image went with it.
    Name(String),
    /// An image is gone.
    Image(String),
    /// A layer is gone: its chain id.
    Layer(String),
    /// A blob is gone.
    Blob(String),
    /// Layers and blobs stay for now, because something is being added.
    Postponed,
}

impl Root {
    /// Takes a name away, or removes an image with what only it has.
    ///
    /// By name, an image that has other names keeps them and stays. By id, an image with several names is removed only when
    /// `force` says so.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Ambiguous`]; [`Error::InUse`] for an image that containers use or, without `force`, that
    /// has several names.
    pub fn remove_image(&self, text: &str, force: bool) -> Result<Vec<Removed>> {
        let id = self.image_id(text)?;
        let tags = self.graph().tags(Some(&id))?;
        let tagged = text.parse::<Name>().ok().and_then(|name| name.tagged());
        let by_name = tags.iter().find(|tag| Some(&tag.name) == tagged.as_ref());
        if let Some(tag) = by_name
            && tags.len() > 1
        {
            self.graph().remove_tag(&tag.name)?;
            return Ok(vec![Removed::Name(tag.name.clone())]);
        }
        if by_name.is_none() && tags.len() > 1 && !force {
            let names: Vec<_> = tags.iter().map(|tag| super::familiar(&tag.name)).collect();
            return Err(Error::InUse {
                kind: "image",
                name: text.to_owned(),
                users: format!("several names: {}", names.join(", ")),
                remedy: "remove them one by one, or all with `--force`",
            });
        }
        self.refuse_users(text, &id)?;
        let mut removed: Vec<_> = tags
            .into_iter()
            .map(|tag| Removed::Name(tag.name))
            .collect();
        removed.extend(self.remove_whole(&id)?);
        Ok(removed)
    }

    fn refuse_users(&self, text: &str, id: &str) -> Result<()> {
        let users = self.users(Some(id))?;
        if users.is_empty() {
            return Ok(());
        }
        let users: Vec<_> = users.into_iter().map(|user| user.name).collect();
        Err(Error::InUse {
            kind: "image",
            name: text.to_owned(),
            users: format!("containers {}", users.join(", ")),
            remedy: "remove these first",
        })
    }

    /// Removes an image that nobody uses, and of its layers and blobs what no other image has.
    pub(crate) fn remove_whole(&self, id: &str) -> Result<Vec<Removed>> {
        let row = self.graph().image(id)?;
        let top = row.and_then(|row| row.top);
        let layers = match &top {
            Some(top) => self.graph().chain(top)?,
            None => Vec::new(),
        };
        let mut blobs = self.graph().image_blobs(id)?;
        blobs.extend(layers.iter().map(|layer| layer.blob.clone()));
        self.graph().remove_image(id)?;
        self.forget_image(id)?;
        let mut removed = vec![Removed::Image(id.to_owned())];
        let layers: BTreeSet<_> = layers.into_iter().map(|layer| layer.chain_id).collect();
        removed.extend(self.collect(|layer| layers.contains(&layer.chain_id), &blobs)?);
        Ok(removed)
    }

    /// Removes layers that no image has, and those of some blobs that nothing names any more.
    pub(crate) fn collect(
        &self,
        wanted: impl Fn(&LayerRow) -> bool,
        blobs: &BTreeSet<String>,
    ) -> Result<Vec<Removed>> {
        let Some(_removing) = self.removing()? else {
            return Ok(vec![Removed::Postponed]);
        };
        let mut removed = Vec::new();
        let unused = self.graph().unused_layers()?;
        // What a killed command left above a layer goes before it, and keeps it otherwise.
        let mut doomed = BTreeSet::new();
        for layer in unused.iter().rev() {
            let is_above = layer.parent.as_ref().is_some_and(|id| doomed.contains(id));
            if is_above || wanted(layer) {
                doomed.insert(layer.chain_id.clone());
            }
        }
        for layer in &unused {
            if doomed.contains(&layer.chain_id) && self.remove_layer(layer)? {
                removed.push(Removed::Layer(layer.chain_id.clone()));
            }
        }
        let used = self.graph().used_blobs()?;
        for blob in blobs.difference(&used) {
            let digest = root::digest(blob, self.graph())?;
            if self.blobs().size(&digest)?.is_some() {
                self.blobs().remove(&digest)?;
                removed.push(Removed::Blob(blob.clone()));
            }
        }
        Ok(removed)
    }

    /// Removes a layer that no image has; one that a snapshot is built on stays, and that is no error.
    pub(crate) fn remove_layer(&self, layer: &LayerRow) -> Result<bool> {
        let _lock = self.lock_layer(&root::digest(&layer.chain_id, self.graph())?)?;
        self.graph().doubt_layer(&layer.chain_id)?;
        match self.store().remove(&layer.cache_id) {
            Ok(()) | Err(StoreError::NotFound { .. }) => {}
            Err(StoreError::HasChildren { .. } | StoreError::Busy { .. }) => {
                if layer.state == crate::graph::LayerState::Ready {
                    self.graph().end_layer(&layer.chain_id, layer.size)?;
                }
                return Ok(false);
            }
            // Nobody knows how far the removal came, so the layer stays in doubt: who needs it unpacks it anew.
            Err(error) => return Err(error.into()),
        }
        self.graph().remove_layer(&layer.chain_id)?;
        self.forget_layer(&layer.chain_id)?;
        Ok(true)
    }

    /// Gives an image a further name; returns the id of the image that had it, where it was another.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::InvalidName`] for a name with a digest.
    pub fn tag(&self, image: &str, name: &Name) -> Result<Option<String>> {
        let tagged = name.tagged().filter(|_| name.digest().is_none());
        let tagged = tagged.ok_or_else(|| Error::InvalidName {
            name: name.to_string(),
            reason: "a name with a digest cannot be given, only found".to_owned(),
        })?;
        let id = self.image_id(image)?;
        let manifests = self.graph().manifests(&id)?;
        // The manifest of the name that the image was found by, if it was.
        let known = match image.parse::<Name>().ok().and_then(|name| name.tagged()) {
            Some(tagged) => self.graph().tag(&tagged)?,
            None => None,
        };
        let manifest = known
            .map(|tag| tag.manifest)
            .or_else(|| manifests.into_iter().next().map(|manifest| manifest.digest));
        let before = self.graph().set_tag(&crate::graph::TagRow {
            name: tagged,
            image: id.clone(),
            manifest: manifest.unwrap_or_default(),
        })?;
        Ok(before.filter(|before| *before != id))
    }
}
