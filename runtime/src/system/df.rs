//! What the root takes on disk, measured: each layer counts once, whatever number of images share it.

use std::collections::{BTreeMap, BTreeSet};

use cowlab_driver::{Allocation, Bytes};
use cowlab_snapshots::{Filter, Kind};

use crate::{Result, Root};

/// One kind of thing, and what it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Share {
    /// How many there are.
    pub total: usize,
    /// How many something needs.
    pub active: usize,
    /// What they take.
    pub size: Allocation,
    /// What removing those that nothing needs would free.
    pub reclaimable: Allocation,
}

/// What a root takes on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct DiskUse {
    /// Images with their layers, unpacked; active are those that containers use.
    pub images: Share,
    /// Writable snapshots and views, those of containers for example; active are all.
    pub snapshots: Share,
    /// Blobs: manifests, configurations and layers as they came; active are those that an image names.
    pub blobs: Share,
}

impl Root {
    /// Measures what the root takes. Costs up to O(entries of all layers).
    ///
    /// # Errors
    ///
    /// [`Error::Store`](crate::Error::Store), [`Error::Database`](crate::Error::Database).
    pub fn disk_use(&self) -> Result<DiskUse> {
        Ok(DiskUse {
            images: self.image_share()?,
            snapshots: self.snapshot_share()?,
            blobs: self.blob_share()?,
        })
    }

    fn image_share(&self) -> Result<Share> {
        let users = self.graph().users(None)?;
        let used: BTreeSet<_> = users.into_iter().map(|user| user.image).collect();
        let images = self.layer_images()?;
        let mut share = Share {
            total: self.graph().images()?.len(),
            active: used.len(),
            ..Share::default()
        };
        for layer in self.graph().layers()? {
            let Ok(usage) = self.store().usage(&layer.cache_id) else {
                // A layer that is being unpacked has no snapshot yet.
                continue;
            };
            share.size = share.size + usage.exclusive;
            let needed = images
                .get(&layer.chain_id)
                .is_some_and(|images| images.iter().any(|image| used.contains(image)));
            if !needed {
                share.reclaimable = share.reclaimable + usage.exclusive;
            }
        }
        Ok(share)
    }

    fn snapshot_share(&self) -> Result<Share> {
        let mut share = Share::default();
        for kind in [Kind::Active, Kind::View] {
            let filter = Filter {
                kind: Some(kind),
                ..Filter::default()
            };
            for info in self.store().list(&filter)? {
                share.total += 1;
                share.active += 1;
                share.size = share.size + self.store().usage(&info.key)?.exclusive;
            }
        }
        Ok(share)
    }

    fn blob_share(&self) -> Result<Share> {
        let used = self.graph().used_blobs()?;
        let blobs: BTreeMap<_, _> = self.blobs().list()?.into_iter().collect();
        let mut share = Share::default();
        for (digest, size) in blobs {
            let part = Allocation {
                bytes: Bytes(size),
                inodes: 1,
            };
            share.total += 1;
            share.size = share.size + part;
            match used.contains(&digest.to_string()) {
                true => share.active += 1,
                false => share.reclaimable = share.reclaimable + part,
            }
        }
        Ok(share)
    }
}
