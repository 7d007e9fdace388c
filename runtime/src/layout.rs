//! OCI image layouts on disk: read with suspicion, written whole.
//!
//! Follows the image specification's `image-layout.md`: `oci-layout`, `index.json` and
//! `blobs/<algorithm>/<digest>`. Only sha256 is read and written, as registries do.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use oci_spec::image::{
    Descriptor, ImageConfiguration, ImageIndex, ImageIndexBuilder, MediaType, OciLayoutBuilder,
};
use sha2::{Digest as _, Sha256};

use cowlab_layer::{DiffId, Digest};

use crate::blobs::hex;
use crate::image::layout_dir::{LayoutDir, REF_NAME};
use crate::image::{document, spec_digest};
use crate::{Error, Result};

/// An OCI image layout: a directory of blobs and an index of images.
#[derive(Debug)]
pub struct Layout(LayoutDir);

/// An image of a layout.
#[derive(Debug, Clone)]
pub struct Image {
    /// The name in the index, or the manifest's digest.
    pub name: String,
    /// The layers, base first.
    pub layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The blob: compressed size and digest.
    pub blob: Descriptor,
    /// The digest of the uncompressed tar.
    pub diff_id: DiffId,
}

impl Layout {
    /// Opens the layout in `dir`.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] when it is none.
    pub fn open(dir: &Path) -> Result<Self> {
        Ok(Self(LayoutDir::open(dir)?))
    }

    /// Makes an empty layout in `dir`, which is made if it is not there.
    pub fn create(dir: &Path) -> Result<Self> {
        let blobs = dir.join("blobs/sha256");
        cowlab_sys::io("mkdir", &blobs, fs::create_dir_all(&blobs))?;
        let marker = OciLayoutBuilder::default()
            .image_layout_version("1.0.0")
            .build()
            .map_err(|error| Error::layout(dir, error))?;
        marker
            .to_file(dir.join("oci-layout"))
            .map_err(|error| Error::layout(dir, error))?;
        let index = ImageIndexBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageIndex)
            .manifests(Vec::new())
            .build()
            .map_err(|error| Error::layout(dir, error))?;
        write_index(dir, &index)?;
        Self::open(dir)
    }

    /// The layout's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.0.path()
    }

    /// Reads an image: the named one, or the only one.
    ///
    /// # Errors
    ///
    /// [`Error::NoImage`], or [`Error::Layout`], [`Error::Digest`] and [`Error::BadImage`] for what is wrong in its documents.
    pub fn image(&self, name: Option<&str>) -> Result<Image> {
        let entries: Vec<_> = self
            .0
            .entries()?
            .into_iter()
            .collect::<std::result::Result<_, _>>()
            .map_err(|reason| self.0.bad(reason))?;
        let named = |entry: &&document::Descriptor| name.is_none_or(|name| name_of(entry) == name);
        let is_clear = name.is_some() || entries.len() == 1;
        let found = entries.iter().find(named).filter(|_| is_clear);
        let entry = found.ok_or_else(|| Error::NoImage {
            path: self.dir().to_owned(),
            name: name.unwrap_or("(the only one)").to_owned(),
            present: match entries.iter().map(name_of).collect::<Vec<_>>() {
                names if names.is_empty() => "none".to_owned(),
                names => names.join(", "),
            },
        })?;
        let name = name_of(entry);
        let (manifest, _) = self.0.manifest(&name, entry)?;
        let (config, size) = manifest.config()?;
        let plan = manifest.plan(&self.0.document(&config, size)?)?;
        let layers = plan.layers.iter().map(|layer| {
            let media_type = MediaType::from(layer.media_type.as_str());
            Ok(Layer {
                blob: Descriptor::new(media_type, layer.size, spec_digest(&layer.blob)?),
                diff_id: layer.diff_id,
            })
        });
        Ok(Image {
            name,
            layers: layers.collect::<Result<_>>()?,
        })
    }

    /// Opens a layer's blob. Its digest is the reader's to check.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] when it is not there.
    pub fn open_blob(&self, descriptor: &Descriptor) -> Result<File> {
        let digest = descriptor.digest().to_string();
        self.0
            .blob(&digest.parse().map_err(|error| self.0.bad(error))?)
    }

    /// Adds a blob that `write` produces, and returns its descriptor with what `write` returned.
    ///
    /// # Errors
    ///
    /// What `write` returned, or when the directory cannot be written.
    pub fn add_blob<T>(
        &self,
        media_type: MediaType,
        write: impl FnOnce(&mut BlobWriter) -> Result<T>,
    ) -> Result<(Descriptor, T)> {
        let fresh = self.dir().join("blobs").join("incoming");
        let file = cowlab_sys::io("create", &fresh, File::create(&fresh))?;
        let mut writer = BlobWriter {
            file,
            digest: Sha256::new(),
            size: 0,
        };
        let value = write(&mut writer)?;
        let BlobWriter { file, digest, size } = writer;
        cowlab_sys::io("fsync", &fresh, file.sync_all())?;
        let digest = Digest::from_hasher(digest);
        let path = self.dir().join("blobs/sha256").join(hex(&digest));
        cowlab_sys::io("rename", &path, fs::rename(&fresh, &path))?;
        Ok((
            Descriptor::new(media_type, size, spec_digest(&digest)?),
            value,
        ))
    }

    /// Adds an image whose blobs are there.
    ///
    /// # Errors
    ///
    /// When a document cannot be written.
    pub fn add_image(
        &self,
        name: &str,
        config: &ImageConfiguration,
        layers: &[Layer],
    ) -> Result<()> {
        let document = config.to_string().map_err(|error| self.0.bad(error))?;
        let config = self.add_document(MediaType::ImageConfig, &document)?;
        let manifest = oci_spec::image::ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(MediaType::ImageManifest)
            .config(config)
            .layers(
                layers
                    .iter()
                    .map(|layer| layer.blob.clone())
                    .collect::<Vec<_>>(),
            )
            .build()
            .and_then(|manifest| manifest.to_string())
            .map_err(|error| self.0.bad(error))?;
        let mut descriptor = self.add_document(MediaType::ImageManifest, &manifest)?;
        descriptor.set_annotations(Some([(REF_NAME.to_owned(), name.to_owned())].into()));
        let mut index = ImageIndex::from_file(self.dir().join("index.json"))
            .map_err(|error| self.0.bad(error))?;
        let mut manifests = index.manifests().clone();
        manifests.retain(|one| {
            let annotations = one.annotations().as_ref();
            annotations
                .and_then(|all| all.get(REF_NAME))
                .is_none_or(|other| other != name)
        });
        manifests.push(descriptor);
        index.set_manifests(manifests);
        write_index(self.dir(), &index)
    }

    fn add_document(&self, media_type: MediaType, text: &str) -> Result<Descriptor> {
        let (descriptor, ()) = self.add_blob(media_type, |writer| {
            writer
                .write_all(text.as_bytes())
                .map_err(|error| self.0.bad(error))
        })?;
        Ok(descriptor)
    }
}

fn write_index(dir: &Path, index: &ImageIndex) -> Result<()> {
    let (fresh, path) = (dir.join("index.json.incoming"), dir.join("index.json"));
    index
        .to_file(&fresh)
        .map_err(|error| Error::layout(&fresh, error))?;
    cowlab_sys::io("rename", &path, fs::rename(&fresh, &path))?;
    Ok(cowlab_sys::durability::fsync_dir(dir)?)
}

/// The name in the index, or the manifest's digest.
fn name_of(entry: &document::Descriptor) -> String {
    let name = entry.annotations.get(REF_NAME).cloned();
    name.unwrap_or_else(|| entry.digest.to_string())
}

/// Takes a blob's bytes and counts and digests them.
#[derive(Debug)]
pub struct BlobWriter {
    file: File,
    digest: Sha256,
    size: u64,
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.digest.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layout with one image of no layers, and the path of its configuration.
    fn layout(dir: &Path) -> (Layout, std::path::PathBuf) {
        let text =
            r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let config = ImageConfiguration::from_reader(text.as_bytes()).unwrap();
        let layout = Layout::create(dir).unwrap();
        layout.add_image("one", &config, &[]).unwrap();
        let id = Digest::of(config.to_string().unwrap().as_bytes());
        (layout, dir.join("blobs/sha256").join(hex(&id)))
    }

    #[test]
    fn image_is_read_as_it_was_written() {
        let place = tempfile::tempdir().unwrap();
        let (layout, _) = layout(place.path());
        assert_eq!(layout.image(None).unwrap().name, "one");
        assert_eq!(layout.image(Some("one")).unwrap().layers.len(), 0);
        let error = layout.image(Some("two")).unwrap_err().to_string();
        assert!(error.ends_with("has no image `two`: it has one"), "{error}");
    }

    #[test]
    fn damaged_document_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let (layout, config) = layout(place.path());
        fs::write(&config, "{}").unwrap();
        assert!(matches!(layout.image(None), Err(Error::Digest { .. })));
    }

    #[test]
    fn link_to_a_blob_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let (layout, config) = layout(place.path());
        let elsewhere = place.path().join("elsewhere");
        fs::rename(&config, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &config).unwrap();
        assert!(matches!(layout.image(None), Err(Error::Layout { .. })));
    }

    #[test]
    fn directory_without_an_index_is_no_layout() {
        let place = tempfile::tempdir().unwrap();
        assert!(matches!(
            Layout::open(place.path()),
            Err(Error::Layout { .. })
        ));
    }
}
