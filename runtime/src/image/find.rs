//! Finding images: by name, by digest, by the beginning of the id.

use super::plan::DOCUMENT_LIMIT;
use super::{Image, Name, document};
use crate::graph::{ImageRow, LayerRow};
use crate::{Error, Result, Root, root};

impl Root {
    /// Finds an image: by name (`debian`, `debian:12`, `debian@sha256:...`), by id, by the digest of a manifest, or by a
    /// beginning of the id that no other has.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Ambiguous`], [`Error::InvalidName`].
    pub fn image(&self, text: &str) -> Result<Image> {
        let id = self.image_id(text)?;
        let row = self.graph().image(&id)?.ok_or_else(|| no_image(text))?;
        self.read_image(&row)
    }

    /// Every image, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::NoBlob`] and [`Error::BadBlob`] where a configuration was changed from outside.
    pub fn images(&self) -> Result<Vec<Image>> {
        let rows = self.graph().images()?;
        rows.iter().map(|row| self.read_image(row)).collect()
    }

    /// The image's id by what a person wrote. A name counts more than a beginning of an id, as docker has it.
    pub(crate) fn image_id(&self, text: &str) -> Result<String> {
        let name = text.parse::<Name>();
        if let Ok(name) = &name
            && let Some(id) = self.id_of_name(name)?
        {
            return Ok(id);
        }
        let digits = root::digits(text);
        let could_be_id = !digits.is_empty()
            && digits.len() <= 64
            && digits
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !could_be_id {
            return Err(name.err().unwrap_or_else(|| no_image(text)));
        }
        let whole = format!("sha256:{digits}");
        if let Some(id) = self.graph().image_of_manifest(&whole)? {
            return Ok(id);
        }
        let mut matches = self.graph().images_by_prefix(digits)?;
        match matches.len() {
            0 => Err(no_image(text)),
            1 => Ok(matches.remove(0)),
            _ => Err(Error::Ambiguous {
                kind: "image",
                prefix: text.to_owned(),
                matches,
            }),
        }
    }

    fn id_of_name(&self, name: &Name) -> Result<Option<String>> {
        let Some(digest) = name.digest() else {
            let tag = match name.tagged() {
                Some(tagged) => self.graph().tag(&tagged)?,
                None => None,
            };
            return Ok(tag.map(|tag| tag.image));
        };
        let repository = name.repository();
        let known = self.graph().repository_digests(None)?;
        let found = known
            .into_iter()
            .find(|(known, theirs, _)| *known == repository && theirs == digest);
        Ok(found.map(|(_, _, image)| image))
    }

    fn read_image(&self, row: &ImageRow) -> Result<Image> {
        let id = root::digest(&row.id, self.graph())?;
        let document = self.blobs().document(&id, DOCUMENT_LIMIT)?;
        let config = document::configuration(&document).map_err(|reason| Error::BadImage {
            name: row.id.clone(),
            reason: format!("its configuration: {reason}"),
        })?;
        let layers = match &row.top {
            Some(top) => self.graph().chain(top)?,
            None => Vec::new(),
        };
        let tags = self.graph().tags(Some(&row.id))?;
        Ok(Image {
            id,
            config,
            layers,
            names: tags.into_iter().map(|tag| tag.name).collect(),
            added: row.created,
        })
    }

    /// The configuration of an image as its maker wrote it.
    ///
    /// # Errors
    ///
    /// [`Error::NoBlob`] and [`Error::BadBlob`] where it was changed from outside.
    pub fn configuration_of(&self, image: &Image) -> Result<serde_json::Value> {
        let bytes = self.blobs().document(&image.id, DOCUMENT_LIMIT)?;
        document::whole(&bytes).map_err(|reason| Error::BadImage {
            name: image.shown(),
            reason: format!("its configuration: {reason}"),
        })
    }

    /// Finds a layer by its chain id, or by a beginning of it that no other has.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Ambiguous`].
    pub fn layer(&self, text: &str) -> Result<LayerRow> {
        let not_found = || Error::NotFound {
            kind: "layer",
            name: text.to_owned(),
            remedy: "`cowlab layer ls` lists the layers",
        };
        let mut matches = self.graph().layers_by_prefix(root::digits(text))?;
        if matches.len() > 1 {
            return Err(Error::Ambiguous {
                kind: "layer",
                prefix: text.to_owned(),
                matches,
            });
        }
        let id = matches.pop().filter(|_| !text.is_empty());
        let row = self.graph().layer(&id.ok_or_else(not_found)?)?;
        row.ok_or_else(not_found)
    }
}

fn no_image(text: &str) -> Error {
    Error::NotFound {
        kind: "image",
        name: text.to_owned(),
        remedy: "`cowlab images` lists the images that are here, `cowlab pull` gets others",
    }
}
