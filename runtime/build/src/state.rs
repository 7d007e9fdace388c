//! What a stage has made so far, which another stage may begin with.

use cowlab_dockerfile::{Globals, Scope};
use cowlab_runtime::graph::LayerRow;
use serde_json::{Value, json};

use crate::advise::StepReport;
use crate::cache::Outcome;
use crate::config::Config;

/// What the history says of layers that a base's own history does not tell of; podman refuses a history with fewer steps than
/// there are layers.
const UNTOLD: &str = "not in the history";

/// What a stage has made so far.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) config: Config,
    /// Base first.
    pub(crate) layers: Vec<LayerRow>,
    pub(crate) history: Vec<Value>,
    pub(crate) scope: Scope,
    /// When the last step was run that changed files.
    pub(crate) created: Option<String>,
    /// What became of the steps of this stage.
    pub(crate) reports: Vec<StepReport>,
}

impl State {
    /// What an image begins a stage with.
    pub(crate) fn new(config: Config, layers: Vec<LayerRow>, globals: &Globals) -> Self {
        let mut history = config.history();
        let told = history
            .iter()
            .filter(|step| step["empty_layer"] != true)
            .count();
        let untold = layers.len().saturating_sub(told);
        history.extend(std::iter::repeat_n(json!({"comment": UNTOLD}), untold));
        Self {
            scope: globals.scope(config.environment()),
            created: config.created().map(str::to_owned),
            config,
            layers,
            history,
            reports: Vec::new(),
        }
    }

    /// The layer on which the next is made.
    pub(crate) fn top(&self) -> Option<&LayerRow> {
        self.layers.last()
    }

    /// An absolute path of the Dockerfile's. One that ends with `/` or `/.` is a directory, and keeps its `/`.
    pub(crate) fn absolute(&self, path: &str) -> String {
        let whole = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("{}/{path}", self.config.workdir()),
        };
        let is_dir = [".", "..", ""].contains(&whole.rsplit('/').next().unwrap_or_default());
        let clean = crate::tree::cleaned(&whole);
        let clean = clean.to_string_lossy();
        match is_dir && !clean.is_empty() {
            true => format!("/{clean}/"),
            false => format!("/{clean}"),
        }
    }

    /// Adds a step to the history.
    pub(crate) fn tell(&mut self, text: &str, is_empty: bool) {
        let mut step = json!({"created_by": text, "empty_layer": is_empty});
        if let Some(created) = &self.created {
            step["created"] = json!(created);
        }
        self.history.push(step);
    }

    /// Takes in what a step made.
    pub(crate) fn take(&mut self, outcome: Outcome, text: &str) {
        self.created = Some(outcome.created);
        let is_empty = outcome.layer.is_none();
        self.layers.extend(outcome.layer);
        self.tell(text, is_empty);
    }
}
