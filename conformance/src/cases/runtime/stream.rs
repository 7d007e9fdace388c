//! What flows between a program and whoever runs it: readers that are slow or gone, input that nobody reads.

use crate::context::Result;
use crate::prelude::*;
use crate::product::{BASE, Product};
use crate::support::program::state;

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/a-reader-that-pauses-loses-nothing",
        spec: "Whoever reads the output of a run long after the program wrote it reads all of it, however much there is.",
        see: &["pipe(7), I/O on pipes and FIFOs"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        program: &[
            // More than all queues hold, and a pause that no command is waited for without a sign of life.
            script(r#""$COWLAB" run --rm base sh -c 'dd if=/dev/zero bs=1M count=12 2>/dev/null; echo END' | { sleep 14; wc -c; }"#)
                .prints("12582916"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/a-run-whose-reader-has-gone-ends",
        spec: "A run whose output nobody reads any more ends, with the program's status if that ends as well; else the container goes on and its log with it; a program of an exec has SIGPIPE.",
        see: &[
            "pipe(7), EPIPE",
            "docs.docker.com, docker container run, --sig-proxy",
        ],
        catalogue: &["S07"],
        impact: Impact::AppVisible,
        run: Some(a_run_whose_reader_has_gone),
        ..super::BASE
    },
    Case {
        id: "runtime/a-signal-comes-while-nobody-reads",
        spec: "A signal to a run reaches the program while its output waits for a reader.",
        see: &["docs.docker.com, docker container run, --sig-proxy"],
        catalogue: &["S07"],
        impact: Impact::AppVisible,
        program: &[
            script(r#"{ "$COWLAB" run --name con base sh -c 'trap "exit 5" USR1; while :; do echo y; done & wait' & echo $! >{dir}/pid; wait; } | sleep 12 &
                sleep 3; kill -USR1 $(cat {dir}/pid); timeout 10 "$COWLAB" wait con"#)
                .prints("5"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/a-long-paste-reaches-an-exec",
        spec: "More input than a terminal takes at once reaches a program of an exec whole.",
        see: &["pty(7)", "docs.docker.com, docker container exec, --tty"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        run: Some(a_long_paste),
        ..super::BASE
    },
    Case {
        id: "runtime/much-flows-both-ways",
        spec: "A hundred megabytes of input come back from a run and from an exec, and a program that reads none of its input ends with its own status.",
        see: &["pipe(7), I/O on pipes and FIFOs"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        program: &[
            run("run -d --name con base sleep 1000"),
            script(r#"dd if=/dev/zero bs=1M count=100 2>/dev/null | "$COWLAB" run -i --rm base cat | wc -c"#).prints("104857600"),
            script(r#"dd if=/dev/zero bs=1M count=10 2>/dev/null | "$COWLAB" run -i --rm base sh -c 'exit 4'"#).exits(4),
            script(r#"dd if=/dev/zero bs=1M count=100 2>/dev/null | "$COWLAB" exec -i con cat | wc -c"#).prints("104857600"),
            script(r#"dd if=/dev/zero bs=1M count=10 2>/dev/null | "$COWLAB" exec -i con sh -c 'exit 4'"#).exits(4),
        ],
        ..super::BASE
    },
];

fn a_run_whose_reader_has_gone(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let gone = |command: &str| -> Result<String> {
        let script = format!(
            "{{ timeout 60 \"$COWLAB\" {command}; echo $? >&2; }} | dd bs=1 count=1 2>/dev/null"
        );
        let ran = product.script(&script)?;
        Ok(ran.err.lines().last().unwrap_or_default().to_owned())
    };
    let short =
        "run --rm base sh -c 'trap \"\" PIPE; dd if=/dev/zero bs=1M count=1 2>/dev/null; exit 3'";
    expect("a short program", "status", "3", &gone(short)?)?;
    let long = "run --name con base sh -c 'while :; do echo y; done'";
    expect("a long program", "status", "1", &gone(long)?)?;
    expect("con", "state", "running", &state(&product, "con")?)?;
    expect(
        "exec",
        "status",
        "141",
        &gone("exec con sh -c 'while :; do echo y; done'")?,
    )?;
    product.ok(&["rm", "-f", "con"]).map(drop)
}

fn a_long_paste(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.ok(&["run", "-d", "--name", "con", BASE, "sleep", "1000"])?;
    // In lines, of which a terminal holds as many as 4095 bytes have (termios(3), Canonical mode).
    const LINES: usize = 20_000;
    let program =
        "sleep 1; n=0; while read line; do n=$((n+1)); [ $n = 20000 ] && break; done; echo [$n]";
    let exec = ["exec", "-it", "con", "sh", "-c", program];
    let ran = product
        .run_with(&exec, &b"a line of a paste\n".repeat(LINES))?
        .ok()?;
    // The terminal echoes what is pasted, and may have half of a line still to echo.
    let is_whole = ran.contains("[20000]");
    expect("exec -it", "all lines come", true, is_whole)
}
