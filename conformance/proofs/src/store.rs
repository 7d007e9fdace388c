//! Snapshots as their store has them: the content, the ancestors, and whether they can still be written.

use std::path::Path;

use anyhow::Context;
use cowlab_driver::{Access, Chain, Mounts};
use cowlab_snapshots::{Error, Info, Store};
use cowlab_sys::mount::DetachedMount;

/// A snapshot and its ancestors, newest first.
pub(crate) fn chain(store: &Store, name: &str) -> Result<Vec<Info>, Error> {
    let mut members = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next {
        let info = store.stat(&name)?;
        next = info.parent.clone();
        members.push(info);
    }
    Ok(members)
}

/// The same, as drivers know them.
pub(crate) fn ids_of(store: &Store, name: &str) -> anyhow::Result<Chain> {
    let members = chain(store, name)?;
    let mut ids = members.iter().map(|info| info.id);
    let head = ids.next().context("no such snapshot")?;
    Ok(Chain::new(head, ids.collect()))
}

/// Has `work` look at what a snapshot holds.
pub(crate) fn on_content<T>(
    store: &Store,
    name: &str,
    work: impl FnOnce(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let active = store
        .driver()
        .activate(&ids_of(store, name)?, Access::ReadOnly)?;
    match &*active {
        Mounts::Bind { source, .. } => work(source),
        Mounts::FileSystem(spec) => work(DetachedMount::new(spec)?.path()),
    }
}

/// Whether the driver refuses that a snapshot is written.
pub(crate) fn is_frozen(store: &Store, name: &str) -> anyhow::Result<bool> {
    let described = store
        .driver()
        .describe_mount(&ids_of(store, name)?, Access::ReadWrite);
    match described {
        Ok(_) => Ok(false),
        Err(cowlab_driver::Error::Frozen(_)) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
