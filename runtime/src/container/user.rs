//! Whom a container's program runs as: `user[:group]`, looked up in the image's own `/etc/passwd` and `/etc/group`.

use std::path::Path;

use super::view::View;
use super::{Error, Result};

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) additional: Vec<u32>,
    /// The home directory, `/` where nobody knows.
    pub(super) home: String,
}

/// As much of these files as is read: more than any that people make.
const LIMIT: u64 = 4 << 20;

/// Resolves a user in the tree of a container.
pub(super) fn resolve(view: &View<'_>, text: &str) -> Result<User> {
    let read = |path| -> Result<String> {
        let bytes = view.read(Path::new(path), LIMIT)?;
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    find(text, &read("/etc/passwd")?, &read("/etc/group")?)
}

fn find(text: &str, passwd: &str, group: &str) -> Result<User> {
    let unknown = |file: &str| {
        let reason =
            format!("the image's {file} does not know it: use a number, or a name that is there");
        Error::invalid("user", text, reason)
    };
    let (user, asked_group) = text
        .split_once(':')
        .map_or((text, None), |(u, g)| (u, Some(g)));
    let user = if user.is_empty() { "0" } else { user };
    let line = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 6 && (fields[0] == user || fields[2] == user));
    let uid = match (user.parse(), &line) {
        (Ok(number), _) => number,
        (Err(_), Some(fields)) => number(fields[2]).ok_or_else(|| unknown("/etc/passwd"))?,
        (Err(_), None) => return Err(unknown("/etc/passwd")),
    };
    let groups: Vec<Vec<&str>> = group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|fields| fields.len() >= 4)
        .collect();
    let gid = match asked_group {
        None | Some("") => line
            .as_ref()
            .and_then(|fields| number(fields[3]))
            .unwrap_or(0),
        Some(text) => {
            let named = groups.iter().find(|fields| fields[0] == text);
            let found = number(text).or_else(|| named.and_then(|fields| number(fields[2])));
            found.ok_or_else(|| unknown("/etc/group"))?
        }
    };
    let mut additional = Vec::new();
    // A group that was named is the only one (docker's rule).
    if let (None, Some(fields)) = (asked_group, &line) {
        let member = |one: &&Vec<&str>| one[3].split(',').any(|name| name == fields[0]);
        additional = groups
            .iter()
            .filter(member)
            .filter_map(|one| number(one[2]))
            .collect();
        additional.retain(|one| *one != gid);
    }
    let home = line.as_ref().map_or("/", |fields| fields[5]);
    let home = if home.is_empty() { "/" } else { home }.to_owned();
    Ok(User {
        uid,
        gid,
        additional,
        home,
    })
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root-home:/bin/sh\nweb:x:33:34::/srv:/bin/false\nbroken\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nssl:x:40:web,other\nlog:x:41:other,web\n";

    #[test]
    fn names_and_numbers_are_found() {
        let user = |text| find(text, PASSWD, GROUP).unwrap();
        let web = User {
            uid: 33,
            gid: 34,
            additional: vec![40, 41],
            home: "/srv".into(),
        };
        assert_eq!(user("web"), web);
        assert_eq!(user("33"), web);
        assert_eq!(user("").uid, 0);
        assert_eq!(user("").home, "/root-home");
        assert_eq!(
            (user("web:ssl").gid, user("web:ssl").additional.len()),
            (40, 0)
        );
        assert_eq!((user("1000:7").uid, user("1000:7").gid), (1000, 7));
        assert_eq!(user("1000").home, "/");
    }

    #[test]
    fn who_is_not_there_is_named() {
        for text in ["nobody", "web:none", "-1"] {
            let error = find(text, PASSWD, GROUP).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
