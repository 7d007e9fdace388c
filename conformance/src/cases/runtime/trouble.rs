//! What goes wrong with containers: a monitor that dies, a reboot, a damaged record, flags that nobody knows.

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use cowlab_sys::channel::{self, Ready};
use cowlab_sys::cmd::Cmd;
use cowlab_sys::lock::FileLock;
use cowlab_sys::task::Task;
use serde_json::Value;

use crate::context::Result;
use crate::prelude::*;
use crate::product::{BASE, Product, program, until};
use crate::support::program::state as state_of;

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/a-monitor-that-died-costs-the-status-alone",
        spec: "A container goes on when its monitor is killed, can be entered, stopped and started again, and keeps what it wrote; its status is unknown.",
        see: &["signal(7), SIGKILL", "docs.docker.com, Live restore"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        run: Some(a_monitor_that_died),
        ..super::BASE
    },
    Case {
        id: "runtime/a-reboot-is-recognized",
        spec: "Processes of another boot, and others with the numbers of old ones, are not taken for a container's; it keeps what it wrote and starts again.",
        see: &[
            "proc_sys_kernel(5), random/boot_id",
            "proc_pid_stat(5), starttime",
        ],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        run: Some(a_reboot_is_recognized),
        ..super::BASE
    },
    Case {
        id: "runtime/the-first-open-of-a-boot-removes-what-a-power-cut-left",
        spec: "After a power cut the first command removes what nothing was promised of: containers with `--rm`, half made ones, names and snapshots of none; others stay, and names are free again.",
        see: &[
            "fsync(2), Description",
            "proc_sys_kernel(5), random/boot_id",
        ],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        run: Some(a_power_cut),
        ..super::BASE
    },
    Case {
        id: "runtime/a-root-at-another-place-opens",
        spec: "A root whose disk is mounted elsewhere, or whose directory was renamed, opens with its images, containers and volumes, and the new place is told once.",
        see: &["mount(8), Description"],
        catalogue: &["S12"],
        impact: Impact::AppVisible,
        run: Some(a_root_at_another_place),
        ..super::BASE
    },
    Case {
        id: "runtime/a-killed-commit-leaves-a-container-that-goes-on",
        spec: "A container that is paused for a commit goes on when the commit is killed, can be entered and committed again.",
        see: &["docs.docker.com, docker container commit, --pause"],
        catalogue: &["S07", "Q06", "M21"],
        impact: Impact::AppVisible,
        run: Some(a_killed_commit),
        ..super::BASE
    },
    Case {
        id: "runtime/wait-tells-of-one-that-removes-itself",
        spec: "Whoever waits for a container gets its status, even where it is removed when it ends.",
        see: &["docs.docker.com, docker container wait"],
        catalogue: &["S07"],
        impact: Impact::AppVisible,
        run: Some(wait_tells_of_one_that_removes_itself),
        ..super::BASE
    },
    Case {
        id: "runtime/damaged-records-are-removed-by-force",
        spec: "A container whose record or state cannot be read is named, keeps its volume in use, and is removed by force with all that runs of it.",
        see: &["docs.docker.com, docker container rm, --force"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        program: &[
            run("run -d --name con -v data:/data base sleep 1000"),
            script(
                r#"cd "$COWLAB_ROOT/containers" && printf '{"half' >$(cat names/con)/state.json"#,
            ),
            state("con", "damaged"),
            run("volume rm data").exits(1),
            run("rm con").fails(1, &["damaged"]),
            run("rm -f con"),
            run("snapshot ls --filter name~=^container/ --json").prints("[]"),
            run("ps -aq").prints(""),
            run("volume rm data"),
            run("run -d --name con -v data:/data base sleep 1000"),
            script(
                r#"cd "$COWLAB_ROOT/containers" && printf '{"half' >$(cat names/con)/container.json"#,
            ),
            state("con", "none"),
            run("volume rm data").exits(65),
            run("rm con").fails(65, &["damaged"]),
            run("rm -f con"),
            run("snapshot ls --filter name~=^container/ --json").prints("[]"),
            run("ps -aq").prints(""),
            run("volume rm data"),
            run("run --rm --name con base true"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/cp-goes-into-volumes-and-keeps-owners",
        spec: "A directory is copied out of a container with what its volumes hold, whether it runs or not, and one copied in changes nobody else's owner.",
        see: &["docs.docker.com, docker container cp"],
        catalogue: &["S16", "P07"],
        impact: Impact::DataLoss,
        program: &[
            file("source/new", "new"),
            file("source/vol/below", "below"),
            run("run -d --name con -v data:/srv/vol base sleep 1000"),
            run("exec con sh -c 'echo v >/srv/vol/f'"),
            run("cp con:/srv {dir}/running"),
            content("running/vol/f").prints("v"),
            run("cp {dir}/source/. con:/srv"),
            run("cp {dir}/source/. con:/srv/vol"),
            // Everything but what the kernel shows in it.
            run("cp con:/ {dir}/everything"),
            script("ls -A {dir}/everything/proc").prints(""),
            run("stop -t 0 con"),
            run("cp con:/srv {dir}/stopped"),
            content("stopped/vol/f").prints("v"),
            run("cp {dir}/source/. con:/srv"),
            run("cp {dir}/source/. con:/srv/vol"),
            run("start con"),
            run("exec con stat -c %u:%g /srv/data /srv/new").prints("1000:8\n0:0"),
            run("exec con cat /srv/vol/new /srv/vol/below /srv/vol/f").prints("newbelowv"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/flags-that-are-not-supported-are-named",
        spec: "A flag or a value that docker knows and this program does not is refused by its name, and nothing is made.",
        see: &["docs.docker.com, docker container run"],
        catalogue: &["S05"],
        impact: Impact::AppVisible,
        program: &[
            run("run --privileged base true").fails(125, &["--privileged"]),
            run("run --memory 64m base true").fails(125, &["--memory"]),
            run("run --cpus 1 base true").fails(125, &["--cpus"]),
            run("run --restart always base true").fails(125, &["--restart"]),
            run("run --cap-add SYS_ADMIN base true").fails(125, &["--cap-add"]),
            run("run --network bridge base true").fails(125, &["bridge"]),
            run("run --link other base true").fails(125, &["--link"]),
            run("run --security-opt apparmor=x base true").fails(125, &["apparmor=x"]),
            run("run --device /dev/null base true").fails(125, &["--device"]),
            run("run -p 80:80 base true").fails(125, &["`run -p` is not here"]),
            run("run --storage-opt speed=1 base true").fails(125, &["speed"]),
            run("run --log-opt tag=x base true").fails(125, &["tag"]),
            run("run --mount type=npipe,target=/x base true").fails(125, &["npipe"]),
            run("ps -aq").prints(""),
            run("volume ls -q").prints(""),
        ],
        ..super::BASE
    },
];

/// The directory of a container, and a number in its inspection.
fn dir_of(product: &Product, name: &str) -> Result<PathBuf> {
    let id = fs::read_to_string(product.root().join("containers/names").join(name))?;
    Ok(product.root().join("containers").join(id))
}

fn kill_process(product: &Product, name: &str, which: &str) -> Result<()> {
    let inspected = product.json(&["inspect", name])?;
    let pid = inspected.pointer(&format!("/0/State/{which}"));
    let pid = pid
        .and_then(Value::as_u64)
        .and_then(|pid| u32::try_from(pid).ok());
    let task = match pid {
        Some(pid) => Task::open(pid)?,
        None => None,
    };
    let task = task.ok_or_else(|| Difference::new(name, which, "a process", "none"))?;
    task.signal(9)?;
    // A zombie whose other threads are still ending holds its locks: the descriptor is readable when all have ended (pidfd_open(2)).
    let ended = Ready {
        readable: true,
        writable: false,
    };
    until("the process is gone", || {
        let ready = channel::wait(&[(task.as_fd(), ended)], Some(Duration::ZERO))?;
        Ok(ready[0].readable)
    })
}

fn a_monitor_that_died(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.ok(&["run", "-d", "--name", "con", BASE, "sleep", "1000"])?;
    product.ok(&["exec", "con", "sh", "-c", "echo kept >/f"])?;
    kill_process(&product, "con", "MonitorPid")?;
    expect("con", "state", "unwatched", &state_of(&product, "con")?)?;
    product.says(&["exec", "con", "cat", "/f"], "kept")?;
    product.says(&["diff", "con"], "A /f")?;
    product
        .run(&["start", "con"])?
        .refused(1, "started already")?;
    product.ok(&["stop", "-t", "0", "con"])?;
    expect("con", "state", "dead", &state_of(&product, "con")?)?;
    product.run(&["wait", "con"])?.refused(3, "nobody saw")?;
    product.ok(&["start", "con"])?;
    product.says(&["exec", "con", "cat", "/f"], "kept")?;
    kill_process(&product, "con", "MonitorPid")?;
    product.ok(&["rm", "-f", "con"])?;
    product.says(
        &["snapshot", "ls", "--filter", "name~=^container/", "--json"],
        "[]",
    )?;
    product.ok(&["system", "check"]).map(drop)
}

fn a_reboot_is_recognized(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.ok(&["run", "-d", "--name", "con", BASE, "sleep", "1000"])?;
    product.ok(&["exec", "con", "sh", "-c", "echo kept >/f"])?;
    let file = dir_of(&product, "con")?.join("state.json");
    let running: Value = serde_json::from_slice(&fs::read(&file)?)?;
    kill_process(&product, "con", "MonitorPid")?;
    kill_process(&product, "con", "Pid")?;
    // The same numbers belong to others now: to this process, and to one of another boot.
    let changes: [fn(&mut Value); 2] = [
        |process| process["pid"] = std::process::id().into(),
        |process| process["boot"] = "00000000-0000-0000-0000-000000000000".into(),
    ];
    for change in changes {
        let mut state_then = running.clone();
        change(&mut state_then["monitor"]);
        change(&mut state_then["init"]);
        fs::write(&file, state_then.to_string())?;
        expect("con", "state", "dead", &state_of(&product, "con")?)?;
        product.run(&["stop", "con"])?.ok()?;
        product.run(&["kill", "con"])?.refused(1, "dead")?;
    }
    product.ok(&["start", "con"])?;
    product.says(&["exec", "con", "cat", "/f"], "kept")
}

/// Makes containers as a power cut leaves them; the processes go first, as with the power.
fn cut(product: &Product) -> Result<()> {
    product.ok(&["create", "--name", "created", BASE, "cat", "/testfile"])?;
    product.ok(&["run", "--name", "ended", BASE, "sh", "-c", "echo kept >/f"])?;
    product.ok(&["create", "--name", "half-made", BASE, "true"])?;
    let ephemeral = ["no-state", "no-record", "no-directory", "whole"];
    for name in ephemeral {
        let run = ["run", "-d", "--rm", "-v", "/anonymous", "--name", name];
        product.ok(&[&run[..], &[BASE, "sleep", "1000"]].concat())?;
    }
    for name in ephemeral {
        kill_process(product, name, "MonitorPid")?;
        kill_process(product, name, "Pid")?;
    }
    let dir = |name| dir_of(product, name);
    fs::remove_file(dir("half-made")?.join("state.json"))?;
    // Renamed and not flushed: the name is there, the content is not (xfs).
    fs::write(dir("no-state")?.join("state.json"), "")?;
    fs::remove_file(dir("no-record")?.join("container.json"))?;
    fs::remove_dir_all(dir("no-directory")?)?;
    for name in ["no-state", "no-record"] {
        fs::write(product.root().join("containers/names").join(name), "")?;
    }
    Ok(())
}

fn a_power_cut(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    cut(&product)?;
    let boot = context.dir().join("boot");
    fs::write(&boot, "00000000-0000-4000-8000-000000000000\n")?;
    let ok = |words: &[&str]| product.run_in_boot(&boot, words)?.ok();
    let listed: Value = serde_json::from_str(&ok(&["ps", "-a", "--json"])?)?;
    let rows = listed.as_array().into_iter().flatten();
    let mut left: Vec<_> = rows.filter_map(|row| row["name"].as_str()).collect();
    left.sort_unstable();
    expect("ps -a", "containers", "created ended", &left.join(" "))?;
    let names = fs::read_dir(product.root().join("containers/names"))?.count();
    expect("containers/names", "entries", 2, names)?;
    let snapshots = ["snapshot", "ls", "--filter", "name~=^container/", "--json"];
    let snapshots: Value = serde_json::from_str(&ok(&snapshots)?)?;
    let count = snapshots.as_array().map_or(0, Vec::len);
    expect("snapshot ls", "container snapshots", 2, count)?;
    // Those of the two whose records are gone stay, for nobody knows whose they are.
    let volumes = ok(&["volume", "ls", "-q"])?;
    expect("volume ls", "anonymous volumes", 2, volumes.lines().count())?;
    for name in [
        "half-made",
        "no-state",
        "no-record",
        "no-directory",
        "whole",
    ] {
        ok(&["run", "--rm", "--name", name, BASE, "true"])?;
    }
    expect(
        "created",
        "output",
        "test",
        &ok(&["start", "-a", "created"])?,
    )?;
    expect("ended", "changes", "A /f", &ok(&["diff", "ended"])?)?;
    ok(&["rm", "created", "ended"])?;
    ok(&["system", "check"])?;
    ok(&["rmi", BASE]).map(drop)
}

fn a_root_at_another_place(context: &mut Context) -> Result<()> {
    let mut product = Product::new(context)?;
    let run = ["run", "--name", "con", "-v", "data:/data", BASE, "sh", "-c"];
    product.ok(&[&run[..], &["echo layer >/f; echo volume >/data/f"]].concat())?;
    product.ok(&["commit", "con", "two"])?;
    product.move_to(context.dir().join("elsewhere"))?;
    let place = product.root().display().to_string();
    let images = product.run(&["images", "-q"])?;
    expect(
        "images",
        "the new place is told",
        true,
        images.err.contains(&place),
    )?;
    let again = product.run(&["images", "-q"])?;
    expect("images once more", "message", "", again.err.as_str())?;
    product.says(&["diff", "con"], "A /f")?;
    product.ok(&["start", "-a", "con"])?;
    let cat = ["cat", "/f", "/data/f"];
    let run = ["run", "--rm", "-v", "data:/data", "two"];
    product.says(&[&run[..], &cat].concat(), "layer\nvolume")?;
    product.ok(&["rm", "con"])?;
    product.ok(&["volume", "rm", "data"])?;
    product.ok(&["rmi", "two"])?;
    product.ok(&["system", "check"]).map(drop)
}

fn a_killed_commit(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.ok(&["run", "-d", "--name", "con", BASE, "sleep", "1000"])?;
    let large = "dd if=/dev/urandom of=/large bs=1M count=24";
    product.ok(&["exec", "con", "sh", "-c", large])?;
    let lock = dir_of(&product, "con")?.join("pause.lock");
    let program = program()?;
    let mut commit = Cmd::new(program)
        .args(["commit", "con", "cut"])
        .env("COWLAB_ROOT", product.root())
        .spawn()?;
    until("the commit has paused the container", || {
        Ok(!commit.is_alive()? || FileLock::try_exclusive(&lock)?.is_none())
    })?;
    commit.kill()?;
    product.says(&["exec", "con", "cat", "/testfile"], "test")?;
    product.ok(&["commit", "con", "whole"])?;
    let sizes = ["run", "--rm", "whole", "stat", "-c", "%s", "/large"];
    product.says(&sizes, "25165824")?;
    product.ok(&["stop", "-t", "0", "con"])?;
    product.ok(&["system", "check"]).map(drop)
}

fn wait_tells_of_one_that_removes_itself(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let program = [
        "sh",
        "-c",
        "while [ ! -e /go ]; do sleep 0.05; done; exit 7",
    ];
    let run = [&["run", "-d", "--rm", "--name", "con", BASE], &program[..]];
    product.ok(&run.concat())?;
    let waiters = dir_of(&product, "con")?.join("waiters");
    let (waited, told) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| product.run(&["wait", "con"]));
        // It holds what it waits by, and then the container may end.
        while !waiting.is_finished() && matches!(FileLock::try_exclusive(&waiters), Ok(Some(_))) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let told = product.ok(&["exec", "con", "touch", "/go"]);
        let waited = waiting.join();
        (
            waited.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            told,
        )
    });
    told?;
    expect("wait", "status", "7".to_owned(), waited?.ok()?)?;
    until("the container has removed itself", || {
        Ok(state_of(&product, "con")? == "none")
    })?;
    product.run(&["wait", "con"])?.refused(2, "`con`")
}
