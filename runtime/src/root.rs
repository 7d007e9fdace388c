//! The root: everything that the runtime keeps, in one directory that people can look into.
//!
//! ```text
//! <root>/graph.db            which layer, image, name and container belongs to which
//! <root>/blobs/sha256/       manifests, configurations and layers as they came
//! <root>/images/<id>.json    the configuration of each image
//! <root>/layers/<chain id>/  where each layer is: `cache-id`, `diff`, `parent`, `blob`; `recipe` of one that is kept without its blob
//! <root>/containers/         one directory a container
//! <root>/volumes/            one directory a volume
//! <root>/snapshots/          the snapshot store's database and locks
//! <root>/<driver>/           what the driver keeps
//! <root>/locks/              locks between processes
//! ```
//!
//! The graph, the blobs and the recipes are the truth about images and layers; the other files in `images/` and `layers/` are
//! for people.

mod choice;
mod open;

use std::fs;
use std::path::{Path, PathBuf};

use cowlab_driver::Settings;
use cowlab_layer::{Digest, Duplicates};
use cowlab_snapshots::Store;
use cowlab_sys::io;
use cowlab_sys::lock::FileLock;

use crate::blobs::{Blobs, hex};
use crate::graph::{Graph, LayerRow, UserRow};
use crate::{Error, Result};

pub use choice::{Configuration, default_dir};

/// How a root is opened.
#[derive(Debug, Clone, Default)]
pub struct RootOptions {
    /// The directory; `None` means the configuration's, or [`default_dir`].
    pub dir: Option<PathBuf>,
    /// The driver, `name` or `name/variant`; `None` means the root's own, the configuration's, or the first that runs.
    pub driver: Option<String>,
    /// What the driver is told about its place besides, a pool for example.
    pub settings: Settings,
    /// Whether the blobs of layers that come in are not kept, but only what makes their archives again; the configuration may
    /// say so as well.
    pub discard_blobs: bool,
    /// What happens to layers that have a name twice.
    pub duplicates: Duplicates,
}

/// An open root.
#[derive(Debug)]
pub struct Root {
    dir: PathBuf,
    graph: Graph,
    blobs: Blobs,
    store: Store,
    configuration: Configuration,
    discards_blobs: bool,
    duplicates: Duplicates,
}

impl Root {
    /// The directory, absolute.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The graph database.
    #[must_use]
    pub const fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The containers that use an image, or all of them, oldest first. Forgets those that are gone: a power cut may take back
    /// that they were forgotten.
    pub fn users(&self, image: Option<&str>) -> Result<Vec<UserRow>> {
        let mut users = self.graph.users(image)?;
        for gone in users.extract_if(.., |user| !is_kept(&self.dir, &user.id)) {
            self.graph.remove_user(&gone.id)?;
        }
        Ok(users)
    }

    /// The blobs.
    #[must_use]
    pub const fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// The snapshot store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// What the configuration file says.
    #[must_use]
    pub const fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Whether layers that come in are kept without their blobs.
    #[must_use]
    pub const fn discards_blobs(&self) -> bool {
        self.discards_blobs
    }

    /// What happens to layers that have a name twice.
    pub(crate) const fn duplicates(&self) -> Duplicates {
        self.duplicates
    }

    /// Keeps what comes in from being collected: held by whoever adds blobs and layers that no image names yet.
    pub(crate) fn adding(&self) -> Result<FileLock> {
        Ok(FileLock::shared(&self.dir.join("locks/content"))?)
    }

    /// Allows to remove what no image names, or `None` while somebody adds something.
    pub(crate) fn removing(&self) -> Result<Option<FileLock>> {
        let lock = FileLock::try_exclusive(&self.dir.join("locks/content"))?;
        if lock.is_some() {
            // What no row names is removed now, so no transaction of a killed process may be seen later (`take_place_in_log`).
            self.graph.write_unflushed(|_tx| Ok(()))?;
        }
        Ok(lock)
    }

    /// Keeps others from unpacking or removing a layer. One of 256 locks, for lock files stay.
    pub(crate) fn lock_layer(&self, chain_id: &Digest) -> Result<FileLock> {
        let name = format!("locks/layer-{:02x}", chain_id.as_bytes()[0]);
        Ok(FileLock::exclusive(&self.dir.join(name))?)
    }

    /// Writes for people where a layer is.
    pub(crate) fn describe_layer(&self, layer: &LayerRow) -> Result<()> {
        let dir = self.layer_dir(&layer.chain_id);
        io("mkdir", &dir, fs::create_dir_all(&dir))?;
        let parent = layer.parent.as_deref();
        let facts = [
            ("cache-id", Some(layer.cache_id.as_str())),
            ("diff", Some(layer.diff_id.as_str())),
            ("blob", Some(layer.blob.as_str())),
            ("parent", parent),
        ];
        for (name, value) in facts {
            if let Some(value) = value {
                let path = dir.join(name);
                io("write", &path, fs::write(&path, value))?;
            }
        }
        Ok(())
    }

    /// Removes what [`describe_layer`](Self::describe_layer) wrote.
    pub(crate) fn forget_layer(&self, chain_id: &str) -> Result<()> {
        let dir = self.layer_dir(chain_id);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Ok(io("rmdir", &dir, Err(error))?)
            }
            _ => Ok(()),
        }
    }

    /// The ids of images that [`describe_image`](Self::describe_image) told of.
    pub(crate) fn described_images(&self) -> Result<Vec<String>> {
        let names = names_in(&self.dir.join("images"))?;
        let digits = names.iter().filter_map(|name| name.strip_suffix(".json"));
        Ok(digits.map(|digits| format!("sha256:{digits}")).collect())
    }

    /// The chain ids of layers that [`describe_layer`](Self::describe_layer) told of.
    pub(crate) fn described_layers(&self) -> Result<Vec<String>> {
        let names = names_in(&self.dir.join("layers"))?;
        Ok(names.iter().map(|name| format!("sha256:{name}")).collect())
    }

    /// Where the recipe of a layer is, or would be.
    pub(crate) fn recipe_path(&self, chain_id: &str) -> PathBuf {
        self.layer_dir(chain_id).join("recipe")
    }

    fn layer_dir(&self, chain_id: &str) -> PathBuf {
        self.dir.join("layers").join(digits(chain_id))
    }

    /// Shows people an image's configuration, which is one of the blobs: the same file under another name.
    pub(crate) fn describe_image(&self, id: &Digest) -> Result<()> {
        let path = self.dir.join("images").join(format!("{}.json", hex(id)));
        match fs::hard_link(self.blobs.path(id), &path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Ok(io("link", &path, Err(error))?)
            }
            _ => Ok(()),
        }
    }

    /// Removes what [`describe_image`](Self::describe_image) made.
    pub(crate) fn forget_image(&self, id: &str) -> Result<()> {
        let path = self.dir.join("images").join(format!("{}.json", digits(id)));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Ok(io("unlink", &path, Err(error))?)
            }
            _ => Ok(()),
        }
    }
}

/// Whether the root at `dir` keeps a container of this id: its record is there before its image is held, and goes last.
fn is_kept(dir: &Path, id: &str) -> bool {
    let record = dir.join("containers").join(id).join("container.json");
    record.try_exists().unwrap_or(true)
}

/// The names in a directory.
fn names_in(dir: &Path) -> Result<Vec<String>> {
    let entries = cowlab_sys::dir::read_dir(dir)?;
    let names = entries.into_iter().map(|entry| entry.name.into_string());
    Ok(names.filter_map(std::result::Result::ok).collect())
}

/// The digits of an id, without the algorithm.
pub(crate) fn digits(id: &str) -> &str {
    id.strip_prefix("sha256:").unwrap_or(id)
}

/// The digest that a row of the graph holds.
pub(crate) fn digest(text: &str, graph: &Graph) -> Result<Digest> {
    text.parse().map_err(|error| Error::Graph {
        path: graph.path().to_owned(),
        reason: format!("a row holds no digest: {error}"),
    })
}
