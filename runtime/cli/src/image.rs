//! `cowlab image ...` and the short forms of its commands: `cowlab images`, `cowlab load`.

mod inspect;
mod list;
mod load;

use std::io::Write;

use cowlab_runtime::image::{PlannedLayer, Step, short};

/// Lists, gets, names and removes images.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the images.
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Show everything about images, as JSON.
    Inspect(InspectArgs),
    /// Load images from an OCI image layout.
    Load(LoadArgs),
}

pub(crate) use inspect::{InspectArgs, driver_data};
pub(crate) use list::ListArgs;
pub(crate) use load::LoadArgs;

/// Runs the command.
///
/// # Errors
///
/// What the command says.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.command {
        Command::Ls(args) => list(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Load(args) => load(args),
    }
}

/// Runs `cowlab images`.
///
/// # Errors
///
/// When the root cannot be opened or stdout is closed.
pub(crate) fn list(args: &ListArgs) -> anyhow::Result<u8> {
    list::run(args)
}

/// Runs `cowlab load`.
///
/// # Errors
///
/// As [`cowlab_runtime::Root::load_directory`].
pub(crate) fn load(args: &LoadArgs) -> anyhow::Result<u8> {
    load::run(args)
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
