//! What one proof found, as a line of JSON and as a row of a page.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::terminal;

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// One line of `verify.jsonl`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The name of the claim.
    pub(super) claim: String,
    pub(super) statement: String,
    pub(super) command: String,
    pub(super) holds: bool,
    pub(super) exit_code: u8,
    pub(super) seconds: f64,
    /// More seconds than this break the claim.
    pub(super) limit_seconds: Option<u64>,
    /// When the proof began, UTC, RFC 3339.
    pub(super) date: String,
    pub(super) commit: String,
}

impl Record {
    /// The result for a person who watches.
    pub(super) fn sentence(&self) -> String {
        let verdict = if self.holds { "holds" } else { "does not hold" };
        format!(
            "{} {verdict}: exit {}, {}",
            self.claim,
            self.exit_code,
            self.time()
        )
    }

    fn time(&self) -> String {
        let time = terminal::duration(Duration::from_secs_f64(self.seconds));
        match self.limit_seconds {
            Some(limit) => format!(
                "{time} of {}",
                terminal::duration(Duration::from_secs(limit))
            ),
            None => time,
        }
    }
}

/// The page with the newest of `records` for each of `names`.
pub(super) fn page(names: &[&str], records: &[Record]) -> String {
    let mut page = String::from(
        "# Proofs\n\n\
         Written by `cargo xtask verify`. Each claim has a command that decides it by its exit code; every\n\
         run is a line of `verify.jsonl`, the newest one is shown here.\n\n\
         | claim | holds | time | date | commit |\n|---|---|---|---|---|\n",
    );
    let mut commands = String::from("\n## Commands\n\n");
    for name in names {
        let Some(record) = records.iter().rev().find(|record| record.claim == *name) else {
            continue;
        };
        let holds = if record.holds { "yes" } else { "**no**" };
        let Record {
            statement,
            date,
            commit,
            command,
            ..
        } = record;
        // Writing to a `String` cannot fail.
        writeln!(
            page,
            "| {statement} | {holds} | {} | {date} | `{commit}` |",
            record.time()
        )
        .ok();
        writeln!(commands, "- `{name}`: `{command}`").ok();
    }
    page + &commands
}

/// `time` as `2026-01-31T12:00:00Z`.
pub(super) fn utc(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (mut days, second) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
    let mut year = 1970_u64;
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let mut month = 1_usize;
    for length in month_lengths(year) {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!(
        "{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
        days + 1
    )
}

fn days_of_year(year: u64) -> u64 {
    month_lengths(year).iter().sum()
}

fn month_lengths(year: u64) -> [u64; 12] {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let february = if leap { 29 } else { 28 };
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
