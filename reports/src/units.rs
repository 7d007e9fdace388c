//! Numbers as people read them: three significant digits and a unit. The exact value belongs beside it.

use cowlab_units::scaled;

use crate::result::{Unit, names};

pub use cowlab_units::{bytes, digits};

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
    fn counts_of_instructions_are_no_times() {
        assert_eq!(value(12_340.0, Unit::Instructions), "12.3 k instr.");
        assert_eq!(value(1_500_000.0, Unit::Instructions), "1.5 M instr.");
        assert_eq!(exact(7.0, Unit::Instructions), "7 instructions");
    }

    #[test]
    fn ratios() {
        assert_eq!(times(1.5), "1.5×");
    }
}
