//! What the page cache holds of a file, by cachestat(2), since Linux 6.5; and dropping it, for one
//! file alone.

use std::fs::File;

use rustix::fs::Advice;

use crate::{Result, io, raw, sys};

/// Pages of a file in the page cache. On an overlay file they are all 0: the pages belong to the
/// file of the layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStat {
    /// Pages in the cache.
    pub cached: u64,
    /// Of these, pages to be written.
    pub dirty: u64,
    /// Of these, pages being written.
    pub writeback: u64,
    /// Pages that were in the cache and were evicted.
    pub evicted: u64,
    /// Of these, pages evicted so lately that the memory is short of them.
    pub recently_evicted: u64,
}

/// Returns what the page cache holds of `file`.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `ENOSYS` before Linux 6.5.
pub fn cachestat(file: &File) -> Result<CacheStat> {
    let counts = sys("cachestat", "", raw::cachestat(file))?;
    let [cached, dirty, writeback, evicted, recently_evicted] = counts;
    Ok(CacheStat {
        cached,
        dirty,
        writeback,
        evicted,
        recently_evicted,
    })
}

/// Writes what is dirty of `file` and drops its pages from the cache. Pages that are mapped or in
/// use stay, so [`cachestat`] tells what came of it. What another process caches of other files
/// is untouched.
pub fn evict(file: &File) -> Result<()> {
    // Only clean pages are dropped (posix_fadvise(2), POSIX_FADV_DONTNEED).
    io("fsync", "", file.sync_all())?;
    sys(
        "posix_fadvise",
        "",
        rustix::fs::fadvise(file, 0, None, Advice::DontNeed),
    )
}
