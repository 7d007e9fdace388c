//! What is shown of a container: in the words of `ps`, and with docker's members for `--format`, of `ps`, and of `inspect` where
//! cowlab's own document has others.

use std::time::{Duration, SystemTime};

use cowlab_driver::Bytes;
use cowlab_runtime::container::mounts::Attached;
use cowlab_runtime::container::{Containers, Found, Phase};
use cowlab_units::Timestamp;
use serde_json::{Value, json};

use crate::format::{self, Column, Row};
use crate::table;

/// The members of `ps`.
pub(super) const COLUMNS: [Column; 14] = [
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Names", "NAMES"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("Networks", "NETWORKS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
];

/// What a container's row needs to know besides the container.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Whether texts stay whole.
    pub no_trunc: bool,
    /// Whether its layer is measured.
    pub size: bool,
}

/// A container of `ps`.
pub(super) fn row(
    containers: &Containers<'_>,
    found: &Found,
    wanted: Wanted,
) -> anyhow::Result<Row> {
    let record = &found.record;
    let cut = |text: &str, length| match wanted.no_trunc {
        true => text.to_owned(),
        false => table::short(text, length),
    };
    let size = match wanted.size {
        true => containers.usage(found)?.exclusive.bytes,
        false => Bytes(0),
    };
    let mounts: Vec<_> = record
        .mounts
        .iter()
        .filter_map(|mount| match mount {
            Attached::Volume { name, .. } => Some(cut(name, 15)),
            Attached::Bind { source, .. } => Some(cut(&source.to_string_lossy(), 15)),
            Attached::Tmpfs { .. } => None,
        })
        .collect();
    let is_volume = |mount: &&Attached| matches!(mount, Attached::Volume { .. });
    let volumes = record.mounts.iter().filter(is_volume).count();
    Ok(Row {
        fields: json!({
            "ID": id(found, wanted.no_trunc),
            "Image": record.image,
            "Command": format!("{:?}", cut(&record.args.join(" "), 20)),
            "CreatedAt": format::moment(record.created),
            "RunningFor": format!("{} ago", span(since(record.created))),
            "Ports": "",
            "State": found.phase,
            "Status": status_text(found),
            "Size": size.to_string(),
            "Names": record.name,
            "Labels": format::labels(&record.labels),
            "Mounts": mounts.join(","),
            "Networks": record.network,
            "LocalVolumes": volumes.to_string(),
        }),
        labels: Some(record.labels.clone()),
    })
}

/// Has a document about a container say what docker's says where cowlab's own has other members: mounts, the state of one that has
/// not ended, the parts of its command.
pub(super) fn as_dockers(document: &mut Value, containers: &Containers<'_>, found: &Found) {
    /// Go's zero time.
    const NEVER: &str = "0001-01-01T00:00:00Z";
    let record = &found.record;
    let state = &mut document["State"];
    format::fill(
        state,
        [
            ("Pid", json!(0)),
            ("Error", json!("")),
            ("StartedAt", json!(NEVER)),
            ("FinishedAt", json!(NEVER)),
            ("Dead", json!(found.phase == Phase::Dead)),
            ("Restarting", json!(false)),
        ],
    );
    let has_ended = matches!(found.phase, Phase::Exited | Phase::Dead);
    if state["ExitCode"].is_null() && !has_ended {
        state["ExitCode"] = json!(0);
    }
    let config = record.image_config.config().as_ref();
    let entrypoint = config.and_then(|config| config.entrypoint().clone());
    let entrypoint = entrypoint.unwrap_or_default();
    // With `--entrypoint`, nothing tells the two parts apart any more.
    let (entrypoint, command) = match record.args.strip_prefix(entrypoint.as_slice()) {
        Some(command) => (entrypoint, command),
        None => (Vec::new(), record.args.as_slice()),
    };
    format::fill(
        &mut document["Config"],
        [("Entrypoint", json!(entrypoint)), ("Cmd", json!(command))],
    );
    let driver = document["GraphDriver"]["Name"].clone();
    format::fill(
        document,
        [
            ("Driver", driver),
            ("Platform", json!("linux")),
            ("RestartCount", json!(0)),
        ],
    );
    let mounts = record.mounts.iter();
    document["Mounts"] = mounts.map(|mount| mounted(mount, containers)).collect();
}

fn mounted(mount: &Attached, containers: &Containers<'_>) -> Value {
    let (kind, name, source, writable) = match mount {
        Attached::Volume {
            name, read_only, ..
        } => {
            let volume = containers.volumes().get(name).ok();
            let source = volume.map(|volume| volume.mountpoint);
            ("volume", name.as_str(), source, !read_only)
        }
        Attached::Bind {
            source, read_only, ..
        } => ("bind", "", Some(source.clone()), !read_only),
        Attached::Tmpfs { .. } => ("tmpfs", "", None, true),
    };
    json!({
        "Type": kind,
        "Name": name,
        "Source": source.unwrap_or_default(),
        "Destination": mount.target(),
        "Driver": if kind == "volume" { "local" } else { "" },
        "Mode": "",
        "RW": writable,
        "Propagation": if kind == "bind" { "rprivate" } else { "" },
    })
}

/// An id, or the beginning that people use.
pub(super) fn id(found: &Found, no_trunc: bool) -> String {
    match no_trunc {
        true => found.record.id.clone(),
        false => found.record.short_id().to_owned(),
    }
}

pub(super) fn status_text(found: &Found) -> String {
    let state = &found.state;
    let ago = |time: Option<Timestamp>| time.map(|time| span(since(time))).unwrap_or_default();
    match found.phase {
        Phase::Running => format!("Up {}", ago(state.started)),
        Phase::Paused => format!("Up {} (Paused)", ago(state.started)),
        Phase::Unwatched => format!("Up {}, its monitor has died", ago(state.started)),
        Phase::Exited => match state.exit_code {
            Some(code) => format!("Exited ({code}) {} ago", ago(state.finished)),
            None => format!("Exited (unknown) {} ago", ago(state.finished)),
        },
        Phase::Dead => "Dead (nobody saw it end)".to_owned(),
        Phase::Creating => "Creating, or cut off".to_owned(),
        Phase::Removing => "Removing, or cut off".to_owned(),
        Phase::Created => "Created".to_owned(),
        Phase::Damaged => "Damaged (`rm -f` removes it)".to_owned(),
        Phase::Starting => "Starting".to_owned(),
    }
}

pub(super) fn since(time: Timestamp) -> Duration {
    Timestamp::from(SystemTime::now()).since(time)
}

pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} seconds"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_dockers() {
        assert_eq!(span(Duration::from_secs(200)), "3 minutes");
    }
}
