//! Faults of the live mount: what a file system tells and does wrong while a snapshot is in use.

use super::driver::DriverFault;
use super::faulty_mount::MountFault;
use super::{Fault, Plant};

/// No fault, planted the same way: a case that fails with it is no witness.
pub(crate) static TRANSPARENT: Fault = of_mount(
    "transparent-mount",
    "",
    "A mount that shows everything as it is.",
    MountFault::None,
);

/// The faults, in the order of the catalogue's checks. Those of whole trees alone are what stacked layers show without a fault, as their
/// drivers declare, or what no case shows behind FUSE over them.
pub(super) const FAULTS: &[Fault] = &[
    of_mount(
        "name-twice",
        "A04",
        "A directory lists its last entry twice.",
        MountFault::ListingHasANameTwice,
    ),
    of_mount(
        "offsets-shift",
        "A14",
        "An offset in a listing counts the entries that are left, so a removal has the reader skip some.",
        MountFault::OffsetsShiftWithRemovals,
    ),
    of_mount(
        "rewind-is-stale",
        "A15",
        "A directory that is read again from its start lists what it had when it was opened.",
        MountFault::RewindShowsTheOldListing,
    ),
    of_mount(
        "dots-numbers",
        "A16",
        "A directory lists `.` and `..` with other inode numbers than stat shows.",
        MountFault::DotsHaveOtherNumbers,
    ),
    of_mount(
        "types-unknown",
        "A17",
        "A directory lists every entry with the type DT_UNKNOWN.",
        MountFault::ListingHasNoTypes,
    ),
    of_mount(
        "types-wrong",
        "A17",
        "A directory lists symbolic links as files.",
        MountFault::ListingHasWrongTypes,
    ),
    of_mount(
        "listing-cut",
        "A21",
        "A directory lists its first thousand entries.",
        MountFault::WideDirectoriesAreCut,
    ),
    of_mount(
        "long-names-unlisted",
        "A22",
        "A directory does not list names of 200 bytes or more.",
        MountFault::LongNamesAreNotListed,
    ),
    of_mount(
        "name-max-wrong",
        "A22",
        "statfs shows a longest name of 64 bytes.",
        MountFault::NamesMayBeShort,
    ),
    of_mount(
        "symlinks-cut",
        "A23",
        "Targets of symbolic links end after 1023 bytes.",
        MountFault::LongSymlinksAreCut,
    ),
    of_mount(
        "odd-names-unlisted",
        "A24",
        "A directory does not list names that are no UTF-8.",
        MountFault::OddNamesAreNotListed,
    ),
    of_mount(
        "case-ignored",
        "A24",
        "Names in upper case lead to those in lower case.",
        MountFault::CaseIsIgnored,
    ),
    of_mount(
        "unlink-does-nothing",
        "B01",
        "unlink succeeds and removes nothing.",
        MountFault::RemovedFilesStay,
    ),
    of_mount(
        "no-device-zero",
        "B08",
        "A character device 0:0 cannot be made.",
        MountFault::NoDeviceZero,
    )
    .of_whole_trees(),
    of_mount(
        "wh-names-reserved",
        "B09",
        "Names that begin with `.wh.` are not found.",
        MountFault::WhiteoutNamesAreReserved,
    ),
    of_mount(
        "directory-not-empty",
        "B10",
        "A directory that was just made has an entry.",
        MountFault::ARemovedDirectoryComesBack,
    ),
    of_mount(
        "owner-is-root",
        "B11",
        "New files belong to root, whoever makes them.",
        MountFault::NewFilesBelongToRoot,
    ),
    of_mount(
        "setgid-ignored",
        "B11",
        "New files in a setgid directory belong to the caller's group.",
        MountFault::NewFilesIgnoreTheGroupOfTheDirectory,
    ),
    of_mount(
        "rename-whiteout-ignored",
        "B18",
        "RENAME_WHITEOUT leaves no whiteout.",
        MountFault::NoWhiteoutIsLeft,
    ),
    of_mount(
        "directory-not-opaque",
        "C03",
        "A directory that was removed and made again has an entry.",
        MountFault::ARemovedDirectoryComesBack,
    ),
    of_mount(
        "chmod-does-nothing",
        "D02",
        "chmod succeeds and changes nothing.",
        MountFault::ModeIsKept,
    ),
    of_mount(
        "chown-does-nothing",
        "D03",
        "chown succeeds and changes nothing.",
        MountFault::OwnerIsKept,
    ),
    of_mount(
        "chmod-sets-time",
        "D04",
        "chmod sets the modification time.",
        MountFault::ModeChangeSetsTheTime,
    ),
    of_mount(
        "atime-not-set",
        "D04",
        "utimensat does not set the access time.",
        MountFault::AccessTimesAreKept,
    ),
    of_mount(
        "mtime-not-set",
        "D04",
        "utimensat does not set the modification time.",
        MountFault::ModificationTimesAreKept,
    ),
    of_mount(
        "times-in-seconds",
        "D04",
        "utimensat sets whole seconds.",
        MountFault::TimesHaveSeconds,
    ),
    of_mount(
        "xattrs-cut",
        "D06",
        "Values of attributes end after 255 bytes.",
        MountFault::XattrsAreCut,
    ),
    of_mount(
        "default-acl-masked",
        "D07",
        "The umask counts in a directory with a default ACL.",
        MountFault::DefaultAclsAreIgnored,
    ),
    of_mount(
        "chown-keeps-setuid",
        "D09",
        "A change of owner keeps setuid and setgid.",
        MountFault::OwnerChangeKeepsSetuid,
    ),
    of_mount(
        "large-files-end-in-zeros",
        "D10",
        "Files read as zeros after 64 KiB.",
        MountFault::EndsOfLargeFilesAreLost,
    ),
    of_mount(
        "no-holes",
        "D11",
        "SEEK_HOLE finds no holes.",
        MountFault::HolesAreData,
    ),
    of_mount(
        "sizes-rounded",
        "D13",
        "Sizes are rounded up to 4096 bytes.",
        MountFault::SizesAreRounded,
    ),
    of_mount(
        "no-shrinking",
        "D13",
        "Truncation to a smaller size succeeds and changes nothing.",
        MountFault::FilesDoNotShrink,
    ),
    of_mount(
        "no-blocks",
        "D14",
        "No file has an allocated block.",
        MountFault::NothingIsAllocated,
    )
    .of_whole_trees(),
    of_mount(
        "no-punching",
        "D14",
        "FALLOC_FL_PUNCH_HOLE succeeds and changes nothing.",
        MountFault::HolesAreNotPunched,
    ),
    of_mount(
        "fifos-are-files",
        "D16",
        "mknod makes a file in place of a FIFO.",
        MountFault::FifosAreFiles,
    ),
    of_mount(
        "copied-ranges-zero",
        "D25",
        "copy_file_range writes zeros.",
        MountFault::CopiedRangesAreZeros,
    ),
    of_mount(
        "linked-write-hidden",
        "E01",
        "What is written under one name is not seen under another, which is a copy.",
        MountFault::LinksAreCopies,
    ),
    of_mount(
        "one-link",
        "E02",
        "Every file has the link count 1.",
        MountFault::EveryFileHasOneName,
    ),
    of_mount(
        "links-are-copies",
        "E03",
        "link makes a copy.",
        MountFault::LinksAreCopies,
    ),
    of_mount(
        "unlink-takes-all",
        "E05",
        "unlink removes the other names of the file too.",
        MountFault::RemovalOfALinkTakesAll,
    ),
    of_mount(
        "rename-keeps-old",
        "F01",
        "rename leaves the old name of a file.",
        MountFault::RenameCopies,
    ),
    of_mount(
        "rename-sets-time",
        "F01",
        "rename sets the times of what it moves.",
        MountFault::RenameSetsTheTime,
    ),
    of_mount(
        "directories-do-not-move",
        "F03",
        "rename of a directory fails with EXDEV.",
        MountFault::DirectoriesDoNotMove,
    )
    .of_whole_trees(),
    of_mount(
        "rename-across-fails",
        "F04",
        "rename to another directory fails with EXDEV.",
        MountFault::RenameIntoTheDirectoryOfAnotherFails,
    ),
    of_mount(
        "exchange-moves",
        "F06",
        "RENAME_EXCHANGE replaces the target.",
        MountFault::ExchangeOnlyMoves,
    ),
    of_mount(
        "rename-not-atomic",
        "F10",
        "rename removes the target, and the new file takes its place some time later.",
        MountFault::RenameRemovesTheTargetFirst,
    ),
    of_mount(
        "rmdir-of-full",
        "G01",
        "rmdir removes a directory with files in it.",
        MountFault::FullDirectoriesAreRemoved,
    ),
    of_mount(
        "rmdir-refuses",
        "G02",
        "rmdir of an empty directory fails with ENOTEMPTY.",
        MountFault::EmptiedDirectoriesStay,
    ),
    of_mount(
        "unlink-empties",
        "G03",
        "unlink empties a file that is still open.",
        MountFault::RemovalEmptiesTheFile,
    ),
    of_mount(
        "long-names-missing",
        "G07",
        "Names of 200 bytes or more are not found.",
        MountFault::LongNamesAreNotFound,
    ),
    of_mount(
        "numbers-change",
        "H01",
        "The inode number of a file changes when it is written to.",
        MountFault::NumbersChangeWithTheContent,
    ),
    of_mount(
        "numbers-shared",
        "H03",
        "All symbolic links have one inode number.",
        MountFault::SymlinksShareANumber,
    ),
    of_mount(
        "listed-numbers",
        "H04",
        "A directory lists other inode numbers than stat shows.",
        MountFault::ListingHasOtherNumbers,
    ),
    of_mount(
        "directory-links",
        "H06",
        "Every directory has the link count 9.",
        MountFault::DirectoriesHaveOneLink,
    ),
    of_mount(
        "reader-is-stale",
        "I01",
        "An open file does not see what is written through a later open.",
        MountFault::EveryLookupIsAnotherFile,
    ),
    of_mount(
        "mapping-is-stale",
        "I02",
        "A mapping does not see what is written through a later open.",
        MountFault::EveryLookupIsAnotherFile,
    ),
    of_mount(
        "mapped-writes-lost",
        "I03",
        "What is written to a shared mapping is never written to the file.",
        MountFault::MappedWritesAreLost,
    ),
    of_mount(
        "locks-not-taken",
        "I04",
        "Every lock is granted.",
        MountFault::LocksAreNotTaken,
    ),
    of_mount(
        "events-lost",
        "I05",
        "A watch on a file sees no event of a later open.",
        MountFault::EveryLookupIsAnotherFile,
    ),
    of_mount(
        "no-fsync",
        "I08",
        "fsync fails with EINVAL.",
        MountFault::NothingCanBeFlushed,
    ),
    of_mount(
        "no-fdatasync",
        "I08",
        "fdatasync fails with EINVAL.",
        MountFault::NoFlushOfDataAlone,
    ),
    of_mount(
        "no-direct-io",
        "I10",
        "O_DIRECT is refused.",
        MountFault::NoDirectIo,
    ),
    of_mount(
        "no-tmpfile",
        "I11",
        "O_TMPFILE is refused.",
        MountFault::NoNamelessFiles,
    ),
    of_mount(
        "no-permission-checks",
        "J02",
        "Nobody's access is checked.",
        MountFault::PermissionsAreNotChecked,
    ),
    of_mount(
        "security-labels-hidden",
        "J07",
        "Security labels are not listed.",
        MountFault::SecurityLabelsAreHidden,
    ),
    of_mount(
        "group-not-changed",
        "J05",
        "A change of the group by the owner succeeds and changes nothing.",
        MountFault::OwnerIsKept,
    ),
    of_mount(
        "overlay-names-hidden",
        "K02",
        "Attributes with `overlay` in their name are not listed.",
        MountFault::OverlayLikeXattrsAreHidden,
    ),
    of_mount(
        "user-xattrs-unlisted",
        "K06",
        "Attributes of users are not listed.",
        MountFault::XattrsAreNotListed,
    ),
    of_mount(
        "xattrs-stay",
        "K06",
        "removexattr succeeds and removes nothing.",
        MountFault::XattrsStay,
    ),
    of_mount(
        "xattr-flags-ignored",
        "K06",
        "XATTR_CREATE and XATTR_REPLACE are ignored.",
        MountFault::XattrFlagsAreIgnored,
    ),
    of_mount(
        "no-free-space",
        "L12",
        "statfs shows no free space.",
        MountFault::NoSpaceIsFree,
    ),
];

const fn of_mount(
    id: &'static str,
    check: &'static str,
    what: &'static str,
    fault: MountFault,
) -> Fault {
    Fault::new(id, check, what, Plant::Driver(DriverFault::Mount(fault)))
}
