//! The machine that a run of a program of this host in the guest needs: QEMU, an image and the program.

use std::path::Path;

use cowlab_sys::Cmd;

use crate::{Absent, Cache, Error, Image, Machine, Release, Result, glibc};

/// The environment variable with the Debian release of the guest, where a command does not name one.
pub const RELEASE_VARIABLE: &str = "COWLAB_GUEST_RELEASE";
/// Where the program is in the guest.
pub const PROGRAM_IN_GUEST: &str = "/usr/local/bin/cowlab";

/// The release that [`RELEASE_VARIABLE`] names; `None` where it is not set.
///
/// # Errors
///
/// [`Error::UnknownRelease`].
pub fn chosen_release() -> Result<Option<Release>> {
    let name = std::env::var_os(RELEASE_VARIABLE).filter(|name| !name.is_empty());
    Ok(name
        .map(|name| name.to_string_lossy().parse())
        .transpose()?)
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

/// Finds what is needed to run `program`, which runs on this host, in the guest, as [`image`] does, and returns the machine
/// without arguments of the program: push them to [`Machine::command`].
///
/// # Errors
///
/// As [`image`]; [`Error::Absent`] also where this host is of another architecture than the guest.
pub fn with_program(release: Option<Release>, program: &Path) -> Result<Machine> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(Error::Absent(Absent::Architecture));
    }
    let mut machine = Machine::new(image(release)?);
    let program = (program.to_path_buf(), PROGRAM_IN_GUEST.into());
    machine.payload = glibc::newer_than(&machine.image)?;
    machine.payload.push(program);
    machine.command.push(PROGRAM_IN_GUEST.into());
    Ok(machine)
}
