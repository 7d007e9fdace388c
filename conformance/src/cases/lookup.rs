//! Union lookup and readdir: which layer's entry a name shows.

use std::collections::BTreeSet;

use cowlab_sys::at::OFlags;
use rustix::fs::Dir;

use crate::prelude::*;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "lookup/upper-file-replaces-lower",
        spec: "A file written in two layers has the content of the newer one.",
        see: &[
            "overlayfs.rst, Upper and Lower",
            "image-spec layer.md, Modifications",
        ],
        catalogue: &["A01", "A02", "A03"],
        impact: Impact::DataLoss,
        layers: &[
            &[write("/both", "old"), write("/lower", "lower")],
            &[write("/both", "new"), write("/upper", "upper")],
        ],
        steps: &[
            reads("/both", "new"),
            reads("/lower", "lower"),
            reads("/upper", "upper"),
            entries("/", "both lower upper"),
        ],
        ..Case::BASE
    },
    Case {
        id: "lookup/three-layers-merge-in-order",
        spec: "A directory of three layers lists each name once, and each name shows the newest layer's entry.",
        see: &["overlayfs.rst, Multiple lower layers"],
        catalogue: &["A04", "A05", "Q03"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                dir("/d", 0o755),
                write("/d/a", "1"),
                write("/d/b", "1"),
                write("/d/c", "1"),
            ],
            &[write("/d/b", "2"), write("/d/c", "2")],
            &[write("/d/c", "3"), write("/d/e", "3")],
        ],
        steps: &[
            entries("/d", "a b c e"),
            reads("/d/a", "1"),
            reads("/d/b", "2"),
            reads("/d/c", "3"),
        ],
        ..Case::BASE
    },
    Case {
        id: "lookup/file-hides-directory",
        spec: "A file that takes the place of a directory of the parent hides everything below it.",
        see: &[
            "overlayfs.rst, Upper and Lower",
            "image-spec layer.md, Applying Changesets",
        ],
        catalogue: &["A06", "N05"],
        impact: Impact::DataLoss,
        layers: &[
            &[dir("/x", 0o755), write("/x/below", "old")],
            &[remove_tree("/x"), write("/x", "file")],
        ],
        steps: &[reads("/x", "file"), read("/x/below").fails(ENOTDIR)],
        ..Case::BASE
    },
    Case {
        id: "lookup/directory-hides-file",
        spec: "A directory that takes the place of a file of the parent is a directory with its own entries only.",
        see: &[
            "overlayfs.rst, Upper and Lower",
            "containers/fuse-overlayfs issue 337",
        ],
        catalogue: &["A07", "N05"],
        impact: Impact::DataLoss,
        layers: &[
            &[write("/x", "file"), symlink("nowhere", "/y")],
            &[
                remove("/x"),
                dir("/x", 0o755),
                write("/x/below", "new"),
                remove("/y"),
                dir("/y", 0o755),
            ],
        ],
        steps: &[entries("/x", "below"), entries("/y", "")],
        ..Case::BASE
    },
    Case {
        id: "lookup/symlink-hides-file",
        spec: "A symbolic link that takes the place of a file of the parent leads to its target.",
        see: &["symlink(7)"],
        catalogue: &["A08"],
        impact: Impact::AppVisible,
        layers: &[
            &[write("/f", "old"), write("/target", "target")],
            &[remove("/f"), symlink("target", "/f")],
        ],
        steps: &[reads("/f", "target"), is_a("/f", Kind::Symlink)],
        ..Case::BASE
    },
    Case {
        id: "lookup/symlinks-lead-across-layers",
        spec: "Direct, indirect and dangling symbolic links of the parent lead where their text says, whichever layer holds the target.",
        see: &["symlink(7)", "path_resolution(7)"],
        catalogue: &["A09"],
        impact: Impact::AppVisible,
        layers: &[
            &[
                write("/target", "old"),
                symlink("target", "/direct"),
                symlink("direct", "/indirect"),
                symlink("later", "/dangling"),
            ],
            &[write("/target", "new"), write("/later", "later")],
        ],
        steps: &[
            reads("/direct", "new"),
            reads("/indirect", "new"),
            reads("/dangling", "later"),
            append("/indirect", "er").succeeds(),
            reads("/target", "newer"),
            is_a("/direct", Kind::Symlink),
        ],
        ..Case::BASE
    },
    Case {
        id: "lookup/symlink-loop-is-refused",
        spec: "A loop of symbolic links made over two layers is refused as a loop.",
        see: &["path_resolution(7)", "open(2), ELOOP"],
        catalogue: &["A09"],
        impact: Impact::AppVisible,
        layers: &[&[symlink("b", "/a")], &[symlink("a", "/b")]],
        steps: &[read("/a").fails(ELOOP), read_link("/b").gives("a")],
        ..Case::BASE
    },
    Case {
        id: "lookup/missing-name-under-every-open-flag",
        spec: "A name that no layer has is missing under every combination of open flags without O_CREAT.",
        see: &["open(2), ENOENT"],
        catalogue: &["A11"],
        impact: Impact::AppVisible,
        layers: &[&[dir("/d", 0o755)]],
        steps: &[
            open("a", "/none", Flags::READ).fails(ENOENT),
            open("b", "/none", Flags::WRITE).fails(ENOENT),
            open("c", "/none", Flags::BOTH.truncate()).fails(ENOENT),
            open("d", "/d/none", Flags::WRITE.append()).fails(ENOENT),
            open("e", "/d/none", Flags::READ.directory()).fails(ENOENT),
            open("f", "/none/below", Flags::WRITE.create()).fails(ENOENT),
            truncate("/none", 0).fails(ENOENT),
            chmod("/none", 0o600).fails(ENOENT),
        ],
        ..Case::BASE
    },
    Case {
        id: "lookup/file-and-directory-are-not-confused",
        spec: "A file of the parent does not open as a directory, nor a directory for writing.",
        see: &["open(2), ENOTDIR, EISDIR"],
        catalogue: &["A12"],
        impact: Impact::AppVisible,
        layers: &[&[dir("/d", 0o755), write("/f", "text")]],
        steps: &[
            open("a", "/f", Flags::READ.directory()).fails(ENOTDIR),
            open("b", "/d", Flags::WRITE).fails(EISDIR),
            open("c", "/d", Flags::BOTH.truncate()).fails(EISDIR),
            open("d", "/f/below", Flags::READ).fails(ENOTDIR),
            list("/f").fails(ENOTDIR),
            remove_dir("/f").fails(ENOTDIR),
            unlink("/d").fails(EISDIR),
        ],
        ..Case::BASE
    },
    Case {
        id: "lookup/exclusive-creation-sees-every-layer",
        spec: "O_CREAT with O_EXCL and mkdir fail for a name of any layer, a dangling symbolic link included.",
        see: &["open(2), EEXIST", "mkdir(2), EEXIST"],
        catalogue: &["A11", "D12"],
        impact: Impact::DataLoss,
        layers: &[
            &[write("/lower", "l"), symlink("nowhere", "/dangling")],
            &[write("/upper", "u")],
        ],
        steps: &[
            open("a", "/lower", Flags::WRITE.create().exclusive()).fails(EEXIST),
            open("b", "/upper", Flags::WRITE.create().exclusive()).fails(EEXIST),
            open("c", "/dangling", Flags::WRITE.create().exclusive()).fails(EEXIST),
            dir("/lower", 0o755).fails(EEXIST),
            reads("/lower", "l"),
        ],
        ..Case::BASE
    },
    Case {
        id: "lookup/longest-name",
        spec: "A name of 255 bytes of the parent can be read, changed, listed and removed.",
        see: &[
            "limits.h(0p), NAME_MAX",
            "containers/fuse-overlayfs, names of 252 bytes and more",
        ],
        catalogue: &["A22", "D23", "G07"],
        impact: Impact::DataLoss,
        layers: &[
            &[write(NAME_255, "long"), dir("/d", 0o755)],
            &[append(NAME_255, "er")],
        ],
        steps: &[
            reads(NAME_255, "longer"),
            remove(NAME_255).succeeds(),
            entries("/", "d"),
            write(NAME_255, "again").succeeds(),
        ],
        ..Case::BASE
    },
    Case {
        id: "lookup/odd-names",
        spec: "Names with a colon, a comma, a backslash, a newline, a space or bytes that are no UTF-8 are names like any other.",
        see: &[
            "path_resolution(7)",
            "overlayfs.rst, mount option escapes",
            "xfstests overlay/083",
        ],
        catalogue: &["A24", "N23"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                write("/a:b,c", "1"),
                write("/back\\x5cslash", "2"),
                write("/new\\x0aline", "3"),
                dir("/not \\xff\\xfe utf-8", 0o755),
                write("/not \\xff\\xfe utf-8/\\xc3\\x28", "4"),
            ],
            &[
                append("/a:b,c", "+"),
                remove("/new\\x0aline"),
                chmod("/not \\xff\\xfe utf-8/\\xc3\\x28", 0o600),
            ],
        ],
        steps: &[
            reads("/a:b,c", "1+"),
            reads("/back\\x5cslash", "2"),
            absent("/new\\x0aline"),
        ],
        ..Case::BASE
    },
    Case {
        id: "lookup/names-that-differ-in-case",
        spec: "Names of the parent that differ in upper and lower case alone are two names.",
        see: &["path_resolution(7)"],
        catalogue: &["A24"],
        impact: Impact::DataLoss,
        layers: &[&[write("/name", "lower"), write("/NAME", "upper")]],
        steps: &[
            reads("/NAME", "upper"),
            append("/NAME", "+"),
            reads("/name", "lower"),
            reads("/NAME", "upper+"),
        ],
        ..Case::BASE
    },
    Case {
        id: "lookup/listing-has-types",
        spec: "A directory lists its entries of every layer with their types.",
        see: &["readdir(3), d_type", "xfstests overlay/003"],
        catalogue: &["A17"],
        impact: Impact::AppVisible,
        layers: &[
            &[
                dir("/d", 0o755),
                write("/d/f", "f"),
                symlink("f", "/d/s"),
                dir("/d/d", 0o755),
            ],
            &[fifo("/d/p", 0o644), append("/d/f", "+")],
        ],
        steps: &[call("/d", "types in the listing", listed_types)
            .gives("d Directory, f RegularFile, p Fifo, s Symlink")],
        ..Case::BASE
    },
    Case {
        id: "lookup/rewound-listing-shows-new-names",
        spec: "A directory of two layers that is open and read again from its start lists a name that was made meanwhile.",
        see: &["rewinddir(3)", "xfstests overlay/077"],
        catalogue: &["A15"],
        impact: Impact::AppVisible,
        layers: &[
            &[dir("/d", 0o755), write("/d/a", "a")],
            &[write("/d/b", "b")],
        ],
        steps: &[call("/d", "names before and after", list_twice).gives("a b, a b new")],
        ..Case::BASE
    },
    Case {
        id: "lookup/dots-have-the-numbers-of-stat",
        spec: "A directory of two layers lists `.` and `..` with the inode numbers that stat shows, before and after a name is made in it.",
        see: &[
            "getdents(2)",
            "xfstests overlay/038",
            "xfstests overlay/041",
        ],
        catalogue: &["A16"],
        impact: Impact::AppVisible,
        layers: &[
            &[dir("/d", 0o755), write("/d/a", "a")],
            &[write("/d/b", "b")],
        ],
        steps: &[
            call("/d", "numbers of the dots", numbers_of_dots).gives("as stat shows"),
            write("/d/new", "new"),
            call("/d", "numbers of the dots", numbers_of_dots).gives("as stat shows"),
        ],
        ..Case::BASE
    },
    Case {
        id: "lookup/longest-symlink",
        spec: "A symbolic link of the parent with a target of 4095 bytes can be read and given another owner.",
        see: &["symlink(2), ENAMETOOLONG", "pjdfstest symlink/03"],
        catalogue: &["A23", "D15"],
        impact: Impact::DataLoss,
        needs: &[Need::SymlinkTarget(4095)],
        layers: &[&[symlink(TARGET_4095, "/s")], &[chown("/s", 7, 8)]],
        steps: &[
            stat("/s", Field::Owner).gives("7:8"),
            stat("/s", Field::Size).gives("4095"),
        ],
        ..Case::BASE
    },
    Case {
        id: "lookup/empty-directories-stay",
        spec: "Empty directories of every layer stay, with their own modes.",
        see: &["overlayfs.rst, Directories"],
        catalogue: &["A04", "D17"],
        impact: Impact::AppVisible,
        layers: &[
            &[dir("/a", 0o700), dir("/a/b", 0o711), dir("/a/b/c", 0o1777)],
            &[dir("/a/x", 0o500), dir("/a/b/c/d", 0o2755)],
        ],
        steps: &[
            entries("/a", "b x"),
            entries("/a/b/c", "d"),
            stat("/a/b/c", Field::Mode).gives("1777"),
        ],
        ..Case::BASE
    },
    Case {
        id: "lookup/slash-at-the-end",
        spec: "A name with a slash at its end is that of a directory, of any layer, and anything else is refused under it.",
        see: &["path_resolution(7)", "unionmount-testsuite, --ts=1"],
        catalogue: &["A10"],
        impact: Impact::AppVisible,
        layers: &[
            &[
                write("/f", "f"),
                dir("/d", 0o755),
                write("/d/lower", "l"),
                symlink("d", "/to-d"),
                symlink("f", "/to-f"),
            ],
            &[write("/d/upper", "u")],
        ],
        steps: &[
            entries("/d/", "lower upper"),
            entries("/to-d/", "lower upper"),
            open("a", "/f/", Flags::READ).fails(ENOTDIR),
            open("b", "/to-f/", Flags::WRITE).fails(ENOTDIR),
            open("c", "/new/", Flags::WRITE.create()).fails(EISDIR),
            unlink("/f/").fails(ENOTDIR),
            unlink("/d/").fails(EISDIR),
            remove_dir("/f/").fails(ENOTDIR),
            rename("/f/", "/g").fails(ENOTDIR),
            dir("/made/", 0o755).succeeds(),
            rename("/made/", "/renamed/").succeeds(),
            is_a("/renamed", Kind::Dir),
        ],
        ..Case::BASE
    },
    Case {
        id: "lookup/read-while-entries-are-added",
        spec: "Entries of two layers that are there before a directory is read are seen once each, whatever is added meanwhile.",
        see: &["readdir(3)"],
        catalogue: &["A13"],
        impact: Impact::AppVisible,
        layers: &[
            &[
                dir("/d", 0o755),
                call("/d", "entries made", |tree| fill(tree, "lower")),
            ],
            &[call("/d", "entries made", |tree| fill(tree, "upper"))],
        ],
        steps: &[
            call("/d", "entries seen once and added", |tree| {
                let mut seen = BTreeSet::new();
                let mut added = 0;
                for entry in std::fs::read_dir(tree.path().join("d"))? {
                    let name = entry?.file_name().display().to_string();
                    if !name.starts_with("added") && !seen.insert(name.clone()) {
                        return Ok(format!("{name} seen twice"));
                    }
                    if added < 500 {
                        tree.write(&format!("/d/added-{added}"), b"")?;
                        added += 1;
                    }
                }
                Ok(format!("{}, {added}", seen.len()))
            })
            .gives("2000, 500"),
            call("/d", "entries", |tree| {
                Ok(tree.list("/d")?.len().to_string())
            })
            .gives("2500"),
        ],
        ..Case::BASE
    },
    Case {
        id: "lookup/missing-name-is-seen-once-made",
        spec: "A name that was looked up while no layer had it is seen once it is made, and missing again once it is removed.",
        see: &["path_resolution(7)", "xfstests overlay/063"],
        catalogue: &["A19"],
        impact: Impact::AppVisible,
        layers: &[&[dir("/d", 0o755)]],
        steps: &[
            absent("/d/n"),
            write("/d/n", "1").succeeds(),
            reads("/d/n", "1"),
            unlink("/d/n").succeeds(),
            absent("/d/n"),
            read("/d/n").fails(ENOENT),
            dir("/d/n", 0o700).succeeds(),
            is_a("/d/n", Kind::Dir),
            remove_dir("/d/n").succeeds(),
            absent("/d/n"),
            write("/d/n", "2").succeeds(),
            reads("/d/n", "2"),
        ],
        ..Case::BASE
    },
];

/// The longest target: PATH_MAX less the terminating zero.
const TARGET_4095: &str = text(&[b't'; 4095]);

fn open_listing(tree: &Tree) -> crate::tree::Result<Dir> {
    let dir = tree.open_file("/d", OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
    Ok(Dir::new(dir)?)
}

/// The names that are left to be read, sorted, without `.` and `..`.
fn names(listing: &mut Dir) -> crate::tree::Result<String> {
    let mut all = Vec::new();
    for entry in listing {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            all.push(name);
        }
    }
    all.sort_unstable();
    Ok(all.join(" "))
}

fn list_twice(tree: &Tree) -> crate::tree::Result<String> {
    let mut listing = open_listing(tree)?;
    let before = names(&mut listing)?;
    tree.write("/d/new", b"new")?;
    listing.rewind();
    Ok(format!("{before}, {}", names(&mut listing)?))
}

fn numbers_of_dots(tree: &Tree) -> crate::tree::Result<String> {
    for entry in open_listing(tree)? {
        let entry = entry?;
        let path = match entry.file_name().to_bytes() {
            b"." => "/d",
            b".." => "/",
            _ => continue,
        };
        if entry.ino() != tree.stat(path)?.ino {
            return Ok(format!("another for {path}"));
        }
    }
    Ok("as stat shows".to_owned())
}

/// The names of a directory with the types that getdents64(2) gives, `.` and `..` left out.
fn listed_types(tree: &Tree) -> crate::tree::Result<String> {
    let mut all = Vec::new();
    for entry in open_listing(tree)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if !name.starts_with('.') {
            all.push(format!("{name} {:?}", entry.file_type()));
        }
    }
    all.sort_unstable();
    Ok(all.join(", "))
}

/// Makes a thousand entries: more than readdir(3) takes from the kernel at once.
fn fill(tree: &Tree, name: &str) -> Result<String, Code> {
    for number in 0..1000 {
        tree.write(&format!("/d/{name}-{number}"), b"")?;
    }
    Ok("made".to_owned())
}
