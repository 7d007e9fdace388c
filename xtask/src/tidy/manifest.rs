//! The rules about manifests: which crate may know which, and that all share the workspace's lints.

use super::Finding;
use super::tree::TextFile;

/// The rank of every driver: a crate that the registry depends on and that has no rank of its own below.
const DRIVER_RANK: u8 = 4;
/// The registry's manifest, which lists the drivers.
const REGISTRY: &str = "drivers/Cargo.toml";
/// What the name of a driver's crate begins with; the driver's own follows.
const CRATE_PREFIX: &str = "cowlab-";

/// The one way that dependencies point. A crate may use crates of a lower rank; its tests may also use
/// those of its own, since a store cannot be tried without a driver.
const RANKS: &[(&str, u8)] = &[
    ("cowlab-dockerfile", 0),
    ("cowlab-random", 0),
    ("cowlab-units", 0),
    ("cowlab-sys", 1),
    ("cowlab-tarball", 1),
    ("cowlab-driver", 2),
    ("cowlab-guest", 2),
    ("cowlab-layer", 3),
    ("cowlab-snapshots", DRIVER_RANK),
    ("cowlab-drivers", 5),
    ("cowlab-testbed", 6),
    ("cowlab-runtime", 6),
    ("cowlab-engine", 7),
    ("cowlab-build", 7),
    ("cowlab-conformance", 8),
    ("cowlab-bench", 8),
    ("cowlab", 9),
    ("cowlab-proofs", 9),
];
/// Stands apart: of the workspace it uses [`REPORTS_USES`] alone.
const REPORTS: &str = "cowlab-reports";
const REPORTS_USES: [&str; 2] = ["cowlab-random", "cowlab-units"];
/// Alone may use [`REPORTS`].
const REPORT_WRITERS: [&str; 5] = [
    "cowlab-engine",
    "cowlab-conformance",
    "cowlab-bench",
    "cowlab",
    "cowlab-proofs",
];
/// Builds and calls the others, so that it may link only what compiles on a bare machine.
const XTASK: &str = "xtask";
const XTASK_USES: [&str; 3] = ["cowlab-sys", "cowlab-guest", "cowlab-units"];

/// Crates that compile or look for C.
const C_BUILDERS: [&str; 6] = ["bindgen", "cc", "clang-sys", "cmake", "pkg-config", "vcpkg"];

/// A line of a manifest with the section it stands in.
#[derive(Debug)]
struct Entry<'a> {
    section: &'a str,
    key: &'a str,
    value: &'a str,
    line: usize,
}

/// Checks every member's manifest.
pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
    let crates: Vec<String> = drivers(files)
        .iter()
        .map(|name| format!("{CRATE_PREFIX}{name}"))
        .collect();
    let drivers: Vec<&str> = crates.iter().map(String::as_str).collect();
    files
        .iter()
        .filter(|file| file.path.ends_with("Cargo.toml") && file.path.components().count() > 1)
        .flat_map(|file| check_member(file, &drivers))
        .collect()
}

/// The names of the drivers: what the registry depends on and has no rank of its own.
pub(super) fn drivers(files: &[TextFile]) -> Vec<String> {
    let registry = files.iter().find(|file| file.path.as_os_str() == REGISTRY);
    let listed = registry.map(|file| entries(&file.text)).unwrap_or_default();
    let ranked = |name: &str| RANKS.iter().any(|(listed, _)| *listed == name);
    listed
        .iter()
        .filter(|entry| entry.section == "dependencies")
        .filter_map(|entry| entry.key.split('.').next())
        .filter(|name| !ranked(name))
        .filter_map(|name| name.strip_prefix(CRATE_PREFIX))
        .map(str::to_owned)
        .collect()
}

/// Crates in the closure of xtask (`cargo tree --prefix none`) that need a C compiler or library.
pub(super) fn c_dependencies(closure: &str) -> Vec<Finding> {
    let mut names: Vec<_> = closure
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| C_BUILDERS.contains(name))
        .map(|name| {
            Finding::new(
                "xtask/Cargo.toml".as_ref(),
                1,
                format!("xtask needs `{name}`: it must build where nothing is installed"),
            )
        })
        .collect()
}

/// A warning if the workspace claims another Rust version than the one of `rustc --version`.
pub(super) fn toolchain_differs(files: &[TextFile], rustc: &str) -> Option<String> {
    let root = files
        .iter()
        .find(|file| file.path.as_os_str() == "Cargo.toml")?;
    let claimed = entries(&root.text)
        .into_iter()
        .find(|entry| entry.key == "rust-version")?;
    let claimed = claimed.value.trim_matches('"');
    let actual = rustc.split_whitespace().nth(1)?;
    let minor: Vec<_> = actual.splitn(3, '.').take(2).collect();
    (minor.join(".") != claimed).then(|| {
        format!(
            "`rust-version` claims {claimed}, but this is Rust {actual}: nothing tests the claim"
        )
    })
}

fn check_member(file: &TextFile, drivers: &[&str]) -> Vec<Finding> {
    let entries = entries(&file.text);
    let mut findings = Vec::new();
    let has = |section: &str, key: &str, value: &str| {
        entries
            .iter()
            .any(|entry| entry.section == section && entry.key == key && entry.value == value)
    };
    if !has("lints", "workspace", "true") {
        findings.push(Finding::new(
            &file.path,
            1,
            "lacks `[lints] workspace = true`",
        ));
    }
    // Criterion's own arguments would reach libtest's bench harness.
    if !has("lib", "bench", "false") && !has("[bin]", "bench", "false") {
        findings.push(Finding::new(
            &file.path,
            1,
            "lacks `bench = false` in `[lib]` or `[[bin]]`",
        ));
    }
    let Some(name) = entries
        .iter()
        .find(|entry| entry.section == "package" && entry.key == "name")
    else {
        findings.push(Finding::new(&file.path, 1, "has no package name"));
        return findings;
    };
    let name = name.value.trim_matches('"');
    let used = entries
        .iter()
        .filter(|entry| entry.section.ends_with("dependencies"));
    for entry in used {
        let dependency = entry.key.split('.').next().unwrap_or(entry.key);
        if is_ours(dependency) && !may_use(drivers, name, dependency, entry.section) {
            let message =
                format!("`{name}` must not depend on `{dependency}`: dependencies point one way");
            findings.push(Finding::new(&file.path, entry.line, message));
        }
    }
    findings
}

fn is_ours(name: &str) -> bool {
    name == XTASK || name == "cowlab" || name.starts_with("cowlab-")
}

fn may_use(drivers: &[&str], user: &str, used: &str, section: &str) -> bool {
    if user == XTASK {
        return XTASK_USES.contains(&used);
    }
    if user == REPORTS {
        return REPORTS_USES.contains(&used);
    }
    if used == REPORTS {
        return REPORT_WRITERS.contains(&user);
    }
    let rank = |name| {
        RANKS
            .iter()
            .find(|(listed, _)| *listed == name)
            .map(|(_, rank)| *rank)
            .or_else(|| drivers.contains(&name).then_some(DRIVER_RANK))
    };
    let (Some(user_rank), Some(used_rank)) = (rank(user), rank(used)) else {
        return false;
    };
    match section {
        "dev-dependencies" => used_rank <= user_rank && used != user,
        _ => used_rank < user_rank,
    }
}

/// The keys of a manifest. It reads the plain lines that this workspace writes, not all of TOML.
fn entries(text: &str) -> Vec<Entry<'_>> {
    let mut section = "";
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name;
        } else if let Some((key, value)) = line.split_once('=')
            && !line.starts_with('#')
        {
            entries.push(Entry {
                section,
                key: key.trim(),
                value: value.trim(),
                line: index + 1,
            });
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRIVERS: &[&str] = &["cowlab-vfs", "cowlab-btrfs"];

    fn member(text: &str) -> Vec<String> {
        let file = TextFile {
            path: "x/Cargo.toml".into(),
            text: text.into(),
        };
        let registry = TextFile {
            path: REGISTRY.into(),
            text: "[package]\nname = \"cowlab-drivers\"\n[lib]\nbench = false\n[dependencies]\ncowlab-vfs.workspace = true\n\
                   [lints]\nworkspace = true\n"
                .into(),
        };
        check(&[file, registry])
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_clean_member_has_no_findings() {
        let text = "[package]\nname = \"cowlab-vfs\"\n[lib]\nbench = false\n[dependencies]\ncowlab-sys.workspace = true\n\
                    [lints]\nworkspace = true\n";
        assert_eq!(member(text), Vec::<String>::new());
    }

    #[test]
    fn missing_lints_and_benches_are_found() {
        assert_eq!(member("[package]\nname = \"cowlab-vfs\"\n").len(), 2);
    }

    #[test]
    fn a_dependency_against_the_direction_is_found() {
        let text = "[package]\nname = \"cowlab-vfs\"\n[lib]\nbench = false\n[lints]\nworkspace = true\n\
                    [dev-dependencies]\ncowlab-testbed = { workspace = true }\n";
        let expected = "x/Cargo.toml:8: `cowlab-vfs` must not depend on `cowlab-testbed`: dependencies point one way";
        assert_eq!(member(text), [expected]);
    }

    #[test]
    fn dependencies_point_one_way() {
        let allowed = [
            ("cowlab-vfs", "cowlab-driver"),
            ("cowlab-snapshots", "cowlab-layer"),
            ("cowlab", "cowlab-reports"),
            ("cowlab-engine", "cowlab-reports"),
            ("cowlab-reports", "cowlab-units"),
            ("xtask", "cowlab-sys"),
            ("xtask", "cowlab-guest"),
        ];
        let forbidden = [
            ("cowlab-vfs", "cowlab-btrfs"),
            ("cowlab-sys", "cowlab-driver"),
            ("cowlab-reports", "cowlab-sys"),
            ("cowlab-snapshots", "cowlab-reports"),
            ("cowlab-snapshots", "cowlab-vfs"),
            ("cowlab-layer", "cowlab-snapshots"),
            ("cowlab-runtime", "cowlab-reports"),
            ("cowlab-runtime", "cowlab-testbed"),
            ("cowlab", "xtask"),
            ("xtask", "cowlab-driver"),
            ("cowlab-unknown", "cowlab-sys"),
        ];
        for (user, used) in allowed {
            assert!(
                may_use(DRIVERS, user, used, "dependencies"),
                "{user} {used}"
            );
        }
        for (user, used) in forbidden {
            assert!(
                !may_use(DRIVERS, user, used, "dependencies"),
                "{user} {used}"
            );
        }
    }

    #[test]
    fn tests_may_use_their_own_rank_and_none_above() {
        let may = |used| may_use(DRIVERS, "cowlab-snapshots", used, "dev-dependencies");
        assert!(may("cowlab-vfs"));
        assert!(!may("cowlab-testbed"));
        assert!(!may("cowlab-snapshots"));
    }

    #[test]
    fn a_c_library_under_xtask_is_found() {
        let closure =
            "xtask v0.1.0 (/w/xtask)\nclap v4.5.0\nzstd-sys v2.0.0\ncc v1.2.0\ncc v1.2.0\n";
        assert_eq!(c_dependencies(closure).len(), 1);
        assert_eq!(c_dependencies("clap v4.5.0\nlibc v0.2.0\n").len(), 0);
    }

    #[test]
    fn another_toolchain_is_a_warning() {
        let files = [TextFile {
            path: "Cargo.toml".into(),
            text: "[workspace.package]\nrust-version = \"1.95\"\n".into(),
        }];
        assert_eq!(toolchain_differs(&files, "rustc 1.95.1 (hash date)"), None);
        assert!(toolchain_differs(&files, "rustc 1.97.0 (hash date)").is_some());
    }
}
