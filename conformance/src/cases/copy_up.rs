//! Copy-up: a change in a child leaves the parent as it was and loses nothing of the file.

use crate::prelude::*;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "copy-up/chmod-keeps-everything-else",
        spec: "A change of mode in a child keeps content, owner, time and extended attributes.",
        see: &["overlayfs.rst, Non-directories", "chmod(2)"],
        catalogue: &["D02", "D03", "D04", "D06"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                write_sized("/f", 200_000, 1),
                chown("/f", 3_000_000, 3_000_001),
                set_xattr("/f", "user.note", b"kept"),
                mtime("/f", 1_000_000_000, 123_456_789),
            ],
            &[chmod("/f", 0o600)],
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/write-clears-setuid",
        spec: "A write by an ordinary user to a setuid file of the parent clears the bit.",
        see: &["write(2), NOTES", "chmod(2)"],
        catalogue: &["D09"],
        impact: Impact::Isolation,
        layers: &[&[write("/tool", "x"), chmod("/tool", 0o4777)]],
        steps: &[
            append("/tool", "y").by(1000).succeeds(),
            stat("/tool", Field::Mode).gives("0777"),
        ],
        ..Case::BASE
    },
    Case {
        id: "copy-up/holes-stay-holes",
        spec: "A change of mode in a child leaves the holes of a sparse file holes.",
        see: &["lseek(2), Seeking file data and holes"],
        catalogue: &["D11"],
        impact: Impact::Performance,
        needs: &[Need::Holes],
        layers: &[
            &[sparse("/image", 64 << 20, &[range(32 << 20, 4096)])],
            &[chmod("/image", 0o600)],
        ],
        ..Case::BASE
    },
];
