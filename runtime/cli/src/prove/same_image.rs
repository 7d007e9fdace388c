//! Unpacks one image with every driver and compares what a container would see: every entry of the tree with its
//! metadata, and the archive that each layer is exported as, byte for byte by its digest.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use clap::ValueEnum;
use cowlab_conformance::compare::{Times, first_difference};
use cowlab_conformance::manifest::Manifest;
use cowlab_runtime::layout::Image;
use cowlab_runtime::sample::{self, Origin, Sample};
use cowlab_runtime::unpack::{chain_ids, unpack};
use cowlab_snapshots::{DiffOptions, Store, StoreOptions};
use cowlab_sys::Guard;
use cowlab_testbed::{Backing, Media, Run};

use super::{Driver, Findings, on_file_system, say, stop_if_asked};

/// The size of a file system, in bytes, for eleven full copies of the tree; it is sparse.
const SPACE: u64 = 8 << 30;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Have a driver go wrong.
    #[arg(long, value_enum)]
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// The last driver alters the mode of one directory.
    Mode,
}

/// What a driver made of the image.
struct Seen {
    driver: Driver,
    tree: Manifest,
    /// The digest of each layer's export and its size, base first.
    exports: Vec<(String, u64)>,
}

/// Proves the claim.
pub(super) fn prove(args: &Args, run: &Run, findings: &mut Findings) -> anyhow::Result<()> {
    let sample = on_file_system(run, Backing::Ext4, Media::Disk, SPACE, |place| {
        let entry = Driver::Overlay2.entry();
        let workshop = Store::open(&place.join("workshop"), entry, &StoreOptions::default())?;
        let dir = run.scratch("sample")?.join("image");
        Ok(sample::make(&workshop, &dir, &mut |_| {})?)
    })?;
    let image = sample.layout.image(None)?;
    say(match &sample.origin {
        Origin::Debian(suite) => format!("the image is Debian {suite}"),
        Origin::Generated(why) => format!("the image is generated: {why}"),
    })?;
    let mut seen = Vec::new();
    for driver in Driver::ALL {
        stop_if_asked()?;
        let fault = args.fault.filter(|_| seen.len() + 1 == Driver::ALL.len());
        let one = on_file_system(run, driver.backing(), Media::Disk, SPACE, |place| {
            look(driver, place, &sample, &image, fault)
        })?;
        let bytes: u64 = one.exports.iter().map(|(_, size)| size).sum();
        say(format_args!(
            "{} on {}: {} entries, {} layers exported to {} MiB",
            driver.name(),
            driver.backing(),
            one.tree.entries.len(),
            one.exports.len(),
            bytes >> 20,
        ))?;
        seen.push(one);
    }
    compare(&seen, findings);
    round_trips(&seen, &image)
}

fn look(
    driver: Driver,
    place: &Path,
    sample: &Sample,
    image: &Image,
    fault: Option<Fault>,
) -> anyhow::Result<Seen> {
    let store = Store::open(
        &place.join("store"),
        driver.entry(),
        &StoreOptions::default(),
    )?;
    unpack(&store, &sample.layout, image, |_| {})?;
    let names = chain_ids(image.layers.iter().map(|layer| &layer.diff_id));
    // Without sparse files in it: where the holes of a tree are is for the file system to say.
    let options = DiffOptions { sparse: false };
    let mut exports = Vec::new();
    for name in &names {
        let written = store.diff(name, &mut std::io::sink(), &options)?;
        exports.push((written.diff_id.to_string(), written.size));
    }
    let top = names.last().context("the image has no layers")?;
    let target = place.join("tree");
    fs::create_dir(&target)?;
    if fault == Some(Fault::Mode) {
        store.prepare("seen", Some(top), &Default::default())?;
    } else {
        store.view("seen", top)?;
    }
    let mut mounted = store.mount("seen", &target)?;
    if fault == Some(Fault::Mode) {
        fs::set_permissions(target.join("etc"), fs::Permissions::from_mode(0o700))?;
    }
    let tree = Manifest::capture(&target);
    let closed = mounted.close();
    let tree = tree?;
    closed?;
    Ok(Seen {
        driver,
        tree,
        exports,
    })
}

fn compare(seen: &[Seen], findings: &mut Findings) {
    let Some((first, others)) = seen.split_first() else {
        return;
    };
    for other in others {
        let pair = format!("{} and {}", first.driver.name(), other.driver.name());
        if let Some(difference) = first_difference(&first.tree, &other.tree, Times::Exact) {
            findings.add(format_args!("{pair} differ in {difference}"));
        }
        for (number, (one, two)) in first.exports.iter().zip(&other.exports).enumerate() {
            if one != two {
                findings.add(format_args!(
                    "{pair} export layer {number} as {} of {} bytes and {} of {} bytes",
                    one.0, one.1, two.0, two.1
                ));
            }
        }
    }
}

/// Says how many layers are exported as the very archive that they were applied from. It is no claim: an archive of
/// another program orders and words its entries in its own way.
fn round_trips(seen: &[Seen], image: &Image) -> anyhow::Result<()> {
    for one in seen {
        let same = one
            .exports
            .iter()
            .zip(&image.layers)
            .filter(|((digest, _), layer)| *digest == layer.diff_id.to_string())
            .count();
        say(format_args!(
            "{}: {same} of {} layers are exported as the archive they came from",
            one.driver.name(),
            image.layers.len()
        ))?;
    }
    Ok(())
}
