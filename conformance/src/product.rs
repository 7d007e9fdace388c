//! The program as people have it, on a root of its own in a case's place: every command is a process, what it prints is
//! what the case sees.
//!
//! It is this same program that is run. Containers run programs of the place where the suite runs, which
//! `image.rs` packs into a root file system.

pub mod debian;
pub mod front;
mod image;
pub mod layered;
mod person;
pub mod registry;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cowlab_snapshots::StoreOptions;
use cowlab_sys::cmd::Cmd;
use layered::Layered;
use person::Person;
use serde_json::Value;

use crate::context::{Context, Result};
use crate::difference::Difference;

/// How long one command may take, in seconds. Emulated machines are slow; what hangs must end nevertheless.
const TIME_LIMIT: &str = "300";

/// How long a case waits for what a command has begun.
const PATIENCE: Duration = Duration::from_secs(300);

/// The name of the image that every root has.
pub const BASE: &str = "base";

/// A root of the program.
#[derive(Debug)]
pub struct Product {
    root: PathBuf,
    driver: String,
    /// Who runs it, if not this process's user.
    person: Option<Person>,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The command, for people.
    pub command: String,
    /// Its exit status; -1 after a signal.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it told.
    pub err: String,
}

impl Ran {
    /// What it printed, without the last line's end.
    ///
    /// # Errors
    ///
    /// When it did not end well.
    pub fn ok(self) -> Result<String> {
        if self.code != 0 {
            // What a check finds is its result, on standard output.
            let said = match self.err.trim_end() {
                "" => self.out.trim_end(),
                said => said,
            };
            let got = format!("{}: {}", self.code, said.replace('\n', "; "));
            return Err(Difference::new(self.command, "exit status", 0, got));
        }
        Ok(self.out.trim_end().to_owned())
    }

    /// It must end with this exit status, and say something with these words on stderr.
    ///
    /// # Errors
    ///
    /// The status or the words that differ.
    pub fn refused(&self, code: i32, words: &str) -> Result<()> {
        let said = self.err.trim_end().replace('\n', "; ");
        if self.code != code {
            let got = format!("{}: {said}", self.code);
            return Err(Difference::new(&self.command, "exit status", code, got));
        }
        if !said.contains(words) {
            return Err(Difference::new(&self.command, "message", words, said));
        }
        Ok(())
    }
}

/// This program's own file.
///
/// # Errors
///
/// When it is unknown.
pub fn program() -> Result<PathBuf> {
    Ok(cowlab_sys::io(
        "readlink",
        "/proc/self/exe",
        std::env::current_exe(),
    )?)
}

/// The tar of [`BASE`]'s files.
///
/// # Errors
///
/// A program that is not here, or cannot be read.
pub fn base_tar() -> Result<&'static [u8]> {
    image::tar()
}

/// Waits until something is so, looking again and again.
///
/// # Errors
///
/// What looking makes, and that it is not so after minutes.
pub fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > end {
            return Err(Difference::new(what, "waited for", "so", "not so"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

impl Product {
    /// Makes a root with the column's driver in `context`, with the image [`BASE`] in it.
    pub fn new(context: &mut Context) -> Result<Self> {
        let product = Self::empty(context)?;
        product.import_base()?;
        Ok(product)
    }

    /// Makes a root with the column's driver in `context`, and nothing in it.
    pub fn empty(context: &mut Context) -> Result<Self> {
        Self::empty_in(context, "root")
    }

    /// Makes a root with the column's driver in a directory of this name in `context`, and nothing in it.
    pub fn empty_in(context: &mut Context, name: &str) -> Result<Self> {
        let options = context.options_of_another_store()?;
        Self::with(context, name, &options)
    }

    /// Makes a root where there is little room, with the image [`BASE`] in it.
    pub fn on_small_disk(context: &mut Context) -> Result<Self> {
        let options = context.options_of_a_narrow_store()?;
        let product = Self::with(context, "root", &options)?;
        product.import_base()?;
        Ok(product)
    }

    fn with(context: &Context, name: &str, options: &StoreOptions) -> Result<Self> {
        let variant = options.variant.as_deref().unwrap_or_default();
        let product = Self {
            root: context.dir().join(name),
            driver: format!("{}/{variant}", context.entry().name),
            person: None,
        };
        // The root keeps what its driver has to know.
        let settings = options.settings.iter();
        let settings = settings.map(|(name, value)| format!("--driver-opt={name}={value}"));
        let mut arguments = vec!["info".to_owned()];
        arguments.extend(settings);
        product.run(&arguments)?.ok()?;
        Ok(product)
    }

    /// A root of an ordinary user, with the column's driver and without anything in it. It is made with the first command.
    ///
    /// # Errors
    ///
    /// When the user's place cannot be made.
    pub fn of_an_ordinary_user(context: &Context) -> Result<Self> {
        Ok(Self {
            // Of another name in each column: all have the same home, and an overlay in another namespace that names the same
            // path counts as a use.
            root: person::home().join(context.dir().to_string_lossy().replace('/', "-")),
            driver: context.entry().name.to_owned(),
            person: Some(Person::make(&context.dir().join("person"))?),
        })
    }

    /// Imports the image [`BASE`].
    pub fn import_base(&self) -> Result<()> {
        self.run_with(&["import", "-", BASE], image::tar()?)?
            .ok()
            .map(drop)
    }

    /// Adds an image of [`BASE`]'s files with a configuration of its own: the `config` of the image specification. It has
    /// no history.
    pub fn load(&self, name: &str, config: &Value) -> Result<()> {
        let archive = image::docker_archive(name, config)?;
        self.run_with(&["load"], &archive)?.ok().map(drop)
    }

    /// The number of the ordinary user that runs it, if one does.
    #[must_use]
    pub fn user(&self) -> Option<u32> {
        self.person.as_ref().map(|_| person::ID)
    }

    /// Adds images made entry by entry.
    pub fn load_images(&self, images: &[Layered<'_>]) -> Result<()> {
        let archive = layered::docker_archive(images)?;
        self.run_with(&["load"], &archive)?.ok().map(drop)
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Has the root be at another path, as a disk that is mounted elsewhere.
    pub fn move_to(&mut self, root: PathBuf) -> Result<()> {
        cowlab_sys::io("rename", &root, std::fs::rename(&self.root, &root))?;
        self.root = root;
        Ok(())
    }

    /// Runs a command of the program.
    pub fn run<A: AsRef<str>>(&self, arguments: &[A]) -> Result<Ran> {
        self.run_with(arguments, &[])
    }

    /// Runs a command of the program that reads these bytes.
    pub fn run_with<A: AsRef<str>>(&self, arguments: &[A], stdin: &[u8]) -> Result<Ran> {
        let words: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
        finish(&self.command(&words)?.stdin(stdin), &words)
    }

    /// Runs a command of the program with these variables in its environment.
    pub fn run_among<A: AsRef<str>>(
        &self,
        variables: &[(&str, &str)],
        arguments: &[A],
    ) -> Result<Ran> {
        let words: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
        let mut command = self.command(&words)?;
        for (name, value) in variables {
            command = command.env(name, value);
        }
        finish(&command, &words)
    }

    /// A command of the program, for what is not waited for or needs more said.
    ///
    /// # Errors
    ///
    /// When this program's own file is unknown.
    pub fn command(&self, words: &[&str]) -> Result<Cmd> {
        let program = program()?;
        let timeout = ["timeout", "-k", "5", TIME_LIMIT];
        let command = match &self.person {
            Some(person) => person.command(&program, &timeout),
            None => Cmd::new(timeout[0]).args(&timeout[1..]).arg(program),
        };
        Ok(command
            .args(words)
            .env("COWLAB_ROOT", &self.root)
            .env("COWLAB_DRIVER", &self.driver))
    }

    /// Runs a script of a shell in which `$COWLAB` is the program and this root is its own.
    pub fn script(&self, script: &str) -> Result<Ran> {
        let command = Cmd::new("timeout")
            .args(["-k", "5", TIME_LIMIT, "sh", "-c", script])
            .env("COWLAB", program()?)
            .env("COWLAB_ROOT", &self.root)
            .env("COWLAB_DRIVER", &self.driver);
        finish(&command, &[script])
    }

    /// Runs a command of the program in a boot that `boot` holds the id of: the file is mounted over the kernel's, for this
    /// command and what it starts alone.
    pub fn run_in_boot(&self, boot: &Path, words: &[&str]) -> Result<Ran> {
        const SCRIPT: &str = r#"mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@""#;
        let command = Cmd::new("timeout")
            .args([
                "-k", "5", TIME_LIMIT, "unshare", "--mount", "sh", "-c", SCRIPT,
            ])
            .arg(boot)
            .arg(program()?)
            .args(words)
            .env("COWLAB_ROOT", &self.root)
            .env("COWLAB_DRIVER", &self.driver);
        finish(&command, words)
    }

    /// What a command printed that must end well.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn ok<A: AsRef<str>>(&self, arguments: &[A]) -> Result<String> {
        self.run(arguments)?.ok()
    }

    /// What a command must print.
    ///
    /// # Errors
    ///
    /// What it printed instead.
    pub fn says<A: AsRef<str>>(&self, arguments: &[A], expected: &str) -> Result<()> {
        let ran = self.run(arguments)?;
        let command = ran.command.clone();
        let got = ran.ok()?;
        if got != expected {
            let (expected, got) = (expected.escape_debug(), got.escape_debug());
            return Err(Difference::new(command, "output", expected, got));
        }
        Ok(())
    }

    /// What a command printed as JSON.
    ///
    /// # Errors
    ///
    /// When it did not end well, or printed no JSON.
    pub fn json<A: AsRef<str>>(&self, arguments: &[A]) -> Result<Value> {
        let text = self.ok(arguments)?;
        Ok(serde_json::from_str(&text)?)
    }
}

impl Drop for Product {
    /// A case that ended early may have left containers that run, and their mounts with them. What they and the images
    /// take is room that the next case has not.
    fn drop(&mut self) {
        let left = self.ok(&["ps", "-aq"]).unwrap_or_default();
        let left: Vec<_> = left.split_whitespace().collect();
        if !left.is_empty() {
            let arguments = [&["rm", "-fv"], &left[..]].concat();
            if let Err(difference) = self.ok(&arguments) {
                tracing::warn!(%difference, "a case left containers");
            }
        }
        // A case may have damaged what it had.
        if let Err(difference) = self.ok(&["system", "prune", "--all"]) {
            tracing::debug!(%difference, "a case left images");
        }
    }
}

fn finish(command: &Cmd, words: &[&str]) -> Result<Ran> {
    let output = command.output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ran {
        command: format!("cowlab {}", words.join(" ")),
        code: output.status.unwrap_or(-1),
        out: text(&output.stdout),
        err: text(&output.stderr),
    })
}
