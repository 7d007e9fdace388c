//! Opening a root: its directories, its driver, and what an earlier boot left in it.

use cowlab_driver::ProbeDir;
use cowlab_snapshots::{Error as StoreError, Store, StoreOptions};
use cowlab_sys::lock::FileLock;
use cowlab_sys::{durability, io};

use super::choice::{self, Configuration, default_dir};
use super::{Root, RootOptions};
use crate::blobs::Blobs;
use crate::container::recover;
use crate::graph::Graph;
use crate::{Error, Result};

/// SQLite takes paths of 512 bytes (os_unix.c, `MAX_PATHNAME`), and the longest in a root is `/snapshots/snapshots.db-journal`.
const LONGEST_PATH: usize = 480;

impl Root {
    /// Opens a root, making it if it is not there.
    ///
    /// The driver is the one that the root was made with. For a new root it is the one asked for, else the
    /// configuration's, else the first of the registry's order that a probe finds to run in the directory
    /// (overlay2, btrfs, zfs, devicemapper-thin, vfs).
    ///
    /// # Errors
    ///
    /// [`Error::OtherDriver`] for a root of another driver, [`Error::UnknownDriver`], [`Error::NoDriver`],
    /// [`Error::Configuration`], and what the store says.
    pub fn open(options: &RootOptions) -> Result<Self> {
        let configuration = Configuration::read()?;
        let dir = match options.dir.as_ref().or(configuration.root.as_ref()) {
            Some(dir) => dir.clone(),
            None => default_dir()?,
        };
        durability::create_dir_all(&dir)?;
        let dir = io("realpath", &dir, dir.canonicalize())?;
        let length = dir.as_os_str().len();
        if length > LONGEST_PATH {
            return Err(Error::Root {
                reason: format!(
                    "its path has {length} bytes, and SQLite opens no database in one of more than {LONGEST_PATH}: take a shorter one with `--root DIR`, or mount it there (`mount --bind`)"
                ),
                path: dir,
            });
        }
        for name in ["images", "layers", "containers", "volumes", "locks"] {
            durability::create_dir_all(dir.join(name))?;
        }
        // Two first opens would otherwise both choose a driver.
        let opening = FileLock::exclusive(&dir.join("locks/open"))?;
        let graph = Graph::open(&dir.join("graph.db"))?;
        let recorded = graph.meta("driver")?.zip(graph.meta("variant")?);
        let is_new = recorded.is_none();
        let (entry, variant) =
            choice::choose(&dir, recorded, options, configuration.driver.as_deref())?;
        let store_options = StoreOptions {
            variant: variant.map(str::to_owned),
            driver_root: Some(dir.join(entry.name)),
            settings: options.settings.clone(),
            ..StoreOptions::default()
        };
        let store = Store::open(&dir.join("snapshots"), entry, &store_options)?;
        if is_new {
            let identity = store.identity();
            graph.set_meta(&[("driver", &identity.driver), ("variant", &identity.variant)])?;
        }
        drop(opening);
        if store.recovery().check.is_some() {
            // The first open of a boot.
            ProbeDir::sweep(&dir).map_err(StoreError::Unusable)?;
        }
        let root = Self {
            blobs: Blobs::open(&dir.join("blobs"))?,
            dir,
            graph,
            store,
            discards_blobs: options.discard_blobs || configuration.discard_blobs,
            duplicates: options.duplicates,
            configuration,
        };
        if let Err(error) = recover(&root) {
            tracing::warn!(%error, "what an earlier boot left of containers stays for now");
        }
        Ok(root)
    }
}
