//! `cowlab load`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use cowlab_runtime::image::{PlannedLayer, familiar};

use crate::exit;
use crate::root::{BlobArgs, RootArgs};

/// Loads every image of an archive or an OCI image layout.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// The archive, or the layout's directory [default: an archive from stdin].
    #[arg(long, short, value_name = "PATH")]
    input: Option<PathBuf>,
    /// Print no progress.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    blobs: BlobArgs,
    #[command(flatten)]
    root: RootArgs,
}

/// Runs the command.
pub(crate) fn run(args: &LoadArgs) -> anyhow::Result<u8> {
    let quiet = args.quiet;
    let progress = move |layer: &PlannedLayer, step| {
        if !quiet {
            super::tell(layer, step);
        }
    };
    let loaded = match &args.input {
        None if std::io::stdin().is_terminal() => {
            let message = "name an archive with `--input`, or pipe one in".to_owned();
            let code = exit::USAGE;
            return Err(exit::Stop { code, message }.into());
        }
        None => {
            let mut stdin = std::io::stdin();
            args.root.open_for(&args.blobs)?.load_archive(
                Path::new("(stdin)"),
                &mut stdin,
                &progress,
            )?
        }
        Some(path) if path.is_dir() => args
            .root
            .open_for(&args.blobs)?
            .load_directory(path, &progress)?,
        Some(path) => {
            let mut file = super::open_input(path)?;
            args.root
                .open_for(&args.blobs)?
                .load_archive(path, &mut file, &progress)?
        }
    };
    let mut out = std::io::stdout().lock();
    for image in loaded {
        match image.name {
            Some(name) => writeln!(out, "Loaded image: {}", familiar(&name))?,
            None => writeln!(out, "Loaded image ID: {}", image.id)?,
        }
    }
    Ok(exit::OK)
}
