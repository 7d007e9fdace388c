//! What this machine is, for the results: no host name, no address, no serial number.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cowlab_reports::result::{Environment, Storage};
use cowlab_sys::cmd::Cmd;

/// The programs whose version can change a result, and how each is asked for it.
const TOOLS: &[(&str, &[&str])] = &[
    ("mkfs.ext4", &["-V"]),
    ("mkfs.xfs", &["-V"]),
    ("mkfs.btrfs", &["--version"]),
    ("mmdebstrap", &["--version"]),
];

/// Describes this machine, the container engines that run on it, and the file system of `storage`, the directory that
/// would hold the containers.
#[must_use]
pub fn environment(storage: &Path, engines: Vec<String>) -> Environment {
    let read = |path: &str| {
        fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let cpuinfo = read("/proc/cpuinfo");
    Environment {
        kernel_release: read("/proc/sys/kernel/osrelease"),
        kernel_version: read("/proc/sys/kernel/version"),
        architecture: std::env::consts::ARCH.to_owned(),
        cpu_model: field(&cpuinfo, "model name", ':').unwrap_or_else(|| "unknown".to_owned()),
        cores: std::thread::available_parallelism()
            .map_or(0, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory_bytes: memory(&read("/proc/meminfo")),
        distribution: field(&read("/etc/os-release"), "PRETTY_NAME", '=')
            .unwrap_or_else(|| "unknown".to_owned()),
        cowlab: env!("CARGO_PKG_VERSION").to_owned(),
        place: crate::guest::here(),
        tools: TOOLS
            .iter()
            .filter_map(|(name, args)| Some(((*name).to_owned(), version(name, args)?)))
            .collect(),
        storage: describe(storage),
        engines,
        facts: facts(),
    }
}

/// The commit that `cargo xtask` built from, or nothing where it is not known.
#[must_use]
pub fn commit() -> String {
    std::env::var("COWLAB_COMMIT").unwrap_or_default()
}

fn facts() -> BTreeMap<String, String> {
    let files = [
        (
            "cpufreq governor",
            "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        ),
        (
            "transparent huge pages",
            "/sys/kernel/mm/transparent_hugepage/enabled",
        ),
        ("kernel taint", "/proc/sys/kernel/tainted"),
    ];
    let mut facts: BTreeMap<String, String> = files
        .into_iter()
        .filter_map(|(name, path)| {
            Some((
                name.to_owned(),
                fs::read_to_string(path).ok()?.trim().to_owned(),
            ))
        })
        .collect();
    if cfg!(debug_assertions) {
        facts.insert("build".to_owned(), "debug".to_owned());
    }
    facts
}

/// Finds `name = value` or `name : value` at the start of a line.
fn field(text: &str, name: &str, separator: char) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(separator)?;
        (key.trim() == name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// `MemTotal` of proc_meminfo(5), in bytes.
fn memory(meminfo: &str) -> u64 {
    field(meminfo, "MemTotal", ':')
        .and_then(|value| value.split(' ').next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib << 10)
}

/// The first line with a digit in it: some programs say their name first, some say the version to stderr.
fn version(program: &str, args: &[&str]) -> Option<String> {
    Cmd::find(program)?;
    let output = Cmd::new(program).args(args).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text)
        .lines()
        .find(|line| line.contains(|c: char| c.is_ascii_digit()))
        .map(|line| line.trim().to_owned())
}

fn describe(dir: &Path) -> Option<Storage> {
    let dir = dir.ancestors().find(|dir| dir.is_dir())?;
    let mounts = cowlab_sys::mountinfo::read_self().ok()?;
    let path = fs::canonicalize(dir).ok()?;
    // The last of equally long matches is the mount on top.
    let entry = mounts
        .iter()
        .filter(|entry| path.starts_with(&entry.mount_point))
        .max_by_key(|entry| entry.mount_point.as_os_str().len())?;
    let statfs = cowlab_sys::stat::statfs(&path).ok()?;
    Some(Storage {
        directory: dir.display().to_string(),
        backing: backing(&entry.fstype, &path),
        mount_options: entry.options.clone(),
        bytes: statfs.blocks * statfs.block_size,
    })
}

/// The backing name in the words of a column: xfs without reflinks is another backing than xfs with them.
fn backing(fstype: &str, path: &Path) -> String {
    let no_reflink = fstype == "xfs"
        && Cmd::new("xfs_info")
            .arg(path)
            .read()
            .is_ok_and(|text| text.contains("reflink=0"));
    if no_reflink {
        "xfs-noreflink".to_owned()
    } else {
        fstype.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_their_whole_name() {
        let text = "MemFree: 1 kB\nMemTotal:       24110 kB\n";
        assert_eq!(memory(text), 24110 << 10);
        assert_eq!(
            field("PRETTY_NAME=\"Debian 12\"\n", "PRETTY_NAME", '='),
            Some("Debian 12".to_owned())
        );
        assert_eq!(field("XPRETTY_NAME=x\n", "PRETTY_NAME", '='), None);
    }
}
