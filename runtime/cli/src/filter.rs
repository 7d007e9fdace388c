//! `--filter`: docker's conditions on what is listed and pruned.
//!
//! Several conditions of one name mean `or`, but those on labels, which mean `and`; conditions of several names mean `and`
//! (docs.docker.com, Filter commands).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use cowlab_units::Timestamp;
use regex::Regex;

use crate::exit::{self, Stop};

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    name: String,
    value: String,
}

/// Reads NAME=VALUE. What is written `label!=x` has the name `label!`.
pub(crate) fn parse(text: &str) -> Result<Filter, String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("invalid filter: write it as NAME=VALUE")?;
    Ok(Filter {
        name: name.trim().to_lowercase(),
        value: value.trim().to_owned(),
    })
}

/// The conditions of one command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filters<'a> {
    all: &'a [Filter],
}

fn invalid(message: String) -> anyhow::Error {
    let code = exit::USAGE;
    Stop { code, message }.into()
}

impl<'a> Filters<'a> {
    /// Takes conditions with these names; others are refused, some of docker's with a reason.
    ///
    /// # Errors
    ///
    /// [`Stop`] with the names that there are.
    pub(crate) fn new(
        all: &'a [Filter],
        known: &[&str],
        refused: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        for Filter { name, .. } in all {
            if known.contains(&name.as_str()) {
                continue;
            }
            let reason = refused.iter().find(|(refused, _)| refused == name);
            let reason = reason.map_or(String::new(), |(_, reason)| format!(", for {reason}"));
            return Err(invalid(format!(
                "invalid filter '{name}'{reason}: there are {}",
                known.join(", ")
            )));
        }
        Ok(Self { all })
    }

    /// The values of a name.
    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let wanted = self.all.iter().filter(move |filter| filter.name == name);
        wanted.map(|filter| filter.value.as_str())
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether there is one of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// The values of a name, read.
    ///
    /// # Errors
    ///
    /// [`Stop`] for the first that is not understood.
    pub(crate) fn read<T>(
        &self,
        name: &str,
        read: impl Fn(&str) -> anyhow::Result<T>,
    ) -> anyhow::Result<Vec<T>> {
        self.values(name).map(read).collect()
    }

    /// The patterns of a name: regular expressions, as docker has them.
    ///
    /// # Errors
    ///
    /// [`Stop`] for one that is none.
    pub(crate) fn patterns(&self, name: &str) -> anyhow::Result<Vec<Regex>> {
        self.read(name, |value| pattern(name, value, value))
    }

    /// Patterns as of a shell (Go's path.Match).
    ///
    /// # Errors
    ///
    /// [`Stop`] for one that is none.
    pub(crate) fn globs(&self, name: &str) -> anyhow::Result<Vec<Regex>> {
        self.read(name, |value| pattern(name, value, &glob(value)))
    }

    /// A condition that is true or false; of several the first counts.
    ///
    /// # Errors
    ///
    /// [`Stop`] for a value that is neither.
    pub(crate) fn flag(&self, name: &str) -> anyhow::Result<Option<bool>> {
        let read = |value: &str| match value {
            "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(invalid(format!(
                "invalid filter '{name}={value}': it is true or false"
            ))),
        };
        Ok(self.read(name, read)?.first().copied())
    }

    /// Whether labels fulfil `label`, each of them, and not each `label!`.
    pub(crate) fn have_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &str| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        };
        self.values("label").all(has) && !(self.has("label!") && self.values("label!").all(has))
    }

    /// The moment before which something has to be made: `until`, a time or how long ago.
    ///
    /// # Errors
    ///
    /// [`Stop`] for a value that is neither, and for several.
    pub(crate) fn until(&self) -> anyhow::Result<Option<Timestamp>> {
        let moments = self.read("until", |value| {
            moment(value, SystemTime::now()).ok_or_else(|| {
                invalid(format!(
                    "invalid filter 'until={value}': write how long ago, as in 24h or 1h30m, or a time in UTC, as in 2026-11-02T08:15:30"
                ))
            })
        })?;
        match moments.as_slice() {
            [] => Ok(None),
            [moment] => Ok(Some(*moment)),
            _ => Err(invalid(
                "invalid filter 'until': it may be given once".to_owned(),
            )),
        }
    }
}

/// Whether one of several fits; none at all is no condition.
pub(crate) fn any<T>(all: &[T], fits: impl FnMut(&T) -> bool) -> bool {
    all.is_empty() || all.iter().any(fits)
}

fn pattern(name: &str, value: &str, text: &str) -> anyhow::Result<Regex> {
    Regex::new(text).map_err(|error| {
        tracing::debug!(%error, "no pattern");
        invalid(format!("invalid filter '{name}={value}': it is no pattern"))
    })
}

fn glob(text: &str) -> String {
    let mut pattern = String::from("^");
    let mut in_class = false;
    for c in text.chars() {
        match c {
            '*' if !in_class => pattern.push_str("[^/]*"),
            '?' if !in_class => pattern.push_str("[^/]"),
            '[' | ']' => {
                in_class = c == '[';
                pattern.push(c);
            }
            '^' | '-' if in_class => pattern.push(c),
            c => pattern.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    pattern.push('$');
    pattern
}

fn moment(text: &str, now: SystemTime) -> Option<Timestamp> {
    if let Some(ago) = duration(text) {
        return Some(Timestamp::from(now.checked_sub(ago)?));
    }
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Timestamp::from_millis(seconds.checked_mul(1000)?));
    }
    let whole = match text.contains('T') {
        true => format!("{}Z", text.trim_end_matches('Z')),
        false => format!("{text}T00:00:00Z"),
    };
    whole.parse().ok()
}

/// Reads Go's durations: `1h30m`, `1.5h`.
fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 6] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let unit = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..unit].parse().ok()?;
        let after = &rest[unit..];
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (_, length) = UNITS.iter().find(|(name, _)| *name == &after[..end])?;
        seconds += number * length;
        rest = &after[end..];
    }
    let some = !text.is_empty();
    some.then(|| Duration::try_from_secs_f64(seconds).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_on_labels_are_all_and_others_any() {
        let all: Vec<_> = ["label=a", "label=b=1", "name=x", "name=^y$"]
            .map(|text| parse(text).unwrap())
            .into();
        let filters = Filters::new(&all, &["label", "name"], &[]).unwrap();
        let labels = |texts: &[(&str, &str)]| {
            let pairs = texts
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            pairs.collect()
        };
        assert!(filters.have_labels(&labels(&[("a", ""), ("b", "1")])));
        assert!(!filters.have_labels(&labels(&[("a", ""), ("b", "2")])));
        let names = filters.patterns("name").unwrap();
        for (name, fits) in [("axa", true), ("y", true), ("yy", false)] {
            assert_eq!(
                any(&names, |pattern| pattern.is_match(name)),
                fits,
                "{name}"
            );
        }
        assert!(any(&filters.patterns("id").unwrap(), |_| false));
        let without = [parse("label!=a").unwrap()];
        let filters = Filters::new(&without, &["label", "label!"], &[]).unwrap();
        assert!(!filters.have_labels(&labels(&[("a", "x")])));
        assert!(filters.have_labels(&labels(&[("b", "x")])));
    }

    #[test]
    fn unknown_filters_name_those_there_are() {
        let one = [parse("health=x").unwrap()];
        let known = ["id", "name"];
        let said =
            |refused: &[(&str, &str)]| Filters::new(&one, &known, refused).unwrap_err().to_string();
        assert_eq!(said(&[]), "invalid filter 'health': there are id, name");
        assert_eq!(
            said(&[("health", "nobody checks")]),
            "invalid filter 'health', for nobody checks: there are id, name"
        );
        assert!(parse("x").is_err());
    }

    #[test]
    fn moments_are_times_or_how_long_ago() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let millis = |text: &str| moment(text, now).map(Timestamp::millis);
        assert_eq!(millis("1h30m"), Some(4_600_000));
        assert_eq!(millis("1.5h"), Some(4_600_000));
        assert_eq!(millis("0s"), Some(10_000_000));
        assert_eq!(millis("12"), Some(12_000));
        assert_eq!(millis("1970-01-02"), Some(86_400_000));
        assert_eq!(millis("1970-01-01T00:00:01"), Some(1000));
        for bad in ["", "h", "1x", "1h3", "yesterday"] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }

    #[test]
    fn globs_stop_at_slashes() {
        let fits = |pattern: &str, text: &str| Regex::new(&glob(pattern)).unwrap().is_match(text);
        assert!(fits("deb*:1?", "debian:12"));
        assert!(fits("[a-d]ebian", "debian"));
        assert!(!fits("*", "a/b"));
        assert!(fits("*/b.c", "a/b.c") && !fits("b.c", "bxc"));
    }
}
