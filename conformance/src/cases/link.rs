//! Hard links: names of one file stay names of one file.

use crate::prelude::*;

pub(super) const CASES: &[Case] = &[Case {
    id: "link/write-shows-under-every-name",
    spec: "A write in a child to one name of a file of the parent shows under its other name.",
    see: &["overlayfs.rst, Non-standard behavior", "link(2)"],
    catalogue: &["E01", "E02"],
    impact: Impact::AppVisible,
    layers: &[
        &[write("/a", "old"), link("/a", "/b")],
        &[append("/a", "new")],
    ],
    steps: &[reads("/b", "oldnew"), same_file("/a", "/b")],
    ..Case::BASE
}];
