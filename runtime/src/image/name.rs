//! Names of images: `registry/repository:tag@digest`, written short where docker writes them short.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use oci_spec::distribution::Reference;

use crate::{Error, Result};

/// The registry of names that name none.
const DEFAULT_REGISTRY: &str = "docker.io";

/// The tag of names that have neither a tag nor a digest.
const DEFAULT_TAG: &str = "latest";

/// The longest path of a repository, in bytes.
const REPOSITORY_MAX: usize = 255;

/// A name of an image, whole: with registry, and with tag or digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    reference: Reference,
}

impl Name {
    /// The name as the registry's client wants it.
    #[must_use]
    pub const fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The registry, `host` or `host:port`.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.reference.registry()
    }

    /// Registry and repository.
    #[must_use]
    pub fn repository(&self) -> String {
        format!(
            "{}/{}",
            self.reference.registry(),
            self.reference.repository()
        )
    }

    /// The tag, if the name has one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.reference.tag()
    }

    /// The digest, if the name has one.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.reference.digest()
    }

    /// Registry, repository and tag: what the graph keeps, where the name has a tag.
    #[must_use]
    pub fn tagged(&self) -> Option<String> {
        Some(format!("{}:{}", self.repository(), self.tag()?))
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason: String| Error::InvalidName {
            name: text.chars().take(300).collect(),
            reason,
        };
        let reference = parse(text).map_err(|reason| {
            invalid(match parse(&text.to_lowercase()) {
                Ok(_) => "repositories are written in lower case".to_owned(),
                Err(_) => reason.to_owned(),
            })
        })?;
        Ok(Self { reference })
    }
}

/// Reads a reference as `Reference::from_str` does, whose pattern takes 40 ms to compile: more than a container takes to
/// run. The grammar is that of github.com/distribution/reference, `regexp.go` and `normalize.go`.
fn parse(text: &str) -> std::result::Result<Reference, &'static str> {
    let bad = "invalid reference format";
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(check_digest(digest)?)),
        None => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if name.is_empty() {
        return Err("repository name must have at least one component");
    }
    let is_path = |path: &str| path.split('/').all(is_component);
    let fits = match name.split_once('/') {
        Some((first, path)) => is_path(path) && (is_domain(first) || is_component(first)),
        None => is_component(name),
    };
    if !fits || !tag.is_none_or(is_tag) {
        return Err(bad);
    }
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path),
        _ => (DEFAULT_REGISTRY, name),
    };
    let registry = match registry {
        "index.docker.io" => DEFAULT_REGISTRY,
        other => other,
    };
    let repository = match registry == DEFAULT_REGISTRY && !path.contains('/') {
        true => format!("library/{path}"),
        false => path.to_owned(),
    };
    if repository.len() > REPOSITORY_MAX {
        return Err("repository name must not be more than 255 characters");
    }
    let registry = registry.to_owned();
    let tag = tag.map(str::to_owned);
    Ok(match (tag, digest.map(str::to_owned)) {
        (Some(tag), Some(digest)) => {
            Reference::with_tag_and_digest(registry, repository, tag, digest)
        }
        (None, Some(digest)) => Reference::with_digest(registry, repository, digest),
        (tag, None) => {
            let tag = tag.unwrap_or_else(|| DEFAULT_TAG.to_owned());
            Reference::with_tag(registry, repository, tag)
        }
    })
}

fn check_digest(text: &str) -> std::result::Result<&str, &'static str> {
    let (algorithm, digits) = text
        .split_once(':')
        .ok_or("invalid checksum digest format")?;
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err("unsupported digest algorithm"),
    };
    if digits.len() != length {
        return Err("invalid checksum digest length");
    }
    match digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text),
        false => Err("invalid checksum digest format"),
    }
}

/// A host or an IPv6 address in brackets, perhaps with a port.
fn is_domain(text: &str) -> bool {
    let address_end = text.rfind(']').map_or(0, |end| end + 1);
    let (address, rest) = text.split_at(address_end);
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        let alphanumeric = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        label.bytes().all(inside) && alphanumeric(bytes.next()) && !label.ends_with('-')
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_address = |text: &str| {
        let inside = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        inside.is_some_and(|inside| inside.parse::<Ipv6Addr>().is_ok())
    };
    let is_host = match address.is_empty() {
        true => host.split('.').all(is_label),
        false => is_address(address) && host.is_empty(),
    };
    is_host && port.is_none_or(is_port)
}

/// A part of a repository's path: lower case letters and digits, and between them one `.`, one or two `_`, or any number
/// of `-`.
fn is_component(text: &str) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(is_plain) && bytes.last().is_some_and(is_plain);
    ends && bytes
        .split(is_plain)
        .all(|between| matches!(between, b"." | b"_" | b"__") || between.iter().all(|b| *b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(is_word)
        && text
            .bytes()
            .all(|byte| is_word(byte) || b".-".contains(&byte))
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&familiar(&self.reference.whole()))
    }
}

/// Writes a name as people do: without the registry that everybody means.
#[must_use]
pub fn familiar(name: &str) -> String {
    let name = name
        .strip_prefix(DEFAULT_REGISTRY)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(name);
    match name.strip_prefix("library/") {
        Some(rest) if !rest.contains('/') => rest.to_owned(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed_and_shortened_again() {
        let name: Name = "debian".parse().unwrap();
        assert_eq!(
            name.tagged().as_deref(),
            Some("docker.io/library/debian:latest")
        );
        assert_eq!(name.to_string(), "debian:latest");
        let name: Name = "localhost:5000/a/b:1".parse().unwrap();
        assert_eq!(name.registry(), "localhost:5000");
        assert_eq!(name.repository(), "localhost:5000/a/b");
        assert_eq!(name.to_string(), "localhost:5000/a/b:1");
        let name: Name = "[FE80::1]:5000/a:1".parse().unwrap();
        assert_eq!((name.registry(), name.tag()), ("[FE80::1]:5000", Some("1")));
        let digest = format!("sha256:{}", "a".repeat(64));
        let name: Name = format!("debian@{digest}").parse().unwrap();
        assert_eq!((name.tag(), name.digest()), (None, Some(digest.as_str())));
    }

    #[test]
    fn names_are_read_as_the_registrys_client_reads_them() {
        let alphabet = b"a0Z._-:/@";
        let mut texts = vec![String::new()];
        for length in 0..5 {
            let longer: Vec<_> = texts.iter().filter(|text| text.len() == length).collect();
            let with = |text: &String, byte: &u8| format!("{text}{}", char::from(*byte));
            let longer: Vec<_> = longer
                .into_iter()
                .flat_map(|text| alphabet.iter().map(move |byte| with(text, byte)))
                .collect();
            texts.extend(longer);
        }
        let digits = "0123456789abcdefABCDEF".repeat(6);
        let (half, whole) = (&digits[..64], &digits[..128]);
        for name in [
            "a",
            "h.x:5/a__b",
            "localhost/a",
            "index.docker.io/a",
            "A.b/c/d--e",
        ] {
            let long = "b".repeat(128);
            for tag in [
                "",
                ":1",
                ":v_1.-",
                ":-",
                &format!(":{long}"),
                &format!(":{long}b"),
            ] {
                for (algorithm, digits) in [
                    ("sha256", half),
                    ("sha512", whole),
                    ("sha256", whole),
                    ("md5", half),
                    ("sha256", "0g"),
                ] {
                    texts.push(format!("{name}{tag}@{algorithm}:{digits}"));
                }
                texts.push(format!("{name}{tag}"));
            }
        }
        texts.extend([249, 256, 257].map(|length| format!("x.y/{}", "a".repeat(length))));
        for text in texts {
            let theirs = text.parse::<Reference>().ok();
            assert_eq!(parse(&text).ok(), theirs, "{text}");
        }
    }

    #[test]
    fn what_is_no_name_says_why() {
        let refused = "Debian".parse::<Name>().unwrap_err().to_string();
        assert!(refused.contains("lower case"), "{refused}");
        for text in [
            "",
            "a b",
            "a:b:c",
            "-x",
            "a@sha256:00",
            "../x",
            "a\u{1b}b",
            "[::1/x",
            "[::1]x/a",
            "[g::1]/a",
        ] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }
}
