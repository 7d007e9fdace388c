//! `cowlab load`.

use std::io::Write;
use std::path::PathBuf;

use cowlab_runtime::image::familiar;

use crate::exit;
use crate::root::RootArgs;

/// Loads every image of an OCI image layout.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// The layout's directory.
    #[arg(long, short, value_name = "DIR")]
    input: PathBuf,
    /// Tell no progress.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    root: RootArgs,
}

pub(super) fn run(args: &LoadArgs) -> anyhow::Result<u8> {
    let root = args.root.open()?;
    let quiet = args.quiet;
    let loaded = root.load_directory(&args.input, &move |layer, step| {
        if !quiet {
            super::tell(layer, step);
        }
    })?;
    let mut out = std::io::stdout().lock();
    for image in loaded {
        match image.name {
            Some(name) => writeln!(out, "Loaded image: {}", familiar(&name))?,
            None => writeln!(out, "Loaded image ID: {}", image.id)?,
        }
    }
    Ok(exit::OK)
}
