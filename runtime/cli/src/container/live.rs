//! Verbs about containers that run, and the monitor.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::Duration;

use cowlab_runtime::container::{
    self as runtime, Containers, ExecOptions, Record, RemoveOptions, StopOptions,
};

use super::attach::{KeyArgs, ProxyArgs, hold};
use super::create::{lines_of, with_values};
use super::{Open, each, each_name, status};
use crate::exit::{self, Stop};
use crate::root::{RootArgs, monitor_arguments};

#[derive(Debug, clap::Args)]
pub(crate) struct NamesArgs {
    /// Names or ids.
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
    #[command(flatten)]
    root: RootArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    root: RootArgs,
    /// Print the output until it exits, and exit with its status.
    #[arg(long, short)]
    attach: bool,
    #[command(flatten)]
    keys: KeyArgs,
    /// Attach standard input as well.
    #[arg(long, short)]
    interactive: bool,
    /// Names or ids.
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

// How containers are asked to end.
#[derive(Debug, clap::Args)]
struct HowToStop {
    /// The signal to send first, by name or number [default: the container's stop signal].
    #[arg(long, short)]
    signal: Option<String>,
    /// Seconds until SIGKILL is sent; -1 waits forever.
    #[arg(
        long,
        short,
        alias = "time",
        default_value_t = 10,
        allow_negative_numbers = true
    )]
    timeout: i64,
}

impl HowToStop {
    fn options(&self) -> anyhow::Result<StopOptions> {
        Ok(StopOptions {
            signal: self.signal.as_deref().map(signal_number).transpose()?,
            // As long as nobody waits for.
            time: Duration::from_secs(u64::try_from(self.timeout).unwrap_or(u32::MAX.into())),
        })
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    how: HowToStop,
    /// Names or ids.
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
    #[command(flatten)]
    root: RootArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    how: HowToStop,
    /// Names or ids.
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
    #[command(flatten)]
    root: RootArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct KillArgs {
    /// The signal, by name or number.
    #[arg(long, short, default_value = "KILL")]
    signal: String,
    /// Names or ids.
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
    #[command(flatten)]
    root: RootArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    #[command(flatten)]
    root: RootArgs,
    /// Kill containers that run, and ignore those that do not exist.
    #[arg(long, short)]
    force: bool,
    /// Remove its anonymous volumes too.
    #[arg(long, short)]
    volumes: bool,
    /// Names or ids.
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    root: RootArgs,
    /// Run it in the background, without input and output.
    #[arg(long, short)]
    detach: bool,
    /// Pass standard input on.
    #[arg(long, short)]
    interactive: bool,
    /// Allocate a terminal.
    #[arg(long, short)]
    tty: bool,
    /// Set an environment variable.
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Read environment variables from a file, one a line.
    #[arg(long, value_name = "FILE")]
    env_file: Vec<std::path::PathBuf>,
    /// The working directory.
    #[arg(long, short, value_name = "DIR")]
    workdir: Option<String>,
    /// The user and the group that it runs as, by name or number.
    #[arg(long, short, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// The container.
    container: String,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// The monitor of a container; `start` and `run` call it.
#[derive(Debug, clap::Args)]
pub(crate) struct MonitorArgs {
    #[command(flatten)]
    root: RootArgs,
    /// End the program's standard input with the line to the command.
    #[arg(long)]
    input_ends: bool,
    /// Measure its layer at the end.
    #[arg(long)]
    measure: bool,
    /// The container's id.
    id: String,
}

/// `cowlab monitor`: its standard input is the line to the command.
pub(crate) fn monitor(args: &MonitorArgs) -> anyhow::Result<u8> {
    let line = cowlab_sys::io(
        "dup",
        "stdin",
        std::io::stdin().as_fd().try_clone_to_owned(),
    )?;
    let open = Open::new(&args.root)?;
    let containers = open.containers()?;
    runtime::monitor::run(&containers, &args.id, line, args.input_ends, args.measure)?;
    Ok(exit::OK)
}

/// `cowlab start`.
pub(super) fn start(args: &StartArgs) -> anyhow::Result<u8> {
    let attach = args.attach || args.interactive;
    if attach && args.names.len() > 1 {
        let message = "only one container is attached at once".to_owned();
        let code = exit::USAGE;
        return Err(Stop { code, message }.into());
    }
    let open = Open::new(&args.root)?;
    let containers = open.containers()?;
    let how = open.start_options(args.interactive);
    let mut ended = exit::OK;
    let code = each(&containers, &args.names, |found| {
        let record = &found.record;
        let mut session = containers.start(record, &how)?;
        if !attach {
            writeln!(std::io::stdout(), "{}", record.name)?;
            return Ok(());
        }
        let input = args.interactive && record.interactive;
        let proxy = ProxyArgs::default();
        let held = hold(&containers, record, &mut session, input, &args.keys, &proxy)?;
        ended = held.unwrap_or(exit::OK);
        Ok(())
    })?;
    Ok(if code == exit::OK { ended } else { code })
}

impl ExecArgs {
    fn environment(&self) -> anyhow::Result<Vec<String>> {
        let mut all = lines_of(&self.env_file)?;
        all.extend(self.env.iter().cloned());
        with_values(&all)
    }
}

/// `cowlab exec`.
pub(super) fn exec(args: &ExecArgs) -> anyhow::Result<u8> {
    if args.detach {
        return exec_detached(args);
    }
    let open = Open::new(&args.root)?;
    let containers = open.containers()?;
    let options = ExecOptions {
        args: args.command.clone(),
        env: args.environment()?,
        cwd: args.workdir.clone(),
        user: args.user.clone(),
        terminal: args.tty,
        interactive: args.interactive,
    };
    let found = containers.find(&args.container)?;
    Ok(status(containers.exec(&found, &options)?))
}

/// The same command once more, in a session of its own and without `-d`.
fn exec_detached(args: &ExecArgs) -> anyhow::Result<u8> {
    // What can be wrong with the name is told here.
    let open = Open::new(&args.root)?;
    let containers = open.containers()?;
    let found = containers.find(&args.container)?;
    if !found.phase.is_alive() {
        let message = format!(
            "container `{}` is {}: start it first",
            found.record.name,
            found.phase.word()
        );
        let code = exit::FINDING;
        return Err(Stop { code, message }.into());
    }
    let mut words = monitor_arguments(&open.root);
    words[0] = "exec".into();
    let mut command = cowlab_sys::Cmd::new(std::env::current_exe()?).args(words);
    for variable in &args.environment()? {
        command = command.args(["--env", variable]);
    }
    for (flag, value) in [("--workdir", &args.workdir), ("--user", &args.user)] {
        if let Some(value) = value {
            command = command.args([flag, value]);
        }
    }
    if args.tty {
        command = command.arg("--tty");
    }
    let null = || {
        std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
    };
    command
        .arg(&found.record.id)
        .args(&args.command)
        .detach(null()?, null()?)?;
    Ok(exit::OK)
}

/// `cowlab stop`.
pub(super) fn stop(args: &StopArgs) -> anyhow::Result<u8> {
    let options = args.how.options()?;
    with_each(&args.root, &args.names, |_, containers, record| {
        Ok(containers.stop(record, options)?)
    })
}

/// `cowlab restart`.
pub(super) fn restart(args: &RestartArgs) -> anyhow::Result<u8> {
    let options = args.how.options()?;
    with_each(&args.root, &args.names, |open, containers, record| {
        containers.restart(record, options, &open.start_options(false))?;
        Ok(())
    })
}

/// `cowlab kill`.
pub(super) fn kill(args: &KillArgs) -> anyhow::Result<u8> {
    let signal = signal_number(&args.signal)?;
    with_each(&args.root, &args.names, |_, containers, record| {
        Ok(containers.signal(record, signal)?)
    })
}

/// `cowlab pause`.
pub(super) fn pause(args: &NamesArgs) -> anyhow::Result<u8> {
    with_each(&args.root, &args.names, |_, containers, record| {
        Ok(containers.pause(record)?)
    })
}

/// `cowlab unpause`.
pub(super) fn unpause(args: &NamesArgs) -> anyhow::Result<u8> {
    with_each(&args.root, &args.names, |_, containers, record| {
        Ok(containers.unpause(record)?)
    })
}

/// Does something with each of the containers, and prints the name that was given for it, as docker does.
fn with_each(
    root: &RootArgs,
    names: &[String],
    work: impl Fn(&Open, &Containers<'_>, &Record) -> anyhow::Result<()>,
) -> anyhow::Result<u8> {
    let open = Open::new(root)?;
    let containers = open.containers()?;
    each_name(names, |name| {
        work(&open, &containers, &containers.find(name)?.record)?;
        Ok(writeln!(std::io::stdout(), "{name}")?)
    })
}

fn signal_number(name: &str) -> anyhow::Result<i32> {
    let number = cowlab_sys::task::signal_number(name);
    Ok(number.ok_or_else(|| Stop {
        code: exit::USAGE,
        message: format!("there is no signal `{name}`: name it as in `TERM`"),
    })?)
}

/// `cowlab wait`.
pub(super) fn wait(args: &NamesArgs) -> anyhow::Result<u8> {
    let open = Open::new(&args.root)?;
    let containers = open.containers()?;
    each(&containers, &args.names, |found| {
        let code = containers.wait(&found.record)?.ok_or_else(|| Stop {
            code: exit::UNKNOWN,
            message: format!("nobody saw how container `{}` ended", found.record.name),
        })?;
        Ok(writeln!(std::io::stdout(), "{code}")?)
    })
}

/// `cowlab rm`.
pub(super) fn rm(args: &RmArgs) -> anyhow::Result<u8> {
    let open = Open::new(&args.root)?;
    let containers = open.containers()?;
    let options = RemoveOptions {
        force: args.force,
        volumes: args.volumes,
    };
    let names: Vec<String> = args
        .names
        .iter()
        .filter(|name| {
            let missing = matches!(containers.find(name), Err(runtime::Error::NotFound { .. }));
            !(args.force && missing)
        })
        .cloned()
        .collect();
    each_name(&names, |name| {
        let removed = match containers.find(name) {
            Err(runtime::Error::Damaged { .. }) if args.force => containers.remove_damaged(name)?,
            found => {
                let record = found?.record;
                containers.remove(&record, options)?;
                record.name
            }
        };
        Ok(writeln!(std::io::stdout(), "{removed}")?)
    })
}
