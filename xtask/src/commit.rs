//! The commit that results are about.

use cowlab_sys::Cmd;

/// The commit that is checked out, with `-changed` where tracked files differ from it; `None` without git or outside
/// of a repository.
pub(crate) fn checked_out() -> Option<String> {
    let git = |arguments: &[&str]| Cmd::new("git").args(arguments).read();
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).ok()?;
    // The results themselves are no change of what they are about.
    let changes = git(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        ":!reports/published",
    ]);
    let mark = if changes.is_ok_and(|changes| changes.is_empty()) {
        ""
    } else {
        "-changed"
    };
    Some(format!("{commit}{mark}"))
}

/// How many commits after `commit` changed something below `folders`; `None` where that cannot be told: the commit is not
/// in this history, or its tree had changes that were never committed.
pub(crate) fn later_changes(commit: &str, folders: &[&str]) -> Option<usize> {
    let range = format!("{commit}..HEAD");
    let git = Cmd::new("git").args(["rev-list", "--count", &range, "--"]);
    git.args(folders).read().ok()?.parse().ok()
}
