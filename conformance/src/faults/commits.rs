//! Faults of drivers whose commits spoil the tree.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cowlab_driver::Result;
use cowlab_sys::stat::{FileKind, Time, device};

use super::driver::DriverFault;
use super::tree::{EntryFault, Spot, TreeFault, Trees};
use super::{Fault, Plant};

const FILE: FileKind = FileKind::Regular;
const DIR: FileKind = FileKind::Directory;
const LINK: FileKind = FileKind::Symlink;

/// Access control lists, and the file capability.
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
const CAPABILITY: &[u8] = b"security.capability";

pub(super) const FAULTS: &[Fault] = &[
    // A. Union lookup and readdir.
    trees(
        "unchanged-lost",
        "A01",
        "A commit forgets the files of the parent that were not changed.",
        |trees| {
            each(&trees.old()?, |path| {
                match trees.now(path).is_none() || is_as_before(trees, path) {
                    true if is(trees.before(path), FILE) => trees.remove(path),
                    _ => Ok(()),
                }
            })
        },
    ),
    trees(
        "new-files-lost",
        "A02",
        "A commit forgets new files.",
        |trees| each(&trees.added()?, |path| lose_if(trees, path, FILE)),
    ),
    trees(
        "old-content-wins",
        "A03",
        "A commit takes the parent's content of files that were changed.",
        |trees| each(&trees.changed(FILE, FILE)?, |path| trees.put_back(path)),
    ),
    trees(
        "directories-not-merged",
        "A04",
        "A commit forgets what the parent has in a directory that was added to.",
        |trees| {
            each(&trees.old()?, |path| {
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
                let is_own = trees.now(path).is_some() && !is_as_before(trees, path);
                match dir.and_then(|dir| trees.now(dir)) {
                    Some(_) if !is_own && !is(trees.before(path), DIR) => trees.remove(path),
                    _ => Ok(()),
                }
            })
        },
    ),
    trees(
        "file-loses-to-directory",
        "A06",
        "A commit takes the parent's directory where a file replaced it.",
        |trees| each(&trees.changed(DIR, FILE)?, |path| trees.put_back(path)),
    ),
    trees(
        "directory-loses-to-file",
        "A07",
        "A commit takes the parent's file where a directory replaced it.",
        |trees| each(&trees.changed(FILE, DIR)?, |path| trees.put_back(path)),
    ),
    trees(
        "symlink-loses-to-file",
        "A08",
        "A commit takes the parent's file where a symbolic link replaced it.",
        |trees| each(&trees.changed(FILE, LINK)?, |path| trees.put_back(path)),
    ),
    entries(
        "symlinks-made-absolute",
        "A09",
        "A commit makes relative symbolic links absolute.",
        |spot| spot.retarget(|target| [b"/nowhere/", target].concat()),
    ),
    trees(
        "removed-symlinks-come-back",
        "A20",
        "A commit forgets the removal of directories.",
        |trees| each(&trees.removed()?, |path| put_back_if(trees, path, DIR)),
    ),
    entries(
        "deep-directories-lost",
        "A21",
        "A commit forgets what lies more than a hundred directories deep.",
        |spot| spot.when(spot.depth > 100, Spot::remove),
    ),
    entries(
        "long-names-lost",
        "A22",
        "A commit forgets entries with names of more than 100 bytes.",
        |spot| spot.when(spot.bytes().len() > 100, Spot::remove),
    ),
    entries(
        "long-targets-cut",
        "A23",
        "A commit cuts the targets of symbolic links after 1024 bytes.",
        |spot| spot.retarget(|target| target[..target.len().min(1024)].to_vec()),
    ),
    entries(
        "odd-names-lost",
        "A24",
        "A commit forgets names that are no UTF-8.",
        |spot| spot.when(std::str::from_utf8(spot.bytes()).is_err(), Spot::remove),
    ),
    entries(
        "colons-replaced",
        "A24",
        "A commit replaces colons in names.",
        |spot| {
            let name: Vec<_> = spot
                .bytes()
                .iter()
                .map(|byte| if *byte == b':' { b'_' } else { *byte })
                .collect();
            spot.when(name != spot.bytes(), |spot| spot.rename(&name))
        },
    ),
    // B. Whiteouts.
    trees(
        "removals-forgotten",
        "B01",
        "A commit forgets what was removed.",
        |trees| each(&trees.removed()?, |path| trees.put_back(path)),
    ),
    trees(
        "removed-files-come-back",
        "B02",
        "A commit forgets that files were removed.",
        |trees| each(&trees.removed()?, |path| put_back_if(trees, path, FILE)),
    ),
    trees(
        "made-again-lost",
        "B03",
        "A commit forgets what has the name of something that an earlier layer removed.",
        |trees| each(&trees.added()?, |path| trees.lose(path)),
    ),
    trees(
        "siblings-removed",
        "B04",
        "A removal takes what has the same name in other directories as well.",
        |trees| {
            let removed = trees.removed()?;
            each(&trees.old()?, |path| {
                let has_name = removed
                    .iter()
                    .any(|gone| gone.file_name() == path.file_name());
                if has_name && !removed.iter().any(|gone| gone == path) {
                    trees.remove(path)?;
                }
                Ok(())
            })
        },
    ),
    trees(
        "removals-show-as-files",
        "B05",
        "A commit leaves a file `.wh.NAME` for what was removed.",
        |trees| {
            each(&trees.removed()?, |path| {
                let name = path.file_name().unwrap_or_default().as_bytes();
                let mark =
                    path.with_file_name(std::ffi::OsStr::from_bytes(&[b".wh.", name].concat()));
                trees.keeping_time(&mark, |mark| {
                    Ok(cowlab_sys::io("write", mark, std::fs::write(mark, ""))?)
                })
            })
        },
    ),
    entries(
        "device-zero-lost",
        "B08",
        "A commit forgets character devices 0:0.",
        |spot| spot.when(spot.stat.is_whiteout(), Spot::remove),
    )
    .of_whole_trees(),
    entries(
        "dotted-wh-names-lost",
        "B09",
        "A commit forgets files with names that begin with `.wh.`.",
        |spot| spot.when(spot.bytes().starts_with(b".wh."), Spot::remove),
    ),
    trees(
        "new-directory-shows-old",
        "B10",
        "A commit shows what the parent had in a directory that was removed and made again.",
        bring_back_removed,
    ),
    trees(
        "owner-of-the-directory",
        "B11",
        "A commit gives new files and directories the owner of their directory.",
        |trees| {
            each(&trees.added()?, |path| {
                match path.parent().and_then(|dir| trees.now(dir)) {
                    Some(dir) => trees.chown(path, dir.uid, dir.gid),
                    None => Ok(()),
                }
            })
        },
    ),
    trees(
        "removed-directory-comes-back-empty",
        "B14",
        "A commit leaves an empty directory where one was removed.",
        |trees| {
            each(&trees.removed()?, |path| {
                match is(trees.before(path), DIR) {
                    true => trees.make_dir(path),
                    false => Ok(()),
                }
            })
        },
    ),
    trees(
        "replaced-names-removed",
        "B15",
        "A commit removes names that were removed and made again.",
        |trees| each(&trees.added()?, |path| trees.remove(path)),
    ),
    entries(
        "rename-whiteout-lost",
        "B18",
        "A commit forgets the whiteouts that rename made.",
        |spot| spot.when(spot.stat.is_whiteout(), Spot::remove),
    )
    .of_whole_trees(),
    // C. Opaque directories.
    trees(
        "opaque-mark-lost",
        "C01",
        "A commit shows what the parent had in directories that hide it.",
        bring_back_removed,
    ),
    trees(
        "recreated-directory-refills",
        "C03",
        "A commit puts files back into a directory that was removed and made again.",
        |trees| {
            each(&trees.removed()?, |path| {
                match path.parent().and_then(|dir| trees.now(dir)) {
                    Some(_) => put_back_if(trees, path, FILE),
                    None => Ok(()),
                }
            })
        },
    ),
    trees(
        "removed-directories-stay",
        "C04",
        "A commit of a layer that only removes directories removes nothing.",
        |trees| each(&trees.removed()?, |path| put_back_if(trees, path, DIR)),
    ),
    trees(
        "changed-directories-hide",
        "C05",
        "A commit marks directories that were changed as hiding what the parent has in them.",
        |trees| {
            each(&trees.old()?, |path| {
                let dir = path.parent().filter(|dir| trees.now(dir).is_some());
                match dir.filter(|dir| !dir.as_os_str().is_empty()) {
                    Some(_) if trees.now(path).is_none() || is_as_before(trees, path) => {
                        trees.remove(path)
                    }
                    _ => Ok(()),
                }
            })
        },
    ),
    // D. Copy-up.
    trees(
        "writes-lost",
        "D01",
        "A commit forgets what was written into files of the parent.",
        |trees| each(&trees.changed(FILE, FILE)?, |path| trees.put_back(path)),
    ),
    trees(
        "metadata-change-empties",
        "D02",
        "A change of metadata loses the content of a file of the parent.",
        |trees| {
            each(&trees.changed(FILE, FILE)?, |path| {
                let sizes =
                    [trees.before(path), trees.now(path)].map(|stat| stat.map(|stat| stat.size));
                match sizes[0] == sizes[1] && !is_as_before(trees, path) {
                    true => trees.set_size(path, 0),
                    false => Ok(()),
                }
            })
        },
    ),
    entries(
        "owner-lost",
        "D03",
        "A commit gives everything to root.",
        |spot| spot.chown(0, 0),
    ),
    entries(
        "mode-lost",
        "D03",
        "A commit gives every file the mode 0644.",
        |spot| spot.when(spot.is(FILE), |spot| spot.chmod(0o644)),
    ),
    entries(
        "times-zeroed",
        "D04",
        "A commit sets every modification time to 1970.",
        |spot| spot.set_mtime(Time::default()),
    ),
    entries(
        "times-rounded",
        "D04",
        "A commit keeps modification times to the second.",
        |spot| {
            spot.set_mtime(Time {
                nsec: 0,
                ..spot.stat.mtime
            })
        },
    ),
    trees(
        "directory-time-touched",
        "D05",
        "A commit sets the time of directories in which a file was changed.",
        |trees| {
            each(&trees.changed(DIR, DIR)?, |path| {
                trees.set_mtime(path, Time::now())
            })
        },
    ),
    entries(
        "xattr-lost",
        "D06",
        "A commit forgets the extended attributes of users.",
        |spot| spot.lose_xattrs(|name, _| name.starts_with(b"user.")),
    ),
    entries(
        "large-xattr-lost",
        "D06",
        "A commit forgets extended attributes of more than 1 KiB.",
        |spot| spot.lose_xattrs(|_, value| value.len() > 1024),
    ),
    entries(
        "access-acl-lost",
        "D07",
        "A commit forgets access ACLs.",
        |spot| spot.lose_xattrs(|name, _| name == ACCESS_ACL),
    ),
    entries(
        "default-acl-lost",
        "D07",
        "A commit forgets default ACLs.",
        |spot| spot.lose_xattrs(|name, _| name == DEFAULT_ACL),
    ),
    entries(
        "capability-lost",
        "D08",
        "A commit forgets file capabilities.",
        |spot| spot.lose_xattrs(|name, _| name == CAPABILITY),
    ),
    entries(
        "setuid-lost",
        "D09",
        "A commit clears the setuid, setgid and sticky bits.",
        |spot| spot.chmod(spot.stat.permissions() & 0o777),
    ),
    entries(
        "sticky-lost",
        "D09",
        "A commit clears the sticky bit.",
        |spot| spot.chmod(spot.stat.permissions() & !0o1000),
    ),
    entries(
        "files-cut",
        "D10",
        "A commit cuts files after 64 KiB.",
        |spot| spot.cut(64 << 10),
    ),
    entries(
        "last-byte-wrong",
        "D10",
        "A commit changes the last byte of files of more than 1 MiB.",
        |spot| {
            spot.when(
                spot.is(FILE) && spot.stat.size > 1 << 20,
                Spot::spoil_content,
            )
        },
    ),
    entries(
        "holes-filled",
        "D11",
        "A commit fills the holes of files.",
        |spot| spot.when(spot.is(FILE), Spot::fill_holes),
    ),
    trees(
        "appended-text-lost",
        "D12",
        "A commit cuts files that grew to their old size.",
        |trees| {
            each(&trees.changed(FILE, FILE)?, |path| {
                trees.set_size_of_parent(path, |now, before| now > before)
            })
        },
    ),
    trees(
        "cut-files-regrow",
        "D13",
        "A commit gives files that were cut their old size.",
        |trees| {
            each(&trees.changed(FILE, FILE)?, |path| {
                trees.set_size_of_parent(path, |now, before| now < before)
            })
        },
    ),
    trees(
        "punched-data-comes-back",
        "D14",
        "A commit brings back data that was replaced by a hole.",
        |trees| each(&trees.changed(FILE, FILE)?, |path| trees.put_back(path)),
    ),
    entries(
        "symlink-owner-lost",
        "D15",
        "A commit gives symbolic links to root.",
        |spot| spot.when(spot.is(LINK), |spot| spot.chown(0, 0)),
    ),
    entries(
        "symlink-time-lost",
        "D15",
        "A commit sets the time of symbolic links.",
        |spot| spot.when(spot.is(LINK), |spot| spot.set_mtime(Time::now())),
    ),
    entries(
        "device-numbers-lost",
        "D16",
        "A commit makes every device /dev/null.",
        |spot| spot.renumber(device(1, 3)),
    ),
    entries("fifos-lost", "D16", "A commit forgets FIFOs.", |spot| {
        spot.when(spot.is(FileKind::Fifo), Spot::remove)
    }),
    entries("sockets-lost", "D16", "A commit forgets sockets.", |spot| {
        spot.when(spot.is(FileKind::Socket), Spot::remove)
    }),
    entries(
        "directory-modes-lost",
        "D17",
        "A commit gives every directory the mode 0755.",
        |spot| spot.when(spot.is(DIR), |spot| spot.chmod(0o755)),
    ),
    entries(
        "directory-owners-lost",
        "D17",
        "A commit gives every directory to root.",
        |spot| spot.when(spot.is(DIR), |spot| spot.chown(0, 0)),
    ),
    entries(
        "directory-attributes-lost",
        "D17",
        "A commit forgets the extended attributes of directories.",
        |spot| {
            spot.when(spot.is(DIR), |spot| {
                spot.lose_xattrs(|name, _| name.starts_with(b"user."))
            })
        },
    ),
    entries(
        "copied-ranges-wrong",
        "D25",
        "A commit changes the last byte of files.",
        |spot| spot.when(spot.is(FILE), Spot::spoil_content),
    ),
    // E. Hard links.
    entries(
        "write-under-one-name",
        "E01",
        "A commit makes a file of its own of every hard link.",
        |spot| spot.when(spot.is_linked(), Spot::split),
    )
    .of_whole_trees(),
    entries(
        "link-count-wrong",
        "E02",
        "A commit makes a file of its own of every hard link.",
        |spot| spot.when(spot.is_linked(), Spot::split),
    )
    .of_whole_trees(),
    trees(
        "new-links-lost",
        "E03",
        "A commit forgets new names of files.",
        |trees| each(&trees.added()?, |path| lose_if(trees, path, FILE)),
    ),
    entries(
        "linked-symlinks-split",
        "E04",
        "A commit makes a symbolic link of its own of every name of one.",
        |spot| {
            spot.when(spot.is(LINK) && spot.stat.nlink > 1, |spot| {
                spot.retarget(<[u8]>::to_vec)
            })
        },
    ),
    trees(
        "last-name-loses-data",
        "E05",
        "A file that got a new name and lost its old one is empty.",
        |trees| {
            let removed = trees.removed()?;
            each(&trees.added()?, |path| {
                let is_linked = removed.iter().any(|gone| gone.parent() == path.parent());
                match is_linked && is(trees.now(path), FILE) {
                    true => trees.set_size(path, 0),
                    false => Ok(()),
                }
            })
        },
    ),
    entries(
        "links-split",
        "E07",
        "A commit makes a file of its own of every hard link.",
        |spot| spot.when(spot.is_linked(), Spot::split),
    ),
    // F. Rename.
    trees(
        "renamed-file-keeps-its-name",
        "F01",
        "A commit leaves the old name of a file that was renamed.",
        |trees| each(&trees.removed()?, |path| put_back_if(trees, path, FILE)),
    ),
    trees(
        "rename-over-lost",
        "F02",
        "A commit takes the old content of a file that another was renamed over.",
        |trees| each(&trees.changed(FILE, FILE)?, |path| trees.put_back(path)),
    ),
    trees(
        "renamed-directory-keeps-its-name",
        "F03",
        "A commit leaves the old name of a directory that was renamed.",
        |trees| each(&trees.removed()?, |path| put_back_if(trees, path, DIR)),
    )
    .of_whole_trees(),
    trees(
        "new-directories-lose-content",
        "F04",
        "A commit forgets what new directories have in them.",
        |trees| each(&trees.added()?, |path| lose_if(trees, path, FILE)),
    ),
    trees(
        "chain-of-renames-lost",
        "F05",
        "A commit takes the old content of files that were renamed over one another.",
        |trees| each(&trees.changed(FILE, FILE)?, |path| trees.put_back(path)),
    ),
    trees(
        "exchange-lost",
        "F06",
        "A commit takes the old content of files that swapped names.",
        |trees| each(&trees.changed(FILE, FILE)?, |path| trees.put_back(path)),
    ),
    trees(
        "redirects-lost",
        "F08",
        "A commit forgets directories under new names.",
        |trees| each(&trees.added()?, |path| lose_if(trees, path, DIR)),
    )
    .of_whole_trees(),
    // G. unlink and rmdir.
    trees(
        "emptied-directory-stays",
        "G01",
        "A commit leaves an empty directory where one was removed.",
        |trees| {
            each(&trees.removed()?, |path| {
                match is(trees.before(path), DIR) {
                    true => trees.make_dir(path),
                    false => Ok(()),
                }
            })
        },
    ),
    trees(
        "removed-trees-stay",
        "G02",
        "A commit forgets that trees were removed.",
        |trees| each(&trees.removed()?, |path| trees.put_back(path)),
    ),
    trees(
        "open-files-stay",
        "G03",
        "A commit forgets that a file was removed that was open.",
        |trees| each(&trees.old()?, |path| put_back_if(trees, path, FILE)),
    ),
    trees(
        "first-of-a-storm-stays",
        "G04",
        "A commit takes the old content of a file that was made again many times.",
        |trees| each(&trees.changed(FILE, FILE)?, |path| trees.put_back(path)),
    ),
    entries(
        "removed-long-names-stay",
        "G07",
        "A commit cannot remove names of more than 250 bytes.",
        |spot| {
            let is_long = spot.bytes().len() > 250;
            spot.when(is_long, |spot| match spot.stat.is_whiteout() {
                true => spot.remove(),
                false => spot.cut(0),
            })
        },
    ),
    // I. What was done through descriptors.
    trees(
        "nameless-files-lost",
        "I11",
        "A commit forgets files that were made without a name.",
        |trees| each(&trees.added()?, |path| lose_if(trees, path, FILE)),
    ),
    entries(
        "socket-owners-lost",
        "I13",
        "A commit gives sockets to root.",
        |spot| spot.when(spot.is(FileKind::Socket), |spot| spot.chown(0, 0)),
    ),
    // K. Extended attributes.
    entries(
        "stray-attribute",
        "K01",
        "A commit leaves an attribute of its own on every file.",
        |spot| spot.when(spot.is(FILE), |spot| spot.set_xattr("trusted.stray", b"1")),
    ),
    entries(
        "lookalike-attributes-lost",
        "K02",
        "A commit forgets attributes whose names begin like overlayfs's own.",
        |spot| {
            spot.lose_xattrs(|name, _| {
                name.starts_with(b"trusted.overlay") && !name.starts_with(b"trusted.overlay.")
            })
        },
    ),
    entries(
        "nested-attributes-lost",
        "K03",
        "A commit forgets attributes in overlayfs's own name space.",
        |spot| {
            spot.lose_xattrs(|name, _| {
                name.starts_with(b"trusted.overlay.overlay.") || name == b"trusted.overlay.note"
            })
        },
    ),
    entries(
        "user-lookalikes-lost",
        "K04",
        "A commit forgets user attributes whose names begin like overlayfs's own.",
        |spot| spot.lose_xattrs(|name, _| name.starts_with(b"user.overlay")),
    ),
    // What was done while something else went on.
    trees(
        "slash-made-directories-lost",
        "A10",
        "A commit forgets directories that were made under a name with a slash.",
        |trees| each(&trees.added()?, |path| lose_if(trees, path, DIR)),
    ),
    trees(
        "added-while-read-lost",
        "A13",
        "A commit forgets files that were made while their directory was read.",
        |trees| each(&trees.added()?, |path| lose_if(trees, path, FILE)),
    ),
    trees(
        "removed-while-read-stay",
        "A14",
        "A commit forgets removals from a directory that was being read.",
        |trees| each(&trees.removed()?, |path| trees.put_back(path)),
    ),
    trees(
        "made-by-relative-name-lost",
        "A18",
        "A commit forgets files that were made in the working directory.",
        |trees| each(&trees.added()?, |path| lose_if(trees, path, FILE)),
    ),
    trees(
        "made-after-a-lookup-lost",
        "A19",
        "A commit forgets files with names that were missing when they were looked up.",
        |trees| each(&trees.added()?, |path| lose_if(trees, path, FILE)),
    ),
    entries(
        "inherited-acl-lost",
        "B11",
        "A commit forgets ACLs that a directory gave.",
        |spot| spot.lose_xattrs(|name, _| name == ACCESS_ACL),
    ),
    entries(
        "access-times-lost",
        "D04",
        "A commit sets every access time to 1970.",
        |spot| spot.set_atime(Time::default()),
    ),
    trees(
        "allocated-size-lost",
        "D14",
        "A commit gives files that grew by allocation their old size.",
        |trees| {
            each(&trees.changed(FILE, FILE)?, |path| {
                trees.set_size_of_parent(path, |now, before| now > before)
            })
        },
    ),
    trees(
        "appends-at-once-lost",
        "D18",
        "A commit forgets what several threads appended to a file.",
        |trees| {
            each(&trees.changed(FILE, FILE)?, |path| {
                trees.set_size_of_parent(path, |now, before| now > before)
            })
        },
    ),
    trees(
        "moved-and-removed-comes-back",
        "F09",
        "A commit brings back a file that was moved and then removed.",
        |trees| each(&trees.removed()?, |path| put_back_if(trees, path, FILE)),
    ),
    trees(
        "replaced-many-times-is-old",
        "F10",
        "A commit takes the first content of a file that others were renamed over.",
        |trees| each(&trees.changed(FILE, FILE)?, |path| trees.put_back(path)),
    ),
    trees(
        "mv-leaves-the-source",
        "F12",
        "A commit leaves a directory that mv(1) moved under its old name as well.",
        |trees| each(&trees.removed()?, |path| put_back_if(trees, path, DIR)),
    ),
    trees(
        "refused-removal-loses",
        "G05",
        "A commit forgets files of a directory whose removal was refused.",
        |trees| each(&trees.added()?, |path| lose_if(trees, path, FILE)),
    ),
    entries(
        "attributes-of-users-lost",
        "K06",
        "A commit forgets the attributes that users set.",
        |spot| spot.lose_xattrs(|name, _| name.starts_with(b"user.")),
    ),
    // M. Life of a snapshot.
    created(
        "root-directory-open",
        "M01",
        "A new snapshot can be written by everybody.",
        |top| {
            Ok(cowlab_sys::at::chmod(
                cowlab_sys::dir::open(top)?,
                ".",
                0o777,
            )?)
        },
    ),
    created(
        "root-directory-foreign",
        "M01",
        "A new snapshot belongs to user 1.",
        |top| {
            Ok(cowlab_sys::at::chown(
                cowlab_sys::dir::open(top)?,
                "",
                1,
                1,
            )?)
        },
    ),
];

const fn entries(
    id: &'static str,
    check: &'static str,
    what: &'static str,
    fault: EntryFault,
) -> Fault {
    Fault::new(id, check, what, Plant::Driver(DriverFault::Entries(fault)))
}

const fn trees(
    id: &'static str,
    check: &'static str,
    what: &'static str,
    fault: TreeFault,
) -> Fault {
    Fault::new(id, check, what, Plant::Driver(DriverFault::Tree(fault)))
}

const fn created(
    id: &'static str,
    check: &'static str,
    what: &'static str,
    fault: fn(&Path) -> Result<()>,
) -> Fault {
    Fault::new(id, check, what, Plant::Driver(DriverFault::Created(fault)))
}

fn each(paths: &[std::path::PathBuf], mut work: impl FnMut(&Path) -> Result<()>) -> Result<()> {
    paths.iter().try_for_each(|path| work(path))
}

fn is(stat: Option<cowlab_sys::Stat>, kind: FileKind) -> bool {
    stat.is_some_and(|stat| stat.kind() == kind)
}

/// Whether the tree has the parent's entry: with the same time of its last change of content.
fn is_as_before(trees: &Trees<'_>, path: &Path) -> bool {
    match (trees.before(path), trees.now(path)) {
        (Some(before), Some(now)) => {
            let key = |stat: &cowlab_sys::Stat| {
                (
                    stat.mode, stat.uid, stat.gid, stat.size, stat.mtime, stat.nlink,
                )
            };
            key(&before) == key(&now)
        }
        _ => false,
    }
}

fn lose_if(trees: &Trees<'_>, path: &Path, kind: FileKind) -> Result<()> {
    match is(trees.now(path), kind) {
        true => trees.lose(path),
        false => Ok(()),
    }
}

/// Puts back what was removed from directories that are there.
fn bring_back_removed(trees: &Trees<'_>) -> Result<()> {
    each(&trees.removed()?, |path| {
        match path.parent().and_then(|dir| trees.now(dir)) {
            Some(_) => trees.put_back(path),
            None => Ok(()),
        }
    })
}

fn put_back_if(trees: &Trees<'_>, path: &Path, kind: FileKind) -> Result<()> {
    match is(trees.before(path), kind) {
        true => trees.put_back(path),
        false => Ok(()),
    }
}
