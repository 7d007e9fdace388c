//! A snapshot store on a directory of a backing file system, for the workloads that ask about its operations.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cowlab_driver::{Durability, Settings};
use cowlab_engine::subject::Subject;
use cowlab_snapshots::{CommitOptions, PrepareOptions, Store, StoreOptions};
use cowlab_sys::{Guard, IdSource};

use crate::workload::Workspace;

/// A store, opened.
#[derive(Debug)]
pub(crate) struct StoreFixture {
    subject: Subject,
    root: PathBuf,
    settings: Settings,
    target: PathBuf,
    id_source: IdSource,
    store: Option<Store>,
}

impl StoreFixture {
    /// Makes a store for a subject in the runner's directory.
    pub(crate) fn open(workspace: &Workspace, subject: &Subject) -> anyhow::Result<Self> {
        fs::create_dir_all(&workspace.dir)
            .with_context(|| format!("failed to make `{}`", workspace.dir.display()))?;
        (subject.entry.probe)(&workspace.dir, subject.variant, &workspace.settings)?;
        let mut fixture = Self {
            subject: *subject,
            root: workspace.dir.join("store"),
            settings: workspace.settings.clone(),
            target: workspace.target.clone(),
            id_source: workspace.id_source,
            store: None,
        };
        fixture.resume()?;
        Ok(fixture)
    }

    /// Lets go of the backing file system.
    pub(crate) fn suspend(&mut self) {
        self.store = None;
    }

    /// Opens the store again.
    pub(crate) fn resume(&mut self) -> anyhow::Result<()> {
        let options = StoreOptions {
            variant: Some(self.subject.variant.name.to_owned()),
            id_source: self.id_source,
            settings: self.settings.clone(),
            ..StoreOptions::default()
        };
        self.store = Some(Store::open(&self.root, self.subject.entry, &options)?);
        Ok(())
    }

    /// The store.
    pub(crate) fn store(&self) -> anyhow::Result<&Store> {
        self.store
            .as_ref()
            .context("the store is not open: the backing file system is being mounted again")
    }

    /// Where the runner mounts.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Mounts a snapshot, lets `work` change it and unmounts it.
    pub(crate) fn mounted<T>(
        &self,
        key: &str,
        work: impl FnOnce(&Path) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut mounted = self.store()?.mount(key, &self.target)?;
        let done = work(mounted.target());
        mounted.close()?;
        done
    }

    /// Commits a layer of what `write` changes, without flushing: this is no part of a measurement.
    pub(crate) fn layer(
        &self,
        name: &str,
        parent: Option<&str>,
        write: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let key = format!("{name}-active");
        self.store()?
            .prepare(&key, parent, &PrepareOptions::default())?;
        self.mounted(&key, write)?;
        self.store()?.commit(&key, name, &unflushed())?;
        Ok(())
    }
}

/// A commit that flushes nothing.
pub(crate) fn unflushed() -> CommitOptions {
    CommitOptions {
        durability: Durability::None,
        ..CommitOptions::default()
    }
}
