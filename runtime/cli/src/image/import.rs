//! `cowlab import`.

use std::io::Write;
use std::path::{Path, PathBuf};

use cowlab_runtime::image::Name;

use crate::exit;
use crate::root::{BlobArgs, RootArgs};

/// Creates an image of one layer from the tar of a root file system, plain or compressed.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// The tar, or `-` for stdin.
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// The name of the image.
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
    /// The step that the history shows.
    #[arg(long, short, default_value = "Imported")]
    message: String,
    #[command(flatten)]
    blobs: BlobArgs,
    #[command(flatten)]
    root: RootArgs,
}

/// Runs the command.
pub(crate) fn run(args: &ImportArgs) -> anyhow::Result<u8> {
    let name = args.name.as_deref().map(str::parse::<Name>).transpose()?;
    let id = if args.file == Path::new("-") {
        let mut stdin = std::io::stdin();
        let root = args.root.open_for(&args.blobs)?;
        root.import(&mut stdin, "(stdin)", name.as_ref(), &args.message)?
    } else {
        let mut file = super::open_input(&args.file)?;
        let from = args.file.display().to_string();
        let root = args.root.open_for(&args.blobs)?;
        root.import(&mut file, &from, name.as_ref(), &args.message)?
    };
    writeln!(std::io::stdout(), "{id}")?;
    Ok(exit::OK)
}
