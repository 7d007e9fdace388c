//! Building an image of 20 steps: programs that write a little, and files that are copied.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use cowlab_sys::Cmd;

use super::place::{BASE, Place, cowlab_load, local, reference};

/// The name of an image that is built again and again.
pub(super) const NAME: &str = "built";

/// Whether an earlier build of the same counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cached {
    Not,
    Wholly,
}

/// Makes the context, and returns where it lies.
fn context(place: &Place) -> anyhow::Result<PathBuf> {
    let dir = place.fresh("context")?;
    let file = dir.join("Dockerfile");
    if file.exists() {
        return Ok(dir);
    }
    let mut steps = String::from(
        "ARG BASE\nFROM ${BASE}\nENV FIRST=1 SECOND=2\nLABEL made=here\nWORKDIR /work\n",
    );
    for number in 0..6 {
        fs::write(dir.join(number.to_string()), format!("file {number}\n"))?;
        writeln!(
            steps,
            "RUN mkdir -p /made/{number} && echo {number} >> /made/all"
        )?;
        writeln!(steps, "COPY {number} /work/")?;
    }
    for number in 6..9 {
        writeln!(steps, "RUN echo {number} >> /made/all")?;
    }
    steps.push_str("USER 0\nCMD [\"/bin/sh\"]\n");
    fs::write(&file, steps)?;
    Ok(dir)
}

pub(super) fn cowlab_ready(place: &Place, home: &str) -> anyhow::Result<()> {
    Ok(cowlab_load(place, home, BASE).run()?)
}

pub(super) fn cowlab(place: &Place, home: &str, name: &str, cached: Cached) -> anyhow::Result<Cmd> {
    let base = format!("BASE={}", reference(BASE));
    let mut build = place
        .cowlab(home)
        .args(["build", "--quiet", "--network", "none"]);
    if cached == Cached::Not {
        build = build.arg("--no-cache");
    }
    Ok(build
        .args(["--build-arg", &base, "--tag", name])
        .arg(context(place)?))
}

pub(super) fn cowlab_undo(place: &Place, home: &str, name: &str) -> Vec<Cmd> {
    let prune = ["builder", "prune", "--all", "--force"];
    vec![
        place.cowlab(home).args(["rmi", name]),
        place.cowlab(home).args(prune),
    ]
}

pub(super) fn buildah_ready(place: &Place, home: &str) -> anyhow::Result<()> {
    // By a relative path, as podman.
    let pull = ["pull", "--quiet", &format!("oci:{BASE}")];
    let pull = place.buildah(home).args(pull);
    Ok(pull.current_dir(place.dir("images")).run()?)
}

/// Without a network, as cowlab's, and with limits that need no privilege beyond root's usual.
pub(super) fn buildah(
    place: &Place,
    home: &str,
    name: &str,
    cached: Cached,
) -> anyhow::Result<Cmd> {
    let base = format!("BASE={}", local(BASE));
    let mut build = place.buildah(home).args([
        "build",
        "--quiet",
        "--layers",
        "--network=none",
        "--runtime=runc",
        "--ulimit=nofile=1024:1024",
        "--ulimit=nproc=1024:1024",
    ]);
    if cached == Cached::Not {
        build = build.arg("--no-cache");
    }
    Ok(build
        .args(["--build-arg", &base, "--tag", name])
        .arg(context(place)?))
}

pub(super) fn buildah_undo(place: &Place, home: &str, name: &str) -> Vec<Cmd> {
    vec![
        place.buildah(home).args(["rmi", name]),
        // The steps are images without a name.
        place.buildah(home).args(["rmi", "--prune", "--force"]),
    ]
}

/// Which of docker's builders.
#[derive(Debug, Clone, Copy)]
pub(super) enum Builder {
    BuildKit,
    /// The one before BuildKit, which every docker has.
    Classic,
}

pub(super) fn docker_ready(place: &Place, _: &str) -> anyhow::Result<()> {
    let load = place.docker()?.args(["load", "--quiet", "--input"]);
    Ok(load.arg(place.archive(BASE)).run()?)
}

pub(super) fn docker(
    place: &Place,
    builder: Builder,
    name: &str,
    cached: Cached,
) -> anyhow::Result<Cmd> {
    let base = format!("BASE={}", reference(BASE));
    let is_buildkit = match builder {
        Builder::BuildKit => "1",
        Builder::Classic => "0",
    };
    let build = place.docker()?.env("DOCKER_BUILDKIT", is_buildkit);
    let mut build = build.args(["build", "--quiet", "--network=none"]);
    if cached == Cached::Not {
        build = build.arg("--no-cache");
    }
    Ok(build
        .args(["--build-arg", &base, "--tag", name])
        .arg(context(place)?))
}

pub(super) fn docker_undo(place: &Place, name: &str) -> Vec<Cmd> {
    let commands = [
        &["image", "rm", name] as &[&str],
        &["image", "prune", "--force"],
        &["builder", "prune", "--all", "--force"],
    ];
    let undo = |words| place.docker().map(|docker| docker.args(words));
    commands
        .into_iter()
        .filter_map(|words| undo(words).ok())
        .collect()
}
