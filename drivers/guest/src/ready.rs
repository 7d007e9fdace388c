//! The machine that a run of cowlab in the guest needs: QEMU, an image and cowlab built for it.

use std::path::PathBuf;

use cowlab_sys::Cmd;

use crate::{Absent, Cache, Error, Image, Machine, Release, Result};

/// The environment variable with the path of the program that was built for the guest.
pub const PAYLOAD_VARIABLE: &str = "COWLAB_GUEST_PAYLOAD";
/// The environment variable with the Debian release of the guest, where a command does not name one.
pub const RELEASE_VARIABLE: &str = "COWLAB_GUEST_RELEASE";
/// Where the payload is in the guest.
pub const PAYLOAD_IN_GUEST: &str = "/usr/local/bin/cowlab";

/// The release that [`RELEASE_VARIABLE`] names; `None` where it is not set.
///
/// # Errors
///
/// [`Error::UnknownRelease`].
pub fn chosen_release() -> Result<Option<Release>> {
    std::env::var_os(RELEASE_VARIABLE)
        .filter(|name| !name.is_empty())
        .map(|name| name.to_string_lossy().parse())
        .transpose()
}

/// Finds what is needed to run a command in the guest: QEMU and an image. It looks at a few files and starts nothing.
///
/// # Errors
///
/// [`Error::Absent`] says what is missing and how to get it. [`Error::UnknownRelease`].
pub fn image(release: Option<Release>) -> Result<Image> {
    let release = match release {
        Some(release) => Some(release),
        None => chosen_release()?,
    };
    if Cmd::find("qemu-system-x86_64").is_none() {
        return Err(Error::Absent(Absent::Qemu));
    }
    Cache::open()?
        .find(release)?
        .ok_or(Error::Absent(Absent::Image(release)))
}

/// Finds what is needed to run cowlab in the guest, as [`image`] does, and returns the machine without arguments of
/// the program: push them to [`Machine::command`].
///
/// # Errors
///
/// As [`image`].
pub fn with_payload(release: Option<Release>) -> Result<Machine> {
    let image = image(release)?;
    let payload = std::env::var_os(PAYLOAD_VARIABLE)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .ok_or(Error::Absent(Absent::Payload))?;
    if !payload.is_file() {
        return Err(Error::Absent(Absent::PayloadFile(payload)));
    }
    let mut machine = Machine::new(image);
    machine.payload.push((payload, PAYLOAD_IN_GUEST.into()));
    machine.command.push(PAYLOAD_IN_GUEST.into());
    Ok(machine)
}
