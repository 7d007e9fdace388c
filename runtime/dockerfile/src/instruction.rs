//! The instructions, each with what its flags and values say.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Fault, Lines};

/// An instruction with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// The name of the file that it is in.
    pub file: Arc<str>,
    /// The lines that it takes.
    pub lines: Lines,
    /// Its text on one line: continued lines are joined, comments gone, here-documents left out.
    pub text: String,
    /// What it says.
    pub kind: Kind,
}

impl Instruction {
    /// An error at this instruction, for what only shows when it is executed.
    #[must_use]
    pub fn error(&self, reason: impl Into<String>, remedy: Option<String>) -> Error {
        Error {
            file: self.file.clone(),
            lines: Some(self.lines),
            text: self.text.clone(),
            reason: reason.into(),
            remedy,
        }
    }

    pub(crate) fn fault(&self, fault: Fault) -> Error {
        self.error(fault.reason, fault.remedy)
    }
}

/// What an instruction says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `ADD`.
    Add(Add),
    /// `ARG`, one or more.
    Arg(Vec<Argument>),
    /// `CMD`; an exec form without words takes the base's away.
    Cmd(Command),
    /// `COPY`.
    Copy(Copy),
    /// `ENTRYPOINT`; an exec form without words takes the base's away.
    Entrypoint(Command),
    /// `ENV`, names and values in the order of the file.
    Env(Vec<(String, String)>),
    /// `EXPOSE`; expanded, each is `PORT/PROTOCOL`.
    Expose(Vec<String>),
    /// `HEALTHCHECK`.
    Health(Health),
    /// `LABEL`, names and values in the order of the file.
    Label(Vec<(String, String)>),
    /// `MAINTAINER`, deprecated.
    Maintainer(String),
    /// `ONBUILD`.
    OnBuild(OnBuild),
    /// `RUN`.
    Run(Run),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `STOPSIGNAL`, a name or a number; whether there is such a signal is for who executes to say.
    StopSignal(String),
    /// `USER`, `user[:group]`.
    User(String),
    /// `VOLUME`.
    Volume(Vec<String>),
    /// `WORKDIR`; a relative one is below the one before.
    Workdir(String),
}

impl Kind {
    /// The instruction's name in upper case.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::Health(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::OnBuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// A variable that `ARG` declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Its default.
    pub default: Option<String>,
}

/// A command in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The text for `SHELL`'s program.
    Shell(String),
    /// The program and its arguments.
    Exec(Vec<String>),
}

/// What `RUN` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// The text for `SHELL`'s program; here-documents that the shell is to read are part of it.
    Shell(String),
    /// The program and its arguments.
    Exec(Vec<String>),
    /// A here-document that begins with `#!`: a file of that name to be executed. BuildKit has it in `/dev/pipes`.
    Script(Document),
}

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The word that ends it, which is the name of the file that `COPY` and `ADD` make of it.
    pub name: String,
    /// Its content; leading tabs are gone if it began with `<<-`.
    pub text: String,
    /// Whether variables in it are expanded: its word was not quoted.
    pub expand: bool,
}

/// What `COPY` and `ADD` take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path of the context (or of `--from`), with wildcards; of `ADD`, an address too.
    Path(String),
    /// A file whose content stands in the Dockerfile.
    Document(Document),
}

/// A source of `ADD` that is not in the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remote {
    /// A file of a web server.
    Http,
    /// A git repository.
    Git,
}

impl Remote {
    /// What a source of `ADD` is, if it is no path.
    #[must_use]
    pub fn of(source: &str) -> Option<Self> {
        let web = source.starts_with("http://") || source.starts_with("https://");
        let path = source.split(['#', '?']).next().unwrap_or(source);
        if source.starts_with("git@")
            || source.starts_with("git://")
            || source.starts_with("ssh://")
            || (web && path.ends_with(".git"))
        {
            return Some(Self::Git);
        }
        web.then_some(Self::Http)
    }
}

/// `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The stage or image that the sources are of; without it the context.
    pub from: Option<String>,
    /// The sources, in the order of the file.
    pub sources: Vec<Source>,
    /// Where to; a relative one is below `WORKDIR`.
    pub destination: String,
    /// `--chown`, `user[:group]`.
    pub owner: Option<String>,
    /// `--chmod`; see [`crate::Mode`].
    pub mode: Option<String>,
    /// `--link`: the destination's links in the layers below are not followed.
    pub link: bool,
    /// `--parents`: the sources' parent directories are made too.
    pub parents: bool,
    /// `--exclude`, patterns as in `.dockerignore`.
    pub exclude: Vec<String>,
}

/// `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// The sources, in the order of the file.
    pub sources: Vec<Source>,
    /// Where to; a relative one is below `WORKDIR`.
    pub destination: String,
    /// `--chown`, `user[:group]`.
    pub owner: Option<String>,
    /// `--chmod`; see [`crate::Mode`].
    pub mode: Option<String>,
    /// `--link`: the destination's links in the layers below are not followed.
    pub link: bool,
    /// `--exclude`, patterns as in `.dockerignore`.
    pub exclude: Vec<String>,
    /// `--checksum`, `sha256:...` of what an address gives.
    pub checksum: Option<String>,
    /// `--keep-git-dir`.
    pub keep_git_dir: bool,
    /// `--unpack`: archives are unpacked; without it local ones are and those of an address are not.
    pub unpack: Option<bool>,
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// `--mount`, in the order of the file.
    pub mounts: Vec<Mount>,
    /// `--network`.
    pub network: Network,
    /// What to run.
    pub program: Program,
    /// The mounts as they stand in the file: their variables are expanded when the step is.
    pub(crate) mount_texts: Vec<String>,
}

/// `RUN --network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// What the build was started with.
    Default,
    /// None but the loopback device.
    None,
    /// The host's.
    Host,
}

/// `RUN --mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// Where; a relative one is below `WORKDIR`. Of a secret it may be missing: `/run/secrets/ID`.
    pub target: Option<String>,
    /// Whether writes fail.
    pub read_only: bool,
}

/// What a mount of `RUN` mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image. With `read_only` off, writes are dropped after the step.
    Bind {
        /// The stage or image; without it the context.
        from: Option<String>,
        /// The path in it; `/` if it is not given.
        source: String,
    },
    /// A directory that builds share.
    Cache {
        /// Its name; the target if it is not given.
        id: String,
        /// The stage or image that it is filled from at first.
        from: Option<String>,
        /// The path in it.
        source: String,
        /// Whether several steps use it at once.
        sharing: Sharing,
        /// The mode of the new directory.
        mode: u32,
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// Memory.
    Tmpfs {
        /// The most bytes.
        size: Option<u64>,
    },
    /// A secret of the command line, as a file, an environment variable or both.
    Secret {
        /// Its name.
        id: String,
        /// The environment variable.
        env: Option<String>,
        /// Whether the step fails if there is no such secret.
        required: bool,
        /// The file's mode.
        mode: u32,
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// How several steps use one cache directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// All at once.
    Shared,
    /// Each its own: a second one at the same time gets another directory.
    Private,
    /// One after the other.
    Locked,
}

/// `HEALTHCHECK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The base's is taken away.
    None,
    /// A check.
    Check(HealthCheck),
}

/// A health check; what is not given is zero, as the image's configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// The command.
    pub command: Command,
    /// `--interval`.
    pub interval: Duration,
    /// `--timeout`.
    pub timeout: Duration,
    /// `--start-period`.
    pub start_period: Duration,
    /// `--start-interval`.
    pub start_interval: Duration,
    /// `--retries`.
    pub retries: u32,
}

/// `ONBUILD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnBuild {
    /// The instruction's text with its here-documents, for the image's configuration.
    pub expression: String,
    /// The instruction, checked.
    pub instruction: Box<Instruction>,
}
