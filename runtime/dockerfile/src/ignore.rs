//! `.dockerignore`: what a context leaves out. The last pattern that matches decides, and `!` takes back in.
//! Source: moby/patternmatcher, `MatchesUsingParentResults` and ignorefile; tonistiigi/fsutil's walk for what is descended into.

use std::sync::Arc;

use regex::Regex;

use crate::error::{Error, Lines, Result};
use crate::glob::{self, DoubleStar};

/// The patterns of a `.dockerignore`, or those of `--exclude`.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    expression: Regex,
    /// The pattern without `!`.
    text: String,
    /// It began with `!`: what matches is in again.
    includes: bool,
}

/// What the patterns say of a path, to be handed to those of its children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the path is left out.
    pub excluded: bool,
    /// Which patterns match it or a directory above it.
    matched: Vec<bool>,
}

impl Ignore {
    /// Reads a `.dockerignore`; `file` is its name for messages.
    ///
    /// # Errors
    ///
    /// At the first line that is no pattern.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.starts_with('#'));
        let mut ignore = Self::default();
        for (index, line) in lines {
            ignore.push(line).map_err(|fault| {
                let lines = Lines {
                    first: index + 1,
                    last: index + 1,
                };
                Error::at(&Arc::from(file), lines, line.trim(), fault)
            })?;
        }
        Ok(ignore)
    }

    /// The patterns of `--exclude`.
    ///
    /// # Errors
    ///
    /// Why one is no pattern, in words for a message.
    pub fn of_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut ignore = Self::default();
        for pattern in patterns {
            ignore.push(pattern).map_err(|fault| fault.reason)?;
        }
        Ok(ignore)
    }

    fn push(&mut self, line: &str) -> Result<(), crate::error::Fault> {
        let line = line.trim();
        let (includes, pattern) = line
            .strip_prefix('!')
            .map_or((false, line), |rest| (true, rest.trim()));
        if pattern.is_empty() {
            return if includes {
                Err(crate::error::Fault::new("`!` has no pattern after it"))
            } else {
                Ok(())
            };
        }
        let text = clean(pattern);
        self.patterns.push(Entry {
            expression: glob::compile(&text, DoubleStar::IsDirectories)?,
            text,
            includes,
        });
        Ok(())
    }

    /// Whether there is no pattern.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// What the patterns say of a path, relative to the context, given what they say of its directory;
    /// `Verdict::default()` is that of the context itself.
    #[must_use]
    pub fn verdict(&self, path: &str, parent: &Verdict) -> Verdict {
        let mut verdict = Verdict {
            excluded: false,
            matched: vec![false; self.patterns.len()],
        };
        for (index, entry) in self.patterns.iter().enumerate() {
            let inherited = parent.matched.get(index).copied().unwrap_or(false);
            // A pattern that would change nothing is not asked, and then not passed on to the children either: so patternmatcher has it.
            if !inherited && entry.includes != verdict.excluded {
                continue;
            }
            if inherited || entry.expression.is_match(path) {
                verdict.matched[index] = true;
                verdict.excluded = !entry.includes;
            }
        }
        verdict
    }

    /// Whether something below an excluded directory can be in again, so that it has to be looked into.
    #[must_use]
    pub fn may_include_below(&self, directory: &str) -> bool {
        let below = format!("{directory}/");
        self.patterns
            .iter()
            .filter(|entry| entry.includes)
            .any(|entry| {
                let fixed = &entry.text[..entry
                    .text
                    .find(['*', '?', '[', '\\'])
                    .unwrap_or(entry.text.len())];
                let fixed_only = fixed.len() == entry.text.len();
                format!("{}/", entry.text).starts_with(&below)
                    || (!fixed_only && (below.starts_with(fixed) || fixed.starts_with(&below)))
            })
    }
}

/// A pattern as Go's `filepath.Clean` leaves it, relative to the context.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            // Nothing is above a root.
            ".." if pattern.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(text: &str, path: &str) -> bool {
        let ignore = Ignore::parse(".dockerignore", text).unwrap();
        let mut verdict = Verdict::default();
        for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
            verdict = ignore.verdict(&path[..at], &verdict);
        }
        verdict.excluded
    }

    /// The example of docker's page on build contexts.
    #[test]
    fn reference_examples() {
        let text = "# comment\n*/temp*\n*/*/temp*\ntemp?\n";
        for path in [
            "somedir/temporary.txt",
            "somedir/temp/x",
            "somedir/subdir/temporary.txt",
            "tempa",
            "tempb/x",
        ] {
            assert!(excluded(text, path), "{path}");
        }
        for path in ["temp", "temp.txt", "a/b/c/temporary.txt", "# comment"] {
            assert!(!excluded(text, path), "{path}");
        }
        let text = "*.md\n!README*.md\nREADME-secret.md\n";
        assert!(excluded(text, "a.md") && excluded(text, "README-secret.md"));
        assert!(!excluded(text, "README.md") && !excluded(text, "README-x.md"));
        let text = "*.md\nREADME-secret.md\n!README*.md\n";
        assert!(!excluded(text, "README-secret.md"));
    }

    #[test]
    fn double_star_is_any_number_of_directories() {
        for path in ["a.go", "x/a.go", "x/y/a.go"] {
            assert!(excluded("**/*.go", path), "{path}");
        }
        for path in ["foo", "x/foo", "x/y/foo", "foo/z"] {
            assert!(excluded("**/foo", path), "{path}");
        }
        assert!(
            excluded("a/**", "a/b") && excluded("a/**/b", "a/b") && excluded("a/**/b", "a/x/y/b")
        );
        assert!(!excluded("a/**", "b/a"));
        assert!(excluded("**", "x/y"));
    }

    #[test]
    fn everything_but_a_directory() {
        let text = "*\n!src\n";
        assert!(excluded(text, "Makefile") && excluded(text, "x/src"));
        assert!(!excluded(text, "src") && !excluded(text, "src/a/b.c"));
        let text = "**\n!a/b\n";
        let ignore = Ignore::parse("f", text).unwrap();
        assert!(ignore.may_include_below("a") && !ignore.may_include_below("c"));
        assert!(!excluded(text, "a/b") && excluded(text, "a/c"));
        assert!(
            Ignore::parse("f", "*\n!**/x")
                .unwrap()
                .may_include_below("any")
        );
        assert!(
            Ignore::parse("f", "*\n!a/*/x")
                .unwrap()
                .may_include_below("a/b")
        );
        assert!(
            !Ignore::parse("f", "*\n!a/*/x")
                .unwrap()
                .may_include_below("b")
        );
    }

    #[test]
    fn patterns_are_cleaned() {
        for pattern in [
            "/foo", "./foo", "foo/", "x/../foo", "  foo  ", "foo//", "/../foo",
        ] {
            assert!(excluded(pattern, "foo/x"), "{pattern}");
        }
        assert!(!excluded("..", "a") && !excluded("../a", "a") && !excluded("\n\n", "a"));
        assert!(!excluded("! a\n", "a") && !excluded("a\n! a\n", "a"));
        assert!(excluded("\u{feff}a", "a") && excluded("a\r\n", "a"));
    }

    #[test]
    fn bad_patterns_have_their_line() {
        let error = Ignore::parse(".dockerignore", "a\n[\n").unwrap_err();
        assert_eq!(error.lines.unwrap().first, 2);
        assert!(Ignore::parse("f", "!").is_err());
        assert!(Ignore::of_patterns(["a["]).is_err());
    }
}
