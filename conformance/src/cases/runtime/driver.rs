//! What a root's driver is.

use cowlab_sys::cmd::Cmd;

use crate::context::Result;
use crate::prelude::*;
use crate::product::{Product, program};

/// What people are told about storage drivers.
pub(in crate::cases) const SEED: &[Case] = &[Case {
    id: "seed/20-a-driver-is-chosen-once",
    spec: "A root has the driver that was asked for, or the first that runs there, and is not opened with another.",
    see: &["docs.docker.com, storage, Select a storage driver"],
    catalogue: &["S20", "S22"],
    impact: Impact::DataLoss,
    run: Some(a_driver_is_chosen_once),
    ..super::BASE
}];

fn a_driver_is_chosen_once(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let name = context.entry().name;
    let driver = |root: &serde_json::Value| root["driver"].as_str().unwrap_or_default().to_owned();
    let info = product.json(&["info", "--json"])?;
    expect("info", "driver", name.to_owned(), driver(&info))?;
    let mut others = cowlab_drivers::all().iter().map(|entry| entry.name);
    let other = others.find(|other| *other != name).unwrap_or_default();
    product
        .run(&["info", "--driver", other])?
        .refused(2, other)?;
    product
        .run(&["info", "--driver", "aufs"])?
        .refused(2, "aufs")?;
    // Nobody says which: the first that runs, and the same one ever after.
    let root = context.dir().join("another-root").display().to_string();
    let program = program()?;
    let chosen = || -> Result<serde_json::Value> {
        let text = Cmd::new("env")
            .args(["-u", "COWLAB_DRIVER", "-u", "COWLAB_ROOT"])
            .arg(&program)
            .args(["info", "--json", "--root", &root])
            .read()?;
        Ok(serde_json::from_str(&text)?)
    };
    let first = driver(&chosen()?);
    expect("info", "a driver", true, !first.is_empty())?;
    expect("info", "driver", first, driver(&chosen()?))
}
