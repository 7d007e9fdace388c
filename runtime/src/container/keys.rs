//! The keys that detach a command from a container.

use std::str::FromStr;

/// A sequence of keys, and how much of it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys {
    keys: Vec<u8>,
    typed: usize,
}

impl Default for DetachKeys {
    /// Ctrl-P, Ctrl-Q, as docker has it.
    fn default() -> Self {
        Self {
            keys: vec![16, 17],
            typed: 0,
        }
    }
}

impl FromStr for DetachKeys {
    type Err = String;

    /// Reads docker's way to write them (moby/term, ascii.go): characters and `ctrl-` with a letter or one of `@[\]^_`, with commas
    /// between. No text stands for the default.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let key = |word: &str| match (word.as_bytes(), word.strip_prefix("ctrl-")) {
            ([byte], _) => Ok(*byte),
            (_, Some("@")) => Ok(0),
            (_, Some(letter)) if matches!(letter.as_bytes(), [b'a'..=b'z' | b'['..=b'_']) => {
                Ok(letter.as_bytes()[0] & 0x1f)
            }
            (b"DEL", _) => Ok(127),
            _ => Err(format!(
                "`{word}` is no key: write a character or ctrl-LETTER, and commas between them"
            )),
        };
        let keys: Result<_, _> = text.split(',').map(key).collect();
        Ok(Self {
            keys: keys?,
            typed: 0,
        })
    }
}

impl DetachKeys {
    /// Takes what was typed: returns what is the program's, and whether the last of the keys came. Keys that may be the
    /// beginning are held back until more comes.
    pub(super) fn take(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut content = Vec::new();
        for byte in typed {
            if *byte != self.keys[self.typed] {
                content.extend(&self.keys[..self.typed]);
                self.typed = 0;
            }
            if *byte != self.keys[self.typed] {
                content.push(*byte);
                continue;
            }
            self.typed += 1;
            if self.typed == self.keys.len() {
                self.typed = 0;
                return (content, true);
            }
        }
        (content, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_pieces_and_nothing_else_is_lost() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.take(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.take(b"b\x10\x10"), (b"\x10b\x10".to_vec(), false));
        assert_eq!(keys.take(b"\x11c"), (Vec::new(), true));
    }

    #[test]
    fn keys_are_written_as_docker_has_them() {
        let keys = |text: &str| text.parse::<DetachKeys>().map(|keys| keys.keys);
        assert_eq!(keys(""), Ok(vec![16, 17]));
        assert_eq!(
            keys("ctrl-p,ctrl-@,a,ctrl-],DEL"),
            Ok(vec![16, 0, b'a', 29, 127])
        );
        for bad in ["ctrl-", "ctrl-A", "ab", "a,", "ctrl-ab"] {
            assert!(keys(bad).is_err(), "{bad}");
        }
    }
}
