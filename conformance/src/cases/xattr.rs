//! Extended attributes: kept, changed, removed and listed in every name space.

use cowlab_sys::at::OFlags;
use rustix::fs::XattrFlags;

use crate::prelude::*;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "xattr/overlay-names-are-hidden",
        spec: "A file that was changed, moved or made anew shows no attribute that nobody set.",
        see: &[
            "overlayfs.rst, Nesting overlayfs mounts",
            "xfstests overlay/026",
        ],
        catalogue: &["K01", "B05"],
        impact: Impact::Cosmetic,
        layers: &[
            &[
                dir("/d", 0o755),
                write("/d/f", "f"),
                write("/g", "g"),
                dir("/e", 0o755),
                write("/e/x", "x"),
            ],
            &[
                append("/d/f", "+"),
                rename("/g", "/d/g"),
                remove_tree("/e"),
                dir("/e", 0o755),
            ],
        ],
        steps: &[
            list_xattr("/d").gives(""),
            list_xattr("/d/f").gives(""),
            list_xattr("/d/g").gives(""),
            list_xattr("/e").gives(""),
            get_xattr("/e", "trusted.overlay.opaque").fails(ENODATA),
        ],
        ..Case::BASE
    },
    Case {
        id: "xattr/names-like-overlay-are-ordinary",
        spec: "A trusted attribute whose name merely begins like overlayfs's own is kept like any other.",
        see: &["xfstests overlay/026", "xattr(7)"],
        catalogue: &["K02", "K04"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                write("/f", "f"),
                set_xattr("/f", "trusted.overlayfoo", b"1"),
                set_xattr("/f", "user.overlay.foo", b"2"),
            ],
            &[append("/f", "+")],
        ],
        steps: &[list_xattr("/f").gives("trusted.overlayfoo user.overlay.foo")],
        ..Case::BASE
    },
    Case {
        id: "xattr/overlays-own-name-space-can-be-nested",
        spec: "An attribute in overlayfs's own name space set by root reads back under its name.",
        see: &[
            "overlayfs.rst, Nesting overlayfs mounts",
            "xfstests overlay/084",
        ],
        catalogue: &["K03"],
        impact: Impact::AppVisible,
        layers: &[&[write("/f", "f")]],
        steps: &[
            set_xattr("/f", "trusted.overlay.foo", b"nested").succeeds(),
            get_xattr("/f", "trusted.overlay.foo").gives("nested"),
            remove_xattr("/f", "trusted.overlay.foo").succeeds(),
            set_xattr("/f", "trusted.overlay.note", b"kept").succeeds(),
        ],
        ..Case::BASE
    },
    Case {
        id: "xattr/set-change-remove-in-layers",
        spec: "Attributes set in one layer, changed in the next and removed in a third are as the last left them.",
        see: &["setxattr(2)", "removexattr(2)"],
        catalogue: &["K06", "D06"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                write("/f", "f"),
                set_xattr("/f", "user.a", b"1"),
                set_xattr("/f", "user.b", b"1"),
                set_xattr("/f", "trusted.c", b"1"),
                dir("/d", 0o755),
                set_xattr("/d", "user.d", b"1"),
            ],
            &[
                set_xattr("/f", "user.a", b"2"),
                set_xattr("/f", "user.empty", b""),
            ],
            &[remove_xattr("/f", "user.b"), remove_xattr("/d", "user.d")],
        ],
        steps: &[
            get_xattr("/f", "user.a").gives("2"),
            get_xattr("/f", "user.b").fails(ENODATA),
            list_xattr("/f").gives("trusted.c user.a user.empty"),
            list_xattr("/d").gives(""),
            remove_xattr("/f", "user.none").fails(ENODATA),
        ],
        ..Case::BASE
    },
    Case {
        id: "xattr/on-symlinks-directories-and-special-files",
        spec: "Trusted attributes of symbolic links, directories and FIFOs of the parent survive a change in a child.",
        see: &["xattr(7)", "xfstests generic, attr group"],
        catalogue: &["K06", "D15"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                symlink("x", "/s"),
                set_xattr("/s", "trusted.s", b"s"),
                dir("/d", 0o755),
                set_xattr("/d", "trusted.d", b"d"),
                fifo("/p", 0o600),
                set_xattr("/p", "trusted.p", b"p"),
            ],
            &[chown("/s", 1, 1), chmod("/d", 0o700), chown("/p", 1, 1)],
        ],
        ..Case::BASE
    },
    Case {
        id: "xattr/user-names-are-for-files-and-directories",
        spec: "A user attribute is refused on a symbolic link and on a FIFO of the parent.",
        see: &["xattr(7), User extended attributes"],
        catalogue: &["K06"],
        impact: Impact::Cosmetic,
        layers: &[&[symlink("x", "/s"), fifo("/p", 0o600)]],
        steps: &[
            set_xattr("/s", "user.a", b"1").fails(EPERM),
            set_xattr("/p", "user.a", b"1").fails(EPERM),
        ],
        ..Case::BASE
    },
    Case {
        id: "xattr/many-on-one-file",
        spec: "Fifty attributes on one file of the parent all survive a change of mode in a child.",
        see: &["listxattr(2)"],
        catalogue: &["D06", "K06"],
        impact: Impact::DataLoss,
        layers: &[&[write("/f", "f")]],
        steps: &[call("/f", "attributes set and left", |tree| {
            for number in 0..50 {
                tree.set_xattr("/f", &format!("user.n{number}"), b"value")?;
            }
            tree.chmod("/f", 0o600)?;
            Ok(tree.xattr_names("/f")?.len().to_string())
        })
        .gives("50")],
        ..Case::BASE
    },
    Case {
        id: "xattr/create-and-replace-flags",
        spec: "XATTR_CREATE refuses an attribute of the parent, XATTR_REPLACE one that is not there.",
        see: &["setxattr(2)"],
        catalogue: &["K06"],
        impact: Impact::AppVisible,
        layers: &[&[write("/f", "text"), set_xattr("/f", "user.old", b"1")]],
        steps: &[
            call("/f", "create an old attribute", |tree| {
                set_with(tree, "user.old", XattrFlags::CREATE)
            })
            .fails(EEXIST),
            call("/f", "replace a new attribute", |tree| {
                set_with(tree, "user.new", XattrFlags::REPLACE)
            })
            .fails(ENODATA),
            call("/f", "replace an old attribute", |tree| {
                set_with(tree, "user.old", XattrFlags::REPLACE)
            })
            .succeeds(),
            call("/f", "create a new attribute", |tree| {
                set_with(tree, "user.new", XattrFlags::CREATE)
            })
            .succeeds(),
            get_xattr("/f", "user.old").gives("set"),
        ],
        ..Case::BASE
    },
    Case {
        id: "xattr/too-little-room-and-too-long",
        spec: "A value of the parent is refused to a buffer that is too small, and one of more than 65,536 bytes is refused at all.",
        see: &["getxattr(2), ERANGE", "setxattr(2), E2BIG"],
        catalogue: &["K06"],
        impact: Impact::AppVisible,
        layers: &[&[
            write("/f", "text"),
            set_xattr("/f", "user.a", b"0123456789"),
        ]],
        steps: &[
            call("/f", "read into 4 bytes", |tree| get_into(tree, 4)).fails(ERANGE),
            call("/f", "read into 10 bytes", |tree| get_into(tree, 10)).gives("10 bytes"),
            set_xattr_sized("/f", "user.b", 65_537).fails(E2BIG),
            remove_xattr("/f", "user.none").fails(ENODATA),
        ],
        ..Case::BASE
    },
    Case {
        id: "xattr/too-large-is-refused",
        spec: "An attribute of more than 64 KiB and one with a name of 256 bytes are refused, one that the backing file system has no room for as it refuses it.",
        see: &["setxattr(2), E2BIG, ERANGE and ENOSPC", "xattr(7)"],
        catalogue: &["K06"],
        impact: Impact::AppVisible,
        layers: &[&[write("/f", "f"), set_xattr("/f", "user.note", b"n")]],
        steps: &[
            set_xattr_sized("/f", "user.large", 65_537).fails(E2BIG),
            set_xattr("/f", LONG_NAME, b"x").fails(ERANGE),
            set_xattr_sized("/f", "user.large", 65_536),
            get_xattr("/f", "user.missing").fails(ENODATA),
            get_xattr("/f", "user.note").gives("n"),
        ],
        ..Case::BASE
    },
];

fn set_with(tree: &Tree, name: &str, flags: XattrFlags) -> crate::tree::Result<String> {
    let file = tree.open_file("/f", OFlags::RDONLY, 0)?;
    rustix::fs::fsetxattr(&file, name, b"set", flags)?;
    Ok(String::new())
}

fn get_into(tree: &Tree, room: usize) -> crate::tree::Result<String> {
    let file = tree.open_file("/f", OFlags::RDONLY, 0)?;
    let mut value = vec![0; room];
    let size = rustix::fs::fgetxattr(&file, "user.a", &mut value[..])?;
    Ok(format!("{size} bytes"))
}

/// A name of 256 bytes, one more than XATTR_NAME_MAX (limits.h).
const LONG_NAME: &str = {
    const BYTES: [u8; 256] = {
        let mut bytes = [b'n'; 256];
        let start = *b"user.";
        let mut at = 0;
        while at < start.len() {
            bytes[at] = start[at];
            at += 1;
        }
        bytes
    };
    text(&BYTES)
};
