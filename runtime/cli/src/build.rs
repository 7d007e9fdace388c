//! `cowlab build` and `cowlab builder ...`.

mod input;
mod progress;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use cowlab_build::{BuildOptions, Built, Error, Secret};
use cowlab_runtime::build::CachePlace;
use cowlab_runtime::container::Network;
use cowlab_runtime::image::Name;
use cowlab_runtime::system::PruneOptions;
use serde_json::json;

use crate::exit::{self, Stop};
use crate::image::RegistryArgs;
use crate::root::{BlobArgs, RootArgs, monitor_arguments, name_and_value};
use crate::{output, prune};

use input::Input;

/// Builds an image from a Dockerfile.
///
/// Steps whose result the build cache has are not run again; stages that the target does not need are skipped.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// The build context, a directory; with `-` there is none, and the Dockerfile is read from stdin.
    #[arg(value_name = "DIR|-")]
    context: PathBuf,
    /// The Dockerfile, or `-` for stdin [default: `Dockerfile` of the directory].
    #[arg(long, short, value_name = "FILE|-")]
    file: Option<PathBuf>,
    /// A name of the image; may be given more than once.
    #[arg(long, short, value_name = "NAME[:TAG]")]
    tag: Vec<Name>,
    /// A value for an `ARG`; without one, that of the environment.
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// The stage to build [default: the last].
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Run every step, and take none from the cache.
    #[arg(long)]
    no_cache: bool,
    /// Pull base images even if they are in the root.
    #[arg(long)]
    pull: bool,
    /// The network of `RUN` where it names none.
    #[arg(long, value_enum, default_value_t = NetworkWord::Default)]
    network: NetworkWord,
    /// A secret for `RUN --mount=type=secret`: a file, or a variable of the environment.
    #[arg(long, value_name = "id=ID[,src=FILE|,env=NAME]", value_parser = secret)]
    secret: Vec<(String, Secret)>,
    /// Also take steps from a cache that `--cache-to` wrote; may be given more than once.
    #[arg(long, value_name = "type=local,src=DIR|type=registry,ref=NAME", value_parser = cache_from)]
    cache_from: Vec<CachePlace>,
    /// Write the steps of this build to a directory or a registry; may be given more than once.
    #[arg(long, value_name = "type=local,dest=DIR|type=registry,ref=NAME", value_parser = cache_to)]
    cache_to: Vec<CachePlace>,
    /// Print after the build which steps to move or to merge, and what each copied up.
    #[arg(long)]
    advise: bool,
    /// A label of the image; may be given more than once.
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    label: Vec<(String, String)>,
    /// Format of the progress; `auto` is `tty` at a terminal and `plain` elsewhere.
    #[arg(long, value_enum, default_value_t = progress::Style::Auto, env = "BUILDKIT_PROGRESS")]
    progress: progress::Style,
    /// Print no progress; of a failed step, print its output.
    #[arg(long, short)]
    quiet: bool,
    /// Write the image's id to a file.
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Write the image's digests and names to a file, as JSON.
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    #[command(flatten)]
    idle: Idle,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    blobs: BlobArgs,
    #[command(flatten)]
    root: RootArgs,
}

// Flags of docker's that say what is so anyway.
#[derive(Debug, clap::Args)]
struct Idle {
    /// The containers of steps are always removed.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    rm: Option<bool>,
    /// The containers of steps are always removed.
    #[arg(long, hide = true)]
    force_rm: bool,
    /// The image is always here after a build.
    #[arg(long, hide = true)]
    load: bool,
    /// The context is nowhere sent to.
    #[arg(long, hide = true)]
    compress: bool,
    /// No attestations are made, which this turns off.
    #[arg(long, hide = true, value_parser = ["false"])]
    provenance: Option<String>,
    /// No attestations are made, which this turns off.
    #[arg(long, hide = true, value_parser = ["false"])]
    sbom: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NetworkWord {
    /// The host's.
    Default,
    /// The host's.
    Host,
    /// None.
    None,
}

/// Works with the build cache.
#[derive(Debug, clap::Args)]
pub(crate) struct BuilderArgs {
    #[command(subcommand)]
    command: BuilderCommand,
}

#[derive(Debug, clap::Subcommand)]
enum BuilderCommand {
    /// Build an image from a Dockerfile.
    Build(Box<BuildArgs>),
    /// Remove what the build cache has and no image needs.
    Prune(PruneArgs),
}

#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// Steps of images, too: the images stay, but a build runs them again.
    #[arg(long, short)]
    all: bool,
    /// Do not ask for confirmation.
    #[arg(long, short)]
    force: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    root: RootArgs,
}

/// Runs `cowlab builder ...`.
pub(crate) fn builder(args: &BuilderArgs) -> anyhow::Result<u8> {
    match &args.command {
        BuilderCommand::Build(args) => build(args),
        BuilderCommand::Prune(args) => prune_cache(args),
    }
}

fn prune_cache(args: &PruneArgs) -> anyhow::Result<u8> {
    let what = match args.all {
        true => "all build cache",
        false => "all build cache that no image needs",
    };
    prune::confirm(args.force, what)?;
    let options = PruneOptions { all: args.all };
    let pruned = args.root.open()?.prune_builds(options)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_value(&pruned)?)?;
        return Ok(exit::OK);
    }
    let all: Vec<_> = pruned.steps.iter().chain(&pruned.dirs).collect();
    if !all.is_empty() {
        writeln!(out, "Deleted build cache objects:")?;
        for one in all {
            writeln!(out, "{one}")?;
        }
        writeln!(out)?;
    }
    prune::tell_reclaimed(&mut out, pruned.reclaimed)?;
    Ok(exit::OK)
}

/// Runs `cowlab build`.
///
/// # Errors
///
/// As [`cowlab_build::build`]; the lines of the Dockerfile that an error is about are told before.
pub(crate) fn build(args: &BuildArgs) -> anyhow::Result<u8> {
    cowlab_sys::interrupt::watch()?;
    // First: an ordinary user's command begins anew in a user namespace, and stdin can be read once.
    let root = args.root.open_for(&args.blobs)?;
    let input = Input::read(&args.context, args.file.as_deref())?;
    let (dockerfile, ignore) = input
        .parse()
        .map_err(|error| failed(&input, Error::Dockerfile(error)))?;
    let build_args = arguments(&args.build_arg);
    let options = BuildOptions {
        context: input.context.clone(),
        ignore,
        names: args.tag.clone(),
        labels: args.label.iter().cloned().collect(),
        epoch: epoch(&build_args)?,
        build_args,
        target: args.target.clone(),
        no_cache: args.no_cache,
        pull: args.pull,
        network: match args.network {
            NetworkWord::Default | NetworkWord::Host => Network::Host,
            NetworkWord::None => Network::None,
        },
        secrets: args.secret.iter().cloned().collect(),
        cache_from: args.cache_from.clone(),
        cache_to: args.cache_to.clone(),
        registry: args.registry.options(),
        monitor: monitor_arguments(&root),
        ..BuildOptions::new(dockerfile)
    };
    let progress = progress::of(args.progress, args.quiet);
    let built = cowlab_build::build(&root, &options, &*progress);
    // What is drawn at a terminal ends before anything else is written to it.
    drop(progress);
    let built = built.map_err(|error| failed(&input, error))?;
    tell(args, &built)?;
    if args.advise {
        let advice = cowlab_build::advise(&root, &options, &built.steps)?;
        write!(std::io::stderr(), "{advice}")?;
    }
    Ok(exit::OK)
}

fn tell(args: &BuildArgs, built: &Built) -> anyhow::Result<()> {
    if let Some(path) = &args.iidfile {
        output::to_file(path, |out| Ok(write!(out, "{}", built.id)?))?;
    }
    if let Some(path) = &args.metadata_file {
        let names: Vec<_> = args.tag.iter().map(ToString::to_string).collect();
        let document = json!({
            "containerimage.config.digest": built.id.to_string(),
            "image.name": names.join(","),
        });
        output::to_file(path, |out| Ok(writeln!(out, "{document:#}")?))?;
    }
    Ok(writeln!(std::io::stdout(), "{}", built.id)?)
}

/// The values of `--build-arg`. One without a value has that of the environment, and is left out where there is none.
fn arguments(words: &[String]) -> BTreeMap<String, String> {
    const EPOCH: &str = "SOURCE_DATE_EPOCH";
    let from_environment = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
    let mut arguments: BTreeMap<_, _> = from_environment(EPOCH).into_iter().collect();
    arguments.extend(words.iter().filter_map(|word| match word.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => from_environment(word),
    }));
    arguments
}

/// `SOURCE_DATE_EPOCH`, in seconds since 1970 (reproducible-builds.org).
fn epoch(arguments: &BTreeMap<String, String>) -> Result<Option<i64>, Stop> {
    let Some(text) = arguments
        .get("SOURCE_DATE_EPOCH")
        .filter(|text| !text.is_empty())
    else {
        return Ok(None);
    };
    let seconds = text.parse().ok().filter(|seconds| *seconds >= 0);
    seconds.map(Some).ok_or_else(|| Stop {
        code: exit::USAGE,
        message: format!(
            "SOURCE_DATE_EPOCH is `{text}`: it is a number of seconds since 1970, such as `$(git log -1 --format=%ct)`"
        ),
    })
}

fn cache_from(text: &str) -> Result<CachePlace, String> {
    cache_place(text, "src")
}

fn cache_to(text: &str) -> Result<CachePlace, String> {
    cache_place(text, "dest")
}

/// Reads `type=local,src=DIR` or `type=registry,ref=NAME`; a name alone is one of a registry, as docker has it.
fn cache_place(text: &str, dir: &str) -> Result<CachePlace, String> {
    let name = |text: &str| match text.parse() {
        Ok(name) => Ok(CachePlace::Registry(name)),
        Err(error) => Err(format!("{error}")),
    };
    if !text.contains('=') {
        return name(text);
    }
    let mut fields = BTreeMap::new();
    for field in text.split(',') {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("`{field}` is no NAME=VALUE"))?;
        // All steps are written, which is docker's `max`.
        if !["type", "ref", "mode", dir].contains(&key) {
            return Err(format!(
                "a cache has type, ref, mode and {dir}, not `{key}`"
            ));
        }
        fields.insert(key, value);
    }
    match (fields.get("type"), fields.get(dir), fields.get("ref")) {
        (Some(&"local"), Some(path), None) => Ok(CachePlace::Directory(path.into())),
        (Some(&"registry"), None, Some(reference)) => name(reference),
        _ => Err(format!(
            "write `type=local,{dir}=DIR` or `type=registry,ref=NAME`"
        )),
    }
}

/// Reads `id=ID,src=FILE`, `id=ID,env=NAME`, or `id=ID` alone: then a variable of that name, else a file of that name.
fn secret(text: &str) -> Result<(String, Secret), String> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("`{field}` is no NAME=VALUE"))?;
        match key {
            "id" => id = Some(value.to_owned()),
            "src" | "source" => file = Some(value.to_owned()),
            "env" => variable = Some(value.to_owned()),
            "type" if ["file", "env"].contains(&value) => kind = Some(value),
            "type" => return Err(format!("a secret is of type file or env, not {value}")),
            _ => return Err(format!("a secret has id, src, env and type, not `{key}`")),
        }
    }
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or("write `id=ID` in it")?;
    if kind == Some("env") && variable.is_none() {
        variable = file.take().or_else(|| Some(id.clone()));
    }
    let secret = match (file, variable) {
        (Some(_), Some(_)) => return Err("a secret has one of src and env".to_owned()),
        (Some(file), None) => Secret::File(file.into()),
        (None, Some(variable)) => Secret::Variable(variable),
        (None, None) if std::env::var_os(&id).is_some() => Secret::Variable(id.clone()),
        (None, None) => Secret::File(id.clone().into()),
    };
    Ok((id, secret))
}

/// An error with its exit code, after the lines of the file that it is about were told.
fn failed(input: &Input, error: Error) -> anyhow::Error {
    if let Some(excerpt) = excerpt(input, &error) {
        // Nobody is there to read them when stderr is closed.
        drop(std::io::stderr().write_all(excerpt.as_bytes()));
    }
    coded(error)
}

fn excerpt(input: &Input, error: &Error) -> Option<String> {
    let (file, lines) = match error {
        Error::Dockerfile(error) => (&error.file, error.lines?),
        Error::Instruction { place, .. } | Error::Exit { place, .. } => (&place.file, place.lines),
        _ => return None,
    };
    input.excerpt(file, lines)
}

/// An error about the container of a step: the codes that `run` ends with say how its program started, and a build's do not.
fn of_a_step(error: anyhow::Error) -> anyhow::Error {
    match exit::before_start(&error) {
        cowlab_sys::interrupt::EXIT_CODE => error,
        _ => Stop {
            code: exit::FINDING,
            message: exit::line(&error),
        }
        .into(),
    }
}

/// The same error with what [`exit`] knows at its bottom.
fn coded(error: Error) -> anyhow::Error {
    match error {
        Error::Instruction { place, reason } => coded(*reason).context(place.to_string()),
        Error::Dockerfile(error) => Stop {
            code: exit::DATA,
            message: error.to_string(),
        }
        .into(),
        Error::Context { .. } => Stop {
            code: exit::USAGE,
            message: error.to_string(),
        }
        .into(),
        Error::Runtime(error) => error.into(),
        Error::Container(error) => of_a_step(error.into()),
        Error::Sys(error) => error.into(),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_files_or_variables() {
        let file = |path: &str| Secret::File(path.into());
        let variable = |name: &str| Secret::Variable(name.to_owned());
        for (text, wanted) in [
            ("id=a,src=/f", file("/f")),
            ("type=file,id=a,source=/f", file("/f")),
            ("id=a,env=V", variable("V")),
            ("id=a,type=env", variable("a")),
            ("id=a,type=env,src=V", variable("V")),
            ("id=a", file("a")),
        ] {
            assert_eq!(secret(text), Ok(("a".to_owned(), wanted)), "{text}");
        }
        assert_eq!(
            secret("id=PATH").map(|(_, secret)| secret),
            Ok(variable("PATH"))
        );
        for text in [
            "",
            "a",
            "id=",
            "src=/f",
            "id=a,src=b,env=c",
            "id=a,type=x",
            "id=a,x=y",
        ] {
            assert!(secret(text).is_err(), "{text}");
        }
    }

    #[test]
    fn arguments_without_a_value_are_the_environments() {
        let words = ["A=1=2", "PATH", "NO_SUCH_VARIABLE_HERE", "B="].map(str::to_owned);
        let found = arguments(&words);
        assert_eq!(found.get("A").map(String::as_str), Some("1=2"));
        assert_eq!(found.get("B").map(String::as_str), Some(""));
        assert_eq!(found.get("PATH"), std::env::var("PATH").ok().as_ref());
        assert!(!found.contains_key("NO_SUCH_VARIABLE_HERE"));
    }

    #[test]
    fn epochs_are_seconds() {
        let of = |text: &str| epoch(&[("SOURCE_DATE_EPOCH".to_owned(), text.to_owned())].into());
        assert_eq!(of("0").unwrap(), Some(0));
        assert_eq!(of("").unwrap(), None);
        for text in ["-1", "now", "1.5", "99999999999999999999"] {
            assert!(of(text).is_err(), "{text}");
        }
    }
}
