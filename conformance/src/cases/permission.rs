//! Permissions: who may do what to files of the parent.

use cowlab_sys::cmd::Cmd;
use cowlab_sys::mountinfo;

use crate::prelude::*;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "permission/owner-may-change-group-and-mode",
        spec: "The owner of a file of the parent may change its mode and times, and not its owner.",
        see: &["chmod(2)", "chown(2), EPERM", "utimensat(2)"],
        catalogue: &["J05", "J01"],
        impact: Impact::Isolation,
        layers: &[&[write("/f", "f"), chown("/f", 1000, 1000)]],
        steps: &[
            chmod("/f", 0o640).by(1000).succeeds(),
            mtime("/f", 1_000_000_000, 0).by(1000).succeeds(),
            chown("/f", 0, 0).by(1000).fails(EPERM),
            append("/f", "+").by(1000).succeeds(),
            read("/f").by(2000).fails(EACCES),
            stat("/f", Field::Owner).gives("1000:1000"),
        ],
        ..Case::BASE
    },
    Case {
        id: "permission/access-is-checked-with-the-callers-rights",
        spec: "A directory of the parent that others may not search hides its files from them, in every layer.",
        see: &["path_resolution(7)", "overlayfs.rst, Permission model"],
        catalogue: &["J02"],
        impact: Impact::Isolation,
        layers: &[
            &[
                dir("/private", 0o700),
                write("/private/key", "k"),
                chmod("/private/key", 0o666),
            ],
            &[write("/private/more", "m")],
        ],
        steps: &[
            read("/private/key").by(1000).fails(EACCES),
            read("/private/more").by(1000).fails(EACCES),
            write("/private/new", "n").by(1000).fails(EACCES),
            list("/private").by(1000).fails(EACCES),
            rename("/private/key", "/stolen").by(1000).fails(EACCES),
        ],
        ..Case::BASE
    },
    Case {
        id: "permission/group-write-in-a-shared-directory",
        spec: "A directory of the parent that its group may write takes the group's files and nobody else's.",
        see: &["path_resolution(7)", "inode(7), setgid"],
        catalogue: &["J05", "B11"],
        impact: Impact::Isolation,
        layers: &[&[dir("/shared", 0o770), chown("/shared", 0, 1000)]],
        steps: &[
            write("/shared/ours", "o").by(1000).succeeds(),
            write("/shared/theirs", "t").by(2000).fails(EACCES),
            stat("/shared/ours", Field::Owner).gives("1000:1000"),
        ],
        ..Case::BASE
    },
    Case {
        id: "permission/trusted-xattr-needs-privilege",
        spec: "An ordinary user can neither set nor read a trusted attribute of a file of the parent.",
        see: &["xattr(7), Trusted extended attributes"],
        catalogue: &["J01", "K02"],
        impact: Impact::Isolation,
        layers: &[&[
            write("/f", "f"),
            chmod("/f", 0o666),
            set_xattr("/f", "trusted.note", b"t"),
        ]],
        steps: &[
            set_xattr("/f", "trusted.other", b"x").by(1000).fails(EPERM),
            get_xattr("/f", "trusted.note").by(1000).fails(ENODATA),
            set_xattr("/f", "user.mine", b"m").by(1000).succeeds(),
            list_xattr("/f").gives("trusted.note user.mine"),
        ],
        ..Case::BASE
    },
    Case {
        id: "permission/programs-and-devices-have-effect",
        spec: "A mount takes setuid bits, devices and programs for what they are: it has the restrictions of the backing file system and no more.",
        see: &["mount(8), nosuid, nodev and noexec"],
        catalogue: &["J06"],
        impact: Impact::AppVisible,
        layers: &[&[
            char_device("/zero", 0o666, 1, 5),
            write("/script", "#!/bin/sh\nexit 0\n"),
            chmod("/script", 0o755),
        ]],
        steps: &[
            open("device", "/zero", Flags::BOTH).succeeds(),
            call("/script", "status", |tree| {
                let script = tree.path().join("script");
                let status = Cmd::new(script).status_without_output();
                Ok(status.map_or_else(|_| "not started".to_owned(), |code| code.to_string()))
            })
            .gives("0"),
            call("/", "restrictions", restrictions),
        ],
        ..Case::BASE
    },
];

/// What the mount that a tree lies in keeps files from.
fn restrictions(tree: &Tree) -> Result<String, Code> {
    let mounts = mountinfo::read_self()?;
    let mount = mountinfo::of_path(&mounts, tree.path()).ok_or(ENOENT)?;
    let words = mount.options.split(',');
    let words: Vec<_> = words
        .filter(|word| ["nosuid", "nodev", "noexec"].contains(word))
        .collect();
    Ok(words.join(" "))
}
