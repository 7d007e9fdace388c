//! The driver in a program that was built without it.

use std::path::Path;

use cowlab_driver::{Driver, Error, Missing, OpenOptions, Result, Settings, Variant};

use crate::FEATURE_REMEDY;

fn missing() -> Error {
    Error::Unavailable(Missing {
        what: "the zfs driver (this program was built without the feature `zfs`)".to_owned(),
        remedy: FEATURE_REMEDY.to_owned(),
    })
}

/// Says that the driver is not here.
pub(crate) fn probe(_dir: &Path, _variant: &'static Variant, _settings: &Settings) -> Result<()> {
    Err(missing())
}

/// Says that the driver is not here.
pub(crate) fn open(_options: &OpenOptions) -> Result<Box<dyn Driver>> {
    Err(missing())
}
