//! Lines to instructions' texts: parser directives, comments, continued lines, here-documents.
//! Source: BuildKit, frontend/dockerfile/parser/parser.go and directives.go.

use std::iter::Peekable;
use std::str::SplitInclusive;

use crate::error::{Fault, Lines};
use crate::words;

/// What the first lines of a file say about the rest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Directives {
    /// What continues a line and what escapes a character.
    pub(crate) escape: char,
    /// The frontend that the file asks for.
    pub(crate) syntax: Option<String>,
}

/// An instruction's text, not yet understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Logical {
    pub(crate) lines: Lines,
    /// On one line, without white space at its ends.
    pub(crate) text: String,
    pub(crate) documents: Vec<HereDocument>,
}

/// A here-document as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HereDocument {
    pub(crate) name: String,
    pub(crate) strip_tabs: bool,
    pub(crate) expand: bool,
    pub(crate) text: String,
}

impl HereDocument {
    /// The content without the tabs that `<<-` takes away.
    pub(crate) fn content(&self) -> String {
        if !self.strip_tabs {
            return self.text.clone();
        }
        self.text
            .split_inclusive('\n')
            .map(|line| line.trim_start_matches('\t'))
            .collect()
    }
}

/// What is wrong with the lines from `lines.first` on.
pub(crate) type Misread = (Lines, String, Fault);

struct Reader<'a> {
    rest: Peekable<SplitInclusive<'a, char>>,
    /// How many lines were read.
    count: usize,
    escape: char,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let line = self.rest.next()?;
        self.count += 1;
        Some(line)
    }
}

/// Reads a file's instructions.
pub(crate) fn read(text: &str) -> Result<(Directives, Vec<Logical>), Misread> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let directives = directives(text)?;
    let logical = instructions(text, directives.escape)?;
    Ok((directives, logical))
}

/// Reads instructions without directives before them, such as a trigger's.
pub(crate) fn instructions(text: &str, escape: char) -> Result<Vec<Logical>, Misread> {
    let mut reader = Reader {
        rest: text.split_inclusive('\n').peekable(),
        count: 0,
        escape,
    };
    let mut found = Vec::new();
    while let Some(line) = reader.next() {
        let line = chomp(line);
        if is_comment(line) || line.trim().is_empty() {
            continue;
        }
        let first = reader.count;
        let text = join(&mut reader, line.trim_start());
        if text.is_empty() {
            continue;
        }
        let documents = here_documents(&mut reader, &text, first)?;
        found.push(Logical {
            lines: Lines {
                first,
                last: reader.count,
            },
            text,
            documents,
        });
    }
    Ok(found)
}

fn chomp(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// The line and those that it is continued by. Comments and empty lines between them are left out, as docker does.
fn join(reader: &mut Reader<'_>, first: &str) -> String {
    let mut text = String::new();
    let mut continued = push(&mut text, first, reader.escape);
    while continued {
        let Some(line) = reader.next().map(chomp) else {
            break;
        };
        if is_comment(line) || line.trim().is_empty() {
            continue;
        }
        continued = push(&mut text, line, reader.escape);
    }
    text.trim().to_owned()
}

/// Adds a line, and tells whether the next one belongs to it: it ends with one escape character, white space not counted.
fn push(text: &mut String, line: &str, escape: char) -> bool {
    let trimmed = line.trim_end_matches([' ', '\t']);
    if let Some(before) = trimmed.strip_suffix(escape)
        && !before.ends_with(escape)
    {
        text.push_str(before);
        return true;
    }
    text.push_str(line);
    false
}

fn here_documents(
    reader: &mut Reader<'_>,
    text: &str,
    first: usize,
) -> Result<Vec<HereDocument>, Misread> {
    let mut documents = here_words(text, reader.escape);
    for document in &mut documents {
        loop {
            let Some(line) = reader.next() else {
                let lines = Lines {
                    first,
                    last: reader.count,
                };
                let reason = format!("the here-document `{}` has no end", document.name);
                let remedy = format!("add a line that is `{}` alone", document.name);
                return Err((lines, text.to_owned(), Fault::with_remedy(reason, remedy)));
            };
            let bare = chomp(line);
            let bare = if document.strip_tabs {
                bare.trim_start_matches('\t')
            } else {
                bare
            };
            if bare == document.name {
                break;
            }
            document.text.push_str(line);
        }
    }
    Ok(documents)
}

/// The here-documents that an instruction's text announces. Only `ADD`, `COPY` and `RUN` have them, behind `ONBUILD` too, and no JSON form has.
fn here_words(text: &str, escape: char) -> Vec<HereDocument> {
    if !text.contains("<<") {
        return Vec::new();
    }
    let (mut name, mut rest) = words::first(text);
    if name.eq_ignore_ascii_case("ONBUILD") {
        (name, rest) = words::first(rest);
    }
    if !["ADD", "COPY", "RUN"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
    {
        return Vec::new();
    }
    let (_, rest) = words::flags(rest, escape);
    if matches!(words::json(&rest), Ok(Some(_))) {
        return Vec::new();
    }
    // Here-documents are a shell's: their escape character is `\`, whatever the file's is.
    words::split(&rest, '\\')
        .iter()
        .filter_map(|word| here_word(word))
        .collect()
}

/// A word that announces a here-document: `<<EOF`, `<<-EOF`, `<<"EOF"`, `3<<EOF`.
pub(crate) fn here_word(word: &str) -> Option<HereDocument> {
    let rest = word
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .strip_prefix("<<")?;
    let (strip_tabs, rest) = rest
        .strip_prefix('-')
        .map_or((false, rest), |rest| (true, rest));
    if rest.is_empty() || rest.contains('<') {
        return None;
    }
    let name = words::unquote(rest)?;
    if name.is_empty() {
        return None;
    }
    Some(HereDocument {
        expand: name == rest,
        name,
        strip_tabs,
        text: String::new(),
    })
}

/// The parser directives: comments `# name=value` before everything else, each once.
fn directives(text: &str) -> Result<Directives, Misread> {
    let mut found = Directives {
        escape: '\\',
        syntax: None,
    };
    let mut seen: Vec<&str> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some((name, value)) = directive(line) else {
            break;
        };
        let at = |fault| {
            let lines = Lines {
                first: index + 1,
                last: index + 1,
            };
            Err((lines, line.trim().to_owned(), fault))
        };
        if seen.contains(&name) {
            return at(Fault::with_remedy(
                format!("the parser directive `{name}` is there twice"),
                "remove one",
            ));
        }
        seen.push(name);
        match name {
            "escape" => match value {
                "\\" => {}
                "`" => found.escape = '`',
                _ => {
                    return at(Fault::new(format!(
                        "`{value}` cannot be the escape character: it is \\ or `"
                    )));
                }
            },
            "syntax" => {
                if let Err(fault) = frontend(value) {
                    return at(fault);
                }
                found.syntax = Some(value.to_owned());
            }
            // `check` is about docker's warnings, of which there are none here.
            _ => {}
        }
    }
    Ok(found)
}

fn directive(line: &str) -> Option<(&'static str, &str)> {
    let (name, value) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let known = ["check", "escape", "syntax"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(name))?;
    (!value.is_empty()).then_some((known, value))
}

/// The frontends whose language this crate knows.
fn frontend(value: &str) -> Result<(), Fault> {
    let name = value.split_whitespace().next().unwrap_or(value);
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let repository = name.split(['@', ':']).next().unwrap_or(name);
    if ["docker/dockerfile", "docker/dockerfile-upstream"].contains(&repository) {
        return Ok(());
    }
    Err(Fault::with_remedy(
        format!(
            "the frontend `{value}` is not here: cowlab reads docker/dockerfile's language alone"
        ),
        "remove the `# syntax=` line if the file is an ordinary Dockerfile",
    ))
}
