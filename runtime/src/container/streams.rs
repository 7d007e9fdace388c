//! The streams of a program that is about to be started: its ends and ours.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use cowlab_sys::{channel, io};
use libcontainer::container::builder::ContainerBuilder;

use super::{Error, Result};

/// Our ends of a program's streams.
#[derive(Debug)]
pub(super) struct Ends {
    /// What it reads; `None` where that is `/dev/null`, or the terminal in `output`.
    pub(super) input: Option<File>,
    /// What it writes: standard output, or everything to a terminal.
    pub(super) output: File,
    /// What it writes to standard error; a terminal has none.
    pub(super) errors: Option<File>,
}

/// Our ends of pipes; with a terminal, who waits for it.
#[derive(Debug)]
pub(super) enum Streams {
    Pipes(Ends),
    Terminal(UnixListener),
}

impl Streams {
    /// Gives a program its streams: a terminal, whose socket is in `dir`, or pipes.
    pub(super) fn connect(
        builder: ContainerBuilder,
        terminal: bool,
        interactive: bool,
        dir: &Path,
    ) -> Result<(ContainerBuilder, Self)> {
        if terminal {
            let listener = listen(dir, "console")?;
            let builder = builder.with_console_socket(Some(dir.join("console")));
            return Ok((builder, Self::Terminal(listener)));
        }
        let (their_input, input): (OwnedFd, _) = if interactive {
            let (reader, writer) = io("pipe", "", std::io::pipe())?;
            (reader.into(), Some(OwnedFd::from(writer).into()))
        } else {
            let null = Path::new("/dev/null");
            (io("open", null, File::open(null))?.into(), None)
        };
        let (output, their_output) = io("pipe", "", std::io::pipe())?;
        let (errors, their_errors) = io("pipe", "", std::io::pipe())?;
        let builder = builder
            .with_stdin(their_input)
            .with_stdout(their_output)
            .with_stderr(their_errors);
        let ends = Ends {
            input,
            output: OwnedFd::from(output).into(),
            errors: Some(OwnedFd::from(errors).into()),
        };
        Ok((builder, Self::Pipes(ends)))
    }

    /// Our ends, once libcontainer has made the process.
    pub(super) fn open(self, container: &str) -> Result<Ends> {
        let listener = match self {
            Self::Pipes(ends) => return Ok(ends),
            Self::Terminal(listener) => listener,
        };
        let (socket, _) = io("accept", "console", listener.accept())?;
        let terminal = channel::receive_descriptor(&socket)?;
        let terminal = terminal.ok_or_else(|| Error::Start {
            name: container.to_owned(),
            reason: "it sent no terminal".to_owned(),
            status: 125,
        })?;
        Ok(Ends {
            input: None,
            output: File::from(terminal),
            errors: None,
        })
    }
}

/// Listens at a name in a directory.
pub(super) fn listen(dir: &Path, name: &str) -> Result<UnixListener> {
    at_name(dir, name, "bind", |path| UnixListener::bind(path))
}

/// Connects to who listens at a name in a directory.
pub(super) fn connect(dir: &Path, name: &str) -> Result<UnixStream> {
    at_name(dir, name, "connect", |path| UnixStream::connect(path))
}

/// By way of the open directory: a socket's path has 107 bytes at most (unix(7)).
fn at_name<T>(
    dir: &Path,
    name: &str,
    call: &'static str,
    work: impl Fn(&Path) -> std::io::Result<T>,
) -> Result<T> {
    let place = io("open", dir, File::open(dir))?;
    let short = cowlab_sys::at::descriptor_path(&place).join(name);
    Ok(io(call, dir.join(name), work(&short))?)
}

impl Ends {
    /// Whether `output` is a terminal.
    pub(super) const fn has_terminal(&self) -> bool {
        self.errors.is_none()
    }

    /// Has no read or write wait.
    pub(super) fn set_nonblocking(&self) -> Result<()> {
        let all = [
            Some(&self.output),
            self.errors.as_ref(),
            self.input.as_ref(),
        ];
        for file in all.into_iter().flatten() {
            channel::set_nonblocking(file)?;
        }
        Ok(())
    }
}
