//! The Debian releases that a guest can be made of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A Debian release: it picks the guest's kernel and ZFS together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Release {
    /// Debian 12.
    Bookworm,
    /// Debian 12 with the kernel, ZFS and tools of its backports.
    BookwormBackports,
    /// Debian 13.
    Trixie,
    /// Debian unstable, which changes every day.
    Sid,
}

impl Release {
    /// Every release, oldest first.
    pub const ALL: [Self; 4] = [
        Self::Bookworm,
        Self::BookwormBackports,
        Self::Trixie,
        Self::Sid,
    ];

    /// What is taken when nobody names one, best first. Sid is not among them: it changes every day, and with it every
    /// result.
    pub const CANDIDATES: [Self; 3] = [Self::Trixie, Self::BookwormBackports, Self::Bookworm];

    /// Returns the name, as on the command line and in the cache.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::BookwormBackports => "bookworm-backports",
            Self::Trixie => "trixie",
            Self::Sid => "sid",
        }
    }

    /// Returns its suites on a mirror; the last one's packages come first.
    pub(crate) fn suites(self) -> &'static [&'static str] {
        match self {
            Self::Bookworm => &["bookworm"],
            Self::BookwormBackports => &["bookworm", "bookworm-backports"],
            Self::Trixie => &["trixie"],
            Self::Sid => &["sid"],
        }
    }
}

/// No release has this name.
#[derive(Debug, thiserror::Error)]
#[error("find the release `{name}`: known are {}", Release::ALL.map(Release::name).join(", "))]
pub struct UnknownRelease {
    /// The name.
    pub name: String,
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Release {
    type Err = UnknownRelease;

    fn from_str(name: &str) -> Result<Self, UnknownRelease> {
        Self::ALL
            .into_iter()
            .find(|release| release.name() == name)
            .ok_or_else(|| UnknownRelease { name: name.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_refused() {
        for release in Release::ALL {
            assert_eq!(release.name().parse::<Release>().unwrap(), release);
            let spelled = serde_json::to_string(&release).unwrap();
            assert_eq!(spelled, format!("\"{release}\""));
        }
        let error = "buster".parse::<Release>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "find the release `buster`: known are bookworm, bookworm-backports, trixie, sid"
        );
    }
}
