//! Makes foreign text safe to look at.

use std::fmt::Write;

/// Replaces what would not be seen, or would change how its surroundings are seen: control characters but for line
/// breaks, and the characters that reverse or hide text (Unicode Technical Report 36, "Bidirectional text spoofing").
pub(super) fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\n' || !is_hidden(character) {
            visible.push(character);
        } else {
            write!(visible, "\\u{{{:x}}}", u32::from(character))
                .expect("writing to a string does not fail");
        }
    }
    visible
}

/// The same on one line.
pub(super) fn on_one_line(text: &str) -> String {
    visible(&text.replace('\n', "\u{240a}"))
}

fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{00ad}'
                | '\u{061c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Escapes text for one line of Markdown: no markup, no HTML, no table cell ends inside.
pub(super) fn escape_markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in on_one_line(text).chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '|' | '~' | '#' | '!' => {
                escaped.push('\\');
                escaped.push(character);
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

/// Puts text into a Markdown code span. Text with a backtick or an angle bracket is escaped instead: renderers differ in
/// where they see the end of a span, and what follows the end would be markup. A bar ends a table cell even in a span.
pub(super) fn code(text: &str) -> String {
    let text = on_one_line(text);
    if text.is_empty() || text.contains(['`', '<']) {
        escape_markdown(&text)
    } else {
        format!("`{}`", text.replace('|', "\\|"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_shown() {
        assert_eq!(
            visible("a\u{1b}[31mb\u{202e}c\u{0}"),
            "a\\u{1b}[31mb\\u{202e}c\\u{0}"
        );
        assert_eq!(visible("line\nbreak é 漢"), "line\nbreak é 漢");
        assert_eq!(on_one_line("line\nbreak"), "line\u{240a}break");
    }

    #[test]
    fn markdown_stays_text() {
        assert_eq!(
            escape_markdown("<b>|*x*_y_`z`[a](b)"),
            "&lt;b&gt;\\|\\*x\\*\\_y\\_\\`z\\`\\[a\\](b)"
        );
        assert_eq!(code("a`b|"), "a\\`b\\|");
        assert_eq!(code("a|b"), "`a\\|b`");
        assert_eq!(code("plain"), "`plain`");
    }
}
