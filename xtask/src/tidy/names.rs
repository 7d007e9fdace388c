//! The rule that nothing knows a driver by its name: it asks the registry, or the data of an entry.

use super::Finding;
use super::source::Source;
use super::tree::TextFile;

/// Where the name of a driver may stand, and why.
const ALLOWED: &[(&str, &str)] = &[
    (
        "drivers/src/lib.rs",
        "the registry names drivers in its tests",
    ),
    ("drivers/sys/", "names of programs, and features"),
    ("drivers/testbed/", "names of file systems and programs"),
    (
        "drivers/driver/src/projects.rs",
        "a deviation's backing file systems",
    ),
    ("drivers/layer/src/compare.rs", "the type of a file system"),
    ("runtime/cli/src/guest/", "a field of the guest's manifest"),
    (
        "conformance/src/cases/runtime/exchange.rs",
        "podman's own driver",
    ),
    ("bench/src/peers/", "the driver that the peers have too"),
    ("bench/src/neighbours.rs", "not asked of the registry yet"),
    (
        "conformance/src/cases/runtime/neighbor.rs",
        "not asked of the registry yet",
    ),
    (
        "reports/src/",
        "rules repeat documentation about products, see `reports/src/rules/mod.rs`",
    ),
    ("xtask/src/setup/", "names of packages and programs"),
    (
        "xtask/src/verify/",
        "published claims are about products that they name",
    ),
    ("xtask/src/tidy/", "this rule"),
];

/// Checks all files for the names of these drivers as literals. Tests are free to name one.
pub(super) fn check(files: &[TextFile], drivers: &[String]) -> Vec<Finding> {
    files
        .iter()
        .filter(|file| file.has_extension("rs") && !is_free(file, drivers))
        .flat_map(|file| check_file(file, drivers))
        .collect()
}

fn is_free(file: &TextFile, drivers: &[String]) -> bool {
    let path = file.path.to_string_lossy();
    let is_test = file.path.ends_with("tests.rs")
        || file
            .path
            .components()
            .any(|part| part.as_os_str() == "tests")
        || path.ends_with("_tests.rs");
    is_test
        || ALLOWED.iter().any(|(place, _)| path.starts_with(place))
        || drivers
            .iter()
            .any(|driver| path.starts_with(&format!("drivers/{driver}/")))
}

fn check_file(file: &TextFile, drivers: &[String]) -> Vec<Finding> {
    let source = Source::parse(&file.text);
    let mut findings = Vec::new();
    for (index, line) in source.literal.iter().enumerate() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            break;
        }
        let named = drivers
            .iter()
            .find(|driver| line.contains(&format!("\"{driver}\"")));
        if let Some(driver) = named
            && !line.contains("feature = ")
        {
            let message = format!(
                "the name of driver `{driver}`: ask the registry, or an entry for what it can do"
            );
            findings.push(Finding::new(&file.path, index + 1, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        let file = TextFile {
            path: path.into(),
            text: text.into(),
        };
        check(&[file], &["vfs".to_owned()]).len()
    }

    #[test]
    fn a_driver_known_by_name_is_found() {
        let text = "const DRIVER: &str = \"vfs\";\n";
        assert_eq!(found("bench/src/lab.rs", text), 1);
        assert_eq!(found("drivers/vfs/src/lib.rs", text), 0);
        assert_eq!(found("bench/tests/lab.rs", text), 0);
        assert_eq!(
            found(
                "bench/src/lab.rs",
                "// \"vfs\"\nconst A: &str = \"vfsx\";\n"
            ),
            0
        );
        assert_eq!(
            found("bench/src/lab.rs", &format!("#[cfg(test)]\n{text}")),
            0
        );
    }
}
