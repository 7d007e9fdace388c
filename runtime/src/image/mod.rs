//! Images: configurations with layers, names for them, and ways in and out.

mod adopt;
mod archive;
mod compression;
mod discard;
pub(crate) mod document;
mod find;
mod history;
mod install;
pub(crate) mod layout_dir;
mod load;
mod load_archive;
mod make;
mod name;
mod pack;
pub(crate) mod plan;
mod platform;
mod remove;
mod save;
mod sharing;

use oci_spec::image::ImageConfiguration;

use cowlab_layer::Digest;

use crate::graph::LayerRow;

pub use compression::open_archive;
pub use history::Line;
pub use install::{Progress, Step};
pub use load::Loaded;
pub use name::{Name, familiar};
pub(crate) use pack::{Packed, spec_digest};
pub use plan::PlannedLayer;
pub(crate) use plan::chained;
pub(crate) use platform::Search;
pub use remove::Removed;
pub use save::SaveFormat;
pub use sharing::Footprint;

/// The version of the OCI image specification that images are read and written by.
pub const SPECIFICATION: &str = "1.1.0";

/// The architecture of this machine, in the words of that specification.
#[must_use]
pub fn architecture() -> String {
    oci_spec::image::Arch::default().to_string()
}

/// An image that is here.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    /// Its configuration.
    pub config: ImageConfiguration,
    /// Its layers, base first.
    pub layers: Vec<LayerRow>,
    /// Its names: registry, repository and tag, sorted.
    pub names: Vec<String>,
    /// When it came here, in nanoseconds since 1970.
    pub added: i64,
}

impl Image {
    /// The name of the snapshot that a container's is prepared on; `None` of an image without layers.
    #[must_use]
    pub fn snapshot(&self) -> Option<&str> {
        self.layers.last().map(|layer| layer.cache_id.as_str())
    }

    /// The name for people: the first of its names, else the beginning of its id.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.names.first() {
            Some(name) => familiar(name),
            None => short(&self.id.to_string()).to_owned(),
        }
    }

    /// The bytes of its layers' archives, uncompressed.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }
}

/// The beginning of an id that people write: twelve digits, as docker's.
#[must_use]
pub fn short(id: &str) -> &str {
    let digits = crate::root::digits(id);
    digits.get(..12).unwrap_or(digits)
}
