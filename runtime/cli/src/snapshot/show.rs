//! What `cowlab snapshot` prints.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use cowlab_driver::{Allocation, MountData};
use cowlab_snapshots::{Filter, Filters, Info, Store};
use cowlab_sys::Cmd;
use serde_json::{Value, json};

use crate::exit::{self, Output};

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only snapshots that match, in containerd's language: selectors such as `name==x`, `kind!=view`, `parent~=^sha`,
    /// `labels."a.b/c"==x`, joined by commas that mean `and`. May be given more than once, which means `or`.
    #[arg(long = "filter", short, value_name = "FILTER")]
    filters: Vec<String>,
}

impl ListArgs {
    pub(super) fn read(&self, store: &Store) -> anyhow::Result<Vec<Info>> {
        let filters = Filters::parse(&self.filters)?;
        let mut infos = store.list(&Filter::default())?;
        infos.retain(|info| filters.match_info(info));
        Ok(infos)
    }
}

/// Prints a verb's result: JSON, or text for people.
#[derive(Debug)]
pub(super) struct Printer {
    pub(super) json: bool,
}

impl Printer {
    /// Prints a result that is one line of text.
    pub(super) fn line(&self, json: &Value, text: &str) -> anyhow::Result<()> {
        match self.json {
            true => self.json(json),
            false => Ok(writeln!(std::io::stdout(), "{text}")?),
        }
    }

    /// Prints a line of JSON.
    pub(super) fn json(&self, json: &Value) -> anyhow::Result<()> {
        Ok(writeln!(std::io::stdout(), "{json}")?)
    }

    /// Prints the key of a snapshot, or its facts as JSON.
    pub(super) fn info(&self, info: &Info) -> anyhow::Result<()> {
        self.line(&serde_json::to_value(info)?, &info.key)
    }

    /// Prints the facts about a snapshot, one a line.
    pub(super) fn facts(&self, info: &Info) -> anyhow::Result<()> {
        if self.json {
            return self.info(info);
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "key      {}", info.key)?;
        writeln!(out, "id       {}", info.id)?;
        writeln!(out, "kind     {}", info.kind.word())?;
        writeln!(out, "parent   {}", info.parent.as_deref().unwrap_or("-"))?;
        for (name, value) in &info.labels {
            writeln!(out, "label    {name}={value}")?;
        }
        Ok(())
    }

    /// Prints a table of snapshots.
    pub(super) fn list(&self, infos: &[Info]) -> anyhow::Result<()> {
        if self.json {
            return self.json(&serde_json::to_value(infos)?);
        }
        let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
        let key = width(&mut infos.iter().map(|info| info.key.len())).max(3);
        let mut out = std::io::stdout().lock();
        writeln!(out, "{:<key$}  {:<9}  PARENT", "KEY", "KIND")?;
        for info in infos {
            let parent = info.parent.as_deref().unwrap_or("-");
            writeln!(out, "{:<key$}  {:<9}  {parent}", info.key, info.kind.word())?;
        }
        Ok(())
    }

    /// Prints snapshots, each below its parent where that is one of them.
    pub(super) fn tree(&self, infos: &[Info]) -> anyhow::Result<()> {
        let keys: BTreeSet<&str> = infos.iter().map(|info| info.key.as_str()).collect();
        let mut children: BTreeMap<Option<&str>, Vec<&Info>> = BTreeMap::new();
        for info in infos {
            let parent = info
                .parent
                .as_deref()
                .filter(|parent| keys.contains(parent));
            children.entry(parent).or_default().push(info);
        }
        // A stack and no recursion: a chain may be longer than a thread's stack is deep.
        let mut below: Vec<_> = children.remove(&None).unwrap_or_default();
        below.reverse();
        let mut waiting: Vec<_> = below.into_iter().map(|info| (0, info)).collect();
        let mut found = Vec::new();
        while let Some((depth, info)) = waiting.pop() {
            found.push((depth, info));
            let next = children
                .remove(&Some(info.key.as_str()))
                .unwrap_or_default();
            waiting.extend(next.into_iter().rev().map(|info| (depth + 1, info)));
        }
        if self.json {
            let nodes = found
                .iter()
                .map(|(depth, info)| json!({"depth": depth, "snapshot": info}));
            return self.json(&nodes.collect());
        }
        let mut out = std::io::stdout().lock();
        for (depth, info) in found {
            let (indent, mark) = (2 * depth, if depth > 0 { "\\_ " } else { "" });
            writeln!(
                out,
                "{:indent$}{mark}{} ({})",
                "",
                info.key,
                info.kind.word()
            )?;
        }
        Ok(())
    }

    /// Prints how to mount a snapshot.
    pub(super) fn mounts(&self, mut mounts: MountData, target: &Path) -> anyhow::Result<()> {
        if self.json {
            return self.json(&json!([mounts]));
        }
        let dir = mounts.shorten();
        let words = mounts.command_line(target);
        // Quoted as a shell reads it.
        let quoted = |program: &str, words: &[OsString]| Cmd::new(program).args(words).to_string();
        let setting = match mounts.needs_mount2() {
            true => "LIBMOUNT_FORCE_MOUNT2=always ",
            false => "",
        };
        let mount = setting.to_owned() + &quoted("mount", &words[1..]);
        let line = match dir {
            None => mount,
            // More layers than fit with their whole paths.
            Some(dir) => format!("({} && {mount})", quoted("cd", &[dir.into()])),
        };
        Ok(writeln!(std::io::stdout(), "{line}")?)
    }

    /// Prints an error of many.
    pub(super) fn error(&self, error: &anyhow::Error) -> anyhow::Result<()> {
        let output = match self.json {
            true => Output::Json,
            false => Output::Text,
        };
        Ok(exit::print(error, output)?)
    }

    /// Measures snapshots and prints a table.
    pub(super) fn usage(&self, store: &Store, keys: &[String]) -> anyhow::Result<()> {
        let keys = match keys {
            [] => {
                let all = store.list(&Filter::default())?;
                all.into_iter().map(|info| info.key).collect()
            }
            keys => keys.to_vec(),
        };
        let mut rows = Vec::new();
        for key in keys {
            rows.push((store.usage(&key)?, key));
        }
        if self.json {
            let objects = rows.iter().map(
                |(usage, key)| json!({"key": key, "exclusive": usage.exclusive, "shared": usage.shared}),
            );
            return self.json(&objects.collect());
        }
        let width = rows.iter().map(|(_, key)| key.len()).max();
        let width = width.unwrap_or(0).max(3);
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "{:<width$}  {:>12} {:>8}  {:>12}",
            "KEY", "EXCLUSIVE", "INODES", "SHARED"
        )?;
        for (usage, key) in rows {
            let Allocation { bytes, inodes } = usage.exclusive;
            let shared = usage
                .shared
                .map_or_else(|| "unknown".to_owned(), |shared| shared.bytes.to_string());
            writeln!(
                out,
                "{key:<width$}  {:>12} {inodes:>8}  {shared:>12}",
                bytes.to_string()
            )?;
        }
        Ok(())
    }
}
