//! The OCI runtime specification of a container: what docker gives a container by default, no more.

use std::path::Path;

use serde_json::{Value, json};

use super::cgroup;
use super::record::{Network, Record};
use super::seccomp::Seccomp;
use super::user::User;

/// The version of the OCI runtime specification that containers are described by.
pub const SPECIFICATION: &str = "1.0.2";

/// What docker lets a container's root do (moby, `oci/caps/defaults.go`).
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// What a container must not see (moby, `oci/defaults.go`).
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

/// What a container may read only.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// What is mounted into a container: a place inside, a type, a source and options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpecMount {
    pub(super) target: std::path::PathBuf,
    pub(super) kind: &'static str,
    pub(super) source: std::path::PathBuf,
    pub(super) options: Vec<String>,
}

impl SpecMount {
    /// A bind mount, with what is mounted below the source.
    pub(super) fn bind(source: &Path, target: &Path, read_only: bool) -> Self {
        let mut options = vec!["rbind", "rprivate"];
        // The mount itself, and what is mounted below the source (mount_setattr(2), AT_RECURSIVE).
        options.extend(if read_only {
            &["ro", "rro"][..]
        } else {
            &["rw"]
        });
        Self {
            target: target.to_owned(),
            kind: "bind",
            source: source.to_owned(),
            options: options.into_iter().map(str::to_owned).collect(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "destination": self.target,
            "type": self.kind,
            "source": self.source,
            "options": self.options,
        })
    }
}

/// Writes the specification.
pub(super) fn spec(record: &Record, user: &User, rootfs: &Path, extra: &[SpecMount]) -> Value {
    let mut mounts = kernel_mounts(record.network);
    mounts.extend(extra.iter().map(SpecMount::json));
    let env = environment(record, &record.env, user);
    let process = process_of(
        record,
        &record.args,
        &env,
        &record.cwd,
        record.terminal,
        user,
    );
    json!({
        "ociVersion": SPECIFICATION,
        "root": {"path": rootfs, "readonly": record.read_only},
        "hostname": record.host_name(),
        "process": process,
        "mounts": mounts,
        "linux": {
            "cgroupsPath": cgroup::path(&record.id),
            "namespaces": namespaces(record.network),
            "maskedPaths": MASKED,
            "readonlyPaths": read_only_paths(),
            "rootfsPropagation": "private",
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
        },
    })
}

/// The variables of a program in a container: those of the container or its like, and what every program finds where they do not
/// say it. An empty `HOME` says nothing (runc, `prepareEnv`).
pub(super) fn environment(record: &Record, env: &[String], user: &User) -> Vec<String> {
    let mut env = env.to_vec();
    env.retain(|one| one != "HOME=");
    let implied = [
        format!("HOME={}", user.home),
        format!("HOSTNAME={}", record.host_name()),
    ];
    for variable in implied {
        let (name, _) = variable.split_at(variable.find('=').unwrap_or(0) + 1);
        if !env.iter().any(|one| one.starts_with(name)) {
            env.push(variable);
        }
    }
    env
}

/// A program in a container.
pub(super) fn process_of(
    record: &Record,
    args: &[String],
    env: &[String],
    cwd: &str,
    terminal: bool,
    user: &User,
) -> Value {
    // Capabilities that are permitted to anybody but root would be more than docker gives.
    let of_root = if user.uid == 0 {
        &CAPABILITIES[..]
    } else {
        &[]
    };
    // What starts the program needs more than the program, which does not get it: at execve(2) the bounding set decides for root,
    // and for others nothing is left (capabilities(7)).
    let mut of_starter = of_root.to_vec();
    if user.uid != 0 {
        of_starter.push("CAP_CHOWN");
    }
    if record.seccomp != Seccomp::Unconfined {
        of_starter.push("CAP_SYS_ADMIN");
    }
    json!({
        "terminal": terminal,
        "user": {"uid": user.uid, "gid": user.gid, "umask": 0o022, "additionalGids": user.additional},
        "args": args,
        "rlimits": open_files_limit(),
        "env": env,
        "cwd": cwd,
        "capabilities": {
            "bounding": CAPABILITIES,
            "effective": of_starter,
            "permitted": of_starter,
        },
        // No `noNewPrivileges`: where it is said, libcontainer loads a filter after it gave up the right to.
    })
}

/// The limit of open descriptors that this process was started with, if it is not the one that it has.
fn open_files_limit() -> Value {
    let limit = cowlab_sys::process::original_open_files_limit();
    let limit = limit.map(|limit| {
        let number = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        json!({"type": "RLIMIT_NOFILE", "soft": number(limit.soft), "hard": number(limit.hard)})
    });
    limit.into_iter().collect()
}

/// The fixed ones, and the hierarchies of cgroup version 1: libcontainer mounts each writable, whatever the options say.
fn read_only_paths() -> Vec<String> {
    let mut paths = READ_ONLY.map(str::to_owned).to_vec();
    let place = Path::new("/sys/fs/cgroup");
    if !place.join("cgroup.controllers").exists() {
        let entries = cowlab_sys::dir::read_dir(place).unwrap_or_default();
        let names = entries.iter().filter_map(|entry| entry.name.to_str());
        paths.extend(names.map(|name| format!("/sys/fs/cgroup/{name}")));
        paths.push("/sys/fs/cgroup".to_owned());
    }
    paths
}

fn namespaces(network: Network) -> Value {
    let mut kinds = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    if network == Network::None {
        kinds.push("network");
    }
    kinds
        .into_iter()
        .map(|kind| json!({"type": kind}))
        .collect()
}

/// Where every container gets a file system of the kernel's.
pub(super) fn system_places() -> Vec<std::path::PathBuf> {
    let mounts = kernel_mounts(Network::None);
    let targets = mounts.iter().filter_map(|one| one["destination"].as_str());
    targets.map(Into::into).collect()
}

fn kernel_mounts(network: Network) -> Vec<Value> {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        match network == Network::Host && !cowlab_sys::user_namespace::is_host_root() {
            // sysfs shows devices of the network and is mounted by those alone who own it: not by an ordinary user.
            true => {
                json!({"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]})
            }
            false => mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        },
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ),
    ]
}
