//! The cgroup of a container, without libcontainer's record of it: that record is written anew at every pause, and a full
//! disk leaves half of it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use libcgroups::common::{CgroupConfig, CgroupManager, create_cgroup_manager};

/// Where cgroups are.
const ROOT: &str = "/sys/fs/cgroup";

/// How long processes may take to stand still: one that waits for a disk does not at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Files that have a cgroup stand still or go on, one a version: below a hierarchy, what is written, and a file that says
/// that all stand still (cgroup-v1/freezer-subsystem.rst; cgroup-v2.rst, "cgroup.freeze").
const FREEZERS: [Freezer; 2] = [
    Freezer {
        hierarchy: "freezer",
        file: "freezer.state",
        words: ["THAWED", "FROZEN"],
        told: ("freezer.state", "FROZEN"),
    },
    Freezer {
        hierarchy: "",
        file: "cgroup.freeze",
        words: ["0", "1"],
        told: ("cgroup.events", "frozen 1"),
    },
];

struct Freezer {
    hierarchy: &'static str,
    file: &'static str,
    words: [&'static str; 2],
    told: (&'static str, &'static str),
}

/// The path of a container's cgroup, below the place where cgroups are.
pub(super) fn path(id: &str) -> String {
    format!("/cowlab/{id}")
}

/// Has all processes of a container stand still, or go on. Says why that cannot be.
///
/// Nothing is made: a cgroup that goes meanwhile, with its container, stays gone.
pub(super) fn freeze(id: &str, still: bool) -> Result<(), String> {
    for freezer in &FREEZERS {
        let hierarchy = Path::new(ROOT).join(freezer.hierarchy);
        let dir = hierarchy.join(path(id).trim_start_matches('/'));
        let file = dir.join(freezer.file);
        if !file.exists() {
            continue;
        }
        let failed = |error: std::io::Error| format!("`{}`: {error}", file.display());
        let until = Instant::now() + PATIENCE;
        loop {
            let mut open = OpenOptions::new().write(true).open(&file).map_err(failed)?;
            let word = freezer.words[usize::from(still)];
            open.write_all(word.as_bytes()).map_err(failed)?;
            let (events, all) = freezer.told;
            let told = fs::read_to_string(dir.join(events)).map_err(failed)?;
            if !still || told.lines().any(|line| line.trim() == all) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err("a process of it does not stand still".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    match still {
        true => Err(format!(
            "it has no cgroup that can be frozen, `{ROOT}/freezer{0}` or `{ROOT}{0}`: an ordinary user's has one only where cgroups are delegated",
            path(id)
        )),
        // What has none was never stopped: an ordinary user's has none where nothing is delegated.
        false => Ok(()),
    }
}

/// Whether the processes of a container stand still.
pub(super) fn is_frozen(id: &str) -> bool {
    FREEZERS.iter().any(|freezer| {
        let hierarchy = Path::new(ROOT).join(freezer.hierarchy);
        let (events, all) = freezer.told;
        let told = hierarchy
            .join(path(id).trim_start_matches('/'))
            .join(events);
        fs::read_to_string(told).is_ok_and(|text| text.lines().any(|line| line.trim() == all))
    })
}

/// Kills what is left in the cgroup of a container and removes it. Says why that cannot be.
pub(super) fn remove(id: &str) -> Result<(), String> {
    let manager = create_cgroup_manager(CgroupConfig {
        cgroup_path: path(id).into(),
        systemd_cgroup: false,
        container_name: id.to_owned(),
    });
    let manager = manager.map_err(|error| error.to_string())?;
    manager.remove().map_err(|error| error.to_string())
}
