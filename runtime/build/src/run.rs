//! `RUN`: a program in a container that works in the step's snapshot.

use std::path::PathBuf;
use std::time::Instant;

use cowlab_dockerfile::{Command, Network as Asked, Program, Run};
use cowlab_runtime::container::{
    Containers, CreateOptions, Network, RemoveOptions, Source, StartOptions,
};
use cowlab_runtime::graph::LayerRow;
use cowlab_sys::process::with_private_mounts;
use oci_spec::image::ImageConfiguration;
use serde_json::json;

use crate::cache::Outcome;
use crate::mounts::{Mounts, OfContext, SCRIPTS};
use crate::progress::{Event, Step};
use crate::stage::Stage;
use crate::state::State;
use crate::{Error, Result};

/// The host name that programs of a build see, as in BuildKit: where they write it down it is the same in every build.
const HOSTNAME: &str = "buildkitsandbox";

/// A program that is to be run.
struct Job<'j> {
    args: Vec<String>,
    env: Vec<String>,
    /// Variables of the host, which no key and no history knows of.
    proxies: Vec<String>,
    network: Network,
    state: &'j State,
    run: &'j Run,
    of_context: OfContext,
}

impl Job<'_> {
    fn options(&self, mounts: &Mounts, id: &str) -> CreateOptions {
        let env = [&self.proxies, &self.env, &mounts.env];
        CreateOptions {
            name: Some(format!("build-{}", id.get(..12).unwrap_or(id))),
            command: self.args.clone(),
            env: env.into_iter().flatten().cloned().collect(),
            cwd: Some(self.state.config.workdir().to_owned()),
            user: Some(self.state.config.user().to_owned()),
            hostname: Some(HOSTNAME.to_owned()),
            network: self.network,
            mounts: mounts.mount_requests.clone(),
            remove: true,
            ..CreateOptions::default()
        }
    }
}

impl Stage<'_, '_> {
    /// Runs a program.
    pub(crate) fn run_program(&self, state: &State, run: &Run, step: &Step) -> Result<Outcome> {
        let mut job = self.job(state, run)?;
        let parent = state.top();
        let mut key = self.key("run", parent);
        for (what, words) in [("args", &job.args), ("env", &job.env)] {
            key.add(what);
            for word in words {
                key.add(word);
            }
        }
        key.add(state.config.user()).add(state.config.workdir());
        key.add(format!("{:?}", job.network));
        job.of_context = self.describe_mounts(&mut key, run)?;
        if job.of_context.is_empty() {
            return self.make(step, &key.finish(), parent, || {
                self.run_in_snapshot(&job, parent, step)
            });
        }
        let tree = self.builder.context()?;
        let mut quick = key.clone();
        quick
            .add("stat")
            .add(job.of_context.stat_digest(tree).as_bytes());
        let quick = quick.finish();
        if let Some(found) = self.cached_quickly(step, &quick)? {
            return Ok(found);
        }
        key.add("content")
            .add(job.of_context.digest(tree)?.as_bytes());
        let outcome = self.make(step, &key.finish(), parent, || {
            self.run_in_snapshot(&job, parent, step)
        })?;
        if job.of_context.is_settled() {
            self.remember(&quick, parent, &outcome, step)?;
        }
        Ok(outcome)
    }

    fn job<'j>(&self, state: &'j State, run: &'j Run) -> Result<Job<'j>> {
        let shell = state.config.shell();
        let args = match &run.program {
            Program::Shell(text) => Command::Shell(text.clone()).argv(&shell),
            Program::Exec(words) => words.clone(),
            Program::Script(document) => vec![format!("{SCRIPTS}/{}", document.name)],
        };
        let mut env: Vec<String> = Vec::new();
        let scope = &state.scope;
        for (name, value) in scope.arguments() {
            env.push(format!("{name}={value}"));
        }
        for (name, value) in scope.environment() {
            env.push(format!("{name}={value}"));
        }
        let proxies = self.builder.globals.proxies();
        Ok(Job {
            args,
            env,
            proxies: proxies
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            network: self.network(run.network)?,
            state,
            run,
            of_context: OfContext::default(),
        })
    }

    fn network(&self, asked: Asked) -> Result<Network> {
        match (asked, self.builder.options.network) {
            (Asked::None, _) => Ok(Network::None),
            (Asked::Default, of_build) => Ok(of_build),
            (Asked::Host, Network::Host) => Ok(Network::Host),
            (Asked::Host, Network::None) => Err(Error::refused(
                "it asks for the host's network, and the build was started without: build with `--network host`",
            )),
        }
    }

    fn run_in_snapshot(
        &self,
        job: &Job<'_>,
        parent: Option<&LayerRow>,
        step: &Step,
    ) -> Result<Option<LayerRow>> {
        let build = self.builder.build;
        let snapshot = build.prepare(parent)?;
        let mut options = self.step_options();
        // Mounts that are made for it end with the program, whatever becomes of this process.
        let needs_mounts =
            !job.run.mounts.is_empty() || matches!(job.run.program, Program::Script(_));
        let ran = match needs_mounts {
            true => with_private_mounts(|| self.run_container(job, &snapshot, step))?,
            false => self.run_container(job, &snapshot, step),
        };
        match ran {
            Ok(scaffold) => options.scaffold = scaffold,
            Err(error) => {
                if let Err(left) = build.remove(&snapshot) {
                    tracing::debug!(%left, "removed at the end of the build");
                }
                return Err(error);
            }
        }
        Ok(build.commit(&snapshot, parent, &options)?)
    }

    /// Runs a program to its end; returns the mount points that were made for it.
    fn run_container(&self, job: &Job<'_>, snapshot: &str, step: &Step) -> Result<Vec<PathBuf>> {
        let builder = self.builder;
        let containers = Containers::open(builder.root)?;
        let start = StartOptions {
            monitor: builder.options.monitor.clone(),
            ..StartOptions::default()
        };
        let prestarted = containers.prestart_monitor(&start)?;
        let mounts = self.mounts(job.state, job.run, &job.of_context, step)?;
        let options = CreateOptions {
            prestarted: Some(prestarted.id().to_owned()),
            borrowed: Some(snapshot.to_owned()),
            ..job.options(&mounts, prestarted.id())
        };
        let source = Source {
            reference: "build".to_owned(),
            id: None,
            snapshot: job.state.top().map(|layer| layer.cache_id.clone()),
            config: empty_config()?,
        };
        let begin = Instant::now();
        let record = containers.create(&source, &options)?;
        let mut session = containers.start_prestarted(&record, prestarted)?;
        let pass_on = |stream, bytes: &[u8]| {
            builder.tell(Event::Output {
                step,
                stream,
                bytes,
                elapsed: begin.elapsed(),
            });
        };
        let ended = session.outputs(pass_on, || builder.go_on().is_err());
        let scaffold = containers
            .find(&record.id)
            .map(|found| found.state.scaffold);
        let force = RemoveOptions {
            force: true,
            volumes: true,
        };
        containers.remove(&record, force)?;
        mounts.finish(self)?;
        match (ended?, &step.place) {
            (Some(0), _) => Ok(scaffold?),
            (Some(status), Some(place)) => Err(Error::Exit {
                place: place.clone(),
                status,
            }),
            _ => {
                builder.go_on()?;
                Err(Error::refused(
                    "the monitor of its program died: how it ended is not known",
                ))
            }
        }
    }
}

/// The configuration that a step's container starts from: all that it has is asked for.
fn empty_config() -> Result<ImageConfiguration> {
    let config = json!({
        "architecture": cowlab_runtime::image::architecture(),
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": []},
    });
    serde_json::from_value(config).map_err(|error| Error::refused(error.to_string()))
}
