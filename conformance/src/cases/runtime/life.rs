//! How containers begin and end.

use crate::context::Result;
use crate::prelude::*;
use crate::product::{BASE, Product};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/exit-status-is-that-of-the-program",
        spec: "The exit status of a run is the program's own, 127 for a program that is not there and 126 for one that cannot be run.",
        see: &["docs.docker.com, docker container run, Exit status"],
        catalogue: &["S07"],
        impact: Impact::AppVisible,
        run: Some(exit_status_is_that_of_the_program),
        ..super::BASE
    },
    Case {
        id: "runtime/stop-keeps-and-rm-loses",
        spec: "A stopped container keeps what it wrote until it is removed, and a new one of the same name is pristine.",
        see: &["docs.docker.com, storage, Persist data"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        run: Some(stop_keeps_and_rm_loses),
        ..super::BASE
    },
    Case {
        id: "runtime/the-log-has-both-streams",
        spec: "What a container that nobody watches writes to its two streams is in its log, to be printed to the same two.",
        see: &["docs.docker.com, docker container logs"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        run: Some(the_log_has_both_streams),
        ..super::BASE
    },
    Case {
        id: "runtime/input-and-output-flow-at-once",
        spec: "A program that writes before it reads gets all of its input, and all of its output comes, whatever is longer.",
        see: &["pipe(7), I/O on pipes and FIFOs"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        run: Some(input_and_output_flow_at_once),
        ..super::BASE
    },
    Case {
        id: "runtime/kill-and-wait",
        spec: "A signal ends a container, and whoever waits for it gets 128 and the signal's number.",
        see: &["docs.docker.com, docker container wait", "signal(7)"],
        catalogue: &["S07"],
        impact: Impact::AppVisible,
        run: Some(kill_and_wait),
        ..super::BASE
    },
    Case {
        id: "runtime/names-are-unique-and-found-by-prefix",
        spec: "A name is taken once, a container is found by its name and by a prefix of its id, and what is not there is named.",
        see: &["docs.docker.com, docker container run, --name"],
        catalogue: &["S12"],
        impact: Impact::AppVisible,
        run: Some(names_are_unique_and_found_by_prefix),
        ..super::BASE
    },
    Case {
        id: "runtime/rm-removes-one-container-and-nothing-else",
        spec: "Removing a container removes its writable layer, and neither its image nor another container nor a named volume.",
        see: &["docs.docker.com, docker container rm"],
        catalogue: &["S07", "S08"],
        impact: Impact::DataLoss,
        run: Some(rm_removes_one_container_and_nothing_else),
        ..super::BASE
    },
];

fn exit_status_is_that_of_the_program(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let code = |command: &[&str]| -> Result<i32> {
        let run = [&["run", "--rm", BASE], command].concat();
        Ok(product.run(&run)?.code)
    };
    expect("exit 0", "status", 0, code(&["true"])?)?;
    expect("exit 7", "status", 7, code(&["sh", "-c", "exit 7"])?)?;
    expect("missing", "status", 127, code(&["no-such-program"])?)?;
    expect("no program", "status", 126, code(&["/testfile"])?)?;
    product.says(&["ps", "-aq"], "")
}

fn stop_keeps_and_rm_loses(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let read = ["exec", "con", "cat", "/f"];
    product.ok(&["run", "-d", "--name", "con", BASE, "sleep", "1000"])?;
    product.ok(&["exec", "con", "sh", "-c", "echo kept >/f"])?;
    product.says(&read, "kept")?;
    product.ok(&["stop", "-t", "0", "con"])?;
    product.says(&["ps", "-q"], "")?;
    product.run(&read)?.refused(1, "start it first")?;
    product.ok(&["start", "con"])?;
    product.says(&read, "kept")?;
    product.ok(&["rm", "-f", "con"])?;
    product
        .run(&["run", "--name", "con", BASE, "cat", "/f"])?
        .refused(1, "/f")
}

fn the_log_has_both_streams(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let talk = "echo two >&2; sleep 1; echo one; echo three";
    product.ok(&["run", "-d", "--name", "con", BASE, "sh", "-c", talk])?;
    product.says(&["wait", "con"], "0")?;
    let log = product.run(&["logs", "con"])?;
    expect("log", "stdout", "one\nthree\n", &log.out)?;
    expect("log", "stderr", "two\n", &log.err)?;
    product.says(&["logs", "--tail", "1", "con"], "three")
}

fn input_and_output_flow_at_once(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    // More than the pipes and the queues between command, monitor and program hold.
    const SIZE: usize = 3 << 20;
    let program = "dd if=/dev/zero bs=1M count=3; exec wc -c >&2";
    let run = ["run", "-i", "--rm", BASE, "sh", "-c", program];
    let ran = product.run_with(&run, &vec![b'x'; SIZE])?;
    let read = ran.err.lines().last().unwrap_or_default().to_owned();
    // `ok` leaves out a last line end, and there is none.
    expect("run -i", "bytes of output", SIZE, ran.ok()?.len())?;
    expect(
        "run -i",
        "bytes that the program read",
        SIZE.to_string(),
        read,
    )
}

fn kill_and_wait(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.ok(&["run", "-d", "--name", "con", BASE, "sleep", "1000"])?;
    product.ok(&["kill", "con"])?;
    product.says(&["wait", "con"], "137")?;
    // Its own status, asked for again and after it was started again.
    product.says(&["wait", "con"], "137")?;
    product.ok(&["start", "con"])?;
    let id = product.ok(&["ps", "-q"])?;
    product.ok(&["kill", "--signal", "9", &id])?;
    product.says(&["wait", "con"], "137")
}

fn names_are_unique_and_found_by_prefix(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let id = product.ok(&["create", "--name", "con", BASE, "cat", "/testfile"])?;
    product
        .run(&["create", "--name", "con", BASE, "true"])?
        .refused(2, "`con`")?;
    product.says(&["start", "-a", &id[..6]], "test")?;
    product.run(&["start", "nobody"])?.refused(2, "`nobody`")?;
    product
        .run(&["run", "no-image"])?
        .refused(125, "no-image")?;
    product
        .run(&["run", "--publish", "80:80", BASE, "true"])?
        .refused(125, "--network host")
}

fn rm_removes_one_container_and_nothing_else(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let write = |name: &str| -> Result<String> {
        let volume = ["-v", "data:/data"];
        let run = [
            &["run", "--name", name],
            &volume[..],
            &[BASE, "sh", "-c", "echo x >/own; echo x >/data/f"],
        ];
        product.ok(&run.concat())
    };
    write("first")?;
    let images = product.ok(&["images", "--json"])?;
    let layers = product.ok(&["snapshot", "ls", "--json"])?;
    write("second")?;
    product.run(&["volume", "rm", "data"])?.refused(1, "data")?;
    product.ok(&["rm", "-v", "second"])?;
    product.says(&["snapshot", "ls", "--json"], &layers)?;
    product.says(&["images", "--json"], &images)?;
    product.says(&["diff", "first"], "A /own")?;
    let read = ["run", "--rm", "-v", "data:/d", BASE, "cat", "/d/f"];
    product.says(&read, "x")
}
