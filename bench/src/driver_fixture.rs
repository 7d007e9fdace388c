//! A driver on a directory of a backing file system, and one fresh snapshot of it at a time.
//!
//! This is below the snapshot store on purpose: names, locks and the database of the store are not what the copy-up and
//! capacity workloads ask about. The life-cycle workload goes through the store.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cowlab_driver::{
    Access, Allocation, Chain, CreateOptions, Driver, Durability, Mounts, OpenOptions, Settings,
    SnapshotId,
};
use cowlab_engine::subject::Subject;
use cowlab_sys::{Guard, MountGuard, MountOption};

use crate::workload::Workspace;

/// A driver, opened.
#[derive(Debug)]
pub(crate) struct DriverFixture {
    subject: Subject,
    root: PathBuf,
    settings: Settings,
    target: PathBuf,
    driver: Option<Box<dyn Driver>>,
    next: u32,
}

/// A snapshot that is mounted read-write until it is closed.
#[derive(Debug)]
pub(crate) struct Active {
    chain: Chain,
    mounts: Mounts,
    guard: MountGuard,
}

impl DriverFixture {
    /// Opens the driver of a subject in the runner's directory.
    ///
    /// # Errors
    ///
    /// What the driver lacks here, or could not do.
    pub(crate) fn open(workspace: &Workspace, subject: &Subject) -> anyhow::Result<Self> {
        let mut fixture = Self {
            subject: *subject,
            root: workspace.dir.join("driver"),
            settings: workspace.settings.clone(),
            target: workspace.target.clone(),
            driver: None,
            next: 1,
        };
        fs::create_dir_all(&workspace.dir)
            .with_context(|| format!("failed to make `{}`", workspace.dir.display()))?;
        (subject.entry.probe)(&workspace.dir, subject.variant, &workspace.settings)?;
        fixture.resume()?;
        Ok(fixture)
    }

    /// Lets go of the backing file system.
    pub(crate) fn suspend(&mut self) {
        self.driver = None;
    }

    /// Opens the driver again.
    pub(crate) fn resume(&mut self) -> anyhow::Result<()> {
        let options = OpenOptions {
            root: self.root.clone(),
            variant: self.subject.variant,
            settings: self.settings.clone(),
            store: "cowlab-bench".to_owned(),
        };
        self.driver = Some((self.subject.entry.open)(&options)?);
        Ok(())
    }

    fn driver(&self) -> anyhow::Result<&dyn Driver> {
        self.driver
            .as_deref()
            .context("the driver is not open: the backing file system is being mounted again")
    }

    /// Makes a committed snapshot: `fill` writes its content into the mounted directory.
    ///
    /// # Errors
    ///
    /// What the driver, the mount or `fill` could not do.
    pub(crate) fn base(
        &mut self,
        fill: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Chain> {
        let active = self.fresh(None)?;
        let filled = fill(active.dir());
        let Active { chain, guard, .. } = active;
        close(guard)?;
        let driver = self.driver()?;
        driver.deactivate(chain.head())?;
        filled?;
        driver.flush(chain.head(), Durability::None)?;
        driver.freeze(chain.head())?;
        Ok(chain)
    }

    /// Makes a writable snapshot on top of `parent` and mounts it.
    ///
    /// # Errors
    ///
    /// What the driver or the mount could not do. The snapshot is gone then.
    pub(crate) fn fresh(&mut self, parent: Option<&Chain>) -> anyhow::Result<Active> {
        let chain = self.create(parent)?;
        self.mount(chain)
    }

    /// Makes a writable snapshot on top of `parent`, to be mounted later.
    pub(crate) fn create(&mut self, parent: Option<&Chain>) -> anyhow::Result<Chain> {
        let id = SnapshotId::new(self.next).context("the driver has no snapshot number left")?;
        self.next += 1;
        self.driver()?
            .create(id, parent, &CreateOptions::default())?;
        let ancestors = parent.map_or_else(Vec::new, |parent| parent.iter().collect());
        Ok(Chain::new(id, ancestors))
    }

    /// Mounts a snapshot that was made before.
    ///
    /// # Errors
    ///
    /// What the driver or the mount could not do. The snapshot is gone then.
    pub(crate) fn mount(&self, chain: Chain) -> anyhow::Result<Active> {
        let driver = self.driver()?;
        let mounted = driver
            .activate(&chain, Access::ReadWrite)
            .and_then(|active| Ok((active.mount_at(&self.target)?, active.into_mounts())));
        match mounted {
            Ok((guard, mounts)) => Ok(Active {
                chain,
                mounts,
                guard,
            }),
            Err(error) => {
                driver.deactivate(chain.head())?;
                driver.destroy(chain.head())?;
                Err(error.into())
            }
        }
    }

    /// Unmounts a snapshot and destroys it.
    pub(crate) fn finish(&self, active: Active) -> anyhow::Result<()> {
        let id = active.chain.head();
        close(active.guard)?;
        let driver = self.driver()?;
        driver.deactivate(id)?;
        driver.destroy(id)?;
        Ok(())
    }

    /// What the snapshot allocates for itself, by its own files.
    ///
    /// # Errors
    ///
    /// What the driver could not read.
    pub(crate) fn own(&self, active: &Active) -> anyhow::Result<Allocation> {
        Ok(self.driver()?.usage(active.chain.head())?.exclusive)
    }
}

impl Active {
    /// The directory it is mounted on.
    #[must_use]
    pub(crate) fn dir(&self) -> &Path {
        self.guard.target()
    }

    /// Where the file system below keeps a file before its first change: cachestat(2) on an overlay file reports
    /// nothing.
    #[must_use]
    pub(crate) fn real(&self, name: &str) -> PathBuf {
        match &self.mounts {
            // The newest layer below comes first, and the workload's file is there.
            Mounts::FileSystem(spec) => option(&spec.options, "lowerdir+")
                .unwrap_or_else(|| self.dir().to_owned())
                .join(name),
            Mounts::Bind { source, .. } => source.join(name),
        }
    }

    /// Where a changed file has to appear, if the driver changes files in a directory of their own.
    #[must_use]
    pub(crate) fn upper(&self, name: &str) -> Option<PathBuf> {
        match &self.mounts {
            Mounts::FileSystem(spec) => {
                option(&spec.options, "upperdir").map(|upper| upper.join(name))
            }
            Mounts::Bind { .. } => None,
        }
    }
}

fn close(mut guard: MountGuard) -> anyhow::Result<()> {
    Ok(guard.close()?)
}

/// The first value of a mount option.
fn option(options: &[MountOption], wanted: &str) -> Option<PathBuf> {
    options.iter().find_map(|option| match option {
        MountOption::Text(name, value) if name == wanted => Some(PathBuf::from(value)),
        _ => None,
    })
}
