//! Saving images to files: an OCI image layout, as a directory or in a tar archive, which may also be one of docker's.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndexBuilder, MediaType};
use serde_json::json;

use cowlab_layer::{ArchiveWriter, Digest};
use cowlab_sys::durability::{fsync, fsync_dir};
use cowlab_sys::io;

use super::layout_dir::{FULL_NAME, REF_NAME};
use super::pack::{Packed, spec_digest};
use super::{Name, familiar};
use crate::blobs::{Stored, hex};
use crate::{Error, Result, Root};

/// What images are saved as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SaveFormat {
    /// A tar archive that docker, podman and skopeo load: an OCI layout with docker's `manifest.json`.
    #[default]
    DockerArchive,
    /// A tar archive with an OCI image layout.
    OciArchive,
}

const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// An image to be saved, with the name it goes by.
struct Item {
    packed: Packed,
    tagged: Option<String>,
}

impl Root {
    /// Writes images to an archive, with the blobs and manifests that they came with. Tells whether one has a new manifest
    /// instead, because a layer is not here as it came.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NoBlob`], [`Error::Lost`], and when the sink fails.
    pub fn save(&self, names: &[String], format: SaveFormat, sink: &mut dyn Write) -> Result<bool> {
        self.with_items(names, |items| self.write_archive(items, format, sink))
    }

    fn write_archive(
        &self,
        items: &[Item],
        format: SaveFormat,
        sink: &mut dyn Write,
    ) -> Result<()> {
        let path = Path::new("the archive");
        let mut archive = ArchiveWriter::new(sink);
        let write = |result| io("write", path, result).map_err(Error::from);
        for dir in ["blobs", "blobs/sha256"] {
            write(archive.directory(dir))?;
        }
        for (digest, source) in self.contents(items)? {
            let name = format!("blobs/sha256/{}", hex(&digest));
            let (size, mut source) = source.open()?;
            write(archive.file(&name, size, &mut source))?;
        }
        let mut documents = vec![
            ("oci-layout", LAYOUT.to_owned().into_bytes()),
            ("index.json", index(items)?),
        ];
        if format == SaveFormat::DockerArchive {
            documents.push(("manifest.json", docker_manifest(items)));
        }
        for (name, bytes) in documents {
            let size = bytes.len() as u64;
            write(archive.file(name, size, &mut bytes.as_slice()))?;
        }
        io("write", path, archive.finish())?;
        Ok(())
    }

    /// As [`save`](Self::save), to an OCI image layout in a directory, which must be empty or not be there.
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save); [`Error::Archive`] for a directory that is not empty.
    pub fn save_directory(&self, names: &[String], dir: &Path) -> Result<bool> {
        self.with_items(names, |items| self.write_directory(items, dir))
    }

    fn write_directory(&self, items: &[Item], dir: &Path) -> Result<()> {
        let blobs = dir.join("blobs/sha256");
        let there = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        if there {
            return Err(Error::Archive {
                path: dir.to_owned(),
                reason: "it is not empty: name a new directory".to_owned(),
            });
        }
        io("mkdir", &blobs, fs::create_dir_all(&blobs))?;
        for (digest, source) in self.contents(items)? {
            let path = blobs.join(hex(&digest));
            let (_, mut source) = source.open()?;
            let mut file = io("create", &path, File::create_new(&path))?;
            io("copy", &path, std::io::copy(&mut source, &mut file))?;
            io("fsync", &path, file.sync_all())?;
        }
        // The index comes last: without it there is no layout.
        for (name, bytes) in [
            ("oci-layout", LAYOUT.as_bytes()),
            ("index.json", &index(items)?),
        ] {
            let path = dir.join(name);
            io("write", &path, fs::write(&path, bytes))?;
            fsync(&path)?;
        }
        for dir in [&blobs, dir] {
            fsync_dir(dir)?;
        }
        Ok(())
    }

    fn with_items(
        &self,
        names: &[String],
        work: impl FnOnce(&[Item]) -> Result<()>,
    ) -> Result<bool> {
        let adding = self.adding()?;
        let mut made = Vec::new();
        let done = self.items(names, &mut made).and_then(|items| {
            work(&items)?;
            Ok(items.iter().any(|item| item.packed.fresh))
        });
        drop(adding);
        self.give_back(&made)?;
        done
    }

    fn items(&self, names: &[String], made: &mut Vec<Stored>) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for text in names {
            let image = self.image(text)?;
            let tagged = text.parse::<Name>().ok().and_then(|name| name.tagged());
            let tagged = tagged.filter(|tagged| image.names.contains(tagged));
            items.push(Item {
                packed: self.packed(&image, tagged.as_deref(), made)?,
                tagged,
            });
        }
        Ok(items)
    }

    /// Everything that the images are made of, each once, in the order of the digests: two saves give the same bytes.
    fn contents<'a>(&self, items: &'a [Item]) -> Result<Vec<(Digest, Source<'a>)>> {
        let mut contents: Vec<(Digest, Source<'a>)> = Vec::new();
        for item in items {
            contents.push((item.packed.digest, Source::Bytes(&item.packed.manifest)));
            for (digest, _) in item.packed.blobs() {
                self.blobs().file(&digest)?;
                contents.push((digest, Source::File(self.blobs().path(&digest))));
            }
        }
        contents.sort_by_key(|(digest, _)| *digest);
        contents.dedup_by_key(|(digest, _)| *digest);
        Ok(contents)
    }
}

/// Where the bytes of a blob come from.
enum Source<'a> {
    Bytes(&'a [u8]),
    File(PathBuf),
}

impl<'a> Source<'a> {
    fn open(self) -> Result<(u64, Box<dyn Read + 'a>)> {
        match self {
            Self::Bytes(bytes) => Ok((bytes.len() as u64, Box::new(bytes))),
            Self::File(path) => {
                let file = io("open", &path, File::open(&path))?;
                let size = io("stat", &path, file.metadata())?.len();
                Ok((size, Box::new(file)))
            }
        }
    }
}

fn index(items: &[Item]) -> Result<Vec<u8>> {
    let mut manifests = Vec::new();
    for item in items {
        let mut descriptor = Descriptor::new(
            MediaType::from(item.packed.media_type.as_str()),
            item.packed.manifest.len() as u64,
            spec_digest(&item.packed.digest)?,
        );
        if let Some(tagged) = &item.tagged {
            let tag = tagged.rsplit_once(':').map_or("latest", |(_, tag)| tag);
            let names = [(REF_NAME, tag), (FULL_NAME, tagged.as_str())];
            let names = names.map(|(name, value)| (name.to_owned(), value.to_owned()));
            descriptor.set_annotations(Some(names.into_iter().collect()));
        }
        manifests.push(descriptor);
    }
    let index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build()
        .and_then(|index| index.to_string());
    let text = index.map_err(|error| Error::BadImage {
        name: "(to be saved)".to_owned(),
        reason: format!("no index can be made: {error}"),
    })?;
    Ok(text.into_bytes())
}

fn docker_manifest(items: &[Item]) -> Vec<u8> {
    let blob = |digest: &Digest| format!("blobs/sha256/{}", hex(digest));
    let entries: Vec<_> = items
        .iter()
        .map(|item| {
            let layers: Vec<_> = item
                .packed
                .layers
                .iter()
                .map(|(one, _)| blob(one))
                .collect();
            let names: Vec<_> = item.tagged.iter().map(|name| familiar(name)).collect();
            json!({
                "Config": blob(&item.packed.config.0),
                "RepoTags": names,
                "Layers": layers,
            })
        })
        .collect();
    serde_json::Value::from(entries).to_string().into_bytes()
}
