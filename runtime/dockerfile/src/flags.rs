//! The flags of an instruction, `--name=value`, and values that several of them share.

use std::time::Duration;

use crate::error::Fault;

/// How a flag is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `--name=value`, once.
    Value,
    /// `--name=value`, any number of times.
    Values,
    /// `--name` or `--name=true|false`, once.
    Switch,
}

/// The flags that an instruction was given, checked against those that it takes.
#[derive(Debug)]
pub(crate) struct Flags {
    given: Vec<(String, String)>,
}

impl Flags {
    /// Checks flags against the names and shapes that there are, and against those that are docker's but not here.
    pub(crate) fn new(
        words: &[String],
        known: &[(&str, Shape)],
        refused: &[(&str, &str)],
    ) -> Result<Self, Fault> {
        let mut given: Vec<(String, String)> = Vec::new();
        for word in words {
            let flag = word.trim_start_matches("--");
            let (name, value) = flag
                .split_once('=')
                .map_or((flag, None), |(name, value)| (name, Some(value)));
            if let Some((_, reason)) = refused.iter().find(|(refused, _)| *refused == name) {
                return Err(Fault::new(format!("`--{name}` is not supported: {reason}")));
            }
            let Some((_, shape)) = known.iter().find(|(known, _)| *known == name) else {
                return Err(unknown(name, known));
            };
            if *shape != Shape::Values && given.iter().any(|(given, _)| given == name) {
                return Err(Fault::with_remedy(
                    format!("`--{name}` is there twice"),
                    "give it once",
                ));
            }
            given.push((name.to_owned(), checked(name, *shape, value)?));
        }
        Ok(Self { given })
    }

    pub(crate) fn value(&self, name: &str) -> Option<String> {
        self.values(name).next().map(str::to_owned)
    }

    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.given
            .iter()
            .filter(move |(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        self.values(name).next().map(|value| value == "true")
    }
}

fn checked(name: &str, shape: Shape, value: Option<&str>) -> Result<String, Fault> {
    match (shape, value) {
        (Shape::Switch, None) => Ok("true".to_owned()),
        (Shape::Switch, Some(value)) => {
            boolean(&format!("--{name}"), value).map(|value| value.to_string())
        }
        (_, Some(value)) => Ok(value.to_owned()),
        (_, None) => Err(Fault::with_remedy(
            format!("`--{name}` has no value"),
            format!("write `--{name}=VALUE`"),
        )),
    }
}

fn unknown(name: &str, known: &[(&str, Shape)]) -> Fault {
    let names: Vec<String> = known
        .iter()
        .map(|(name, _)| format!("`--{name}`"))
        .collect();
    let remedy = match names.as_slice() {
        [] => "this instruction has no flags; a JSON array takes words that begin with `--`"
            .to_owned(),
        [name] => format!("this instruction has {name}"),
        [names @ .., last] => format!("this instruction has {} and {last}", names.join(", ")),
    };
    Fault::with_remedy(format!("there is no flag `--{name}`"), remedy)
}

/// A boolean as Go's `strconv.ParseBool` reads it.
pub(crate) fn boolean(what: &str, value: &str) -> Result<bool, Fault> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Fault::new(format!(
            "`{what}` is `{value}`: it is `true` or `false`"
        ))),
    }
}

/// A length of time as Go's `time.ParseDuration` reads it: `30s`, `1m30s`, `1.5h`.
pub(crate) fn duration(what: &str, value: &str) -> Result<Duration, Fault> {
    let fault = |why: &str| {
        Fault::with_remedy(
            format!("`{what}` is `{value}`: {why}"),
            "write it as `30s`, `1m30s` or `500ms`",
        )
    };
    let mut total = Duration::ZERO;
    let mut rest = value;
    if rest == "0" {
        return Ok(total);
    }
    if rest.starts_with('-') {
        return Err(fault("a check has no negative times"));
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(|| fault("the unit is missing"))?;
        let number: f64 = rest[..digits]
            .parse()
            .map_err(|_source| fault("that is no length of time"))?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |end| digits + end);
        let unit = match &rest[digits..unit_end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            other => return Err(fault(&format!("`{other}` is no unit of time"))),
        };
        let part = Duration::try_from_secs_f64(number * unit)
            .map_err(|_source| fault("that is too long"))?;
        total = total
            .checked_add(part)
            .ok_or_else(|| fault("that is too long"))?;
        rest = &rest[unit_end..];
    }
    if value.is_empty() {
        return Err(fault("it is empty"));
    }
    // The engine API takes no less, `container.MinimumDuration`.
    if total > Duration::ZERO && total < Duration::from_millis(1) {
        return Err(fault("less than 1ms is not taken"));
    }
    Ok(total)
}

/// A number of bytes as docker writes it: `64m`, `1g`, `512`.
pub(crate) fn bytes(what: &str, value: &str) -> Result<u64, Fault> {
    let fault = || {
        Fault::with_remedy(
            format!("`{what}` is `{value}`, which is no size"),
            "write it as `64m` or `1g`",
        )
    };
    let lower = value.to_ascii_lowercase();
    let bare = lower.strip_suffix('b').unwrap_or(&lower);
    let bare = bare.strip_suffix('i').unwrap_or(bare);
    let (number, shift) = match bare.chars().last() {
        Some('k') => (&bare[..bare.len() - 1], 10),
        Some('m') => (&bare[..bare.len() - 1], 20),
        Some('g') => (&bare[..bare.len() - 1], 30),
        Some('t') => (&bare[..bare.len() - 1], 40),
        _ => (bare, 0),
    };
    let number: u64 = number.trim().parse().map_err(|_source| fault())?;
    number.checked_mul(1 << shift).ok_or_else(fault)
}
