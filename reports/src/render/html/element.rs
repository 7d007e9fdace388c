//! Small pieces that every section uses.

use maud::{Markup, Render, html};

use crate::render::text::visible;
use crate::result::{Column, Unit};
use crate::rules::Applied;
use crate::units;

/// Foreign text: hidden characters made visible, then escaped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a>(pub(super) &'a str);

impl Render for Shown<'_> {
    fn render_to(&self, buffer: &mut String) {
        visible(self.0).as_str().render_to(buffer);
    }
}

/// Foreign text in which what stands between backticks is code, as in every message of cowlab.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prose<'a>(pub(super) &'a str);

impl Render for Prose<'_> {
    fn render_to(&self, buffer: &mut String) {
        let parts: Vec<&str> = self.0.split('`').collect();
        // An odd number of backticks is none of ours.
        if parts.len().is_multiple_of(2) {
            return Shown(self.0).render_to(buffer);
        }
        for (index, part) in parts.into_iter().enumerate() {
            if index.is_multiple_of(2) {
                Shown(part).render_to(buffer);
            } else {
                html! { code { (Shown(part)) } }.render_to(buffer);
            }
        }
    }
}

/// A command to copy.
pub(super) fn command(line: &str) -> Markup {
    html! { @if !line.is_empty() { code class="command" { (Shown(line)) } } }
}

/// The command that repeats a section.
pub(super) fn repeat(line: &str) -> Markup {
    html! { p class="repeat" { "Repeat: " (command(line)) } }
}

/// A column's driver and backing, set apart.
pub(super) fn column(column: &Column) -> Markup {
    html! {
        span class="column" {
            b { (Shown(&column.driver_name())) }
            @if !column.backing.is_empty() { " on " (Shown(&column.backing)) }
            @if column.place == crate::result::Place::Guest { " (guest)" }
        }
    }
}

/// A value with its exact form in a tooltip, and its interval where there is one.
pub(super) fn measured(value: f64, interval: Option<(f64, f64)>, unit: Unit) -> Markup {
    html! {
        span title=(units::exact(value, unit)) { (units::value(value, unit)) }
        @if let Some((low, high)) = interval {
            span class="interval" {
                (units::value(low, unit)) " – " (units::value(high, unit))
            }
        }
    }
}

/// A link to the source of a rule.
pub(super) fn rule(applied: &Applied) -> Markup {
    html! { a class="rule" href=(applied.source) rel="noreferrer" { "rule " (applied.rule) } }
}

/// Sources, those that are https addresses as links. Nothing else may become a link: these texts come from a file.
pub(super) fn sources(see: &str) -> Markup {
    html! {
        @for (index, source) in see.split("; ").filter(|source| !source.is_empty()).enumerate() {
            @if index > 0 { br; }
            @if source.starts_with("https://") && !source.contains(char::is_whitespace) {
                a href=(visible(source)) rel="noreferrer" { (Shown(shortened(source))) }
            } @else {
                (Shown(source))
            }
        }
    }
}

/// An address without what every address has.
fn shortened(address: &str) -> &str {
    let address = address.strip_prefix("https://").unwrap_or(address);
    address.strip_prefix("www.").unwrap_or(address)
}
