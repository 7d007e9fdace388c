//! What a program is born with: signals, mask, streams, variables, user, terminal.

use crate::context::Result;
use crate::prelude::*;
use crate::product::{BASE, Product};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/a-program-starts-with-no-signal-ignored",
        spec: "A program of a run or an exec starts with every signal at its default and none blocked, whatever the caller ignores.",
        see: &["signal(7), Signal dispositions", "execve(2)"],
        catalogue: &["S07"],
        impact: Impact::AppVisible,
        program: &[
            run("run -d --name con base sleep 1000"),
            script(r#"trap "" HUP INT QUIT PIPE USR1 TERM CHLD
                "$COWLAB" run --rm base cat /proc/self/status | grep -e SigBlk -e SigIgn | tr -d '\r'"#)
            .prints(NO_SIGNAL),
            script(r#"trap "" HUP INT QUIT PIPE USR1 TERM CHLD
                "$COWLAB" run --rm -t base cat /proc/self/status | grep -e SigBlk -e SigIgn | tr -d '\r'"#)
            .prints(NO_SIGNAL),
            script(r#"trap "" HUP INT QUIT PIPE USR1 TERM CHLD
                "$COWLAB" exec con cat /proc/self/status | grep -e SigBlk -e SigIgn | tr -d '\r'"#)
            .prints(NO_SIGNAL),
            script(r#"trap "" HUP INT QUIT PIPE USR1 TERM CHLD
                "$COWLAB" exec -t con cat /proc/self/status | grep -e SigBlk -e SigIgn | tr -d '\r'"#)
            .prints(NO_SIGNAL),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/the-callers-umask-is-no-containers",
        spec: "A container has the umask 0022 and mount points that everybody may pass, whatever the caller's; what is written for the caller has the caller's.",
        see: &["umask(2)", "OCI runtime-spec, config.md, User"],
        catalogue: &["S16"],
        impact: Impact::AppVisible,
        program: &[
            script(r#"umask 077; "$COWLAB" run --rm base sh -c umask"#).prints("0022"),
            script(r#"umask 077; "$COWLAB" run --rm -u 1000 -w /work/dir -v named:/vol/a --tmpfs /mem/x base \
                  stat -c %a / /vol /vol/a /mem /work /work/dir /etc/hosts"#)
                .prints("755\n755\n755\n755\n755\n755\n644"),
            script(r#"umask 077; "$COWLAB" run -d --name con base sleep 1000"#),
            script(r#"umask 077; "$COWLAB" exec con sh -c umask"#).prints("0022"),
            script(r#"umask 077; "$COWLAB" save -o {dir}/saved.tar base; stat -c %a {dir}/saved.tar"#).prints("600"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/everybody-opens-their-own-streams",
        spec: "A program that is not root's opens its standard output and error again by their names in /dev, as programs do whose logs are links to them.",
        see: &["proc_pid_fd(5)", "runc, fixStdioPermissions"],
        catalogue: &["S07"],
        impact: Impact::AppVisible,
        program: &[
            run("run -d --name con -u 1000 base sleep 1000"),
            script(r#""$COWLAB" run --rm -u 1000 base sh -c 'echo out >/dev/stdout && echo err >/proc/self/fd/2' 2>&1 | tr -d '\r'"#).prints("out\nerr"),
            script(r#""$COWLAB" run --rm -t -u 1000 base sh -c 'echo out >/dev/stdout && echo err >/proc/self/fd/2' 2>&1 | tr -d '\r'"#).prints("out\nerr"),
            script(r#""$COWLAB" exec con sh -c 'echo out >/dev/stdout && echo err >/proc/self/fd/2' 2>&1 | tr -d '\r'"#).prints("out\nerr"),
            script(r#""$COWLAB" exec -t con sh -c 'echo out >/dev/stdout && echo err >/proc/self/fd/2' 2>&1 | tr -d '\r'"#).prints("out\nerr"),
            script(r#""$COWLAB" exec -u 7 con sh -c 'echo out >/dev/stdout && echo err >/proc/self/fd/2' 2>&1 | tr -d '\r'"#).prints("out\nerr"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/variables-are-the-same-in-run-and-exec",
        spec: "HOSTNAME is the host's name, HOME the user's home where nothing else was said, in a run as in an exec, where a variable without a value has the caller's.",
        see: &[
            "docs.docker.com, docker container exec, --env",
            "docs.docker.com, Environment variables",
        ],
        catalogue: &["S07"],
        impact: Impact::AppVisible,
        program: &[
            run("run --rm base sh -c '[ $HOSTNAME = $(hostname) ] && echo $HOME'").prints("/root"),
            run("run -d --name con -e HOME=/own --hostname box.example base sleep 1000"),
            run("exec con sh -c 'echo $HOSTNAME $(hostname) $HOME'").prints("box.example box.example /own"),
            run("run -d --name other -e HOME= base sleep 1000"),
            run("exec other sh -c '[ $HOSTNAME = $(hostname) ] && echo $HOME'").prints("/root"),
            script(r#"MINE=yes "$COWLAB" run --rm -e MINE -e NONE base sh -c 'echo $MINE ${NONE-unset}'"#).prints("yes unset"),
            script(r#"MINE=yes "$COWLAB" exec -e MINE -e NONE con sh -c 'echo $MINE ${NONE-unset}'"#).prints("yes unset"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/users-of-short-lines-and-digits",
        spec: "Users and groups are found in lines that lack fields, and digits are a number and never a name.",
        see: &["passwd(5)", "moby/sys, user.GetExecUser"],
        catalogue: &["S07"],
        impact: Impact::Isolation,
        program: &[
            run("run -d --name con base sleep 1000"),
            file("passwd", "# comment\n1000:x:0:0::/evil\n app:x:11:12 \nweb:x:1000:1001::/web\n"),
            file("group", "extra:x:9\nmore:x:10:app\n"),
            run("cp {dir}/passwd con:/etc/passwd"),
            run("cp {dir}/group con:/etc/group"),
            run("exec -u app con sh -c 'echo $(id -u) $(id -g) $HOME'").prints("11 12 /"),
            run("exec -u app:extra con sh -c 'echo $(id -u) $(id -g) $HOME'").prints("11 9 /"),
            run("exec -u 1000 con sh -c 'echo $(id -u) $(id -g) $HOME'").prints("1000 1001 /web"),
            run("exec -u 1000:extra con sh -c 'echo $(id -u) $(id -g) $HOME'").prints("1000 9 /web"),
            run("exec -u 7:8 con sh -c 'echo $(id -u) $(id -g) $HOME'").prints("7 8 /"),
            run("exec -u app con id -G").prints("12 10"),
            run("exec -u 4294967295 con true").fails(2, &["2147483647"]),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/every-signal-has-a-name-and-a-number",
        spec: "Real-time signals and further names are taken by kill and as the signal to stop, and an attached run passes signals on.",
        see: &[
            "signal(7), Real-time signals",
            "docs.docker.com, docker container run, --stop-signal",
        ],
        catalogue: &["S07"],
        impact: Impact::AppVisible,
        run: Some(every_signal),
        ..super::BASE
    },
    Case {
        id: "runtime/a-terminal-has-its-size-from-the-start",
        spec: "The first thing that a program on a terminal asks, its size, is that of the caller's.",
        see: &["ioctl_tty(2), TIOCGWINSZ"],
        catalogue: &["S07"],
        impact: Impact::AppVisible,
        needs: &[Need::Program("script")],
        run: Some(the_size_of_a_terminal),
        ..super::BASE
    },
    Case {
        id: "runtime/what-the-kernel-cannot-execute-is-refused",
        spec: "A file of no format and one of another machine are refused with 126, by no shell, a script without its interpreter with 127, and root runs what only its owner may.",
        see: &[
            "execve(2), ENOEXEC",
            "docs.docker.com, docker container run, Exit status",
        ],
        catalogue: &["S07"],
        impact: Impact::AppVisible,
        program: &[
            run("run -d --name con -v programs:/p base sleep 1000"),
            script(MAKE_PROGRAMS),
            run("run --rm -v programs:/p base /p/noformat").fails(126, &["exec format error"]),
            run("run --rm -v programs:/p base /p/foreign").fails(126, &["exec format error"]),
            run("run --rm -v programs:/p base /p/lost").fails(127, &["interpreter"]),
            run("exec con /p/noformat").fails(126, &["exec format error"]),
            run("exec con /p/foreign").fails(126, &["exec format error"]),
            run("exec con /p/lost").fails(127, &["interpreter"]),
            run("run --rm -v programs:/p base /p/true"),
            run("exec con /p/true"),
            run("ps -q").saves("running"),
            run("ps -aq").prints("{running}"),
        ],
        ..super::BASE
    },
];

/// What a process with no signal blocked and none ignored has in its `status`.
const NO_SIGNAL: &str = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000";

/// Makes programs in the volume of `con`: of no format, of another machine, without an interpreter, and for the owner alone.
const MAKE_PROGRAMS: &str = r#""$COWLAB" exec con sh -c "cd /p
    echo 'echo run by a shell' >noformat; printf '#!/nowhere/sh\n' >lost; cp -L /bin/true true
    { printf '\177ELF\002\001\001'; dd if=/dev/zero bs=9 count=1; printf '\002\000\377\000'; dd if=/dev/zero bs=44 count=1; } >foreign 2>/dev/null
    chmod 755 noformat lost foreign; chmod 700 true""#;

fn every_signal(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    // A shell that waits takes a signal at once (sh(1p), trap).
    let trapped = "trap 'exit 42' 37; trap 'exit 43' QUIT; trap 'exit 44' IO; echo >/ready; sleep 1000 & wait; wait";
    let start = |flags: &[&str]| -> Result<()> {
        product.ok(&[
            &["run", "-d", "--name", "con"],
            flags,
            &[BASE, "sh", "-c", trapped],
        ]
        .concat())?;
        crate::product::until("it has set its traps", || {
            Ok(product.run(&["exec", "con", "ls", "/ready"])?.code == 0)
        })
    };
    for (signal, status) in [
        ("SIGRTMIN+3", "42"),
        ("rtmax-27", "42"),
        ("37", "42"),
        ("quit", "43"),
        ("SIGPOLL", "44"),
    ] {
        start(&["--stop-signal", signal])?;
        product.ok(&["stop", "-t", "60", "con"])?;
        product.says(&["wait", "con"], status)?;
        product.ok(&["rm", "con"])?;
        start(&[])?;
        product.ok(&["kill", "-s", signal, "con"])?;
        product.says(&["wait", "con"], status)?;
        product.ok(&["rm", "con"])?;
    }
    for (number, status) in [(37, 42), (3, 43), (29, 44)] {
        let script = format!(
            r#""$COWLAB" run --name con base sh -c "{trapped}" & until "$COWLAB" exec con ls /ready >/dev/null 2>&1; do sleep 0.1; done; kill -{number} $!; wait $!"#
        );
        let ran = product.script(&script)?;
        expect(
            format!("kill -{number} of a run"),
            "status",
            status,
            ran.code,
        )?;
        product.ok(&["rm", "-f", "con"])?;
    }
    product
        .run(&["create", "--stop-signal", "65", BASE, "true"])?
        .refused(2, "65")
}

fn the_size_of_a_terminal(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.ok(&["run", "-d", "--name", "con", BASE, "sleep", "1000"])?;
    for words in [
        "run --rm -t base",
        "run --rm -it base",
        "exec -t con",
        "exec -it con",
    ] {
        // Without a wait between, five of five.
        for _ in 0..5 {
            let script = format!(
                r#"script -qec 'stty rows 51 cols 133; "$COWLAB" {words} stty size' /dev/null </dev/null"#
            );
            let size = product.script(&script)?.ok()?;
            // `script` tells the terminal that its own input has ended, and the terminal echoes it before or after.
            expect(words, "size 51 133", true, size.contains("51 133"))?;
        }
    }
    Ok(())
}
