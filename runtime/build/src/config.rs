//! What instructions make of an image's configuration (image specification, `config.md`).

use std::time::Duration;

use cowlab_dockerfile::{Command, Health, Kind};
use serde_json::{Map, Value, json};

/// The PATH of an image that has none, as docker has it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The shell of an image that names none.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// The configuration of an image that is being made.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    whole: Value,
    /// Whether this stage has its own `CMD`: an `ENTRYPOINT` drops the base's.
    has_cmd: bool,
}

impl Config {
    /// That of an empty image, or a base's.
    pub(crate) fn new(base: Option<Value>) -> Self {
        let mut whole = base.filter(Value::is_object).unwrap_or_else(|| json!({}));
        if !whole["config"].is_object() {
            whole["config"] = json!({});
        }
        for unknown in [
            "container",
            "container_config",
            "docker_version",
            "id",
            "parent",
        ] {
            if let Some(members) = whole.as_object_mut() {
                members.remove(unknown);
            }
        }
        let mut config = Self {
            whole,
            has_cmd: false,
        };
        if !config.environment().iter().any(|(name, _)| name == "PATH") {
            config.set_env("PATH", PATH);
        }
        config
    }

    /// Begins another stage on this configuration; returns its triggers, which only the child executes.
    pub(crate) fn begin_stage(&mut self) -> Vec<String> {
        self.has_cmd = false;
        let triggers = self.strings("OnBuild");
        self.remove("OnBuild");
        triggers
    }

    fn settings(&mut self) -> &mut Value {
        &mut self.whole["config"]
    }

    fn remove(&mut self, name: &str) {
        if let Some(members) = self.settings().as_object_mut() {
            members.remove(name);
        }
    }

    fn strings(&self, name: &str) -> Vec<String> {
        let list = self.whole["config"][name].as_array();
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    }

    fn text(&self, name: &str) -> &str {
        self.whole["config"][name].as_str().unwrap_or_default()
    }

    /// The variables, in order.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let env = self.strings("Env").into_iter();
        env.map(|one| {
            let (name, value) = one.split_once('=').unwrap_or((&one, ""));
            (name.to_owned(), value.to_owned())
        })
        .collect()
    }

    pub(crate) fn user(&self) -> &str {
        self.text("User")
    }

    /// Where programs start, and relative paths of the Dockerfile begin.
    pub(crate) fn workdir(&self) -> &str {
        match self.text("WorkingDir") {
            "" => "/",
            dir => dir,
        }
    }

    /// The words before a command in shell form.
    pub(crate) fn shell(&self) -> Vec<String> {
        match self.strings("Shell") {
            shell if shell.is_empty() => SHELL.map(str::to_owned).to_vec(),
            shell => shell,
        }
    }

    fn set_env(&mut self, name: &str, value: &str) {
        let mut env = self.environment();
        match env.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => value.clone_into(old),
            None => env.push((name.to_owned(), value.to_owned())),
        }
        let env: Vec<_> = env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        self.settings()["Env"] = json!(env);
    }

    fn set_members(&mut self, name: &str, members: impl IntoIterator<Item = (String, Value)>) {
        let set = &mut self.settings()[name];
        if !set.is_object() {
            *set = Value::Object(Map::new());
        }
        if let Some(set) = set.as_object_mut() {
            set.extend(members);
        }
    }

    pub(crate) fn add_labels(&mut self, labels: impl IntoIterator<Item = (String, String)>) {
        let labels = labels.into_iter().map(|(name, value)| (name, json!(value)));
        self.set_members("Labels", labels);
    }

    /// Takes in an instruction that changes no file; the others are the steps' own.
    pub(crate) fn apply(&mut self, kind: &Kind) {
        let shell = self.shell();
        let empty = |name: &String| (name.clone(), json!({}));
        match kind {
            Kind::Env(pairs) => pairs
                .iter()
                .for_each(|(name, value)| self.set_env(name, value)),
            Kind::Label(pairs) => self.add_labels(pairs.iter().cloned()),
            Kind::Expose(ports) => self.set_members("ExposedPorts", ports.iter().map(empty)),
            Kind::Volume(paths) => self.set_members("Volumes", paths.iter().map(empty)),
            Kind::User(user) => self.settings()["User"] = json!(user),
            Kind::Workdir(path) => self.settings()["WorkingDir"] = json!(path),
            Kind::StopSignal(signal) => self.settings()["StopSignal"] = json!(signal),
            Kind::Shell(words) => self.settings()["Shell"] = json!(words),
            Kind::Maintainer(name) => {
                if let Some(members) = self.whole.as_object_mut() {
                    members.insert("author".to_owned(), json!(name));
                }
            }
            Kind::Cmd(command) => {
                self.has_cmd = true;
                self.set_command("Cmd", command, &shell);
            }
            Kind::Entrypoint(command) => {
                self.set_command("Entrypoint", command, &shell);
                if !self.has_cmd {
                    self.remove("Cmd");
                }
            }
            Kind::Health(health) => self.settings()["Healthcheck"] = healthcheck(health),
            Kind::OnBuild(trigger) => {
                let mut triggers = self.strings("OnBuild");
                triggers.push(trigger.expression.clone());
                self.settings()["OnBuild"] = json!(triggers);
            }
            Kind::Add(_) | Kind::Arg(_) | Kind::Copy(_) | Kind::Run(_) => {}
        }
    }

    fn set_command(&mut self, name: &str, command: &Command, shell: &[String]) {
        match command.argv(shell) {
            words if words.is_empty() => self.remove(name),
            words => self.settings()[name] = json!(words),
        }
    }

    /// The steps that the base's history tells of.
    pub(crate) fn history(&self) -> Vec<Value> {
        self.whole["history"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    /// When the base was made.
    pub(crate) fn created(&self) -> Option<&str> {
        self.whole["created"].as_str()
    }

    /// The whole configuration, with layers and history.
    pub(crate) fn finish(mut self, diff_ids: &[&str], history: &[Value], created: &str) -> Value {
        self.whole["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        self.whole["history"] = json!(history);
        self.whole["created"] = json!(created);
        self.whole
    }
}

/// A health check as docker keeps it, times in nanoseconds; what is not given is left out.
fn healthcheck(health: &Health) -> Value {
    let Health::Check(check) = health else {
        return json!({"Test": ["NONE"]});
    };
    let test = match &check.command {
        Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
        Command::Exec(words) => {
            let words = words.iter().cloned();
            std::iter::once("CMD".to_owned()).chain(words).collect()
        }
    };
    let mut value = json!({"Test": test});
    for (name, time) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if time != Duration::ZERO {
            value[name] = json!(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
    }
    if check.retries != 0 {
        value["Retries"] = json!(check.retries);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> Command {
        Command::Shell(text.to_owned())
    }

    #[test]
    fn entrypoint_drops_the_command_of_the_base_alone() {
        let base = json!({"config": {"Cmd": ["base"], "Env": ["PATH=/bin"]}});
        let mut config = Config::new(Some(base));
        config.begin_stage();
        config.apply(&Kind::Entrypoint(Command::Exec(vec!["/e".into()])));
        assert!(config.whole["config"]["Cmd"].is_null());
        config.apply(&Kind::Cmd(shell("x")));
        config.apply(&Kind::Entrypoint(shell("y")));
        let settings = &config.whole["config"];
        assert_eq!(settings["Cmd"], json!(["/bin/sh", "-c", "x"]));
        assert_eq!(settings["Entrypoint"], json!(["/bin/sh", "-c", "y"]));
        assert_eq!(settings["Env"], json!(["PATH=/bin"]));
    }
}
