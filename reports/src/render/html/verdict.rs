//! The verdict with its reasons.

use maud::{Markup, html};

use super::element::{Prose, Shown, column, rule};
use crate::report::Report;
use crate::verdict::{Choice, Confidence, Reason, Rejected, Verdict};

pub(super) fn section(report: &Report) -> Markup {
    let verdict = &report.verdict;
    html! {
        section id="verdict" class="card hero" {
            p class="eyebrow" { "Verdict for this host" }
            @match &verdict.choice {
                Some(choice) => (chosen(verdict, choice)),
                None => (unknown(verdict)),
            }
            @for applied in &verdict.host {
                p class="note warn" { (Prose(&applied.text)) " " (rule(applied)) }
            }
            @if !verdict.missing.is_empty() {
                div class="note" {
                    h3 { "Evidence that is missing" }
                    ul { @for missing in &verdict.missing { li { (Prose(missing)) } } }
                }
            }
            @if !verdict.rejected.is_empty() { (why_not(verdict)) }
        }
    }
}

fn chosen(verdict: &Verdict, choice: &Choice) -> Markup {
    html! {
        div class="headline" {
            h2 {
                "Use " em { (Shown(&choice.column.driver_name())) }
                " on " em { (Shown(&choice.column.backing)) }
            }
            (confidence(verdict.confidence))
        }
        div class="two" {
            div {
                h3 { "Why" }
                (reasons(&choice.reasons))
            }
            @if !choice.cautions.is_empty() {
                div {
                    h3 { "Know before you use it" }
                    (reasons(&choice.cautions))
                }
            }
        }
        @if let Some(better) = &verdict.improvement {
            p class="note" {
                strong { "With a new file system: " }
                (column(&better.column)) ". There, " (Prose(&better.because)) "."
            }
        }
    }
}

fn unknown(verdict: &Verdict) -> Markup {
    html! {
        div class="headline" {
            h2 { "Unknown: the evidence does not carry a choice" }
            (confidence(verdict.confidence))
        }
        p {
            "A driver is recommended only after conformance has judged it here. What is missing stands below; an unknown "
            "verdict is a result, not a guess."
        }
    }
}

fn confidence(confidence: Confidence) -> Markup {
    html! {
        span class={ "badge confidence-" (confidence.name()) } { "confidence: " (confidence.name()) }
    }
}

fn reasons(reasons: &[Reason]) -> Markup {
    html! {
        ul class="reasons" {
            @for reason in reasons {
                li {
                    (Prose(&reason.text))
                    @if let Some(applied) = &reason.rule { " " (rule(applied)) }
                }
            }
        }
    }
}

fn why_not(verdict: &Verdict) -> Markup {
    let is_runner_up = |rejected: &Rejected| verdict.runner_up.as_ref() == Some(rejected);
    html! {
        div class="scroll" tabindex="0" {
            table class="why" {
                caption { "Why not the others, the next best first" }
                thead { tr {
                    th scope="col" { "Candidate" }
                    th scope="col" { "Decided by" }
                    th scope="col" { "Because it" }
                } }
                tbody {
                    @for rejected in &verdict.rejected {
                        tr {
                            th scope="row" {
                                (column(&rejected.column))
                                @if is_runner_up(rejected) { " " span class="badge" { "runner-up" } }
                            }
                            td { (rejected.criterion) }
                            td { (Prose(&rejected.because)) }
                        }
                    }
                }
            }
        }
    }
}
