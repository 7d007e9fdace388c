//! Where overlay2 is known to differ from a plain directory.
//!
//! Seen on Linux 6.18. The case runs and must show exactly what is written here.

use cowlab_driver::{Deviation, Impact, Scope, projects};

/// Without the index, names of one file part at copy-up.
const WITHOUT_INDEX: Scope = Scope {
    except_variants: &["index"],
    ..Scope::EVERYWHERE
};

/// The index keeps names of one file together as long as the snapshot is active; it dies with the work directory.
const WITH_INDEX: Scope = Scope {
    variants: &["index"],
    ..Scope::EVERYWHERE
};

/// Directories of lower layers are renamed only where `redirect_dir` is on.
const WITHOUT_REDIRECT: Scope = Scope {
    except_variants: &["redirect_dir", "metacopy", "as-podman"],
    ..Scope::EVERYWHERE
};

/// Where copy-up copies the data of a file, rather than sharing it or leaving it below.
const WITH_COPIED_DATA: Scope = Scope {
    except_variants: &["metacopy", "as-podman"],
    backings: &["ext4", "tmpfs", "xfs-noreflink"],
    ..Scope::EVERYWHERE
};

/// Where overlayfs keeps its notes in `user.` xattrs.
const WITH_USER_XATTRS: Scope = Scope {
    variants: &["userxattr"],
    ..Scope::EVERYWHERE
};

/// As podman mounts its layers.
const AS_PODMAN: Scope = Scope {
    variants: &["as-podman"],
    ..Scope::EVERYWHERE
};

/// btrfs gives every directory a link count of 1, so that there is nothing to differ.
const WITH_COUNTED_SUBDIRECTORIES: Scope = Scope {
    backings: &["ext4", "tmpfs", "xfs", "xfs-noreflink", "zfs"],
    ..Scope::EVERYWHERE
};

const ON_ZFS: Scope = Scope {
    backings: &["zfs"],
    ..Scope::EVERYWHERE
};

const ON_XFS: Scope = Scope {
    backings: &["xfs", "xfs-noreflink"],
    ..Scope::EVERYWHERE
};

const BROKEN_GROUP: &str =
    "copy-up copies one name of a file; its other names go on showing the lower file";
const INDEX_GONE: &str =
    "the index that joins the names of a file is in the work directory and goes with the commit";
const NON_STANDARD: &[&str] = &[
    "overlayfs.rst, Non-standard behavior",
    "overlayfs.rst, index",
];
const INDEX: &[&str] = &[
    "overlayfs.rst, index",
    "overlayfs.rst, Sharing and copying layers",
];

/// Every declared deviation; the conformance suite checks each of them.
pub(crate) const DEVIATIONS: &[Deviation] = &[
    Deviation {
        case: "copy-up/capability-survives-metadata-change",
        scope: ON_ZFS,
        observed: "/dropped: security.capability: expected \\x01\\x00\\x00\\x02\\x00 \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00, got none",
        because: "a write drops the capability through overlayfs, as it should; a plain directory on ZFS keeps it",
        impact: Impact::Cosmetic,
        see: &["openzfs module/zfs/zfs_vnops.c, zfs_clear_setid_bits_if_necessary"],
    },
    Deviation {
        case: "copy-up/immutable-file-is-refused",
        scope: ON_ZFS,
        observed: "/f: set the immutable attribute: expected ok, got ENOTTY",
        because: "overlayfs asks the file system below by the inode operation `fileattr_set`, and ZFS has the ioctl only",
        impact: Impact::AppVisible,
        see: &[
            "fs/overlayfs/inode.c, ovl_fileattr_set",
            "openzfs module/os/linux/zfs/zpl_file.c, zpl_ioctl_setflags",
        ],
    },
    Deviation {
        case: "whiteout/device-zero-can-be-made",
        scope: Scope::EVERYWHERE,
        observed: "/d/zero: mknod: expected ok, got EPERM",
        because: "a character device 0:0 is a whiteout, and making one by hand is refused",
        impact: Impact::AppVisible,
        see: &[
            "overlayfs.rst, whiteouts and opaque directories",
            "fs/overlayfs/dir.c, ovl_mknod",
        ],
    },
    Deviation {
        case: "whiteout/rename-whiteout-by-the-user",
        scope: Scope::EVERYWHERE,
        observed: "/d/f: rename to /d/g: expected ok, got EINVAL",
        because: "overlayfs knows the flags RENAME_NOREPLACE and RENAME_EXCHANGE only",
        impact: Impact::Cosmetic,
        see: &[
            "fs/overlayfs/dir.c, ovl_rename",
            "rename(2), RENAME_WHITEOUT",
        ],
    },
    Deviation {
        case: "copy-up/holes-stay-holes",
        scope: WITH_COPIED_DATA,
        observed: "/image: data ranges: expected 33554432+4096, got 33554432+1048576",
        because: "data is copied in pieces of 1 MiB, and a piece with any data in it is copied whole",
        impact: Impact::Performance,
        see: &["fs/overlayfs/copy_up.c, OVL_COPY_UP_CHUNK_SIZE"],
    },
    Deviation {
        case: "link/write-shows-under-every-name",
        scope: WITHOUT_INDEX,
        observed: "/a: names: expected /a /b, got /a",
        because: BROKEN_GROUP,
        impact: Impact::AppVisible,
        see: NON_STANDARD,
    },
    Deviation {
        case: "link/write-shows-under-every-name",
        scope: WITH_INDEX,
        observed: "/a: names: expected /a /b, got /a",
        because: INDEX_GONE,
        impact: Impact::AppVisible,
        see: INDEX,
    },
    Deviation {
        case: "link/count-is-the-number-of-names",
        scope: Scope::EVERYWHERE,
        observed: "/a: mode: expected 0600, got 0644",
        because: "copy-up copies one name of a file, at the latest the commit forgets the others",
        impact: Impact::AppVisible,
        see: NON_STANDARD,
    },
    Deviation {
        case: "link/symlink-itself-gets-a-name",
        scope: WITH_USER_XATTRS,
        observed: "/s: names: expected /s /t, got /s",
        because: "a symbolic link has no `user.` xattrs, so its copy does not note which file of the parent it is",
        impact: Impact::Cosmetic,
        see: &[
            "xattr(7), extended user attributes",
            "overlayfs.rst, Inode properties",
        ],
    },
    Deviation {
        case: "link/new-name-for-a-file-of-the-parent",
        scope: WITHOUT_INDEX,
        observed: "/a: content: expected oldnew, got old",
        because: "after a commit the two names are a file of the upper layer and one of the layer below",
        impact: Impact::AppVisible,
        see: NON_STANDARD,
    },
    Deviation {
        case: "link/new-name-for-a-file-of-the-parent",
        scope: WITH_INDEX,
        observed: "/a: size: expected 6, got 3",
        because: INDEX_GONE,
        impact: Impact::AppVisible,
        see: INDEX,
    },
    Deviation {
        case: "link/permission-change-shows-under-every-name",
        scope: WITHOUT_INDEX,
        observed: "/b: mode: expected 0600, got 0666",
        because: BROKEN_GROUP,
        impact: Impact::Isolation,
        see: NON_STANDARD,
    },
    Deviation {
        case: "link/permission-change-shows-under-every-name",
        scope: WITH_INDEX,
        observed: "/a: names: expected /a /b, got /a",
        because: INDEX_GONE,
        impact: Impact::Isolation,
        see: INDEX,
    },
    Deviation {
        case: "link/replaced-name-leaves-the-group",
        scope: Scope::EVERYWHERE,
        observed: "/a: link count: expected 2, got 3",
        because: "the link count of a lower file is that of its own layer, which knows nothing of names replaced above",
        impact: Impact::Cosmetic,
        see: &["overlayfs.rst, index", "xfstests overlay/034"],
    },
    Deviation {
        case: "removal/of-a-file-another-name-has",
        scope: Scope::EVERYWHERE,
        observed: "/b: link count: expected 1, got 2",
        because: "the link count of a lower file is that of its own layer, which knows nothing of names removed above",
        impact: Impact::Cosmetic,
        see: &["overlayfs.rst, index", "xfstests overlay/034"],
    },
    Deviation {
        case: "rename/directory-of-the-parent",
        scope: WITHOUT_REDIRECT,
        observed: "/d: rename to /e: expected ok, got EXDEV",
        because: "renaming a directory of a lower layer needs redirect_dir, which engines leave off",
        impact: Impact::AppVisible,
        see: &[
            "overlayfs.rst, renaming directories",
            "moby/moby issue 25409",
        ],
    },
    Deviation {
        case: "rename/merged-directory",
        scope: WITHOUT_REDIRECT,
        observed: "/d: rename to /to/e: expected ok, got EXDEV",
        because: "renaming a directory of a lower layer needs redirect_dir, which engines leave off",
        impact: Impact::AppVisible,
        see: &[
            "overlayfs.rst, renaming directories",
            "moby/moby issue 25409",
        ],
    },
    Deviation {
        case: "rename/empty-directory-of-the-parent",
        scope: WITHOUT_REDIRECT,
        observed: "/d: rename to /e: expected ok, got EXDEV",
        because: "renaming a directory of a lower layer, empty or not, needs redirect_dir, which engines leave off",
        impact: Impact::AppVisible,
        see: &[
            "overlayfs.rst, renaming directories",
            "moby/moby issue 25409",
        ],
    },
    Deviation {
        case: "rename/exchange-directories",
        scope: WITHOUT_REDIRECT,
        observed: "/a: rename to /b: expected ok, got EXDEV",
        because: "renaming a directory of a lower layer needs redirect_dir, which engines leave off",
        impact: Impact::AppVisible,
        see: &["overlayfs.rst, renaming directories"],
    },
    Deviation {
        case: "rename/refused-by-posix",
        scope: ON_XFS,
        observed: "/new: rename to /full: expected EEXIST, got ENOTEMPTY",
        because: "overlayfs finds the directory full before xfs is asked; POSIX allows either error",
        impact: Impact::Cosmetic,
        see: &["rename(2), ENOTEMPTY or EEXIST"],
    },
    Deviation {
        case: "inode/link-count-of-a-directory",
        scope: WITH_COUNTED_SUBDIRECTORIES,
        observed: "/d: link count: expected 4, got 1",
        because: "a merged directory would have to be read to count its subdirectories, so the count is 1",
        impact: Impact::Cosmetic,
        see: &["fs/overlayfs/inode.c, ovl_getattr", "pjdfstest rename/24"],
    },
    Deviation {
        case: "descriptor/mapping-sees-later-write",
        scope: Scope::EVERYWHERE,
        observed: "mapping: content: expected new!, got old!",
        because: "a mapping is of the lower file, and copy-up does not move it",
        impact: Impact::AppVisible,
        see: &[
            "overlayfs.rst, Non-standard behavior",
            "xfstests overlay/061",
        ],
    },
    Deviation {
        case: "descriptor/access-time-of-a-file-of-the-parent",
        scope: Scope::EVERYWHERE,
        observed: "/f: access time: expected updated, got as before the read",
        because: "the access time of a lower file is not updated, for that would be a change of the lower layer",
        impact: Impact::Cosmetic,
        see: &["overlayfs.rst, Non-standard behavior"],
    },
    Deviation {
        case: "permission/programs-and-devices-have-effect",
        scope: AS_PODMAN,
        observed: "/zero: open: expected ok, got EACCES",
        because: "podman mounts layers with nodev, and makes the devices of a container elsewhere",
        impact: Impact::AppVisible,
        see: &["containers-storage.conf(5), mountopt"],
    },
    Deviation {
        case: "mount/overlay-with-its-upper-inside",
        scope: Scope::EVERYWHERE,
        observed: "/upper: mount an overlay and write: expected old, then new, got EINVAL",
        because: "an upper layer on overlayfs lacks the attributes that overlayfs needs: engines inside containers keep theirs in a volume",
        impact: Impact::AppVisible,
        see: &[
            "overlayfs.rst, Upper and Lower",
            "fs/overlayfs/super.c, ovl_get_upper",
        ],
    },
    Deviation {
        case: "inode/birth-time-survives-a-change",
        scope: Scope::EVERYWHERE,
        observed: "/f: birth time after changes: expected as before, got another",
        because: "the birth time is that of the copy in the upper layer",
        impact: Impact::Cosmetic,
        see: &["statx(2), stx_btime"],
    },
    Deviation {
        case: "inode/files-have-handles",
        scope: Scope::EVERYWHERE,
        observed: "/f: handle: expected ok, got EOPNOTSUPP",
        because: "handles are given with nfs_export=on alone",
        impact: Impact::AppVisible,
        see: &["overlayfs.rst, NFS export"],
    },
    Deviation {
        case: "mount/type-of-the-file-system",
        scope: Scope {
            backings: &["ext4"],
            ..Scope::EVERYWHERE
        },
        observed: "/: type of the file system: expected 0xef53, got 0x794c7630",
        because: "statfs shows the type of the union, and the numbers of the upper layer",
        impact: Impact::Cosmetic,
        see: &["fs/overlayfs/super.c, ovl_statfs"],
    },
    Deviation {
        case: "mount/type-of-the-file-system",
        scope: Scope {
            backings: &["xfs", "xfs-noreflink"],
            ..Scope::EVERYWHERE
        },
        observed: "/: type of the file system: expected 0x58465342, got 0x794c7630",
        because: "statfs shows the type of the union, and the numbers of the upper layer",
        impact: Impact::Cosmetic,
        see: &["fs/overlayfs/super.c, ovl_statfs"],
    },
    Deviation {
        case: "mount/type-of-the-file-system",
        scope: Scope {
            backings: &["btrfs"],
            ..Scope::EVERYWHERE
        },
        observed: "/: type of the file system: expected 0x9123683e, got 0x794c7630",
        because: "statfs shows the type of the union, and the numbers of the upper layer",
        impact: Impact::Cosmetic,
        see: &["fs/overlayfs/super.c, ovl_statfs"],
    },
    Deviation {
        case: "mount/type-of-the-file-system",
        scope: Scope {
            backings: &["tmpfs"],
            ..Scope::EVERYWHERE
        },
        observed: "/: type of the file system: expected 0x1021994, got 0x794c7630",
        because: "statfs shows the type of the union, and the numbers of the upper layer",
        impact: Impact::Cosmetic,
        see: &["fs/overlayfs/super.c, ovl_statfs"],
    },
    Deviation {
        case: "mount/type-of-the-file-system",
        scope: Scope {
            backings: &["zfs"],
            ..Scope::EVERYWHERE
        },
        observed: "/: type of the file system: expected 0x2fc12fc1, got 0x794c7630",
        because: "statfs shows the type of the union, and the numbers of the upper layer",
        impact: Impact::Cosmetic,
        see: &["fs/overlayfs/super.c, ovl_statfs"],
    },
    projects::NO_LIMIT,
    projects::NO_LIMIT_OF_A_RUN,
    Deviation {
        case: "inode/id-mapped-mount-shifts-owners",
        scope: Scope::EVERYWHERE,
        observed: "/: id-mapped mount: expected made, got EINVAL",
        because: "a union cannot be id-mapped; its layers can, which this driver does not do",
        impact: Impact::AppVisible,
        see: &[
            "mount_setattr(2), EINVAL",
            "overlayfs.rst, Permission model",
        ],
    },
    Deviation {
        case: "inode/fs-verity-holds-in-a-child",
        scope: Scope::EVERYWHERE,
        observed: "/f: fs-verity: expected enabled, got ENOTTY",
        because: "overlayfs hands no ioctl on to the file below, FS_IOC_ENABLE_VERITY neither",
        impact: Impact::AppVisible,
        see: &[
            "Documentation/filesystems/fsverity.rst, FS_IOC_ENABLE_VERITY",
            "fs/overlayfs/file.c",
        ],
    },
];
