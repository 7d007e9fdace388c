//! Faults that are planted on purpose, to prove that the power-cut harness notices them.
//!
//! Without the feature `faults` nothing is planted and the checks compile to nothing. With it, a process has the fault
//! that the environment variable [`VARIABLE`] names, read once.

/// The environment variable that names a fault by its [id](Fault::id).
pub const VARIABLE: &str = "COWLAB_FAULT";

/// A fault that a power cut has to bring to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `syncfs` is not called.
    NoSyncfs,
    /// Neither `fsync` nor `fdatasync` is called, and SQLite flushes nothing.
    NoFsync,
    /// The intent of a commit is recorded before its content is flushed.
    IntentBeforeFlush,
    /// A commit is recorded as done before the snapshot is frozen.
    RowBeforeFreeze,
    /// No flush reaches the metadata of a driver's thin pool. The proof's disk forgets them: a driver that did not ask for
    /// them would hardly be seen, for a pool commits by itself every second (drivers/md/dm-thin.c, `COMMIT_PERIOD`).
    NoPoolFlush,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 5] = [
        Self::NoSyncfs,
        Self::NoFsync,
        Self::IntentBeforeFlush,
        Self::RowBeforeFreeze,
        Self::NoPoolFlush,
    ];

    /// Returns the name that the environment variable and reports have for it.
    pub const fn id(self) -> &'static str {
        match self {
            Self::NoSyncfs => "no-syncfs",
            Self::NoFsync => "no-fsync",
            Self::IntentBeforeFlush => "intent-before-flush",
            Self::RowBeforeFreeze => "row-before-freeze",
            Self::NoPoolFlush => "no-pool-flush",
        }
    }
}

/// Returns whether this process runs with the fault.
#[cfg(feature = "faults")]
pub fn is_planted(fault: Fault) -> bool {
    static PLANTED: std::sync::OnceLock<Option<Fault>> = std::sync::OnceLock::new();
    let planted = PLANTED.get_or_init(|| {
        let id = std::env::var(VARIABLE).ok()?;
        Fault::ALL.into_iter().find(|fault| fault.id() == id)
    });
    *planted == Some(fault)
}

/// Returns whether this process runs with the fault: never, for this build has none.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn is_planted(_fault: Fault) -> bool {
    false
}
