//! What a mount is to those who build on it: a file system of a type, a place for another overlay, a mount that is changed.

use std::os::fd::AsFd;
use std::path::PathBuf;

use cowlab_snapshots::PrepareOptions;
use cowlab_sys::at::{self, OFlags};
use cowlab_sys::mount::{DetachedMount, set_attributes};
use cowlab_sys::{MountAttributes, MountOption, MountSpec, file, stat};

use crate::context;
use crate::prelude::*;
use crate::support::store::write_text;
use crate::tree::Result;

pub(super) const MOUNT: &[Case] = &[
    Case {
        id: "mount/overlay-with-its-upper-inside",
        spec: "Another overlay can have its writable layer and its work directory in a snapshot, as a container engine inside a container has.",
        see: &[
            "overlayfs.rst, Upper and Lower",
            "moby/moby, docker in docker",
        ],
        catalogue: &["L05"],
        impact: Impact::AppVisible,
        layers: &[&[dir("/lower", 0o755), write("/lower/f", "old")]],
        steps: &[
            dir("/upper", 0o755),
            dir("/work", 0o755),
            call("/upper", "mount an overlay and write", write_in_an_overlay)
                .gives("old, then new"),
            reads("/lower/f", "old"),
            remove_tree("/work"),
            remove_tree("/upper"),
        ],
        ..Case::BASE
    },
    Case {
        id: "mount/overlay-with-its-lowers-inside",
        spec: "Another overlay can have directories of a snapshot as its lower layers.",
        see: &["overlayfs.rst, Multiple lower layers"],
        catalogue: &["L05"],
        impact: Impact::AppVisible,
        layers: &[
            &[
                dir("/one", 0o755),
                write("/one/f", "one"),
                write("/one/g", "one"),
            ],
            &[dir("/two", 0o755), write("/two/f", "two")],
        ],
        steps: &[call("/one", "mount an overlay and read", read_in_an_overlay).gives("two one")],
        ..Case::BASE
    },
    Case {
        id: "mount/type-of-the-file-system",
        spec: "The type that statfs shows is that of the backing file system.",
        see: &["statfs(2), f_type"],
        catalogue: &["L12"],
        impact: Impact::Cosmetic,
        steps: &[call("/", "type of the file system", |tree| {
            let found = stat::statfs(tree.path())?;
            Ok(format!("{:#x}", found.fstype_magic))
        })],
        ..Case::BASE
    },
    Case {
        id: "mount/read-only-for-a-while",
        spec: "A mount that is made read-only refuses changes with EROFS and takes them again afterwards.",
        see: &["mount_setattr(2)", "mount(8), remount"],
        catalogue: &["L10"],
        impact: Impact::DataLoss,
        run: Some(read_only_for_a_while),
        ..Case::BASE
    },
];

pub(super) const INODE: &[Case] = &[
    Case {
        id: "inode/birth-time-survives-a-change",
        spec: "The birth time of a file of the parent stays when its mode and its content change.",
        see: &["statx(2), stx_btime"],
        catalogue: &["D02"],
        impact: Impact::Cosmetic,
        layers: &[&[write("/f", "text")]],
        steps: &[
            call("/f", "birth time after changes", birth_time_after_changes).gives("as before"),
        ],
        ..Case::BASE
    },
    Case {
        id: "inode/files-have-handles",
        spec: "Files and directories of the parent have handles, before and after a change, where the backing file system gives them.",
        see: &["name_to_handle_at(2)", "overlayfs.rst, NFS export"],
        catalogue: &["H07"],
        impact: Impact::AppVisible,
        needs: &[Need::FileHandles],
        layers: &[&[write("/f", "text"), dir("/d", 0o755)]],
        steps: &[
            call("/f", "handle", |tree| has_handle(tree, "/f")).succeeds(),
            call("/d", "handle", |tree| has_handle(tree, "/d")).succeeds(),
            append("/f", "+"),
            call("/f", "handle", |tree| has_handle(tree, "/f")).succeeds(),
        ],
        ..Case::BASE
    },
];

pub(super) const PERMISSION: &[Case] = &[Case {
    id: "permission/security-label-survives-a-change",
    spec: "The security label of a file of the parent survives a change of its content, its mode and its owner.",
    see: &[
        "selinux(8), security.selinux",
        "overlayfs.rst, Permission model",
    ],
    catalogue: &["J07"],
    impact: Impact::Isolation,
    layers: &[
        &[
            write("/f", "text"),
            set_xattr(
                "/f",
                "security.selinux",
                b"system_u:object_r:container_file_t:s0\0",
            ),
        ],
        &[append("/f", "+"), chmod("/f", 0o600)],
        &[chown("/f", 5, 6)],
    ],
    steps: &[list_xattr("/f").gives("security.selinux")],
    ..Case::BASE
}];

/// The path of a directory of the tree that fits into an option of a mount, for as long as the descriptor lives.
fn path_of(directory: impl AsFd) -> PathBuf {
    at::descriptor_path(directory)
}

fn overlay(options: impl IntoIterator<Item = (&'static str, PathBuf)>) -> Result<DetachedMount> {
    let options = options.into_iter();
    let spec = MountSpec {
        fstype: "overlay".to_owned(),
        options: options
            .map(|(key, path)| MountOption::text(key, path))
            .collect(),
        ..MountSpec::default()
    };
    Ok(DetachedMount::new(&spec)?)
}

fn write_in_an_overlay(tree: &Tree) -> Result<String> {
    let open = |path| tree.open_file(path, OFlags::PATH | OFlags::DIRECTORY, 0);
    let (lower, upper, work) = (open("/lower")?, open("/upper")?, open("/work")?);
    let mount = overlay([
        ("lowerdir+", path_of(&lower)),
        ("upperdir", path_of(&upper)),
        ("workdir", path_of(&work)),
    ])?;
    let file = mount.path().join("f");
    let before = std::fs::read_to_string(&file)?;
    std::fs::write(&file, "new")?;
    Ok(format!(
        "{before}, then {}",
        std::fs::read_to_string(&file)?
    ))
}

fn read_in_an_overlay(tree: &Tree) -> Result<String> {
    let open = |path| tree.open_file(path, OFlags::PATH | OFlags::DIRECTORY, 0);
    let (one, two) = (open("/one")?, open("/two")?);
    let mount = overlay([("lowerdir+", path_of(&two)), ("lowerdir+", path_of(&one))])?;
    let read = |name| std::fs::read_to_string(mount.path().join(name));
    Ok(format!("{} {}", read("f")?, read("g")?))
}

fn birth_time_after_changes(tree: &Tree) -> Result<String> {
    let before = tree.stat("/f")?.btime;
    tree.chmod("/f", 0o600)?;
    tree.write("/f", b"other")?;
    let is_same = tree.stat("/f")?.btime == before;
    Ok(if is_same { "as before" } else { "another" }.to_owned())
}

fn has_handle(tree: &Tree, path: &str) -> Result<String> {
    let opened = tree.open_file(path, OFlags::RDONLY, 0)?;
    file::has_handle(&opened)?;
    Ok(String::new())
}

fn read_only_for_a_while(context: &mut Context) -> context::Result<()> {
    let options = PrepareOptions::default();
    context.layer(None, "base", &[write("/f", "old")])?;
    context.store().prepare("key", Some("base"), &options)?;
    context.with_mount("key", |dir| {
        let tree = Tree::open(dir)?;
        let read_only = MountAttributes {
            read_only: true,
            ..MountAttributes::default()
        };
        set_attributes(dir, read_only)?;
        let refused = tree.write("/f", b"new").err().map(|code| code.to_string());
        set_attributes(dir, MountAttributes::default())?;
        let refused = refused.unwrap_or_else(|| "ok".to_owned());
        expect("/f", "write while read-only", "EROFS".to_owned(), refused)?;
        write_text(&tree, "/f", "new")
    })
}
