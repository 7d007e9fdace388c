//! The tasks, and how each tool does them.

use std::fs;
use std::path::Path;

use cowlab_driver::Missing;
use cowlab_sys::Cmd;
use serde_json::{Value, json};

use super::build::{self, Builder, Cached};
use super::place::{CHANGE, MANY, Place, SAMPLE, cowlab_load, local, reference};

/// A task that several tools do.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) name: &'static str,
    /// What is timed.
    pub(super) what: &'static str,
    /// The first is cowlab's.
    pub(super) arms: &'static [Arm],
    pub(super) blocks: usize,
    /// Turns of each arm in a block.
    pub(super) rounds: u32,
}

/// A tool at a task.
#[derive(Debug)]
pub(super) struct Arm {
    pub(super) tool: Tool,
    pub(super) label: &'static str,
    /// The directory of what is made ready once; arms of the same share it.
    pub(super) home: &'static str,
    pub(super) set_up: fn(&Place, &str) -> anyhow::Result<()>,
    /// What is timed.
    pub(super) timed: fn(&Turn<'_>) -> anyhow::Result<Vec<Cmd>>,
    /// What takes it back, besides removing the turn's directory.
    pub(super) undo: fn(&Turn<'_>) -> Vec<Cmd>,
    /// cowlab's time over this tool's, at most, where that was promised.
    pub(super) budget: Option<f64>,
}

/// One turn of an arm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) place: &'a Place,
    pub(super) home: &'a str,
    /// A name that no other turn has.
    pub(super) name: &'a str,
    /// A directory of the turn's own, which is there and empty.
    pub(super) dir: &'a Path,
}

/// Whose programs an arm needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    Cowlab,
    Tar,
    Umoci,
    Podman,
    Buildah,
    Docker,
    Containerd,
    Runc,
}

impl Tool {
    /// What is not installed, with the command that installs it.
    pub(super) fn missing(self) -> Option<Missing> {
        let programs: &[(&str, &str)] = match self {
            Self::Cowlab => &[],
            Self::Tar => &[("tar", "tar")],
            Self::Umoci => &[("umoci", "umoci")],
            Self::Podman => &[("podman", "podman")],
            Self::Buildah => &[("buildah", "buildah"), ("runc", "runc")],
            Self::Docker => &[("dockerd", "docker.io"), ("docker", "docker.io")],
            Self::Containerd => &[
                ("containerd", "containerd"),
                ("ctr", "containerd"),
                ("runc", "runc"),
            ],
            Self::Runc => &[("runc", "runc"), ("umoci", "umoci")],
        };
        let (program, package) = programs
            .iter()
            .find(|(program, _)| Cmd::find(program).is_none())?;
        Some(Missing {
            what: format!("the program `{program}`"),
            remedy: format!("apt-get install {package}"),
        })
    }
}

/// The defaults of an arm: nothing to make ready or to take back.
const ARM: Arm = Arm {
    tool: Tool::Cowlab,
    label: "cowlab",
    home: "nothing",
    set_up: |_, _| Ok(()),
    timed: |_| Ok(Vec::new()),
    undo: |_| Vec::new(),
    budget: None,
};

/// Every task.
pub(super) const TASKS: &[Task] = &[
    Task {
        name: "unpack",
        what: "unpacking an image of 11 layers that is on the disk already",
        blocks: 3,
        rounds: 2,
        arms: &[
            UNPACK,
            Arm {
                label: "cowlab again",
                ..UNPACK
            },
            Arm {
                tool: Tool::Tar,
                label: "tar, layer by layer",
                timed: unpack_by_tar,
                budget: Some(1.5),
                ..ARM
            },
            Arm {
                tool: Tool::Umoci,
                label: "umoci unpack",
                timed: |turn| Ok(vec![umoci_unpack(turn.place, SAMPLE, turn.dir)]),
                ..ARM
            },
            Arm {
                tool: Tool::Podman,
                label: "podman pull",
                timed: |turn| Ok(vec![podman_pull(turn.place, turn.name, SAMPLE)]),
                budget: Some(0.5),
                ..ARM
            },
            Arm {
                tool: Tool::Containerd,
                label: "ctr image import",
                set_up: |place, _| place.ctr().map(drop),
                timed: |turn| Ok(vec![ctr_import(turn.place, SAMPLE)?]),
                undo: |turn| {
                    let remove = ["image", "rm", "--sync", &reference(SAMPLE)];
                    turn.place
                        .ctr()
                        .map(|ctr| ctr.args(remove))
                        .into_iter()
                        .collect()
                },
                budget: Some(0.5),
                ..ARM
            },
        ],
    },
    Task {
        name: "run",
        what: "running /bin/true in a container that is made for it and removed",
        blocks: 5,
        rounds: 5,
        arms: &[
            RUN,
            Arm {
                label: "cowlab again",
                ..RUN
            },
            Arm {
                tool: Tool::Runc,
                label: "runc run, on a directory",
                home: "run-runc",
                set_up: runc_bundle,
                timed: |turn| {
                    let bundle = turn.place.dir(turn.home);
                    let command = Cmd::new("runc").args(["run", "--bundle"]).arg(bundle);
                    Ok(vec![command.arg(turn.name)])
                },
                ..ARM
            },
            Arm {
                tool: Tool::Podman,
                label: "podman run",
                home: "run-podman",
                set_up: |place, home| Ok(podman_pull(place, home, SAMPLE).run()?),
                timed: |turn| {
                    let run = podman_run(turn.place, turn.home).arg("--rm");
                    Ok(vec![run.args([&local(SAMPLE), "/bin/true"])])
                },
                budget: Some(0.2),
                ..ARM
            },
            Arm {
                tool: Tool::Containerd,
                label: "ctr run",
                home: "run-containerd",
                set_up: |place, _| Ok(ctr_import(place, SAMPLE)?.run()?),
                timed: |turn| {
                    let run = turn.place.ctr()?.args(["run", "--rm"]);
                    Ok(vec![run.args([&reference(SAMPLE), turn.name, "/bin/true"])])
                },
                budget: Some(0.2),
                ..ARM
            },
        ],
    },
    Task {
        name: "diff",
        what: "listing ten changes among 100,000 files",
        blocks: 3,
        rounds: 3,
        arms: &[
            DIFF,
            Arm {
                label: "cowlab again",
                ..DIFF
            },
            Arm {
                tool: Tool::Podman,
                label: "podman diff",
                home: "many-podman",
                set_up: podman_changed,
                timed: |turn| Ok(vec![turn.place.podman(turn.home).args(["diff", CHANGED])]),
                ..ARM
            },
        ],
    },
    Task {
        name: "commit",
        what: "making an image of ten changes among 100,000 files",
        blocks: 3,
        rounds: 3,
        arms: &[
            COMMIT,
            Arm {
                label: "cowlab again",
                ..COMMIT
            },
            Arm {
                tool: Tool::Podman,
                label: "podman commit",
                home: "many-podman",
                set_up: podman_changed,
                timed: |turn| {
                    let commit = ["commit", "--quiet", CHANGED, turn.name];
                    Ok(vec![turn.place.podman(turn.home).args(commit)])
                },
                undo: |turn| vec![turn.place.podman(turn.home).args(["rmi", turn.name])],
                ..ARM
            },
            Arm {
                tool: Tool::Containerd,
                label: "ctr snapshots diff",
                home: "commit-containerd",
                set_up: |place, _| {
                    ctr_import(place, MANY)?.run()?;
                    let run = place.ctr()?.args(["run", &reference(MANY), CHANGED]);
                    Ok(run.args(["sh", "-c", CHANGE]).run()?)
                },
                timed: |turn| {
                    let ctr = turn.place.ctr()?;
                    Ok(vec![ctr.args(["snapshots", "diff", CHANGED])])
                },
                ..ARM
            },
            Arm {
                tool: Tool::Umoci,
                label: "umoci repack",
                home: "commit-umoci",
                set_up: |place, home| {
                    let dir = place.fresh(home)?;
                    umoci_unpack(place, MANY, &dir).run()?;
                    let inside = Cmd::new("chroot").arg(dir.join("bundle/rootfs"));
                    Ok(inside.args(["sh", "-c", CHANGE]).run()?)
                },
                timed: |turn| {
                    let bundle = turn.place.dir(turn.home).join("bundle");
                    let image = format!("{}:{}", turn.place.layout(MANY).display(), turn.name);
                    let repack = Cmd::new("umoci").args(["repack", "--image", &image]);
                    Ok(vec![repack.arg(bundle)])
                },
                undo: |turn| {
                    let image = format!("{}:{}", turn.place.layout(MANY).display(), turn.name);
                    vec![Cmd::new("umoci").args(["rm", "--image", &image])]
                },
                ..ARM
            },
        ],
    },
    Task {
        name: "build",
        what: "building an image of 20 steps on a Debian root, none of them cached",
        blocks: 3,
        rounds: 3,
        arms: &[
            BUILD,
            Arm {
                label: "cowlab again",
                ..BUILD
            },
            Arm {
                timed: |turn| {
                    one(build::buildah(
                        turn.place,
                        turn.home,
                        turn.name,
                        Cached::Not,
                    ))
                },
                undo: |turn| build::buildah_undo(turn.place, turn.home, turn.name),
                ..BUILDAH
            },
            Arm {
                timed: |turn| {
                    one(build::docker(
                        turn.place,
                        Builder::BuildKit,
                        turn.name,
                        Cached::Not,
                    ))
                },
                ..DOCKER
            },
            Arm {
                label: "docker build, classic",
                timed: |turn| {
                    one(build::docker(
                        turn.place,
                        Builder::Classic,
                        turn.name,
                        Cached::Not,
                    ))
                },
                ..DOCKER
            },
        ],
    },
    Task {
        name: "cached-build",
        what: "building the same image again, every step of it cached",
        blocks: 3,
        rounds: 5,
        arms: &[
            CACHED_BUILD,
            Arm {
                label: "cowlab again",
                ..CACHED_BUILD
            },
            Arm {
                set_up: |place, home| {
                    build::buildah_ready(place, home)?;
                    Ok(build::buildah(place, home, build::NAME, Cached::Wholly)?.run()?)
                },
                home: "cached-build-buildah",
                timed: |turn| {
                    one(build::buildah(
                        turn.place,
                        turn.home,
                        build::NAME,
                        Cached::Wholly,
                    ))
                },
                ..BUILDAH
            },
            Arm {
                set_up: |place, home| {
                    build::docker_ready(place, home)?;
                    let builder = Builder::BuildKit;
                    Ok(build::docker(place, builder, build::NAME, Cached::Wholly)?.run()?)
                },
                home: "cached-build-docker",
                timed: |turn| {
                    one(build::docker(
                        turn.place,
                        Builder::BuildKit,
                        build::NAME,
                        Cached::Wholly,
                    ))
                },
                undo: ARM.undo,
                ..DOCKER
            },
        ],
    },
];

const BUILD: Arm = Arm {
    home: "build-cowlab",
    set_up: build::cowlab_ready,
    timed: |turn| one(build::cowlab(turn.place, turn.home, turn.name, Cached::Not)),
    undo: |turn| build::cowlab_undo(turn.place, turn.home, turn.name),
    ..ARM
};

const CACHED_BUILD: Arm = Arm {
    home: "cached-build-cowlab",
    set_up: |place, home| {
        build::cowlab_ready(place, home)?;
        Ok(build::cowlab(place, home, build::NAME, Cached::Wholly)?.run()?)
    },
    timed: |turn| {
        one(build::cowlab(
            turn.place,
            turn.home,
            build::NAME,
            Cached::Wholly,
        ))
    },
    ..ARM
};

const BUILDAH: Arm = Arm {
    tool: Tool::Buildah,
    label: "buildah build",
    home: "build-buildah",
    set_up: build::buildah_ready,
    ..ARM
};

const DOCKER: Arm = Arm {
    tool: Tool::Docker,
    label: "docker build, BuildKit",
    home: "build-docker",
    set_up: build::docker_ready,
    undo: |turn| build::docker_undo(turn.place, turn.name),
    ..ARM
};

const UNPACK: Arm = Arm {
    timed: |turn| Ok(vec![cowlab_load(turn.place, turn.name, SAMPLE)]),
    ..ARM
};

const RUN: Arm = Arm {
    home: "run-cowlab",
    set_up: |place, home| Ok(cowlab_load(place, home, SAMPLE).run()?),
    timed: |turn| {
        let run = ["run", "--rm", &reference(SAMPLE), "/bin/true"];
        Ok(vec![turn.place.cowlab(turn.home).args(run)])
    },
    ..ARM
};

const DIFF: Arm = Arm {
    home: "many-cowlab",
    set_up: cowlab_changed,
    timed: |turn| Ok(vec![turn.place.cowlab(turn.home).args(["diff", CHANGED])]),
    ..ARM
};

const COMMIT: Arm = Arm {
    home: "many-cowlab",
    set_up: cowlab_changed,
    timed: |turn| {
        let commit = ["commit", CHANGED, turn.name];
        Ok(vec![turn.place.cowlab(turn.home).args(commit)])
    },
    undo: |turn| vec![turn.place.cowlab(turn.home).args(["rmi", turn.name])],
    ..ARM
};

/// A single command.
fn one(command: anyhow::Result<Cmd>) -> anyhow::Result<Vec<Cmd>> {
    Ok(vec![command?])
}

/// The container in which ten changes were made.
const CHANGED: &str = "changed";

fn cowlab_changed(place: &Place, home: &str) -> anyhow::Result<()> {
    cowlab_load(place, home, MANY).run()?;
    let run = ["run", "--name", CHANGED, &reference(MANY)];
    let run = place.cowlab(home).args(run);
    Ok(run.args(["sh", "-c", CHANGE]).run()?)
}

/// By a relative path, for podman names what it pulls from a layout by the whole path.
fn podman_pull(place: &Place, root: &str, image: &str) -> Cmd {
    let pull = ["pull", "--quiet", &format!("oci:{image}")];
    place
        .podman(root)
        .args(pull)
        .current_dir(place.dir("images"))
}

/// Without a network, as cowlab's, and with limits that need no privilege beyond root's usual.
fn podman_run(place: &Place, root: &str) -> Cmd {
    place.podman(root).args([
        "run",
        "--network=none",
        "--ulimit=nofile=1024:1024",
        "--ulimit=nproc=1024:1024",
    ])
}

fn podman_changed(place: &Place, home: &str) -> anyhow::Result<()> {
    podman_pull(place, home, MANY).run()?;
    let run = podman_run(place, home).args(["--name", CHANGED, &local(MANY)]);
    Ok(run.args(["sh", "-c", CHANGE]).run()?)
}

fn ctr_import(place: &Place, image: &str) -> anyhow::Result<Cmd> {
    let import = place.ctr()?.args(["image", "import"]);
    Ok(import.arg(place.archive(image)))
}

fn umoci_unpack(place: &Place, image: &str, dir: &Path) -> Cmd {
    let image = format!("{}:latest", place.layout(image).display());
    let unpack = Cmd::new("umoci").args(["unpack", "--image", &image]);
    unpack.arg(dir.join("bundle"))
}

fn unpack_by_tar(turn: &Turn<'_>) -> anyhow::Result<Vec<Cmd>> {
    let tar = |layer| {
        let words = ["--extract", "--gzip", "--xattrs", "--numeric-owner"];
        let tar = Cmd::new("tar").args(words);
        tar.arg("--directory")
            .arg(turn.dir)
            .arg("--file")
            .arg(layer)
    };
    let layers = turn.place.layers(SAMPLE)?;
    Ok(layers.into_iter().map(tar).collect())
}

/// A bundle without layers below it: the least that isolation costs.
fn runc_bundle(place: &Place, home: &str) -> anyhow::Result<()> {
    let dir = place.fresh(home)?;
    umoci_unpack(place, SAMPLE, &dir).run()?;
    fs::rename(dir.join("bundle/rootfs"), dir.join("rootfs"))?;
    Cmd::new("runc")
        .args(["spec", "--bundle"])
        .arg(&dir)
        .run()?;
    let path = dir.join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&path)?)?;
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["/bin/true"]);
    // A limit that asks for no more than this process has.
    spec["process"]["rlimits"] = json!([]);
    Ok(fs::write(&path, spec.to_string())?)
}
