//! What a run of the suite does to those who work on the same machine.

use std::path::Path;

use cowlab_sys::cmd::Cmd;
use cowlab_sys::mountinfo;
use cowlab_sys::task::Task;
use cowlab_testbed::base_directory;

use crate::context::Result;
use crate::prelude::*;
use crate::product::{program, until};

pub(in crate::cases) const CASES: &[Case] = &[Case {
    id: "runtime/a-run-of-the-suite-holds-no-foreign-mount",
    spec: "While a conformance run is going, others unmount what they have mounted, and its device becomes free.",
    see: &["mount_namespaces(7)", "losetup(8), autoclear"],
    catalogue: &["S22"],
    impact: Impact::AppVisible,
    run: Some(a_run_of_the_suite_holds_no_foreign_mount),
    ..super::BASE
}];

const SIGSTOP: i32 = 19;
const SIGCONT: i32 = 18;

fn a_run_of_the_suite_holds_no_foreign_mount(context: &mut Context) -> Result<()> {
    // In a guest the directory of temporary files is in memory.
    let place = tempfile::tempdir_in(base_directory())?;
    let (foreign, tests) = (place.path().join("foreign"), place.path().join("tests"));
    std::fs::create_dir(&foreign)?;
    std::fs::create_dir(&tests)?;
    let image = context.dir().join("foreign.img");
    std::fs::File::create(&image)?.set_len(16 << 20)?;
    Cmd::new("mkfs.ext4").arg("-q").arg(&image).run()?;
    // The loop device ends with the last mount of it.
    let mount = Cmd::new("mount").args(["-o", "loop"]);
    mount.arg(&image).arg(&foreign).run()?;
    // Another column may have a docker of its own running.
    let words = [
        "--driver",
        "vfs",
        "--backing",
        "ext4",
        "--where",
        "host",
        "--on-live-host",
    ];
    let log = context.dir().join("suite.log");
    let mut suite = Cmd::new(program()?)
        .arg("conformance")
        .args(words)
        .args(["--case", "lookup"])
        .env("COWLAB_TEST_DIR", &tests)
        .attach(std::fs::File::create(&log)?)?;
    let seen = (|| {
        let pid = suite.pid();
        let mut column = None;
        until("a column has begun", || {
            if !suite.is_alive()? {
                let said = std::fs::read_to_string(&log)?;
                let got = format!("it has ended: {}", said.trim());
                return Err(Difference::new("conformance", "runs", "yes", got));
            }
            column = column_of(pid, &tests)?;
            Ok(column.is_some())
        })?;
        let task = column.map_or(Ok(None), Task::open)?;
        let task = task.ok_or_else(|| Difference::new("the column", "runs", "yes", "no"))?;
        task.signal(SIGSTOP)?;
        let freed = unmount_and_free(&foreign, &image);
        task.signal(SIGCONT)?;
        freed
    })();
    if seen.is_err()
        && mountinfo::read_self()?
            .iter()
            .any(|mount| mount.mount_point == foreign)
    {
        Cmd::new("umount").arg(&foreign).run()?;
    }
    let status = suite.wait()?;
    seen?;
    match status {
        0 => Ok(()),
        status => {
            let got = format!("{status}: {}", std::fs::read_to_string(&log)?.trim());
            Err(Difference::new("conformance", "exit status", 0, got))
        }
    }
}

/// Unmounts a loop mount and waits for its device to end. It ends with the last that has it open: who scans all block devices
/// (`btrfs device scan`, blkid) opens it for a moment, while a copy of the mount in the stopped run would hold it for good.
fn unmount_and_free(mount_point: &Path, image: &Path) -> Result<()> {
    Cmd::new("umount").arg(mount_point).run()?;
    until("the loop device of the unmounted image has ended", || {
        let devices = Cmd::new("losetup").arg("--associated").arg(image).read()?;
        Ok(devices.is_empty())
    })
}

/// The process of a run in which a thread has mounted what a column lies on, in a namespace of its own.
fn column_of(run: u32, tests: &Path) -> Result<Option<u32>> {
    // The run, a process or a thread of it may end meanwhile.
    let lines = files_of_threads(run, "children");
    let processes = lines.iter().flat_map(|line| line.split_whitespace());
    for process in processes.filter_map(|number| number.parse().ok()) {
        for table in files_of_threads(process, "mountinfo") {
            let mounts = mountinfo::parse(table.as_bytes())?;
            let mut points = mounts.iter().map(|mount| &mount.mount_point);
            if points.any(|point| point.starts_with(tests)) {
                return Ok(Some(process));
            }
        }
    }
    Ok(None)
}

/// What a file below `/proc` says of each thread of a process.
fn files_of_threads(process: u32, name: &str) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"));
    let threads = threads.into_iter().flatten().flatten();
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join(name)).ok())
        .collect()
}
