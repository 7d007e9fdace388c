//! Commands of the program, one a line, with what they must print, tell and end with.
//!
//! ```ignore
//! program: &[
//!     run("run --name con base sh -c 'echo x >/f'"),
//!     run("diff con").prints("A /f"),
//!     run("commit con made").saves("id"),
//!     run("inspect con").json(&[("/0/State/ExitCode", "0")]).keeps(&[("/0/Image", "image")]),
//!     run("rmi {id}").fails(1, "con"),
//! ],
//! ```
//!
//! They run in a root with the column's driver and the image `base`. A command is split at blanks, but not between quotes.
//! `{dir}` stands for the case's directory, `{driver}` for the driver's name, `{registry}` for the address of the registry that
//! the case started, and `{name}` for what was saved or kept under that name.

use std::fs;

use crate::context::{Context, Result, expect};
use crate::difference::Difference;
use crate::product::layered::Layered;
use crate::product::registry::Registry;
use crate::product::{Product, Ran};
use crate::support::build::{Build, Sources, nothing_is_left};
use crate::support::program::state as state_of;
use cowlab_tarball::Entry;
use serde_json::Value;

/// A command of the program, or what prepares and follows it, and what is expected of it.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    action: Action,
    input: &'static str,
    code: i32,
    output: Option<&'static str>,
    with: &'static [&'static str],
    without: &'static [&'static str],
    message: &'static [&'static str],
    steps: &'static [(&'static str, bool)],
    members: Pairs,
    kept: Pairs,
    name: Option<&'static str>,
}

/// Pairs of texts: of a JSON pointer and a value or a name, or of a variable and its value.
type Pairs = &'static [(&'static str, &'static str)];

#[derive(Debug, Clone, Copy)]
enum Action {
    Run(&'static str),
    Script(&'static str),
    Build {
        file: Option<&'static str>,
        words: &'static str,
    },
    Load {
        name: &'static str,
        config: &'static str,
    },
    Layered {
        name: &'static str,
        layers: &'static [fn() -> Vec<Entry>],
    },
    Registry(Pairs),
    StopRegistry,
    File {
        name: &'static str,
        text: &'static str,
    },
    Reads(&'static str),
    State(&'static str),
    NothingIsLeft,
}

impl Command {
    const fn new(action: Action) -> Self {
        Self {
            action,
            input: "",
            code: 0,
            output: None,
            with: &[],
            without: &[],
            message: &[],
            steps: &[],
            members: &[],
            kept: &[],
            name: None,
        }
    }

    /// Gives it this on standard input.
    #[must_use]
    pub const fn reads(self, input: &'static str) -> Self {
        Self { input, ..self }
    }

    /// Expects this exit status.
    #[must_use]
    pub const fn exits(self, code: i32) -> Self {
        Self { code, ..self }
    }

    /// Expects this exit status, and these words on standard error.
    #[must_use]
    pub const fn fails(self, code: i32, words: &'static [&'static str]) -> Self {
        self.exits(code).tells(words)
    }

    /// Expects this on standard output, but for the last line's end.
    #[must_use]
    pub const fn prints(self, output: &'static str) -> Self {
        let output = Some(output);
        Self { output, ..self }
    }

    /// Expects each of these on standard output.
    #[must_use]
    pub const fn with(self, with: &'static [&'static str]) -> Self {
        Self { with, ..self }
    }

    /// Expects none of these on standard output, nor on standard error.
    #[must_use]
    pub const fn without(self, without: &'static [&'static str]) -> Self {
        Self { without, ..self }
    }

    /// Expects each of these on standard error.
    #[must_use]
    pub const fn tells(self, message: &'static [&'static str]) -> Self {
        Self { message, ..self }
    }

    /// Expects steps of a build with these texts, from the cache or not.
    #[must_use]
    pub const fn cached(self, steps: &'static [(&'static str, bool)]) -> Self {
        Self { steps, ..self }
    }

    /// Expects a JSON document on standard output with these values at these pointers (RFC 6901): a text as it is, anything else
    /// as JSON, and `none` where there is nothing.
    #[must_use]
    pub const fn json(self, members: Pairs) -> Self {
        Self { members, ..self }
    }

    /// Expects a JSON document on standard output, and saves what is at these pointers under these names.
    #[must_use]
    pub const fn keeps(self, kept: Pairs) -> Self {
        Self { kept, ..self }
    }

    /// Saves what it printed under this name, for later commands.
    #[must_use]
    pub const fn saves(self, name: &'static str) -> Self {
        let name = Some(name);
        Self { name, ..self }
    }
}

/// Runs a command of the program.
#[must_use]
pub const fn run(line: &'static str) -> Command {
    Command::new(Action::Run(line))
}

/// Runs a script of a shell in which `$COWLAB` is the program.
#[must_use]
pub const fn script(text: &'static str) -> Command {
    Command::new(Action::Script(text))
}

/// Builds `made` in `{dir}/src` of a Dockerfile, which begins with `FROM base` if it has no `FROM`.
#[must_use]
pub const fn build(file: &'static str) -> Command {
    let (file, words) = (Some(file), "");
    Command::new(Action::Build { file, words })
}

/// Builds `made` of what is in `{dir}/src`, with further arguments.
#[must_use]
pub const fn build_with(words: &'static str) -> Command {
    Command::new(Action::Build { file: None, words })
}

/// Adds an image of the base's files with this configuration, in JSON.
#[must_use]
pub const fn load(name: &'static str, config: &'static str) -> Command {
    Command::new(Action::Load { name, config })
}

/// Adds an image of these layers, base first. Prints the digests of the layers' archives as a JSON list.
#[must_use]
pub const fn layered(name: &'static str, layers: &'static [fn() -> Vec<Entry>]) -> Command {
    Command::new(Action::Layered { name, layers })
}

/// Starts a registry, `{registry}`, with these variables in its environment, which override its configuration. It ends with the
/// case.
#[must_use]
pub const fn registry(variables: Pairs) -> Command {
    Command::new(Action::Registry(variables))
}

/// Stops the registry.
#[must_use]
pub const fn stop_registry() -> Command {
    Command::new(Action::StopRegistry)
}

/// Writes a file in `{dir}`, or makes a directory where the name ends with `/`.
#[must_use]
pub const fn file(name: &'static str, text: &'static str) -> Command {
    Command::new(Action::File { name, text })
}

/// Reads a file in `{dir}`: prints its content.
#[must_use]
pub const fn content(name: &'static str) -> Command {
    Command::new(Action::Reads(name))
}

/// Expects a container to be in this state.
#[must_use]
pub const fn state(container: &'static str, state: &'static str) -> Command {
    Command::new(Action::State(container)).prints(state)
}

/// Expects a root that is whole and has neither a container nor a snapshot that a build works in.
#[must_use]
pub const fn nothing_left() -> Command {
    Command::new(Action::NothingIsLeft)
}

/// Runs the commands of a case.
///
/// # Errors
///
/// The first difference.
pub(super) fn perform(context: &mut Context, commands: &[Command]) -> Result<()> {
    let product = Product::new(context)?;
    let mut state = State {
        saved: Saved(vec![
            ("dir", context.dir().display().to_string()),
            ("driver", context.entry().name.to_owned()),
        ]),
        registry: None,
    };
    for command in commands {
        let ran = command.perform(context, &product, &mut state)?;
        command.judge(ran, &mut state.saved)?;
    }
    Ok(())
}

/// What commands leave for those after them.
struct State {
    saved: Saved,
    registry: Option<Registry>,
}

impl State {
    fn start_registry(&mut self, context: &Context, variables: Pairs) -> Result<()> {
        let fill = |(name, value): &(&'static str, &str)| (*name, self.saved.fill(value));
        let variables: Vec<_> = variables.iter().map(fill).collect();
        let registry = Registry::start_with(&context.dir().join("registry"), &variables)?;
        self.saved.0.push(("registry", registry.host()));
        self.registry = Some(registry);
        Ok(())
    }
}

/// Adds an image of these layers, and returns the digests of their archives as a JSON list.
fn add_layered(product: &Product, name: &str, layers: &[fn() -> Vec<Entry>]) -> Result<String> {
    let layers: Vec<_> = layers.iter().map(|entries| entries()).collect();
    let image = Layered {
        name,
        layers: &layers,
    };
    let digests = Value::from(image.diff_ids());
    product.load_images(&[image])?;
    Ok(digests.to_string())
}

/// What was saved under names.
struct Saved(Vec<(&'static str, String)>);

impl Saved {
    fn fill(&self, text: &str) -> String {
        let fill = |text: String, (name, value): &(&str, String)| {
            text.replace(&format!("{{{name}}}"), value)
        };
        self.0.iter().fold(text.to_owned(), fill)
    }

    fn words(&self, line: &str) -> Vec<String> {
        words(line).iter().map(|word| self.fill(word)).collect()
    }
}

impl Command {
    fn perform(&self, context: &Context, product: &Product, state: &mut State) -> Result<Ran> {
        let sources = |name| Sources {
            dir: context.dir().join(name),
        };
        let saved = &state.saved;
        let (what, out) = match self.action {
            Action::Run(line) => {
                return product.run_with(&saved.words(line), self.input.as_bytes());
            }
            Action::Script(text) => return product.script(&saved.fill(text)),
            Action::Build { file, words } => {
                let words = saved.words(words);
                let words: Vec<_> = words.iter().map(String::as_str).collect();
                let built = match file {
                    Some(file) => sources("src").made(product, &saved.fill(file))?,
                    None => sources("src").build(product, &words)?,
                };
                return Ok(built.ran);
            }
            Action::Load { name, config } => {
                product.load(name, &serde_json::from_str(config)?)?;
                (name, String::new())
            }
            Action::Layered { name, layers } => (name, add_layered(product, name, layers)?),
            Action::Registry(variables) => {
                state.start_registry(context, variables)?;
                ("registry", String::new())
            }
            Action::StopRegistry => {
                state.registry.take().map_or(Ok(()), Registry::stop)?;
                ("registry", String::new())
            }
            Action::File { name, text } => {
                sources("").write(name, saved.fill(text))?;
                (name, String::new())
            }
            Action::Reads(name) => (name, fs::read_to_string(context.dir().join(name))?),
            Action::State(container) => (container, state_of(product, container)?),
            Action::NothingIsLeft => {
                nothing_is_left(product)?;
                ("root", String::new())
            }
        };
        Ok(Ran {
            command: what.to_owned(),
            code: 0,
            out,
            err: String::new(),
        })
    }

    /// Compares how it ended with what is expected, and saves what it printed.
    fn judge(&self, ran: Ran, saved: &mut Saved) -> Result<()> {
        let built = Build { ran };
        for (text, is_cached) in self.steps {
            let what = format!("step `{text}`");
            expect(
                what,
                "cached",
                is_cached.to_string(),
                built.is_cached(text)?,
            )?;
        }
        let ran = built.ran;
        let (command, told) = (ran.command.clone(), ran.err.clone());
        for words in self.message {
            ran.refused(self.code, &saved.fill(words))?;
        }
        let output = match self.code {
            0 => ran.ok()?,
            code => {
                ran.refused(code, "")?;
                ran.out.trim_end().to_owned()
            }
        };
        if let Some(expected) = self.output {
            let expected = saved.fill(expected);
            if output != expected {
                let (expected, got) = (expected.escape_debug(), output.escape_debug());
                return Err(Difference::new(command, "output", expected, got));
            }
        }
        for words in self.with.iter().map(|words| saved.fill(words)) {
            expect(
                &command,
                format!("prints `{words}`"),
                true,
                output.contains(&words),
            )?;
        }
        for words in self.without.iter().map(|words| saved.fill(words)) {
            let is_told = output.contains(&words) || told.contains(&words);
            expect(&command, format!("tells `{words}`"), false, is_told)?;
        }
        self.judge_document(&command, &output, saved)?;
        saved.0.extend(self.name.map(|name| (name, output)));
        Ok(())
    }

    /// Compares the JSON document that it printed with what is expected, and saves of it what is kept.
    fn judge_document(&self, command: &str, output: &str, saved: &mut Saved) -> Result<()> {
        if self.members.is_empty() && self.kept.is_empty() {
            return Ok(());
        }
        let document = serde_json::from_str(output)
            .map_err(|error| Difference::new(command, "output", "JSON", error))?;
        for (pointer, expected) in self.members {
            expect(
                command,
                *pointer,
                saved.fill(expected),
                member(&document, &saved.fill(pointer)),
            )?;
        }
        for (pointer, name) in self.kept {
            let value = member(&document, &saved.fill(pointer));
            if value.is_empty() || value == NOTHING {
                return Err(Difference::new(command, pointer, "a value", value));
            }
            saved.0.push((name, value));
        }
        Ok(())
    }
}

/// What is at a pointer where there is nothing.
const NOTHING: &str = "none";

/// What a document has at a pointer.
fn member(document: &Value, pointer: &str) -> String {
    match document.pointer(pointer) {
        None => NOTHING.to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// The words of a command: between blanks, or between quotes of one kind.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (letter, quote) {
            (' ', None) => words.extend(word.take()),
            (_, Some(open)) if open == letter => quote = None,
            ('\'' | '"', None) => {
                word.get_or_insert_default();
                quote = Some(letter);
            }
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_at_blanks_that_no_quotes_hold() {
        let found = words(r#"exec con  sh -c 'echo "a  b"' "it's" ''"#);
        assert_eq!(
            found,
            ["exec", "con", "sh", "-c", r#"echo "a  b""#, "it's", ""]
        );
    }

    #[test]
    fn members_of_a_document_are_found() {
        let document = serde_json::json!([{"a": "text", "b": {"c": 5, "d": null}}]);
        for (pointer, expected) in [
            ("/0/a", "text"),
            ("/0/b", r#"{"c":5,"d":null}"#),
            ("/0/b/c", "5"),
            ("/0/b/d", "null"),
            ("/0/b/e", "none"),
        ] {
            assert_eq!(member(&document, pointer), expected, "{pointer}");
        }
    }

    #[test]
    fn names_stand_for_what_was_saved() {
        let saved = Saved(vec![("dir", "/a b".to_owned())]);
        assert_eq!(
            saved.words("cp {dir}/f {{.Id}}"),
            ["cp", "/a b/f", "{{.Id}}"]
        );
    }
}
