//! Columns of text, as wide as their widest cell, and the words for sizes and ages in them.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use cowlab_driver::Bytes;

/// Writes rows under a header. Cells of people's own text are shown with control characters escaped.
pub(crate) fn write(out: &mut impl Write, header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let shown = |cell: &str| -> String {
        cell.chars()
            .flat_map(|c| match c.is_control() {
                true => c.escape_default().collect::<Vec<_>>(),
                false => vec![c],
            })
            .collect()
    };
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(header)
        .chain(
            rows.iter()
                .map(|row| row.iter().map(|cell| shown(cell)).collect()),
        )
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}   "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Writes a size for people.
pub(crate) fn size(bytes: u64) -> String {
    Bytes(bytes).to_string()
}

/// Writes how long ago something was, given in nanoseconds since 1970.
pub(crate) fn ago(nanoseconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    let then = u64::try_from(nanoseconds / 1_000_000_000).unwrap_or(0);
    let seconds = now.saturating_sub(then);
    let units = [
        ("year", 365 * 86_400),
        ("month", 30 * 86_400),
        ("week", 7 * 86_400),
        ("day", 86_400),
        ("hour", 3_600),
        ("minute", 60),
    ];
    let (unit, length) = units
        .into_iter()
        .find(|(_, length)| seconds >= *length)
        .unwrap_or(("second", 1));
    let count = seconds / length;
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

/// The start of a text, without control characters.
pub(crate) fn short(text: &str, length: usize) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if clean.chars().count() <= length {
        return clean;
    }
    let mut start: String = clean.chars().take(length - 1).collect();
    start.push('…');
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_clean() {
        assert_eq!(short("a\u{1b}b", 10), "a b");
        assert_eq!(short("abcdef", 4), "abc…");
    }

    #[test]
    fn columns_line_up_and_control_characters_stay_out() {
        let mut out = Vec::new();
        let rows = vec![
            vec!["long name".to_owned(), "1".to_owned()],
            vec!["a\u{1b}b".to_owned(), "2".to_owned()],
        ];
        write(&mut out, &["NAME", "N"], &rows).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "NAME        N");
        assert_eq!(lines[1], "long name   1");
        assert_eq!(lines[2], "a\\u{1b}b    2");
    }
}
