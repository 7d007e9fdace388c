//! Splits Rust text into code and comments, line by line, so that a rule about one does not fire on
//! the other. It knows comments, strings and characters and nothing else of the language.

/// The lines of one file; all three have as many entries as the file has lines.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// Code alone: comments are dropped, the content of literals is dropped, quotes stay.
    pub(super) code: Vec<String>,
    /// Code with its literals, comments dropped.
    pub(super) literal: Vec<String>,
    /// Comments alone.
    pub(super) comments: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Text,
    RawText { hashes: usize },
}

impl Source {
    /// Splits `text`.
    pub(super) fn parse(text: &str) -> Self {
        let mut source = Self::default();
        let mut state = State::Code;
        for line in text.lines() {
            source.code.push(String::new());
            source.literal.push(String::new());
            source.comments.push(String::new());
            if matches!(state, State::LineComment) {
                state = State::Code;
            }
            let mut rest = line;
            while !rest.is_empty() {
                let (next, length) = source.step(state, rest);
                state = next;
                rest = &rest[length..];
            }
        }
        source
    }

    /// Takes the next piece of a line: stores it and returns the state after it and its length.
    fn step(&mut self, state: State, rest: &str) -> (State, usize) {
        match state {
            State::Code => self.step_code(rest),
            State::LineComment => (state, self.comment(rest, rest.len())),
            State::BlockComment { depth } => {
                let (depth, length) = match (rest.starts_with("*/"), rest.starts_with("/*")) {
                    (true, _) => (depth - 1, 2),
                    (_, true) => (depth + 1, 2),
                    _ => (depth, first_length(rest)),
                };
                self.comment(rest, length);
                (
                    if depth == 0 {
                        State::Code
                    } else {
                        State::BlockComment { depth }
                    },
                    length,
                )
            }
            State::Text if rest.starts_with('"') => (State::Code, self.both(rest, 1)),
            State::Text => {
                let escaped = rest
                    .strip_prefix('\\')
                    .map_or(0, |after| 1 + first_length(after));
                (state, self.inside(rest, escaped.max(first_length(rest))))
            }
            State::RawText { hashes } => {
                let end = format!("\"{}", "#".repeat(hashes));
                if rest.starts_with(&end) {
                    return (State::Code, self.both(rest, end.len()));
                }
                (state, self.inside(rest, first_length(rest)))
            }
        }
    }

    fn step_code(&mut self, rest: &str) -> (State, usize) {
        if rest.starts_with("//") {
            return (State::LineComment, self.comment(rest, 2));
        }
        if rest.starts_with("/*") {
            return (State::BlockComment { depth: 1 }, self.comment(rest, 2));
        }
        if rest.starts_with('"') {
            return (State::Text, self.both(rest, 1));
        }
        if let Some(hashes) = raw_text_hashes(rest)
            && !self.ends_in_a_word()
        {
            return (State::RawText { hashes }, self.both(rest, hashes + 2));
        }
        if let Some(length) = character_length(rest) {
            // Only the quotes stay in the code, as with strings.
            self.both(rest, 1);
            self.inside(&rest[1..], length - 2);
            self.both(&rest[length - 1..], 1);
            return (State::Code, length);
        }
        (State::Code, self.both(rest, first_length(rest)))
    }

    fn ends_in_a_word(&self) -> bool {
        let last = self.code.last().and_then(|line| line.chars().next_back());
        last.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    }

    fn both(&mut self, rest: &str, length: usize) -> usize {
        push(&mut self.code, &rest[..length]);
        self.inside(rest, length)
    }

    fn inside(&mut self, rest: &str, length: usize) -> usize {
        push(&mut self.literal, &rest[..length]);
        length
    }

    fn comment(&mut self, rest: &str, length: usize) -> usize {
        push(&mut self.comments, &rest[..length]);
        length
    }
}

/// Whether `word` stands in `line` with no letter, digit or underscore beside it.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

fn push(lines: &mut [String], text: &str) {
    if let Some(line) = lines.last_mut() {
        line.push_str(text);
    }
}

fn first_length(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

/// The number of `#` between `r` and the quote, if a raw string begins here.
fn raw_text_hashes(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let quote = after.trim_start_matches('#');
    quote.starts_with('"').then(|| after.len() - quote.len())
}

/// The length of a character literal, if one begins here; a lifetime is none.
fn character_length(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('\'')?;
    if after.starts_with('\\') {
        // The quote that ends it is not the one directly after the backslash.
        return after.get(2..)?.find('\'').map(|at| at + 4);
    }
    let length = first_length(after);
    after[length..].starts_with('\'').then_some(length + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_told_from_code() {
        let text = "let a = \"// no\"; // yes\nlet b = r#\"\"x\"#; /* y\n z */ let c = '\"';";
        let source = Source::parse(text);
        assert_eq!(
            source.code,
            ["let a = \"\"; ", "let b = r#\"\"#; ", " let c = '';"]
        );
        assert_eq!(source.comments, ["// yes", "/* y", " z */"]);
        assert_eq!(source.literal[0], "let a = \"// no\"; ");
    }

    #[test]
    fn escapes_do_not_end_a_literal() {
        let source =
            Source::parse(r#"let a = "\" // no"; let b = '\''; let c = '\u{7f}'; x // yes"#);
        assert_eq!(source.code, [r#"let a = ""; let b = ''; let c = ''; x "#]);
        assert_eq!(source.comments, ["// yes"]);
    }

    #[test]
    fn a_lifetime_is_no_character() {
        let source = Source::parse("fn f<'a>(x: &'a str) {} // it's");
        assert_eq!(source.code, ["fn f<'a>(x: &'a str) {} "]);
    }

    #[test]
    fn a_string_may_span_lines() {
        let source = Source::parse("let a = \"one\n// two\n\"; done");
        assert_eq!(source.code, ["let a = \"", "", "\"; done"]);
        assert_eq!(source.comments, ["", "", ""]);
    }

    #[test]
    fn words_have_borders() {
        assert!(has_word("unsafe {", "unsafe"));
        assert!(!has_word("unsafe_code", "unsafe"));
    }
}
