//! Ids and names of containers and volumes.

use super::{Error, Result};

/// Draws an id: 64 hexadecimal digits.
pub(super) fn new_id() -> Result<String> {
    let mut id = String::new();
    while id.len() < 64 {
        let uuid = cowlab_sys::IdSource::Kernel.uuid("container")?;
        id.extend(uuid.chars().filter(|c| *c != '-'));
    }
    id.truncate(64);
    Ok(id)
}

/// Refuses what cannot name a container or a volume: docker's rule.
pub(super) fn check_name(what: &'static str, name: &str) -> Result<()> {
    let first = name
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if first && name.len() > 1 && name.len() <= 255 && name.chars().all(rest) {
        return Ok(());
    }
    let reason =
        "a name has 2 to 255 letters, digits, `_`, `.` or `-`, and starts with a letter or a digit";
    Err(Error::invalid(what, name, reason))
}

/// Whether a text is an id.
pub(super) fn is_id(name: &str) -> bool {
    name.len() == 64 && name.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_and_differ() {
        let (one, two) = (new_id().unwrap(), new_id().unwrap());
        assert_eq!(one.len(), 64);
        assert_ne!(one, two);
    }

    #[test]
    fn names_are_dockers() {
        for name in ["ab", "a.b-c_d", "9x"] {
            assert!(check_name("container name", name).is_ok(), "{name}");
        }
        for name in ["", "a", "-a", ".a", "a/b", "a b", "../x", &"a".repeat(256)] {
            assert!(check_name("container name", name).is_err(), "{name}");
        }
    }
}
