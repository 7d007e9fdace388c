//! Where a result was made: the column of a matrix.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The machine the work ran on. Timings of different places are never compared.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The real kernel of this machine.
    #[default]
    Host,
    /// The throw-away virtual machine.
    Guest,
}

impl Place {
    /// The name used in files and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Guest => "guest",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// What the backing file system's loop file lies on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Media {
    /// A file on the machine's disk: device time included.
    #[default]
    Disk,
    /// A file on tmpfs: software cost only.
    Memory,
}

impl Media {
    /// The name used in files and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for Media {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A driver with its options on one backing file system: the unit that is judged and recommended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Column {
    /// Driver name, as Docker spells it.
    pub driver: String,
    /// Named set of driver options; `default` where none was asked for.
    pub variant: String,
    /// Backing file system: `ext4`, `xfs`, `xfs-noreflink`, `btrfs`, `tmpfs`, ...
    pub backing: String,
    /// What the backing file system lies on; conformance does not vary it.
    #[serde(default)]
    pub media: Media,
    /// The machine.
    #[serde(default)]
    pub place: Place,
}

impl Column {
    /// Makes the column of a driver in its default variant on this machine's disk.
    #[must_use]
    pub fn new(driver: &str, backing: &str) -> Self {
        Self {
            driver: driver.to_owned(),
            variant: "default".to_owned(),
            backing: backing.to_owned(),
            media: Media::Disk,
            place: Place::Host,
        }
    }

    /// The driver with its variant, the latter left out where it is the default: `overlay2`, `overlay2:metacopy`.
    #[must_use]
    pub fn driver_name(&self) -> String {
        if self.variant.is_empty() || self.variant == "default" {
            self.driver.clone()
        } else {
            format!("{}:{}", self.driver, self.variant)
        }
    }

    /// Driver, variant and backing, without media and place: `overlay2:metacopy on xfs`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} on {}", self.driver_name(), self.backing)
    }
}

impl fmt::Display for Column {
    /// The label, followed by media and place where they are not the usual ones.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.label())?;
        if self.media == Media::Memory {
            formatter.write_str(", memory")?;
        }
        if self.place == Place::Guest {
            formatter.write_str(", guest")?;
        }
        Ok(())
    }
}
