//! Inode and device numbers: what programs use to tell files apart.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use cowlab_snapshots::{CommitOptions, PrepareOptions};
use cowlab_sys::mount::DetachedMount;
use cowlab_sys::{MountAttributes, file, id_map, process};

use crate::context::Result;
use crate::manifest::Manifest;
use crate::prelude::*;
use crate::support::store::apply_entries;
use cowlab_tarball::Entry;

/// The case about numbers in a listing of many entries.
pub const LISTED_NUMBERS: &str = "inode/listing-of-many-entries-shows-the-same-numbers-as-stat";

pub(super) const CASES: &[Case] = &[
    Case {
        id: "inode/fs-verity-holds-in-a-child",
        spec: "A file that fs-verity protects is protected in a child as well: nobody opens it for writing.",
        see: &[
            "Documentation/filesystems/fsverity.rst",
            "xfstests overlay/080",
        ],
        catalogue: &["D24"],
        impact: Impact::Isolation,
        needs: &[Need::Verity],
        run: Some(verity_in_a_child),
        ..Case::BASE
    },
    Case {
        id: "inode/id-mapped-mount-shifts-owners",
        spec: "An id-mapped mount of a snapshot shows shifted owners, and what is written through it arrives unshifted.",
        see: &[
            "mount_setattr(2), ID-mapped mounts",
            "Documentation/filesystems/idmappings.rst",
        ],
        catalogue: &["J03"],
        impact: Impact::AppVisible,
        needs: &[Need::IdMappedMount],
        run: Some(shifted_owners),
        ..Case::BASE
    },
    Case {
        id: "inode/number-survives-copy-up",
        spec: "A file, a directory and a symbolic link of the parent keep their inode numbers when they are changed.",
        see: &["overlayfs.rst, Inode properties", "xfstests overlay/017"],
        catalogue: &["H01"],
        impact: Impact::AppVisible,
        layers: &[&[
            write("/f", "text"),
            dir("/d", 0o755),
            symlink("f", "/s"),
            fifo("/p", 0o600),
        ]],
        steps: &[
            append("/f", "+").succeeds(),
            chmod("/d", 0o700).succeeds(),
            chown("/s", 1, 1).succeeds(),
            chmod("/p", 0o644).succeeds(),
            same_inode("/f"),
            same_inode("/d"),
            same_inode("/s"),
            same_inode("/p"),
        ],
        ..Case::BASE
    },
    Case {
        id: "inode/number-survives-rename",
        spec: "A file of the parent keeps its inode number when it is renamed.",
        see: &["overlayfs.rst, Inode properties", "xfstests overlay/043"],
        catalogue: &["H01"],
        impact: Impact::AppVisible,
        layers: &[&[write("/f", "text")]],
        steps: &[rename("/f", "/g").succeeds(), kept_inode("/f", "/g")],
        ..Case::BASE
    },
    Case {
        id: "inode/one-device-number",
        spec: "Files of every layer, changed files and directories show one device number.",
        see: &[
            "overlayfs.rst, Inode properties",
            "stat(2), st_dev",
            "find(1), -xdev",
        ],
        catalogue: &["H02"],
        impact: Impact::AppVisible,
        layers: &[
            &[
                dir("/d", 0o755),
                write("/d/lower", "l"),
                write("/changed", "c"),
            ],
            &[write("/d/upper", "u")],
        ],
        steps: &[
            append("/changed", "+").succeeds(),
            write("/new", "n").succeeds(),
            call("/", "device numbers", |tree| {
                let mut devices = Vec::new();
                for path in ["/", "/d", "/d/lower", "/d/upper", "/changed", "/new"] {
                    devices.push(tree.stat(path)?.dev);
                }
                devices.sort_unstable();
                devices.dedup();
                Ok(devices.len().to_string())
            })
            .gives("1"),
        ],
        ..Case::BASE
    },
    Case {
        id: "inode/no-two-files-alike",
        spec: "No two files of different layers have the same device and inode number.",
        see: &[
            "overlayfs.rst, Inode properties",
            "xfstests overlay/059",
            "xfstests overlay/067",
        ],
        catalogue: &["H03"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                write("/a1", "1"),
                write("/a2", "2"),
                dir("/d", 0o755),
                symlink("a1", "/s1"),
            ],
            &[
                write("/b1", "1"),
                write("/b2", "2"),
                append("/a2", "+"),
                symlink("a2", "/s2"),
            ],
            &[write("/c1", "1"), append("/b2", "+")],
        ],
        steps: &[
            append("/a1", "+").succeeds(),
            write("/n", "n").succeeds(),
            call("/", "files that share their numbers", |tree| {
                let mut seen = Vec::new();
                for path in ["/a1", "/a2", "/b1", "/b2", "/c1", "/n", "/d", "/s1", "/s2"] {
                    let stat = tree.stat(path)?;
                    seen.push((stat.dev, stat.ino));
                }
                let all = seen.len();
                seen.sort_unstable();
                seen.dedup();
                Ok((all - seen.len()).to_string())
            })
            .gives("0"),
        ],
        ..Case::BASE
    },
    Case {
        id: "inode/listing-shows-the-same-numbers-as-stat",
        spec: "The inode numbers that a directory lists are those that stat shows, for changed and merged entries too.",
        see: &[
            "overlayfs.rst, Inode properties",
            "xfstests overlay/038",
            "readdir(3), d_ino",
        ],
        catalogue: &["H04", "A17"],
        impact: Impact::AppVisible,
        layers: &[
            &[
                dir("/d", 0o755),
                write("/d/lower", "l"),
                write("/d/changed", "c"),
                dir("/d/merged", 0o755),
            ],
            &[
                append("/d/changed", "+"),
                write("/d/upper", "u"),
                write("/d/merged/x", "x"),
                write("/d/renamed", "r"),
            ],
            &[rename("/d/renamed", "/d/renamed2"), remove("/d/lower")],
        ],
        ..Case::BASE
    },
    Case {
        id: LISTED_NUMBERS,
        spec: "The inode numbers that a directory of 600 entries lists are those that stat shows, for files that an upper layer replaces too.",
        see: &["overlayfs.rst, Inode properties", "readdir(3), d_ino"],
        catalogue: &["H04", "A21"],
        impact: Impact::AppVisible,
        run: Some(listed_numbers),
        ..Case::BASE
    },
    Case {
        id: "inode/link-count-of-a-directory",
        spec: "The link count of a directory is what the backing file system gives a directory with as many subdirectories.",
        see: &["inode(7), st_nlink", "pjdfstest rename/24"],
        catalogue: &["H06"],
        impact: Impact::Cosmetic,
        layers: &[
            &[dir("/d", 0o755), dir("/d/a", 0o755), dir("/d/b", 0o755)],
            &[dir("/d/c", 0o755), remove("/d/a")],
        ],
        steps: &[stat("/d", Field::LinkCount)],
        ..Case::BASE
    },
];

/// More entries than one answer to readdir has: of those in the first, FUSE asks for the attributes as well (READDIRPLUS).
fn listed_numbers(context: &mut Context) -> Result<()> {
    let files = |step: usize| -> Vec<_> {
        let numbers = (0..600).step_by(step);
        numbers
            .map(|number| {
                Entry::file(
                    format!("a-file-of-a-large-directory-{number}"),
                    step.to_string(),
                )
            })
            .collect()
    };
    apply_entries(context, "base", None, &files(1))?;
    apply_entries(context, "top", Some("base"), &files(3))?;
    context.with_view("top", |dir| {
        let seen = Manifest::capture(dir)?;
        let agree = seen.entries.values().all(|entry| entry.inode_agrees);
        expect("/", "listed numbers are those of stat", true, agree)
    })
}

fn verity_in_a_child(context: &mut Context) -> Result<()> {
    let store = context.store();
    store.prepare("key", None, &PrepareOptions::default())?;
    context.with_mount("key", |dir| {
        fs::write(dir.join("f"), vec![b'x'; 10_000])?;
        let enabled = file::enable_verity(File::open(dir.join("f"))?);
        enabled.map_err(|error| Difference::new("/f", "fs-verity", "enabled", Code::from(error)))
    })?;
    store.commit("key", "name", &CommitOptions::default())?;
    store.prepare("child", Some("name"), &PrepareOptions::default())?;
    context.with_mount("child", |dir| {
        let opened = match File::options().append(true).open(dir.join("f")) {
            Ok(_) => "ok".to_owned(),
            Err(error) => Code::from(error).to_string(),
        };
        expect("/f", "open for writing", "EPERM".to_owned(), opened)?;
        expect("/f", "size", 10_000, fs::read(dir.join("f"))?.len())
    })
}

fn shifted_owners(context: &mut Context) -> Result<()> {
    const SHIFT: u32 = 100_000;
    context.layer(None, "base", &[write("/f", "f"), chown("/f", 5, 6)])?;
    let store = context.store();
    store.prepare("key", Some("base"), &PrepareOptions::default())?;
    context.with_mount("key", |dir| {
        fs::set_permissions(dir, Permissions::from_mode(0o777))?;
        let mount = DetachedMount::bind(dir, MountAttributes::default())?;
        id_map::shift(&mount, SHIFT)
            .map_err(|error| Difference::new("/", "id-mapped mount", "made", Code::from(error)))?;
        let found = fs::metadata(mount.path().join("f"))?;
        expect("/f", "owner through the mount", SHIFT + 5, found.uid())?;
        expect("/f", "group through the mount", SHIFT + 6, found.gid())?;
        let tree = Tree::open(mount.path())?;
        process::as_user(SHIFT + 7, || tree.write("/new", b"new"))?
            .map_err(|code| Difference::new("/new", "write through the mount", "ok", code))?;
        expect("/new", "owner", 7, fs::metadata(dir.join("new"))?.uid())?;
        expect("/f", "owner", 5, fs::metadata(dir.join("f"))?.uid())
    })
}
