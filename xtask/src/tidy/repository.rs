//! The rules about the repository as a whole.

use super::Finding;
use super::tree::TextFile;

const CI_SCRIPT: &str = ".ci/run";
const README: &str = "README.md";

/// Checks every rule of this module.
pub(super) fn check(files: &[TextFile]) -> Vec<Finding> {
    one_test_command(files).into_iter().collect()
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
}
