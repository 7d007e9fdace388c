//! Loading images from OCI image layouts in directories.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cowlab_layer::Digest;
use cowlab_sys::{Root as Confined, at, io};

use super::document::{self, Descriptor};
use super::install::Progress;
use super::name::Name;
use super::plan::{DOCUMENT_LIMIT, Plan};
use super::platform::search;
use crate::blobs::{Expected, Stored};
use crate::{Error, Result, Root};

/// The annotations that name an image in an index: the specification's, and containerd's, which has the registry.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub(super) const FULL_NAME: &str = "io.containerd.image.name";

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
    /// [`Error::Archive`] for what is no layout, [`Error::BadImage`], [`Error::BadBlob`], [`Error::Unpack`].
    pub fn load_directory(&self, dir: &Path, progress: Progress<'_>) -> Result<Vec<Loaded>> {
        let adding = self.adding()?;
        let loaded = self.load_layout(dir, progress);
        drop(adding);
        self.discard_blobs()?;
        loaded
    }

    fn load_layout(&self, dir: &Path, progress: Progress<'_>) -> Result<Vec<Loaded>> {
        let source = Directory::open(dir)?;
        let index = source.read(Path::new("index.json"))?;
        let entries = document::index(&index)
            .map_err(|reason| source.bad(format!("`index.json`: {reason}")))?;
        let mut loaded = Vec::new();
        let mut passed = None;
        for descriptor in entries {
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
        source: &Directory,
        descriptor: &Descriptor,
        name: Option<&str>,
        stored: &mut Vec<Stored>,
    ) -> Result<Plan> {
        let shown = match name {
            Some(name) => name.to_owned(),
            None => descriptor.digest.to_string(),
        };
        let (manifest, bytes) = search(&shown, descriptor, |wanted| {
            source.document(wanted.digest, wanted.size)
        })?;
        let (config, size) = manifest.config()?;
        let plan = manifest.plan(&source.document(config, size)?)?;
        let rest = plan.layers.iter().map(|layer| (layer.blob, layer.size));
        for (digest, size) in rest.chain([(config, size)]) {
            stored.push(self.blobs().keep(
                &mut source.blob(&digest)?,
                Some(Expected { digest, size }),
                &source.dir.display().to_string(),
            )?);
        }
        stored.push(self.blobs().keep_bytes(&bytes)?);
        Ok(plan)
    }
}

/// A layout in a directory, in which no link is followed.
#[derive(Debug)]
struct Directory {
    dir: PathBuf,
    confined: Confined,
}

impl Directory {
    fn open(dir: &Path) -> Result<Self> {
        let confined = Confined::open(dir).map_err(|error| Error::Archive {
            path: dir.to_owned(),
            reason: error.to_string(),
        })?;
        let source = Self {
            dir: dir.to_owned(),
            confined,
        };
        for file in ["oci-layout", "index.json"] {
            let path = Path::new(file);
            if source.confined.open_at(path, at::OFlags::PATH, 0).is_err() {
                return Err(source.bad(format!(
                    "it has no file `{file}`; an OCI image layout is what `skopeo copy ... oci:DIR` writes"
                )));
            }
        }
        Ok(source)
    }

    fn bad(&self, reason: String) -> Error {
        Error::Archive {
            path: self.dir.clone(),
            reason,
        }
    }

    fn file(&self, path: &Path) -> Result<File> {
        let opened = self.confined.open_at(path, at::OFlags::RDONLY, 0);
        let file =
            File::from(opened.map_err(|error| {
                self.bad(format!("`{}` cannot be read: {error}", path.display()))
            })?);
        let regular = io("stat", path, file.metadata())?.is_file();
        if !regular {
            return Err(self.bad(format!("`{}` is no file", path.display())));
        }
        Ok(file)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = self.file(path)?.take(DOCUMENT_LIMIT + 1);
        io("read", path, file.read_to_end(&mut bytes))?;
        if bytes.len() as u64 > DOCUMENT_LIMIT {
            let path = path.display();
            return Err(self.bad(format!(
                "`{path}` has more than {DOCUMENT_LIMIT} bytes, too many for a document"
            )));
        }
        Ok(bytes)
    }

    fn blob(&self, digest: &Digest) -> Result<File> {
        self.file(&Path::new("blobs/sha256").join(crate::blobs::hex(digest)))
    }

    fn document(&self, digest: Digest, size: u64) -> Result<Vec<u8>> {
        let path = Path::new("blobs/sha256").join(crate::blobs::hex(&digest));
        let bytes = self.read(&path)?;
        let found = Digest::of(&bytes);
        if found == digest && bytes.len() as u64 == size {
            return Ok(bytes);
        }
        Err(Error::BadBlob {
            from: self.dir.display().to_string(),
            expected: digest.to_string(),
            found: match found == digest {
                true => format!("{} bytes instead of {size}", bytes.len()),
                false => format!("the digest `{found}`"),
            },
        })
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
