//! The storage driver trait and its words.
//!
//! # Terms
//!
//! - A *snapshot* is a directory tree that a driver keeps. It has a [`SnapshotId`], never reused.
//! - A *chain* is a snapshot and its ancestors, newest first: all a driver is ever told about kinship.
//! - *active*, *view*, *committed*, keys, names, labels, locks and recovery belong to the snapshot
//!   store. A driver knows none of them: it knows whether it froze a snapshot.
//! - A *layer* is the difference between a snapshot and its parent.
//!
//! # Life of a snapshot
//!
//! [`create`](Driver::create) makes it, empty or with its parent's content.
//! [`activate`](Driver::activate) says how to mount it, any number of times, from any process.
//! After the last unmount [`deactivate`](Driver::deactivate) lets go of what the mount needed.
//! [`flush`](Driver::flush) writes its content to the disk, before anything is promised about it.
//! [`freeze`](Driver::freeze) makes it immutable: from then on it may be a parent.
//! [`destroy`](Driver::destroy) removes it. A parent is destroyed after its children.
//!
//! # Walk-through: import a layer, run a container
//!
//! ```text
//! create(1, None)              an empty snapshot
//! staging([1])                 where the layer's files are written
//! flush(1, Commit)             its content is on the disk
//! freeze(1)                    now it may be a parent
//! create(2, Some([1]))         the container's writable snapshot
//! activate([2, 1], ReadWrite)  mount data; the caller mounts it
//! deactivate(2)                after the caller's unmount
//! candidates([2, 1])           paths that may differ from snapshot 1
//! destroy(2)
//! ```
//!
//! A driver does not mount, does not lock, does not ask who uses a snapshot, does not know a case or a workload.

mod chain;
mod copying;
mod entry;
mod error;
mod flush;
mod home;
mod info;
pub mod layers;
mod mounts;
mod probe_dir;
pub mod projects;
pub mod tree;
mod units;
pub mod upper;

pub use chain::{Chain, SnapshotId};
pub use copying::{Copied, CopyUp, Own};
pub use entry::{
    Deviation, Entry, Impact, Measured, OpenOptions, Probe, Requirement, Scope, Settings, Variant,
};
pub use error::{Error, Missing, Result, Warning};
pub use flush::flush;
pub use home::{Home, make_dir, make_dir_once};
pub use info::{DriverInfo, FlushScope, MountMatcher};
pub use mounts::{
    Access, Activation, MountData, Mounts, Staging, escape, join_layers, layer_paths,
};
pub use probe_dir::ProbeDir;
pub use units::{Allocation, Bytes, Usage};

use std::fmt::Debug;
use std::path::{Path, PathBuf};

/// How a snapshot is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateOptions {
    /// The most the snapshot may hold of its own. A driver that cannot enforce it refuses it.
    pub size_limit: Option<Bytes>,
    /// What it survives as it is made, with the parent's content where the driver copies that.
    pub durability: Durability,
}

/// What a frozen snapshot survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// A crash of the process. Nothing is flushed.
    None,
    /// A power cut after the acknowledgement: data and metadata are flushed before it.
    #[default]
    Commit,
    /// A power cut at any moment, and the driver's own bookkeeping is flushed as well.
    Full,
}

/// How much below a candidate path has to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The entry itself.
    Entry,
    /// The entry and the names directly in it, for deletions that leave no other trace.
    Children,
    /// Everything below the entry.
    Subtree,
}

/// A path that may differ from the parent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Relative to the snapshot's root; empty for the root itself.
    pub path: PathBuf,
    /// How much below the path has to be compared.
    pub reach: Reach,
}

/// A superset of the changed paths, in any order, duplicates allowed.
pub type Candidates = Vec<Candidate>;

/// Keeps snapshots on one kind of storage.
///
/// Every method may be called from any thread and any process that holds the store's lock on the
/// snapshots named. Methods are idempotent where the text says so, because recovery calls them again.
pub trait Driver: Debug + Send + Sync {
    /// The driver's constants.
    fn info(&self) -> &DriverInfo;

    /// Makes snapshot `id`, empty (mode 0755, owner 0:0) or with the content of the chain `parent`.
    ///
    /// The snapshot appears whole or not at all. Costs O(1) except on vfs, which copies.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] when the id is in use, [`Error::NotFound`] when the parent is not there,
    /// [`Error::Unsupported`] when an option cannot be honored.
    fn create(&self, id: SnapshotId, parent: Option<&Chain>, options: &CreateOptions)
    -> Result<()>;

    /// Says how the snapshot at the head of `chain` is mounted, and makes nothing: a device in the answer need not be there.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when a member of the chain is not there, [`Error::Limit`] when the chain
    /// is deeper than the driver can mount.
    fn describe_mount(&self, chain: &Chain, access: Access) -> Result<Mounts>;

    /// Makes what the mount of [`describe_mount`](Self::describe_mount) needs, where it needs anything.
    ///
    /// Idempotent, from any process, after any boot.
    fn activate(&self, chain: &Chain, access: Access) -> Result<Activation> {
        self.describe_mount(chain, access).map(Activation::from)
    }

    /// Says how other programs mount the snapshot: the mount of [`activate`](Self::activate), in the fewest options.
    fn activate_for_others(&self, chain: &Chain, access: Access) -> Result<Activation> {
        self.activate(chain, access)
    }

    /// Releases what [`activate`](Self::activate) holds. The caller has seen to it that no mount table has a mount of the
    /// snapshot.
    ///
    /// Idempotent: an absent id is success.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when the kernel has it mounted all the same, or another [`Activation`] of it lives.
    fn deactivate(&self, _id: SnapshotId) -> Result<()> {
        Ok(())
    }

    /// Says where a layer's files are written, before [`freeze`](Self::freeze).
    fn staging(&self, chain: &Chain) -> Result<Staging>;

    /// Writes the content of the snapshot, which nobody has mounted, to the disk, as far as `durability` promises.
    /// The store records a commit only after it. Idempotent, also for a frozen snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Busy`] when the kernel still has it mounted, [`Error::Damaged`] for content that is not whole.
    fn flush(&self, id: SnapshotId, durability: Durability) -> Result<()>;

    /// Makes a flushed snapshot immutable. The mark that does so is on the disk when this returns. Idempotent.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]. The mark may be there all the same:
    /// [`thaw`](Self::thaw) removes it.
    fn freeze(&self, id: SnapshotId) -> Result<()>;

    /// Makes a snapshot writable again of which a commit was begun and is rolled back. It never was a parent. Idempotent,
    /// also for a snapshot that is not frozen.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    fn thaw(&self, id: SnapshotId) -> Result<()>;

    /// Removes the snapshot, which nobody has mounted, and returns its space. Idempotent: an absent id is success.
    ///
    /// # Errors
    ///
    /// The first thing that could not be removed; a second call goes on from there.
    fn destroy(&self, id: SnapshotId) -> Result<()>;

    /// Measures what the snapshot allocates. Costs up to O(entries of the layer).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    fn usage(&self, id: SnapshotId) -> Result<Usage>;

    /// Names a superset of the paths in which the chain's head differs from its parent, or `None`
    /// where only a walk of both can tell. The head may be mounted read-write meanwhile: what was written before the call counts.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    fn candidates(&self, chain: &Chain) -> Result<Option<Candidates>>;

    /// Whether the snapshot began with the inode numbers and times of its parent, and no change since escaped the change times.
    /// Then a walk of both trees, where [`candidates`](Self::candidates) names no paths, reads no content of what has the parent's.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    fn keeps_inodes(&self, id: SnapshotId) -> Result<bool> {
        let _ = id;
        Ok(false)
    }

    /// Lists what is on disk, half-made and half-removed snapshots included.
    ///
    /// # Errors
    ///
    /// When the driver's root cannot be read.
    fn inventory(&self) -> Result<Vec<SnapshotId>>;

    /// Says which mounts show a snapshot, there or not: those that one of the matchers describes. None, where nothing
    /// can be mounted before the next [`activate`](Self::activate). Changes nothing.
    ///
    /// # Errors
    ///
    /// When the driver cannot look up the snapshot's device.
    fn mount_matchers(&self, id: SnapshotId) -> Result<Vec<MountMatcher>>;

    /// The directory that the driver keeps its data in.
    fn root(&self) -> &Path;

    /// Provenance of paths, where the driver keeps a snapshot's own entries apart from the parent's.
    fn provenance(&self) -> Option<&dyn Provenance> {
        None
    }

    /// Health of the storage below the snapshots, where it has a state of its own, as a pool has.
    fn health(&self) -> Option<&dyn Health> {
        None
    }

    /// A watch over writes, where the storage below the snapshots can refuse one that its writer believes done.
    fn write_watch(&self) -> Option<&dyn WriteWatch> {
        None
    }

    /// Quarantine of unknown objects, where the driver can move one without deleting it.
    fn quarantine(&self) -> Option<&dyn Quarantine> {
        None
    }
}

/// A driver that knows from which snapshot of a chain an entry comes.
pub trait Provenance {
    /// Says what the snapshot has of its own at `path`, relative to its root, or `None` where only a comparison with the
    /// parent can tell. Costs O(parts of the path).
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for the snapshot.
    fn own(&self, id: SnapshotId, path: &Path) -> Result<Option<Own>>;
}

/// A driver whose storage can fill up or fail apart from the file system of its directory.
pub trait Health {
    /// Warns of what will soon fail, while changes still succeed. Asked often: before changes, and for the cause after an
    /// operation failed. Costs O(1) and writes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Pool`], which names the pool and what to do, when it takes no changes.
    fn warnings(&self) -> Result<Vec<Warning>>;
}

/// A driver whose storage can refuse a write after the writer was told that it succeeded, as a full pool does to what is
/// written back from memory. The store keeps both answers with the snapshot.
pub trait WriteWatch {
    /// Says how the storage is before a snapshot becomes writable, in words that only [`lost_since`](Self::lost_since) reads.
    fn epoch(&self) -> Result<String>;

    /// Says why writes since `epoch` may be missing, or `None` where the storage took every one.
    fn lost_since(&self, epoch: &str) -> Result<Option<String>>;
}

/// A driver that can put an object aside.
pub trait Quarantine {
    /// Moves a snapshot that no store knows out of the way, without deleting it, and says where to.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`].
    fn put_aside(&self, id: SnapshotId) -> Result<PathBuf>;
}
