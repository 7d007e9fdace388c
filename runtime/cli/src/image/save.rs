//! `cowlab save`.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use cowlab_runtime::image::SaveFormat;

use crate::root::RootArgs;
use crate::{exit, output};

/// Saves images, with the blobs and manifests that they came with, so that their digests stay.
#[derive(Debug, clap::Args)]
pub(crate) struct SaveArgs {
    /// Names, ids or beginnings of ids.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// The file or directory to write [default: stdout].
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
            tell(output::to_file(path, |out| {
                Ok(root.save(&args.images, format, out)?)
            })?);
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
