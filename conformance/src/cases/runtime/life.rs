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
        program: &[
            run("run --rm base true"),
            run("run --rm base sh -c 'exit 7'").exits(7),
            run("run --rm base no-such-program").exits(127),
            run("run --rm base /testfile").exits(126),
            run("ps -aq").prints(""),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/stop-keeps-and-rm-loses",
        spec: "A stopped container keeps what it wrote until it is removed, and a new one of the same name is pristine.",
        see: &["docs.docker.com, storage, Persist data"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        program: &[
            run("run -d --name con base sleep 1000"),
            run("exec con sh -c 'echo kept >/f'"),
            run("exec con cat /f").prints("kept"),
            run("stop -t 0 con"),
            run("ps -q").prints(""),
            run("exec con cat /f").fails(1, &["start it first"]),
            run("start con"),
            run("exec con cat /f").prints("kept"),
            run("rm -f con"),
            run("run --name con base cat /f").fails(1, &["/f"]),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/the-log-has-both-streams",
        spec: "What a container that nobody watches writes to its two streams is in its log, to be printed to the same two.",
        see: &["docs.docker.com, docker container logs"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        program: &[
            run("run -d --name con base sh -c 'echo two >&2; sleep 1; echo one; echo three'"),
            run("wait con").prints("0"),
            script(r#""$COWLAB" logs con 2>{dir}/stderr"#).prints("one\nthree"),
            content("stderr").prints("two"),
            run("logs --tail 1 con").prints("three"),
        ],
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
        program: &[
            run("run -d --name con base sleep 1000"),
            run("kill con"),
            run("wait con").prints("137"),
            // Its own status, asked for again and after it was started again.
            run("wait con").prints("137"),
            run("start con"),
            run("ps -q").saves("id"),
            run("kill --signal 9 {id}"),
            run("wait con").prints("137"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/names-are-unique-and-found-by-prefix",
        spec: "A name is taken once, a container is found by its name and by a prefix of its id, and what is not there is named.",
        see: &["docs.docker.com, docker container run, --name"],
        catalogue: &["S12"],
        impact: Impact::AppVisible,
        program: &[
            run("create --name con base cat /testfile"),
            run("create --name con base true").fails(2, &["`con`"]),
            run("ps -aq").saves("prefix"),
            run("start -a {prefix}").prints("test"),
            run("start nobody").fails(2, &["`nobody`"]),
            run("run no-image").fails(125, &["no-image"]),
            run("run --publish 80:80 base true").fails(125, &["--network host"]),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/rm-removes-one-container-and-nothing-else",
        spec: "Removing a container removes its writable layer, and neither its image nor another container nor a named volume.",
        see: &["docs.docker.com, docker container rm"],
        catalogue: &["S07", "S08"],
        impact: Impact::DataLoss,
        program: &[
            run("run --name first -v data:/data base sh -c 'echo x >/own; echo x >/data/f'"),
            run("images --json").saves("images"),
            run("snapshot ls --json").saves("layers"),
            run("run --name second -v data:/data base sh -c 'echo x >/own; echo x >/data/f'"),
            run("volume rm data").fails(1, &["data"]),
            run("rm -v second"),
            run("snapshot ls --json").prints("{layers}"),
            run("images --json").prints("{images}"),
            run("diff first").prints("A /own"),
            run("run --rm -v data:/d base cat /d/f").prints("x"),
        ],
        ..super::BASE
    },
];

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
