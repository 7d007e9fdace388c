//! Bytes as text: names, contents and values as cases and differences write them.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Longest content that a difference shows instead of a digest, in bytes.
const SHORT: usize = 200;

/// Reads `\xNN` as the byte NN and everything else as it stands.
#[must_use]
pub fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find("\\x") {
        let (before, escape) = rest.split_at(position);
        bytes.extend_from_slice(before.as_bytes());
        let number = escape
            .get(2..4)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let length = if let Some(number) = number {
            bytes.push(number);
            4
        } else {
            bytes.extend_from_slice(b"\\x");
            2
        };
        rest = &escape[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Writes bytes as UTF-8 with `\xNN` for what is none and for control characters.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() {
                let mut buffer = [0; 4];
                push_hex(&mut text, letter.encode_utf8(&mut buffer).as_bytes());
            } else {
                text.push(letter);
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "\\x{byte:02x}").expect("writing to a string does not fail");
    }
}

/// Shows a content or a value: as text when it is short, else by size and digest.
#[must_use]
pub fn show(bytes: &[u8]) -> String {
    if bytes.len() <= SHORT {
        escape(bytes)
    } else {
        format!("{} bytes {}", bytes.len(), digest(bytes))
    }
}

/// The first 64 bits of the SHA-256 of bytes, in hexadecimal: enough to tell two contents apart.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    finish(Sha256::new_with_prefix(bytes))
}

/// [`digest`] of what a hasher was fed.
#[must_use]
pub fn finish(hasher: Sha256) -> String {
    let mut text = String::with_capacity(16);
    for byte in &hasher.finalize()[..8] {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_read_back() {
        for bytes in [
            &b"plain"[..],
            b"caf\xe9",
            b"new\nline",
            "\u{e9}".as_bytes(),
            b"",
        ] {
            assert_eq!(unescape(&escape(bytes)), bytes);
        }
        assert_eq!(unescape("a\\xzz"), b"a\\xzz");
        assert_eq!(escape(b"\xff"), "\\xff");
    }

    #[test]
    fn long_contents_are_shown_by_digest() {
        assert_eq!(show(b"text"), "text");
        assert!(show(&[7; 1000]).starts_with("1000 bytes "));
    }
}
