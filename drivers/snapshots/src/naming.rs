//! What can be a key, a name or a label.

use crate::info::Labels;
use crate::{Error, Result};

/// The most a key or name may take, in bytes.
pub const KEY_MAX: usize = 1024;

/// The most a label's name and value may take together, in bytes (containerd's limit).
pub const LABEL_MAX: usize = 4096;

/// Refuses what cannot be a key or a name.
pub(crate) fn check_key(key: &str) -> Result<()> {
    let reason = if key.is_empty() {
        "it is empty"
    } else if key.len() > KEY_MAX {
        "it is longer than 1024 bytes"
    } else if key.chars().any(char::is_control) {
        "it holds a control character"
    } else if key.trim() != key {
        "it starts or ends with white space"
    } else {
        return Ok(());
    };
    Err(Error::InvalidKey {
        key: key.chars().take(80).collect(),
        reason,
    })
}

/// Refuses what cannot be a label.
pub(crate) fn check_label(label: &str, value: &str) -> Result<()> {
    let reason = if label.is_empty() {
        "its name is empty"
    } else if label.contains('=') {
        "its name holds a `=`, which ends a name wherever labels are written"
    } else if label.len() + value.len() > LABEL_MAX {
        "its name and value are longer than 4096 bytes"
    } else if label.chars().any(char::is_control) {
        "its name holds a control character"
    } else {
        return Ok(());
    };
    Err(Error::InvalidLabel {
        label: label.chars().take(80).collect(),
        reason,
    })
}

/// Rejects malformed labels.
pub(crate) fn check_labels(labels: &Labels) -> Result<()> {
    labels
        .iter()
        .try_for_each(|(label, value)| check_label(label, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_containerd_are_keys() {
        for key in ["a", "k8s.io/12/sha256:00", "ä/ö 1", &"x".repeat(KEY_MAX)] {
            assert!(check_key(key).is_ok(), "{key}");
        }
        for key in ["", " a", "a\n", "a\0b", &"x".repeat(KEY_MAX + 1)] {
            assert!(check_key(key).is_err(), "{key}");
        }
    }

    #[test]
    fn labels_are_bounded() {
        assert!(check_label("a", &"v".repeat(LABEL_MAX - 1)).is_ok());
        assert!(check_label("a", &"v".repeat(LABEL_MAX)).is_err());
        assert!(check_label("", "v").is_err());
        assert!(check_label("a=b", "v").is_err());
        assert!(check_label("a", "b=v").is_ok());
    }
}
