//! A comparison of two results for people and for programs.

use cowlab_engine::exit;
use cowlab_reports::compare::{Change, Comparison};

use crate::args::Format;

/// The exit code of a comparison.
pub(crate) fn judge(comparison: &Comparison) -> u8 {
    if comparison.has_finding() {
        exit::FINDING
    } else if comparison.is_inconclusive() {
        exit::UNKNOWN
    } else {
        exit::OK
    }
}

/// A comparison for people, or a line per series.
pub(crate) fn render(comparison: &Comparison, all: bool, format: Format) -> anyhow::Result<String> {
    let mut text = String::new();
    let worth = |change: &Change| all || *change != Change::NoRelevantChange;
    for compared in comparison.series.iter().filter(|one| worth(&one.change)) {
        match format {
            Format::Json => {
                let line = serde_json::json!({
                    "series": compared.id.to_string(),
                    "verdict": compared.change.word(compared.id.unit),
                    "change": compared.change,
                    "before": compared.before,
                    "after": compared.after,
                    "ratio": compared.ratio,
                    "noise": compared.noise,
                });
                text.push_str(&line.to_string());
            }
            Format::Markdown => text.push_str(&format!("- {compared}")),
            Format::Text => text.push_str(&compared.to_string()),
        }
        text.push('\n');
    }
    if format != Format::Json {
        text.push_str(&format!(
            "{} series: {} better, {} worse, {} without relevant change, {} unknown, the others in one set only or not \
             comparable\n",
            comparison.series.len(),
            comparison.count(&Change::Better),
            comparison.count(&Change::Worse),
            comparison.count(&Change::NoRelevantChange),
            comparison.count(&Change::Unknown),
        ));
    }
    Ok(text)
}
