//! Where work may run: what the user asks for, and what there is.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use cowlab_driver::Missing;
use cowlab_sys::process;

use crate::exit::{self, Stop};
use crate::guest;
use crate::worker::Machine;

/// Where the user wants work to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Where {
    /// On the host what the host can, else in the guest, else not at all.
    #[default]
    Auto,
    /// On the host, whatever it lacks.
    Host,
    /// In the guest, whatever the host can.
    Guest,
}

impl Where {
    /// The name used on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Host => "host",
            Self::Guest => "guest",
        }
    }
}

impl fmt::Display for Where {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A name that is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no place; there are host, guest, auto")]
pub struct UnknownPlace(String);

impl FromStr for Where {
    type Err = UnknownPlace;

    fn from_str(name: &str) -> Result<Self, UnknownPlace> {
        [Self::Auto, Self::Host, Self::Guest]
            .into_iter()
            .find(|place| place.name() == name)
            .ok_or_else(|| UnknownPlace(name.to_owned()))
    }
}

/// The places there are.
#[derive(Debug)]
pub struct Places {
    /// What the user asks for, or is left with.
    pub asked: Where,
    /// Whether anything may run on this machine.
    pub host: bool,
    /// The guest, if there is one and it may be used.
    pub guest: Option<Box<dyn Machine>>,
    /// What is missing for a guest, where one is wanted.
    pub missing: Option<Missing>,
}

impl Places {
    /// Looks for what the command line allows.
    ///
    /// # Errors
    ///
    /// [`Stop`] where nothing can run: [`exit::UNAVAILABLE`], [`exit::PRIVILEGE`].
    pub fn find(asked: Where) -> Result<Self> {
        let found = match asked {
            Where::Host => None,
            Where::Auto | Where::Guest => Some(guest::find()),
        };
        let (guest, missing) = match found {
            None => (None, None),
            Some(Ok(guest)) => (Some(guest), None),
            Some(Err(missing)) => (None, Some(missing)),
        };
        let host = asked != Where::Guest && process::is_root();
        if guest.is_none() && !host {
            return Err(nowhere(asked, missing).into());
        }
        Ok(Self {
            asked: if host { asked } else { Where::Guest },
            host,
            guest,
            missing,
        })
    }
}

/// Why nothing can run.
fn nowhere(asked: Where, missing: Option<Missing>) -> Stop {
    match (asked, missing) {
        (Where::Guest, Some(missing)) => Stop {
            code: exit::UNAVAILABLE,
            message: missing.to_string(),
        },
        (_, missing) => {
            let guest = missing.map_or_else(String::new, |missing| {
                format!("; the guest needs no root, but {missing}")
            });
            let root = "mounting file systems needs root: run it as root or with `sudo`";
            Stop {
                code: exit::PRIVILEGE,
                message: format!("{root}{guest}"),
            }
        }
    }
}

/// Refuses a host on which a container engine runs, unless that is allowed; returns the engines.
///
/// # Errors
///
/// [`Stop`] with [`exit::GUARD`], and when the processes of the host cannot be listed.
pub fn check_live_host(allowed: bool) -> Result<Vec<String>> {
    let engines = cowlab_testbed::live_host()?;
    if !engines.is_empty() && !allowed {
        let message = format!(
            "a container engine runs here ({}) and both would disturb each other: stop it or add `--on-live-host`",
            engines.join(", ")
        );
        let code = exit::GUARD;
        return Err(Stop { code, message }.into());
    }
    Ok(engines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_named_as_on_the_command_line() {
        for place in [Where::Auto, Where::Host, Where::Guest] {
            assert_eq!(place.name().parse(), Ok(place));
        }
        let error = "gest".parse::<Where>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`gest` is no place; there are host, guest, auto"
        );
    }
}
