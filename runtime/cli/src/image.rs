//! `cowlab image ...` and the short forms of its commands: `cowlab images`, `cowlab load`.

mod import;
mod inspect;
mod list;
mod load;
mod names;
mod registry;
mod save;

use std::fs::File;
use std::io::Write;
use std::path::Path;

use cowlab_runtime::image::{PlannedLayer, Step, short};

use crate::exit;

pub(crate) use import::ImportArgs;
pub(crate) use inspect::{InspectArgs, document, driver_data};
pub(crate) use list::{ListArgs, pruned};
pub(crate) use load::LoadArgs;
pub(crate) use names::{HistoryArgs, RemoveArgs, TagArgs};
pub(crate) use registry::{LoginArgs, LogoutArgs, PullArgs, PushArgs, RegistryArgs};
pub(crate) use save::SaveArgs;

/// Works with images.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// The commands about images. `cowlab image COMMAND` has them all; docker's short forms stand beside it.
#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    /// Build an image from a Dockerfile.
    Build(Box<crate::build::BuildArgs>),
    /// List the images.
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Show everything about images, as JSON.
    Inspect(InspectArgs),
    /// Show the steps that made an image.
    History(HistoryArgs),
    /// Get an image from a registry.
    Pull(PullArgs),
    /// Send an image to a registry.
    Push(PushArgs),
    /// Load images from an archive or an OCI image layout.
    Load(LoadArgs),
    /// Save images to an archive or an OCI image layout.
    Save(SaveArgs),
    /// Create an image from the tar of a root file system.
    Import(ImportArgs),
    /// Add a name to an image.
    Tag(TagArgs),
    /// Remove names of images, and images that have no name left.
    #[command(visible_alias = "remove")]
    Rm(RemoveArgs),
    /// Remove images without names that no container uses.
    Prune(names::PruneArgs),
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.command {
        Command::Build(args) => crate::build::build(args),
        Command::Ls(args) => list(args),
        Command::Inspect(args) => inspect::run(args),
        Command::History(args) => history(args),
        Command::Pull(args) => pull(args),
        Command::Push(args) => push(args),
        Command::Load(args) => load(args),
        Command::Save(args) => save(args),
        Command::Import(args) => import(args),
        Command::Tag(args) => tag(args),
        Command::Rm(args) => remove(args),
        Command::Prune(args) => names::prune(args),
    }
}

pub(crate) use import::run as import;
pub(crate) use list::run as list;
pub(crate) use load::run as load;
pub(crate) use names::{history, remove, tag, tell as tell_removed};
pub(crate) use registry::{login, logout, pull, push};
pub(crate) use save::run as save;

/// Opens a file that the command line names.
fn open_input(path: &Path) -> anyhow::Result<File> {
    File::open(path).map_err(|error| {
        let message = format!("failed to open `{}`: {error}", path.display());
        let code = exit::USAGE;
        exit::Stop { code, message }.into()
    })
}

/// Tells what happens to a layer, in docker's words.
fn tell(layer: &PlannedLayer, step: Step) {
    let words = match step {
        Step::Exists => "Already exists".to_owned(),
        Step::Fetching => "Downloading".to_owned(),
        Step::Resumed(bytes) => format!("Resuming after {bytes} of {} bytes", layer.size),
        Step::Fetched => "Download complete".to_owned(),
        Step::Unpacking => "Extracting".to_owned(),
        Step::Complete => "Pull complete".to_owned(),
    };
    let id = layer.blob.to_string();
    // Nobody is there to read the progress when stderr is closed; the work goes on.
    drop(writeln!(std::io::stderr(), "{}: {words}", short(&id)));
}
