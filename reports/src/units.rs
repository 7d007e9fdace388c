//! Numbers as people read them: three significant digits and a unit. The exact value belongs beside it.

use crate::result::{Unit, names};

/// A value in its unit.
#[must_use]
pub fn value(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Ns => duration(value),
        Unit::Bytes => bytes(value),
        Unit::Inodes => digits(value),
        Unit::Instructions => instructions(value),
        Unit::Ratio => times(value),
    }
}

/// A value with all its digits and its unit.
#[must_use]
pub fn exact(value: f64, unit: Unit) -> String {
    let unit = match unit {
        Unit::Ns => " ns",
        Unit::Bytes => " bytes",
        Unit::Inodes => " inodes",
        Unit::Ratio => "",
        Unit::Instructions => " instructions",
    };
    format!("{value}{unit}")
}

/// Nanoseconds: `12.3 µs`.
#[must_use]
pub fn duration(nanoseconds: f64) -> String {
    scaled(
        nanoseconds,
        &[(1.0, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")],
    )
}

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

/// Instructions: `12.3 k instr.`, `4.56 M instr.`
#[must_use]
pub fn instructions(count: f64) -> String {
    scaled(
        count,
        &[
            (1.0, "instr."),
            (1e3, "k instr."),
            (1e6, "M instr."),
            (1e9, "G instr."),
        ],
    )
}

/// A ratio: `1.25×`.
#[must_use]
pub fn times(ratio: f64) -> String {
    format!("{}×", digits(ratio))
}

/// A factor as a change: 1.04 is `4 %`.
#[must_use]
pub fn change(factor: f64) -> String {
    format!("{} %", digits((factor - 1.0) * 100.0))
}

/// A value on an x axis: `4 KiB` on that of sizes, else with the name, `depth 8`.
#[must_use]
pub fn at(axis: &str, value: u64) -> String {
    match axis {
        names::SIZE => bytes(value as f64),
        _ => format!("{axis} {value}"),
    }
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

/// Picks the largest unit that is not larger than the value.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (nanoseconds, text) in [
            (0.0, "0 ns"),
            (0.5, "0.5 ns"),
            (999.0, "999 ns"),
            (999.7, "1 µs"),
            (12_340.0, "12.3 µs"),
            (-1_500_000.0, "-1.5 ms"),
            (3.6e12, "3600 s"),
        ] {
            assert_eq!(duration(nanoseconds), text);
        }
    }

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
    fn counts_of_instructions_are_no_times() {
        assert_eq!(value(12_340.0, Unit::Instructions), "12.3 k instr.");
        assert_eq!(value(1_500_000.0, Unit::Instructions), "1.5 M instr.");
        assert_eq!(exact(7.0, Unit::Instructions), "7 instructions");
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
        assert_eq!(times(1.5), "1.5×");
    }
}
