//! Verbs about containers that run: restart, pause and unpause.

use std::fs;
use std::time::Duration;

use super::trouble::state;
use crate::context::Result;
use crate::prelude::*;
use crate::product::{BASE, Product, until};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/restart-stops-and-starts",
        spec: "A restart gives a container its signal and starts it again, starts one that does not run, and keeps one that is removed when it ends.",
        see: &[
            "docs.docker.com, docker container restart",
            "docs.docker.com, docker container run, --rm",
        ],
        catalogue: &["S07"],
        impact: Impact::AppVisible,
        run: Some(restart_stops_and_starts),
        ..super::BASE
    },
    Case {
        id: "runtime/a-paused-container-stands-still",
        spec: "A paused container does nothing until it is unpaused, is listed so, can be copied from and committed, and takes no exec.",
        see: &[
            "docs.docker.com, docker container pause",
            "moby, daemon/exec.go, errExecPaused",
        ],
        catalogue: &["S07"],
        impact: Impact::AppVisible,
        run: Some(a_paused_container_stands_still),
        ..super::BASE
    },
    Case {
        id: "runtime/a-paused-container-can-be-ended",
        spec: "A paused container gets the signal of stop and restart and goes on with it, and kill and a forced removal end it.",
        see: &[
            "docs.docker.com, docker container stop",
            "moby, daemon/kill.go, killWithSignal",
        ],
        catalogue: &["S07"],
        impact: Impact::AppVisible,
        run: Some(a_paused_container_can_be_ended),
        ..super::BASE
    },
];

/// A shell that tells of SIGTERM and SIGUSR1, and writes what can be seen to grow.
const COUNTING: &str = "trap 'echo stopped; exit 3' TERM; trap 'echo told; exit 4' USR1; echo begun; \
                        while :; do echo x >>/grown; sleep 0.05; done";

/// Starts a container that counts, once it does.
fn start(product: &Product, flags: &[&str]) -> Result<()> {
    let program = [BASE, "sh", "-c", COUNTING];
    product.ok(&[&["run", "-d", "--name", "con"], flags, &program].concat())?;
    begun(product)
}

fn begun(product: &Product) -> Result<()> {
    until("it counts", || Ok(grown(product)? > 0))
}

fn grown(product: &Product) -> Result<usize> {
    let copied = product.run(&["cp", "con:/grown", "-"])?;
    Ok(copied.out.len() * usize::from(copied.code == 0))
}

fn restart_stops_and_starts(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let log = |expected: &str| product.says(&["logs", "con"], expected);
    start(&product, &[])?;
    product.says(&["restart", "con"], "con")?;
    expect("con", "state", "running", &state(&product, "con")?)?;
    until("its shell began twice", || {
        Ok(product.ok(&["logs", "con"])?.ends_with("begun"))
    })?;
    log("begun\nstopped\nbegun")?;
    product.says(
        &["container", "restart", "-s", "USR1", "-t", "60", "con"],
        "con",
    )?;
    product.ok(&["stop", "-s", "KILL", "con"])?;
    product.says(&["wait", "con"], "137")?;
    product.says(&["restart", "con"], "con")?;
    expect("con", "state", "running", &state(&product, "con")?)?;
    product.ok(&["rm", "-f", "con"])?;
    start(&product, &["--rm"])?;
    product.ok(&["restart", "con"])?;
    expect("--rm", "state", "running", &state(&product, "con")?)?;
    product.ok(&["stop", "con"])?;
    until("it is removed", || Ok(state(&product, "con")? == "none"))?;
    product.run(&["restart", "con"])?.refused(2, "`con`")
}

fn a_paused_container_stands_still(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    start(&product, &[])?;
    product.says(&["pause", "con"], "con")?;
    let before = grown(&product)?;
    std::thread::sleep(Duration::from_millis(500));
    expect("con", "grown", before, grown(&product)?)?;
    expect("con", "state", "paused", &state(&product, "con")?)?;
    let listed = product.ok(&["ps"])?;
    expect("ps", "(Paused)", true, listed.contains("(Paused)"))?;
    let found = &product.json(&["inspect", "con"])?[0]["State"];
    expect("inspect", "Paused", &true.into(), &found["Paused"])?;
    expect("inspect", "Status", &"paused".into(), &found["Status"])?;
    product
        .run(&["pause", "con"])?
        .refused(1, "paused already")?;
    let exec = product.run(&["exec", "con", "true"])?;
    exec.refused(1, "unpause it before exec")?;
    product.run(&["start", "con"])?.refused(1, "unpause it")?;
    product.run(&["rm", "con"])?.refused(1, "is paused")?;
    product.ok(&["commit", "con", "made"])?;
    // A commit pauses as well, and is not who has it go on.
    expect("con", "state", "paused", &state(&product, "con")?)?;
    product.ok(&["container", "unpause", "con"])?;
    until("it goes on", || Ok(grown(&product)? > before))?;
    product.run(&["unpause", "con"])?.refused(1, "not paused")?;
    product.ok(&["stop", "con"])?;
    product.run(&["pause", "con"])?.refused(1, "exited")?;
    product.run(&["unpause", "con"])?.refused(1, "exited")
}

fn a_paused_container_can_be_ended(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    start(&product, &[])?;
    product.ok(&["pause", "con"])?;
    product.ok(&["stop", "-t", "60", "con"])?;
    product.says(&["wait", "con"], "3")?;
    product.ok(&["start", "con"])?;
    begun(&product)?;
    product.ok(&["pause", "con"])?;
    product.ok(&["restart", "-t", "60", "con"])?;
    expect("con", "state", "running", &state(&product, "con")?)?;
    product.ok(&["pause", "con"])?;
    product.ok(&["kill", "con"])?;
    product.says(&["wait", "con"], "137")?;
    // A file that says that it was paused says nothing about the next start.
    let id = fs::read_to_string(product.root().join("containers/names/con"))?;
    let marker = product.root().join("containers").join(id).join("paused");
    fs::write(&marker, "")?;
    product.ok(&["start", "con"])?;
    expect("con", "state", "running", &state(&product, "con")?)?;
    expect("con", "marker", false, marker.exists())?;
    product.ok(&["pause", "con"])?;
    product.ok(&["rm", "-f", "con"])?;
    product.says(&["ps", "-aq"], "")
}
