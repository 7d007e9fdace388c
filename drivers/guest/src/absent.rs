//! What a run in the guest lacks on this host, and how to get it.

use std::fmt;

use cowlab_sys::Cmd;

use crate::Release;

/// Something that a run in the guest needs and this host has not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Absent {
    /// QEMU.
    Qemu,
    /// An image, of this release where one was named.
    Image(Option<Release>),
    /// A program that runs there: the guest is a machine of another architecture.
    Architecture,
}

impl Absent {
    /// What is missing.
    pub fn what(&self) -> String {
        match self {
            Self::Qemu => "QEMU for the guest".to_owned(),
            Self::Image(None) => "a guest image in the cache".to_owned(),
            Self::Image(Some(release)) => format!("a guest image of {release} in the cache"),
            Self::Architecture => {
                "a build of this program for x86_64, the guest's architecture".to_owned()
            }
        }
    }

    /// How to get it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Qemu => {
                let package = Cmd::package_of("qemu-system-x86_64");
                format!("install the Debian package `{package}`")
            }
            Self::Image(None) => "run `cargo xtask guest build`".to_owned(),
            Self::Image(Some(release)) => {
                format!("run `cargo xtask guest build --release {release}`")
            }
            Self::Architecture => "use a host of that architecture".to_owned(),
        }
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is missing: {}", self.what(), self.remedy())
    }
}
