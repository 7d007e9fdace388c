//! Operations of the store, one a line, with the error that is expected of those that must fail.
//!
//! ```ignore
//! store: &[
//!     store::layer("base", None, &[write("/f", "f")]),
//!     store::prepare("key", Some("base")),
//!     store::mounted("key", &[append("/f", "+")]).meanwhile(&[store::remove("key").fails("busy")]),
//!     store::commit("key", "base").fails("exists"),
//!     store::shows("base", "f=f"),
//! ],
//! ```
//!
//! Two things need not be said: what fails leaves every snapshot as it was, and after each operation there are as many
//! snapshots on disk as in the store.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use cowlab_layer::Duplicates;
use cowlab_snapshots::{
    ApplyOptions, CommitOptions, Error as StoreError, Filter, Kind, PrepareOptions,
};
use cowlab_sys::Guard;

use crate::context::{Context, Result, expect, perform_all};
use crate::op::Op;
use crate::support::store::{changes_of, refused, shows as tree_is};
use cowlab_tarball::{Entry, archive};

/// A key or a name of a snapshot.
type Name = &'static str;

/// The entries of a layer.
type Entries = fn() -> Vec<Entry>;

/// An operation of the store and what is expected of it.
#[derive(Debug, Clone, Copy)]
pub struct StoreStep {
    operation: Operation,
    /// The kind of the error that it must end with.
    error: Option<&'static str>,
    /// What is done before the unmount of a mount.
    meanwhile: &'static [Self],
    /// What becomes of a name that an applied layer has twice.
    duplicates: Duplicates,
}

impl StoreStep {
    /// Expects an error of this kind.
    #[must_use]
    pub const fn fails(self, error: &'static str) -> Self {
        let error = Some(error);
        Self { error, ..self }
    }

    /// Performs these as well before the unmount.
    #[must_use]
    pub const fn meanwhile(self, meanwhile: &'static [Self]) -> Self {
        Self { meanwhile, ..self }
    }

    /// Refuses a layer that has a name twice.
    #[must_use]
    pub const fn strictly(self) -> Self {
        let duplicates = Duplicates::Refused;
        Self { duplicates, ..self }
    }

    fn judge<T: Debug>(
        &self,
        what: &str,
        key: &str,
        given: std::result::Result<T, StoreError>,
    ) -> Result<()> {
        match self.error {
            Some(error) => refused(&format!("{what} `{}`", key.escape_debug()), error, given),
            None => Ok(given.map(drop)?),
        }
    }
}

/// Declares operations, and a constructor for each of the same arguments.
macro_rules! operations {
    ($($(#[doc = $doc:literal])+ $name:ident($($field:ident: $kind:ty),*) = $variant:ident;)*) => {
        #[derive(Debug, Clone, Copy)]
        enum Operation {
            $($variant { $($field: $kind),* },)*
        }
        $($(#[doc = $doc])+
        #[must_use]
        pub const fn $name($($field: $kind),*) -> StoreStep {
            let operation = Operation::$variant { $($field),* };
            StoreStep {
                operation,
                error: None,
                meanwhile: &[],
                duplicates: Duplicates::LastWins,
            }
        })*
    };
}

operations! {
    /// Prepares an active snapshot.
    prepare(key: Name, parent: Option<Name>) = Prepare;
    /// Makes a view.
    view(key: Name, parent: Name) = View;
    /// Commits an active snapshot.
    commit(key: Name, name: Name) = Commit;
    /// Removes a snapshot.
    remove(key: Name) = Remove;
    /// Asks what a snapshot is.
    stat(key: Name) = Stat;
    /// Asks what a snapshot occupies.
    usage(key: Name) = Usage;
    /// Asks what has to be mounted.
    mounts(key: Name) = Mounts;
    /// Mounts at a place of its own, and unmounts.
    mount(key: Name) = Mount;
    /// Applies a layer.
    apply(name: Name, parent: Option<Name>, entries: Entries) = Apply;
    /// Prepares a snapshot, performs operations in it and commits it.
    layer(name: Name, parent: Option<Name>, ops: &'static [Op]) = Layer;
    /// Mounts, performs operations in the mount, and unmounts.
    mounted(key: Name, ops: &'static [Op]) = Mounted;
    /// Does the same in a view of a committed snapshot: `NAME.view`, which is removed again.
    viewed(name: Name, ops: &'static [Op]) = Viewed;
    /// Expects a snapshot to be of this kind and on this parent.
    is(key: Name, kind: Kind, parent: Option<Name>) = Is;
    /// Expects a committed snapshot to have these names and short contents: `d/(f=text) link`.
    shows(name: Name, tree: &'static str) = Shows;
    /// Expects these changes of a snapshot: `Modified /f`.
    changes(name: Name, changes: &'static [&'static str]) = Changes;
    /// Expects a full check to find that many snapshots and nothing wrong.
    check(snapshots: usize) = Check;
}

/// Performs the steps of a case, then removes the snapshots, unless they are to stay for looking at.
///
/// # Errors
///
/// The first difference.
pub(super) fn perform(context: &Context, steps: &[StoreStep]) -> Result<()> {
    perform_steps(context, steps)?;
    while !context.keeps() {
        let left = context.store().list(&Filter::default())?;
        let is_parent = |key: &str| left.iter().any(|info| info.parent.as_deref() == Some(key));
        let Some(leaf) = left.iter().find(|info| !is_parent(&info.key)) else {
            break;
        };
        context.store().remove(&leaf.key)?;
    }
    Ok(())
}

fn perform_steps(context: &Context, steps: &[StoreStep]) -> Result<()> {
    let store = context.store();
    for step in steps {
        let before = store.list(&Filter::default())?;
        perform_step(context, step)?;
        let after = store.list(&Filter::default())?;
        if step.error.is_some() {
            expect(
                "store",
                "snapshots",
                format!("{before:?}"),
                format!("{after:?}"),
            )?;
        }
        let on_disk = store.driver().inventory()?.len();
        expect("store", "snapshots on disk", after.len(), on_disk)?;
    }
    Ok(())
}

fn perform_step(context: &Context, step: &StoreStep) -> Result<()> {
    let store = context.store();
    let in_mount = |ops| {
        move |dir: &Path| {
            perform_all(dir, ops)?;
            perform_steps(context, step.meanwhile)
        }
    };
    match step.operation {
        Operation::Prepare { key, parent } => {
            let prepared = store.prepare(key, parent, &PrepareOptions::default());
            step.judge("prepare", key, prepared)
        }
        Operation::View { key, parent } => step.judge("view", key, store.view(key, parent)),
        Operation::Commit { key, name } => {
            let committed = store.commit(key, name, &CommitOptions::default());
            step.judge("commit", key, committed)
        }
        Operation::Remove { key } => step.judge("remove", key, store.remove(key)),
        Operation::Stat { key } => step.judge("stat", key, store.stat(key)),
        Operation::Usage { key } => step.judge("usage", key, store.usage(key)),
        Operation::Mounts { key } => step.judge("mounts", key, store.mounts(key)),
        Operation::Mount { key } => step.judge("mount", key, mount_elsewhere(context, key)?),
        Operation::Apply {
            name,
            parent,
            entries,
        } => {
            let options = ApplyOptions {
                duplicates: step.duplicates,
                ..ApplyOptions::default()
            };
            let applied = store.apply(name, parent, &mut archive(&entries()).as_slice(), &options);
            step.judge("apply", name, applied)
        }
        Operation::Layer { name, parent, ops } => context.layer(parent, name, ops),
        Operation::Mounted { key, ops } => context.with_mount(key, in_mount(ops)),
        Operation::Viewed { name, ops } => context.with_view(name, in_mount(ops)),
        Operation::Is { key, kind, parent } => {
            let info = store.stat(key)?;
            expect(key, "kind", kind, info.kind)?;
            let found = info.parent.unwrap_or_default();
            expect(key, "parent", parent.unwrap_or_default(), &found)
        }
        Operation::Shows { name, tree } => tree_is(context, name, tree),
        Operation::Changes { name, changes } => expect(
            name,
            "changes",
            changes.join("\n"),
            changes_of(context, name)?,
        ),
        Operation::Check { snapshots } => {
            let report = store.check()?;
            expect("store", "soundness", true, report.is_sound())?;
            expect("store", "snapshots", snapshots, report.snapshots)
        }
    }
}

/// Mounts beside the usual place, and unmounts. The outer result is that of the place and of the unmount.
fn mount_elsewhere(context: &Context, key: &str) -> Result<std::result::Result<(), StoreError>> {
    let target = context.dir().join("other");
    fs::create_dir_all(&target)?;
    Ok(match context.store().mount(key, &target) {
        Ok(mut mounted) => Ok(mounted.close()?),
        Err(error) => Err(error),
    })
}
