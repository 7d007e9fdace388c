//! `cowlab pull` and `cowlab push`.

use std::io::Write;

use cowlab_runtime::image::{Name, short};
use cowlab_runtime::registry::{PushStep, RegistryOptions};

use crate::exit;
use crate::root::{BlobArgs, RootArgs};

/// Flags of every command that asks a registry.
#[derive(Debug, Clone, clap::Args)]
struct RegistryArgs {
    /// User and password [default: those that docker or podman have].
    #[arg(long, value_name = "USER:PASSWORD", value_parser = credentials)]
    creds: Option<(String, String)>,
    /// Ask the registry to prove who it is, over TLS; with `false`, one without TLS will do.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    tls_verify: bool,
}

impl RegistryArgs {
    fn options(&self) -> RegistryOptions {
        RegistryOptions {
            credentials: self.creds.clone(),
            insecure: !self.tls_verify,
        }
    }
}

fn credentials(text: &str) -> Result<(String, String), String> {
    text.split_once(':')
        .map(|(user, password)| (user.to_owned(), password.to_owned()))
        .ok_or_else(|| "write it as USER:PASSWORD".to_owned())
}

/// Gets an image from a registry, by tag or by `NAME@sha256:...`.
///
/// Layers that are here are not fetched again. A download that breaks off goes on there when the command runs again.
#[derive(Debug, clap::Args)]
pub(crate) struct PullArgs {
    /// The image's name.
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
    /// Print the id alone.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    blobs: BlobArgs,
    #[command(flatten)]
    root: RootArgs,
}

/// Sends an image to the registry that its name names, with the blobs and the manifest that it came with.
#[derive(Debug, clap::Args)]
pub(crate) struct PushArgs {
    /// The image's name.
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
    /// Tell no progress.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    root: RootArgs,
}

/// Runs `cowlab pull`.
///
/// # Errors
///
/// As [`cowlab_runtime::Root::pull`].
pub(crate) fn pull(args: &PullArgs) -> anyhow::Result<u8> {
    let name: Name = args.name.parse()?;
    cowlab_sys::interrupt::watch()?;
    let root = args.root.open_for(&args.blobs)?;
    let quiet = args.quiet;
    let pulled = root.pull(&name, &args.registry.options(), &move |layer, step| {
        if !quiet {
            super::tell(layer, step);
        }
    })?;
    let mut out = std::io::stdout().lock();
    if quiet {
        writeln!(out, "{}", pulled.id)?;
        return Ok(exit::OK);
    }
    let what = match pulled.up_to_date {
        true => "Image is up to date for",
        false => "Downloaded newer image for",
    };
    writeln!(out, "Digest: {}", pulled.digest)?;
    writeln!(out, "Status: {what} {name}")?;
    Ok(exit::OK)
}

/// Runs `cowlab push`.
///
/// # Errors
///
/// As [`cowlab_runtime::Root::push`].
pub(crate) fn push(args: &PushArgs) -> anyhow::Result<u8> {
    let name: Name = args.name.parse()?;
    cowlab_sys::interrupt::watch()?;
    let root = args.root.open()?;
    let quiet = args.quiet;
    let pushed = root.push(&name, &args.registry.options(), &move |digest, step| {
        if quiet {
            return;
        }
        let words = match step {
            PushStep::Exists => "Already exists",
            PushStep::Sending => "Pushing",
            PushStep::Sent => "Pushed",
        };
        let digest = digest.to_string();
        // Nobody is there to read the progress when stderr is closed; the work goes on.
        drop(writeln!(std::io::stderr(), "{}: {words}", short(&digest)));
    })?;
    if pushed.repacked {
        writeln!(
            std::io::stderr(),
            "not every layer is here as this image came: it was pushed with a new manifest, under a new digest"
        )?;
    }
    let tag = name.tag().unwrap_or("latest");
    writeln!(
        std::io::stdout(),
        "{tag}: digest: {} size: {}",
        pushed.digest,
        pushed.size
    )?;
    Ok(exit::OK)
}
