//! A device that one process made for a mount stays until the mount is made, whoever else releases the snapshot meanwhile.

use std::fs;

use anyhow::ensure;
use cowlab_driver::{Access, Error, Mounts, Result};
use cowlab_sys::mount::DetachedMount;
use cowlab_testbed::BackingFs;

use super::pool::Pool;
use super::{Findings, layer, open};
use crate::store::ids_of;

/// Proves it with a reader that comes between another's activation and mount.
pub(super) fn prove(made: &BackingFs, findings: &mut Findings) -> anyhow::Result<()> {
    let pool = Pool::fresh(made)?;
    let target = made.mount_point().join("activation-target");
    fs::create_dir(&target)?;
    let store = open(&made.mount_point().join("activation"), &pool.settings)?;
    layer(&store, &target, None, "base")?;
    store.view("view", "base")?;
    let driver = store.driver();
    let view = ids_of(&store, "view")?;
    let released = || driver.deactivate(view.head());

    let active = driver.activate(&view, Access::ReadOnly)?;
    expect_busy(findings, "an activation", &released());
    let Mounts::FileSystem(spec) = &*active else {
        anyhow::bail!("a thin device is bind-mounted");
    };
    let mount = DetachedMount::new(spec)?;
    drop(active);
    expect_busy(findings, "a mount", &released());
    let kept = fs::read_to_string(mount.path().join("f"))?;
    ensure!(kept == "base", "`f` reads `{kept}`");
    drop(mount);
    released()?;
    Ok(())
}

fn expect_busy(findings: &mut Findings, held_by: &str, released: &Result<()>) {
    if !matches!(released, Err(Error::Busy { .. })) {
        findings.add(format_args!(
            "a device that {held_by} needs was released: {released:?}"
        ));
    }
}
