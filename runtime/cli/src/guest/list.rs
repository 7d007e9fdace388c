//! `cowlab guest list`, and how an image is told.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use cowlab_guest::{Cache, Image};
use serde_json::json;

use crate::exit;

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
}

/// Lists the images, newest first; the one that runs when no release is named is marked.
pub(super) fn run(args: &ListArgs) -> anyhow::Result<u8> {
    let cache = Cache::open()?;
    let images = cache.images()?;
    let default = cache.find(None).ok().flatten().map(|image| image.dir);
    let is_default = |image: &Image| default.as_ref() == Some(&image.dir);
    let mut out = std::io::stdout().lock();
    if args.json {
        let rows = images.iter().map(|image| row(image, is_default(image)));
        writeln!(out, "{}", rows.collect::<serde_json::Value>())?;
        return Ok(exit::OK);
    }
    if images.is_empty() {
        let root = cache.root().display();
        writeln!(
            std::io::stderr(),
            "no image in `{root}`: `guest build` makes one"
        )?;
    }
    for image in &images {
        writeln!(out, "{}", line(image, is_default(image)))?;
    }
    Ok(exit::OK)
}

/// Prints what became of an image.
pub(super) fn say(image: &Image, word: &str) -> anyhow::Result<u8> {
    let manifest = &image.manifest;
    let (release, kernel, zfs) = (manifest.release, &manifest.kernel, &manifest.zfs);
    let directory = image.dir.display();
    writeln!(
        std::io::stdout(),
        "{word}: {release} (Linux {kernel}, ZFS {zfs}) in {directory}"
    )?;
    Ok(exit::OK)
}

fn line(image: &Image, default: bool) -> String {
    let manifest = &image.manifest;
    let (size, age) = (manifest.bytes.div_ceil(1 << 20), age_text(age(image)));
    let (release, kernel, zfs) = (manifest.release, &manifest.kernel, &manifest.zfs);
    let mark = if default { "  (default)" } else { "" };
    format!("{release:<20} Linux {kernel:<30} ZFS {zfs:<8} {size:>5} MiB  {age}{mark}")
}

fn row(image: &Image, default: bool) -> serde_json::Value {
    let manifest = &image.manifest;
    json!({
        "directory": image.dir,
        "release": manifest.release,
        "kernel": manifest.kernel,
        "zfs": manifest.zfs,
        "key": manifest.key,
        "created": manifest.created,
        "age_seconds": age(image),
        "bytes": manifest.bytes,
        "default": default,
    })
}

/// Seconds since the image was built; 0 where the clock went back.
fn age(image: &Image) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    now.saturating_sub(image.manifest.created)
}

fn age_text(seconds: u64) -> String {
    match seconds {
        0..3600 => format!("{} min old", seconds / 60),
        3600..172_800 => format!("{} h old", seconds / 3600),
        _ => format!("{} days old", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_the_unit_that_fits() {
        assert_eq!(age_text(59), "0 min old");
        assert_eq!(age_text(7200), "2 h old");
        assert_eq!(age_text(86_400 * 3), "3 days old");
    }
}
