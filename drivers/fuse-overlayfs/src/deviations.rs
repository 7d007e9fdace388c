//! Where fuse-overlayfs is known to differ from a plain directory.
//!
//! Seen with version 1.10, Debian 12's, by the program alone as well. The case runs and must show exactly what is written here. A
//! case stops at the first difference, so one that the times of directories spoil proves nothing about what comes later in it.

use cowlab_driver::{Deviation, Impact, Scope, projects};

const LATE_TIMES: &str = "a copy-up makes the copy in the upper directory, which changes that one's modification time, and a copied symbolic link gets no time; overlayfs puts both right, the program does not";
const NO_HOLES: &str =
    "the program does not answer lseek(2) with SEEK_DATA, so a file seems to be without holes";
const NO_SETGID: &str =
    "directories are made by mkdir(2), which sets no setgid bit, and get the group of the caller";
const SPECIAL: &str = "the copy of a FIFO, a socket or a device is a regular file";
const PARTED: &str = "copy-up copies one name of a file; its other names go on showing the lower file, as with overlayfs without its index";
const SEEN_NAMES: &str = "the program counts the names of a file that it was asked for";
const SHORT_NAMES: &str = "four bytes of a name are kept free for the prefix `.wh.`";
const LONGEST: &str = "/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\
nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\
nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn: write: expected ok, got ENAMETOOLONG";
const NO_REDIRECT: &str = "a directory of a lower layer is not renamed; there are no redirects";
const NO_ZERO: &str =
    "a character device 0:0 is a whiteout, so the program hides one that somebody makes";
const OWN_XATTRS: &str =
    "the program hides the names that it and overlayfs record whiteouts and origins with";

/// A difference that comes from the program.
const fn program(
    case: &'static str,
    observed: &'static str,
    because: &'static str,
    impact: Impact,
) -> Deviation {
    Deviation {
        case,
        scope: Scope::EVERYWHERE,
        observed,
        because,
        impact,
        see: &["fuse-overlayfs 1.10, main.c"],
    }
}

/// A case in which something is copied up, and nothing else differs before a time does.
const fn time(case: &'static str, observed: &'static str) -> Deviation {
    program(case, observed, LATE_TIMES, Impact::Cosmetic)
}

/// The declared deviations.
pub(crate) const DEVIATIONS: &[Deviation] = &[
    projects::NO_LIMIT,
    projects::NO_LIMIT_OF_A_RUN,
    time(
        "build/history-has-a-row-for-each-instruction",
        "cowlab \"$COWLAB\" image inspect -f '{{json .RootFS.Layers}}' made | grep -o sha256: | wc -l: output: expected 3, got 4",
    ),
    program(
        "copy-up/holes-can-be-punched",
        "/punch: data ranges: expected 0+65536 196608+851968, got 0+1048576",
        NO_HOLES,
        Impact::Performance,
    ),
    program(
        "copy-up/holes-stay-holes",
        "/image: data ranges: expected 33554432+4096, got 0+67108864",
        NO_HOLES,
        Impact::Performance,
    ),
    program(
        "copy-up/immutable-file-is-refused",
        "/f: set the immutable attribute: expected ok, got ENOTTY",
        "the program answers no ioctl(2) but those of the file's version",
        Impact::AppVisible,
    ),
    program(
        "copy-up/nameless-file-gets-a-name",
        "/d/new: link of an unnamed file: expected ok, got EOPNOTSUPP",
        "the program does not answer the request to make a file without a name",
        Impact::AppVisible,
    ),
    program(
        "copy-up/setuid-setgid-and-sticky-survive",
        "/group: mode: expected 2775, got 0775",
        NO_SETGID,
        Impact::Isolation,
    ),
    program(
        "copy-up/special-files-can-be-changed",
        "/fifo: chmod: expected ok, got EIO",
        SPECIAL,
        Impact::DataLoss,
    ),
    program(
        "copy-up/truncate-shorter-longer-and-to-nothing",
        "/grow: data ranges: expected 0+12288, got 0+20000",
        NO_HOLES,
        Impact::Performance,
    ),
    program(
        "descriptor/reader-sees-later-write",
        "reader: content: expected oldnew, got old",
        "a descriptor opened before the copy-up goes on showing the file of the lower layer, as with overlayfs",
        Impact::AppVisible,
    ),
    program(
        "diff/applied-again-gives-the-same-tree",
        LONGEST,
        SHORT_NAMES,
        Impact::DataLoss,
    ),
    program(
        "diff/file-that-lost-its-newest-name",
        "child: changes: expected Modified /a/content\nModified /a/mode, got Modified /\nModified /a\nModified /a/content\nModified /a/mode",
        LATE_TIMES,
        Impact::Cosmetic,
    ),
    time(
        "diff/changes-at-every-depth",
        "all: changes: expected Modified /1/2/3/4/5/6/7/8/9/10/f\nModified /1/2/3/4/5/6/7/8/9/f\nModified /1/2/3/4/5/6/7/8/f\nModified /1/2/3/4/5/6/7/f\nModified /1/2/3/4/5/6/f\nModified /1/2/3/4/5/f\nModified /1/2/3/4/f\nModified /1/2/3/f\nModified /1/2/f\nModified /1/f, got Modified /\nModified /1\nModified /1/2\nModified /1/2/3\nModified /1/2/3/4\nModified /1/2/3/4/5\nModified /1/2/3/4/5/6\nModified /1/2/3/4/5/6/7\nModified /1/2/3/4/5/6/7/8\nModified /1/2/3/4/5/6/7/8/9\nModified /1/2/3/4/5/6/7/8/9/10\nModified /1/2/3/4/5/6/7/8/9/10/f\nModified /1/2/3/4/5/6/7/8/9/f\nModified /1/2/3/4/5/6/7/8/f\nModified /1/2/3/4/5/6/7/f\nModified /1/2/3/4/5/6/f\nModified /1/2/3/4/5/f\nModified /1/2/3/4/f\nModified /1/2/3/f\nModified /1/2/f\nModified /1/f",
    ),
    program(
        "diff/metadata-alone",
        "mode: changes: expected Modified /mode, got Modified /\nModified /mode",
        LATE_TIMES,
        Impact::Cosmetic,
    ),
    program(
        "diff/nothing-changed",
        "back: changes: expected , got Modified /",
        LATE_TIMES,
        Impact::Cosmetic,
    ),
    program(
        "diff/same-tree-same-bytes",
        LONGEST,
        SHORT_NAMES,
        Impact::DataLoss,
    ),
    program(
        "diff/types-without-an-entry-hide-what-they-replaced",
        "unexpected error: mknodat `device`: no such file or directory",
        NO_ZERO,
        Impact::AppVisible,
    ),
    program(
        "diff/unchanged-files-are-not-read",
        "not mounted: changes: expected Modified /mapped\nModified /same-size\nModified /small, got Modified /\nModified /mapped\nModified /same-size\nModified /small",
        LATE_TIMES,
        Impact::Cosmetic,
    ),
    program(
        "inode/id-mapped-mount-shifts-owners",
        "/: id-mapped mount: expected made, got EINVAL",
        "a FUSE file system is mounted with an id map only if its program asks for it (FUSE_ALLOW_IDMAP), and this one does not",
        Impact::AppVisible,
    ),
    program(
        "inode/number-survives-copy-up",
        "/p: chmod: expected ok, got EIO",
        SPECIAL,
        Impact::DataLoss,
    ),
    program(
        "inode/listing-of-many-entries-shows-the-same-numbers-as-stat",
        "/: listed numbers are those of stat: expected true, got false",
        "stat has the number of the lowest layer's file and a listing that of the uppermost one's; only the first entries of a listing are asked for both",
        Impact::AppVisible,
    ),
    program(
        "layer/long-names-can-be-removed",
        "/: remove a name of 252 bytes: expected ok, got ECONNABORTED",
        "the program has no room for the whiteout `.wh.` of the name and dies, and the mount with it until it is unmounted",
        Impact::DataLoss,
    ),
    program(
        "link/count-is-the-number-of-names",
        "/a: mode: expected 0600, got 0644",
        PARTED,
        Impact::AppVisible,
    ),
    program(
        "link/new-group-survives-commit",
        "/a: link count: expected 3, got 1",
        SEEN_NAMES,
        Impact::AppVisible,
    ),
    program(
        "link/new-name-for-a-file-of-the-parent",
        "/a: size: expected 6, got 3",
        PARTED,
        Impact::AppVisible,
    ),
    program(
        "link/permission-change-shows-under-every-name",
        "/a: mode: expected 0600, got 0666",
        PARTED,
        Impact::Isolation,
    ),
    program(
        "link/untouched-group-stays-one-file",
        "/a: link count: expected 2, got 1",
        SEEN_NAMES,
        Impact::AppVisible,
    ),
    program(
        "link/write-shows-under-every-name",
        "/a: size: expected 6, got 3",
        PARTED,
        Impact::AppVisible,
    ),
    program(
        "lookup/longest-name",
        LONGEST,
        SHORT_NAMES,
        Impact::DataLoss,
    ),
    program(
        "mount/statfs-is-the-backings",
        "/: longest name: expected 255, got 251",
        SHORT_NAMES,
        Impact::AppVisible,
    ),
    program(
        "rename/directory-of-the-parent",
        "/d: rename to /e: expected ok, got EXDEV",
        NO_REDIRECT,
        Impact::AppVisible,
    ),
    time(
        "rename/merged-directory",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "rename/new-directory-across-directories",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    program(
        "rename/mv-moves-a-directory",
        "/d/p: owner: expected 0:6, got 0:0",
        NO_SETGID,
        Impact::Isolation,
    ),
    time(
        "copy-up/access-time-is-kept",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "copy-up/many-at-once",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    program(
        "copy-up/space-can-be-allocated",
        "/grown: data ranges: expected 0+12288, got 0+20000",
        NO_HOLES,
        Impact::Performance,
    ),
    time(
        "lookup/slash-at-the-end",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "lookup/read-while-entries-are-added",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "lookup/missing-name-is-seen-once-made",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "removal/refused-for-the-working-directory",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "xattr/too-large-is-refused",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "whiteout/file-in-place-takes-over-the-default-acl",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    program(
        "rename/empty-directory-of-the-parent",
        "/d: rename to /e: expected ok, got EXDEV",
        NO_REDIRECT,
        Impact::AppVisible,
    ),
    program(
        "rename/exchange-directories",
        "/a: rename to /b: expected ok, got EXDEV",
        NO_REDIRECT,
        Impact::AppVisible,
    ),
    program(
        "rename/new-directory-over-an-empty-one-of-the-parent",
        "/new: rename to /d: expected ok, got ENOENT",
        "a new directory is opaque, and the program does not find the one it replaces in the upper directory",
        Impact::AppVisible,
    ),
    program(
        "rename/special-files-and-symlinks",
        "/c2: type: expected character device, got file",
        SPECIAL,
        Impact::DataLoss,
    ),
    program(
        "runtime/mounts-carry-every-attribute",
        "view: mount: expected ro: /null opens, got noatime,ro: /null opens",
        "the program adds `noatime` where it makes the mount itself",
        Impact::Cosmetic,
    ),
    program(
        "whiteout/device-zero-can-be-made",
        "/d/zero: mknod: expected ok, got ENOENT",
        NO_ZERO,
        Impact::AppVisible,
    ),
    program(
        "whiteout/dotted-wh-name-is-an-ordinary-name",
        "/.wh.target: write: expected ok, got EINVAL",
        "a file `.wh.NAME` stands for the deletion of NAME, so the program lets nobody make one",
        Impact::AppVisible,
    ),
    program(
        "whiteout/every-type-can-be-removed",
        "/socket: remove: expected ok, got ENXIO",
        "a removal opens the file in the lower layer, which a socket refuses",
        Impact::AppVisible,
    ),
    program(
        "whiteout/new-directory-in-place-inherits-the-group",
        "/d/sub: owner: expected 0:55, got 0:0",
        NO_SETGID,
        Impact::AppVisible,
    ),
    program(
        "whiteout/rename-whiteout-by-the-user",
        "/d/f: remove: expected ok, got ENOENT",
        NO_ZERO,
        Impact::Cosmetic,
    ),
    program(
        "xattr/names-like-overlay-are-ordinary",
        "/f: user.overlay.foo: expected 2, got none",
        OWN_XATTRS,
        Impact::AppVisible,
    ),
    program(
        "xattr/on-symlinks-directories-and-special-files",
        "/s: set trusted.s: expected ok, got ENOENT",
        "attributes are set by the path `/proc/self/fd/N`, which is followed to what the symbolic link names",
        Impact::AppVisible,
    ),
    program(
        "xattr/overlays-own-name-space-can-be-nested",
        "/f: set trusted.overlay.foo: expected ok, got EPERM",
        OWN_XATTRS,
        Impact::AppVisible,
    ),
    program(
        "runtime/an-adapter-prepares-writes-commits-and-views",
        "cowlab snapshot --json view nothing: exit status: expected 0, got 2: {\"causes\":[],\"code\":2,\"key\":\"nothing\",\"kind\":\"invalid-argument\",\"message\":\"mount `nothing`: driver `fuse-overlayfs` does not support mounts by others of a root whose path has a colon, a comma or a backslash: rename the directory\",\"remedy\":\"rename the directory\"}",
        "the program takes layers apart at colons, and knows no escape",
        Impact::AppVisible,
    ),
    time(
        "copy-up/acl-is-kept",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "copy-up/append-changes-only-the-child",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "copy-up/capability-survives-metadata-change",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "copy-up/chmod-keeps-everything-else",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "copy-up/deep-parents-keep-owner-and-mode",
        "/a: modification time: expected 1000000000.000000001, got during layer 2",
    ),
    time(
        "copy-up/large-xattr-is-kept",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "copy-up/one-byte-in-a-large-file",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "copy-up/open-flags-on-a-file-of-the-parent",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "copy-up/open-for-writing-changes-nothing",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "copy-up/owner-change-keeps-the-rest",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "copy-up/parent-directory-keeps-its-time",
        "/d: modification time: expected 1000000002.000000006, got during layer 2",
    ),
    time(
        "copy-up/symlink-keeps-target-and-time",
        "/s: modification time: expected 1000000000.000000077, got during layer 2",
    ),
    time(
        "copy-up/times-to-the-nanosecond",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "copy-up/write-clears-setuid",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "descriptor/direct-io-on-a-file-of-the-parent",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "descriptor/flock-conflicts-across-copy-up",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "descriptor/fsync-of-files-of-every-layer",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "descriptor/mapping-sees-later-write",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "descriptor/mode-change-through-a-reader",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "descriptor/record-lock-conflicts-across-copy-up",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "descriptor/truncate-and-chmod-through-a-writer",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "inode/link-count-of-a-directory",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "inode/listing-shows-the-same-numbers-as-stat",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "inode/no-two-files-alike",
        "/: modification time: expected as before, got another",
    ),
    time(
        "inode/one-device-number",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "link/last-name-keeps-the-data",
        "/: modification time: expected during layer 2, got during layer 3",
    ),
    time(
        "link/symlink-itself-gets-a-name",
        "/s: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "lookup/empty-directories-stay",
        "/a/b: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "lookup/longest-symlink",
        "/s: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "lookup/odd-names",
        "/not \\xff\\xfe utf-8: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "lookup/symlinks-lead-across-layers",
        "/: modification time: expected during layer 2, got during the steps",
    ),
    time(
        "lookup/three-layers-merge-in-order",
        "/d: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "mount/root-directory-has-its-attributes",
        "/: modification time: expected 1000000000.000000007, got during layer 2",
    ),
    time(
        "opaque/additions-above-are-merged",
        "/: modification time: expected during layer 2, got during layer 3",
    ),
    time(
        "opaque/mark-is-not-copied-up",
        "/: modification time: expected during layer 2, got during layer 3",
    ),
    time(
        "permission/access-is-checked-with-the-callers-rights",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "permission/group-write-in-a-shared-directory",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "permission/owner-may-change-group-and-mode",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "permission/trusted-xattr-needs-privilege",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "removal/directory-is-empty-only-when-every-layer-says-so",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "removal/of-a-file-another-name-has",
        "/: modification time: expected during layer 2, got during the steps",
    ),
    time(
        "removal/tree-of-two-layers",
        "/t: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "rename/across-directories-keeps-everything",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "rename/sticky-directory",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "seed/02-the-upper-layer-wins",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "whiteout/directory-of-whiteouts-can-be-removed",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "whiteout/file-in-place-has-the-callers-owner",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "whiteout/hides-only-its-own-name",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "descriptor/direct-io-reads-and-writes",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "descriptor/flush-of-data-alone-and-of-the-file-system",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "descriptor/program-that-runs-is-busy",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "descriptor/sendfile-and-splice-across-a-copy-up",
        "/: modification time: expected as before, got another",
    ),
    time(
        "descriptor/shared-mapping-writes-the-file",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "descriptor/socket-of-a-directory-of-the-parent-answers",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "descriptor/watch-on-a-directory-sees-names",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "descriptor/watch-sees-a-later-write",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "xattr/create-and-replace-flags",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "lookup/rewound-listing-shows-new-names",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "lookup/dots-have-the-numbers-of-stat",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "lookup/listing-has-types",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    time(
        "lookup/names-that-differ-in-case",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    program(
        "copy-up/default-acl-takes-the-place-of-the-umask",
        "/d/new: mode: expected 0666, got 0644",
        "the kernel subtracts the umask before it asks the program, as of any FUSE file system that does not ask it not to",
        Impact::AppVisible,
    ),
    program(
        "copy-up/allocated-blocks-show",
        "/f: data ranges: expected 0+4096, got 0+1048576",
        "a copy-up writes what is allocated and not written as zeros",
        Impact::Performance,
    ),
    program(
        "descriptor/reader-sees-a-change-in-place",
        "reader: content: expected new!, got old!",
        "a descriptor opened before the copy-up goes on showing the file of the lower layer, as with overlayfs",
        Impact::AppVisible,
    ),
    time(
        "inode/birth-time-survives-a-change",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "inode/files-have-handles",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "permission/security-label-survives-a-change",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    program(
        "mount/overlay-with-its-upper-inside",
        "/upper: mount an overlay and write: expected old, then new, got EINVAL",
        "overlayfs takes no upper layer on FUSE without the attributes it needs",
        Impact::AppVisible,
    ),
    program(
        "mount/type-of-the-file-system",
        "/: type of the file system: expected 0xef53, got 0x65735546",
        "statfs shows the type of FUSE",
        Impact::Cosmetic,
    ),
    time(
        "xattr/many-on-one-file",
        "/: modification time: expected during layer 1, got during the steps",
    ),
    time(
        "xattr/set-change-remove-in-layers",
        "/: modification time: expected during layer 1, got during layer 2",
    ),
    program(
        "hostile/directories-inside-one-another",
        "unexpected error: openat2 `d`: file name too long",
        "the program keeps the path of every file from the root of its layer, which is limited to 4,096 bytes",
        Impact::AppVisible,
    ),
];
