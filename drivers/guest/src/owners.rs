//! Whether this user may own files in the name of others: a root file system has many owners.

use cowlab_sys::{Cmd, process, user_namespace};

use crate::{Error, Result};

/// User ids that mmdebstrap takes for a root file system.
const NEEDED: u32 = 65536;

/// Refuses where this user can unpack no packages: neither root nor with subordinate ids.
pub(crate) fn check() -> Result<()> {
    if process::is_root() {
        return Ok(());
    }
    let user = Cmd::new("id").arg("-un").read()?;
    let id = process::effective_uid();
    let missing = ["/etc/subuid", "/etc/subgid"].into_iter().find(|path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        !has_range(&text, &user, id)
    });
    let reason = match missing {
        Some(path) => format!("`{path}` gives it no range of {NEEDED} ids"),
        None if Cmd::find("newuidmap").is_none() => "the program `newuidmap` is missing".into(),
        // The kernel or a security module may still refuse: found out by doing.
        None => match Cmd::new("mmdebstrap")
            .args(["--unshare-helper", "true"])
            .run()
        {
            Ok(()) => return Ok(()),
            Err(error) => format!("this host refuses a user namespace ({error})"),
        },
    };
    Err(Error::NoSubordinateIds { user, reason })
}

/// Tells whether the table (subuid(5)) gives the user a range that is large enough.
fn has_range(table: &str, user: &str, id: u32) -> bool {
    let ranges = user_namespace::ranges_of(table, user, id);
    ranges.iter().any(|range| range.count >= NEEDED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_counts_if_it_is_large_enough() {
        let table = "a:100000:65536\nb:300000:1000\n";
        assert!(has_range(table, "a", 1));
        assert!(!has_range(table, "b", 2));
    }
}
