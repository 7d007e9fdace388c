//! Which variables an instruction sees: those of `ENV`, and those of `ARG` from where it stands to the end of the stage.
//! Source: the Dockerfile reference, "ARG"; BuildKit, frontend/dockerfile/dockerfile2llb/convert.go.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Fault, Result};
use crate::expand;
use crate::instruction::{Argument, Command, Instruction, Kind, Run, Source};
use crate::mount;
use crate::parse::{Dockerfile, Stage};
use crate::ports;

/// Arguments that need no `ARG`: a step's program sees them, and neither the image nor the cache knows of them.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What an image is built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// The operating system as Go names it.
    pub os: String,
    /// The architecture as Go names it: `amd64`.
    pub architecture: String,
    /// The variant: `v7`.
    pub variant: Option<String>,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .as_ref()
            .map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// The variables of a whole build: its arguments, the `ARG`s before the first `FROM` and those of the platform.
#[derive(Debug, Clone)]
pub struct Globals {
    escape: char,
    given: BTreeMap<String, String>,
    declared: BTreeMap<String, String>,
}

impl Globals {
    /// Evaluates the `ARG`s before the first `FROM`. `given` is `--build-arg`, and `stage` what `--target` says.
    ///
    /// # Errors
    ///
    /// For an `ARG` whose default cannot be expanded.
    pub fn new(
        file: &Dockerfile,
        given: BTreeMap<String, String>,
        platform: &Platform,
        stage: Option<&str>,
    ) -> Result<Self> {
        let variant = platform.variant.clone().unwrap_or_default();
        let mut declared = BTreeMap::new();
        for side in ["BUILD", "TARGET"] {
            declared.insert(format!("{side}PLATFORM"), platform.to_string());
            declared.insert(format!("{side}OS"), platform.os.clone());
            declared.insert(format!("{side}ARCH"), platform.architecture.clone());
            declared.insert(format!("{side}VARIANT"), variant.clone());
        }
        declared.insert(
            "TARGETSTAGE".to_owned(),
            stage.unwrap_or("default").to_owned(),
        );
        for (name, value) in &mut declared {
            if let Some(given) = given.get(name) {
                value.clone_from(given);
            }
        }
        let mut globals = Self {
            escape: file.escape,
            given,
            declared,
        };
        for instruction in &file.arguments {
            let Kind::Arg(arguments) = &instruction.kind else {
                continue;
            };
            for argument in arguments {
                globals
                    .declare(argument)
                    .map_err(|fault| instruction.fault(fault))?;
            }
        }
        Ok(globals)
    }

    fn declare(&mut self, argument: &Argument) -> Result<(), Fault> {
        let value = match (self.given.get(&argument.name), &argument.default) {
            (Some(given), _) => given.clone(),
            (None, Some(default)) => self.word(default)?,
            (None, None) => return Ok(()),
        };
        self.declared.insert(argument.name.clone(), value);
        Ok(())
    }

    fn word(&self, text: &str) -> Result<String, Fault> {
        expand::word(text, self.escape, &|name| self.declared.get(name).cloned())
    }

    /// What a stage is built on, expanded.
    ///
    /// # Errors
    ///
    /// If nothing is left of it.
    pub fn base(&self, stage: &Stage) -> Result<String> {
        let base = self
            .word(&stage.base)
            .map_err(|fault| stage.error(fault.reason, fault.remedy))?;
        if base.trim().is_empty() {
            return Err(stage.error(
                format!("`{}` is empty: FROM has no image", stage.base),
                Some("declare its variables by `ARG NAME=DEFAULT` before the first FROM, or give them with --build-arg".to_owned()),
            ));
        }
        Ok(base)
    }

    /// The platform that a stage asks for, expanded.
    ///
    /// # Errors
    ///
    /// If its text cannot be expanded.
    pub fn platform(&self, stage: &Stage) -> Result<Option<String>> {
        stage
            .platform
            .as_ref()
            .map(|platform| {
                self.word(platform)
                    .map_err(|fault| stage.error(fault.reason, fault.remedy))
            })
            .transpose()
    }

    /// The variables at the beginning of a stage whose base image has the environment `environment`.
    /// A stage that is built on another begins with that one's variables at its end: they are cloned.
    #[must_use]
    pub fn scope(&self, environment: Vec<(String, String)>) -> Scope {
        Scope {
            globals: self.clone(),
            arguments: BTreeMap::new(),
            environment,
        }
    }

    /// The proxies of `--build-arg` for a step's program.
    pub fn proxies(&self) -> impl Iterator<Item = (&str, &str)> {
        PROXIES
            .iter()
            .filter_map(|name| Some((*name, self.given.get(*name)?.as_str())))
    }

    /// The given arguments that nothing in the file declares.
    #[must_use]
    pub fn unused(&self, file: &Dockerfile) -> Vec<&str> {
        let instructions = file
            .arguments
            .iter()
            .chain(file.stages.iter().flat_map(|stage| &stage.instructions));
        let declared: Vec<&str> = instructions
            .filter_map(|instruction| match &instruction.kind {
                Kind::Arg(arguments) => Some(arguments),
                _ => None,
            })
            .flatten()
            .map(|argument| argument.name.as_str())
            .collect();
        self.given
            .keys()
            .map(String::as_str)
            .filter(|name| !declared.contains(name) && !PROXIES.contains(name))
            // BuildKit takes these without an `ARG`.
            .filter(|name| *name != "SOURCE_DATE_EPOCH" && !name.starts_with("BUILDKIT_"))
            .filter(|name| {
                !["BUILD", "TARGET"]
                    .iter()
                    .any(|side| self.is_platform(side, name))
            })
            .collect()
    }

    fn is_platform(&self, side: &str, name: &str) -> bool {
        name.starts_with(side) && self.declared.contains_key(name)
    }
}

/// The variables at one place of a stage.
#[derive(Debug, Clone)]
pub struct Scope {
    globals: Globals,
    arguments: BTreeMap<String, String>,
    environment: Vec<(String, String)>,
}

impl Scope {
    /// A variable's value; `ENV` wins over `ARG`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.environment
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
            .or_else(|| self.arguments.get(name))
            .map(String::as_str)
    }

    /// The image's environment, in its order.
    #[must_use]
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// The arguments that have a value and that no `ENV` hides: a step's program sees them beside the environment.
    pub fn arguments(&self) -> impl Iterator<Item = (&str, &str)> {
        self.arguments
            .iter()
            .filter(|(name, _)| !self.environment.iter().any(|(key, _)| key == *name))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Takes in what an expanded instruction declares or sets; other instructions than `ARG` and `ENV` change nothing.
    pub fn enter(&mut self, expanded: &Instruction) {
        match &expanded.kind {
            Kind::Arg(arguments) => {
                let values = arguments.iter().filter_map(|argument| {
                    Some((argument.name.clone(), argument.default.clone()?))
                });
                self.arguments.extend(values);
            }
            Kind::Env(pairs) => {
                for (name, value) in pairs {
                    match self.environment.iter_mut().find(|(key, _)| key == name) {
                        Some((_, old)) => old.clone_from(value),
                        None => self.environment.push((name.clone(), value.clone())),
                    }
                }
            }
            _ => {}
        }
    }

    /// The instruction with its variables expanded, quotes and escapes gone where docker expands them.
    /// An `ARG` gets the value that it will have as its default.
    ///
    /// # Errors
    ///
    /// At the instruction, if a value cannot be expanded or is none afterwards.
    pub fn expand(&self, instruction: &Instruction) -> Result<Instruction> {
        let kind = self
            .kind(&instruction.kind)
            .map_err(|fault| instruction.fault(fault))?;
        Ok(Instruction {
            kind,
            ..instruction.clone()
        })
    }

    fn kind(&self, kind: &Kind) -> Result<Kind, Fault> {
        Ok(match kind {
            Kind::Add(add) => {
                let mut add = add.clone();
                self.sources(&mut add.sources)?;
                add.destination = self.path(&add.destination, "destination")?;
                self.option(&mut add.owner)?;
                self.option(&mut add.mode)?;
                self.option(&mut add.checksum)?;
                add.exclude = self.words(&add.exclude)?;
                Kind::Add(add)
            }
            Kind::Copy(copy) => {
                let mut copy = copy.clone();
                self.sources(&mut copy.sources)?;
                copy.destination = self.path(&copy.destination, "destination")?;
                self.option(&mut copy.owner)?;
                self.option(&mut copy.mode)?;
                copy.exclude = self.words(&copy.exclude)?;
                Kind::Copy(copy)
            }
            Kind::Arg(arguments) => Kind::Arg(
                arguments
                    .iter()
                    .map(|argument| self.argument(argument))
                    .collect::<Result<_, _>>()?,
            ),
            Kind::Env(pairs) => Kind::Env(self.pairs(pairs)?),
            Kind::Label(pairs) => Kind::Label(self.pairs(pairs)?),
            Kind::Expose(specs) => Kind::Expose(ports::parse(&self.words(specs)?)?),
            Kind::Volume(volumes) => Kind::Volume(
                volumes
                    .iter()
                    .map(|volume| self.path(volume, "path"))
                    .collect::<Result<_, _>>()?,
            ),
            Kind::StopSignal(signal) => Kind::StopSignal(self.path(signal, "signal")?),
            Kind::User(user) => Kind::User(self.path(user, "user")?),
            Kind::Workdir(path) => Kind::Workdir(self.path(path, "path")?),
            Kind::Run(run) => Kind::Run(self.run(run)?),
            other => other.clone(),
        })
    }

    fn word(&self, text: &str) -> Result<String, Fault> {
        expand::word(text, self.globals.escape, &|name| {
            self.get(name).map(str::to_owned)
        })
    }

    fn words(&self, texts: &[String]) -> Result<Vec<String>, Fault> {
        texts.iter().map(|text| self.word(text)).collect()
    }

    fn option(&self, text: &mut Option<String>) -> Result<(), Fault> {
        if let Some(text) = text {
            *text = self.word(text)?;
        }
        Ok(())
    }

    /// A value that must not be empty.
    fn path(&self, text: &str, what: &str) -> Result<String, Fault> {
        let value = self.word(text)?;
        if value.trim().is_empty() {
            return Err(Fault::with_remedy(
                format!("the {what} `{text}` is empty"),
                "set its variables by ARG or ENV before",
            ));
        }
        Ok(value)
    }

    fn pairs(&self, pairs: &[(String, String)]) -> Result<Vec<(String, String)>, Fault> {
        pairs
            .iter()
            .map(|(name, value)| Ok((self.path(name, "name")?, self.word(value)?)))
            .collect()
    }

    fn argument(&self, argument: &Argument) -> Result<Argument, Fault> {
        let name = self.path(&argument.name, "name")?;
        let default = match (self.globals.given.get(&name), &argument.default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(self.word(default)?),
            (None, None) => self.globals.declared.get(&name).cloned(),
        };
        Ok(Argument { name, default })
    }

    fn sources(&self, sources: &mut [Source]) -> Result<(), Fault> {
        for source in sources {
            match source {
                Source::Path(path) => *path = self.path(path, "source")?,
                Source::Document(document) if document.expand => {
                    document.text = expand::document(&document.text, &|name| {
                        self.get(name).map(str::to_owned)
                    })?;
                }
                Source::Document(_) => {}
            }
        }
        Ok(())
    }

    fn run(&self, run: &Run) -> Result<Run, Fault> {
        let expand = |value: &str| self.word(value);
        Ok(Run {
            mounts: run
                .mount_texts
                .iter()
                .map(|text| mount::parse(text, Some(&expand)))
                .collect::<Result<_, _>>()?,
            ..run.clone()
        })
    }
}

impl Command {
    /// The program with its arguments, given what `SHELL` says.
    #[must_use]
    pub fn argv(&self, shell: &[String]) -> Vec<String> {
        match self {
            Self::Exec(words) => words.clone(),
            Self::Shell(text) => shell.iter().chain([text]).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform() -> Platform {
        Platform {
            os: "linux".to_owned(),
            architecture: "arm".to_owned(),
            variant: Some("v7".to_owned()),
        }
    }

    fn globals(text: &str, given: &[(&str, &str)]) -> (Dockerfile, Globals) {
        let file = Dockerfile::parse("Dockerfile", text).unwrap();
        let given = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let globals = Globals::new(&file, given, &platform(), None).unwrap();
        (file, globals)
    }

    /// The expanded instructions of the last stage, and its variables at the end.
    fn run(text: &str, given: &[(&str, &str)]) -> (Vec<Kind>, Scope) {
        let (file, globals) = globals(text, given);
        let mut scope = globals.scope(vec![("PATH".to_owned(), "/bin".to_owned())]);
        let stage = file.stages.last().unwrap();
        let kinds = stage
            .instructions
            .iter()
            .map(|instruction| {
                let expanded = scope.expand(instruction).unwrap();
                scope.enter(&expanded);
                expanded.kind
            })
            .collect();
        (kinds, scope)
    }

    fn refused(text: &str) -> String {
        let (file, globals) = globals(text, &[]);
        let scope = globals.scope(Vec::new());
        let instruction = file.stages[0].instructions.last().unwrap();
        scope.expand(instruction).unwrap_err().to_string()
    }

    #[test]
    fn arguments_before_from_are_for_from() {
        let (file, globals) = globals(
            "ARG v=12\nARG i=debian:$v\nFROM $i\nFROM ${i}-slim",
            &[("v", "13")],
        );
        assert_eq!(globals.base(&file.stages[0]).unwrap(), "debian:13");
        assert_eq!(globals.base(&file.stages[1]).unwrap(), "debian:13-slim");
        let (file, globals) = self::globals("FROM $x", &[("x", "debian")]);
        assert!(
            globals
                .base(&file.stages[0])
                .unwrap_err()
                .reason
                .contains("empty")
        );
        let (_, scope) = run("ARG v=12\nFROM a\nUSER x$v", &[]);
        assert_eq!(scope.get("v"), None);
        let (kinds, _) = run("ARG v=12\nFROM a\nARG v\nUSER x$v", &[]);
        assert_eq!(kinds[1], Kind::User("x12".to_owned()));
        let (kinds, _) = run("ARG v=12\nFROM a\nARG v=14\nUSER x$v", &[]);
        assert_eq!(kinds[1], Kind::User("x14".to_owned()));
    }

    #[test]
    fn arguments_hold_from_where_they_stand() {
        let (kinds, _) = run("FROM a\nUSER ${u:-some}\nARG u\nUSER $u", &[("u", "what")]);
        assert_eq!(
            (&kinds[0], &kinds[2]),
            (
                &Kind::User("some".to_owned()),
                &Kind::User("what".to_owned())
            )
        );
    }

    /// "ARG and ENV" of the reference: ENV always wins.
    #[test]
    fn environment_wins() {
        let (kinds, scope) = run(
            "FROM a\nARG v\nENV v=v1\nLABEL l=$v\nARG v=v3",
            &[("v", "v2")],
        );
        assert_eq!(
            kinds[2],
            Kind::Label(vec![("l".to_owned(), "v1".to_owned())])
        );
        assert_eq!(scope.get("v"), Some("v1"));
        assert_eq!(scope.arguments().count(), 0);
        let (_, scope) = run("FROM a\nARG v\nENV v=${v:-v1}", &[("v", "v2")]);
        assert_eq!(scope.environment()[1].1, "v2");
    }

    /// "abc" of the reference: one instruction sees the values from before it.
    #[test]
    fn one_instruction_sees_one_environment() {
        let (_, scope) = run(
            "FROM a\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc",
            &[],
        );
        assert_eq!(
            (scope.get("def"), scope.get("ghi")),
            (Some("hello"), Some("bye"))
        );
        let names: Vec<&str> = scope
            .environment()
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["PATH", "abc", "def", "ghi"]);
    }

    #[test]
    fn platform_is_known_on_request() {
        let (file, globals) = globals("FROM --platform=$TARGETPLATFORM x-$TARGETARCH\n", &[]);
        assert_eq!(globals.base(&file.stages[0]).unwrap(), "x-arm");
        assert_eq!(
            globals.platform(&file.stages[0]).unwrap().as_deref(),
            Some("linux/arm/v7")
        );
        let (_, scope) = run("FROM a\nARG TARGETARCH TARGETVARIANT", &[]);
        assert_eq!(
            (scope.get("TARGETARCH"), scope.get("TARGETVARIANT")),
            (Some("arm"), Some("v7"))
        );
        assert_eq!(run("FROM a", &[]).1.get("TARGETARCH"), None);
    }

    #[test]
    fn proxies_need_no_declaration() {
        let (file, globals) = globals(
            "FROM a\nARG b",
            &[
                ("http_proxy", "p"),
                ("b", "1"),
                ("c", "2"),
                ("TARGETOS", "x"),
            ],
        );
        assert_eq!(globals.proxies().collect::<Vec<_>>(), [("http_proxy", "p")]);
        assert_eq!(globals.unused(&file), ["c"]);
    }

    #[test]
    fn what_docker_expands_is_expanded() {
        let (kinds, _) = run(
            "FROM a\nENV v=x p=80\nADD $v /$v/\nCOPY --chown=$v:$v --chmod=0$p \"$v\" /$v/\nEXPOSE $p/udp 90-91\nVOLUME [\"/$v\"]\n\
             STOPSIGNAL $v\nWORKDIR /$v\nRUN --mount=type=cache,target=/$v,uid=$p echo $v\nCMD echo $v\nENTRYPOINT [\"$v\"]\n\
             SHELL [\"$v\"]\nHEALTHCHECK CMD $v\nONBUILD USER $v\nCOPY <<A <<'B' /\n$v\nA\n$v\nB\n",
            &[],
        );
        let text = format!("{:?}", &kinds[1..8]);
        assert!(!text.contains("$v") || text.contains("echo $v"), "{text}");
        assert_eq!(
            kinds[3],
            Kind::Expose(["80/udp", "90/tcp", "91/tcp"].map(str::to_owned).to_vec())
        );
        let Kind::Run(run) = &kinds[7] else { panic!() };
        assert_eq!(run.mounts[0].target.as_deref(), Some("/x"));
        assert!(matches!(
            run.mounts[0].kind,
            crate::MountKind::Cache { uid: 80, .. }
        ));
        assert_eq!(run.program, crate::Program::Shell("echo $v".to_owned()));
        for kind in &kinds[8..13] {
            assert!(format!("{kind:?}").contains("$v"), "{kind:?}");
        }
        let Kind::Copy(copy) = &kinds[13] else {
            panic!()
        };
        let texts: Vec<&str> = copy
            .sources
            .iter()
            .map(|source| match source {
                Source::Document(document) => document.text.as_str(),
                Source::Path(path) => path,
            })
            .collect();
        assert_eq!(texts, ["x\n", "$v\n"]);
    }

    #[test]
    fn empty_and_bad_values_are_refused() {
        for text in [
            "USER $x",
            "WORKDIR $x",
            "VOLUME $x",
            "STOPSIGNAL $x",
            "COPY $x /a",
            "COPY a $x",
            "ENV $x=1",
        ] {
            assert!(
                refused(&format!("FROM a\n{text}")).contains("is empty"),
                "{text}"
            );
        }
        for port in ["70000", "a", "1/x", "9-8"] {
            let later = format!("FROM a\nEXPOSE ${{p:-{port}}}");
            assert!(refused(&later).contains("is no port"), "{port}");
            let error = Dockerfile::parse("f", &format!("FROM a\nEXPOSE {port}"));
            assert!(error.unwrap_err().reason.contains("is no port"), "{port}");
        }
        let error = refused("FROM a\n\nCOPY \"a b\" /c");
        assert!(
            error.starts_with("Dockerfile:3: `COPY \"a b\" /c`: ") && error.contains("has no end"),
            "{error}"
        );
        assert!(refused("FROM a\nRUN --mount=type=cache,target=/a,uid=$x y").contains("uid"));
    }
}
