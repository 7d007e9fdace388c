//! When each layer of a run was written, so that times of two runs can be compared.
//!
//! A time that a case set is compared to the nanosecond. A time that the kernel took while a layer was written
//! is compared by the layer.

use std::thread;
use std::time::Duration;

use cowlab_sys::stat::Time;

/// How often to look whether the clock that files are stamped from has moved on: a fraction of the shortest tick.
const LOOK: Duration = Duration::from_millis(1);
/// How far from the run a time lies that a case must have set, in seconds.
const NEAR: i64 = 3600;

/// The layers of one run with their times.
#[derive(Debug)]
pub struct Timestamps {
    began: Time,
    spans: Vec<Span>,
}

#[derive(Debug)]
struct Span {
    label: String,
    from: Time,
    to: Option<Time>,
}

impl Timestamps {
    /// Begins a run.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            began: Time::now(),
            spans: Vec::new(),
        }
    }

    /// Begins a layer, once nothing can be stamped with a time from before it any more. How long that takes is up to
    /// the kernel: a virtual machine that did not get its turn has late ticks.
    pub fn open(&mut self, label: impl Into<String>) {
        let mut before = Time::now();
        let mut from = Time::stamp();
        while from <= before {
            thread::sleep(LOOK);
            from = Time::stamp();
            // The clock may have been set back meanwhile.
            before = before.min(Time::now());
        }
        self.spans.push(Span {
            label: label.into(),
            from,
            to: None,
        });
    }

    /// Ends the layer.
    pub fn close(&mut self) {
        if let Some(span) = self.spans.last_mut() {
            span.to = Some(Time::now());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_named_by_its_layer() {
        let mut timestamps = Timestamps::begin();
        timestamps.open("layer 1");
        let first = Time::now();
        timestamps.close();
        timestamps.open("layer 2");
        assert_eq!(timestamps.moment(Time::now()), "during layer 2");
        assert_eq!(timestamps.moment(first), "during layer 1");
        assert_eq!(timestamps.moment(timestamps.began), "between layers");
        let set = Time { sec: -5, nsec: 7 };
        assert_eq!(timestamps.moment(set), "-5.000000007");
    }

    #[test]
    fn a_file_made_at_once_belongs_to_the_layer() {
        let dir = tempfile::tempdir().unwrap();
        let mut timestamps = Timestamps::begin();
        for number in 0..50 {
            let label = format!("layer {number}");
            timestamps.open(&label);
            let path = dir.path().join(&label);
            std::fs::write(&path, "").unwrap();
            timestamps.close();
            let made = cowlab_sys::stat::lstat(&path).unwrap().mtime;
            assert_eq!(timestamps.moment(made), format!("during {label}"));
        }
    }
}
