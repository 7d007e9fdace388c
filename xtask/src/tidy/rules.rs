//! The rules about a single file.

use std::path::Path;

use super::Finding;
use super::source::{Source, has_word};
use super::tree::TextFile;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = [
    "common",
    "helper",
    "helpers",
    "manager",
    "misc",
    "util",
    "utils",
    "utilities",
];
/// The one folder with `unsafe` code.
const UNSAFE_FOLDER: &str = "drivers/sys";
/// Where a driver's name must not decide anything.
const NEUTRAL_FOLDERS: [&str; 2] = ["bench", "conformance"];
/// Written in two halves, so that this file obeys its own rule.
const UNFINISHED: [&str; 3] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];
/// Folders of people and of root.
const PRIVATE_FOLDERS: [&str; 2] = [concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Checks every rule that concerns `file`.
pub(super) fn check(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(name(&file.path));
    if file.has_extension("rs") {
        let source = Source::parse(&file.text);
        findings.extend(module_header(file));
        findings.extend(unfinished(file, &source.comments));
        if !file.is_below(UNSAFE_FOLDER) {
            findings.extend(no_unsafe(file, &source));
        }
        if NEUTRAL_FOLDERS.iter().any(|folder| file.is_below(folder)) {
            findings.extend(no_driver_names(file, &source));
        }
        findings.extend(private_folders(file, &source.literal));
    } else if file.has_extension("toml") || file.is_below(".ci") {
        let lines: Vec<String> = file.text.lines().map(str::to_owned).collect();
        findings.extend(unfinished(file, &lines));
        findings.extend(private_folders(file, &lines));
    }
    findings
}

fn name(path: &Path) -> Option<Finding> {
    let stem = path.file_stem()?.to_str()?;
    let parent = path
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    let empty = [Some(stem), parent]
        .into_iter()
        .flatten()
        .find(|name| EMPTY_NAMES.contains(name))?;
    Some(Finding::new(
        path,
        1,
        format!("the name `{empty}` says nothing: name what is inside"),
    ))
}

fn module_header(file: &TextFile) -> Option<Finding> {
    let first = file.text.lines().next().unwrap_or_default();
    let told = first
        .strip_prefix("//!")
        .is_some_and(|words| !words.trim().is_empty());
    (!told).then(|| {
        Finding::new(
            &file.path,
            1,
            "a module starts with `//!`: what it is for and what it leaves out",
        )
    })
}

fn unfinished(file: &TextFile, lines: &[String]) -> Vec<Finding> {
    findings(file, lines, |line| {
        let word = UNFINISHED.iter().find(|word| has_word(line, word))?;
        Some(format!("`{word}`: open an issue or do it"))
    })
}

fn no_unsafe(file: &TextFile, source: &Source) -> Vec<Finding> {
    findings(file, &source.code, |line| {
        has_word(line, "unsafe").then(|| format!("`unsafe` belongs into {UNSAFE_FOLDER}"))
    })
}

/// A case or workload asks what a driver can do, never who it is.
fn no_driver_names(file: &TextFile, source: &Source) -> Vec<Finding> {
    findings(file, &source.literal, |line| {
        let line: String = line.split_whitespace().collect();
        let compares = [".name()==\"", ".name()!=\"", ".name==\"", ".name!=\""];
        let matches = line.contains("match")
            && ["driver.name(){", "driver.name{", "entry.name{"]
                .iter()
                .any(|subject| line.contains(subject));
        let found = matches || compares.iter().any(|comparison| line.contains(comparison));
        found.then(|| "a branch on a name: ask for a requirement or declare a deviation".to_owned())
    })
}

fn private_folders(file: &TextFile, lines: &[String]) -> Vec<Finding> {
    findings(file, lines, |line| {
        let folder = PRIVATE_FOLDERS
            .iter()
            .find(|folder| starts_a_path(line, folder))?;
        Some(format!("`{folder}` is a place on one machine"))
    })
}

/// Whether `folder` stands in `line` as the beginning of a path, not somewhere inside one.
fn starts_a_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|letter| letter.is_alphanumeric() || "_-.}".contains(letter))
    })
}

fn findings(
    file: &TextFile,
    lines: &[String],
    rule: impl Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    lines
        .iter()
        .enumerate()
        .filter_map(|(index, line)| Some(Finding::new(&file.path, index + 1, rule(line)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings in a file at `path` with `text` below a proper header, as `line: message`.
    fn found(path: &str, text: &str) -> Vec<String> {
        let file = TextFile {
            path: path.into(),
            text: format!("//! A header.\n{text}"),
        };
        check(&file)
            .iter()
            .map(|finding| format!("{}: {}", finding.line, finding.message))
            .collect()
    }

    #[test]
    fn a_clean_file_has_no_findings() {
        let text = "// It is not unsafe.\nfn name() -> &'static str { \"unsafe\" }\n";
        assert_eq!(found("conformance/src/case.rs", text), Vec::<String>::new());
    }

    #[test]
    fn a_missing_header_is_found() {
        let file = TextFile {
            path: "a/src/b.rs".into(),
            text: "use std::fs;\n".into(),
        };
        assert_eq!(check(&file).len(), 1);
        let empty = TextFile {
            path: "a/src/b.rs".into(),
            text: "//!\n".into(),
        };
        assert_eq!(check(&empty).len(), 1);
    }

    #[test]
    fn unsafe_is_found_outside_its_folder() {
        let text = "fn f() { unsafe { g() } }\n";
        assert_eq!(found("drivers/btrfs/src/lib.rs", text).len(), 1);
        assert_eq!(found("drivers/sys/src/lib.rs", text).len(), 0);
    }

    #[test]
    fn unfinished_work_is_found_in_comments_alone() {
        let word = UNFINISHED[0];
        assert_eq!(found("a/src/b.rs", &format!("// {word}: later\n")).len(), 1);
        assert_eq!(
            found("a/src/b.rs", &format!("const A: &str = \"{word}\";\n")).len(),
            0
        );
    }

    #[test]
    fn a_name_without_meaning_is_found() {
        assert_eq!(found("a/src/utils.rs", "").len(), 1);
        assert_eq!(found("a/src/helpers/mod.rs", "").len(), 1);
    }

    #[test]
    fn a_branch_on_the_name_of_a_driver_is_found() {
        let planted = [
            "if driver.name() == \"btrfs\" {}\n",
            "if entry.name != \"vfs\" {}\n",
            "match driver.name() {\n",
        ];
        for text in planted {
            assert_eq!(found("conformance/src/case.rs", text).len(), 1, "{text}");
            assert_eq!(found("drivers/src/lib.rs", text).len(), 0, "{text}");
        }
        for text in ["if entry.name == wanted {}\n", "match code.name() {\n"] {
            assert_eq!(found("conformance/src/case.rs", text).len(), 0, "{text}");
        }
    }

    #[test]
    fn a_place_on_one_machine_is_found() {
        let text = format!("const A: &str = \"{}me/work\";\n", "/ho");
        assert_eq!(found("a/src/b.rs", &text).len(), 1);
        let inside = format!("const A: &str = \"/data{}ot/7\";\n", "/ro");
        assert_eq!(found("a/src/b.rs", &inside).len(), 0);
        let script = TextFile {
            path: ".ci/run".into(),
            text: format!("{}ot/bin/x\n", "/ro"),
        };
        assert_eq!(check(&script).len(), 1);
    }
}
