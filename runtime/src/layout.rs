//! OCI image layouts on disk: read with suspicion, written whole.
//!
//! Follows the image specification's `image-layout.md`: `oci-layout`, `index.json` and
//! `blobs/<algorithm>/<digest>`. Only sha256 is read and written, as registries do. A nested index is
//! followed one step, to this machine's platform.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use oci_spec::image::{
    Arch, Descriptor, Digest, ImageConfiguration, ImageIndex, ImageIndexBuilder, ImageManifest,
    MediaType, OciLayoutBuilder,
};
use sha2::{Digest as _, Sha256};

use cowlab_layer::DiffId;

use crate::{Error, Result};

/// The annotation that names an image in an index.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The largest JSON document that is read: containerd's limit for a manifest is 8 MiB.
const DOCUMENT_LIMIT: u64 = 8 << 20;

/// An OCI image layout: a directory of blobs and an index of images.
#[derive(Debug)]
pub struct Layout {
    dir: PathBuf,
    index: ImageIndex,
}

/// An image of a layout: its configuration and its layers, base first.
#[derive(Debug, Clone)]
pub struct Image {
    /// The name in the index, or the manifest's digest.
    pub name: String,
    /// The configuration, with the diff ids.
    pub config: ImageConfiguration,
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
        for file in ["oci-layout", "index.json"] {
            if !dir.join(file).is_file() {
                let reason = format!(
                    "it has no file `{file}`; an OCI image layout is what `skopeo copy ... oci:DIR` writes"
                );
                return Err(Error::layout(dir, reason));
            }
        }
        let path = dir.join("index.json");
        let file = File::open(&path).map_err(|error| Error::layout(&path, error))?;
        let index = ImageIndex::from_reader(file.take(DOCUMENT_LIMIT))
            .map_err(|error| Error::layout(&path, error))?;
        Ok(Self {
            dir: dir.to_owned(),
            index,
        })
    }

    /// Makes an empty layout in `dir`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// When the directory cannot be written.
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
        let layout = Self {
            dir: dir.to_owned(),
            index,
        };
        layout.write_index()?;
        Ok(layout)
    }

    /// The layout's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The names of the images, in index order. An image without a name goes by its digest.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.index.manifests().iter().map(name_of).collect()
    }

    /// Reads an image: the named one, or the only one.
    ///
    /// # Errors
    ///
    /// [`Error::NoImage`], or [`Error::Layout`] and [`Error::Digest`] for what is wrong in its documents.
    pub fn image(&self, name: Option<&str>) -> Result<Image> {
        let manifests = self.index.manifests();
        let found = match name {
            Some(name) => manifests
                .iter()
                .find(|descriptor| name_of(descriptor) == name),
            None if manifests.len() == 1 => manifests.first(),
            None => None,
        };
        let descriptor = found.ok_or_else(|| Error::NoImage {
            path: self.dir.clone(),
            name: name.unwrap_or("(the only one)").to_owned(),
            present: match self.names() {
                names if names.is_empty() => "none".to_owned(),
                names => names.join(", "),
            },
        })?;
        self.read_image(name_of(descriptor), descriptor)
    }

    fn read_image(&self, name: String, descriptor: &Descriptor) -> Result<Image> {
        let manifest = self.manifest(descriptor)?;
        let config = self.document(manifest.config())?;
        let config = ImageConfiguration::from_reader(config.as_slice())
            .map_err(|error| Error::layout(&self.blob_path(manifest.config()), error))?;
        let diff_ids = config.rootfs().diff_ids();
        if diff_ids.len() != manifest.layers().len() {
            let reason = format!(
                "image `{name}` has {} layers and {} diff ids",
                manifest.layers().len(),
                diff_ids.len()
            );
            return Err(Error::layout(&self.dir, reason));
        }
        let layers = manifest
            .layers()
            .iter()
            .zip(diff_ids)
            .map(|(blob, diff_id)| {
                Ok(Layer {
                    blob: blob.clone(),
                    diff_id: diff_id.parse().map_err(|error| {
                        Error::layout(&self.dir, format!("diff id `{diff_id}`: {error}"))
                    })?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Image {
            name,
            config,
            layers,
        })
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<ImageManifest> {
        let path = self.blob_path(descriptor);
        let document = self.document(descriptor)?;
        if *descriptor.media_type() != MediaType::ImageIndex {
            return ImageManifest::from_reader(document.as_slice())
                .map_err(|error| Error::layout(&path, error));
        }
        let index = ImageIndex::from_reader(document.as_slice())
            .map_err(|error| Error::layout(&path, error))?;
        let here = Arch::default();
        let ours = index
            .manifests()
            .iter()
            .filter(|entry| *entry.media_type() == MediaType::ImageManifest)
            .find(|entry| {
                entry
                    .platform()
                    .as_ref()
                    .is_none_or(|platform| *platform.architecture() == here)
            })
            .ok_or_else(|| {
                Error::layout(&path, format!("no manifest for architecture `{here}`"))
            })?;
        ImageManifest::from_reader(self.document(ours)?.as_slice())
            .map_err(|error| Error::layout(&self.blob_path(ours), error))
    }

    /// Opens a layer's blob. Its digest is the reader's to check.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] when it is not there.
    pub fn open_blob(&self, descriptor: &Descriptor) -> Result<File> {
        let path = self.blob_path(descriptor);
        File::open(&path).map_err(|error| Error::layout(&path, error))
    }

    /// Reads a small blob and checks its digest.
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let path = self.blob_path(descriptor);
        let mut bytes = Vec::new();
        self.open_blob(descriptor)?
            .take(DOCUMENT_LIMIT)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::layout(&path, error))?;
        let found = cowlab_layer::Digest::of(&bytes).to_string();
        if found == descriptor.digest().to_string() {
            Ok(bytes)
        } else {
            Err(Error::Digest {
                path: self.dir.clone(),
                expected: descriptor.digest().to_string(),
                found,
            })
        }
    }

    /// [`Digest`] has parsed the name: an algorithm and lower-case hexadecimal, so no path in it.
    fn blob_path(&self, descriptor: &Descriptor) -> PathBuf {
        let digest = descriptor.digest();
        self.dir
            .join("blobs")
            .join(digest.algorithm().as_ref())
            .join(digest.digest())
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
        let fresh = self.dir.join("blobs").join("incoming");
        let file = cowlab_sys::io("create", &fresh, File::create(&fresh))?;
        let mut writer = BlobWriter {
            file,
            digest: Sha256::new(),
            size: 0,
        };
        let value = write(&mut writer)?;
        let BlobWriter { file, digest, size } = writer;
        cowlab_sys::io("fsync", &fresh, file.sync_all())?;
        let name = hex(&digest.finalize());
        let path = self.dir.join("blobs/sha256").join(&name);
        cowlab_sys::io("rename", &path, fs::rename(&fresh, &path))?;
        let digest: Digest = format!("sha256:{name}")
            .parse()
            .map_err(|error| Error::layout(&path, error))?;
        Ok((Descriptor::new(media_type, size, digest), value))
    }

    /// Adds an image whose blobs are there.
    ///
    /// # Errors
    ///
    /// When a document cannot be written.
    pub fn add_image(
        &mut self,
        name: &str,
        config: &ImageConfiguration,
        layers: &[Layer],
    ) -> Result<()> {
        let document = config
            .to_string()
            .map_err(|error| Error::layout(&self.dir, error))?;
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
            .map_err(|error| Error::layout(&self.dir, error))?;
        let mut descriptor = self.add_document(MediaType::ImageManifest, &manifest)?;
        descriptor.set_annotations(Some([(REF_NAME.to_owned(), name.to_owned())].into()));
        let mut manifests = self.index.manifests().clone();
        manifests.retain(|descriptor| name_of(descriptor) != name);
        manifests.push(descriptor);
        self.index.set_manifests(manifests);
        self.write_index()
    }

    fn add_document(&self, media_type: MediaType, text: &str) -> Result<Descriptor> {
        let (descriptor, ()) = self.add_blob(media_type, |writer| {
            writer
                .write_all(text.as_bytes())
                .map_err(|error| Error::layout(&self.dir, error))
        })?;
        Ok(descriptor)
    }

    fn write_index(&self) -> Result<()> {
        let fresh = self.dir.join("index.json.incoming");
        let path = self.dir.join("index.json");
        self.index
            .to_file(&fresh)
            .map_err(|error| Error::layout(&fresh, error))?;
        cowlab_sys::io("rename", &path, fs::rename(&fresh, &path))?;
        Ok(cowlab_sys::durability::fsync_dir(&self.dir)?)
    }
}

fn name_of(descriptor: &Descriptor) -> String {
    descriptor
        .annotations()
        .as_ref()
        .and_then(|annotations| annotations.get(REF_NAME).cloned())
        .unwrap_or_else(|| descriptor.digest().to_string())
}

/// Writes bytes as lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes every write");
        text
    })
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
