//! The C library of this host, which goes into a guest that has an older one together with a program of this host.
//!
//! A program does not run with an older C library than it was linked with. A newer one serves all that were linked with
//! older ones, the guest's own programs too, so there it takes the place of the guest's. Its parts belong to one version
//! and talk to each other by symbols of their own (`GLIBC_PRIVATE`): all of them go, or none.

use std::path::{Path, PathBuf};

use cowlab_sys::{Error as SysError, io, process};

use crate::{Image, Result, version};

/// The loader, which programs name by this path (x86-64 psABI).
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// Where the guest has it: its `/lib64` is a link.
const LOADER_IN_GUEST: &str = "/usr/lib64/ld-linux-x86-64.so.2";
/// Where the guest has libraries.
const LIBRARIES_IN_GUEST: &str = "/usr/lib/x86_64-linux-gnu";
/// The part that every program has mapped.
const MAIN: &str = "libc.so.6";
/// The other parts; what of them a version does not have any more, nobody asks for.
const OTHERS: [&str; 16] = [
    "libBrokenLocale.so.1",
    "libanl.so.1",
    "libc_malloc_debug.so.0",
    "libdl.so.2",
    "libm.so.6",
    "libmemusage.so",
    "libmvec.so.1",
    "libnsl.so.1",
    "libnss_compat.so.2",
    "libnss_dns.so.2",
    "libnss_files.so.2",
    "libnss_hesiod.so.2",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libutil.so.1",
];

/// Returns the files of this host's C library, and where they go in the guest, if the image has an older one; else none.
pub(crate) fn newer_than(image: &Image) -> Result<Vec<(PathBuf, PathBuf)>> {
    let host = process::libc_version();
    let guest = image.manifest.packages.get("libc6");
    let guest = guest.map_or("", |version| version::upstream(version));
    if version::compare(&host, guest).is_le() {
        return Ok(Vec::new());
    }
    tracing::info!(host, guest, "the guest gets the C library of this host");
    files()
}

fn files() -> Result<Vec<(PathBuf, PathBuf)>> {
    let maps = "/proc/self/maps";
    let text = io("read", maps, std::fs::read_to_string(maps))?;
    let main = mapped(&text).ok_or_else(|| SysError::parse("what is mapped", text.as_str()))?;
    let parts = [MAIN].into_iter().chain(OTHERS);
    let mut files: Vec<_> = parts
        .map(|part| {
            (
                main.with_file_name(part),
                Path::new(LIBRARIES_IN_GUEST).join(part),
            )
        })
        .filter(|(here, _)| here.exists())
        .collect();
    files.push((LOADER.into(), LOADER_IN_GUEST.into()));
    Ok(files)
}

/// Finds the main part among what a process has mapped (proc_pid_maps(5)).
fn mapped(maps: &str) -> Option<&Path> {
    let paths = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]));
    paths.map(Path::new).find(|path| path.ends_with(MAIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_c_library() {
        let files = files().unwrap();
        assert!(files.iter().all(|(here, _)| here.is_file()), "{files:?}");
        assert!(files[0].1.ends_with(MAIN));
        assert!(version::compare(&process::libc_version(), "2.30").is_gt());
    }
}
