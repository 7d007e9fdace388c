//! The images of the graph: configurations, the manifests that name them, and the names that people gave.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, params};

use super::{Graph, count, now, rows, stored};
use crate::Result;

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ImageRow {
    /// The digest of its configuration.
    pub id: String,
    /// The chain id of its topmost layer; `None` of an image without layers.
    pub top: Option<String>,
    /// When it came here, in nanoseconds since 1970.
    pub created: i64,
}

/// A manifest of an image: an image has several when its layers came in several packings.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ManifestRow {
    /// Its digest.
    pub digest: String,
    /// The image's id.
    pub image: String,
    /// Its type.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A name of an image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TagRow {
    /// The whole name: registry, repository and tag.
    pub name: String,
    /// The image's id.
    pub image: String,
    /// The digest of the manifest that came with the name.
    pub manifest: String,
}

fn image(row: &rusqlite::Row<'_>) -> rusqlite::Result<ImageRow> {
    Ok(ImageRow {
        id: row.get(0)?,
        top: row.get(1)?,
        created: row.get(2)?,
    })
}

fn tag(row: &rusqlite::Row<'_>) -> rusqlite::Result<TagRow> {
    Ok(TagRow {
        name: row.get(0)?,
        image: row.get(1)?,
        manifest: row.get(2)?,
    })
}

impl Graph {
    /// Records an image with a manifest and the blobs that this names. What is there already stays.
    ///
    /// # Errors
    ///
    /// [`Error::Database`](crate::Error::Database), when a layer is not there for example.
    pub fn add_image(
        &self,
        id: &str,
        top: Option<&str>,
        manifest: &ManifestRow,
        blobs: &[String],
    ) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO images (id, top, created) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING",
                params![id, top, now()],
            )?;
            tx.execute(
                "INSERT INTO manifests (digest, image, media_type, size) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (digest) DO NOTHING",
                params![manifest.digest, id, manifest.media_type, stored(manifest.size)],
            )?;
            for blob in blobs {
                tx.execute(
                    "INSERT INTO manifest_blobs (manifest, blob) VALUES (?1, ?2)
                     ON CONFLICT (manifest, blob) DO NOTHING",
                    [&manifest.digest, blob],
                )?;
            }
            Ok(())
        })
    }

    /// The image with this id.
    pub fn image(&self, id: &str) -> Result<Option<ImageRow>> {
        self.read(|tx| {
            tx.prepare_cached("SELECT id, top, created FROM images WHERE id = ?1")?
                .query_row([id], image)
                .optional()
        })
    }

    /// Every image, newest first.
    pub fn images(&self) -> Result<Vec<ImageRow>> {
        self.read(|tx| {
            let sql = "SELECT id, top, created FROM images ORDER BY created DESC, id";
            rows(tx, sql, [], image)
        })
    }

    /// Ids of images that begin with `sha256:` and these digits, at most a few.
    pub fn images_by_prefix(&self, digits: &str) -> Result<Vec<String>> {
        self.read(|tx| {
            let sql = "SELECT id FROM images WHERE substr(id, 8, length(?1)) = ?1 LIMIT 8";
            rows(tx, sql, [digits], |row| row.get(0))
        })
    }

    /// The image that a manifest names.
    pub fn image_of_manifest(&self, digest: &str) -> Result<Option<String>> {
        self.read(|tx| {
            tx.prepare_cached("SELECT image FROM manifests WHERE digest = ?1")?
                .query_row([digest], |row| row.get(0))
                .optional()
        })
    }

    /// The manifests of an image.
    pub fn manifests(&self, id: &str) -> Result<Vec<ManifestRow>> {
        self.read(|tx| {
            let sql =
                "SELECT digest, image, media_type, size FROM manifests WHERE image = ?1 ORDER BY digest";
            rows(tx, sql, [id], |row| {
                Ok(ManifestRow {
                    digest: row.get(0)?,
                    image: row.get(1)?,
                    media_type: row.get(2)?,
                    size: count(row, 3)?,
                })
            })
        })
    }

    /// Forgets an image with its names and manifests. One that a container uses is kept by the database.
    pub fn remove_image(&self, id: &str) -> Result<()> {
        self.write(|tx| {
            tx.execute("DELETE FROM images WHERE id = ?1", [id])
                .map(drop)
        })
    }

    /// Gives an image a name, taking it from the image that had it.
    pub fn set_tag(&self, wanted: &TagRow) -> Result<Option<String>> {
        self.write(|tx| {
            let before = tx
                .query_row("SELECT image FROM tags WHERE name = ?1", [&wanted.name], |row| {
                    row.get(0)
                })
                .optional()?;
            tx.execute(
                "INSERT INTO tags (name, image, manifest, updated) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name) DO UPDATE SET image = excluded.image, manifest = excluded.manifest,
                     updated = excluded.updated",
                params![wanted.name, wanted.image, wanted.manifest, now()],
            )?;
            Ok(before)
        })
    }

    /// The name, with the image that has it.
    pub fn tag(&self, name: &str) -> Result<Option<TagRow>> {
        self.read(|tx| {
            tx.prepare_cached("SELECT name, image, manifest FROM tags WHERE name = ?1")?
                .query_row([name], tag)
                .optional()
        })
    }

    /// The names of an image, or all of them, sorted.
    pub fn tags(&self, image: Option<&str>) -> Result<Vec<TagRow>> {
        self.read(|tx| {
            let sql = "SELECT name, image, manifest FROM tags WHERE ?1 IS NULL OR image = ?1 ORDER BY name";
            rows(tx, sql, [image], tag)
        })
    }

    /// Takes a name away. One that is not there is no error.
    pub fn remove_tag(&self, name: &str) -> Result<()> {
        self.write(|tx| {
            tx.execute("DELETE FROM tags WHERE name = ?1", [name])
                .map(drop)
        })
    }

    /// Records under which digest a repository knows an image.
    pub fn add_repository_digest(&self, repository: &str, digest: &str, image: &str) -> Result<()> {
        self.write(|tx| {
            tx.execute(
                "INSERT INTO repository_digests (repository, digest, image) VALUES (?1, ?2, ?3)
                 ON CONFLICT (repository, digest) DO UPDATE SET image = excluded.image",
                [repository, digest, image],
            )
            .map(drop)
        })
    }

    /// The repositories and digests under which an image is known, or all with their images, sorted.
    pub fn repository_digests(&self, image: Option<&str>) -> Result<Vec<(String, String, String)>> {
        self.read(|tx| {
            let sql = "SELECT repository, digest, image FROM repository_digests
                       WHERE ?1 IS NULL OR image = ?1 ORDER BY repository, digest";
            rows(tx, sql, [image], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
        })
    }

    /// The digests of the blobs that an image names: its configuration, its manifests, what these name.
    pub fn image_blobs(&self, id: &str) -> Result<BTreeSet<String>> {
        self.read(|tx| {
            let sql = "SELECT id FROM images WHERE id = ?1
                       UNION SELECT digest FROM manifests WHERE image = ?1
                       UNION SELECT blob FROM manifest_blobs JOIN manifests ON manifest = digest WHERE image = ?1";
            let blobs = rows(tx, sql, [id], |row| row.get(0))?;
            Ok(blobs.into_iter().collect())
        })
    }

    /// The digests of every blob that an image or a layer names.
    pub fn used_blobs(&self) -> Result<BTreeSet<String>> {
        self.read(|tx| {
            let sql = "SELECT id FROM images UNION SELECT digest FROM manifests
                       UNION SELECT blob FROM manifest_blobs UNION SELECT blob FROM layers";
            let used = rows(tx, sql, [], |row| row.get(0))?;
            Ok(used.into_iter().collect())
        })
    }
}
