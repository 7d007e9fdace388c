//! Snapshot numbers and kinship.

use std::fmt;
use std::str::FromStr;

/// The number of a snapshot, unique in its store for ever.
///
/// It fits a thin device id: 1 ..= 2^24 - 1 (kernel `thin-provisioning.rst`, "dev id").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(u32);

impl SnapshotId {
    /// The largest number.
    pub const MAX: Self = Self((1 << 24) - 1);

    /// Wraps a number, or `None` when it is 0 or larger than [`MAX`](Self::MAX).
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 || number > Self::MAX.0 {
            None
        } else {
            Some(Self(number))
        }
    }

    /// The number itself.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Text that is no [`SnapshotId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no snapshot number")]
pub struct ParseSnapshotIdError(String);

impl FromStr for SnapshotId {
    type Err = ParseSnapshotIdError;

    /// Parses the one spelling that [`Display`](fmt::Display) writes: no sign, no leading zero.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .ok()
            .and_then(Self::new)
            .filter(|id| id.to_string() == text)
            .ok_or_else(|| ParseSnapshotIdError(text.to_owned()))
    }
}

/// A snapshot and its ancestors, newest first. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    head: SnapshotId,
    ancestors: Vec<SnapshotId>,
}

impl Chain {
    /// Puts `head` on top of `ancestors`, which are newest first.
    #[must_use]
    pub const fn new(head: SnapshotId, ancestors: Vec<SnapshotId>) -> Self {
        Self { head, ancestors }
    }

    /// The snapshot itself.
    #[must_use]
    pub const fn head(&self) -> SnapshotId {
        self.head
    }

    /// Its ancestors, newest first.
    #[must_use]
    pub fn ancestors(&self) -> &[SnapshotId] {
        &self.ancestors
    }

    /// The parent's chain, or `None` for a base snapshot.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (head, ancestors) = self.ancestors.split_first()?;
        Some(Self::new(*head, ancestors.to_vec()))
    }

    /// All members, newest first.
    pub fn iter(&self) -> impl Iterator<Item = SnapshotId> + '_ {
        std::iter::once(self.head).chain(self.ancestors.iter().copied())
    }

    /// The number of members.
    #[must_use]
    pub fn depth(&self) -> usize {
        1 + self.ancestors.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_a_thin_device_id() {
        assert_eq!(SnapshotId::new(0), None);
        assert_eq!(SnapshotId::new(1 << 24), None);
        assert_eq!(SnapshotId::new((1 << 24) - 1), Some(SnapshotId::MAX));
    }

    #[test]
    fn one_spelling_per_number() {
        assert_eq!("17".parse(), Ok(SnapshotId(17)));
        for text in ["", "0", "017", "+17", "-1", "16777216", "1 ", "x"] {
            assert!(text.parse::<SnapshotId>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_parent_of_a_chain_is_a_chain() {
        let chain = Chain::new(SnapshotId(3), vec![SnapshotId(2), SnapshotId(1)]);
        let parent = chain.parent().unwrap();
        assert_eq!(
            parent.iter().map(SnapshotId::number).collect::<Vec<_>>(),
            [2, 1]
        );
        assert_eq!(parent.parent().unwrap().parent(), None);
    }
}
