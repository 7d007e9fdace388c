//! Makes the image that measurements use when nobody gives one: a Debian root file system as a base layer
//! and ten thin layers over it.
//!
//! The root comes from mmdebstrap and the host's own apt configuration. Where that is not to be had, a
//! generated tree of the same shape stands in, and [`Origin`] says so.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use oci_spec::image::{
    ConfigBuilder, ImageConfiguration, ImageConfigurationBuilder, MediaType, RootFsBuilder,
};
use sha2::{Digest as _, Sha256};

use cowlab_layer::{DiffId, DiffOptions};
use cowlab_snapshots::{CommitOptions, PrepareOptions, Store};
use cowlab_sys::Guard;
use cowlab_sys::cmd::Cmd;

use crate::layout::{Layer, Layout};
use crate::unpack::{self, chain_ids};
use crate::{Error, Result};

mod edits;
mod generated;

/// The name of the image in its layout.
pub const NAME: &str = "cowlab-sample";

/// Where the base layer came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// mmdebstrap made it: the suite.
    Debian(String),
    /// A generated tree: why Debian was not to be had.
    Generated(String),
}

/// A sample image.
#[derive(Debug)]
pub struct Sample {
    /// The layout that holds it, under [`NAME`].
    pub layout: Layout,
    /// Where its base layer came from.
    pub origin: Origin,
}

/// How the thin layers are compressed; the base layer is always gzip's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thin {
    /// As images are today.
    Zstd,
    /// As every tool reads them.
    Gzip,
}

/// Makes the sample image in `dir`, which must not exist, with `store` as its workshop.
///
/// The snapshots made in `store` stay there, named by chain id: an unpack into the same store finds them.
///
/// # Errors
///
/// When the directory or the store cannot be written. That Debian cannot be had is no error.
pub fn make(
    store: &Store,
    dir: &Path,
    thin: Thin,
    progress: &mut dyn FnMut(&str),
) -> Result<Sample> {
    let layout = Layout::create(dir)?;
    let tar = dir.join("base.tar");
    progress("making the base layer with mmdebstrap");
    let origin = match debian_root(&tar) {
        Ok(suite) => Origin::Debian(suite),
        Err(because) => {
            progress(&format!(
                "no Debian root file system ({because}): using a generated tree"
            ));
            cowlab_sys::io("write", &tar, generated::write_tar(&tar))?;
            Origin::Generated(because)
        }
    };
    let mut layers = vec![add_base(&layout, &tar)?];
    cowlab_sys::io("unlink", &tar, fs::remove_file(&tar))?;
    // What the thin layers are made from is what an unpack makes.
    let base = &layers[0];
    unpack::apply(store, &layout, base, &chain_ids([&base.diff_id])[0], None)?;
    for edit in edits::ALL {
        progress(edit.what);
        let layer = add_edit(store, &layout, &layers, edit, thin)?;
        layers.push(layer);
    }
    layout.add_image(NAME, &configuration(&layout, &layers)?, &layers)?;
    Ok(Sample { layout, origin })
}

/// Writes the tar of a Debian root file system: runs mmdebstrap with the Debian sources that apt is configured with. Returns
/// the suite.
///
/// # Errors
///
/// The reason why it cannot be had, for people.
pub fn debian_root(tar: &Path) -> std::result::Result<String, String> {
    if Cmd::find("mmdebstrap").is_none() {
        return Err("mmdebstrap is not installed: apt-get install mmdebstrap".to_owned());
    }
    let release = fs::read_to_string("/etc/os-release")
        .map_err(|error| format!("/etc/os-release: {error}"))?;
    let (suite, sources) = debian_sources(&release)?;
    Cmd::new("mmdebstrap")
        .args([
            "--quiet",
            "--variant=minbase",
            "--mode=root",
            "--format=tar",
        ])
        .args([
            "--keyring=/usr/share/keyrings",
            "--keyring=/etc/apt/trusted.gpg.d",
        ])
        // What a daily image would carry anyway; it saves a third of the size.
        .args(["--dpkgopt=path-exclude=/usr/share/locale/*"])
        .arg(&suite)
        .arg(tar)
        .args(&sources)
        .run()
        .map_err(|error| error.to_string())?;
    Ok(suite)
}

/// Reads the suite and the `deb` lines of this host's own release out of apt's configuration.
///
/// Other repositories are left out: their keys and their packages have no place in a minimal root.
fn debian_sources(os_release: &str) -> std::result::Result<(String, Vec<String>), String> {
    let field = |name: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
    };
    if field("ID").as_deref() != Some("debian") {
        return Err("this host is not Debian".to_owned());
    }
    let suite = field("VERSION_CODENAME").ok_or("os-release names no release")?;
    let targets = Cmd::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "deb $(REPO_URI) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages",
        ])
        .read()
        .map_err(|error| error.to_string())?;
    let lines = main_sources(&targets, &suite);
    if lines.is_empty() {
        return Err(format!("apt has no source for {suite}"));
    }
    Ok((suite, lines))
}

fn main_sources(targets: &str, suite: &str) -> Vec<String> {
    let mut lines: Vec<String> = targets
        .lines()
        .filter(|line| {
            let mut words = line.split_whitespace().skip(2);
            let release = words.next().unwrap_or_default();
            (release == suite || release.starts_with(&format!("{suite}-")))
                && words.next() == Some("main")
        })
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines.dedup();
    lines
}

/// Adds the base tar as a gzip blob, digesting both sides of the compressor.
fn add_base(layout: &Layout, tar: &Path) -> Result<Layer> {
    let (blob, diff_id) = layout.add_blob(MediaType::ImageLayerGzip, |blob| {
        let mut source =
            BufReader::with_capacity(1 << 20, cowlab_sys::io("open", tar, File::open(tar))?);
        let mut tee = Tee {
            inner: GzEncoder::new(blob, Compression::fast()),
            digest: Sha256::new(),
        };
        cowlab_sys::io("copy", tar, io::copy(&mut source, &mut tee))?;
        cowlab_sys::io("compress", tar, tee.inner.finish())?;
        Ok(format!("{:x}", tee.digest.finalize()))
    })?;
    Ok(Layer {
        blob,
        diff_id: parse(layout, &format!("sha256:{diff_id}"))?,
    })
}

/// Makes the next thin layer: the edit in a writable snapshot, its diff as a blob.
fn add_edit(
    store: &Store,
    layout: &Layout,
    below: &[Layer],
    edit: &edits::Edit,
    thin: Thin,
) -> Result<Layer> {
    let chain = chain_ids(below.iter().map(|layer| &layer.diff_id));
    let key = format!("sample-{}", edit.name);
    let target = layout.dir().join("workshop");
    store.prepare(
        &key,
        chain.last().map(String::as_str),
        &PrepareOptions::default(),
    )?;
    cowlab_sys::io("mkdir", &target, fs::create_dir_all(&target))?;
    let mut mount = store.mount(&key, &target)?;
    cowlab_sys::io("edit", &target, (edit.apply)(&target))?;
    mount.close()?;
    cowlab_sys::io("rmdir", &target, fs::remove_dir(&target))?;
    let diff = |sink: &mut dyn Write| store.diff(&key, sink, &DiffOptions::default());
    let path = layout.dir();
    let (blob, diff_id) = match thin {
        Thin::Zstd => layout.add_blob(MediaType::ImageLayerZstd, |blob| {
            let mut encoder = cowlab_sys::io("compress", path, zstd::Encoder::new(blob, 1))?;
            let written = diff(&mut encoder)?;
            cowlab_sys::io("compress", path, encoder.finish())?;
            Ok(written.diff_id)
        })?,
        Thin::Gzip => layout.add_blob(MediaType::ImageLayerGzip, |blob| {
            let mut encoder = GzEncoder::new(blob, Compression::fast());
            let written = diff(&mut encoder)?;
            cowlab_sys::io("compress", path, encoder.finish())?;
            Ok(written.diff_id)
        })?,
    };
    let layer = Layer { blob, diff_id };
    let name = chain_ids(
        below
            .iter()
            .map(|layer| &layer.diff_id)
            .chain([&layer.diff_id]),
    )
    .pop()
    .unwrap_or_default();
    store.commit(&key, &name, &CommitOptions::default())?;
    Ok(layer)
}

fn parse(layout: &Layout, digest: &str) -> Result<DiffId> {
    digest
        .parse()
        .map_err(|error| Error::layout(layout.dir(), error))
}

fn configuration(layout: &Layout, layers: &[Layer]) -> Result<ImageConfiguration> {
    let build = || {
        let rootfs = RootFsBuilder::default()
            .typ("layers")
            .diff_ids(
                layers
                    .iter()
                    .map(|layer| layer.diff_id.to_string())
                    .collect::<Vec<_>>(),
            )
            .build()?;
        let config = ConfigBuilder::default()
            .cmd(vec!["/bin/sh".to_owned()])
            .build()?;
        ImageConfigurationBuilder::default()
            .os("linux")
            .config(config)
            .rootfs(rootfs)
            .build()
    };
    build().map_err(|error: oci_spec::OciSpecError| Error::layout(layout.dir(), error))
}

struct Tee<W> {
    inner: W,
    digest: Sha256,
}

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.digest.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Lists the files of a tree for the edits: relative paths, sorted, links not followed.
fn regular_files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_release_itself_is_taken_from_apt() {
        let targets = "deb http://mirror/debian/ bookworm main\n\
                       deb http://mirror/debian/ bookworm main\n\
                       deb http://mirror/debian/ bookworm contrib\n\
                       deb http://mirror/debian-security/ bookworm-security main\n\
                       deb http://elsewhere/ cloud-bookworm main\n";
        assert_eq!(
            main_sources(targets, "bookworm"),
            [
                "deb http://mirror/debian-security/ bookworm-security main",
                "deb http://mirror/debian/ bookworm main"
            ]
        );
    }
}
