//! The plan of a run: which cases in which columns, and where each of them runs: on the host what the host can, else in the
//! guest.
//!
//! What the host can is found out by doing it, on the same kinds of file systems that the columns will have. Only what a
//! file system lacks by its nature stays on the host nevertheless: no other kernel would make up for it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use cowlab_driver::Error as DriverError;
use cowlab_engine::places::{Places, Where};
use cowlab_engine::subject::{self, Choice, Subject};
use cowlab_testbed::{Backing, Error as TestbedError, Run};

use crate::args::RunArgs;
use crate::case::{Case, Need, Placement, Risk};
use crate::file_systems::FileSystems;
use crate::needs::SkipReason;
use crate::table;

/// A column and the cases to run in it, in the order of the catalogue.
#[derive(Debug)]
pub(crate) struct Column {
    /// What is judged.
    pub(crate) subject: Subject,
    /// The cases.
    pub(crate) cases: Vec<&'static Case>,
    /// Those of them that run in the guest.
    pub(crate) in_guest: Vec<&'static Case>,
}

/// The columns with their cases, as flags choose them; all on the host.
///
/// # Errors
///
/// When a name stands for nothing; the message has the names that are near.
pub(crate) fn columns(args: &RunArgs) -> Result<Vec<Column>> {
    subject::check_names("driver", &args.options.strict, &subject::driver_names())?;
    let choice = Choice {
        drivers: args.driver.clone(),
        variants: args.variant.clone(),
        backings: subject::backings(&args.backing)?,
    };
    let cases = table::cases(&args.case)?;
    let filter = args.filter.as_deref();
    let asked = is_chosen(args);
    let mut begun: Vec<(&str, &str)> = Vec::new();
    let subjects = choice.columns()?.into_iter();
    let columns = subjects.map(|subject| {
        let driver = (subject.entry.name, subject.variant.name);
        let is_first = !begun.contains(&driver);
        begun.push(driver);
        let named = |case: &&&'static Case| {
            (asked || is_first || case.placement != Placement::Root)
                && filter.is_none_or(|text| trial(&subject, case).contains(text))
        };
        Column {
            subject,
            cases: cases.iter().filter(named).copied().collect(),
            in_guest: Vec::new(),
        }
    });
    let columns: Vec<_> = columns.filter(|column| !column.cases.is_empty()).collect();
    if columns.is_empty() {
        bail!(
            "no case in no column has `{}` in its name",
            filter.unwrap_or_default()
        );
    }
    Ok(columns)
}

/// Whether somebody chose cases or backings.
fn is_chosen(args: &RunArgs) -> bool {
    args.filter.is_some() || !args.case.is_empty() || !args.backing.is_empty()
}

/// The name of a case in a column.
pub(crate) fn trial(subject: &Subject, case: &Case) -> String {
    format!("{subject}::{}", case.id)
}

/// Decides which cases run in the guest.
pub(crate) fn place(columns: &mut [Column], args: &RunArgs, places: &Places) -> Result<()> {
    if places.guest.is_none() {
        return Ok(());
    }
    let missing = match places.host && places.asked == Where::Auto {
        true => {
            let run = Run::start(args.options.dir.clone())?;
            let missing = missing_on_host(&run, columns);
            run.close()?;
            missing
        }
        // Nothing is looked for where everything has its place.
        false => vec![MissingOnHost::Nothing; columns.len()],
    };
    for (column, missing) in columns.iter_mut().zip(missing) {
        if column.subject.entry.runs_in_guest || places.asked == Where::Guest {
            let risky = args.options.risk_kernel;
            column.in_guest = guest_cases(&column.cases, places.asked, risky, &missing);
        }
        // An emulated machine takes half an hour for what takes one minute here: who asks for containers by name has them
        // there.
        if !is_chosen(args) && column.cases.len() == column.in_guest.len() {
            for cases in [&mut column.cases, &mut column.in_guest] {
                cases.retain(|case| case.placement != Placement::Root);
            }
        }
    }
    Ok(())
}

/// What the host lacks for a column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum MissingOnHost {
    /// Nothing at all.
    #[default]
    Nothing,
    /// These needs of cases.
    Needs(BTreeSet<Need>),
    /// The driver or the file system: no case can run.
    Everything,
}

impl MissingOnHost {
    fn covers(&self, case: &Case) -> bool {
        match self {
            Self::Nothing => false,
            Self::Needs(needs) => case.needs.iter().any(|need| needs.contains(need)),
            Self::Everything => true,
        }
    }
}

/// The cases of a column that run in the guest, which is there.
fn guest_cases(
    cases: &[&'static Case],
    place: Where,
    risky: bool,
    missing: &MissingOnHost,
) -> Vec<&'static Case> {
    let goes = |case: &&'static Case| match place {
        Where::Host => false,
        Where::Guest => true,
        Where::Auto => missing.covers(case) || (case.risk == Risk::Kernel && !risky),
    };
    cases.iter().filter(|case| goes(case)).copied().collect()
}

/// Finds out what the host lacks for each column.
fn missing_on_host(run: &Run, columns: &[Column]) -> Vec<MissingOnHost> {
    let mut missing_on_host = vec![MissingOnHost::Nothing; columns.len()];
    let mut backings: BTreeMap<Backing, Vec<usize>> = BTreeMap::new();
    for (index, column) in columns.iter().enumerate() {
        backings
            .entry(column.subject.backing)
            .or_default()
            .push(index);
    }
    for indices in backings.values() {
        for (index, missing) in indices
            .iter()
            .zip(missing_on_backing(run, columns, indices))
        {
            missing_on_host[*index] = missing;
        }
    }
    missing_on_host
}

/// The same for the columns on one backing file system.
fn missing_on_backing(run: &Run, columns: &[Column], indices: &[usize]) -> Vec<MissingOnHost> {
    let chosen: Vec<&Column> = indices.iter().map(|index| &columns[*index]).collect();
    let Some(first) = chosen.first() else {
        return Vec::new();
    };
    let mut file_systems = match FileSystems::make(run, first.subject.backing) {
        Ok(file_systems) => file_systems,
        Err(TestbedError::Missing { .. }) => return vec![MissingOnHost::Everything; chosen.len()],
        // Whatever is wrong, the column will say it.
        Err(_) => return vec![MissingOnHost::Nothing; chosen.len()],
    };
    let mut missing_on_host = Vec::new();
    for Column { subject, cases, .. } in chosen {
        let backing = file_systems.usual();
        let Ok(settings) = backing.places().fresh() else {
            missing_on_host.push(MissingOnHost::Nothing);
            continue;
        };
        let probed = (subject.entry.probe)(backing.mount_point(), subject.variant, &settings);
        missing_on_host.push(match probed {
            Err(DriverError::Unavailable(_)) => MissingOnHost::Everything,
            _ => needed(cases, |need| {
                let missing = file_systems.missing(need);
                // The guest has no more external checkers than its host.
                missing.is_some_and(|missing| {
                    !matches!(
                        missing.skip_reason,
                        Some(SkipReason::FileSystem | SkipReason::NotInstalled)
                    )
                })
            }),
        });
    }
    for leak in file_systems.close() {
        tracing::error!(
            leak,
            "a file system that was tried is left for the run to take down"
        );
    }
    missing_on_host
}

fn needed(cases: &[&'static Case], mut is_missing: impl FnMut(Need) -> bool) -> MissingOnHost {
    let needs: BTreeSet<Need> = cases
        .iter()
        .flat_map(|case| case.needs)
        .copied()
        .filter(|need| is_missing(*need))
        .collect();
    if needs.is_empty() {
        MissingOnHost::Nothing
    } else {
        MissingOnHost::Needs(needs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Case = Case {
        id: "area/plain",
        ..Case::BASE
    };
    const LIMITED: Case = Case {
        id: "area/limited",
        needs: &[Need::Acl, Need::SizeLimit],
        ..Case::BASE
    };
    const RISKY: Case = Case {
        id: "area/risky",
        risk: Risk::Kernel,
        ..Case::BASE
    };
    const CASES: [&Case; 3] = [&PLAIN, &LIMITED, &RISKY];

    fn ids(place: Where, risky: bool, missing: &MissingOnHost) -> Vec<&'static str> {
        let cases = guest_cases(&CASES, place, risky, missing);
        cases.iter().map(|case| case.id).collect()
    }

    #[test]
    fn auto_sends_to_the_guest_what_the_host_lacks() {
        let quota = MissingOnHost::Needs(BTreeSet::from([Need::SizeLimit]));
        assert_eq!(ids(Where::Auto, true, &MissingOnHost::Nothing), [""; 0]);
        assert_eq!(ids(Where::Auto, true, &quota), ["area/limited"]);
        assert_eq!(
            ids(Where::Auto, false, &quota),
            ["area/limited", "area/risky"]
        );
        assert_eq!(ids(Where::Auto, true, &MissingOnHost::Everything).len(), 3);
    }

    #[test]
    fn a_named_place_is_kept_whatever_is_lacking() {
        assert_eq!(ids(Where::Host, false, &MissingOnHost::Everything), [""; 0]);
        assert_eq!(ids(Where::Guest, true, &MissingOnHost::Nothing).len(), 3);
    }

    #[test]
    fn only_what_cases_need_is_tried() {
        let mut tried = Vec::new();
        let missing = needed(&CASES, |need| {
            tried.push(need);
            need == Need::Acl
        });
        assert_eq!(missing, MissingOnHost::Needs(BTreeSet::from([Need::Acl])));
        assert_eq!(tried, [Need::Acl, Need::SizeLimit]);
    }
}
