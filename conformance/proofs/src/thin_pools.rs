//! Thin pools in trouble: those of others, those that are gone, those that are full; snapshots that were cut off; and beside
//! a udev that runs.
//!
//! Each is refused, or named as the reason, by an error that says which pool it is and what to do; a pool of somebody else is
//! the same afterwards, byte by byte; and what was committed is there when the trouble is over. Made for the guest, which
//! has device-mapper.

mod activation;
mod crash;
mod foreign;
mod full;
mod pool;
mod udev;

use std::fs;
use std::path::Path;

use anyhow::Context;
use clap::ValueEnum;
use cowlab_driver::Settings;
use cowlab_snapshots::{Error, Store, StoreOptions};
use cowlab_testbed::{Backing, Media, Run};

use super::{Driver, Findings, on_backing, say};

/// The size of the pools, in bytes.
const SPACE: u64 = 256 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Have the claim be false.
    #[arg(long, value_enum)]
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// No pool is somebody else's, so none is refused.
    NobodyElse,
    /// The notes of refused writes are lost, so that what misses something is committed.
    NoNotes,
    /// No udev runs, so nobody waits for it.
    NoUdev,
}

/// Proves the claim.
pub(super) fn prove(args: &Args, run: &Run, findings: &mut Findings) -> anyhow::Result<()> {
    on_backing(run, Backing::ThinExt4, Media::Memory, SPACE, |made| {
        activation::prove(made, findings).context("between activation and mount")?;
        crash::prove(made, findings).context("after a crash")?;
        foreign::prove(made, args.fault, findings)?;
        udev::prove(made, args.fault, findings).context("beside udev")?;
        full::prove(made, args.fault, findings)
    })
}

fn open(root: &Path, settings: &Settings) -> Result<Store, Error> {
    let options = StoreOptions {
        settings: settings.clone(),
        ..StoreOptions::default()
    };
    let driver = Driver::of(Backing::ThinExt4).expect("the registry has a driver of thin pools");
    Store::open(root, driver.entry(), &options)
}

/// Expects an error with these words, and shows it: people have to make sense of it.
fn expect_refusal<T>(
    findings: &mut Findings,
    what: &str,
    words: &[&str],
    tried: Result<T, Error>,
) -> anyhow::Result<()> {
    match tried {
        Ok(_) => findings.add(format_args!("{what}: no error")),
        Err(error) => {
            let text = error.to_string();
            say(format_args!("{what}: {text}"))?;
            for word in words.iter().filter(|word| !text.contains(**word)) {
                findings.add(format_args!("{what}: the error does not say `{word}`"));
            }
        }
    }
    Ok(())
}

/// Commits a layer with one file `f`, which has the layer's name.
fn layer(store: &Store, target: &Path, parent: Option<&str>, name: &str) -> anyhow::Result<()> {
    store.prepare("layer", parent, &Default::default())?;
    let mounted = store.mount("layer", target)?;
    fs::write(target.join("f"), name)?;
    drop(mounted);
    store.commit("layer", name, &Default::default())?;
    Ok(())
}
