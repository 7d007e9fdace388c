//! Size limits, where the operator has turned quotas on.

use std::path::Path;

use cowlab_driver::{Bytes, Error, Result};
use cowlab_sys::Cmd;

use crate::NAME;

/// Limits what the subvolume at `path` may hold of its own.
///
/// # Errors
///
/// [`Error::Unsupported`] while quotas are off: turning them on is the operator's choice, since they
/// slow down the whole file system and have crashed hosts (moby issue 34593).
pub(crate) fn limit(path: &Path, limit: Bytes) -> Result<()> {
    let line = Cmd::new("btrfs")
        .args(["qgroup", "limit", "-e"])
        .arg(limit.0.to_string())
        .arg(path);
    match line.run() {
        Err(cowlab_sys::Error::Command { stderr, .. }) => Err(Error::Unsupported {
            driver: NAME,
            what: format!("a size limit without quotas ({})", stderr.trim()),
            remedy: "turn quotas on with `btrfs quota enable`, at the cost of slower snapshots, or use a \
                     file system of the wanted size"
                .to_owned(),
        }),
        limited => Ok(limited?),
    }
}
