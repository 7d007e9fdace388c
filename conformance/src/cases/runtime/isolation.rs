//! What a container sees of its host, and what it may do.

use std::path::Path;

use cowlab_sys::cmd::Cmd;

use crate::context::Result;
use crate::prelude::*;
use crate::product::{BASE, Product};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/namespaces-are-its-own",
        spec: "A container is process 1 of namespaces of its own, with its own host name, and sees no mount of the host.",
        see: &["namespaces(7)", "runtime-spec, config-linux.md, Namespaces"],
        catalogue: &["S05"],
        impact: Impact::Isolation,
        program: &[
            run("run --rm base sh -c 'echo $$'").prints("1"),
            script("readlink /proc/self/ns/ipc").saves("ipc"),
            run("run --rm base readlink /proc/self/ns/ipc").without(&["{ipc}"]),
            script("readlink /proc/self/ns/mnt").saves("mnt"),
            run("run --rm base readlink /proc/self/ns/mnt").without(&["{mnt}"]),
            script("readlink /proc/self/ns/net").saves("net"),
            run("run --rm base readlink /proc/self/ns/net").without(&["{net}"]),
            script("readlink /proc/self/ns/pid").saves("pid"),
            run("run --rm base readlink /proc/self/ns/pid").without(&["{pid}"]),
            script("readlink /proc/self/ns/uts").saves("uts"),
            run("run --rm base readlink /proc/self/ns/uts").without(&["{uts}"]),
            // Where the host has no hierarchy of cgroups there is nothing to divide.
            script("[ -e /sys/fs/cgroup/cgroup.procs ] && readlink /proc/self/ns/cgroup || echo nothing").saves("cgroup"),
            run("run --rm base readlink /proc/self/ns/cgroup").without(&["{cgroup}"]),
            run("run --rm --network host base readlink /proc/self/ns/net").prints("{net}"),
            run("run --rm base sh -c 'while read name rest; do case $name in *:) echo $name;; esac; done </proc/net/dev'").prints("lo:"),
            run("run --rm base sh -c 'while read id parent device root place rest; do echo $place; done </proc/self/mountinfo'")
                .with(&["/proc"])
                .without(&["{dir}"]),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/the-kernel-is-out-of-reach",
        spec: "A container cannot write to /proc/sys, set the clock's or a device's node, nor read what is masked.",
        see: &[
            "runtime-spec, config-linux.md, Masked Paths",
            "capabilities(7)",
        ],
        catalogue: &["S05"],
        impact: Impact::Isolation,
        run: Some(the_kernel_is_out_of_reach),
        ..super::BASE
    },
    Case {
        id: "runtime/flags-of-a-run-reach-the-program",
        spec: "Environment, working directory, user, host name and a read-only root are as the flags say.",
        see: &["docs.docker.com, docker container run"],
        catalogue: &["S05"],
        impact: Impact::AppVisible,
        program: &[
            run("run --rm -e 'A=b c' base sh -c 'echo $A'").prints("b c"),
            run("run --rm -w /etc base sh -c pwd").prints("/etc"),
            run("run --rm -u somebody base sh -c 'id -u; id -g'").prints("1000\n1000"),
            run("run --rm -u 7:8 base sh -c 'id -u; id -g'").prints("7\n8"),
            run("run --rm --hostname other base hostname").prints("other"),
            run("run --rm --read-only base sh -c 'echo x >/f'").fails(2, &["ead-only"]),
            run("run --rm --read-only --tmpfs /tmp base sh -c 'echo x >/tmp/f; cat /tmp/f'")
                .prints("x"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/system-calls-are-filtered",
        spec: "Containers are refused the system calls that docker refuses them, or those that a file says; so is what `exec` runs in them.",
        see: &[
            "docs.docker.com, engine/security/seccomp",
            "runtime-spec, config-linux.md, Seccomp",
        ],
        catalogue: &["S05"],
        impact: Impact::Isolation,
        needs: &[Need::Program("setarch")],
        run: Some(system_calls_are_filtered),
        ..super::BASE
    },
];

fn the_kernel_is_out_of_reach(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    // What is written changes nothing where it can be written: the value that is there, and the key that prints a help.
    let same = |path: &str| format!("value=$(cat {path}) && echo $value >{path}");
    let help = |path: &str| format!("echo h >{path}");
    for (path, script) in [
        ("/proc/sys/kernel/panic", same as fn(&str) -> String),
        ("/sys/kernel/profiling", same),
        ("/proc/sysrq-trigger", help),
    ] {
        // Not every kernel has all of them.
        if !Path::new(path).exists() {
            continue;
        }
        let script = script(path);
        let ran = product.run(&["run", "--rm", BASE, "sh", "-c", &script])?;
        ran.refused(2, "ead-only")?;
    }
    product.says(
        &[
            "run",
            "--rm",
            BASE,
            "sh",
            "-c",
            // Not every kernel has all of them.
            "cd /proc; for f in kcore keys timer_list; do [ ! -e $f ] || cat $f; done; ls -A /sys/firmware",
        ],
        "",
    )?;
    let status = product.ok(&["run", "--rm", BASE, "cat", "/proc/self/status"])?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .unwrap_or(u64::MAX);
    // CAP_SYS_ADMIN, CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_TIME, CAP_NET_ADMIN, CAP_SYS_PTRACE.
    for number in [21, 16, 17, 25, 12, 19] {
        expect(number, "capability", 0, effective >> number & 1)?;
    }
    Ok(())
}

/// Refuses signals without bit 4: 0 is such, SIGCONT (18) is not. A filter that takes the mask for the value refuses both or
/// none.
const NO_SIGNAL_0: &str = r#"{
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{
        "names": ["kill"],
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": 1,
        "args": [{"index": 1, "value": 16, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    }]
}"#;

/// Says which of three calls are made, a personality that the kernel lets everybody have and two signals, and what the kernel
/// says of a filter: 0 is none, 2 is one.
const CALLS: &str = "setarch -R true && echo personality; kill -0 $$ && echo 0; kill -CONT $$ && echo CONT; \
    while read name value; do [ $name != Seccomp: ] || echo $value; done </proc/self/status";

fn system_calls_are_filtered(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let info = product.json(&["info", "--json"])?;
    expect("info", "seccomp", "true", &info["seccomp"].to_string())?;
    let file = context.dir().join("filter.json");
    std::fs::write(&file, NO_SIGNAL_0)?;
    let file = format!("seccomp={}", file.display());
    let other = ["run", "--security-opt", "label=disable", BASE, "true"];
    product.run(&other)?.refused(125, "`label=disable`")?;
    // As this process has it, which may be filtered itself.
    let here = Cmd::new("sh").args(["-c", CALLS]).output()?.stdout;
    let here = String::from_utf8_lossy(&here).trim_end().to_owned();
    let unconfined = calls(&product, &["--security-opt", "seccomp=unconfined"])?;
    expect("unconfined", "calls", &here, &unconfined)?;
    what_is_filtered(&product, &file, here.starts_with("personality"))
}

/// Where the program that makes the first of [`CALLS`] is, for a container.
fn setarch() -> Result<String> {
    let found = Cmd::find("setarch");
    let found = found.ok_or_else(|| Difference::new("setarch", "program", "found", "none"))?;
    Ok(format!("{}:/bin/setarch:ro", found.display()))
}

/// What a container with these flags says of [`CALLS`].
fn calls(product: &Product, flags: &[&str]) -> Result<String> {
    let setarch = setarch()?;
    let run = [&["run", "--rm", "-v", &setarch], flags];
    product.ok(&[&run.concat()[..], &[BASE, "sh", "-c", CALLS]].concat())
}

fn what_is_filtered(product: &Product, file: &str, personality: bool) -> Result<()> {
    let builtin = "0\nCONT\n2";
    expect("a root", "calls", builtin, &calls(product, &[])?)?;
    let of_a_user = calls(product, &["-u", "somebody"])?;
    expect("a user", "calls", builtin, &of_a_user)?;
    let setarch = setarch()?;
    let run = ["run", "-d", "--name", "con", "-v", &setarch, BASE];
    product.ok(&[&run[..], &["sleep", "1000"]].concat())?;
    for user in ["root", "somebody"] {
        product.says(&["exec", "-u", user, "con", "sh", "-c", CALLS], builtin)?;
    }
    let inspected = product.ok(&["inspect", "con"])?;
    let is_shown = inspected.contains("\"seccomp=builtin\"");
    expect("inspect", "the filter", true, is_shown)?;
    let create = ["create", "--security-opt", file, "--name", "of-a-file"];
    let program = ["-v", &setarch, BASE, "sh", "-c", CALLS];
    product.ok(&[&create[..], &program[..]].concat())?;
    // The container keeps what the file said.
    std::fs::remove_file(file.trim_start_matches("seccomp="))?;
    let of_a_file = match personality {
        true => "personality\nCONT\n2",
        false => "CONT\n2",
    };
    product.says(&["start", "-a", "of-a-file"], of_a_file)
}
