//! docker's verbs and flags: here, or why not. One table refuses what is left out, is printed as `runtime/DOCKER.md` and in part in
//! `README.md`, and a test holds it and the program's own flags together.
//!
//! The verbs and flags are those that the help of docker's client 28.2.2 names; those of `build` and `builder prune` are buildx's too.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::exit;

/// Print which of docker's verbs and flags are here, and why others are not.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The verbs alone, as in README.md.
    #[arg(long)]
    verbs: bool,
}

// Flags of docker's that have no effect here by nature: there is nothing that they could turn off.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Ignored {
    /// No image is verified by docker's content trust, which this turns off.
    #[arg(long, hide = true)]
    disable_content_trust: bool,
}

/// Why something is left out, and what to do instead.
#[derive(Debug, PartialEq, Eq)]
struct Reason {
    what: &'static str,
    why: &'static str,
    instead: &'static str,
}

/// A verb that is here.
#[derive(Debug)]
struct Verb {
    /// Its name, then its other names.
    names: &'static [&'static str],
    /// docker's flags that are here.
    here: &'static str,
    /// docker's flags that are taken and have no effect, and why.
    idle: &'static [(&'static str, &'static str)],
    /// Flags that docker has not.
    own: &'static str,
    /// docker's flags that are left out.
    refused: &'static [(&'static str, &'static Reason)],
}

const VERB: Verb = Verb {
    names: &[],
    here: "",
    idle: &[],
    own: "",
    refused: &[],
};

/// Flags of every verb that works on a root.
const EVERYWHERE: &str = "--root --driver --driver-opt --json --help -h";

const ATTESTATIONS: Reason = Reason {
    what: "attestations",
    why: "no program looks into what is built",
    instead: "`--label` says what you know; syft and cosign do the rest",
};
const BUILDERS: Reason = Reason {
    what: "other builders",
    why: "this host builds, by one frontend",
    instead: "`cowlab build`; a shell's loop for several targets",
};
const BUILD_CACHE: Reason = Reason {
    what: "parts of the build cache",
    why: "the cache goes by steps, and its layers are those of images",
    instead: "`--no-cache` runs every step; `cowlab builder prune` removes what no image needs",
};
const BUILD_INPUTS: Reason = Reason {
    what: "other inputs of a build",
    why: "a build reads its context, its secrets and images alone",
    instead: "`FROM IMAGE AS NAME` for further contexts, `--secret` for keys; `git clone` before the build",
};
const BUILD_RESULTS: Reason = Reason {
    what: "other results of a build",
    why: "the result is an image of the root",
    instead: "`cowlab save`, `cowlab push`, or `cowlab export` of a container that `cowlab create` made of it",
};
const CHECKPOINTS: Reason = Reason {
    what: "checkpoints",
    why: "the memory of processes is not saved",
    instead: "`cowlab commit` saves the files",
};
const CLIENT: Reason = Reason {
    what: "connections to a daemon",
    why: "there is no daemon, so nothing to connect to",
    instead: "`--root DIR` names a root; the user's registries are in docker's `config.json`, below `$DOCKER_CONFIG`",
};
const LOGGING: Reason = Reason {
    what: "the client's log",
    why: "the environment says it for every command",
    instead: "`COWLAB_LOG=debug`; the version is `cowlab version`",
};
const EVENTS: Reason = Reason {
    what: "events",
    why: "no daemon sees them all",
    instead: "`cowlab wait` waits for an end, `cowlab ps --format json` tells the states",
};
const HEALTH: Reason = Reason {
    what: "health checks",
    why: "no daemon runs health checks",
    instead: "call `cowlab exec NAME PROGRAM` from a timer",
};
const HISTORY: Reason = Reason {
    what: "other forms of a history",
    why: "sizes and dates are written for people",
    instead: "`--json` has numbers",
};
const CONFIGURATION: Reason = Reason {
    what: "changes of an image's configuration",
    why: "an image keeps the configuration that it came with",
    instead: "the flags of `cowlab create` say it for a container; or `cowlab save`, change it there, `cowlab load`",
};
const IMAGES: Reason = Reason {
    what: "pulling within run",
    why: "`run` and `create` take images that are here",
    instead: "`cowlab pull` before",
};
const INIT: Reason = Reason {
    what: "an init process",
    why: "no program is added to a container",
    instead: "`--entrypoint` an init that the image has",
};
const KEYS: Reason = Reason {
    what: "keys that detach from an exec",
    why: "a program of an exec is a child of the command",
    instead: "`cowlab exec -d` leaves it running",
};
const LIMITS: Reason = Reason {
    what: "limits of resources",
    why: "cowlab limits no resources",
    instead: "write them to its cgroup, `cowlab/ID` below `/sys/fs/cgroup`; a program has the caller's `ulimit`; `--mount type=tmpfs,target=/dev/shm,tmpfs-size=1g` is a larger /dev/shm",
};
const LINES: Reason = Reason {
    what: "parts of a log",
    why: "lines are selected by their number",
    instead: "`cowlab logs -t` or `--json` prints when each came",
};
const LOG_DRIVERS: Reason = Reason {
    what: "other logs",
    why: "every log is docker's json-file",
    instead: "`--log-opt` limits it, and `cowlab logs -f` hands it on",
};
const NAMES: Reason = Reason {
    what: "the way to resolve names",
    why: "names are resolved by the files that the container has",
    instead: "`-v FILE:/etc/hosts` and `-v FILE:/etc/resolv.conf`",
};
const NAMESPACES: Reason = Reason {
    what: "namespaces of others",
    why: "a container has namespaces of its own, with the kernel's settings in them",
    instead: "nsenter(1) enters them by the `State.Pid` of `cowlab inspect`",
};
const NETWORKS: Reason = Reason {
    what: "networks",
    why: "there are two networks, `none` and `host`",
    instead: "`--network host` gives a container the host's",
};
const OUTPUT: Reason = Reason {
    what: "parts of the streams",
    why: "`run` attaches all streams, and `run -d` none",
    instead: "redirect them in the shell",
};
const PLATFORMS: Reason = Reason {
    what: "images of other machines",
    why: "an index is read for this machine, and programs of others cannot run on it",
    instead: "pull by the digest of the manifest that you mean",
};
const PLUGINS: Reason = Reason {
    what: "plugins",
    why: "drivers and the runtime are part of the program, and volumes are directories of the host",
    instead: "mount what you like on the host, and `-v DIR:TARGET`; `--driver` is the storage driver",
};
const PORTS: Reason = Reason {
    what: "ports",
    why: "a container has no network of its own to publish ports of",
    instead: "`--network host` gives it the host's",
};
const PRIVILEGES: Reason = Reason {
    what: "other privileges",
    why: "every container has docker's default capabilities and devices",
    instead: "`--user USER:GROUP` sets its group; what needs other privileges runs on the host",
};
const RENAME: Reason = Reason {
    what: "renaming",
    why: "a name is given once",
    instead: "`--name` when it is made",
};
const RESTARTS: Reason = Reason {
    what: "restart policies",
    why: "no daemon starts a container again",
    instead: "a systemd unit with `ExecStart=cowlab run --rm ...` and `Restart=always`",
};
const SEARCH: Reason = Reason {
    what: "searching registries",
    why: "registries search each in a way of its own",
    instead: "search on the registry's web pages",
};
const STATISTICS: Reason = Reason {
    what: "processes and their use",
    why: "the host's tools show them",
    instead: "ps(1) and systemd-cgtop(1) on the host: the cgroup is `cowlab/ID`; `cowlab ps -s` for storage",
};
const SWARM: Reason = Reason {
    what: "clusters",
    why: "cowlab works on one host",
    instead: "secrets and configurations are files: `-v FILE:TARGET:ro`",
};
const TOGETHER: Reason = Reason {
    what: "several containers at once",
    why: "a container is made by a command",
    instead: "a shell script",
};
const TRUST: Reason = Reason {
    what: "signatures and manifests",
    why: "an image is checked against its digests alone",
    instead: "pull by digest, `NAME@sha256:...`; cosign and skopeo do the rest",
};
const USE: Reason = Reason {
    what: "other forms of what is here",
    why: "another command does it",
    instead: "`cowlab layer tree` for layers, `cowlab inspect` or `--json` for all that is known, `cowlab volume prune` for volumes, a shell's loop for several names",
};
const WINDOWS: Reason = Reason {
    what: "what Windows alone has",
    why: "this is Linux",
    instead: "leave it out",
};

/// docker's flags before the verb.
const GLOBAL: &[(&str, &Reason)] = &[
    (
        "--config -c --context -H --host --tls --tlscacert --tlscert --tlskey --tlsverify",
        &CLIENT,
    ),
    ("-D --debug -l --log-level -v", &LOGGING),
];

/// Verbs that are left out.
const ABSENT: &[(&str, &Reason)] = &[
    ("buildx", &BUILDERS),
    ("checkpoint", &CHECKPOINTS),
    ("compose", &TOGETHER),
    ("container port", &PORTS),
    ("port", &PORTS),
    ("container rename", &RENAME),
    ("rename", &RENAME),
    ("container stats", &STATISTICS),
    ("container top", &STATISTICS),
    ("stats", &STATISTICS),
    ("top", &STATISTICS),
    ("container update", &LIMITS),
    ("update", &LIMITS),
    ("context", &CLIENT),
    ("events", &EVENTS),
    ("system events", &EVENTS),
    ("manifest", &TRUST),
    ("trust", &TRUST),
    ("network", &NETWORKS),
    ("plugin", &PLUGINS),
    ("search", &SEARCH),
    ("config", &SWARM),
    ("node", &SWARM),
    ("secret", &SWARM),
    ("service", &SWARM),
    ("stack", &SWARM),
    ("swarm", &SWARM),
    ("volume update", &SWARM),
];

const NO_TRUST: (&str, &str) = (
    "--disable-content-trust",
    "there is no content trust to turn off",
);
const NO_HEALTH: (&str, &str) = ("--no-healthcheck", "no health is checked anyway");

/// Flags of `run` and `create` that are left out.
const OF_CONTAINERS: &[(&str, &Reason)] = &[
    ("-p --publish -P --publish-all --expose", &PORTS),
    (
        "--ip --ip6 --link --link-local-ip --mac-address --network-alias",
        &NETWORKS,
    ),
    (
        "--add-host --dns --dns-option --dns-search --domainname",
        &NAMES,
    ),
    (
        "-m --memory --memory-reservation --memory-swap --memory-swappiness --kernel-memory --cpu-period --cpu-quota \
         --cpu-rt-period --cpu-rt-runtime -c --cpu-shares --cpus --cpuset-cpus --cpuset-mems --pids-limit --blkio-weight \
         --blkio-weight-device --device-read-bps --device-read-iops --device-write-bps --device-write-iops --oom-kill-disable \
         --oom-score-adj --ulimit --shm-size --cgroup-parent",
        &LIMITS,
    ),
    (
        "--health-cmd --health-interval --health-retries --health-start-interval --health-start-period --health-timeout",
        &HEALTH,
    ),
    ("--restart", &RESTARTS),
    (
        "--privileged --cap-add --cap-drop --device --device-cgroup-rule --gpus --group-add",
        &PRIVILEGES,
    ),
    (
        "--pid --ipc --uts --userns --cgroupns --sysctl",
        &NAMESPACES,
    ),
    ("--init", &INIT),
    ("--pull -q --quiet", &IMAGES),
    ("--platform", &PLATFORMS),
    ("--log-driver", &LOG_DRIVERS),
    ("--volume-driver --runtime", &PLUGINS),
    ("-a --attach", &OUTPUT),
    ("--use-api-socket", &CLIENT),
    ("--annotation --cidfile --stop-timeout", &RECORD),
    (
        "--cpu-count --cpu-percent --io-maxbandwidth --io-maxiops --isolation",
        &WINDOWS,
    ),
];

const RECORD: Reason = Reason {
    what: "other facts of a container",
    why: "they are said in another way",
    instead: "`--label` for annotations, `cowlab create > FILE` for a file with the id, `cowlab stop -t` for the time to end",
};

const VERBS: &[Verb] = &[
    Verb {
        names: &["run", "container run"],
        here: "-d --detach --detach-keys -e --env --env-file --entrypoint -h --hostname -i --interactive -l --label --label-file \
               --log-opt --mount --name --network --read-only --rm --security-opt --sig-proxy --stop-signal --storage-opt --tmpfs \
               -t --tty -u --user -v --volume --volumes-from -w --workdir",
        idle: &[NO_HEALTH, NO_TRUST],
        own: "--storage-stats",
        refused: OF_CONTAINERS,
    },
    Verb {
        names: &["create", "container create"],
        here: "-e --env --env-file --entrypoint -h --hostname -i --interactive -l --label --label-file --log-opt --mount --name \
               --network --read-only --rm --security-opt --stop-signal --storage-opt --tmpfs -t --tty -u --user -v --volume \
               --volumes-from -w --workdir",
        idle: &[NO_HEALTH, NO_TRUST],
        refused: OF_CONTAINERS,
        ..VERB
    },
    Verb {
        names: &["exec", "container exec"],
        here: "-d --detach -e --env --env-file -i --interactive -t --tty -u --user -w --workdir",
        refused: &[("--privileged", &PRIVILEGES), ("--detach-keys", &KEYS)],
        ..VERB
    },
    Verb {
        names: &["start", "container start"],
        here: "-a --attach --detach-keys -i --interactive",
        refused: &[("--checkpoint --checkpoint-dir", &CHECKPOINTS)],
        ..VERB
    },
    Verb {
        names: &["attach", "container attach"],
        here: "--detach-keys --no-stdin --sig-proxy",
        ..VERB
    },
    Verb {
        names: &["stop", "container stop"],
        here: "-s --signal -t --timeout",
        own: "--time",
        ..VERB
    },
    Verb {
        names: &["restart", "container restart"],
        here: "-s --signal -t --timeout",
        own: "--time",
        ..VERB
    },
    Verb {
        names: &["kill", "container kill"],
        here: "-s --signal",
        ..VERB
    },
    Verb {
        names: &["pause", "container pause"],
        ..VERB
    },
    Verb {
        names: &["unpause", "container unpause"],
        ..VERB
    },
    Verb {
        names: &["wait", "container wait"],
        ..VERB
    },
    Verb {
        names: &["rm", "container rm"],
        here: "-f --force -v --volumes",
        refused: &[("-l --link", &NETWORKS)],
        ..VERB
    },
    Verb {
        names: &["ps", "container ls", "container ps", "container list"],
        here: "-a --all -f --filter --format -n --last -l --latest --no-trunc -q --quiet -s --size",
        ..VERB
    },
    Verb {
        names: &["logs", "container logs"],
        here: "-f --follow -n --tail -t --timestamps",
        refused: &[("--details --since --until", &LINES)],
        ..VERB
    },
    Verb {
        names: &["inspect"],
        here: "-f --format -s --size --type",
        ..VERB
    },
    Verb {
        names: &["container inspect"],
        here: "-f --format -s --size",
        ..VERB
    },
    Verb {
        names: &["diff", "container diff"],
        ..VERB
    },
    Verb {
        names: &["cp", "container cp"],
        here: "-a --archive -L --follow-link",
        idle: &[("-q --quiet", "no progress is printed anyway")],
        ..VERB
    },
    Verb {
        names: &["build", "image build", "builder build"],
        here: "--build-arg --cache-from --cache-to -f --file --iidfile --label --metadata-file --network --no-cache --progress --pull -q \
               --quiet --secret -t --tag --target",
        idle: &[
            NO_TRUST,
            ("--compress", "the context is nowhere sent to"),
            (
                "--force-rm --rm",
                "the containers of steps are always removed",
            ),
            ("--load", "the image is in the root anyway"),
            ("--provenance --sbom", "`false` turns off what is not made"),
        ],
        own: "--advise --creds --discard-blobs --strict --tls-verify",
        refused: &[
            ("--add-host", &NAMES),
            ("--allow --security-opt", &PRIVILEGES),
            ("--annotation --attest", &ATTESTATIONS),
            ("--build-context --ssh", &BUILD_INPUTS),
            ("--builder --call --check", &BUILDERS),
            ("--no-cache-filter", &BUILD_CACHE),
            (
                "--cgroup-parent --cpu-period --cpu-quota -c --cpu-shares --cpuset-cpus --cpuset-mems -m --memory --memory-swap \
                 --shm-size --ulimit",
                &LIMITS,
            ),
            ("-D --debug", &LOGGING),
            ("--isolation", &WINDOWS),
            ("-o --output --push --squash", &BUILD_RESULTS),
            ("--platform", &PLATFORMS),
        ],
    },
    Verb {
        names: &["builder prune"],
        here: "-a --all -f --force",
        refused: &[
            ("--builder", &BUILDERS),
            (
                "--filter --keep-storage --max-used-space --min-free-space --reserved-space --verbose",
                &BUILD_CACHE,
            ),
        ],
        ..VERB
    },
    Verb {
        names: &["commit", "container commit"],
        here: "-m --message -p --pause",
        refused: &[("-a --author -c --change", &CONFIGURATION)],
        ..VERB
    },
    Verb {
        names: &["export", "container export"],
        here: "-o --output",
        ..VERB
    },
    Verb {
        names: &["images", "image ls", "image list"],
        here: "--digests -f --filter --format --no-trunc -q --quiet",
        idle: &[("-a --all", "no image is an intermediate one")],
        refused: &[("--tree", &USE)],
        ..VERB
    },
    Verb {
        names: &["image inspect"],
        here: "-f --format",
        refused: &[("--platform", &PLATFORMS)],
        ..VERB
    },
    Verb {
        names: &["history", "image history"],
        here: "--format --no-trunc -q --quiet",
        refused: &[("-H --human", &HISTORY), ("--platform", &PLATFORMS)],
        ..VERB
    },
    Verb {
        names: &["pull", "image pull"],
        here: "-q --quiet",
        idle: &[NO_TRUST],
        own: "--creds --tls-verify --discard-blobs --strict",
        refused: &[("-a --all-tags", &USE), ("--platform", &PLATFORMS)],
    },
    Verb {
        names: &["push", "image push"],
        here: "-q --quiet",
        idle: &[NO_TRUST],
        own: "--creds --tls-verify",
        refused: &[("-a --all-tags", &USE), ("--platform", &PLATFORMS)],
    },
    Verb {
        names: &["login"],
        here: "-u --username -p --password --password-stdin",
        own: "--tls-verify",
        ..VERB
    },
    Verb {
        names: &["logout"],
        ..VERB
    },
    Verb {
        names: &["load", "image load"],
        here: "-i --input -q --quiet",
        own: "--discard-blobs --strict",
        refused: &[("--platform", &PLATFORMS)],
        ..VERB
    },
    Verb {
        names: &["save", "image save"],
        here: "-o --output",
        own: "--format",
        refused: &[("--platform", &PLATFORMS)],
        ..VERB
    },
    Verb {
        names: &["import", "image import"],
        here: "-m --message",
        own: "--discard-blobs --strict",
        refused: &[("-c --change", &CONFIGURATION), ("--platform", &PLATFORMS)],
        ..VERB
    },
    Verb {
        names: &["tag", "image tag"],
        ..VERB
    },
    Verb {
        names: &["rmi", "image rm", "image remove"],
        here: "-f --force",
        refused: &[("--no-prune", &USE), ("--platform", &PLATFORMS)],
        ..VERB
    },
    Verb {
        names: &["volume create"],
        here: "--label",
        idle: &[(
            "--driver",
            "`local` is the only driver of volumes, and any other name is a driver of the root",
        )],
        refused: &[
            ("-d -o --opt", &PLUGINS),
            (
                "--availability --group --limit-bytes --required-bytes --scope --secret --sharing --topology-preferred \
                 --topology-required --type",
                &SWARM,
            ),
        ],
        ..VERB
    },
    Verb {
        names: &["volume ls", "volume list"],
        here: "-f --filter --format -q --quiet",
        refused: &[("--cluster", &SWARM)],
        ..VERB
    },
    Verb {
        names: &["volume inspect"],
        here: "-f --format",
        ..VERB
    },
    Verb {
        names: &["volume rm", "volume remove"],
        here: "-f --force",
        ..VERB
    },
    Verb {
        names: &["volume prune"],
        here: "-a --all --filter -f --force",
        ..VERB
    },
    Verb {
        names: &["container prune"],
        here: "--filter -f --force",
        ..VERB
    },
    Verb {
        names: &["image prune"],
        here: "-a --all --filter -f --force",
        ..VERB
    },
    Verb {
        names: &["completion"],
        ..VERB
    },
    Verb {
        names: &["version"],
        here: "-f --format",
        ..VERB
    },
    Verb {
        names: &["info", "system info"],
        here: "-f --format",
        ..VERB
    },
    Verb {
        names: &["system df"],
        here: "--format",
        refused: &[("-v --verbose", &USE)],
        ..VERB
    },
    Verb {
        names: &["system prune"],
        here: "-a --all --filter",
        idle: &[("-f --force", "nothing is asked")],
        refused: &[("--volumes", &USE)],
        ..VERB
    },
];

/// Whether a list of flags has one.
fn has(flags: &str, flag: &str) -> bool {
    flags.split_whitespace().any(|one| one == flag)
}

/// The verbs that begin a command line, up to two of them.
fn verb_of(words: &[OsString]) -> Vec<&str> {
    let words = words.iter().skip(1).skip_while(|word| *word == "help");
    let verbs = words.map_while(|word| word.to_str());
    let verbs: Vec<_> = verbs.take_while(|word| !word.starts_with('-')).collect();
    let count = match verbs.first() {
        Some(&("container" | "image" | "volume" | "system")) => 2,
        _ => 1,
    };
    verbs.into_iter().take(count).collect()
}

/// What is said of a command line with something of docker's that is left out; `None` where docker has it neither.
pub(crate) fn refusal(error: &clap::Error, words: &[OsString]) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let verb = verb_of(words).join(" ");
    let said = |what: &str, reason: &Reason| {
        let Reason { why, instead, .. } = reason;
        Some(format!("docker's `{what}` is not here: {why}; {instead}"))
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let (name, reason) = ABSENT.iter().find(|(name, _)| *name == verb)?;
            said(name, reason)
        }
        ErrorKind::UnknownArgument => {
            let flag = text(ContextKind::InvalidArg)?;
            let found = VERBS.iter().find(|one| one.names.contains(&verb.as_str()));
            let refused = match (found, verb.as_str()) {
                (Some(found), _) => found.refused,
                (None, "") => GLOBAL,
                _ => return None,
            };
            let (_, reason) = refused.iter().find(|(flags, _)| has(flags, flag))?;
            said(format!("{verb} {flag}").trim_start(), reason)
        }
        ErrorKind::InvalidValue if text(ContextKind::InvalidArg)?.starts_with("--network") => {
            let value = text(ContextKind::InvalidValue)?;
            said(&format!("{verb} --network {value}"), &NETWORKS)
        }
        _ => None,
    }
}

/// Flags as they are printed.
fn quoted(flags: &str) -> String {
    let flags: Vec<_> = flags
        .split_whitespace()
        .map(|flag| format!("`{flag}`"))
        .collect();
    flags.join(" ")
}

/// The reasons with the verbs, and the flags and their verbs, that are left out for them, by what they are about.
fn reasons() -> BTreeMap<&'static str, (&'static Reason, Vec<&'static str>, Vec<String>)> {
    let mut all: BTreeMap<_, (&Reason, Vec<_>, Vec<_>)> = BTreeMap::new();
    for (verb, reason) in ABSENT {
        let (_, verbs, _) = all
            .entry(reason.what)
            .or_insert((*reason, Vec::new(), Vec::new()));
        verbs.push(*verb);
    }
    let global = GLOBAL.iter().map(|(flags, reason)| ("", *flags, *reason));
    let flags = VERBS.iter().flat_map(|verb| {
        let refused = verb.refused.iter();
        // Those of `create` are those of `run`.
        let refused = refused.filter(|_| verb.names[0] != "create");
        refused.map(|(flags, reason)| (verb.names[0], *flags, *reason))
    });
    for (verb, flags, reason) in global.chain(flags) {
        let (_, _, all) = all
            .entry(reason.what)
            .or_insert((reason, Vec::new(), Vec::new()));
        let flags = quoted(flags);
        all.push(match verb {
            "" => format!("{flags} before the verb"),
            "run" => flags,
            verb => format!("{flags} of `{verb}`"),
        });
    }
    all
}

fn quoted_verbs(verbs: &[&str]) -> String {
    let verbs: Vec<_> = verbs.iter().map(|verb| format!("`{verb}`")).collect();
    verbs.join(", ")
}

/// A table of Markdown.
fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut lines = vec![
        format!("| {} |", header.join(" | ")),
        format!("|{}", "---|".repeat(header.len())),
    ];
    lines.extend(rows.iter().map(|row| format!("| {} |", row.join(" | "))));
    lines.join("\n") + "\n"
}

/// What README.md has of the table: the verbs, and the flags that many miss.
fn verbs() -> String {
    let here: Vec<_> = VERBS.iter().map(|verb| verb.names[0]).collect();
    let mut rows = vec![vec![quoted_verbs(&here), "here".to_owned()]];
    for (reason, verbs, flags) in reasons().into_values() {
        let missed = [HEALTH.what, RESTARTS.what, PRIVILEGES.what].contains(&reason.what);
        if verbs.is_empty() && !missed {
            continue;
        }
        let flags = flags
            .first()
            .map(|flags| flags.split(' ').next().unwrap_or_default());
        let mut names: Vec<_> = verbs.iter().map(|verb| format!("`{verb}`")).collect();
        names.extend(flags.map(|flag| format!("{flag} ...")));
        let what = format!("{}: {}", reason.what, names.join(", "));
        rows.push(vec![what, reason.why.to_owned()]);
    }
    table(&["docker's", "here, or why not"], &rows)
}

/// The whole table.
fn page() -> String {
    let here = VERBS.iter().map(|verb| {
        let idle = verb.idle.iter();
        let idle: Vec<_> = idle
            .map(|(flags, why)| format!("{}: {why}", quoted(flags)))
            .collect();
        let name = format!("`{}`", verb.names[0]);
        vec![name, quoted(verb.here), idle.join("; "), quoted(verb.own)]
    });
    let here = table(
        &[
            "verb",
            "docker's flags",
            "taken without an effect",
            "cowlab's own",
        ],
        &here.collect::<Vec<_>>(),
    );
    let left_out = reasons().into_values().map(|(reason, verbs, flags)| {
        let verbs = verbs.iter().map(|verb| format!("`{verb}`"));
        let all: Vec<_> = verbs.chain(flags).collect();
        let Reason { what, why, instead } = reason;
        vec![
            (*what).to_owned(),
            all.join(", "),
            (*why).to_owned(),
            (*instead).to_owned(),
        ]
    });
    let left_out = table(
        &["what", "verbs and flags", "why", "instead"],
        &left_out.collect::<Vec<_>>(),
    );
    format!(
        "# docker's verbs and flags: here, or why not\n\n\
         `cowlab docker` prints this page; what is left out is refused by the same table. The verbs and flags are those of docker's\n\
         client 28.2.2. docker's other names of a verb (`container ls`, `image rm`) are here too.\n\n\
         ## Here\n\nVerbs that work on a root have {} as well.\n\n{here}\n\
         ## Left out\n\nFlags without a verb are those of `run` and `create`.\n\n{left_out}",
        quoted(EVERYWHERE)
    )
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let text = if args.verbs { verbs() } else { page() };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::*;

    /// The command of a verb.
    fn found<'a>(program: &'a Command, verb: &str) -> Option<&'a Command> {
        let mut words = verb.split(' ');
        words.try_fold(program, |command, word| command.find_subcommand(word))
    }

    fn program() -> Command {
        let mut program = crate::Cli::command();
        program.build();
        program
    }

    /// Every flag of a command, in every way that it can be written.
    fn flags(command: &Command) -> Vec<String> {
        let mut all = Vec::new();
        for argument in command.get_arguments() {
            let long = argument.get_long_and_visible_aliases().unwrap_or_default();
            all.extend(long.into_iter().map(|name| format!("--{name}")));
            let short = argument.get_short_and_visible_aliases().unwrap_or_default();
            all.extend(short.into_iter().map(|name| format!("-{name}")));
        }
        all
    }

    /// A flattened struct of flags with a doc comment would give all commands that have it one description.
    #[test]
    fn every_command_has_a_description_of_its_own() {
        fn check(command: &Command) {
            let mut seen = std::collections::BTreeSet::new();
            for verb in command.get_subcommands() {
                let about = verb
                    .get_about()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(
                    verb.is_hide_set() || seen.insert(about),
                    "{}",
                    verb.get_name()
                );
                check(verb);
            }
        }
        check(&program());
    }

    #[test]
    fn the_table_has_the_flags_of_the_program() {
        let program = program();
        for verb in VERBS {
            let idle: Vec<_> = verb.idle.iter().map(|(flags, _)| *flags).collect();
            let here = format!("{} {}", verb.here, idle.join(" "));
            let refused: Vec<_> = verb.refused.iter().map(|(flags, _)| *flags).collect();
            let refused = refused.join(" ");
            for name in verb.names {
                let command = found(&program, name).unwrap_or_else(|| panic!("no `{name}`"));
                let flags = flags(command);
                for flag in here.split_whitespace() {
                    assert!(
                        flags.iter().any(|one| one == flag),
                        "`{name} {flag}` is not in the program"
                    );
                }
                // What `--driver` names here is not the driver of a volume.
                let refused = refused.split_whitespace();
                for flag in refused.filter(|flag| !has(EVERYWHERE, flag)) {
                    assert!(
                        !flags.iter().any(|one| one == flag),
                        "`{name} {flag}` is in the program"
                    );
                }
                for flag in &flags {
                    let known = [&here, verb.own, EVERYWHERE];
                    let is_known = known.iter().any(|flags| has(flags, flag));
                    assert!(is_known, "`{name} {flag}` is not in the table");
                }
            }
        }
    }

    #[test]
    fn the_table_has_the_verbs_of_the_program() {
        let program = program();
        for (verb, _) in ABSENT {
            assert!(
                found(&program, verb).is_none(),
                "`{verb}` is in the program"
            );
        }
        let known = |name: &str| VERBS.iter().any(|verb| verb.names.contains(&name));
        let own = OWN.split_whitespace().collect::<Vec<_>>();
        for command in program.get_subcommands() {
            let name = command.get_name();
            if ["builder", "container", "image", "volume", "system"].contains(&name) {
                for command in command.get_subcommands() {
                    let name = format!("{name} {}", command.get_name());
                    let is_known = known(&name) || own.contains(&command.get_name());
                    assert!(is_known, "`{name}` is not in the table");
                }
            } else {
                assert!(
                    known(name) || own.contains(&name),
                    "`{name}` is not in the table"
                );
            }
        }
    }

    /// Commands that docker has not.
    const OWN: &str = "conformance bench report sweep guest layer snapshot where unshare monitor docker man help check";

    #[test]
    fn docker_has_what_the_table_has() {
        // `docker VERB --help` of the client 28.2.2: its flags, a verb a line.
        for line in include_str!("docker/flags.txt").lines() {
            let (verb, flags) = line.split_once(':').unwrap();
            if ABSENT.iter().any(|(absent, _)| *absent == verb) {
                continue;
            }
            let found = VERBS.iter().find(|one| one.names.contains(&verb));
            let found = found.unwrap_or_else(|| panic!("`{verb}` is not in the table"));
            let idle = found.idle.iter().map(|(flags, _)| *flags);
            let refused = found.refused.iter().map(|(flags, _)| *flags);
            let all: Vec<_> = idle.chain(refused).chain([found.here]).collect();
            let all = all.join(" ");
            for flag in flags.split_whitespace() {
                assert!(has(&all, flag), "`{verb} {flag}` is not in the table");
            }
            if found.names[0] == verb && verb != "create" {
                for flag in all.split_whitespace() {
                    assert!(has(flags, flag), "docker has no `{verb} {flag}`");
                }
            }
        }
    }

    #[test]
    fn the_pages_have_the_table() {
        let page = super::page();
        assert!(
            include_str!("../../DOCKER.md") == page,
            "`cowlab docker > runtime/DOCKER.md` writes it"
        );
        let verbs = super::verbs();
        assert!(
            include_str!("../../../README.md").contains(&verbs),
            "README.md has another table than this:\n{verbs}"
        );
    }
}
