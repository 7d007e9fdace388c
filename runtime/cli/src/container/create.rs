//! `run` and `create`.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use cowlab_driver::Bytes;
use cowlab_runtime::container::mounts::{self, MountRequest};
use cowlab_runtime::container::{
    CreateOptions, LogOptions, Network, Record, Seccomp, Source, StartOptions, StorageStats,
};

use super::Open;
use super::attach::{KeyArgs, ProxyArgs, hold};
use crate::docker::Ignored;
use crate::exit::{self, Stop};
use crate::root::{RootArgs, name_and_value};

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    root: RootArgs,
    #[command(flatten)]
    options: Options,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    what: What,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    root: RootArgs,
    #[command(flatten)]
    options: Options,
    /// Run it in the background and print its id.
    #[arg(long, short)]
    detach: bool,
    #[command(flatten)]
    keys: KeyArgs,
    #[command(flatten)]
    proxy: ProxyArgs,
    /// Print to stderr, after its exit, what it copied up and removed and what its layer allocates: as text, or as a line
    /// of JSON.
    #[arg(long, value_enum, value_name = "FORMAT", num_args = 0..=1, require_equals = true,
          default_missing_value = "text", conflicts_with = "detach")]
    storage_stats: Option<StatsFormat>,
    #[command(flatten)]
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StatsFormat {
    Text,
    Json,
}

#[derive(Debug, clap::Args)]
struct What {
    /// The image.
    image: String,
    /// The program to run and its arguments, in place of the image's command.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Its name; by default one is made from its id.
    #[arg(long)]
    name: Option<String>,
    /// Remove it, with its anonymous volumes, when it exits.
    #[arg(long)]
    rm: bool,
    /// Keep standard input open.
    #[arg(long, short)]
    interactive: bool,
    /// Allocate a terminal.
    #[arg(long, short)]
    tty: bool,
    /// Set an environment variable; without a value, that of this environment.
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file, one a line.
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// The working directory.
    #[arg(long, short, value_name = "DIR")]
    workdir: Option<String>,
    /// The user and the group that it runs as, by name or number.
    #[arg(long, short, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Run this program in place of the image's entry point.
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Its host name.
    #[arg(long, short = 'h', value_name = "NAME")]
    hostname: Option<String>,
    /// Print help; `-h` is docker's `--hostname`.
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Make its root file system read-only.
    #[arg(long)]
    read_only: bool,
    /// Limit the size of its writable layer.
    #[arg(long, value_name = "size=BYTES")]
    storage_opt: Vec<String>,
    /// Its network: the host's, or none.
    #[arg(long, alias = "net", value_enum, default_value_t = NetworkWord::None)]
    network: NetworkWord,
    /// Its seccomp filter: none, or `linux.seccomp` of the OCI runtime specification from a file.
    #[arg(long, value_name = "seccomp=unconfined|FILE")]
    security_opt: Vec<String>,
    /// Mount a volume, or a directory or a file of the host.
    #[arg(long, short, value_name = "[SOURCE:]TARGET[:OPTIONS]")]
    volume: Vec<String>,
    /// Mount a volume, a directory or a file of the host, or a tmpfs.
    #[arg(long, value_name = "type=TYPE,source=...,target=...")]
    mount: Vec<String>,
    /// Mount a tmpfs.
    #[arg(long, value_name = "TARGET[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Mount the volumes of another container.
    #[arg(long, value_name = "CONTAINER[:ro]")]
    volumes_from: Vec<String>,
    /// A label; may be given more than once.
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = name_and_value)]
    label: Vec<(String, String)>,
    /// Read labels from a file, one a line.
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// The signal that `stop` sends.
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Rotation of its log: max-size=BYTES, max-file=COUNT.
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    log_opt: Vec<(String, String)>,
    /// No health is checked, which this turns off.
    #[arg(long, hide = true)]
    no_healthcheck: bool,
    #[command(flatten)]
    ignored: Ignored,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NetworkWord {
    Host,
    None,
}

fn usage(message: String) -> anyhow::Error {
    let code = exit::USAGE;
    Stop { code, message }.into()
}

impl Options {
    fn read(&self, what: &What) -> anyhow::Result<CreateOptions> {
        let mut mount_requests: Vec<MountRequest> = Vec::new();
        for text in &self.volume {
            mount_requests.push(mounts::parse_volume(text)?);
        }
        for text in &self.mount {
            mount_requests.push(mounts::parse_mount(text)?);
        }
        for text in &self.tmpfs {
            mount_requests.push(mounts::parse_tmpfs(text)?);
        }
        Ok(CreateOptions {
            name: self.name.clone(),
            command: what.command.clone(),
            entrypoint: self.entrypoint.clone(),
            env: self.environment()?,
            cwd: self.workdir.clone(),
            user: self.user.clone(),
            terminal: self.tty,
            interactive: self.interactive,
            hostname: self.hostname.clone(),
            read_only: self.read_only,
            network: match self.network {
                NetworkWord::Host => Network::Host,
                NetworkWord::None => Network::None,
            },
            seccomp: self.seccomp()?,
            size_limit: self.size_limit()?,
            mounts: mount_requests,
            volumes_from: self.volumes_from.clone(),
            remove: self.rm,
            stop_signal: self.stop_signal.clone(),
            labels: self.labels()?,
            log: self.log()?,
            prestarted: None,
            borrowed: None,
        })
    }

    fn environment(&self) -> anyhow::Result<Vec<String>> {
        let mut all = lines_of(&self.env_file)?;
        all.extend(self.env.iter().cloned());
        with_values(&all)
    }

    /// The labels of files, and those of the command line over them. One without a value has an empty one.
    fn labels(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut all = BTreeMap::new();
        for line in lines_of(&self.label_file)? {
            all.extend([name_and_value(&line).map_err(usage)?]);
        }
        all.extend(self.label.iter().cloned());
        Ok(all)
    }

    fn seccomp(&self) -> anyhow::Result<Seccomp> {
        let mut seccomp = Seccomp::default();
        for option in &self.security_opt {
            seccomp = Seccomp::parse(option)?;
        }
        Ok(seccomp)
    }

    fn size_limit(&self) -> anyhow::Result<Option<Bytes>> {
        let mut limit = None;
        for option in &self.storage_opt {
            match option.split_once('=') {
                Some(("size", size)) => {
                    limit = Some(
                        size.parse()
                            .map_err(|error| usage(format!("--storage-opt: {error}")))?,
                    );
                }
                _ => {
                    return Err(usage(format!(
                        "--storage-opt `{option}` is not supported: `size=BYTES` is"
                    )));
                }
            }
        }
        Ok(limit)
    }

    fn log(&self) -> anyhow::Result<LogOptions> {
        let mut log = LogOptions::default();
        for (name, value) in &self.log_opt {
            let bad = || {
                usage(format!(
                    "--log-opt {name}: `{value}` is no number that works"
                ))
            };
            match name.as_str() {
                "max-size" => {
                    log.max_size = value
                        .parse::<Bytes>()
                        .ok()
                        .filter(|size| size.0 > 0)
                        .ok_or_else(bad)?
                        .0;
                }
                "max-file" => {
                    log.max_files = value
                        .parse()
                        .ok()
                        .filter(|count| (1..=100).contains(count))
                        .ok_or_else(bad)?;
                }
                _ => {
                    return Err(usage(format!(
                        "--log-opt `{name}` is not supported: max-size and max-file are"
                    )));
                }
            }
        }
        Ok(log)
    }
}

/// The lines of files that have a name, `=` and a value each.
pub(super) fn lines_of(files: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path)
            .map_err(|error| usage(format!("read `{}`: {error}", path.display())))?;
        let bad = |reason| usage(format!("`{}`: {reason}", path.display()));
        all.extend(pairs(&text).map_err(bad)?);
    }
    Ok(all)
}

/// The lines of a file of variables or labels as docker reads it (docker/cli, pkg/kvfile): a comment begins a line, a value is
/// all that follows `=`, quotes and blanks as well.
fn pairs(text: &str) -> Result<Vec<String>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        let bad = |reason| Err(format!("line {}, `{line}`, {reason}", index + 1));
        if name.is_empty() {
            return bad("has no name before `=`");
        }
        if name.contains([' ', '\t']) {
            return bad("has a blank in its name: write NAME=VALUE, without `export`");
        }
        found.push(line.to_owned());
    }
    Ok(found)
}

/// Variables as they are set; one without a value has this process's own, and is left out where there is none.
pub(super) fn with_values(variables: &[String]) -> anyhow::Result<Vec<String>> {
    let mut env = Vec::new();
    for variable in variables {
        if variable.is_empty() || variable.starts_with('=') {
            return Err(usage(format!(
                "the environment variable `{variable}` has no name: write NAME=VALUE"
            )));
        }
        if variable.contains('=') {
            env.push(variable.clone());
        } else if let Ok(value) = std::env::var(variable) {
            env.push(format!("{variable}={value}"));
        }
    }
    Ok(env)
}

fn make(
    open: &Open,
    what: &What,
    options: CreateOptions,
    prestarted: impl FnOnce() -> anyhow::Result<Option<String>>,
) -> anyhow::Result<Record> {
    let image = open.root.image(&what.image)?;
    let source = Source {
        reference: what.image.clone(),
        id: Some(image.id.to_string()),
        snapshot: image.snapshot().map(str::to_owned),
        config: image.config.clone(),
    };
    let options = CreateOptions {
        prestarted: prestarted()?,
        ..options
    };
    Ok(open.containers()?.create(&source, &options)?)
}

/// `cowlab create`.
pub(super) fn create(args: &CreateArgs) -> anyhow::Result<u8> {
    let open = Open::new(&args.root)?;
    let options = args.options.read(&args.what)?;
    let record = make(&open, &args.what, options, || Ok(None))?;
    let mut out = std::io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_value(&record)?)?,
        false => writeln!(out, "{}", record.id)?,
    }
    Ok(exit::OK)
}

/// `cowlab run`: what fails before the program starts has a status of its own.
pub(super) fn run(args: &RunArgs) -> anyhow::Result<u8> {
    let mut has_started = false;
    match run_program(args, &mut has_started) {
        Err(error) if !has_started => {
            exit::print(&error, exit::Output::Text)?;
            Ok(exit::before_start(&error))
        }
        ended => ended,
    }
}

fn run_program(args: &RunArgs, has_started: &mut bool) -> anyhow::Result<u8> {
    let options = &args.options;
    if options.tty && options.interactive && !args.detach && !std::io::stdin().is_terminal() {
        return Err(usage(
            "-t with -i wants a terminal to read from: leave out -t".to_owned(),
        ));
    }
    let open = Open::new(&args.root)?;
    let containers = open.containers()?;
    let wanted = options.read(&args.what)?;
    let how = StartOptions {
        measure: args.storage_stats.is_some(),
        ..open.start_options(options.interactive && !args.detach)
    };
    let mut prestarted = None;
    let record = make(&open, &args.what, wanted, || {
        let monitor = prestarted.insert(containers.prestart_monitor(&how)?);
        Ok(Some(monitor.id().to_owned()))
    })?;
    let started = match prestarted {
        Some(prestarted) => containers.start_prestarted(&record, prestarted),
        None => containers.start(&record, &how),
    };
    let mut session = started?;
    *has_started = true;
    if args.detach {
        writeln!(std::io::stdout(), "{}", record.id)?;
        return Ok(exit::OK);
    }
    let (input, keys, proxy) = (options.interactive, &args.keys, &args.proxy);
    let ended = hold(&containers, &record, &mut session, input, keys, proxy)?;
    if let (Some(format), Some(_)) = (args.storage_stats, ended) {
        tell_storage(&open, session.measured(), format)?;
    }
    Ok(ended.unwrap_or(exit::OK))
}

/// Prints what a container's layer held at its end.
fn tell_storage(
    open: &Open,
    stats: Option<&StorageStats>,
    format: StatsFormat,
) -> anyhow::Result<()> {
    let mut err = std::io::stderr().lock();
    let Some(stats) = stats else {
        return Ok(writeln!(err, "storage: not measured")?);
    };
    let driver = &open.root.store().identity().driver;
    if format == StatsFormat::Json {
        let mut line = serde_json::to_value(stats)?;
        line["driver"] = driver.as_str().into();
        return Ok(writeln!(err, "{line}")?);
    }
    let files = match (stats.copied_files, stats.copied_bytes) {
        (files, Some(bytes)) => format!("{files} files copied up ({})", Bytes(bytes)),
        (files, None) => format!("{files} files of the image written, none copied for it"),
    };
    Ok(writeln!(
        err,
        "storage: {files}, {} whiteouts, {} and {} inodes allocated ({driver})",
        stats.whiteouts,
        Bytes(stats.allocated),
        stats.inodes
    )?)
}

#[cfg(test)]
mod tests {
    use super::pairs;

    #[test]
    fn files_of_variables_are_dockers() {
        let text = "\u{feff}# c\n\n  A=1 # no comment \r\nB=\"x\"\nC\nD=\nE= y=z";
        let read = pairs(text).unwrap();
        assert_eq!(read, ["A=1 # no comment ", "B=\"x\"", "C", "D=", "E= y=z"]);
        for bad in ["=x", "export A=1", "A =1", "A "] {
            assert!(pairs(bad).is_err(), "{bad}");
        }
    }
}
