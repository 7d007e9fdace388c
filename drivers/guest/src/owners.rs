//! Whether this user may own files in the name of others: a root file system has many owners.

use cowlab_sys::{Cmd, process};

use crate::{Error, Result};

/// User ids that mmdebstrap takes for a root file system.
const NEEDED: u64 = 65536;

/// Refuses where this user can unpack no packages: neither root nor with subordinate ids.
pub(crate) fn check() -> Result<()> {
    if process::is_root() {
        return Ok(());
    }
    let user = Cmd::new("id").arg("-un").read()?;
    let id = process::effective_uid().to_string();
    let missing = ["/etc/subuid", "/etc/subgid"].into_iter().find(|path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        !has_range(&text, &user, &id)
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
fn has_range(table: &str, user: &str, id: &str) -> bool {
    table.lines().any(|line| {
        let mut fields = line.split(':');
        let owner = fields.next();
        let count = fields
            .nth(1)
            .and_then(|count| count.trim().parse::<u64>().ok());
        (owner == Some(user) || owner == Some(id)) && count.is_some_and(|count| count >= NEEDED)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_counts_by_name_and_by_number_if_it_is_large_enough() {
        let table = "a:100000:65536\n1001:165536:65536\nb:300000:1000\n";
        assert!(has_range(table, "a", "1"));
        assert!(has_range(table, "x", "1001"));
        assert!(!has_range(table, "b", "2"));
        assert!(!has_range("", "a", "1"));
    }
}
