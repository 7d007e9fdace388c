//! Words of an instruction. Quotes and escapes stay, since variables are expanded later.
//! Source: BuildKit, frontend/dockerfile/parser/line_parsers.go and split_command.go.

use serde_json::Value;

use crate::error::Fault;

/// The first word and what follows it.
pub(crate) fn first(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// What splits a text into words at white space that is neither quoted nor escaped.
struct Splitter<'a> {
    chars: std::iter::Peekable<std::str::CharIndices<'a>>,
    text: &'a str,
    escape: char,
}

impl Splitter<'_> {
    fn new(text: &str, escape: char) -> Splitter<'_> {
        Splitter {
            chars: text.char_indices().peekable(),
            text,
            escape,
        }
    }

    fn skip_space(&mut self) {
        while self.chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
    }

    fn at(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    /// The next word; with `raw` its quotes and escapes stay.
    fn word(&mut self, raw: bool) -> Option<String> {
        self.skip_space();
        self.chars.peek()?;
        let mut word = String::new();
        let mut quote = None;
        while let Some((_, c)) = self
            .chars
            .next_if(|(_, c)| quote.is_some() || !c.is_whitespace())
        {
            if c == self.escape && quote != Some('\'') {
                let Some((_, escaped)) = self.chars.next() else {
                    break;
                };
                if raw {
                    word.push(c);
                }
                word.push(escaped);
            } else if Some(c) == quote {
                quote = None;
                if raw {
                    word.push(c);
                }
            } else if quote.is_none() && (c == '"' || c == '\'') {
                quote = Some(c);
                if raw {
                    word.push(c);
                }
            } else {
                word.push(c);
            }
        }
        Some(word)
    }
}

/// The words of a text.
pub(crate) fn split(text: &str, escape: char) -> Vec<String> {
    let mut splitter = Splitter::new(text, escape);
    std::iter::from_fn(|| splitter.word(true)).collect()
}

/// A word of a shell without quotes and escapes; none if a quote has no end.
pub(crate) fn unquote(word: &str) -> Option<String> {
    let mut bare = String::new();
    let mut quote = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None) => bare.extend(chars.next()),
            ('\\', Some('"')) => match chars.next() {
                Some(c @ ('"' | '\\' | '$')) => bare.push(c),
                Some(c) => bare.extend(['\\', c]),
                None => return None,
            },
            (c, Some(open)) if c == open => quote = None,
            (c @ ('"' | '\''), None) => quote = Some(c),
            (c, _) => bare.push(c),
        }
    }
    quote.is_none().then_some(bare)
}

/// The flags at the beginning of a text, without quotes, and what follows them. `--` alone ends them.
pub(crate) fn flags(text: &str, escape: char) -> (Vec<String>, String) {
    let mut splitter = Splitter::new(text, escape);
    let mut flags = Vec::new();
    loop {
        splitter.skip_space();
        let at = splitter.at();
        if !text[at..].starts_with("--") {
            return (flags, text[at..].to_owned());
        }
        match splitter.word(false) {
            Some(word) if word != "--" => flags.push(word),
            _ => {
                let at = splitter.at();
                return (flags, text[at..].trim_start().to_owned());
            }
        }
    }
}

/// The strings of a JSON array; none if the text is no JSON array.
///
/// # Errors
///
/// For an array of something else than strings: docker takes that for a mistake, not for a shell's command.
pub(crate) fn json(text: &str) -> Result<Option<Vec<String>>, Fault> {
    if !text.trim_start().starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<Value>>(text) else {
        return Ok(None);
    };
    values
        .into_iter()
        .map(|value| match value {
            Value::String(text) => Ok(text),
            other => Err(Fault::with_remedy(
                format!("the JSON array has `{other}`, which is no string"),
                "put every word in double quotes",
            )),
        })
        .collect::<Result<Vec<_>, _>>()
        .map(Some)
}
