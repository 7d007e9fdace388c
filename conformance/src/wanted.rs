//! What the command line asks for, and the grounds on which it can run.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use cowlab_engine::guest::{self, Guest, Where};
use cowlab_sys::process;

use crate::args::RunArgs;
use crate::case::{Case, Placement};
use crate::cases;
use crate::column::NoGuest;
use crate::exit;
use crate::placing::Planned;
use crate::subject::{self, Choice, Subject};
use crate::table;

/// What is to run, and on what.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The columns with their cases.
    pub(crate) columns: Vec<Planned>,
    /// Where they may run.
    pub(crate) places: RunPlaces,
}

/// The places there are.
#[derive(Debug)]
pub(crate) struct RunPlaces {
    /// What the user asks for, or is left with.
    pub(crate) place: Where,
    /// Whether anything may run on the host.
    pub(crate) host: bool,
    /// The guest, if there is one and it may be used.
    pub(crate) guest: Option<Box<dyn Guest>>,
    /// Why not.
    pub(crate) no_guest: NoGuest,
}

/// Reads the command line; the inner error is the exit code of a run that cannot begin, its reason being said.
///
/// # Errors
///
/// When standard error is closed or the processes of the host cannot be listed.
pub(crate) fn of(args: &RunArgs) -> Result<std::result::Result<Wanted, u8>> {
    let columns = match columns(args) {
        Ok(columns) => columns,
        Err(error) => return exit::refuse(exit::USAGE, &format!("{error:#}")).map(Err),
    };
    if let Some(code) = exit::live_host(args.on_live_host)? {
        return Ok(Err(code));
    }
    let found = match args.place {
        Where::Host => None,
        Where::Auto | Where::Guest => Some(guest::find()),
    };
    let (guest, no_guest) = match found {
        None => (None, NoGuest::NotAsked),
        Some(Ok(guest)) => (Some(guest), NoGuest::NotAsked),
        Some(Err(missing)) => (None, NoGuest::Missing(missing.to_string())),
    };
    if let (Where::Guest, NoGuest::Missing(missing)) = (args.place, &no_guest) {
        return exit::refuse(exit::UNAVAILABLE, missing).map(Err);
    }
    let mut place = args.place;
    if !process::is_root() && place != Where::Guest {
        if guest.is_none() {
            return exit::needs_root(&no_guest).map(Err);
        }
        place = Where::Guest;
    }
    Ok(Ok(Wanted {
        columns,
        places: RunPlaces {
            host: place != Where::Guest,
            place,
            guest,
            no_guest,
        },
    }))
}

/// Whether somebody chose cases or backings.
pub(crate) fn is_chosen(args: &RunArgs) -> bool {
    args.trials.is_some()
        || args.filter.is_some()
        || !args.case.is_empty()
        || !args.backing.is_empty()
}

/// The columns with their cases, as flags choose them or a list names them.
fn columns(args: &RunArgs) -> Result<Vec<Planned>> {
    subject::check_names("driver", &args.strict, &table::drivers())?;
    if let Some(file) = &args.trials {
        return listed(file);
    }
    let choice = Choice {
        drivers: args.driver.clone(),
        variants: args.variant.clone(),
        backings: args.backing.clone(),
    };
    let cases = table::cases(&args.case)?;
    let filter = args.filter.as_deref();
    let asked = is_chosen(args);
    let mut begun: Vec<(&str, &str)> = Vec::new();
    let subjects = choice.subjects()?.into_iter();
    let columns = subjects.map(|subject| {
        let driver = (subject.entry.name, subject.variant.name);
        let is_first = !begun.contains(&driver);
        begun.push(driver);
        let named = |case: &&&'static Case| {
            (asked || is_first || case.placement != Placement::Root)
                && filter.is_none_or(|text| crate::guest_run::trial(&subject, case).contains(text))
        };
        (subject, cases.iter().filter(named).copied().collect())
    });
    let columns: Vec<Planned> = columns
        .filter(|(_, cases): &Planned| !cases.is_empty())
        .collect();
    if columns.is_empty() {
        bail!(
            "no case in no column has `{}` in its name",
            filter.unwrap_or_default()
        );
    }
    Ok(columns)
}

/// Reads a list of trials.
fn listed(file: &Path) -> Result<Vec<Planned>> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("failed to read the list of trials `{}`", file.display()))?;
    parse(&text)
}

/// The columns of a list: one `driver/variant/backing::case` a line.
fn parse(text: &str) -> Result<Vec<Planned>> {
    let mut columns: Vec<Planned> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let found = line.split_once("::").and_then(|(column, case)| {
            let case = cases::all().find(|known| known.id == case)?;
            Some((Subject::parse(column)?, case))
        });
        let (subject, case) = found.with_context(|| format!("there is no trial `{line}`"))?;
        let name = subject.to_string();
        match columns
            .iter_mut()
            .find(|(known, _)| known.to_string() == name)
        {
            Some((_, cases)) => cases.push(case),
            None => columns.push((subject, vec![case])),
        }
    }
    if columns.is_empty() {
        bail!("the list of trials is empty");
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest_run::GuestRun;

    #[test]
    fn a_list_leads_back_to_its_columns() {
        let text = "vfs/default/ext4::rename/directory-of-the-parent\n\
                    overlay2/metacopy/xfs::usage/size-limit-is-enforced\n\
                    vfs/default/ext4::usage/size-limit-is-enforced\n";
        let columns = parse(text).unwrap();
        assert_eq!(columns.len(), 2);
        let (subject, cases) = &columns[0];
        assert_eq!(subject.to_string(), "vfs/default/ext4");
        assert_eq!(cases.len(), 2);
        let lists = columns
            .into_iter()
            .map(|(subject, cases)| GuestRun::new(subject, cases).list());
        assert_eq!(parse(&lists.collect::<String>()).unwrap().len(), 2);
    }

    #[test]
    fn a_list_names_what_is_there() {
        for line in [
            "vfs/default/ext4",
            "vfs/default/ext5::rename/directory-of-the-parent",
            "vfs/default/ext4::rename/nothing",
            "",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
