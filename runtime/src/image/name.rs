//! Names of images: `registry/repository:tag@digest`, written short where docker writes them short.

use std::fmt;
use std::str::FromStr;

use oci_client::Reference;

use crate::{Error, Result};

/// The registry of names that name none.
const DEFAULT_REGISTRY: &str = "docker.io";

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
        if text.chars().any(char::is_uppercase) && text.to_lowercase().parse::<Reference>().is_ok()
        {
            let path = text.split_once('@').map_or(text, |(path, _)| path);
            let repository = path.rsplit_once(':').map_or(path, |(before, _)| before);
            if repository.chars().any(char::is_uppercase) {
                return Err(invalid("repositories are written in lower case".to_owned()));
            }
        }
        let reference: Reference = text
            .parse()
            .map_err(|error: oci_client::ParseError| invalid(error.to_string()))?;
        Ok(Self { reference })
    }
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
        let digest = format!("sha256:{}", "a".repeat(64));
        let name: Name = format!("debian@{digest}").parse().unwrap();
        assert_eq!((name.tag(), name.digest()), (None, Some(digest.as_str())));
    }

    #[test]
    fn what_is_no_name_says_why() {
        let refused = "Debian".parse::<Name>().unwrap_err().to_string();
        assert!(refused.contains("lower case"), "{refused}");
        for text in ["", "a b", "a:b:c", "-x", "a@sha256:00", "../x", "a\u{1b}b"] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }
}
