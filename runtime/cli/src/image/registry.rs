//! `cowlab pull` and `cowlab push`, `cowlab login` and `cowlab logout`.

use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use cowlab_runtime::image::{Name, short};
use cowlab_runtime::registry::{PushStep, RegistryOptions};

use crate::docker::Ignored;
use cowlab_sys::channel::{self, Ready};
use cowlab_sys::terminal::TerminalMode;

use crate::exit::{self, Stop};
use crate::root::{BlobArgs, RootArgs};

// Flags of every command that asks a registry.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RegistryArgs {
    #[command(flatten)]
    ignored: Ignored,
    /// User and password [default: those that docker or podman have].
    #[arg(long, value_name = "USER:PASSWORD", value_parser = credentials)]
    creds: Option<(String, String)>,
    #[command(flatten)]
    tls: TlsArgs,
}

// Whether a registry has to prove who it is.
#[derive(Debug, Clone, clap::Args)]
struct TlsArgs {
    /// Require TLS and verify the registry's certificate; `false` allows a registry without TLS.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    tls_verify: bool,
}

impl RegistryArgs {
    pub(crate) fn options(&self) -> RegistryOptions {
        RegistryOptions {
            credentials: self.creds.clone(),
            insecure: !self.tls.tls_verify,
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
/// Layers that are here are not fetched again. An interrupted download resumes when the command runs again.
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
    /// Print no progress.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    root: RootArgs,
}

/// Verifies user and password with a registry, and stores them in docker's configuration or with its credential helper.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("secret"))]
pub(crate) struct LoginArgs {
    /// The registry.
    #[arg(value_name = "HOST[:PORT]", default_value = "docker.io")]
    registry: String,
    /// The user; asked for at a terminal.
    #[arg(long, short, value_name = "USER")]
    username: Option<String>,
    /// The password, which every user of this machine can see in the list of processes; asked for at a terminal.
    #[arg(long, short, value_name = "PASSWORD", group = "secret")]
    password: Option<String>,
    /// Read the password from stdin.
    #[arg(long, group = "secret", requires = "username")]
    password_stdin: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Removes a registry's credentials from docker's configuration or its credential helper.
#[derive(Debug, clap::Args)]
pub(crate) struct LogoutArgs {
    /// The registry.
    #[arg(value_name = "HOST[:PORT]", default_value = "docker.io")]
    registry: String,
}

/// Runs `cowlab login`.
pub(crate) fn login(args: &LoginArgs) -> anyhow::Result<u8> {
    cowlab_sys::interrupt::watch()?;
    let username = match &args.username {
        Some(user) => user.clone(),
        None => asked("Username")?,
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None if args.password_stdin => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            without_end(text)
        }
        None => {
            let _silent = TerminalMode::silent(std::io::stdin()).ok();
            asked("Password")?
        }
    };
    let options = RegistryOptions {
        credentials: Some((username, password)),
        insecure: !args.tls.tls_verify,
    };
    cowlab_runtime::registry::login(&args.registry, &options)?;
    writeln!(std::io::stdout(), "Login Succeeded")?;
    Ok(exit::OK)
}

/// The end of the line is the shell's or the terminal's.
fn without_end(mut text: String) -> String {
    let length = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(length);
    text
}

/// Asks for something at the terminal.
///
/// # Errors
///
/// [`Stop`] where there is no terminal, or no answer; Ctrl-C.
fn asked(what: &str) -> anyhow::Result<String> {
    const TICK: Duration = Duration::from_millis(200);
    const READABLE: Ready = Ready {
        readable: true,
        writable: false,
    };
    let usage = |message: String| Stop {
        code: exit::USAGE,
        message,
    };
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let flags = "`-u USER` with `--password-stdin` or `-p PASSWORD` say what is asked for";
        return Err(usage(format!("no interactive login without a terminal: {flags}")).into());
    }
    let mut out = std::io::stdout();
    write!(out, "{what}: ")?;
    out.flush()?;
    // In pieces: a signal that comes just before a wait does not end it.
    while !channel::wait(&[(stdin.as_fd(), READABLE)], Some(TICK))?[0].readable {
        if cowlab_sys::interrupt::requested() {
            return Err(cowlab_runtime::Error::Interrupted.into());
        }
    }
    // A terminal gives a line at once (termios(3), Canonical mode).
    let mut line = vec![0; 4096];
    let length = cowlab_sys::file::read_once(&stdin, &mut line)?;
    line.truncate(length);
    let answer = without_end(String::from_utf8_lossy(&line).into_owned());
    match answer.is_empty() {
        true => Err(usage(format!("{} is required", what.to_lowercase())).into()),
        false => Ok(answer),
    }
}

/// Runs `cowlab logout`.
pub(crate) fn logout(args: &LogoutArgs) -> anyhow::Result<u8> {
    let (registry, was_there) = cowlab_runtime::registry::logout(&args.registry)?;
    let said = match was_there {
        true => format!("Removing login credentials for {registry}"),
        false => format!("Not logged in to {registry}"),
    };
    writeln!(std::io::stdout(), "{said}")?;
    Ok(exit::OK)
}

/// Runs `cowlab pull`.
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
