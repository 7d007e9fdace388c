//! What a build is told.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use cowlab_dockerfile::{Dockerfile, Ignore};
use cowlab_runtime::build::CachePlace;
use cowlab_runtime::container::Network;
use cowlab_runtime::image::Name;
use cowlab_runtime::registry::RegistryOptions;

/// How an image is built.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// What to execute.
    pub dockerfile: Dockerfile,
    /// The directory that files are copied from; without one there is none.
    pub context: Option<PathBuf>,
    /// What of it is left out.
    pub ignore: Ignore,
    /// The names of the image.
    pub names: Vec<Name>,
    /// Labels of the image, over those of the Dockerfile.
    pub labels: BTreeMap<String, String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// The stage to build; without it the last.
    pub target: Option<String>,
    /// Whether every step is run, whatever the cache has.
    pub no_cache: bool,
    /// Whether base images are pulled that are here.
    pub pull: bool,
    /// The network of `RUN` where it names none.
    pub network: Network,
    /// `--secret`, by their ids.
    pub secrets: BTreeMap<String, Secret>,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970: nothing that the build makes is younger.
    pub epoch: Option<i64>,
    /// `--cache-from`: what is looked at besides the root's own cache.
    pub cache_from: Vec<CachePlace>,
    /// `--cache-to`: where the steps of this build are written to.
    pub cache_to: Vec<CachePlace>,
    /// How registries are asked.
    pub registry: RegistryOptions,
    /// The arguments that have this program be the monitor of a container: see
    /// [`StartOptions::monitor`](cowlab_runtime::container::StartOptions::monitor).
    pub monitor: Vec<OsString>,
}

impl BuildOptions {
    /// A build of a Dockerfile without a context.
    #[must_use]
    pub fn new(dockerfile: Dockerfile) -> Self {
        Self {
            dockerfile,
            context: None,
            ignore: Ignore::default(),
            names: Vec::new(),
            labels: BTreeMap::new(),
            build_args: BTreeMap::new(),
            target: None,
            no_cache: false,
            pull: false,
            network: Network::Host,
            secrets: BTreeMap::new(),
            epoch: None,
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            registry: RegistryOptions::default(),
            monitor: Vec::new(),
        }
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// A file of the host.
    File(PathBuf),
    /// A variable of this process's environment.
    Variable(String),
}
