//! From an image's configuration and the command line to a container's record.

use std::collections::BTreeMap;

use cowlab_driver::Bytes;
use cowlab_units::Timestamp;
use oci_spec::image::{Config, ImageConfiguration};

use super::log::LogOptions;
use super::mounts::{Attached, MountRequest};
use super::names;
use super::record::{Network, Record, snapshot_of};
use super::seccomp::Seccomp;
use super::{Error, Result};

/// What a container is made from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The image as it was asked for.
    pub reference: String,
    /// The digest of its configuration.
    pub id: Option<String>,
    /// The committed snapshot of its topmost layer.
    pub snapshot: Option<String>,
    /// Its configuration.
    pub config: ImageConfiguration,
}

/// How a container is made; what is not said comes from the image.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// The name; else one is made from the id.
    pub name: Option<String>,
    /// The program and its arguments, in place of the image's `Cmd`.
    pub command: Vec<String>,
    /// In place of the image's `Entrypoint`; an empty text means none.
    pub entrypoint: Option<String>,
    /// `NAME=VALUE`, added to the image's.
    pub env: Vec<String>,
    /// The working directory.
    pub cwd: Option<String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Whether the program gets a terminal.
    pub terminal: bool,
    /// Whether standard input stays open.
    pub interactive: bool,
    /// The host name.
    pub hostname: Option<String>,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// The network.
    pub network: Network,
    /// The filter of its system calls.
    pub seccomp: Seccomp,
    /// The most that the writable layer may hold.
    pub size_limit: Option<Bytes>,
    /// Volumes, bind mounts and tmpfs.
    pub mounts: Vec<MountRequest>,
    /// Containers whose volumes are attached as well.
    pub volumes_from: Vec<String>,
    /// Whether the container is removed when it ends.
    pub remove: bool,
    /// The id that a monitor stands by for: the container is started at once, and of one that is removed when it ends
    /// nothing has to survive a power cut.
    pub prestarted: Option<String>,
    /// An active snapshot of the caller's in place of a layer of its own, which the container leaves behind. Such a container
    /// ends with the command that started it, and the caller removes it: a step of a build.
    pub borrowed: Option<String>,
    /// The signal that asks the program to end, by name or number.
    pub stop_signal: Option<String>,
    /// Labels, added to the image's.
    pub labels: BTreeMap<String, String>,
    /// How the log is kept.
    pub log: LogOptions,
}

/// The PATH that docker gives a program whose image has none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// SIGTERM.
const TERM: i32 = 15;

/// Makes the record of a container.
pub(super) fn record(
    id: String,
    source: &Source,
    options: &CreateOptions,
    mounts: Vec<Attached>,
) -> Result<Record> {
    let image = source.config.config().clone().unwrap_or_default();
    let args = arguments(source, options)?;
    let name = options.name.clone();
    let name = name.unwrap_or_else(|| format!("c-{}", id.get(..12).unwrap_or(&id)));
    names::check_name("container name", &name)?;
    let hostname = options.hostname.clone().unwrap_or_default();
    check_hostname(&hostname)?;
    let stop_signal = stop_signal(&image, options)?;
    let cwd = working_directory(&image, options)?;
    let mut labels: BTreeMap<_, _> = image
        .labels()
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    labels.extend(options.labels.clone());
    Ok(Record {
        snapshot: options.borrowed.clone().unwrap_or_else(|| snapshot_of(&id)),
        name,
        image: source.reference.clone(),
        image_id: source.id.clone(),
        parent: source.snapshot.clone(),
        image_config: source.config.clone(),
        created: Timestamp::from(std::time::SystemTime::now()),
        args,
        env: environment(
            image.env().as_deref().unwrap_or_default(),
            &options.env,
            options.terminal,
        )?,
        cwd,
        user: options
            .user
            .clone()
            .or_else(|| image.user().clone())
            .unwrap_or_default(),
        terminal: options.terminal,
        interactive: options.interactive,
        hostname,
        read_only: options.read_only,
        network: options.network,
        seccomp: options.seccomp.clone(),
        size_limit: options.size_limit.map(|limit| limit.0),
        mounts,
        remove: options.remove,
        ephemeral: match options.remove && options.prestarted.is_some() {
            true => Some(cowlab_sys::process::boot_id()?),
            false => None,
        },
        stop_signal,
        labels,
        log: options.log,
        id,
    })
}

fn stop_signal(image: &Config, options: &CreateOptions) -> Result<i32> {
    let signal = options
        .stop_signal
        .as_ref()
        .or(image.stop_signal().as_ref());
    signal.map_or(Ok(TERM), |text| {
        let known = cowlab_sys::task::signal_number(text);
        known.ok_or_else(|| Error::invalid("signal", text, "name it as in `SIGTERM`"))
    })
}

fn working_directory(image: &Config, options: &CreateOptions) -> Result<String> {
    let cwd = options.cwd.clone().or_else(|| image.working_dir().clone());
    let cwd = cwd
        .filter(|cwd| !cwd.is_empty())
        .unwrap_or_else(|| "/".to_owned());
    match cwd.starts_with('/') {
        true => Ok(cwd),
        false => Err(Error::invalid(
            "working directory",
            &cwd,
            "it has to be absolute",
        )),
    }
}

/// The entry point and the command: a command replaces the image's, and another entry point drops the image's
/// command (docker's rule).
fn arguments(source: &Source, options: &CreateOptions) -> Result<Vec<String>> {
    let image = source.config.config().clone().unwrap_or_default();
    let mut args: Vec<String> = match &options.entrypoint {
        Some(entry) if entry.is_empty() => Vec::new(),
        Some(entry) => vec![entry.clone()],
        None => image.entrypoint().clone().unwrap_or_default(),
    };
    if !options.command.is_empty() {
        args.extend(options.command.iter().cloned());
    } else if options.entrypoint.is_none() {
        args.extend(image.cmd().clone().unwrap_or_default());
    }
    if args.iter().any(|arg| arg.contains('\0')) {
        return Err(Error::invalid("command", &args.join(" "), "it holds a NUL"));
    }
    if args.first().is_none_or(String::is_empty) {
        let reason = "it names no program to run: write one behind it";
        return Err(Error::invalid("image", &source.reference, reason));
    }
    Ok(args)
}

/// The image's variables, or the container's, then the caller's; a later one replaces an earlier one of the same name in its place.
pub(super) fn environment(
    image: &[String],
    asked: &[String],
    terminal: bool,
) -> Result<Vec<String>> {
    let mut env = vec![PATH.to_owned()];
    if terminal {
        env.push("TERM=xterm".to_owned());
    }
    for variable in image.iter().chain(asked) {
        let (name, _) = variable.split_once('=').unwrap_or((variable, ""));
        if name.is_empty() || variable.contains('\0') {
            return Err(Error::invalid("variable", variable, "write NAME=VALUE"));
        }
        let same = |one: &String| one.split_once('=').is_some_and(|(other, _)| other == name);
        match env.iter_mut().find(|one| same(one)) {
            Some(one) => one.clone_from(variable),
            None => env.push(variable.clone()),
        }
    }
    Ok(env)
}

/// RFC 1123 without its length of a label: what sethostname(2) takes is 64 bytes.
fn check_hostname(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if name.len() <= 64 && name.chars().all(allowed) && !name.starts_with(['-', '.']) {
        return Ok(());
    }
    let reason = "a host name has up to 64 letters, digits, `-` and `.`";
    Err(Error::invalid("host name", name, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(json: &str) -> Source {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[]}},"config":{json}}}"#
        );
        Source {
            reference: "image".into(),
            id: None,
            snapshot: None,
            config: serde_json::from_str(&text).unwrap(),
        }
    }

    fn made(json: &str, options: &CreateOptions) -> Result<Record> {
        record("0".repeat(64), &source(json), options, Vec::new())
    }

    #[test]
    fn a_command_replaces_cmd_and_an_entry_point_drops_it() {
        let image = r#"{"Entrypoint":["/e"],"Cmd":["a","b"]}"#;
        let args = |options: &CreateOptions| made(image, options).unwrap().args;
        assert_eq!(args(&CreateOptions::default()), ["/e", "a", "b"]);
        let command = vec!["c".to_owned()];
        let options = CreateOptions {
            command,
            ..CreateOptions::default()
        };
        assert_eq!(args(&options), ["/e", "c"]);
        let entrypoint = Some("/f".to_owned());
        let options = CreateOptions {
            entrypoint,
            ..CreateOptions::default()
        };
        assert_eq!(args(&options), ["/f"]);
        assert!(made("{}", &CreateOptions::default()).is_err());
    }

    #[test]
    fn later_variables_replace_earlier_ones() {
        let image = r#"{"Cmd":["x"],"Env":["A=1","PATH=/bin"]}"#;
        let env = vec!["A=2".to_owned(), "B=3".to_owned()];
        let options = CreateOptions {
            env,
            ..CreateOptions::default()
        };
        assert_eq!(
            made(image, &options).unwrap().env,
            ["PATH=/bin", "A=2", "B=3"]
        );
    }

    #[test]
    fn what_cannot_be_is_named() {
        let image = r#"{"Cmd":["x"]}"#;
        let bad = |options: CreateOptions| made(image, &options).unwrap_err().to_string();
        let cwd = Some("here".to_owned());
        assert!(
            bad(CreateOptions {
                cwd,
                ..CreateOptions::default()
            })
            .contains("`here`")
        );
        let stop_signal = Some("SIGNONE".to_owned());
        assert!(
            bad(CreateOptions {
                stop_signal,
                ..CreateOptions::default()
            })
            .contains("SIGNONE")
        );
        let hostname = Some("a b".to_owned());
        assert!(
            bad(CreateOptions {
                hostname,
                ..CreateOptions::default()
            })
            .contains("a b")
        );
    }
}
