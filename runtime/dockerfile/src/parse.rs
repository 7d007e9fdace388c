//! Instructions' texts to data, and a file to its stages.
//! Source: BuildKit, frontend/dockerfile/instructions/parse.go, and the Dockerfile reference.

use std::sync::Arc;

use crate::error::{Error, Fault, Lines, Result};
use crate::flags::{self, Flags, Shape};
use crate::instruction::{
    Add, Argument, Command, Copy, Document, Health, HealthCheck, Instruction, Kind, Network,
    OnBuild, Program, Run, Source,
};
use crate::lines::{self, HereDocument, Logical};
use crate::{mount, ports, words};

const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// A Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// Its name as the user gave it, for messages.
    pub file: Arc<str>,
    /// What escapes a character: `\` or a backtick.
    pub escape: char,
    /// The `ARG`s before the first `FROM`.
    pub arguments: Vec<Instruction>,
    /// The stages in the order of the file; there is one at least.
    pub stages: Vec<Stage>,
}

/// A stage: `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The name of the file that it is in.
    pub file: Arc<str>,
    /// The lines of `FROM`.
    pub lines: Lines,
    /// The text of `FROM`.
    pub text: String,
    /// What it is built on, with variables.
    pub base: String,
    /// `AS`, in lower case.
    pub name: Option<String>,
    /// `--platform`, with variables.
    pub platform: Option<String>,
    /// Its instructions.
    pub instructions: Vec<Instruction>,
}

impl Stage {
    /// An error at `FROM`.
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
}

impl Dockerfile {
    /// Reads a Dockerfile; `file` is its name for messages.
    ///
    /// # Errors
    ///
    /// At the first instruction that is not known, not whole or not supported.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let file: Arc<str> = Arc::from(file);
        let (directives, logical) = lines::read(text)
            .map_err(|(lines, text, fault)| Error::at(&file, lines, &text, fault))?;
        let mut parsed = Self {
            file: file.clone(),
            escape: directives.escape,
            arguments: Vec::new(),
            stages: Vec::new(),
        };
        for logical in logical {
            parsed
                .add(&logical)
                .map_err(|fault| Error::at(&file, logical.lines, &logical.text, fault))?;
        }
        if parsed.stages.is_empty() {
            return Err(Error::of_file(
                &file,
                Fault::with_remedy(
                    "the file has no FROM",
                    "begin it with `FROM IMAGE` or `FROM scratch`",
                ),
            ));
        }
        Ok(parsed)
    }

    fn add(&mut self, logical: &Logical) -> Result<(), Fault> {
        let (name, _) = words::first(&logical.text);
        if name.eq_ignore_ascii_case("FROM") {
            self.stages.push(from(&self.file, logical, self.escape)?);
            return Ok(());
        }
        let instruction = instruction(&self.file, logical, self.escape)?;
        match (self.stages.last_mut(), &instruction.kind) {
            (Some(stage), _) => stage.instructions.push(instruction),
            (None, Kind::Arg(_)) => self.arguments.push(instruction),
            (None, kind) => {
                return Err(Fault::with_remedy(
                    format!("{} stands before the first FROM", kind.name()),
                    "begin the file with `FROM IMAGE`; only ARG may stand before it",
                ));
            }
        }
        Ok(())
    }
}

impl Instruction {
    /// Reads a trigger that an image's configuration keeps in `OnBuild`; `file` says for messages where it is from.
    pub fn trigger(file: &str, expression: &str) -> Result<Self> {
        let file: Arc<str> = Arc::from(file);
        let logical = lines::instructions(expression, '\\')
            .map_err(|(lines, text, fault)| Error::at(&file, lines, &text, fault))?;
        let [logical] = logical.as_slice() else {
            let fault = Fault::new(format!("the trigger `{expression}` is not one instruction"));
            return Err(Error::of_file(&file, fault));
        };
        trigger(&file, logical, '\\')
            .map_err(|fault| Error::at(&file, logical.lines, &logical.text, fault))
    }
}

/// What an instruction is made from.
struct Request<'a> {
    name: &'static str,
    flags: Vec<String>,
    /// What follows the flags.
    rest: String,
    escape: char,
    documents: &'a [HereDocument],
}

impl Request<'_> {
    fn flags(&self, known: &[(&str, Shape)]) -> Result<Flags, Fault> {
        Flags::new(&self.flags, known, &[])
    }

    /// The whole rest as one text.
    fn text(&self) -> Result<String, Fault> {
        self.flags(&[])?;
        if self.rest.is_empty() {
            return Err(self.empty());
        }
        Ok(self.rest.clone())
    }

    fn empty(&self) -> Fault {
        Fault::new(format!("{} needs a value", self.name))
    }

    /// The words of a JSON array, or those that white space parts.
    fn list(&self) -> Result<Vec<String>, Fault> {
        Ok(match words::json(&self.rest)? {
            Some(words) => words,
            None => self.rest.split_whitespace().map(str::to_owned).collect(),
        })
    }

    fn command(&self) -> Result<Command, Fault> {
        Ok(words::json(&self.rest)?
            .map_or_else(|| Command::Shell(self.rest.clone()), Command::Exec))
    }
}

fn request<'a>(logical: &'a Logical, escape: char) -> Result<Request<'a>, Fault> {
    let (word, rest) = words::first(&logical.text);
    let Some(name) = NAMES
        .into_iter()
        .find(|name| name.eq_ignore_ascii_case(word))
    else {
        return Err(Fault::with_remedy(
            format!("there is no instruction `{word}`"),
            format!(
                "it is one of {}; a line that goes on needs `{escape}` at its end",
                NAMES.join(", ")
            ),
        ));
    };
    let (flags, rest) = words::flags(rest, escape);
    Ok(Request {
        name,
        flags,
        rest,
        escape,
        documents: &logical.documents,
    })
}

fn instruction(file: &Arc<str>, logical: &Logical, escape: char) -> Result<Instruction, Fault> {
    let request = request(logical, escape)?;
    let kind = match request.name {
        "ADD" => Kind::Add(add(&request)?),
        "ARG" => Kind::Arg(arguments(&request)?),
        "CMD" => Kind::Cmd(plain_command(&request)?),
        "COPY" => Kind::Copy(copy(&request)?),
        "ENTRYPOINT" => Kind::Entrypoint(plain_command(&request)?),
        "ENV" => Kind::Env(pairs(&request)?),
        "EXPOSE" => Kind::Expose(expose(&request)?),
        "HEALTHCHECK" => Kind::Health(health(&request)?),
        "LABEL" => Kind::Label(pairs(&request)?),
        "MAINTAINER" => Kind::Maintainer(request.text()?),
        "ONBUILD" => Kind::OnBuild(on_build(file, logical, escape)?),
        "RUN" => Kind::Run(run(&request)?),
        "SHELL" => Kind::Shell(shell(&request)?),
        "STOPSIGNAL" => Kind::StopSignal(request.text()?),
        "USER" => Kind::User(request.text()?),
        "VOLUME" => Kind::Volume(volumes(&request)?),
        "WORKDIR" => Kind::Workdir(request.text()?),
        _ => {
            return Err(Fault::new("FROM begins a stage and cannot stand here"));
        }
    };
    Ok(Instruction {
        file: file.clone(),
        lines: logical.lines,
        text: logical.text.clone(),
        kind,
    })
}

fn from(file: &Arc<str>, logical: &Logical, escape: char) -> Result<Stage, Fault> {
    let request = request(logical, escape)?;
    let flags = request.flags(&[("platform", Shape::Value)])?;
    let words: Vec<&str> = request.rest.split_whitespace().collect();
    let (base, name) = match words.as_slice() {
        [base] => (*base, None),
        [base, word, name] if word.eq_ignore_ascii_case("AS") => (*base, Some(stage_name(name)?)),
        _ => {
            return Err(Fault::with_remedy(
                "FROM takes an image, and `AS` with a name",
                "write `FROM IMAGE` or `FROM IMAGE AS NAME`",
            ));
        }
    };
    Ok(Stage {
        file: file.clone(),
        lines: logical.lines,
        text: logical.text.clone(),
        base: base.to_owned(),
        name,
        platform: flags.value("platform"),
        instructions: Vec::new(),
    })
}

fn stage_name(name: &str) -> Result<String, Fault> {
    let lower = name.to_ascii_lowercase();
    let fits = lower.starts_with(|c: char| c.is_ascii_lowercase())
        && lower
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    if !fits {
        return Err(Fault::with_remedy(
            format!("`{name}` is no name of a stage"),
            "a name begins with a letter and has letters, digits, `-`, `_` and `.`",
        ));
    }
    if ["scratch", "context"].contains(&lower.as_str()) {
        return Err(Fault::with_remedy(
            format!("`{lower}` is a name that builds have taken"),
            "give the stage another name",
        ));
    }
    Ok(lower)
}

fn arguments(request: &Request<'_>) -> Result<Vec<Argument>, Fault> {
    request.text()?;
    words::split(&request.rest, request.escape)
        .into_iter()
        .map(|word| {
            let (name, default) = word
                .split_once('=')
                .map_or((word.as_str(), None), |(name, value)| {
                    (name, Some(value.to_owned()))
                });
            if name.is_empty() {
                return Err(Fault::new(format!("ARG `{word}` has no name")));
            }
            Ok(Argument {
                name: name.to_owned(),
                default,
            })
        })
        .collect()
}

/// `name=value ...`, or `name value` as it was once written.
fn pairs(request: &Request<'_>) -> Result<Vec<(String, String)>, Fault> {
    let name = request.name;
    request.text()?;
    let words = words::split(&request.rest, request.escape);
    if words.first().is_some_and(|word| !word.contains('=')) {
        let (key, value) = words::first(&request.rest);
        if value.is_empty() {
            return Err(Fault::with_remedy(
                format!("{name} `{key}` has no value"),
                format!("write `{name} {key}=VALUE`"),
            ));
        }
        return Ok(vec![(key.to_owned(), value.to_owned())]);
    }
    words
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(Fault::new(format!("{name} `{word}` has no name"))),
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(Fault::with_remedy(
                format!("`{word}` of {name} has no `=`"),
                format!("write `{name} {word}=VALUE`, with quotes if the value has white space"),
            )),
        })
        .collect()
}

const COPY_FLAGS: [(&str, Shape); 4] = [
    ("chown", Shape::Value),
    ("chmod", Shape::Value),
    ("link", Shape::Switch),
    ("exclude", Shape::Values),
];

fn copy(request: &Request<'_>) -> Result<Copy, Fault> {
    let known = [
        &COPY_FLAGS[..],
        &[("from", Shape::Value), ("parents", Shape::Switch)],
    ]
    .concat();
    let flags = request.flags(&known)?;
    let from = flags.value("from");
    if let Some(from) = from.as_deref().filter(|from| from.contains('$')) {
        return Err(Fault::with_remedy(
            format!("`--from={from}` has a variable"),
            "give the image a stage of its own, `FROM $IMAGE AS name`, and name that",
        ));
    }
    let (sources, destination) = sources(request)?;
    if from.is_some()
        && sources
            .iter()
            .any(|source| matches!(source, Source::Document(_)))
    {
        return Err(Fault::new(
            "a here-document is not of `--from`: copy it by an instruction of its own",
        ));
    }
    Ok(Copy {
        from,
        sources,
        destination,
        owner: flags.value("chown"),
        mode: flags.value("chmod"),
        link: flags.switch("link").unwrap_or(false),
        parents: flags.switch("parents").unwrap_or(false),
        exclude: flags.values("exclude").map(str::to_owned).collect(),
    })
}

fn add(request: &Request<'_>) -> Result<Add, Fault> {
    let known = [
        &COPY_FLAGS[..],
        &[
            ("checksum", Shape::Value),
            ("keep-git-dir", Shape::Switch),
            ("unpack", Shape::Switch),
        ],
    ]
    .concat();
    let flags = request.flags(&known)?;
    let (sources, destination) = sources(request)?;
    Ok(Add {
        sources,
        destination,
        owner: flags.value("chown"),
        mode: flags.value("chmod"),
        link: flags.switch("link").unwrap_or(false),
        exclude: flags.values("exclude").map(str::to_owned).collect(),
        checksum: flags.value("checksum"),
        keep_git_dir: flags.switch("keep-git-dir").unwrap_or(false),
        unpack: flags.switch("unpack"),
    })
}

fn sources(request: &Request<'_>) -> Result<(Vec<Source>, String), Fault> {
    let mut words = request.list()?;
    let name = request.name;
    let destination = words.pop().filter(|_| !words.is_empty()).ok_or_else(|| {
        Fault::with_remedy(
            format!("{name} needs a source and a destination"),
            format!("write `{name} SOURCE... DESTINATION`"),
        )
    })?;
    if !request.documents.is_empty() && lines::here_word(&destination).is_some() {
        return Err(Fault::new(format!(
            "{name} has a here-document as its destination"
        )));
    }
    let sources = words
        .into_iter()
        .map(|word| {
            let document = lines::here_word(&word).and_then(|here| {
                request
                    .documents
                    .iter()
                    .find(|found| found.name == here.name)
            });
            document.map_or(Source::Path(word), |found| {
                Source::Document(document_of(found))
            })
        })
        .collect();
    Ok((sources, destination))
}

fn document_of(found: &HereDocument) -> Document {
    Document {
        name: found.name.clone(),
        text: found.content(),
        expand: found.expand,
    }
}

fn run(request: &Request<'_>) -> Result<Run, Fault> {
    let known = [
        ("mount", Shape::Values),
        ("network", Shape::Value),
        ("security", Shape::Value),
    ];
    let refused = [("device", "a build has docker's default devices alone")];
    let flags = Flags::new(&request.flags, &known, &refused)?;
    if let Some(security) = flags.value("security").filter(|value| value != "sandbox") {
        return Err(Fault::new(format!(
            "`--security={security}` is not supported: every step has docker's default capabilities, `sandbox`"
        )));
    }
    let network = match flags.value("network").as_deref() {
        None | Some("default") => Network::Default,
        Some("none") => Network::None,
        Some("host") => Network::Host,
        Some(other) => {
            return Err(Fault::new(format!(
                "`--network={other}`: it is default, none or host"
            )));
        }
    };
    let mount_texts: Vec<String> = flags.values("mount").map(str::to_owned).collect();
    Ok(Run {
        mounts: mount_texts
            .iter()
            .map(|text| mount::parse(text, None))
            .collect::<Result<_, _>>()?,
        mount_texts,
        network,
        program: program(request)?,
    })
}

/// What `RUN` runs. A here-document alone is the script itself; others are the shell's to read.
fn program(request: &Request<'_>) -> Result<Program, Fault> {
    let text = match request.command()? {
        Command::Exec(words) if words.is_empty() => return Err(request.empty()),
        Command::Exec(words) => return Ok(Program::Exec(words)),
        Command::Shell(text) => text,
    };
    if let ([document], true) = (request.documents, lines::here_word(&text).is_some()) {
        let document = document_of(document);
        return Ok(if document.text.starts_with("#!") {
            Program::Script(document)
        } else {
            Program::Shell(document.text)
        });
    }
    if text.is_empty() {
        return Err(request.empty());
    }
    Ok(Program::Shell(with_documents(text, request.documents)))
}

fn with_documents(text: String, documents: &[HereDocument]) -> String {
    documents.iter().fold(text, |text, document| {
        format!("{text}\n{}{}", document.text, document.name)
    })
}

fn plain_command(request: &Request<'_>) -> Result<Command, Fault> {
    request.flags(&[])?;
    request.command()
}

/// Ports without variables are checked before anything runs.
fn expose(request: &Request<'_>) -> Result<Vec<String>, Fault> {
    let words = request.text()?;
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    let fixed: Vec<String> = words
        .iter()
        .filter(|word| !word.contains(['$', '"', '\'', request.escape]))
        .cloned()
        .collect();
    ports::parse(&fixed)?;
    Ok(words)
}

fn shell(request: &Request<'_>) -> Result<Vec<String>, Fault> {
    request.flags(&[])?;
    match words::json(&request.rest)? {
        Some(words) if !words.is_empty() => Ok(words),
        _ => Err(Fault::with_remedy(
            "SHELL takes a JSON array",
            r#"write `SHELL ["/bin/sh", "-c"]`"#,
        )),
    }
}

fn volumes(request: &Request<'_>) -> Result<Vec<String>, Fault> {
    request.text()?;
    let volumes = request.list()?;
    if volumes.is_empty() || volumes.iter().any(|volume| volume.trim().is_empty()) {
        return Err(Fault::new("VOLUME has an empty path"));
    }
    Ok(volumes)
}

fn health(request: &Request<'_>) -> Result<Health, Fault> {
    let times = [
        "interval",
        "timeout",
        "start-period",
        "start-interval",
        "retries",
    ]
    .map(|name| (name, Shape::Value));
    let flags = request.flags(&times)?;
    let (kind, rest) = words::first(&request.rest);
    if kind.eq_ignore_ascii_case("NONE") {
        if !rest.is_empty() {
            return Err(Fault::new("HEALTHCHECK NONE takes nothing more"));
        }
        return Ok(Health::None);
    }
    if !kind.eq_ignore_ascii_case("CMD") {
        return Err(Fault::with_remedy(
            format!("HEALTHCHECK is followed by CMD or NONE, not `{kind}`"),
            "write `HEALTHCHECK CMD COMMAND`",
        ));
    }
    let command = words::json(rest)?.map_or_else(|| Command::Shell(rest.to_owned()), Command::Exec);
    if rest.is_empty() || command == Command::Exec(Vec::new()) {
        return Err(Fault::new("HEALTHCHECK CMD needs a command"));
    }
    let time = |name: &str| {
        flags
            .value(name)
            .map_or(Ok(std::time::Duration::ZERO), |value| {
                flags::duration(&format!("--{name}"), &value)
            })
    };
    let retries = flags.value("retries").map_or(Ok(0), |value| {
        value.parse().map_err(|_source| {
            Fault::new(format!(
                "`--retries` is `{value}`, which is no number of tries"
            ))
        })
    })?;
    Ok(Health::Check(HealthCheck {
        command,
        interval: time("interval")?,
        timeout: time("timeout")?,
        start_period: time("start-period")?,
        start_interval: time("start-interval")?,
        retries,
    }))
}

fn on_build(file: &Arc<str>, logical: &Logical, escape: char) -> Result<OnBuild, Fault> {
    let (_, rest) = words::first(&logical.text);
    if rest.is_empty() {
        return Err(Fault::new("ONBUILD needs an instruction"));
    }
    let inner = Logical {
        lines: logical.lines,
        text: rest.to_owned(),
        documents: logical.documents.clone(),
    };
    Ok(OnBuild {
        expression: with_documents(rest.to_owned(), &logical.documents),
        instruction: Box::new(trigger(file, &inner, escape)?),
    })
}

fn trigger(file: &Arc<str>, logical: &Logical, escape: char) -> Result<Instruction, Fault> {
    let (name, _) = words::first(&logical.text);
    if let Some(name) = ["ONBUILD", "FROM", "MAINTAINER"]
        .into_iter()
        .find(|refused| refused.eq_ignore_ascii_case(name))
    {
        return Err(Fault::new(format!("{name} cannot be a trigger of ONBUILD")));
    }
    instruction(file, logical, escape)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::instruction::{Mount, MountKind, Sharing};

    fn parse(text: &str) -> Dockerfile {
        Dockerfile::parse("Dockerfile", text).unwrap()
    }

    /// The instructions of one stage.
    fn kinds(text: &str) -> Vec<Kind> {
        parse(&format!("FROM scratch\n{text}"))
            .stages
            .remove(0)
            .instructions
            .into_iter()
            .map(|instruction| instruction.kind)
            .collect()
    }

    fn kind(text: &str) -> Kind {
        let mut kinds = kinds(text);
        assert_eq!(kinds.len(), 1, "{text}");
        kinds.remove(0)
    }

    fn refused(text: &str) -> Error {
        match Dockerfile::parse("Dockerfile", text) {
            Ok(parsed) => panic!("{text}: {parsed:?}"),
            Err(error) => error,
        }
    }

    fn program(text: &str) -> Program {
        match kind(text) {
            Kind::Run(run) => run.program,
            other => panic!("{other:?}"),
        }
    }

    fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
        words.map(str::to_owned).to_vec()
    }

    #[test]
    fn instructions_know_their_lines_and_text() {
        let file = parse(
            "# comment\n\nfrom debian AS Base\nRUN a && \\\n  # inside\n\n  b\n\n run <<EOF\nx\nEOF\nCMD [\"x\"]",
        );
        let stage = &file.stages[0];
        assert_eq!(stage.name.as_deref(), Some("base"));
        assert_eq!(stage.lines.to_string(), "3");
        let places: Vec<_> = stage
            .instructions
            .iter()
            .map(|i| (i.lines.to_string(), i.text.clone()))
            .collect();
        let expected = [
            ("4-7", "RUN a &&   b"),
            ("9-11", "run <<EOF"),
            ("12", "CMD [\"x\"]"),
        ];
        assert_eq!(places, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn lines_are_continued_as_docker_does() {
        for text in [
            "RUN a \\\n b",
            "RUN a \\  \n b",
            "RUN a \\\r\n b\r\n",
            "RUN a \\\n# c\n b",
            "RUN a \\\n\n\n b",
            "RUN a \\\n   # c\\\n b",
            "RUN \\\n a  b",
        ] {
            assert_eq!(program(text), Program::Shell("a  b".to_owned()), "{text:?}");
        }
        assert_eq!(program("RUN a \\\\"), Program::Shell("a \\\\".to_owned()));
        assert_eq!(program("RUN a \\"), Program::Shell("a".to_owned()));
        let file = parse("# escape=`\nFROM scratch\nRUN a `\n b\\\nRUN c");
        assert_eq!(file.escape, '`');
        assert_eq!(file.stages[0].instructions.len(), 2);
    }

    #[test]
    fn directives_stand_first() {
        assert_eq!(
            parse("#Syntax = docker/dockerfile:1\n# ESCAPE=`\nFROM a").escape,
            '`'
        );
        assert_eq!(parse("# a comment\n# escape=`\nFROM a").escape, '\\');
        assert_eq!(parse("\n# escape=`\nFROM a").escape, '\\');
        assert_eq!(parse("\u{feff}# escape=`\nFROM a").escape, '`');
        assert_eq!(parse("# check=skip=all\n# escape=`\nFROM a").escape, '`');
        assert!(
            refused("# escape=x\nFROM a")
                .reason
                .contains("escape character")
        );
        assert_eq!(
            refused("# escape=`\n# escape=`\nFROM a")
                .lines
                .unwrap()
                .first,
            2
        );
        assert!(
            refused("# syntax=tonistiigi/dockerfile:x\nFROM a")
                .reason
                .contains("frontend")
        );
    }

    #[test]
    fn here_documents_are_scripts() {
        assert_eq!(
            program("RUN <<EOF\na\nb\nEOF"),
            Program::Shell("a\nb\n".to_owned())
        );
        assert_eq!(
            program("RUN <<-EOF\n\ta\n\tEOF"),
            Program::Shell("a\n".to_owned())
        );
        assert_eq!(
            program("RUN cat <<A <<-'B' > /x && true\n1\nA\n\t2\n\tB"),
            Program::Shell("cat <<A <<-'B' > /x && true\n1\nA\n\t2\nB".to_owned())
        );
        let Program::Script(script) = program("RUN <<x.py\n#!/usr/bin/python3\nx.py y\nx.py")
        else {
            panic!()
        };
        assert_eq!(
            (script.name.as_str(), script.text.as_str()),
            ("x.py", "#!/usr/bin/python3\nx.py y\n")
        );
        assert_eq!(
            program("RUN [\"a\", \"<<EOF\"]"),
            Program::Exec(strings(["a", "<<EOF"]))
        );
        assert_eq!(
            program("RUN echo '<<EOF' $((1<<2)) a<<b"),
            Program::Shell("echo '<<EOF' $((1<<2)) a<<b".to_owned())
        );
        let error = refused("FROM a\nRUN <<EOF\na\n EOF");
        assert!(error.reason.contains("`EOF` has no end"), "{error}");
        assert_eq!(error.lines.unwrap().to_string(), "2-4");
    }

    #[test]
    fn here_documents_are_files() {
        let Kind::Copy(copy) = kind("COPY <<a.txt <<\"b.txt\" c /d/\nx $y\na.txt\nz $y\nb.txt")
        else {
            panic!()
        };
        let document = |name: &str, text: &str, expand| {
            Source::Document(Document {
                name: name.to_owned(),
                text: text.to_owned(),
                expand,
            })
        };
        let expected = [
            document("a.txt", "x $y\n", true),
            document("b.txt", "z $y\n", false),
            Source::Path("c".to_owned()),
        ];
        assert_eq!(copy.sources, expected);
        assert_eq!(copy.destination, "/d/");
        refused("FROM a\nCOPY a <<EOF\nx\nEOF");
        refused("FROM a\nCOPY --from=b <<EOF /x\nx\nEOF");
    }

    #[test]
    fn forms_of_commands() {
        assert_eq!(
            kind("CMD [\"a\", \"b c\"]"),
            Kind::Cmd(Command::Exec(strings(["a", "b c"])))
        );
        assert_eq!(
            kind("CMD a \"b c\""),
            Kind::Cmd(Command::Shell("a \"b c\"".to_owned()))
        );
        assert_eq!(
            kind("CMD ['a']"),
            Kind::Cmd(Command::Shell("['a']".to_owned()))
        );
        assert_eq!(kind("CMD []"), Kind::Cmd(Command::Exec(Vec::new())));
        assert_eq!(
            kind("ENTRYPOINT [ \"a\" \\\n, \"b\" ]"),
            Kind::Entrypoint(Command::Exec(strings(["a", "b"])))
        );
        assert_eq!(
            program("RUN [ -e x ] && y"),
            Program::Shell("[ -e x ] && y".to_owned())
        );
        assert!(
            refused("FROM a\nRUN [\"a\", 1]")
                .reason
                .contains("`1`, which is no string")
        );
        assert_eq!(
            kind("SHELL [\"/bin/bash\", \"-c\"]"),
            Kind::Shell(strings(["/bin/bash", "-c"]))
        );
        refused("FROM a\nSHELL /bin/sh -c");
        refused("FROM a\nRUN");
    }

    #[test]
    fn pairs_in_both_ways() {
        let pairs = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            kind(
                r#"ENV MY_NAME="John Doe" MY_DOG=Rex\ The\ Dog \
    MY_CAT=fluffy E="#
            ),
            Kind::Env(pairs(&[
                ("MY_NAME", "\"John Doe\""),
                ("MY_DOG", r"Rex\ The\ Dog"),
                ("MY_CAT", "fluffy"),
                ("E", "")
            ]))
        );
        assert_eq!(
            kind("ENV ONE TWO= THREE=world"),
            Kind::Env(pairs(&[("ONE", "TWO= THREE=world")]))
        );
        assert_eq!(
            kind("LABEL \"a b\"=c"),
            Kind::Label(pairs(&[("\"a b\"", "c")]))
        );
        for bad in [
            "ENV",
            "ENV a",
            "ENV a=b c",
            "ENV =b",
            "LABEL a=b =c",
            "ENV --x a=b",
        ] {
            refused(&format!("FROM a\n{bad}"));
        }
    }

    #[test]
    fn arguments_have_defaults_or_none() {
        let Kind::Arg(arguments) = kind("ARG a b=1 c=\"x y\"") else {
            panic!()
        };
        let found: Vec<_> = arguments
            .iter()
            .map(|argument| (argument.name.as_str(), argument.default.as_deref()))
            .collect();
        assert_eq!(
            found,
            [("a", None), ("b", Some("1")), ("c", Some("\"x y\""))]
        );
        refused("FROM a\nARG");
        refused("FROM a\nARG =x");
    }

    #[test]
    fn copies_have_flags() {
        let Kind::Copy(copy) = kind(
            "COPY --from=build --chown=1:2 --chmod=755 --link --parents --exclude=*.o --exclude=\"a b\" a b /c/",
        ) else {
            panic!()
        };
        assert_eq!(copy.from.as_deref(), Some("build"));
        assert_eq!(
            (copy.owner.as_deref(), copy.mode.as_deref()),
            (Some("1:2"), Some("755"))
        );
        assert!(copy.link && copy.parents);
        assert_eq!(copy.exclude, strings(["*.o", "a b"]));
        assert_eq!(copy.sources.len(), 2);
        let Kind::Copy(copy) = kind("COPY --link=false [\"a b\", \"/c d\"]") else {
            panic!()
        };
        assert_eq!(copy.sources, [Source::Path("a b".to_owned())]);
        assert!(!copy.link);
        let Kind::Add(add) =
            kind("ADD --checksum=sha256:00 --keep-git-dir=true --unpack=false https://a/b.tar /c")
        else {
            panic!()
        };
        assert_eq!(add.checksum.as_deref(), Some("sha256:00"));
        assert!(add.keep_git_dir && add.unpack == Some(false));
        for bad in [
            "COPY a",
            "COPY",
            "COPY --from=$x a b",
            "COPY --frm=x a b",
            "COPY --from a b",
            "COPY --link=maybe a b",
            "COPY --from=a --from=b c d",
            "ADD --from=x a b",
            "COPY --checksum=x a b",
            "COPY [\"a\"]",
            "COPY --unpack a b",
        ] {
            refused(&format!("FROM a\n{bad}"));
        }
    }

    #[test]
    fn flags_that_are_not_supported_are_named() {
        for (bad, word) in [
            ("RUN --device=x y", "device"),
            ("RUN --network=bridge x", "network"),
            ("CMD --help", "--help"),
        ] {
            assert!(
                refused(&format!("FROM a\n{bad}")).reason.contains(word),
                "{bad}"
            );
        }
    }

    #[test]
    fn from_is_checked() {
        let stage = &parse("FROM --platform=$BUILDPLATFORM a:1@sha256:00 as B.c-d_1").stages[0];
        assert_eq!(stage.platform.as_deref(), Some("$BUILDPLATFORM"));
        assert_eq!(
            (stage.base.as_str(), stage.name.as_deref()),
            ("a:1@sha256:00", Some("b.c-d_1"))
        );
        for bad in [
            "FROM",
            "FROM a b",
            "FROM a as",
            "FROM a as 1b",
            "FROM a as b c",
            "FROM a as b$",
            "",
            "# only\n",
            "RUN x\nFROM a",
            "FROM a as scratch",
        ] {
            refused(bad);
        }
        assert_eq!(parse("ARG a=1\nARG b\nFROM a").arguments.len(), 2);
    }

    fn mounts(text: &str) -> Vec<Mount> {
        match kind(text) {
            Kind::Run(run) => run.mounts,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn mounts_of_every_type() {
        let found = mounts(
            "RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=target=/src,rw,from=build,source=/x \
             --mount=type=tmpfs,dst=/t,size=64m --mount=type=secret,id=k,env=K,required \
             --mount=type=secret,target=/run/secrets/q,mode=0440,uid=1,gid=2 x",
        );
        assert_eq!(
            found[0].kind,
            MountKind::Cache {
                id: "/var/cache/apt".to_owned(),
                from: None,
                source: "/".to_owned(),
                sharing: Sharing::Locked,
                mode: 0o755,
                uid: 0,
                gid: 0
            }
        );
        assert!(
            !found[0].read_only && !found[1].read_only && !found[2].read_only && found[3].read_only
        );
        assert_eq!(
            found[1].kind,
            MountKind::Bind {
                from: Some("build".to_owned()),
                source: "/x".to_owned()
            }
        );
        assert_eq!(
            found[2].kind,
            MountKind::Tmpfs {
                size: Some(64 << 20)
            }
        );
        assert!(
            matches!(&found[3].kind, MountKind::Secret { id, env: Some(env), required: true, .. } if id == "k" && env == "K")
        );
        assert!(
            matches!(&found[4].kind, MountKind::Secret { id, mode: 0o440, uid: 1, gid: 2, .. } if id == "q")
        );
        assert_eq!(mounts("RUN --mount=type=cache,target=$X,uid=$U x").len(), 1);
    }

    #[test]
    fn bad_mounts_are_refused() {
        for bad in [
            "type=ssh",
            "type=x,target=/a",
            "type=bind",
            "type=cache",
            "target=/a,foo=b",
            "target=/a,foo",
            "target",
            "type=cache,target=/a,sharing=x",
            "target=/a,sharing=locked",
            "type=tmpfs,target=/a,size=x",
            "target=/a,mode=0700",
            "type=secret",
            "type=secret,id=a,source=b",
            "target=/a,from=$x",
            "type=cache,target=/a,mode=9",
            "type=secret,id=a,required=x",
            "type=secret,id=a,from=b",
            "\"target=/a",
        ] {
            refused(&format!("FROM a\nRUN --mount={bad} x"));
        }
    }

    #[test]
    fn health_checks_are_read() {
        let Kind::Health(Health::Check(check)) = kind(
            "HEALTHCHECK --interval=5m --timeout=3s --start-period=1m30s --start-interval=1.5s --retries=4 CMD curl -f x || exit 1",
        ) else {
            panic!()
        };
        assert_eq!(
            check.command,
            Command::Shell("curl -f x || exit 1".to_owned())
        );
        assert_eq!(check.interval, Duration::from_secs(300));
        assert_eq!(check.start_period, Duration::from_secs(90));
        assert_eq!(check.start_interval, Duration::from_millis(1500));
        assert_eq!(check.retries, 4);
        assert_eq!(kind("HEALTHCHECK NONE"), Kind::Health(Health::None));
        for bad in [
            "HEALTHCHECK",
            "HEALTHCHECK x",
            "HEALTHCHECK CMD",
            "HEALTHCHECK NONE x",
            "HEALTHCHECK --interval=5 CMD x",
            "HEALTHCHECK --interval=1us CMD x",
            "HEALTHCHECK --interval=-1s CMD x",
            "HEALTHCHECK --retries=-1 CMD x",
            "HEALTHCHECK --retries=x CMD x",
            "HEALTHCHECK CMD []",
        ] {
            refused(&format!("FROM a\n{bad}"));
        }
    }

    #[test]
    fn triggers_are_checked() {
        let Kind::OnBuild(trigger) = kind("ONBUILD copy <<f /x\nhi\nf") else {
            panic!()
        };
        assert_eq!(trigger.expression, "copy <<f /x\nhi\nf");
        let again = Instruction::trigger("ONBUILD of `a`", &trigger.expression).unwrap();
        assert_eq!(again.kind, trigger.instruction.kind);
        for bad in [
            "ONBUILD",
            "ONBUILD ONBUILD RUN x",
            "ONBUILD FROM a",
            "ONBUILD MAINTAINER a",
            "ONBUILD FOO",
            "ONBUILD RUN --foo x",
        ] {
            refused(&format!("FROM a\n{bad}"));
        }
        assert!(Instruction::trigger("x", "RUN a\nRUN b").is_err());
        assert!(Instruction::trigger("x", "").is_err());
    }

    #[test]
    fn other_instructions() {
        assert_eq!(kind("VOLUME /a /b"), Kind::Volume(strings(["/a", "/b"])));
        assert_eq!(kind("VOLUME [\"/a b\"]"), Kind::Volume(strings(["/a b"])));
        assert_eq!(
            kind("EXPOSE 80 53/udp"),
            Kind::Expose(strings(["80", "53/udp"]))
        );
        assert_eq!(kind("WORKDIR /a b"), Kind::Workdir("/a b".to_owned()));
        assert_eq!(kind("USER a:b"), Kind::User("a:b".to_owned()));
        assert_eq!(
            kind("STOPSIGNAL SIGINT"),
            Kind::StopSignal("SIGINT".to_owned())
        );
        assert_eq!(
            kind("MAINTAINER A <a@b>"),
            Kind::Maintainer("A <a@b>".to_owned())
        );
        for bad in [
            "VOLUME",
            "VOLUME []",
            "VOLUME [\"\"]",
            "EXPOSE",
            "WORKDIR",
            "USER",
            "STOPSIGNAL",
            "MAINTAINER",
        ] {
            refused(&format!("FROM a\n{bad}"));
        }
    }
}
