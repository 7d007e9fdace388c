//! What cases about full disks have in common: refusals that say that there is no room.

use cowlab_driver::Error as DriverError;
use cowlab_snapshots::Error as StoreError;
use cowlab_sys::Errno;

use crate::context::{Context, Result, expect};
use crate::difference::Difference;

/// Leaves this much space, in bytes: enough for a mount and the store's rows (ext4 keeps up to 16 MiB back from
/// everybody, sysfs `reserved_clusters`), too little for the layer.
pub(crate) const LEFT: u64 = 24 << 20;

/// Whether an error says that there is no room. A pool that the driver makes its snapshots of is named, with what to do.
fn is_told(context: &Context, error: &StoreError) -> bool {
    let pool = context.small().map(|small| small.pool.as_str());
    let has_own_pool = context.names_its_pool();
    match error {
        StoreError::Driver { reason, .. } => match &**reason {
            DriverError::Pool { pool: named, .. } => Some(named.as_str()) == pool,
            DriverError::Sys(error) => !has_own_pool && error.errno() == Some(Errno::NOSPC),
            _ => false,
        },
        StoreError::Layer { reason, .. } => !has_own_pool && reason.errno() == Some(Errno::NOSPC),
        StoreError::Sys(error) => !has_own_pool && error.errno() == Some(Errno::NOSPC),
        // The database lies on the file system that is full.
        StoreError::Database { .. } => !has_own_pool,
        _ => false,
    }
}

/// Expects a refusal that says that there is no room.
pub(crate) fn told<T>(
    context: &Context,
    what: &str,
    given: std::result::Result<T, StoreError>,
) -> Result<()> {
    match given {
        Err(error) if is_told(context, &error) => Ok(()),
        Err(error) => Err(Difference::new(what, "error", "no room", error.to_string())),
        Ok(_) => Err(Difference::new(what, "error", "no room", "success")),
    }
}

/// Expects that whoever asks for the reason of a refused write is told of the pool, where the driver knows it.
pub(crate) fn expect_pool_named(context: &Context) -> Result<()> {
    if !context.names_its_pool() {
        return Ok(());
    }
    let pool = context.small().map(|small| small.pool.clone());
    let named = match context.store().health() {
        Err(StoreError::Unusable(DriverError::Pool { pool, .. })) => pool,
        _ => "none".to_owned(),
    };
    expect("health", "full pool", pool.unwrap_or_default(), named)
}
