//! Unpacks one image with every driver and compares what a container would see: every entry of the tree with its
//! metadata, the changes of each layer, and the archive that it is exported as, byte for byte by its digest.
//!
//! One difference is known, and nothing else passes for it: where a layer replaces one of several names of a file,
//! overlayfs goes on counting it, since the other names are below, as they were (overlayfs.rst, "Non-standard behavior":
//! copying up breaks hard links). The proof counts these files. A driver that declares that its listings show other inode
//! numbers than stat is not compared in these.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use clap::ValueEnum;
use cowlab_conformance::cases::inode::LISTED_NUMBERS;
use cowlab_conformance::compare::{Times, first_difference};
use cowlab_conformance::manifest::Manifest;
use cowlab_conformance::terms::Kind;
use cowlab_driver::CopyUp;
use cowlab_layer::{Change, DiffOptions};
use cowlab_runtime::layout::Image;
use cowlab_runtime::sample::{self, Origin, Sample};
use cowlab_runtime::unpack::{chain_ids, unpack};
use cowlab_snapshots::{Store, StoreOptions};
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
    /// The layers, base first.
    layers: Vec<Exported>,
    /// Files that count names which an upper layer hides.
    overcounted: usize,
}

/// A layer as a driver gives it back.
#[derive(Debug)]
struct Exported {
    digest: String,
    bytes: u64,
    changes: Vec<Change>,
}

/// Proves the claim.
pub(super) fn prove(args: &Args, run: &Run, findings: &mut Findings) -> anyhow::Result<()> {
    let sample = on_file_system(run, Backing::Ext4, Media::Disk, SPACE, |place| {
        let entry = Driver::usual().entry();
        let workshop = Store::open(&place.join("workshop"), entry, &StoreOptions::default())?;
        let dir = run.scratch("sample")?.join("image");
        Ok(sample::make(
            &workshop,
            &dir,
            sample::Thin::Zstd,
            &mut |_| {},
        )?)
    })?;
    let image = sample.layout.image(None)?;
    say(match &sample.origin {
        Origin::Debian(suite) => format!("the image is Debian {suite}"),
        Origin::Generated(why) => format!("the image is generated: {why}"),
    })?;
    let mut seen = Vec::new();
    let drivers = Driver::all();
    for driver in &drivers {
        stop_if_asked()?;
        let fault = args.fault.filter(|_| seen.len() + 1 == drivers.len());
        let one = on_file_system(run, driver.backing(), Media::Disk, SPACE, |place| {
            look(*driver, place, &sample, &image, fault)
        })?;
        let bytes: u64 = one.layers.iter().map(|layer| layer.bytes).sum();
        say(format_args!(
            "{} on {}: {} entries, {} layers exported to {} MiB, {} files that count hidden names",
            driver.name(),
            driver.backing(),
            one.tree.entries.len(),
            one.layers.len(),
            bytes >> 20,
            one.overcounted,
        ))?;
        seen.push(one);
    }
    for (number, one) in seen.iter().enumerate() {
        for two in &seen[number + 1..] {
            compare(one, two, findings);
        }
    }
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
    let options = DiffOptions {
        sparse: false,
        ..DiffOptions::default()
    };
    let mut layers = Vec::new();
    for name in &names {
        let written = store.diff(name, &mut std::io::sink(), &options)?;
        layers.push(Exported {
            digest: written.diff_id.to_string(),
            bytes: written.size,
            changes: store.changes(name)?,
        });
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
    let mut tree = tree?;
    closed?;
    let names_other_numbers = driver
        .entry()
        .deviations_on(
            driver.entry().default_variant().name,
            driver.backing().name(),
        )
        .any(|deviation| deviation.case == LISTED_NUMBERS);
    if names_other_numbers {
        for entry in tree.entries.values_mut() {
            entry.inode_agrees = true;
        }
    }
    // A union of directories counts the names that a layer has, whatever hides them.
    let overcounted = match driver.entry().info.copy_up {
        CopyUp::File => count_again(&mut tree),
        CopyUp::Blocks | CopyUp::Everything => 0,
    };
    Ok(Seen {
        driver,
        tree,
        layers,
        overcounted,
    })
}

/// Has every file count the names that the tree has, and returns how many counted more.
fn count_again(tree: &mut Manifest) -> usize {
    let groups = tree.link_groups();
    let names = |path: &[u8]| groups.get(path).map_or(1, Vec::len);
    let overcounted: Vec<_> = tree
        .entries
        .iter()
        .filter(|(_, entry)| entry.kind == Kind::File)
        .filter_map(|(path, entry)| {
            let names = u64::try_from(names(path)).unwrap_or(u64::MAX);
            (entry.link_count > names).then(|| (path.clone(), names))
        })
        .collect();
    for (path, names) in &overcounted {
        if let Some(entry) = tree.entries.get_mut(path) {
            entry.link_count = *names;
        }
    }
    overcounted.len()
}

fn compare(one: &Seen, two: &Seen, findings: &mut Findings) {
    let pair = format!("{} and {}", one.driver.name(), two.driver.name());
    if let Some(difference) = first_difference(&one.tree, &two.tree, Times::Exact) {
        findings.add(format_args!("{pair} differ in {difference}"));
    }
    for (number, (left, right)) in one.layers.iter().zip(&two.layers).enumerate() {
        let only = |these: &Exported, those: &Exported| {
            let only = these
                .changes
                .iter()
                .filter(|one| !those.changes.contains(one));
            only.map(|change| format!("{change:?}")).collect::<Vec<_>>()
        };
        for change in only(left, right).into_iter().chain(only(right, left)) {
            findings.add(format_args!("{pair} differ in layer {number}: {change}"));
        }
        if (&left.digest, left.bytes) != (&right.digest, right.bytes) {
            findings.add(format_args!(
                "{pair} export layer {number} as {} of {} bytes and {} of {} bytes",
                left.digest, left.bytes, right.digest, right.bytes
            ));
        }
    }
}

/// Says how many layers are exported as the very archive that they were applied from. It is no claim: an archive of
/// another program orders and words its entries in its own way.
fn round_trips(seen: &[Seen], image: &Image) -> anyhow::Result<()> {
    for one in seen {
        let same = one
            .layers
            .iter()
            .zip(&image.layers)
            .filter(|(exported, layer)| exported.digest == layer.diff_id.to_string())
            .count();
        say(format_args!(
            "{}: {same} of {} layers are exported as the archive they came from",
            one.driver.name(),
            image.layers.len()
        ))?;
    }
    Ok(())
}
