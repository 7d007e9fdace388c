//! apt-get, the only thing here that changes the machine.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use cowlab_sys::Cmd;

use crate::terminal::Work;

use super::packages::Package;

const LISTS: &str = "/var/lib/apt/lists";
/// Older package lists often name versions that the mirror no longer has.
const LISTS_MAXIMUM_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Unattended upgrades may hold the lock of dpkg for a while.
const LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=300";

/// Whether this system has apt-get.
pub(super) fn is_there() -> bool {
    Cmd::find("apt-get").is_some()
}

/// The command that installs `packages`, for a person to type.
pub(super) fn command_line(packages: &[&Package], sudo: bool) -> String {
    words(packages, sudo, lists_are_stale())
}

fn words(packages: &[&Package], sudo: bool, update: bool) -> String {
    let sudo = if sudo { "sudo " } else { "" };
    let update = if update {
        format!("{sudo}apt-get update && ")
    } else {
        String::new()
    };
    let names: Vec<_> = packages.iter().map(|package| package.name).collect();
    format!(
        "{update}{sudo}apt-get install --no-install-recommends {}",
        names.join(" ")
    )
}

/// Installs `packages`, with fresh lists if there are none, if they are old, or if the first try fails.
pub(super) fn install(packages: &[&Package]) -> anyhow::Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = packages.iter().map(|package| package.name).collect();
    // Old lists may still do where no fresh ones are to be had.
    let updated = lists_are_stale() && update().is_ok();
    let first_try = apt_get("install", &names);
    if first_try.is_ok() || updated {
        return first_try;
    }
    update()?;
    apt_get("install", &names)
}

/// Whether the package lists are missing or old.
fn lists_are_stale() -> bool {
    fetched_at(Path::new(LISTS)).is_none_or(|fetched| {
        // A time in the future is a clock that was set back: no reason to fetch.
        fetched.elapsed().is_ok_and(|age| age > LISTS_MAXIMUM_AGE)
    })
}

/// When the lists in `dir` were fetched, if there are any. The time of a list itself is that of the
/// archive (apt keeps Last-Modified); every update passes through `partial`, whose time is ours.
fn fetched_at(dir: &Path) -> Option<SystemTime> {
    let mut entries = fs::read_dir(dir).ok()?.flatten();
    if !entries.any(|entry| entry.file_name().to_string_lossy().contains("_Packages")) {
        return None;
    }
    [dir.to_path_buf(), dir.join("partial")]
        .iter()
        .filter_map(|path| fs::metadata(path).ok()?.modified().ok())
        .max()
}

fn update() -> anyhow::Result<()> {
    apt_get("update", &[])
}

fn apt_get(verb: &str, names: &[&str]) -> anyhow::Result<()> {
    let mut title = format!("apt-get {verb}");
    for name in names {
        title.push(' ');
        title.push_str(name);
    }
    let work = Work::start(title);
    let mut command = Cmd::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-q", "-o", LOCK_TIMEOUT, verb]);
    if verb == "install" {
        command = command.args(["-y", "--no-install-recommends"]).args(names);
    }
    let result = command.read();
    work.finish();
    result
        .map(drop)
        .with_context(|| format!("apt-get {verb} failed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::packages::PACKAGES;

    #[test]
    fn the_printed_command_is_complete() {
        let packages: Vec<_> = PACKAGES.iter().take(2).collect();
        assert_eq!(
            words(&packages, false, false),
            "apt-get install --no-install-recommends gcc libc6-dev"
        );
        assert_eq!(
            words(&packages, true, true),
            "sudo apt-get update && sudo apt-get install --no-install-recommends gcc libc6-dev"
        );
    }

    #[test]
    fn only_package_lists_count_as_lists() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("lock"), "").unwrap();
        assert_eq!(fetched_at(dir.path()), None);
        fs::write(
            dir.path()
                .join("host_dists_bookworm_main_binary-amd64_Packages.lz4"),
            "",
        )
        .unwrap();
        assert!(fetched_at(dir.path()).is_some());
    }
}
