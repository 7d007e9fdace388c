//! Finds out, by doing, whether thin snapshots work in a pool.

use std::path::Path;

use cowlab_driver::{
    Access, Chain, CreateOptions, Driver, Durability, Error, Mounts, OpenOptions, ProbeDir, Result,
    Settings, SnapshotId, Variant,
};
use cowlab_sys::mount::DetachedMount;

use crate::driver::DeviceMapperThin;
use crate::filesystem::FileSystem;
use crate::missing::require_program;
use crate::thin::{BASE, mark_of, named_pool};

/// Who owns the pool for the time of the probe.
const OWNER: &str = "probe";

/// Makes two snapshots in an empty pool, mounts the second, and leaves the pool as it was. A pool that has an owner is
/// only looked at.
pub(crate) fn probe(dir: &Path, variant: &'static Variant, settings: &Settings) -> Result<()> {
    let pool = named_pool(settings)?;
    require_program(FileSystem::try_from(settings)?.mkfs())?;
    let found = pool.require(None).and_then(|()| pool.status());
    let status = found.map_err(unavailable)?;
    if status.transaction != 0 {
        return pool.require_health(&status);
    }
    pool.require_unused().map_err(unavailable)?;
    // Its own for each pool: the UUIDs of devices follow from it, and no two devices may have the same.
    let owner = format!("{OWNER} of {}", pool.name);
    let place = ProbeDir::make(dir)?;
    let options = OpenOptions {
        root: place.path().join("driver"),
        variant,
        settings: settings.clone(),
        store: owner.clone(),
    };
    let tried = try_out(&options);
    let mark = mark_of(&owner);
    if pool.status()?.transaction == mark {
        let messages = [
            format!("delete {BASE}"),
            format!("set_transaction_id {mark} 0"),
        ];
        for message in messages {
            pool.control.message(&pool.name, &message)?;
        }
    }
    place.close()?;
    tried
}

fn try_out(options: &OpenOptions) -> Result<()> {
    let driver = DeviceMapperThin::open(options)?;
    let id =
        |number| SnapshotId::new(number).ok_or_else(|| Error::missing("a snapshot number", ""));
    let (parent, child) = (id(1)?, id(2)?);
    let tried = driver
        .create(parent, None, &CreateOptions::default())
        .and_then(|()| driver.flush(parent, Durability::None))
        .and_then(|()| driver.freeze(parent))
        .and_then(|()| {
            let parent = Chain::new(parent, Vec::new());
            driver.create(child, Some(&parent), &CreateOptions::default())
        })
        .and_then(|()| driver.activate(&Chain::new(child, vec![parent]), Access::ReadWrite))
        .and_then(|active| mount(&active));
    for id in [child, parent] {
        driver.destroy(id)?;
    }
    // Or the pool would be refused the next time, for what its data device holds.
    driver.thin.wipe_base()?;
    tried
}

fn mount(mounts: &Mounts) -> Result<()> {
    match mounts {
        Mounts::FileSystem(spec) => drop(DetachedMount::new(spec)?),
        Mounts::Bind { .. } => {}
    }
    Ok(())
}

/// A pool that is not there or not ours to use is something that is missing here.
fn unavailable(error: Error) -> Error {
    match error {
        Error::Pool {
            pool,
            state,
            remedy,
        } => Error::missing(format!("a usable thin pool (`{pool}` {state})"), remedy),
        other => other,
    }
}
