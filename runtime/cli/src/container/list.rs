//! Verbs that print what is known about containers.

use std::io::Write;
use std::time::Duration;

use cowlab_driver::Bytes;
use cowlab_runtime::container::{Containers, Found, Phase};
use serde_json::{Value, json};

use super::fields::{self, id, since, span, status_text};
use super::select::Selection;
use super::{Open, each};
use crate::exit;
use crate::format::{Format, ListFormat, ObjectFormat};
use crate::root::RootArgs;
use crate::table;

#[derive(Debug, clap::Args)]
pub(crate) struct PsArgs {
    #[command(flatten)]
    root: RootArgs,
    #[command(flatten)]
    selection: Selection,
    /// Measure the writable layer of each.
    #[arg(long, short)]
    size: bool,
    /// Print ids only.
    #[arg(long, short)]
    quiet: bool,
    /// Print whole ids.
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    format: ListFormat,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    root: RootArgs,
    /// Print further lines until it exits.
    #[arg(long, short)]
    follow: bool,
    /// Print the time of each line.
    #[arg(long, short)]
    timestamps: bool,
    /// Only the last lines.
    #[arg(long, short = 'n', value_name = "COUNT")]
    tail: Option<usize>,
    /// Print each line as the JSON object of the log.
    #[arg(long)]
    json: bool,
    /// The container.
    container: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    root: RootArgs,
    /// Measure the writable layer of each.
    #[arg(long, short)]
    size: bool,
    #[command(flatten)]
    format: ObjectFormat,
    /// As always: the output is JSON.
    #[arg(long, hide = true)]
    json: bool,
    /// Names or ids.
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

/// `cowlab ps`.
pub(super) fn ps(args: &PsArgs) -> anyhow::Result<u8> {
    let open = Open::new(&args.root)?;
    let containers = open.containers()?;
    let all = args.selection.of(&open.root, &containers)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let rows: anyhow::Result<Vec<Value>> = all
            .iter()
            .map(|found| row(&containers, found, args.size))
            .collect();
        writeln!(out, "{}", Value::from(rows?))?;
        return Ok(exit::OK);
    }
    let format = &args.format.format;
    if args.quiet {
        if !format.is_default() {
            // docker's words and its choice.
            let warning =
                "WARNING: Ignoring custom format, because both --format and --quiet are set.";
            writeln!(std::io::stderr(), "{warning}")?;
        }
        for found in &all {
            writeln!(out, "{}", id(found, args.no_trunc))?;
        }
        return Ok(exit::OK);
    }
    if !format.is_default() {
        let wanted = fields::Wanted {
            no_trunc: args.no_trunc,
            size: args.size || format.shows("Size"),
        };
        let rows: anyhow::Result<Vec<_>> = all
            .iter()
            .map(|found| fields::row(&containers, found, wanted))
            .collect();
        format.list(&mut out, &fields::COLUMNS, &rows?)?;
        return Ok(exit::OK);
    }
    print_table(&mut out, args, &containers, &all)?;
    Ok(exit::OK)
}

fn print_table(
    out: &mut impl Write,
    args: &PsArgs,
    containers: &Containers<'_>,
    all: &[Found],
) -> anyhow::Result<()> {
    let columns = if args.size { 7 } else { 6 };
    let header = [
        "CONTAINER ID",
        "IMAGE",
        "COMMAND",
        "CREATED",
        "STATUS",
        "NAMES",
        "SIZE",
    ];
    let mut rows = Vec::new();
    for found in all {
        let mut row = cells(found, id(found, args.no_trunc));
        if args.size {
            row.push(containers.usage(found)?.exclusive.bytes.to_string());
        }
        rows.push(row);
    }
    Ok(table::write(out, &header[..columns], &rows)?)
}

fn cells(found: &Found, id: String) -> Vec<String> {
    let record = &found.record;
    vec![
        id,
        table::short(&record.image, 30),
        table::short(&record.args.join(" "), 20),
        format!("{} ago", span(since(record.created))),
        status_text(found),
        record.name.clone(),
    ]
}

fn row(containers: &Containers<'_>, found: &Found, size: bool) -> anyhow::Result<Value> {
    let record = &found.record;
    let usage = match size {
        true => Some(containers.usage(found)?),
        false => None,
    };
    Ok(json!({
        "id": record.id,
        "name": record.name,
        "image": record.image,
        "command": record.args,
        "created": record.created,
        "state": found.phase,
        "status": status_text(found),
        "exit_code": found.state.exit_code,
        "size": usage,
    }))
}

/// `cowlab logs`.
pub(super) fn logs(args: &LogsArgs) -> anyhow::Result<u8> {
    let open = Open::new(&args.root)?;
    let containers = open.containers()?;
    let found = containers.find(&args.container)?;
    let mut logs = containers.logs(&found.record)?;
    if let Some(count) = args.tail {
        let mut past = std::collections::VecDeque::new();
        while let Some(line) = logs.next_line()? {
            past.push_back(line);
            if past.len() > count {
                past.pop_front();
            }
        }
        for line in past {
            print(&line, args)?;
        }
    }
    loop {
        // Looked at before the log: what it wrote last is there when it has ended.
        let is_alive = args.follow
            && containers
                .find(&found.record.id)
                .is_ok_and(|now| now.phase.is_alive());
        while let Some(line) = logs.next_line()? {
            print(&line, args)?;
        }
        if !is_alive {
            return Ok(exit::OK);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn print(line: &cowlab_runtime::container::LogLine, args: &LogsArgs) -> anyhow::Result<()> {
    use cowlab_runtime::container::LogStream;
    let mut text = match (args.json, args.timestamps) {
        (true, _) => format!("{}\n", serde_json::to_string(line)?),
        (false, true) => format!("{} {}", line.time, line.log),
        (false, false) => line.log.clone(),
    };
    if args.timestamps && !text.ends_with('\n') {
        text.push('\n');
    }
    let written = match line.stream {
        LogStream::Stderr if !args.json => {
            let mut out = std::io::stderr().lock();
            out.write_all(text.as_bytes())
        }
        _ => {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        }
    };
    Ok(written?)
}

/// `cowlab container inspect`.
pub(super) fn inspect(args: &InspectArgs) -> anyhow::Result<u8> {
    let open = Open::new(&args.root)?;
    let containers = open.containers()?;
    let (mut all, format) = (Vec::new(), &args.format.format);
    let code = each(&containers, &args.names, |found| {
        all.push(document(&containers, found, args.size, format)?);
        Ok(())
    });
    format.documents(&mut std::io::stdout().lock(), &all)?;
    code
}

/// All that is known about a container; for a format, with docker's members.
///
/// # Errors
///
/// When its layer cannot be measured, which `size` asks for.
pub(crate) fn document(
    containers: &Containers<'_>,
    found: &Found,
    size: bool,
    format: &Format,
) -> anyhow::Result<Value> {
    let mut facts = facts(containers, found)?;
    if !format.is_default() {
        fields::as_dockers(&mut facts, containers, found);
    }
    if size {
        let usage = containers.usage(found)?;
        facts["SizeRw"] = json!(usage.exclusive.bytes);
        let shared = usage.shared.map(|shared| shared.bytes);
        facts["SizeShared"] = json!(shared.map(|Bytes(bytes)| bytes));
    }
    Ok(facts)
}

fn facts(containers: &Containers<'_>, found: &Found) -> anyhow::Result<Value> {
    let (record, state) = (&found.record, &found.state);
    let pid = pid(found);
    Ok(json!({
        "Id": record.id,
        "Name": record.name,
        "Created": record.created,
        "Image": record.image_id,
        "ImageName": record.image,
        "Path": record.args.first(),
        "Args": record.args.get(1..),
        "State": {
            "Status": found.phase,
            "Running": found.phase.is_alive(),
            "Paused": found.phase == Phase::Paused,
            "Pid": pid,
            "MonitorPid": state.monitor.as_ref().filter(|_| found.phase.is_alive()).map(|monitor| monitor.pid),
            "ExitCode": state.exit_code,
            "Error": state.error,
            "StartedAt": state.started,
            "FinishedAt": state.finished,
        },
        "Config": {
            "Image": record.image,
            "Hostname": if record.hostname.is_empty() { record.short_id() } else { &record.hostname },
            "User": record.user,
            "Tty": record.terminal,
            "OpenStdin": record.interactive,
            "Env": record.env,
            "WorkingDir": record.cwd,
            "Labels": record.labels,
            "StopSignal": record.stop_signal,
        },
        "HostConfig": {
            "NetworkMode": record.network,
            "ReadonlyRootfs": record.read_only,
            "SecurityOpt": [record.seccomp.option()],
            "AutoRemove": record.remove,
            "StorageOpt": record.size_limit.map(|size| json!({"size": size})),
            "LogConfig": {"Type": "json-file", "MaxSize": record.log.max_size, "MaxFile": record.log.max_files},
        },
        "Mounts": record.mounts,
        "LogPath": containers.dir_of(&record.id).join("log.json"),
        "GraphDriver": graph_driver(containers, found),
    }))
}

fn pid(found: &Found) -> Option<u32> {
    let init = found.state.init.as_ref();
    init.filter(|_| found.phase.is_alive()).map(|init| init.pid)
}

/// Where the container's layer lies, and how the driver mounts it. The mount is in the container's namespace alone.
fn graph_driver(containers: &Containers<'_>, found: &Found) -> Value {
    let record = &found.record;
    let store = containers.store();
    let identity = store.identity();
    let mount = store.describe_mount(&record.snapshot).ok();
    let mount = mount.map(|mounts| mounts.data());
    json!({
        "Name": identity.driver,
        "Data": {
            "Variant": identity.variant,
            "Snapshot": record.snapshot,
            "Parent": record.parent,
            "Mount": mount,
            "MergedDir": pid(found).map(|pid| format!("/proc/{pid}/root")),
        },
    })
}
