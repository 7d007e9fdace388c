//! Verbs about what a container changed, and its files.

use std::io::Write;
use std::path::{Path, PathBuf};

use cowlab_layer::ChangeKind;
use cowlab_runtime::container::{self as runtime, Links, Owner};
use cowlab_runtime::image::Name;

use super::Open;
use crate::exit::{self, Stop};
use crate::output;
use crate::root::RootArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    root: RootArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The container.
    container: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    root: RootArgs,
    /// The file to write; stdout without.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The container.
    container: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CpArgs {
    #[command(flatten)]
    root: RootArgs,
    /// Keep owners.
    #[arg(long, short)]
    archive: bool,
    /// As always: no progress is printed.
    #[arg(long, short, hide = true)]
    quiet: bool,
    /// Copy what a source that is a symbolic link leads to.
    #[arg(long, short = 'L')]
    follow_link: bool,
    /// CONTAINER:PATH, a path of the host, or `-` for a tar on standard input.
    source: String,
    /// CONTAINER:PATH, a path of the host, or `-` for a tar on standard output; one of the two is in a container.
    target: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CommitArgs {
    #[command(flatten)]
    root: RootArgs,
    /// What the history says about it.
    #[arg(long, short, default_value = "")]
    message: String,
    /// Whether a container that runs is paused meanwhile.
    #[arg(long, short, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pause: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The container.
    container: String,
    /// The name of the image.
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
}

/// `cowlab commit`.
pub(super) fn commit(args: &CommitArgs) -> anyhow::Result<u8> {
    let name = args.name.as_deref().map(str::parse::<Name>).transpose()?;
    let open = Open::new(&args.root)?;
    let containers = open.containers()?;
    let found = containers.find(&args.container)?;
    let id = containers.commit(&found, args.pause, name.as_ref(), &args.message)?;
    let mut out = std::io::stdout().lock();
    match args.json {
        true => writeln!(
            out,
            "{}",
            serde_json::json!({"id": id.to_string(), "name": args.name})
        )?,
        false => writeln!(out, "{id}")?,
    }
    Ok(exit::OK)
}

/// `cowlab diff`.
pub(super) fn diff(args: &DiffArgs) -> anyhow::Result<u8> {
    let open = Open::new(&args.root)?;
    let containers = open.containers()?;
    let changes = containers.changes(&containers.find(&args.container)?)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_value(&changes)?)?;
        return Ok(exit::OK);
    }
    for change in changes {
        let letter = match change.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Modified => 'C',
            ChangeKind::Deleted => 'D',
        };
        writeln!(out, "{letter} {}", change.path.display())?;
    }
    Ok(exit::OK)
}

/// `cowlab export`.
pub(super) fn export(args: &ExportArgs) -> anyhow::Result<u8> {
    let open = Open::new(&args.root)?;
    let containers = open.containers()?;
    let found = containers.find(&args.container)?;
    match &args.output {
        Some(path) => {
            output::to_file(path, |sink| Ok(containers.export(&found, sink)?))?;
        }
        None => {
            let mut sink = std::io::stdout().lock();
            containers.export(&found, &mut sink)?;
            cowlab_sys::io("write", "stdout", sink.flush())?;
        }
    }
    Ok(exit::OK)
}

/// `cowlab cp`.
pub(super) fn cp(args: &CpArgs) -> anyhow::Result<u8> {
    let usage = |message: &str| Stop {
        code: exit::USAGE,
        message: message.to_owned(),
    };
    let open = Open::new(&args.root)?;
    let containers = open.containers()?;
    let owner = match args.archive {
        true => Owner::Kept,
        false => Owner::Receiver,
    };
    let links = match args.follow_link {
        true => Links::Followed,
        false => Links::Kept,
    };
    match (inside(&args.source), inside(&args.target)) {
        (None, Some((name, target))) if args.source == "-" => {
            let found = containers.find(name)?;
            let mut tar = std::io::stdin();
            runtime::copy_from_stream(&containers, &found, &mut tar, Path::new(target))?;
        }
        (Some((name, source)), None) if args.target == "-" => {
            let found = containers.find(name)?;
            let mut tar = std::io::stdout();
            runtime::copy_to_stream(&containers, &found, Path::new(source), &mut tar, links)?;
            cowlab_sys::io("write", "stdout", tar.flush())?;
        }
        (None, Some((name, target))) => {
            let found = containers.find(name)?;
            runtime::copy_in(
                &containers,
                &found,
                Path::new(&args.source),
                Path::new(target),
                owner,
                links,
            )?;
        }
        (Some((name, source)), None) => {
            let found = containers.find(name)?;
            runtime::copy_out(
                &containers,
                &found,
                Path::new(source),
                Path::new(&args.target),
                owner,
                links,
            )?;
        }
        (Some(_), Some(_)) => {
            return Err(
                usage("cp between containers is not supported: go by way of the host").into(),
            );
        }
        (None, None) => {
            return Err(usage("one of the two is in a container: write CONTAINER:PATH").into());
        }
    }
    Ok(exit::OK)
}

/// CONTAINER:PATH; what starts with `/` or `.` is a path of the host (docker's rule).
fn inside(text: &str) -> Option<(&str, &str)> {
    match text.starts_with(['/', '.']) {
        true => None,
        false => text.split_once(':'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_tells_a_container_from_a_path() {
        assert_eq!(inside("box:/etc"), Some(("box", "/etc")));
        assert_eq!(inside("./box:/etc"), None);
        assert_eq!(inside("/box:/etc"), None);
        assert_eq!(inside("file"), None);
    }
}
