//! Numbers of three significant digits, with a unit.

/// Bytes in powers of two: `4 KiB`.
#[must_use]
pub fn bytes(bytes: f64) -> String {
    const KIB: f64 = 1024.0;
    scaled(
        bytes,
        &[
            (1.0, "B"),
            (KIB, "KiB"),
            (KIB * KIB, "MiB"),
            (KIB * KIB * KIB, "GiB"),
            (KIB * KIB * KIB * KIB, "TiB"),
        ],
    )
}

/// A value in the largest of these units that is not larger, each a factor and a name, smallest first: `12.3 KiB`.
#[must_use]
pub fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let magnitude = value.abs();
    let (factor, name) = units
        .iter()
        .rev()
        // A value that would be written as 1000 of a unit is 1 of the next one.
        .find(|(factor, _)| magnitude >= factor * 0.9995)
        .or(units.first())
        .copied()
        .unwrap_or((1.0, ""));
    format!("{} {name}", digits(value / factor))
}

/// Three significant digits, more where the whole part is longer, grouped by thin spaces.
#[must_use]
pub fn digits(value: f64) -> String {
    let magnitude = value.abs();
    let decimals = match magnitude {
        m if m >= 99.95 => 0,
        m if m >= 9.995 => 1,
        m if m >= 0.995 || m == 0.0 => 2,
        m if m >= 0.0995 => 3,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    grouped(text)
}

/// Puts a thin space between groups of three digits of the whole part, from five digits on.
fn grouped(text: &str) -> String {
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = whole
        .strip_prefix('-')
        .map_or(("", whole), |whole| ("-", whole));
    if whole.len() < 5 {
        return text.to_owned();
    }
    let mut grouped = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push('\u{2009}');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (size, text) in [
            (0.0, "0 B"),
            (1.0, "1 B"),
            (1000.0, "1000 B"),
            (4096.0, "4 KiB"),
            (134_217_728.0, "128 MiB"),
            (1_610_612_736.0, "1.5 GiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn plain_numbers() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (1.256, "1.26"),
            (12.56, "12.6"),
            (0.123_46, "0.123"),
            (0.012_346, "0.0123"),
            (134_217_728.0, "134\u{2009}217\u{2009}728"),
            (-12_345.0, "-12\u{2009}345"),
            (1234.0, "1234"),
        ] {
            assert_eq!(digits(value), text);
        }
    }
}
