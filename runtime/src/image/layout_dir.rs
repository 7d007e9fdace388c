//! An OCI image layout in a directory (image specification, `image-layout.md`), read with suspicion: no link in it is followed, no
//! pipe waited for, and no document believed whose digest is not proved.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cowlab_layer::Digest;
use cowlab_sys::at::OFlags;
use cowlab_sys::{Root as Confined, io};

use super::document::{self, Descriptor, Entries};
use super::plan::{DOCUMENT_LIMIT, Manifest};
use super::platform::search;
use crate::blobs::hex;
use crate::{Error, Result};

/// The annotations that name an image in an index: `REF_NAME` is the image specification's, `FULL_NAME` is containerd's and
/// starts with the registry.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub(crate) const FULL_NAME: &str = "io.containerd.image.name";

/// A layout that is there.
#[derive(Debug)]
pub(crate) struct LayoutDir {
    dir: PathBuf,
    confined: Confined,
}

impl LayoutDir {
    /// Opens the layout in `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let confined = Confined::open(dir).map_err(|error| Error::layout(dir, error))?;
        let layout = Self {
            dir: dir.to_owned(),
            confined,
        };
        for file in ["oci-layout", "index.json"] {
            let opened = layout.confined.open_at(Path::new(file), OFlags::PATH, 0);
            if opened.is_err() {
                return Err(layout.bad(format!(
                    "it has no file `{file}`; an OCI image layout is what `skopeo copy ... oci:DIR` writes"
                )));
            }
        }
        Ok(layout)
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// What its index names.
    pub(crate) fn entries(&self) -> Result<Entries> {
        let index = self.read(Path::new("index.json"))?;
        document::index(&index).map_err(|reason| self.bad(format!("`index.json`: {reason}")))
    }

    /// The manifest for this machine that a descriptor leads to, with its bytes; `name` is for messages.
    pub(crate) fn manifest(
        &self,
        name: &str,
        descriptor: &Descriptor,
    ) -> Result<(Manifest, Vec<u8>)> {
        search(name, descriptor, |wanted| {
            self.document(&wanted.digest, wanted.size)
        })
    }

    /// Opens a blob. Its digest is the reader's to check.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<File> {
        self.file(&blob_path(digest))
    }

    /// Reads a small blob, and proves its digest and its size.
    pub(crate) fn document(&self, digest: &Digest, size: u64) -> Result<Vec<u8>> {
        let bytes = self.read(&blob_path(digest))?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(Error::Digest {
                path: self.dir.clone(),
                expected: digest.to_string(),
                found: found.to_string(),
            });
        }
        match bytes.len() as u64 == size {
            true => Ok(bytes),
            false => Err(self.bad(format!(
                "blob `{digest}` has {} bytes instead of {size}",
                bytes.len()
            ))),
        }
    }

    /// The error of a layout that cannot be used.
    pub(crate) fn bad(&self, reason: impl std::fmt::Display) -> Error {
        Error::layout(&self.dir, reason)
    }

    fn file(&self, path: &Path) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let unreadable = |error| self.bad(format!("`{}` cannot be read: {error}", path.display()));
        let file = File::from(self.confined.open_at(path, flags, 0).map_err(unreadable)?);
        match io("stat", path, file.metadata())?.is_file() {
            true => Ok(file),
            false => Err(self.bad(format!("`{}` is no file", path.display()))),
        }
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = self.file(path)?.take(DOCUMENT_LIMIT + 1);
        io("read", path, file.read_to_end(&mut bytes))?;
        match bytes.len() as u64 > DOCUMENT_LIMIT {
            false => Ok(bytes),
            true => Err(self.bad(format!(
                "`{}` has more than {DOCUMENT_LIMIT} bytes, too many for a document",
                path.display()
            ))),
        }
    }
}

fn blob_path(digest: &Digest) -> PathBuf {
    Path::new("blobs/sha256").join(hex(digest))
}
