//! What a program that was built without the driver says of it.

use std::path::Path;

use cowlab_driver::{Driver, Error, Missing, OpenOptions, Result, Settings, Variant};

/// Says that the driver is not here.
pub(crate) fn probe(_: &Path, _: &'static Variant, _: &Settings) -> Result<()> {
    Err(missing())
}

/// Says that the driver is not here.
pub(crate) fn open(_: &OpenOptions) -> Result<Box<dyn Driver>> {
    Err(missing())
}

fn missing() -> Error {
    Error::Unavailable(Missing {
        what: "devicemapper-thin in this program".to_owned(),
        remedy:
            "it was built without the feature `devicemapper-thin`; the driver runs in the guest: \
                 `cargo xtask guest build`"
                .to_owned(),
    })
}
