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

/// Resolves the owner that `COPY --chown` names in a tree: a user without a group has its own group where it is named, and the
/// group of the same number where it is a number (BuildKit, `user_linux.go`).
///
/// # Errors
///
/// [`Error::Invalid`] for a name that the tree does not know.
pub fn owner(root: &cowlab_sys::Root, text: &str) -> Result<(u32, u32)> {
    let read = |path| -> Result<String> {
        let bytes = root.read_inside(Path::new(path), LIMIT)?;
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    let (name, group) = text.split_once(':').unwrap_or((text, ""));
    let whole = match (number(text, name)?, group) {
        (Some(uid), "") => format!("{uid}:{uid}"),
        _ => text.to_owned(),
    };
    // Numbers need no files, which an image may not have.
    let found = find(&whole, &read("/etc/passwd")?, &read("/etc/group")?)?;
    Ok((found.uid, found.gid))
}

/// A line of either file as others read it (moby/sys/user, `parseLine`): blanks around it do not count, and what a short line lacks
/// is empty.
fn lines(text: &str) -> impl Iterator<Item = [&str; 6]> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| {
        let mut fields = [""; 6];
        for (field, found) in fields.iter_mut().zip(line.split(':')) {
            *field = found;
        }
        fields
    })
}

/// A number in a line; what is none counts as 0 (moby/sys/user, `parseParts`).
fn field(text: &str) -> u32 {
    text.parse().unwrap_or(0)
}

/// The rules are moby's (`user.GetExecUser`): digits are a number, never a name.
fn find(text: &str, passwd: &str, group: &str) -> Result<User> {
    let unknown = |file: &str| {
        let reason =
            format!("the image's {file} does not know it: use a number, or a name that is there");
        Error::invalid("user", text, reason)
    };
    let mut parts = text.split(':');
    let user = parts.next().filter(|user| !user.is_empty()).unwrap_or("0");
    let asked_group = parts.next().filter(|group| !group.is_empty());
    let asked = number(text, user)?;
    let line = lines(passwd).find(|fields| match asked {
        Some(uid) => field(fields[2]) == uid,
        None => fields[0] == user,
    });
    let uid = match (asked, &line) {
        (Some(uid), _) => uid,
        (None, Some(fields)) => field(fields[2]),
        (None, None) => return Err(unknown("/etc/passwd")),
    };
    let (mut gid, mut additional) = (line.map_or(0, |fields| field(fields[3])), Vec::new());
    if let Some(asked_group) = asked_group {
        let named = || lines(group).find(|fields| fields[0] == asked_group);
        gid = match number(text, asked_group)? {
            Some(gid) => gid,
            None => named()
                .map(|fields| field(fields[2]))
                .ok_or_else(|| unknown("/etc/group"))?,
        };
    } else if let Some([name, ..]) = line {
        // A group that was named is the only one.
        let groups = lines(group).filter(|fields| fields[3].split(',').any(|one| one == name));
        additional = groups.map(|fields| field(fields[2])).collect();
        additional.retain(|one| *one != gid);
    }
    let home = line.map_or("", |fields| fields[5]);
    Ok(User {
        uid,
        gid,
        additional,
        home: if home.is_empty() { "/" } else { home }.to_owned(),
    })
}

/// The number that a user or a group of `whole` is, if it is one.
fn number(whole: &str, text: &str) -> Result<Option<u32>> {
    let Ok(number) = text.parse::<i64>() else {
        return Ok(None);
    };
    let number = i32::try_from(number)
        .ok()
        .and_then(|number| u32::try_from(number).ok());
    let reason = "a user or group has a number from 0 to 2147483647";
    number
        .map(Some)
        .ok_or_else(|| Error::invalid("user", whole, reason))
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
    fn missing_fields_are_zero() {
        let user = |text| find(text, "short:x:5\n", "").unwrap();
        assert_eq!((user("short").uid, user("short").gid), (5, 0));
        assert_eq!((user("3:").gid, user(":12").gid), (0, 12));
    }

    #[test]
    fn who_is_not_there_is_named() {
        for text in ["nobody", "web:none", "-1", "0:-1", "4294967296"] {
            let error = find(text, PASSWD, GROUP).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
