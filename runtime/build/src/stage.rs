//! One stage: its instructions one after the other.

use std::time::Instant;

use cowlab_dockerfile::{Base, Instruction, Kind, Planned};
use cowlab_layer::Digest;
use cowlab_runtime::build::{StepOptions, timestamp};
use cowlab_runtime::container::owner;
use cowlab_runtime::graph::LayerRow;

use crate::advise::StepReport;
use crate::builder::Builder;
use crate::cache::Outcome;
use crate::error::Place;
use crate::progress::{Event, Step};
use crate::state::State;
use crate::{Error, Result};

/// A stage that is being built.
pub(crate) struct Stage<'a, 'b> {
    pub(crate) builder: &'b Builder<'a>,
    pub(crate) planned: &'b Planned,
}

impl<'a, 'b> Stage<'a, 'b> {
    pub(crate) fn new(builder: &'b Builder<'a>, planned: &'b Planned) -> Self {
        Self { builder, planned }
    }

    fn stage(&self) -> &cowlab_dockerfile::Stage {
        &self.builder.options.dockerfile.stages[self.planned.stage]
    }

    /// The name that the stage goes by in a build of several.
    fn name(&self) -> Option<String> {
        let stage = self.stage();
        let is_alone = self.builder.options.dockerfile.stages.len() == 1;
        match &stage.name {
            Some(name) => Some(name.clone()),
            None if is_alone => None,
            None => Some(format!("stage-{}", self.planned.stage)),
        }
    }

    fn step(&self, position: (usize, usize), text: String, place: Place) -> Step {
        Step {
            number: self.builder.next_number(),
            stage: self.name(),
            position: Some(position),
            text,
            place: Some(place),
        }
    }

    /// Executes the stage.
    pub(crate) fn run(&self) -> Result<State> {
        let stage = self.stage();
        self.refuse_other_platform()?;
        let shown = |instructions: &[Instruction]| {
            1 + instructions
                .iter()
                .filter(|one| is_shown(&one.kind))
                .count()
        };
        let mut state = match &self.planned.base {
            Base::Image(name) => {
                let text = format!("FROM {name}");
                let step = self.step((1, shown(&stage.instructions)), text, stage.into());
                self.builder.base(&self.planned.base, &step)
            }
            base => self.builder.base(base, &self.unshown()),
        }
        .map_err(|error| error.at(stage))?;
        state.reports.clear();
        let mut instructions = self.triggers(&mut state)?;
        instructions.extend(stage.instructions.iter().cloned());
        let (mut position, total) = (1, shown(&instructions));
        for instruction in &instructions {
            self.builder.go_on()?;
            let expanded = state.scope.expand(instruction)?;
            position += usize::from(is_shown(&expanded.kind));
            self.execute(&mut state, &expanded, (position, total))
                .map_err(|error| error.at(&expanded))?;
        }
        Ok(state)
    }

    /// Refuses a stage for another kind of machine: its programs would not run here.
    fn refuse_other_platform(&self) -> Result<()> {
        let stage = self.stage();
        let Some(asked) = self.builder.globals.platform(stage)? else {
            return Ok(());
        };
        let mut parts = asked.split('/');
        let (os, architecture) = (parts.next().unwrap_or_default(), parts.next());
        let here = cowlab_runtime::image::architecture();
        // As containerd reads them (`platforms.Normalize`).
        let architecture = architecture.map(|name| match name {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            name => name,
        });
        if os == "linux" && architecture.is_none_or(|asked| asked == here) {
            return Ok(());
        }
        let reason = format!("its platform is `{asked}`, and this machine's is `linux/{here}`");
        let remedy = "leave `--platform` out, or build on such a machine".to_owned();
        Err(stage.error(reason, Some(remedy)).into())
    }

    fn unshown(&self) -> Step {
        Step {
            number: 0,
            stage: None,
            position: None,
            text: String::new(),
            place: None,
        }
    }

    fn triggers(&self, state: &mut State) -> Result<Vec<Instruction>> {
        let name = format!("ONBUILD of {}", self.stage().base);
        let triggers = state.config.begin_stage();
        let parsed = triggers
            .iter()
            .map(|text| Instruction::trigger(&name, text));
        Ok(parsed.collect::<cowlab_dockerfile::Result<_>>()?)
    }

    fn execute(
        &self,
        state: &mut State,
        instruction: &Instruction,
        position: (usize, usize),
    ) -> Result<()> {
        check_signal(&instruction.kind).map_err(|reason| {
            instruction.error(reason, Some("name it as in `SIGTERM`".to_owned()))
        })?;
        state.scope.enter(instruction);
        let text = told(instruction);
        if !is_shown(&instruction.kind) {
            state.config.apply(&instruction.kind);
            state.tell(&text, true);
            return Ok(());
        }
        let step = self.step(position, text.clone(), instruction.into());
        self.builder.tell(Event::Started(&step));
        let begin = Instant::now();
        let done = match &instruction.kind {
            Kind::Run(run) => self.run_program(state, run, &step),
            Kind::Workdir(path) => self.workdir(state, path, &step),
            Kind::Copy(copy) => self.copy(state, &copy.into(), &step),
            Kind::Add(add) => self.copy(state, &add.into(), &step),
            _ => Err(Error::refused("it changes no files")),
        };
        let outcome = done.inspect_err(|_| {
            let elapsed = begin.elapsed();
            self.builder.tell(Event::Failed {
                step: &step,
                elapsed,
            });
        })?;
        state.reports.push(StepReport {
            stage: self.planned.stage,
            line: instruction.lines.first,
            text: text.clone(),
            kind: instruction.kind.name().to_owned(),
            layer: outcome.layer.as_ref().map(|layer| layer.chain_id.clone()),
            is_cached: outcome.is_cached,
            nanoseconds: outcome.nanoseconds,
        });
        state.take(outcome, &text);
        Ok(())
    }

    /// Makes a step's layer, unless the cache has it or another build makes it.
    pub(crate) fn make(
        &self,
        step: &Step,
        key: &Digest,
        parent: Option<&LayerRow>,
        work: impl FnOnce() -> Result<Option<LayerRow>>,
    ) -> Result<Outcome> {
        let builder = self.builder;
        builder.cache.export(key);
        if let Some(found) = self.cached(step, key)? {
            return Ok(found);
        }
        let _lock = builder
            .build
            .lock_step(key, || builder.tell(Event::Waiting(step)))?;
        if let Some(found) = self.cached(step, key)? {
            return Ok(found);
        }
        let begin = Instant::now();
        let created = timestamp(builder.options.epoch);
        let layer = work()?;
        let elapsed = begin.elapsed();
        let outcome = Outcome {
            layer,
            created,
            nanoseconds: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            is_cached: false,
        };
        self.remember(key, parent, &outcome, step)?;
        builder.tell(Event::Done { step, elapsed });
        Ok(outcome)
    }

    /// What the cache has for a step.
    pub(crate) fn cached(&self, step: &Step, key: &Digest) -> Result<Option<Outcome>> {
        let warn = |text: &str| self.builder.tell(Event::Warning(text));
        let found = self.builder.cache.find(key, warn)?;
        if found.is_some() {
            self.builder.tell(Event::Cached(step));
        }
        Ok(found)
    }

    /// What the cache has for a step by a key that means something in this root alone: of no use to a cache that is exported.
    pub(crate) fn cached_quickly(&self, step: &Step, key: &Digest) -> Result<Option<Outcome>> {
        match self.builder.options.cache_to.is_empty() {
            true => self.cached(step, key),
            false => Ok(None),
        }
    }

    /// Records what a step made.
    pub(crate) fn remember(
        &self,
        key: &Digest,
        parent: Option<&LayerRow>,
        outcome: &Outcome,
        step: &Step,
    ) -> Result<()> {
        self.builder.cache.add(key, parent, outcome, &step.text)
    }

    /// Makes the directory that programs start in, where it is not there.
    fn workdir(&self, state: &mut State, path: &str, step: &Step) -> Result<Outcome> {
        let path = state.absolute(path);
        let path = match path.trim_end_matches('/') {
            "" => "/",
            path => path,
        };
        state.config.apply(&Kind::Workdir(path.to_owned()));
        let mut key = self.key("workdir", state.top());
        key.add(path);
        let user = state.config.user();
        key.add(user);
        let parent = state.top();
        self.make(step, &key.finish(), parent, || {
            let build = self.builder.build;
            let snapshot = build.prepare(parent)?;
            build.with_mounted(&snapshot, |place| {
                let root = cowlab_sys::Root::open(place)?;
                let owner = match user {
                    "" => (0, 0),
                    user => owner(&root, user)?,
                };
                crate::copy::make_dirs(&root, path.as_ref(), owner).map(drop)
            })?;
            Ok(build.commit(&snapshot, parent, &self.step_options())?)
        })
    }

    /// Begins the key of a step.
    pub(crate) fn key(&self, what: &str, parent: Option<&LayerRow>) -> crate::cache::Key {
        crate::cache::Key::new(what, parent, self.builder.options.epoch)
    }

    /// How a step's layer is made.
    pub(crate) fn step_options(&self) -> StepOptions {
        StepOptions {
            epoch: self.builder.options.epoch,
            ..Default::default()
        }
    }
}

/// Whether the signal of `STOPSIGNAL` is one.
fn check_signal(kind: &Kind) -> Result<(), String> {
    match kind {
        Kind::StopSignal(name) if cowlab_sys::task::signal_number(name).is_none() => {
            Err(format!("there is no signal `{name}`"))
        }
        _ => Ok(()),
    }
}

/// Whether an instruction may change files: only those are shown.
fn is_shown(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_)
    )
}

/// An instruction as the history tells of it: names with their values as they are.
fn told(instruction: &Instruction) -> String {
    let pairs = |pairs: &[(String, String)]| {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join(" ")
    };
    match &instruction.kind {
        Kind::Env(all) => format!("ENV {}", pairs(all)),
        Kind::Label(all) => format!("LABEL {}", pairs(all)),
        Kind::Arg(arguments) => {
            let arguments = arguments.iter().map(|one| match &one.default {
                Some(value) => format!("{}={value}", one.name),
                None => one.name.clone(),
            });
            format!("ARG {}", arguments.collect::<Vec<_>>().join(" "))
        }
        Kind::Workdir(path) => format!("WORKDIR {path}"),
        Kind::User(user) => format!("USER {user}"),
        Kind::Expose(ports) => format!("EXPOSE {}", ports.join(" ")),
        Kind::StopSignal(signal) => format!("STOPSIGNAL {signal}"),
        _ => instruction.text.clone(),
    }
}
