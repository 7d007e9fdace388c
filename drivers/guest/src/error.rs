//! The error of this crate.

use std::path::PathBuf;

use crate::{Absent, Lost, Release, UnknownRelease};

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a guest could not be built, found or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No release has this name.
    #[error(transparent)]
    UnknownRelease(#[from] UnknownRelease),
    /// There is neither `XDG_CACHE_HOME` nor `HOME`.
    #[error(
        "find the cache: neither `XDG_CACHE_HOME` nor `HOME` is set to an absolute path; set one"
    )]
    NoCacheDirectory,
    /// The machine is not of the kind that guests are made for.
    #[error(
        "make a guest on {machine}: Debian's guests are made on and for x86_64 only; use `guest import` there"
    )]
    Machine {
        /// What `uname -m` says.
        machine: String,
    },
    /// This host has no mirror of Debian in its package sources.
    #[error(
        "find a mirror of Debian: this host's package sources have none; name one with `--mirror URL`"
    )]
    NoMirror,
    /// The mirror named is no address.
    #[error(
        "use the mirror `{uri}`: it is no http, https or file URL; name one like http://deb.debian.org/debian"
    )]
    BadMirror {
        /// What was named.
        uri: String,
    },
    /// Debian's public keys are missing.
    #[error(
        "check packages of Debian: its public keys are missing; the Debian package `debian-archive-keyring` has them"
    )]
    NoKeyring,
    /// The mirror did not give what was asked for.
    #[error(
        "fetch packages of {release} from `{mirror}`: {reason}; try again, or name another mirror with `--mirror URL`"
    )]
    Mirror {
        /// The mirror.
        mirror: String,
        /// The release.
        release: Release,
        /// What apt said.
        reason: String,
    },
    /// The mirror lacks a package, or the packages do not fit together.
    #[error(
        "choose packages of {release} from `{mirror}`: {reason}; take another release (`--release`) or mirror \
         (`--mirror URL`)"
    )]
    NotInstallable {
        /// The release.
        release: Release,
        /// The mirror.
        mirror: String,
        /// What apt said.
        reason: String,
    },
    /// An ordinary user has no other user ids to own the files of a root file system.
    #[error(
        "unpack Debian packages as user {user}: {reason}. Only this step needs root, once: its files have many owners, \
         whom only root may hand out. Run `sudo apt-get install uidmap` and `sudo usermod --add-subuids 100000-165535 \
         --add-subgids 100000-165535 {user}`, or build as root, or import an image built elsewhere (`guest import`)"
    )]
    NoSubordinateIds {
        /// The user.
        user: String,
        /// What is missing.
        reason: String,
    },
    /// The disk has too little space.
    #[error(
        "`{}` has {} MiB to spare and {} MiB are needed; free some, or name another directory in {variable}",
        directory.display(), available >> 20, needed >> 20
    )]
    NoSpace {
        /// Where the space is needed.
        directory: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes there are.
        available: u64,
        /// The environment variable that moves the directory.
        variable: &'static str,
    },
    /// Building an image failed.
    #[error("build a guest of {release}: {reason}; the whole log is `{}`", log.display())]
    Build {
        /// The release.
        release: Release,
        /// What went wrong.
        reason: String,
        /// The log.
        log: PathBuf,
    },
    /// The user stopped it.
    #[error("stopped by a signal; nothing is left behind")]
    Interrupted,
    /// There is no image to use or export.
    #[error(
        "find a guest image{}: the cache has none; make one with `guest build` or `guest import FILE`",
        of(release)
    )]
    NoImage {
        /// The release asked for.
        release: Option<Release>,
    },
    /// A file is no exported image, or not a whole one.
    #[error("import the guest image `{}`: {reason}; export it again", path.display())]
    BadExport {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An image was written by another version of cowlab.
    #[error(
        "read the guest image `{}`: it has format {found} and this cowlab reads {}; build or export it anew with the \
         same cowlab", path.display(), crate::FORMAT
    )]
    Format {
        /// The image.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// An image lacks a file, or one is not what the manifest says.
    #[error("read the guest image `{}`: {reason}; remove it, then build or import it again", path.display())]
    Damaged {
        /// The image.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The host lacks what a run in the guest needs.
    #[error("run the guest: {0}")]
    Absent(Absent),
    /// A file or directory cannot be taken along.
    #[error("take `{}` into the guest: {error}", path.display())]
    Payload {
        /// The path on the host.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A name that no environment variable has.
    #[error("set the variable `{name}` in the guest: a name is made of letters, digits and `_`")]
    Variable {
        /// The name.
        name: String,
    },
    /// The host has not the memory.
    #[error(
        "run the guest: it needs {needed_mib} MiB of memory and {available_mib} MiB are available; end other programs \
         or give it less with --memory"
    )]
    Memory {
        /// The guest's memory and its initrd twice, in MiB.
        needed_mib: u64,
        /// What can be taken without swapping, in MiB.
        available_mib: u64,
    },
    /// The scratch disk has no place.
    #[error(
        "make the guest's scratch disk in `{}`: {available_mib} MiB are free and {least_mib} MiB are the least; free \
         some, or name another directory in COWLAB_TEST_DIR", dir.display()
    )]
    Scratch {
        /// The directory.
        dir: PathBuf,
        /// What is free, in MiB.
        available_mib: u64,
        /// The least that is accepted, in MiB.
        least_mib: u64,
    },
    /// The machine ended without the command's exit status.
    #[error(transparent)]
    Lost(Box<Lost>),
    /// The kernel or a program refused.
    #[error(transparent)]
    Sys(#[from] cowlab_sys::Error),
}

fn of(release: &Option<Release>) -> String {
    release.map_or_else(String::new, |release| format!(" of {release}"))
}
