//! Who has a snapshot's data set mounted.

use std::ffi::OsStr;

use cowlab_driver::{Result, SnapshotId, busy};

/// Refuses to go on while the data set or a snapshot of it is mounted, in any mount namespace.
///
/// # Errors
///
/// [`cowlab_driver::Error::Busy`], naming where and by whom.
pub(crate) fn refuse_mounted(id: SnapshotId, dataset: &str) -> Result<()> {
    busy::refuse_mounted_as(id, |entry| {
        entry.fstype == "zfs" && shows(&entry.source, dataset)
    })
}

/// Whether what is mounted is the data set, or a snapshot of it.
pub(crate) fn shows(source: &OsStr, dataset: &str) -> bool {
    let below = source.to_str().and_then(|name| name.strip_prefix(dataset));
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_set_is_shown_by_itself_and_its_snapshots() {
        let shown = |source: &str| shows(OsStr::new(source), "tank/c/1");
        assert!(shown("tank/c/1") && shown("tank/c/1@committed"));
        assert!(!shown("tank/c/17") && !shown("tank/c") && !shown("tank/c/1/x"));
    }
}
