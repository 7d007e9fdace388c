//! The page cache before a sample: brought about, then looked at with cachestat(2).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use cowlab_reports::result::{CacheState, Warning};

const PAGE: u64 = 4096;

/// Reads the file until all of it is in the page cache.
///
/// `through` is the path that a container would read, `real` the file below that holds the pages.
///
/// # Errors
///
/// What cannot be opened or read.
pub(crate) fn warm(through: &Path, real: &Path) -> io::Result<(CacheState, Option<Warning>)> {
    let held = File::open(real)?;
    let pages = held.metadata()?.len().div_ceil(PAGE);
    let Some(cached) = cached(&held) else {
        read(through)?;
        return Ok((CacheState::Warm, Some(Warning::CacheState)));
    };
    if cached < pages {
        read(through)?;
    }
    let complete = self::cached(&held).is_some_and(|cached| cached >= pages);
    Ok((CacheState::Warm, (!complete).then_some(Warning::CacheState)))
}

/// Says whether the cache holds nothing of the file.
pub(crate) fn cold(real: &Path) -> io::Result<(CacheState, Option<Warning>)> {
    Ok(match cached(&File::open(real)?) {
        Some(0) => (CacheState::ColdVerified, None),
        Some(_) | None => (CacheState::ColdUnverified, Some(Warning::CacheState)),
    })
}

/// Pages of the file in the cache, or `None` on kernels without cachestat(2) (before 6.5).
fn cached(file: &File) -> Option<u64> {
    cowlab_sys::page_cache::cachestat(file)
        .ok()
        .map(|found| found.cached)
}

fn read(path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}
