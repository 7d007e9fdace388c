//! Turns what plotters draws into markup for the page: color codes into classes, a title and a description for those
//! who do not see the picture, and no size or font of its own.

use std::fmt::Write;

use super::Look;

/// The first two bytes of a color code; the third is the number.
pub(super) const CODE: (u8, u8) = (0xC0, 0xFE);

/// Classes of the codes that are no look, by number.
const CLASSES: [(u8, &str); 4] = [(240, "ink"), (241, "muted"), (242, "grid"), (243, "fine")];

/// Makes the markup of a plot.
pub(super) fn finish(svg: &str, id: &str, title: &str, description: &str) -> String {
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    let view_box = attribute(svg, "viewBox").unwrap_or("0 0 1 1");
    let (id, title, description) = (escape(id), escape(title), escape(description));
    let mut markup = format!(
        "<svg viewBox=\"{view_box}\" role=\"img\" aria-labelledby=\"{id}-title {id}-description\">\n\
         <title id=\"{id}-title\">{title}</title>\n<desc id=\"{id}-description\">{description}</desc>"
    );
    for line in body.split_inclusive('\n') {
        restyle(line, &mut markup);
    }
    markup
}

/// Replaces the color attributes of one element. plotters writes one element per line, and only text elements, which
/// have no markup inside, go over several.
fn restyle(line: &str, markup: &mut String) {
    let mut rest = line;
    while let Some((before, name, number, after)) = next_code(rest) {
        markup.push_str(before);
        let class = CLASSES.iter().find(|(code, _)| *code == number);
        let written = match class {
            Some((_, class)) => write!(markup, "class=\"{name}-{class}\""),
            None => write!(
                markup,
                "class=\"{name}-{} dash-{}\"",
                number / Look::PATTERNS,
                number % Look::PATTERNS
            ),
        };
        written.expect("writing to a string does not fail");
        rest = after;
    }
    markup.push_str(rest);
}

/// The next color code: text before the attribute, the attribute's name, the number, text after it.
fn next_code(text: &str) -> Option<(&str, &str, u8, &str)> {
    let mark = format!("=\"#{:02X}{:02X}", CODE.0, CODE.1);
    let at = text.find(&mark)?;
    let (before, rest) = (&text[..at], &text[at + mark.len()..]);
    let number = u8::from_str_radix(rest.get(..2)?, 16).ok()?;
    let after = rest.get(2..)?.strip_prefix('"')?;
    let start = before.rfind(' ').map_or(0, |space| space + 1);
    Some((&before[..start], &before[start..], number, after))
}

fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = element.split_once(&format!(" {name}=\""))?;
    rest.split('"').next()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWN: &str = "<svg width=\"10\" height=\"5\" viewBox=\"0 0 10 5\" xmlns=\"x\">\n\
        <line opacity=\"1\" stroke=\"#C0FE07\" stroke-width=\"2\"/>\n\
        <text fill=\"#C0FEF0\">\n#C0FE00 &lt;b&gt;\n</text>\n</svg>\n";

    #[test]
    fn codes_become_classes() {
        let markup = finish(DRAWN, "p", "T", "D");
        assert!(markup.contains("<line opacity=\"1\" class=\"stroke-1 dash-1\" stroke-width"));
        assert!(markup.contains("<text class=\"fill-ink\">"));
        assert!(markup.contains("\n#C0FE00 &lt;b&gt;\n"), "text stays");
        assert!(!markup.contains("width=\"10\""));
    }

    #[test]
    fn titles_are_escaped() {
        let markup = finish(DRAWN, "p", "<script>", "a \"b\" & c");
        assert!(markup.contains("<title id=\"p-title\">&lt;script&gt;</title>"));
        assert!(markup.contains("a &quot;b&quot; &amp; c</desc>"));
    }
}
