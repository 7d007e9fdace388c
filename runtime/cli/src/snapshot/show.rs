//! What `cowlab snapshot` prints.

use std::io::Write;
use std::path::Path;

use clap::ValueEnum;
use cowlab_driver::{Allocation, Mounts};
use cowlab_snapshots::{Filter, Info, Kind, Store};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only snapshots of this kind.
    #[arg(long, value_enum)]
    kind: Option<KindWord>,
    /// Only those whose key or name starts so.
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only those built directly on this snapshot.
    #[arg(long, value_name = "NAME")]
    parent: Option<String>,
    /// Only those with this label, of any value or of this one.
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KindWord {
    Active,
    View,
    Committed,
}

impl ListArgs {
    pub(super) fn filter(&self) -> Filter {
        Filter {
            kind: self.kind.map(|kind| match kind {
                KindWord::Active => Kind::Active,
                KindWord::View => Kind::View,
                KindWord::Committed => Kind::Committed,
            }),
            prefix: self.prefix.clone(),
            parent: self.parent.clone(),
            label: self.label.as_ref().map(|text| {
                text.split_once('=')
                    .map_or_else(|| (text.clone(), None), |(n, v)| (n.into(), Some(v.into())))
            }),
        }
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

    /// Prints how to mount a snapshot.
    pub(super) fn mounts(&self, mounts: &Mounts, target: &Path) -> anyhow::Result<()> {
        let arguments = mounts.command_line(target);
        let mut words = arguments.iter();
        let program = words.next().cloned().unwrap_or_default();
        // Quoted as a shell reads it.
        let line = cowlab_sys::Cmd::new(program).args(words).to_string();
        let texts: Vec<_> = arguments.iter().map(|one| one.to_string_lossy()).collect();
        let facts = json!({
            "command": texts,
            "line": line,
            "read_only": mounts.is_read_only(),
        });
        self.line(&facts, &line)
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
