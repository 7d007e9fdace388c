//! Patterns of paths: those of `COPY` and `ADD` (Go's `filepath.Match`) and those of `.dockerignore` (moby/patternmatcher), which add `**`.

use regex::Regex;

use crate::error::Fault;

/// A pattern of `COPY` or `ADD`: `*`, `?`, `[...]` and `\`, none of which but a class matches a `/`.
#[derive(Debug, Clone)]
pub struct Pattern {
    expression: Regex,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// Why it is none, in words for a message.
    pub fn new(pattern: &str) -> Result<Self, String> {
        compile(pattern, DoubleStar::IsStar)
            .map(|expression| Self { expression })
            .map_err(|fault| fault.reason)
    }

    /// Whether a path, relative as the pattern is, matches the whole pattern.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.expression.is_match(path)
    }
}

/// Whether a path of `COPY` or `ADD` is a pattern.
#[must_use]
pub fn has_wildcards(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

/// What `**` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DoubleStar {
    /// The same as `*`.
    IsStar,
    /// Any number of directories.
    IsDirectories,
}

/// The regular expression for a pattern.
pub(crate) fn compile(pattern: &str, double: DoubleStar) -> Result<Regex, Fault> {
    let mut out = String::from("(?s)^");
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if double == DoubleStar::IsDirectories && chars.next_if_eq(&'*').is_some() => {
                let whole = chars.next_if_eq(&'/').is_some();
                out.push_str(match chars.peek() {
                    None => ".*",
                    Some(_) if whole => "(?:.*/)?",
                    Some(_) => ".*",
                });
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' => class(&mut chars, &mut out)
                .ok_or_else(|| bad(pattern, "`[` has no proper class after it"))?,
            '\\' => {
                let escaped = chars.next().ok_or_else(|| bad(pattern, "`\\` ends it"))?;
                literal(escaped, &mut out);
            }
            c => literal(c, &mut out),
        }
    }
    out.push('$');
    Regex::new(&out)
        .map_err(|_source| bad(pattern, "it is too long or has a range that goes backwards"))
}

fn bad(pattern: &str, why: &str) -> Fault {
    Fault::with_remedy(
        format!("`{pattern}` is no pattern: {why}"),
        "a `\\` before a character takes its meaning away",
    )
}

fn literal(c: char, out: &mut String) {
    out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

/// A class `[a-z]` or `[^a-z]`, of one range at least.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) -> Option<()> {
    out.push('[');
    if chars.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut ranges = 0;
    loop {
        if ranges > 0 && chars.next_if_eq(&']').is_some() {
            break;
        }
        let low = class_char(chars)?;
        literal_in_class(low, out);
        if chars.next_if_eq(&'-').is_some() {
            out.push('-');
            literal_in_class(class_char(chars)?, out);
        }
        ranges += 1;
    }
    out.push(']');
    Some(())
}

/// A character of a class: `]` and `-` are none unless escaped.
fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '\\' => chars.next(),
        '-' | ']' => None,
        c => Some(c),
    }
}

fn literal_in_class(c: char, out: &mut String) {
    if c.is_ascii_punctuation() {
        out.push('\\');
    }
    out.push(c);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(path)
    }

    #[test]
    fn as_filepath_match() {
        for (pattern, path) in [
            ("abc", "abc"),
            ("*", "abc"),
            ("*c", "abc"),
            ("a*/b", "abc/b"),
            ("a*b*c*d*e*/f", "axbxcxdxe/f"),
            ("ab[c]", "abc"),
            ("ab[b-d]", "abc"),
            ("ab[^e-g]", "abc"),
            (r"a\*b", "a*b"),
            ("a?b", "a☺b"),
            (r"[\]a]", "]"),
            (r"[x\-]", "-"),
            ("hom*", "homer"),
            ("hom?.txt", "home.txt"),
            ("a[[]0].txt", "a[0].txt".strip_suffix("").unwrap()),
            ("[&&a]", "&"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("*", "a/b"),
            ("a*/b", "a/c/b"),
            ("a?b", "a/b"),
            ("ab[^c]", "abc"),
            ("a**b", "a/b"),
            ("abc", "abcd"),
            ("", "a"),
            (r"a\*b", "ab"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        for pattern in [
            "[", "[]a]", "[^", "[-]", "[x-]", "[-x]", "a[", r"a\", "[z-a]", "[a-b-c]",
        ] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn wildcards_are_known() {
        assert!(has_wildcards("a*"));
        assert!(!has_wildcards(r"a\*"));
        assert!(!has_wildcards("a/b"));
    }
}
