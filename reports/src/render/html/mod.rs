//! The page: one file that needs nothing else, no script and no network, readable on a phone, on paper and by a screen
//! reader, light and dark.

mod closing;
mod conformance;
mod counts;
mod element;
mod numbers;
mod space;
mod verdict;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::plot::Looks;
use crate::report::{CapacityRow, Report, ReportError, TimingRow};
use element::Shown;

const STYLE: &str = include_str!("style.css");

/// Nothing but the page's own style may load or run, whatever a hostile name manages to say.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Makes the page of a report.
pub(crate) fn html(report: &Report) -> Result<String, ReportError> {
    let timings = report.timings.iter().map(TimingRow::column);
    let looks = Looks::new(timings.chain(report.capacity.iter().map(CapacityRow::column)));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="color-scheme" content="light dark";
                title { "Storage driver report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a class="skip" href="#main" { "Skip to the verdict" }
                (header(report))
                main id="main" {
                    @if report.is_empty() { (nothing_ran()) }
                    (verdict::section(report))
                    (conformance::section(report))
                    (numbers::section(report, &looks)?)
                    (counts::section(report))
                    (space::section(report, &looks)?)
                    (closing::not_run(report))
                    (closing::environment(report))
                }
                footer {
                    p { "Made by cowlab from " (report.lines) " result lines. The same lines give the same page." }
                }
            }
        }
    };
    Ok(page.into_string())
}

fn header(report: &Report) -> Markup {
    let fact = |name: &str| {
        let row = report.environments.iter().find(|row| row.fact == name);
        row.map(|row| row.value.as_str())
    };
    let shown = [
        ("Kernel", fact("kernel")),
        ("Processor", fact("processor")),
        ("Cores", fact("cores")),
        ("Memory", fact("memory")),
        ("Distribution", fact("distribution")),
        ("Storage", fact("storage file system")),
    ];
    html! {
        header {
            div class="inner" {
                h1 { "Storage driver report" }
                @if let Some(finished) = report.finished {
                    p class="when" { time datetime=(finished) { (finished.date()) } }
                }
                dl class="facts" {
                    @for (name, value) in shown {
                        @if let Some(value) = value {
                            div { dt { (name) } dd { (Shown(value)) } }
                        }
                    }
                }
            }
            nav aria-label="Sections" {
                div class="inner" {
                    a href="#verdict" { "Verdict" }
                    a href="#conformance" { "Conformance" }
                    a href="#latency" { "Latency" }
                    @if !report.counts.is_empty() { a href="#instructions" { "Instructions" } }
                    a href="#space" { "Space" }
                    a href="#not-run" { "Not run" }
                    a href="#environment" { "Environment" }
                }
            }
        }
    }
}

fn nothing_ran() -> Markup {
    html! {
        p class="note warn" {
            strong { "Nothing ran. " }
            "There is no conformance outcome and no measurement among these results, so this page shows only what was "
            "skipped and where."
        }
    }
}
