//! Variables in an instruction's values: `$x`, `${x}` and its modifiers, quotes and escapes.
//! Source: the Dockerfile reference, "Environment replacement"; BuildKit, frontend/dockerfile/shell/lex.go.

use regex::Regex;

use crate::error::Fault;

/// What a variable's name stands for; none if it is not set.
pub(crate) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How deep `${a:-${b:-...}}` may go: each level is a call.
const DEPTH_MAX: usize = 100;

/// Expands a value: variables get their values, quotes and escapes go.
pub(crate) fn word(text: &str, escape: char, variables: Variables<'_>) -> Result<String, Fault> {
    Lexer::new(text, escape, Quotes::Removed, variables).whole()
}

/// Expands a here-document: quotes are ordinary characters in it.
pub(crate) fn document(text: &str, variables: Variables<'_>) -> Result<String, Fault> {
    Lexer::new(text, '\\', Quotes::Kept, variables).whole()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Removed,
    Kept,
}

struct Lexer<'a> {
    text: &'a str,
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    escape: char,
    quotes: Quotes,
    variables: Variables<'a>,
    depth: usize,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str, escape: char, quotes: Quotes, variables: Variables<'a>) -> Self {
        Self {
            text,
            chars: text.chars().peekable(),
            escape,
            quotes,
            variables,
            depth: 0,
        }
    }

    fn whole(&mut self) -> Result<String, Fault> {
        self.until(None, false)
    }

    fn fault(&self, reason: &str) -> Fault {
        Fault::new(format!("`{}`: {reason}", self.text))
    }

    /// Reads to the character `stop`, which is taken too, or to the end. With `raw` escape characters stay: a pattern needs them.
    fn until(&mut self, stop: Option<char>, raw: bool) -> Result<String, Fault> {
        let mut result = String::new();
        while let Some(&c) = self.chars.peek() {
            if Some(c) == stop {
                self.chars.next();
                return Ok(result);
            }
            match c {
                '$' => result.push_str(&self.dollar()?),
                '\'' if self.quotes == Quotes::Removed => result.push_str(&self.single()?),
                '"' if self.quotes == Quotes::Removed => result.push_str(&self.double(raw)?),
                _ => {
                    self.chars.next();
                    if c != self.escape {
                        result.push(c);
                        continue;
                    }
                    if raw {
                        result.push(c);
                    }
                    result.extend(self.chars.next());
                }
            }
        }
        match stop {
            None => Ok(result),
            Some(stop) => Err(self.fault(&format!("`{stop}` is missing"))),
        }
    }

    fn single(&mut self) -> Result<String, Fault> {
        self.chars.next();
        let mut result = String::new();
        for c in self.chars.by_ref() {
            if c == '\'' {
                return Ok(result);
            }
            result.push(c);
        }
        Err(self.open_quote("'"))
    }

    fn double(&mut self, raw: bool) -> Result<String, Fault> {
        self.chars.next();
        let mut result = String::new();
        while let Some(&c) = self.chars.peek() {
            if c == '$' {
                result.push_str(&self.dollar()?);
                continue;
            }
            self.chars.next();
            if c == '"' {
                return Ok(result);
            }
            if c != self.escape {
                result.push(c);
                continue;
            }
            // Before anything else an escape character in double quotes is itself, as a shell has it.
            let escaped = self
                .chars
                .next_if(|next| ['"', '$', self.escape].contains(next));
            if raw || escaped.is_none() {
                result.push(c);
            }
            result.extend(escaped);
        }
        Err(self.open_quote("\""))
    }

    fn open_quote(&self, quote: &str) -> Fault {
        Fault::with_remedy(
            format!("`{}`: the quote {quote} has no end", self.text),
            format!("close it, or write `{}{quote}`", self.escape),
        )
    }

    fn dollar(&mut self) -> Result<String, Fault> {
        self.chars.next();
        if self.chars.next_if_eq(&'{').is_none() {
            let name = self.name();
            return Ok(if name.is_empty() {
                "$".to_owned()
            } else {
                (self.variables)(&name).unwrap_or_default()
            });
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.fault("more than 100 `${` are inside each other"));
        }
        let value = self.braces();
        self.depth -= 1;
        value
    }

    /// A name: letters, digits and `_`, or digits alone, or one of a shell's special characters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        if let Some(c) = self.chars.next_if(|c| "@*#?-$!".contains(*c)) {
            name.push(c);
            return name;
        }
        let digits = self.chars.peek().is_some_and(char::is_ascii_digit);
        while let Some(c) = self
            .chars
            .next_if(|c| c.is_ascii_digit() || (!digits && (c.is_alphanumeric() || *c == '_')))
        {
            name.push(c);
        }
        name
    }

    fn braces(&mut self) -> Result<String, Fault> {
        if matches!(self.chars.peek(), Some('{' | '}' | ':')) {
            return Err(self.fault("`${` is not followed by a name"));
        }
        let name = self.name();
        let value = (self.variables)(&name);
        match self.chars.next() {
            None => Err(self.fault("`}` is missing")),
            Some('}') => Ok(value.unwrap_or_default()),
            Some(':') => {
                let value = value.filter(|value| !value.is_empty());
                match self.chars.next() {
                    Some(modifier @ ('-' | '+' | '?')) => {
                        self.choice(modifier, &name, value, "is not set or empty")
                    }
                    other => Err(self.modifier(":", other)),
                }
            }
            Some(modifier @ ('-' | '+' | '?')) => self.choice(modifier, &name, value, "is not set"),
            Some('#') => {
                let longest = self.chars.next_if_eq(&'#').is_some();
                let pattern = self.until(Some('}'), true)?;
                trim_prefix(&pattern, &value.unwrap_or_default(), longest)
            }
            Some('%') => {
                let longest = self.chars.next_if_eq(&'%').is_some();
                let pattern = self.until(Some('}'), true)?;
                trim_suffix(&pattern, &value.unwrap_or_default(), longest)
            }
            Some('/') => {
                let all = self.chars.next_if_eq(&'/').is_some();
                let pattern = self.until(Some('/'), true)?;
                let replacement = self.until(Some('}'), false)?;
                replace(&pattern, &replacement, &value.unwrap_or_default(), all)
            }
            other => Err(self.modifier("", other)),
        }
    }

    fn modifier(&self, before: &str, found: Option<char>) -> Fault {
        let found = found.map_or_else(String::new, String::from);
        Fault::with_remedy(
            format!("`{}`: there is no modifier `{before}{found}`", self.text),
            "the modifiers are `-`, `+`, `?` with or without `:`, `#`, `##`, `%`, `%%`, `/` and `//`",
        )
    }

    fn choice(
        &mut self,
        modifier: char,
        name: &str,
        value: Option<String>,
        unset: &str,
    ) -> Result<String, Fault> {
        let word = self.until(Some('}'), false)?;
        match (modifier, value) {
            ('-', value) => Ok(value.unwrap_or(word)),
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            (_, None) => Err(Fault::with_remedy(
                if word.is_empty() {
                    format!("the variable `{name}` {unset}")
                } else {
                    format!("{name}: {word}")
                },
                format!("give it a value, with `--build-arg {name}=VALUE` if it is an ARG"),
            )),
        }
    }
}

/// A shell's pattern (`*`, `?`, escapes; no brackets) as a regular expression's text.
fn translate(pattern: &str, longest: bool) -> Result<String, Fault> {
    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => out.push_str(if longest { ".*" } else { ".*?" }),
            '?' => out.push('.'),
            '\\' => match chars.next() {
                Some(c @ ('*' | '?' | '\\' | '}' | '/')) => {
                    out.push_str(&regex::escape(&c.to_string()));
                }
                other => {
                    let escape = other.map_or_else(|| "\\".to_owned(), |c| format!("\\{c}"));
                    return Err(Fault::with_remedy(
                        format!("the pattern `{pattern}` has the escape `{escape}`"),
                        "`*`, `?`, `/`, `}` and `\\` can be escaped",
                    ));
                }
            },
            c => out.push_str(&regex::escape(&c.to_string())),
        }
    }
    Ok(out)
}

fn compile(pattern: &str) -> Result<Regex, Fault> {
    Regex::new(pattern)
        .map_err(|source| Fault::new(format!("the pattern cannot be used: {source}")))
}

fn trim_prefix(pattern: &str, value: &str, longest: bool) -> Result<String, Fault> {
    let expression = compile(&format!("^{}", translate(pattern, longest)?))?;
    let end = expression.find(value).map_or(0, |found| found.end());
    Ok(value[end..].to_owned())
}

/// The end of a value is matched as the beginning of the reversed one: the shortest match at the end is not what a search finds first.
fn trim_suffix(pattern: &str, value: &str, longest: bool) -> Result<String, Fault> {
    let reversed: String = value.chars().rev().collect();
    let rest = trim_prefix(&reverse_pattern(pattern), &reversed, longest)?;
    Ok(rest.chars().rev().collect())
}

/// Reverses a pattern, escapes with what they escape.
fn reverse_pattern(pattern: &str) -> String {
    let mut units: Vec<String> = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let mut unit = String::from(c);
        if c == '\\' {
            unit.extend(chars.next());
        }
        units.push(unit);
    }
    units.into_iter().rev().collect()
}

fn replace(pattern: &str, replacement: &str, value: &str, all: bool) -> Result<String, Fault> {
    let expression = compile(&translate(pattern, true)?)?;
    let plain = regex::NoExpand(replacement);
    Ok(if all {
        expression.replace_all(value, plain)
    } else {
        expression.replace(value, plain)
    }
    .into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(name: &str) -> Option<String> {
        let value = match name {
            "foo" => "/bar",
            "variable" => "set",
            "empty" => "",
            "str" => "foobarbaz",
            "string" => "foobarbaz foobar",
            "path" => "/a/b/c.tar.gz",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn expand(text: &str) -> Result<String, Fault> {
        word(text, '\\', &variables)
    }

    /// The examples of the Dockerfile reference, "Environment replacement".
    #[test]
    fn reference_examples() {
        let examples = [
            ("${foo}", "/bar"),
            ("$foo", "/bar"),
            (r"\$foo", "$foo"),
            (r"\${foo}", "${foo}"),
            ("${foo}_bar", "/bar_bar"),
            ("${variable:-word}", "set"),
            ("${unset:-word}", "word"),
            ("${empty:-word}", "word"),
            ("${empty-word}", ""),
            ("${unset-word}", "word"),
            ("${variable:+word}", "word"),
            ("${unset:+word}", ""),
            ("${empty:+word}", ""),
            ("${empty+word}", "word"),
            ("${unset:-${variable:+$foo}}", "/bar"),
            ("${str#f*b}", "arbaz"),
            ("${str##f*b}", "az"),
            ("${string%b*}", "foobarbaz foo"),
            ("${string%%b*}", "foo"),
            ("${string/ba/fo}", "fooforbaz foobar"),
            ("${string//ba/fo}", "fooforfoz foofor"),
        ];
        for (text, expected) in examples {
            assert_eq!(expand(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn quotes_and_escapes_go() {
        let examples = [
            (r#""a b" c"#, "a b c"),
            (r"'$foo'", "$foo"),
            (r#""$foo""#, "/bar"),
            (r#""\$foo \n \"x\"""#, r#"$foo \n "x""#),
            (r"a\ b", "a b"),
            (r"end\", "end"),
            ("$", "$"),
            ("a$ b", "a$ b"),
            ("$1x", "x"),
            ("${path##*/}", "c.tar.gz"),
            ("${path%.*}", "/a/b/c.tar"),
            (r"${path//\//_}", "_a_b_c.tar.gz"),
            ("${path#\\*}", "/a/b/c.tar.gz"),
            ("${path//./$1}", "/a/b/ctargz"),
        ];
        for (text, expected) in examples {
            assert_eq!(expand(text).unwrap(), expected, "{text}");
        }
        assert_eq!(word("`$foo", '`', &variables).unwrap(), "$foo");
        assert_eq!(word(r"c:\$foo", '`', &variables).unwrap(), r"c:\/bar");
    }

    #[test]
    fn documents_keep_quotes() {
        assert_eq!(
            document("say \"$foo\" '$foo' \\$foo\n", &variables).unwrap(),
            "say \"/bar\" '/bar' $foo\n"
        );
    }

    #[test]
    fn bad_texts_are_refused() {
        let bad = [
            "${",
            "${}",
            "${:x}",
            "${{x}}",
            "${foo",
            "${foo:-x",
            "${foo:x}",
            "${foo!}",
            "'a",
            "\"a",
            "${foo/x}",
            "${foo%\\q}",
            "${unset?}",
            "${empty:?no value}",
        ];
        for text in bad {
            assert!(expand(text).is_err(), "{text}");
        }
        assert_eq!(
            expand("${empty:?no value}").unwrap_err().reason,
            "empty: no value"
        );
        assert!(expand(&"${a:-".repeat(100_000)).is_err());
    }
}
