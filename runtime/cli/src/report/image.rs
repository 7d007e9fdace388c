//! The image that a report measures with: the user's, or one made of a Debian root file system.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cowlab_driver::{Entry, Settings};
use cowlab_reports::result::{Image as ImageFacts, Line};
use cowlab_runtime::layout::{Image, Layout};
use cowlab_runtime::sample::{self, Origin};
use cowlab_runtime::unpack::unpack;
use cowlab_snapshots::{Store, StoreOptions};
use cowlab_sys::Guard;
use cowlab_testbed::{Backing, BackingOptions, Run};

/// The size of the workshop's file system: sparse, so only what is written costs.
const WORKSHOP: u64 = 16 << 30;

/// Returns the layout to measure with, and the line that describes it.
///
/// The image is unpacked once, whoever made it: a layout that is broken is found here, not in the middle of a measurement.
///
/// # Errors
///
/// When the user's layout is not usable, or the image cannot be unpacked.
pub(super) fn provide(
    given: Option<&Path>,
    run: &Run,
    say: &mut dyn FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<(PathBuf, Line)> {
    let options = BackingOptions {
        bytes: WORKSHOP,
        ..BackingOptions::default()
    };
    let mut filesystem = run.backing(Backing::Ext4, &options)?;
    let dir = filesystem.mount_point().to_owned();
    let made = workshop(&dir).and_then(|store| match given {
        Some(given) => {
            let layout = Layout::open(given)?;
            let made = format!("given: {}", given.display());
            Ok((
                given.to_owned(),
                describe(&store, &layout, &layout.image(None)?, made)?,
            ))
        }
        None => sample_image(&store, &run.scratch("image")?.join("layout"), say),
    });
    filesystem.close()?;
    made
}

fn sample_image(
    store: &Store,
    dir: &Path,
    say: &mut dyn FnMut(&str) -> anyhow::Result<()>,
) -> anyhow::Result<(PathBuf, Line)> {
    let mut trouble = None;
    let sample = sample::make(store, dir, sample::Thin::Zstd, &mut |text| {
        if let Err(error) = say(text) {
            trouble = Some(error);
        }
    })?;
    if let Some(error) = trouble {
        return Err(error);
    }
    let made = match &sample.origin {
        Origin::Debian(suite) => format!(
            "mmdebstrap, variant minbase of {suite} from this host's apt sources, and ten thin layers"
        ),
        Origin::Generated(why) => {
            format!("generated tree and ten thin layers, because Debian was not to be had: {why}")
        }
    };
    let image = sample.layout.image(Some(sample::NAME))?;
    let line = describe(store, &sample.layout, &image, made)?;
    Ok((dir.to_owned(), line))
}

/// Opens a store with the first driver that runs here.
fn workshop(dir: &Path) -> anyhow::Result<Store> {
    let able = |entry: &&&'static Entry| {
        (entry.probe)(dir, entry.default_variant(), &Settings::new()).is_ok()
    };
    let entry = cowlab_drivers::all()
        .iter()
        .find(able)
        .context("no driver runs on ext4 here, not even a plain copy")?;
    Ok(Store::open(
        &dir.join("store"),
        entry,
        &StoreOptions::default(),
    )?)
}

fn describe(store: &Store, layout: &Layout, image: &Image, made: String) -> anyhow::Result<Line> {
    let layers = unpack(store, layout, image, |_| {})?;
    let top = layers.last().context("the image has no layers")?;
    let target = store.root().join("view");
    fs::create_dir(&target).with_context(|| format!("failed to make `{}`", target.display()))?;
    store.view("report", &top.chain_id)?;
    let mut mounted = store.mount("report", &target)?;
    let measured = measure(&target);
    mounted.close()?;
    let (bytes, entries) = measured?;
    Ok(Line::Image(ImageFacts {
        name: image.name.clone(),
        layers: u32::try_from(layers.len()).unwrap_or(u32::MAX),
        bytes,
        entries,
        made,
    }))
}

/// Bytes of all files and number of entries of a tree; a file with several names counts once.
fn measure(root: &Path) -> anyhow::Result<(u64, u64)> {
    let (mut bytes, mut entries) = (0, 0);
    let mut seen = std::collections::BTreeSet::new();
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in
            fs::read_dir(&dir).with_context(|| format!("failed to read `{}`", dir.display()))?
        {
            let entry = entry?;
            let metadata = entry.metadata()?;
            entries += 1;
            if metadata.is_dir() {
                pending.push(entry.path());
            } else if metadata.is_file() && (metadata.nlink() == 1 || seen.insert(metadata.ino())) {
                bytes += metadata.size();
            }
        }
    }
    Ok((bytes, entries))
}
