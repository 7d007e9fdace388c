//! Where fuse-overlayfs is known to differ from a plain directory.
//!
//! Seen with version 1.10, Debian 12's. The case runs and must show exactly what is written here. Not everything is here: the
//! entry is provisional.

use cowlab_driver::{Deviation, Impact, Scope, projects};

/// A case in which something of the root directory is copied up, and nothing else differs before that is seen.
const fn root_time(case: &'static str, observed: &'static str) -> Deviation {
    Deviation {
        case,
        scope: Scope::EVERYWHERE,
        observed,
        because: "a copy is made in the upper directory, which changes its modification time; overlayfs puts the time back, \
                  the program does not",
        impact: Impact::Cosmetic,
        see: &["fuse-overlayfs 1.10, main.c, copyup"],
    }
}

/// The declared deviations.
pub(crate) const DEVIATIONS: &[Deviation] = &[
    projects::NO_LIMIT,
    projects::NO_LIMIT_OF_A_RUN,
    Deviation {
        case: "whiteout/dotted-wh-name-is-an-ordinary-name",
        scope: Scope::EVERYWHERE,
        observed: "/.wh.target: write: expected ok, got EINVAL",
        because: "a file `.wh.NAME` stands for the deletion of NAME, so the program lets nobody make one",
        impact: Impact::AppVisible,
        see: &["fuse-overlayfs 1.10, main.c"],
    },
    Deviation {
        case: "rename/directory-of-the-parent",
        scope: Scope::EVERYWHERE,
        observed: "/d: rename to /e: expected ok, got EXDEV",
        because: "a directory of a lower layer is not renamed; there are no redirects",
        impact: Impact::AppVisible,
        see: &["fuse-overlayfs 1.10, main.c, ovl_rename"],
    },
    Deviation {
        case: "rename/exchange-directories",
        scope: Scope::EVERYWHERE,
        observed: "/a: rename to /b: expected ok, got EXDEV",
        because: "a directory of a lower layer is not renamed; there are no redirects",
        impact: Impact::AppVisible,
        see: &["fuse-overlayfs 1.10, main.c, ovl_rename"],
    },
    root_time(
        "copy-up/append-changes-only-the-child",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    root_time(
        "copy-up/chmod-keeps-everything-else",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    root_time(
        "copy-up/one-byte-in-a-large-file",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    root_time(
        "copy-up/owner-change-keeps-the-rest",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    root_time(
        "copy-up/times-to-the-nanosecond",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    root_time(
        "inode/link-count-of-a-directory",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    root_time(
        "inode/listing-shows-the-same-numbers-as-stat",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    root_time(
        "inode/no-two-files-alike",
        "/: modification time: expected as before, got another",
    ),
    root_time(
        "inode/one-device-number",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    root_time(
        "link/count-is-the-number-of-names",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    root_time(
        "link/last-name-keeps-the-data",
        "/: modification time: expected during layer 2, got during layer 3",
    ),
    root_time(
        "lookup/symlinks-lead-across-layers",
        "/: modification time: expected during layer 2, got during the steps",
    ),
    root_time(
        "opaque/additions-above-are-merged",
        "/: modification time: expected during layer 2, got during layer 3",
    ),
    root_time(
        "permission/access-is-checked-with-the-callers-rights",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    root_time(
        "removal/directory-is-empty-only-when-every-layer-says-so",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    root_time(
        "removal/of-a-file-another-name-has",
        "/: modification time: expected during layer 2, got during the steps",
    ),
    root_time(
        "whiteout/file-in-place-has-the-callers-owner",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    root_time(
        "whiteout/hides-only-its-own-name",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
];
