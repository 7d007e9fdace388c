//! Verbs about containers that run: restart, pause, unpause and attach.

use std::fs;
use std::time::Duration;

use crate::context::Result;
use crate::prelude::*;
use crate::product::{BASE, Product, until};
use crate::support::program::state;

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
    Case {
        id: "runtime/attach-joins-a-container",
        spec: "Several commands attach to one container, each gets its output and gives it input, passes signals on or leaves by them, and ends with its status.",
        see: &["docs.docker.com, docker container attach"],
        catalogue: &["S07"],
        impact: Impact::AppVisible,
        run: Some(attach_joins_a_container),
        ..super::BASE
    },
    Case {
        id: "runtime/keys-detach-from-a-terminal",
        spec: "Ctrl-P and Ctrl-Q, or the keys that were named, typed at a terminal leave a run with 0 and an attach with 1, and the container goes on.",
        see: &[
            "docs.docker.com, docker container attach, --detach-keys",
            "docker/cli, cli/command/container/hijack.go",
        ],
        catalogue: &["S07"],
        impact: Impact::AppVisible,
        needs: &[Need::Program("script")],
        run: Some(keys_detach_from_a_terminal),
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

fn attach_joins_a_container(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.run(&["attach", "con"])?.refused(2, "`con`")?;
    let program = "echo begun; while read line; do echo got $line; [ $line = end ] && exit 5; done";
    product.ok(&[
        "run", "-d", "-i", "--name", "con", BASE, "sh", "-c", program,
    ])?;
    // One that only reads, one whose input ends before the program does, and one that ends the program.
    let dir = context.dir().display().to_string();
    let script = format!(
        r#"cd {dir}; attach="timeout -k 1 60 $COWLAB attach --sig-proxy=false"
        $attach --no-stdin con >reader & reader=$!
        until [ -s reader ]; do echo tick | timeout -s KILL 0.5 "$COWLAB" attach con >writer; done
        (sleep 1; echo end) | $attach con >last; echo $?; wait $reader; echo $?; tail -n 1 reader; cat last"#
    );
    // A reader that attached has what was written since.
    let said = product.script(&script)?.ok()?;
    expect(
        "attach",
        "statuses and output",
        "5\n5\ngot end\ngot end",
        &said,
    )?;
    product
        .run(&["attach", "con"])?
        .refused(1, "start it before")?;
    product.ok(&["rm", "con"])?;
    start(&product, &[])?;
    product.ok(&["pause", "con"])?;
    product
        .run(&["attach", "con"])?
        .refused(1, "unpause it before")?;
    product.ok(&["unpause", "con"])?;
    let killed = |flags: &str| -> Result<i32> {
        let script = format!(r#""$COWLAB" attach {flags} con & sleep 2; kill -TERM $!; wait $!"#);
        Ok(product.script(&script)?.code)
    };
    expect(
        "--sig-proxy=false",
        "status",
        143,
        killed("--sig-proxy=false")?,
    )?;
    expect("con", "state", "running", &state(&product, "con")?)?;
    expect("attach", "status", 3, killed("")?)?;
    expect("con", "state", "exited", &state(&product, "con")?)
}

fn keys_detach_from_a_terminal(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let shown = context.dir().join("shown").display().to_string();
    // What the program prints is there once the terminal takes every key.
    let typed = |words: &str, keys: &str| -> Result<i32> {
        let script = format!(
            r#": >{shown}; {{ until grep -q ready {shown}; do sleep 0.1; done; printf '{keys}'; sleep 5; }} | timeout 60 script -qefc '"$COWLAB" {words}' /dev/null >{shown}"#
        );
        Ok(product.script(&script)?.code)
    };
    let program = r#"sh -c "while :; do echo ready; sleep 0.1; done""#;
    let run = format!("run -it --name con base {program}");
    expect("run -it", "status", 0, typed(&run, r"\020\021")?)?;
    expect("con", "state", "running", &state(&product, "con")?)?;
    expect(
        "attach",
        "status",
        1,
        typed("attach con", r"x\020\020\021")?,
    )?;
    let keys = typed("attach --detach-keys ctrl-a,b con", r"\020\021\001b")?;
    expect("attach --detach-keys", "status", 1, keys)?;
    product.ok(&["stop", "-t", "0", "con"])?;
    let start = typed("start -ai --detach-keys Q con", "Q")?;
    expect("start -ai", "status", 0, start)?;
    expect("con", "state", "running", &state(&product, "con")?)?;
    let bad = product.run(&["attach", "--detach-keys", "ab", "con"])?;
    bad.refused(2, "ctrl-LETTER")
}
