//! `cowlab save`.

use std::fs::{self, File};
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use cowlab_runtime::Root;
use cowlab_runtime::image::SaveFormat;

use crate::exit;
use crate::root::RootArgs;

/// Saves images, with the blobs and manifests that they came with, so that their digests stay.
#[derive(Debug, clap::Args)]
pub(crate) struct SaveArgs {
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Where to [default: stdout].
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// What to write: an archive for docker, podman and skopeo, an archive with an OCI image layout, or such a layout in
    /// a new directory.
    #[arg(long, value_enum, default_value_t = Format::DockerArchive)]
    format: Format,
    #[command(flatten)]
    root: RootArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    DockerArchive,
    OciArchive,
    OciDir,
}

/// Runs the command.
///
/// # Errors
///
/// What the runtime says, and when the output cannot be written.
pub(crate) fn run(args: &SaveArgs) -> anyhow::Result<u8> {
    let usage = |message: &str| exit::Stop {
        code: exit::USAGE,
        message: message.to_owned(),
    };
    let format = match args.format {
        Format::DockerArchive => SaveFormat::DockerArchive,
        Format::OciArchive => SaveFormat::OciArchive,
        Format::OciDir => {
            let dir = args.output.as_deref();
            let dir = dir.ok_or_else(|| usage("name the new directory with `--output`"))?;
            tell(args.root.open()?.save_directory(&args.images, dir)?);
            return Ok(exit::OK);
        }
    };
    match &args.output {
        Some(path) => {
            let root = args.root.open()?;
            tell(to_file(&root, &args.images, format, path)?);
        }
        None if std::io::stdout().is_terminal() => {
            return Err(
                usage("an archive is not for a terminal: name a file with `--output`").into(),
            );
        }
        None => {
            let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
            let repacked = args.root.open()?.save(&args.images, format, &mut out)?;
            out.flush()?;
            tell(repacked);
        }
    }
    Ok(exit::OK)
}

/// Says that digests changed.
fn tell(repacked: bool) {
    if repacked {
        let line = "not every layer is here as its image came: it was saved with a new manifest, under a new digest";
        // The archive is what was asked for; nobody is left to tell when stderr is closed.
        drop(writeln!(std::io::stderr(), "{line}"));
    }
}

/// Writes beside the file and renames, so that no half archive has its name.
fn to_file(
    root: &Root,
    images: &[String],
    format: SaveFormat,
    path: &Path,
) -> anyhow::Result<bool> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".incoming");
    let fresh = PathBuf::from(fresh);
    let failed = || format!("failed to write `{}`", path.display());
    let write = || -> anyhow::Result<bool> {
        let file = File::create(&fresh).with_context(failed)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let repacked = root.save(images, format, &mut out)?;
        let file = out.into_inner().with_context(failed)?;
        file.sync_all().with_context(failed)?;
        fs::rename(&fresh, path).with_context(failed)?;
        Ok(repacked)
    };
    write().inspect_err(|_| {
        // What failed is what is told; a file that was never made cannot be removed either.
        drop(fs::remove_file(&fresh));
    })
}
