//! Series as tables for people: medians with intervals, percentiles, and the excess over both floors.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use cowlab_reports::result::{Arm, Parameter, Parameters, Place, Series, SeriesId, Unit, names};
use cowlab_reports::statistics::{Estimate, summarize};
use cowlab_reports::units;
use hdrhistogram::Histogram;

use crate::space::exact;

/// Significant digits of the percentiles: 0.1 percent.
const DIGITS: u8 = 3;

const WHAT: &str = "what";
const WHERE: &str = "where";
const NOTES: &str = "notes";

/// The columns of every table.
const HEADER: [&str; 10] = [
    WHAT,
    WHERE,
    "median",
    "95 % interval",
    "p95",
    "p99",
    "plain",
    "copied up",
    "n",
    NOTES,
];

/// What is kept of a series for the tables: a few numbers, not the samples.
#[derive(Debug, Clone)]
struct Row {
    samples: usize,
    median: Estimate,
    p95: f64,
    p99: f64,
    notes: String,
}

/// Collects series and writes them as tables.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    rows: BTreeMap<SeriesId, Row>,
    questions: BTreeMap<String, String>,
}

impl Tables {
    /// Takes note of a series.
    pub(crate) fn add(&mut self, series: &Series) {
        let Some(summary) = summarize(&series.blocks) else {
            return;
        };
        let samples = || series.blocks.iter().flatten().copied();
        let histogram = histogram(samples());
        let percentile = |quantile| {
            histogram
                .as_ref()
                .map_or(summary.max, |found| value_at(found, quantile))
        };
        let mut notes: Vec<String> = series
            .warnings
            .iter()
            .map(|warning| warning.name().to_owned())
            .collect();
        let mut median = summary.median;
        if let Some(counted) = &series.counted {
            median = Estimate {
                value: exact(counted.median),
                interval: None,
            };
            notes.push(format!(
                "seeds differ {:.1} %",
                (counted.floor - 1.0) * 100.0
            ));
        }
        let row = Row {
            samples: summary.samples,
            median,
            p95: percentile(0.95),
            p99: percentile(0.99),
            notes: notes.join(", "),
        };
        self.rows.insert(series.id(), row);
        self.questions
            .insert(series.workload.clone(), series.question.clone());
    }

    /// Writes every table.
    pub(crate) fn render(&self, markdown: bool) -> String {
        let mut text = String::new();
        for (workload, question) in &self.questions {
            for unit in [
                Unit::Ns,
                Unit::Instructions,
                Unit::Bytes,
                Unit::Inodes,
                Unit::Ratio,
            ] {
                // Numbers of two places in one table would be compared.
                for (place, name) in [(Place::Host, ""), (Place::Guest, ", in the guest")] {
                    let table = self.table(workload, unit, place, markdown);
                    if table.row_count() > 0 {
                        let mark = if markdown { "## " } else { "" };
                        text.push_str(&format!(
                            "{mark}{workload} ({unit}{name})\n\n{question}\n\n{table}\n\n"
                        ));
                    }
                }
            }
        }
        text
    }

    fn table(&self, workload: &str, unit: Unit, place: Place, markdown: bool) -> Table {
        let mut table = Table::new();
        table.load_preset(if markdown {
            presets::ASCII_MARKDOWN
        } else {
            presets::NOTHING
        });
        table.set_content_arrangement(ContentArrangement::Disabled);
        let chosen = self
            .rows
            .iter()
            .filter(|(id, _)| id.workload == workload && id.unit == unit && id.arm == Arm::Driver)
            .filter(|(id, _)| id.column.place == place);
        let mut lines: Vec<_> = chosen.collect();
        // Points together, so that drivers stand below each other.
        lines.sort_by_key(|(id, _)| (&id.parameters, id.column.media, &id.column));
        let rows: Vec<_> = lines.iter().map(|(id, row)| self.cells(id, row)).collect();
        // No column without a cell: most workloads have no floor, and a short run has no interval.
        let filled = |column: &usize| rows.iter().any(|row| !row[*column].is_empty());
        let columns: Vec<usize> = (0..HEADER.len()).filter(filled).collect();
        table.set_header(columns.iter().map(|column| HEADER[*column]));
        for row in &rows {
            table.add_row(columns.iter().map(|column| row[*column].as_str()));
        }
        for (index, column) in columns.iter().enumerate() {
            let right = ![WHAT, WHERE, NOTES].contains(&HEADER[*column]);
            if let (true, Some(column)) = (right, table.column_mut(index)) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    /// A cell for each of [`HEADER`]; empty where there is nothing to say.
    fn cells(&self, id: &SeriesId, row: &Row) -> [String; HEADER.len()] {
        let shown = |value| units::value(value, id.unit);
        let interval = row.median.interval.map_or_else(String::new, |interval| {
            format!("{} .. {}", shown(interval.low), shown(interval.high))
        });
        let floor = |arm| {
            self.rows
                .get(&id.with_arm(arm))
                .map_or_else(String::new, |floor| shown(floor.median.value))
        };
        let percentile = |value| {
            if id.unit == Unit::Ns {
                shown(value)
            } else {
                String::new()
            }
        };
        [
            point(&id.parameters, id.unit),
            id.column.to_string(),
            shown(row.median.value),
            interval,
            percentile(row.p95),
            percentile(row.p99),
            floor(Arm::FloorPlain),
            floor(Arm::FloorCopiedUp),
            row.samples.to_string(),
            row.notes.clone(),
        ]
    }
}

/// Parameters as people read them: sizes with their unit, the flat size in that of the series.
fn point(parameters: &Parameters, unit: Unit) -> String {
    let parts: Vec<String> = parameters
        .iter()
        .map(|(name, value)| {
            let bytes = [names::SIZE, names::CHANGE].contains(&name.as_str());
            match value {
                Parameter::Number(number) if bytes => {
                    format!("{name} {}", cowlab_driver::Bytes(*number))
                }
                Parameter::Number(number) if name == names::FLAT => {
                    format!("{name} {}", units::value(exact(*number), unit))
                }
                _ if name == names::OP => value.to_string(),
                _ => format!("{name} {value}"),
            }
        })
        .collect();
    parts.join(", ")
}

/// Whole numbers above zero in a histogram; `None` where there is another, such as space that became less.
fn histogram(samples: impl Iterator<Item = f64>) -> Option<Histogram<u64>> {
    let mut histogram = Histogram::new(DIGITS).ok()?;
    for sample in samples {
        let text = format!("{sample:.0}");
        histogram.record(text.parse().ok()?).ok()?;
    }
    Some(histogram)
}

fn value_at(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    exact(histogram.value_at_quantile(quantile).min(histogram.max()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_samples() {
        let histogram = histogram((1..=1000).map(f64::from)).unwrap();
        assert!((value_at(&histogram, 0.95) - 950.0).abs() <= 1.0);
        assert_eq!(value_at(&histogram, 1.0), 1000.0);
    }

    #[test]
    fn less_space_has_no_histogram() {
        assert!(histogram([-4096.0].into_iter()).is_none());
    }

    #[test]
    fn sizes_are_shown_with_their_unit() {
        let parameters: Parameters = [
            ("op".to_owned(), "chmod".into()),
            ("size".to_owned(), 4096_u64.into()),
            ("depth".to_owned(), 8_u64.into()),
        ]
        .into();
        assert_eq!(point(&parameters, Unit::Ns), "depth 8, chmod, size 4 KiB");
    }
}
