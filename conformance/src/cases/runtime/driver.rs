//! What a root's driver is.

use crate::prelude::*;

/// What people are told about storage drivers.
pub(in crate::cases) const SEED: &[Case] = &[Case {
    id: "seed/20-a-driver-is-chosen-once",
    spec: "A root has the driver that was asked for, or the first that runs there, and is not opened with another.",
    see: &["docs.docker.com, storage, Select a storage driver"],
    catalogue: &["S20", "S22"],
    impact: Impact::DataLoss,
    program: &[
        run("info --json").json(&[("/driver", "{driver}")]),
        script("[ {driver} = vfs ] && echo btrfs || echo vfs").saves("other"),
        run("info --driver {other}").fails(2, &["{other}"]),
        run("info --driver aufs").fails(2, &["aufs"]),
        // Nobody says which: the first that runs, and the same one ever after.
        script(
            r#"unset COWLAB_DRIVER COWLAB_ROOT; "$COWLAB" info --json --root {dir}/another-root"#,
        )
        .keeps(&[("/driver", "first")]),
        script(
            r#"unset COWLAB_DRIVER COWLAB_ROOT; "$COWLAB" info --json --root {dir}/another-root"#,
        )
        .json(&[("/driver", "{first}")]),
    ],
    ..super::BASE
}];
