//! What is copied when something that a parent has is written for the first time, and what a snapshot has of its own.

use std::path::PathBuf;

/// What the first write to a parent's file copies into a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyUp {
    /// The whole file, and the directories above it that the snapshot has not of its own yet. Opening it for writing is
    /// enough (overlayfs.rst, "Non-directories").
    File,
    /// Nothing: what is written goes to blocks of its own, and the rest of the file stays shared.
    Blocks,
    /// Nothing more: every file was copied when the snapshot was made.
    Everything,
}

/// What a snapshot has of its own at a path, where a driver keeps that apart from the parent's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Own {
    /// Nothing: what the parent has there shows through.
    Nothing,
    /// A mark that hides what the parent has there, or above.
    Hidden {
        /// The mark.
        place: PathBuf,
    },
    /// An entry.
    Entry {
        /// Where it lies.
        place: PathBuf,
        /// Whether it is a directory in which what the parent has shows through.
        merges: bool,
        /// What of it was copied from the parent's.
        copied: Copied,
    },
}

/// How an entry came to be a snapshot's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Copied {
    /// It was made anew.
    Nothing,
    /// Its attributes were copied up; its content is the parent's still.
    Attributes,
    /// It was copied up.
    Whole,
}
