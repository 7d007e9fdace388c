//! What a case is: a claim and the layers and steps that show it, as data.
//!
//! A case is stated as a plain directory would behave. It never names a driver: what a driver does otherwise is
//! declared beside the driver, as a deviation. How cases are run is the runner's affair.

use std::fmt;

pub use cowlab_reports::result::{Impact, Risk};

use crate::context::Context;
use crate::difference::Difference;
use crate::op::Op;
use crate::step::program::Command;
use crate::step::store::StoreStep;

/// One claim.
///
/// The runner makes one committed snapshot of each list in [`layers`](Self::layers), each on top of the one
/// before, then performs [`steps`](Self::steps) in a child of the last and commits that as well. It does the same in
/// a plain directory on the same backing file system. After every layer and after the steps the trees must be equal:
/// content, type, mode, owner, time, extended attributes, link groups, holes.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// `group/claim` in kebab-case. Never renamed, never reused.
    pub id: &'static str,
    /// The claim: one sentence, true of a plain directory.
    pub spec: &'static str,
    /// Where the claim comes from: a manual page, a kernel document, a specification, an issue.
    pub see: &'static [&'static str],
    /// Numbers of the catalogue of checks (`B10`), or of the seed behaviors (`S05`).
    pub catalogue: &'static [&'static str],
    /// What it means for people where the claim does not hold.
    pub impact: Impact,
    /// What running it can do to the machine.
    pub risk: Risk,
    /// What the backing file system or the kernel must be able to do; found out by doing it.
    pub needs: &'static [Need],
    /// Whether it runs beside other cases.
    pub placement: Placement,
    /// How the snapshot is mounted in which the steps run.
    pub access: Access,
    /// What each layer does, oldest first.
    pub layers: &'static [&'static [Op]],
    /// Calls with their expected results, in a child of the last layer.
    pub steps: &'static [Op],
    /// Operations of the store, in place of layers and steps; implies [`Placement::Own`].
    pub store: &'static [StoreStep],
    /// Commands of the program, in place of layers and steps; goes with [`Placement::Root`].
    pub program: &'static [Command],
    /// A test of its own, for what none of these lists can say: loops, threads, signals, times; implies [`Placement::Own`].
    pub run: Option<Run>,
}

/// The function of a case that no list of operations can express.
///
/// Its difference is reported and compared with declared deviations like that of any case.
pub type Run = fn(&mut Context) -> Result<(), Difference>;

impl Case {
    /// What most cases have in common; to be completed with `..Case::BASE`.
    pub const BASE: Self = Self {
        id: "",
        spec: "",
        see: &[],
        catalogue: &[],
        impact: Impact::AppVisible,
        risk: Risk::Safe,
        needs: &[],
        placement: Placement::Shared,
        access: Access::Active,
        layers: &[],
        steps: &[],
        store: &[],
        program: &[],
        run: None,
    };

    /// The part of the id before the slash: the area of the catalogue.
    #[must_use]
    pub fn group(&self) -> &'static str {
        self.id.split_once('/').map_or(self.id, |(group, _)| group)
    }

    /// Whether it is stated as layers and steps, which a plain directory can do as well.
    #[must_use]
    pub fn is_of_trees(&self) -> bool {
        self.run.is_none() && self.store.is_empty() && self.program.is_empty()
    }

    /// Whether the case has snapshots and mounts of its own.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.placement != Placement::Shared || !self.is_of_trees()
    }
}

/// Whether a case runs beside others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In a directory `/<case>/` of snapshots that hold many cases. A path `/f` of the case is `/<case>/f` there.
    Shared,
    /// In a store of its own, with `/` being the root of the snapshot: for cases about the root directory, statfs,
    /// limits, faults and the life of the store.
    Own,
    /// In a root of the program, by its commands. It claims more of the program than of the file system below: unless
    /// somebody asks for a backing or a case, it runs on the first backing of each driver,
    /// and not in an emulated machine.
    Root,
}

/// How the snapshot is mounted in which the steps run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// An active snapshot, for reading and writing.
    Active,
    /// A view of the last layer; the plain directory is seen through a read-only mount.
    View,
}

/// Something that not every backing file system or kernel has. Found out by doing it on the backing file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// A single extended attribute of that many bytes.
    XattrSize(usize),
    /// A symbolic link with a target of that many bytes.
    SymlinkTarget(usize),
    /// FICLONE.
    Reflink,
    /// POSIX access control lists.
    Acl,
    /// Holes that SEEK_HOLE shows.
    Holes,
    /// fallocate(2) with FALLOC_FL_PUNCH_HOLE.
    PunchHole,
    /// The immutable and append-only attributes of ioctl_iflags(2).
    InodeFlags,
    /// open(2) with O_TMPFILE.
    TmpFile,
    /// open(2) with O_DIRECT.
    DirectIo,
    /// name_to_handle_at(2).
    FileHandles,
    /// Swapping two names: renameat2(2) with RENAME_EXCHANGE.
    RenameExchange,
    /// Making a whiteout by renameat2(2) with RENAME_WHITEOUT.
    RenameWhiteout,
    /// Time stamps before 1970.
    TimesBefore1970,
    /// Time stamps after 2038.
    TimesAfter2038,
    /// That many bytes of free space.
    FreeSpace(u64),
    /// A file of that many bytes, holes included.
    FileSize(u64),
    /// A limit of what a directory, a subvolume or a data set holds: project quotas, quota groups or quotas.
    SizeLimit,
    /// fs-verity.
    Verity,
    /// Mounts with an identity map.
    IdMappedMount,
    /// A program from outside, which judges what cowlab makes or gives it something to judge.
    Program(&'static str),
    /// A Debian root file system: mmdebstrap, and a mirror.
    DebianRoot,
    /// What an ordinary user needs for containers: newuidmap(1), subordinate ids, user namespaces.
    OrdinaryUsers,
}

impl fmt::Display for Need {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::XattrSize(size) => {
                return write!(formatter, "an extended attribute of {size} bytes");
            }
            Self::SymlinkTarget(size) => {
                return write!(formatter, "a symbolic link target of {size} bytes");
            }
            Self::FreeSpace(size) => return write!(formatter, "{size} bytes of free space"),
            Self::FileSize(size) => return write!(formatter, "a file of {size} bytes"),
            Self::Program(name) => return write!(formatter, "the program `{name}`"),
            _ => {}
        }
        formatter.write_str(match self {
            Self::Reflink => "reflinks (FICLONE)",
            Self::Acl => "access control lists",
            Self::Holes => "files with holes (SEEK_HOLE)",
            Self::PunchHole => "FALLOC_FL_PUNCH_HOLE",
            Self::InodeFlags => "immutable and append-only files",
            Self::TmpFile => "O_TMPFILE",
            Self::DirectIo => "O_DIRECT",
            Self::FileHandles => "file handles (name_to_handle_at)",
            Self::RenameExchange => "RENAME_EXCHANGE",
            Self::RenameWhiteout => "RENAME_WHITEOUT",
            Self::TimesBefore1970 => "time stamps before 1970",
            Self::TimesAfter2038 => "time stamps after 2038",
            Self::SizeLimit => "a file system that limits its parts (quotas)",
            Self::Verity => "fs-verity",
            Self::DebianRoot => "a Debian root file system (mmdebstrap and a mirror)",
            Self::OrdinaryUsers => {
                "newuidmap (`apt-get install uidmap`) and user namespaces for ordinary users \
                 (`sysctl --write user.max_user_namespaces=15000`)"
            }
            _ => "mounts with an identity map",
        })
    }
}
