//! The rules about the repository as a whole.

use std::path::Path;

use super::Finding;
use super::tree::TextFile;
use crate::verify;

const CI_SCRIPT: &str = ".ci/run";
const README: &str = "README.md";
/// The records of `cargo xtask verify`.
const PROOFS: &str = "reports/published/verify.jsonl";
/// The section of the README whose list items quote proofs.
const PROVED: &str = "## What is proved";

/// Checks every rule of this module.
pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
    let mut findings: Vec<_> = one_test_command(files).into_iter().collect();
    findings.extend(quoted_proofs(files));
    findings
}

/// Each claim of `verify` that the README names has a published record that holds, and each item of the list of what is
/// proved names such a claim.
fn quoted_proofs(files: &[TextFile]) -> Vec<Finding> {
    let text = |path: &str| {
        let found = files.iter().find(|file| file.path.as_os_str() == path);
        found.map(|file| file.text.as_str())
    };
    let (Some(readme), Some(log)) = (text(README), text(PROOFS)) else {
        return Vec::new();
    };
    let proved = match verify::proved(log) {
        Ok(proved) => proved,
        Err(error) => return vec![Finding::new(Path::new(PROOFS), 1, format!("{error:#}"))],
    };
    let finding = |line, message| Finding::new(Path::new(README), line, message);
    let mut findings = Vec::new();
    let mut is_list_of_proofs = false;
    for (index, line) in readme.lines().enumerate() {
        if line.starts_with("## ") {
            is_list_of_proofs = line.starts_with(PROVED);
        }
        // What stands between backticks is every second piece.
        let quoted = line.split('`').skip(1).step_by(2);
        let claims: Vec<_> = quoted
            .filter_map(|word| proved.get_key_value(word))
            .collect();
        for (name, _) in claims.iter().filter(|(_, holds)| !**holds) {
            let message =
                format!("no published proof of `{name}` holds: run `cargo xtask verify {name}`");
            findings.push(finding(index + 1, message));
        }
        if is_list_of_proofs && line.starts_with("- ") && claims.is_empty() {
            findings.push(finding(
                index + 1,
                "this line names no claim of `cargo xtask verify`".to_owned(),
            ));
        }
    }
    findings
}

/// What CI runs is what the README tells people to run.
fn one_test_command(files: &[TextFile]) -> Option<Finding> {
    let script = files
        .iter()
        .find(|file| file.path.as_os_str() == CI_SCRIPT)?;
    let readme = files.iter().find(|file| file.path.as_os_str() == README)?;
    let Some(command) = last_command(&script.text) else {
        return Some(Finding::new(&script.path, 1, "ends in no `exec`"));
    };
    (!readme.text.contains(command)).then(|| {
        Finding::new(
            &readme.path,
            1,
            format!("does not name the command of {CI_SCRIPT}: `{command}`"),
        )
    })
}

/// What a script hands over to in the end.
fn last_command(script: &str) -> Option<&str> {
    script
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix("exec "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(script: &str, readme: &str) -> usize {
        let files = [
            TextFile {
                path: CI_SCRIPT.into(),
                text: script.into(),
            },
            TextFile {
                path: README.into(),
                text: readme.into(),
            },
        ];
        check(&files).len()
    }

    #[test]
    fn a_readme_with_another_test_command_is_found() {
        assert_eq!(
            found(
                "#!/bin/bash\nexec cargo xtask ci --yes\n",
                "Run `cargo xtask ci --yes`."
            ),
            0
        );
        assert_eq!(
            found(
                "#!/bin/bash\nexec cargo xtask ci --yes\n",
                "Run `cargo test`."
            ),
            1
        );
        assert_eq!(
            found("#!/bin/bash\ncargo xtask ci\n", "Run `cargo xtask ci`."),
            1
        );
    }

    #[test]
    fn a_quoted_proof_without_a_record_is_found() {
        let record = |claim: &str, holds: bool| {
            format!(
                r#"{{"claim":"{claim}","statement":"","command":"","holds":{holds},"exit_code":0,"seconds":1.0,"limit_seconds":null,"date":"","commit":""}}"#
            )
        };
        let log = [
            record("memory", false),
            record("memory", true),
            record("aa", true),
            record("aa", false),
        ]
        .join("\n");
        let findings = |readme: &str| {
            let file = |path: &str, text: &str| TextFile {
                path: path.into(),
                text: text.into(),
            };
            let files = [file(README, readme), file(PROOFS, &log)];
            quoted_proofs(&files).len()
        };
        assert_eq!(findings("Memory is flat (`memory`), see `cargo`."), 0);
        assert_eq!(findings("Noise is known (`aa`)."), 1);
        assert_eq!(findings("200 kills (`kill-nine-zfs`)."), 1);
        assert_eq!(
            findings("## What is proved\n- Flat: `memory`\n## Else\n- More\n"),
            0
        );
        assert_eq!(findings("## What is proved\n- Everything\n"), 1);
    }
}
