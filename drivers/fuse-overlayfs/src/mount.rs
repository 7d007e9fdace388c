//! A snapshot's mount: what the program is told, and by what the mount is known.

use std::ffi::OsString;
use std::path::PathBuf;

use cowlab_driver::layers::Layers;
use cowlab_driver::{Access, SnapshotId, join_layers};
use cowlab_sys::mount::fuse::Server;
use cowlab_sys::{MountAttributes, MountOption, MountSpec};

use crate::NAME;

/// The type of the mounts in mount tables.
pub(crate) const FSTYPE: &str = "fuse.fuse-overlayfs";

/// The places in a driver's directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a>(pub(crate) &'a Layers);

impl Place<'_> {
    /// The source of a snapshot's mounts: the snapshot's directory. No other file system of this type has it.
    pub(crate) fn source(self, id: SnapshotId) -> PathBuf {
        self.0.home().path(id)
    }

    /// What the processes that serve a snapshot hold locked.
    pub(crate) fn lease(self, id: SnapshotId) -> PathBuf {
        self.0.home().path(id).join("lease")
    }
}

/// How a snapshot is mounted, over the snapshots `lowers`, newest first. A mount that is only read has no upper, and
/// the head among its lowers.
pub(crate) fn spec(
    place: Place<'_>,
    head: SnapshotId,
    lowers: &[SnapshotId],
    access: Access,
) -> MountSpec {
    let is_writable = access == Access::ReadWrite;
    let mut options: Vec<MountOption> = lowers
        .iter()
        .map(|id| MountOption::text("lowerdir+", place.0.diff(*id)))
        .collect();
    if lowers.is_empty() {
        options.push(MountOption::text("lowerdir+", place.0.empty()));
    }
    if is_writable {
        let layer = |path| join_layers([path]);
        options.push(MountOption::text("upperdir", layer(place.0.diff(head))));
        options.push(MountOption::text("workdir", layer(place.0.work(head))));
    }
    MountSpec {
        fstype: FSTYPE.to_owned(),
        source: Some(place.source(head)),
        options,
        attributes: MountAttributes {
            read_only: !is_writable,
            ..MountAttributes::default()
        },
        server: Some(Server {
            program: NAME.to_owned(),
            options: program_options(head, lowers, is_writable),
            directory: place.0.home().root().to_owned(),
            lease: place.lease(head),
        }),
        ..MountSpec::default()
    }
}

/// The program's own options. Paths begin in the driver's directory, so none of them has a colon, which the program takes
/// for a separator even in `upperdir`, a comma or a backslash. Without `writeback=0` the kernel keeps the modification time of a file that was
/// written, and the file below gets another one.
fn program_options(head: SnapshotId, lowers: &[SnapshotId], is_writable: bool) -> OsString {
    let mut lowers: Vec<String> = lowers.iter().map(|id| format!("{id}/diff")).collect();
    if lowers.is_empty() {
        lowers.push("empty".to_owned());
    }
    let mut options = format!("writeback=0,lowerdir={}", lowers.join(":"));
    if is_writable {
        options.push_str(&format!(",upperdir={head}/diff,workdir={head}/work"));
    }
    options.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_layer_comes_first() {
        let id = |number| SnapshotId::new(number).unwrap();
        assert_eq!(
            program_options(id(3), &[id(2), id(1)], true),
            "writeback=0,lowerdir=2/diff:1/diff,upperdir=3/diff,workdir=3/work"
        );
        assert_eq!(
            program_options(id(1), &[], true),
            "writeback=0,lowerdir=empty,upperdir=1/diff,workdir=1/work"
        );
    }
}
