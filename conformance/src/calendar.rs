//! When each layer of a run was written, so that times of two runs can be compared.
//!
//! A time that a case set is compared to the nanosecond. A time that the kernel took while a layer was written
//! is compared by the layer.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cowlab_sys::stat::Time;

/// How far the clock that file systems take times from lags behind at most: one tick with CONFIG_HZ=100.
const TICK: Duration = Duration::from_millis(10);
/// What lies between two layers: longer than a tick, so that two layers never share a time.
const PAUSE: Duration = Duration::from_millis(12);
/// How far from the run a time lies that a case must have set, in seconds.
const NEAR: i64 = 3600;

/// The layers of one run with their times.
#[derive(Debug)]
pub struct Calendar {
    began: Time,
    spans: Vec<Span>,
}

#[derive(Debug)]
struct Span {
    label: String,
    from: Time,
    to: Option<Time>,
}

impl Calendar {
    /// Begins a run.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            began: now(),
            spans: Vec::new(),
        }
    }

    /// Begins a layer, after a pause that sets it apart from what was before.
    pub fn open(&mut self, label: impl Into<String>) {
        thread::sleep(PAUSE);
        self.spans.push(Span {
            label: label.into(),
            from: before_now(TICK),
            to: None,
        });
    }

    /// Ends the layer.
    pub fn close(&mut self) {
        if let Some(span) = self.spans.last_mut() {
            span.to = Some(now());
        }
    }

    /// Says what a time means in this run.
    #[must_use]
    pub fn moment(&self, time: Time) -> String {
        let span = self
            .spans
            .iter()
            .find(|span| span.from <= time && span.to.is_none_or(|to| time <= to));
        match span {
            Some(span) => format!("during {}", span.label),
            None if (time.sec - self.began.sec).abs() < NEAR => "between layers".to_owned(),
            None => format!("{}.{:09}", time.sec, time.nsec),
        }
    }
}

fn now() -> Time {
    before_now(Duration::ZERO)
}

fn before_now(lag: Duration) -> Time {
    // A clock before 1970 makes every time one that was set, and only the comparison of times weaker.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .saturating_sub(lag);
    Time {
        sec: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        nsec: now.subsec_nanos(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_named_by_its_layer() {
        let mut calendar = Calendar::begin();
        calendar.open("layer 1");
        let first = now();
        calendar.close();
        calendar.open("layer 2");
        assert_eq!(calendar.moment(now()), "during layer 2");
        assert_eq!(calendar.moment(first), "during layer 1");
        assert_eq!(calendar.moment(calendar.began), "between layers");
        let set = Time { sec: -5, nsec: 7 };
        assert_eq!(calendar.moment(set), "-5.000000007");
    }
}
