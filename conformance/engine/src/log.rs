//! Warnings on stderr, one line a problem.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Has this program log nothing else.
pub fn start() {
    tracing_subscriber::registry().with(lines(&[])).init();
}

/// The layer that writes them, but for those of the crates in `silent`. `COWLAB_LOG=debug` shows commands, `trace` shows system calls,
/// of every crate.
pub fn lines<S>(silent: &[&'static str]) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    // No `EnvFilter`: it compiles patterns at every start.
    let asked = std::env::var("COWLAB_LOG")
        .ok()
        .filter(|text| !text.is_empty());
    let asked = asked.and_then(|text| text.parse::<Targets>().ok());
    let filter = asked.unwrap_or_else(|| {
        // What libcontainer has to say is in the error that it returns.
        let silent = ["libcontainer", "libcgroups"].iter().chain(silent);
        Targets::new()
            .with_default(LevelFilter::WARN)
            .with_targets(silent.map(|target| (*target, LevelFilter::OFF)))
    });
    tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .without_time()
        .with_filter(filter)
}
