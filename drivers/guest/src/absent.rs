//! What a run in the guest lacks on this host, and how to get it.

use std::fmt;
use std::path::PathBuf;

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
    /// The program that was built for the guest: nobody named it.
    Payload,
    /// The program that was built for the guest: it is not where it was said to be.
    PayloadFile(PathBuf),
}

impl Absent {
    /// What is missing.
    pub fn what(&self) -> String {
        match self {
            Self::Qemu => "QEMU for the guest".to_owned(),
            Self::Image(None) => "a guest image in the cache".to_owned(),
            Self::Image(Some(release)) => format!("a guest image of {release} in the cache"),
            Self::Payload => "cowlab built for the guest".to_owned(),
            Self::PayloadFile(path) => format!("cowlab built for the guest, `{}`", path.display()),
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
            Self::Image(Some(release)) => format!("run `cargo xtask guest build --release {release}`"),
            Self::Payload | Self::PayloadFile(_) => {
                "run the command as `cargo xtask ...`, which builds it, or name it in COWLAB_GUEST_PAYLOAD".to_owned()
            }
        }
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is missing: {}", self.what(), self.remedy())
    }
}
