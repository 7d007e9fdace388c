//! What can go wrong with an image.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// An error of the runtime library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A directory that is no OCI image layout, or holds one that breaks the specification.
    #[error("image layout `{}` is not usable: {reason}", path.display())]
    Layout {
        /// The layout's directory, or the file in it.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob whose content does not have the digest that it is named by.
    #[error("blob `{expected}` of image layout `{}` has the digest `{found}`", path.display())]
    Digest {
        /// The layout's directory.
        path: PathBuf,
        /// The digest in the descriptor.
        expected: String,
        /// The digest of what is there.
        found: String,
    },
    /// No such image in the layout.
    #[error("image layout `{}` has no image `{name}`: it has {present}", path.display())]
    NoImage {
        /// The layout's directory.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// What is there, for the reader.
        present: String,
    },
    /// A root that cannot be used as one.
    #[error("root `{}` is not usable: {reason}", path.display())]
    Root {
        /// The root's directory.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A root keeps one driver's data, and another driver was asked for.
    #[error(
        "root `{}` was made with driver `{recorded}`, not `{asked}`: leave `--driver {asked}` out, or give `{asked}` a root of its own with `--root DIR`",
        path.display()
    )]
    OtherDriver {
        /// The root's directory.
        path: PathBuf,
        /// The driver that it was made with, with its variant.
        recorded: String,
        /// The driver that was asked for.
        asked: String,
    },
    /// There is no driver of that name.
    #[error("there is no driver `{name}`: cowlab has {known}")]
    UnknownDriver {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// No driver runs on the root's file system.
    #[error("no driver runs in `{}`: {tried}", path.display())]
    NoDriver {
        /// The root's directory.
        path: PathBuf,
        /// Each driver with what it lacks.
        tried: String,
    },
    /// An ordinary user for whom the host lacks something.
    #[error("make user `{user}` root of a user namespace: {missing}")]
    Rootless {
        /// The user.
        user: String,
        /// What is missing, and the command that adds it.
        missing: cowlab_driver::Missing,
    },
    /// This system cannot tell whom to believe: no registry can be asked.
    #[error("ask registry `{registry}`: {missing}")]
    NoAuthorities {
        /// The registry's name.
        registry: String,
        /// What is missing, and the command that adds it.
        missing: cowlab_driver::Missing,
    },
    /// A configuration file that cannot be used.
    #[error("configuration `{}` is not usable: {reason}", path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The graph database failed.
    #[error("database `{}`: {reason}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// SQLite's reason.
        reason: rusqlite::Error,
    },
    /// The graph database has a schema that this program does not know, or is of something else.
    #[error("database `{}` is not usable: {reason}", path.display())]
    Graph {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A manifest or an index that describes no image: a chart, a signature, an attestation.
    #[error("`{name}` is no image but another artifact: {reason}")]
    Artifact {
        /// The name, or the digest.
        name: String,
        /// The document and the member that say so.
        reason: String,
    },
    /// Text that is no name of an image.
    #[error("`{}` is no name of an image: {reason}", name.escape_debug())]
    InvalidName {
        /// The text.
        name: String,
        /// The rule that it breaks.
        reason: String,
    },
    /// An object that is not there.
    #[error("no such {kind}: `{}`; {remedy}", name.escape_debug())]
    NotFound {
        /// What kind of object: `image`, `layer`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// How to see what there is.
        remedy: &'static str,
    },
    /// A prefix that more than one id has.
    #[error("`{prefix}` is the beginning of {} {kind} ids, give more digits: {}", matches.len(), matches.join(", "))]
    Ambiguous {
        /// What kind of object.
        kind: &'static str,
        /// What was asked for.
        prefix: String,
        /// The ids that begin so.
        matches: Vec<String>,
    },
    /// An object that others need.
    #[error("{kind} `{name}` is in use by {users}: {remedy}")]
    InUse {
        /// What kind of object.
        kind: &'static str,
        /// Its name or id.
        name: String,
        /// Who needs it.
        users: String,
        /// What to do first.
        remedy: &'static str,
    },
    /// An image whose documents contradict each other or the specification.
    #[error("image `{}` is not usable: {reason}", name.escape_debug())]
    BadImage {
        /// Its name or digest.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Content that is not what its descriptor says.
    #[error("{from} gave {found} for blob `{expected}`: nothing of it is kept")]
    BadBlob {
        /// Where it came from.
        from: String,
        /// The digest that it should have.
        expected: String,
        /// What is wrong: another digest, too few bytes.
        found: String,
    },
    /// A blob that is not kept.
    #[error("blob `{digest}` is not there: {remedy}")]
    NoBlob {
        /// Its digest.
        digest: String,
        /// How to get it back.
        remedy: &'static str,
    },
    /// A layer whose blob was discarded and that is not what it was.
    #[error(
        "layer `{layer}` cannot be packed: its blob was discarded, and {lost} changed since; remove its images and pull or load them again"
    )]
    Lost {
        /// The layer's chain id.
        layer: String,
        /// Some of the files.
        lost: String,
    },
    /// A registry that does not answer.
    #[error(
        "registry `{registry}` cannot be reached: {reason}; a registry without TLS, or whose certificate cannot be verified, needs `--tls-verify=false`"
    )]
    Unreachable {
        /// The registry.
        registry: String,
        /// What failed.
        reason: String,
    },
    /// A registry that does not know us, or knows us too well.
    #[error(
        "registry `{registry}` refuses `{name}`: give `--creds USER:PASSWORD`, or log in with `cowlab login`, docker or podman, whose credentials are used"
    )]
    Denied {
        /// The registry.
        registry: String,
        /// The image.
        name: String,
    },
    /// An image that a registry does not have.
    #[error("registry `{registry}` has no image `{name}`: check its name and its tag")]
    NotInRegistry {
        /// The registry.
        registry: String,
        /// The image.
        name: String,
    },
    /// A registry that answers what it should not.
    #[error("registry `{registry}`: {reason}")]
    Registry {
        /// The registry.
        registry: String,
        /// What it answered.
        reason: String,
    },
    /// A layer that cannot be unpacked.
    #[error("image `{image}`: layer `{layer}`: {reason}")]
    Unpack {
        /// The image's name or digest.
        image: String,
        /// The digest of the compressed layer.
        layer: String,
        /// What the store said.
        reason: Box<cowlab_snapshots::Error>,
    },
    /// An archive that holds no images, or broken ones.
    #[error("archive `{}` is not usable: {reason}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A signal asked to stop.
    #[error("interrupted: whole and partial downloads are kept, and the same command resumes them")]
    Interrupted,
    /// The snapshot store refused.
    #[error(transparent)]
    Store(#[from] cowlab_snapshots::Error),
    /// A mount that could not be closed.
    #[error(transparent)]
    Leak(#[from] cowlab_sys::Leak),
    /// The system refused.
    #[error(transparent)]
    Sys(#[from] cowlab_sys::Error),
}

impl Error {
    /// A layer that could not be compressed.
    pub(crate) fn packing(key: &str, reason: cowlab_layer::LayerError) -> Self {
        Self::Store(cowlab_snapshots::Error::Layer {
            action: "compress the layer of",
            key: key.to_owned(),
            reason: Box::new(reason),
        })
    }

    pub(crate) fn layout(path: &Path, reason: impl Display) -> Self {
        Self::Layout {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// The result of the runtime's functions.
pub type Result<T> = std::result::Result<T, Error>;
