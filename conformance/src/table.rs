//! The table of cases as commands use it: choosing cases, listing them, counting what they cover.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Result, bail};
use cowlab_engine::suggest::nearest;

use crate::case::Case;
use crate::cases::{self, GROUPS};

/// How many checks each heading of the catalogue has, A to P, by its letter; S is the list of seed behaviors.
pub(crate) const CATALOGUE: &[(char, u32)] = &[
    ('A', 24),
    ('B', 19),
    ('C', 8),
    ('D', 25),
    ('E', 8),
    ('F', 12),
    ('G', 7),
    ('H', 10),
    ('I', 15),
    ('J', 8),
    ('K', 7),
    ('L', 14),
    ('M', 38),
    ('N', 30),
    ('O', 7),
    ('P', 8),
    ('S', 22),
];

/// The cases of these ids and groups, or all, in the order of the catalogue.
///
/// # Errors
///
/// When a name is neither; the message has the names that are near.
pub(crate) fn cases(names: &[String]) -> Result<Vec<&'static Case>> {
    for name in names {
        if !cases::all().any(|case| case.id == name || case.group() == name) {
            let mut known: Vec<_> = cases::all().map(|case| case.id).collect();
            known.extend(GROUPS.iter().map(|group| group.name));
            bail!("there is no case `{name}`: {}", nearest(name, &known));
        }
    }
    let wanted = |case: &&Case| {
        names.is_empty()
            || names
                .iter()
                .any(|name| case.id == name || case.group() == name)
    };
    Ok(cases::all().filter(wanted).collect())
}

/// Prints a line per case: id, catalogue numbers, claim, separated by tabs.
pub(crate) fn list(cases: &[&'static Case]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for case in cases {
        writeln!(
            out,
            "{}\t{}\t{}",
            case.id,
            case.catalogue.join(","),
            case.spec
        )?;
    }
    Ok(())
}

/// Prints, for each heading of the catalogue, how many of its numbers have a case and which have none.
pub(crate) fn coverage() -> io::Result<()> {
    let mut by_number: BTreeMap<&str, usize> = BTreeMap::new();
    for number in cases::all().flat_map(|case| case.catalogue) {
        *by_number.entry(number).or_default() += 1;
    }
    let mut out = io::stdout().lock();
    let (mut covered, mut all) = (0, 0);
    for (letter, count) in CATALOGUE {
        let numbers: Vec<_> = (1..=*count)
            .map(|index| format!("{letter}{index:02}"))
            .collect();
        let missing: Vec<_> = numbers
            .iter()
            .filter(|number| !by_number.contains_key(number.as_str()))
            .collect();
        let missing: Vec<_> = missing.into_iter().map(String::as_str).collect();
        let have = numbers.len() - missing.len();
        (covered, all) = (covered + have, all + numbers.len());
        let rest = if missing.is_empty() {
            String::new()
        } else {
            format!("; without a case: {}", missing.join(" "))
        };
        writeln!(out, "{letter}: {have} of {}{rest}", numbers.len())?;
    }
    writeln!(
        out,
        "{covered} of {all} numbers, {} cases",
        cases::all().count()
    )
}

/// Prints the deviations that drivers declare.
pub(crate) fn deviations(wanted: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for entry in cowlab_drivers::all() {
        if !wanted.is_empty() && !cowlab_drivers::is_named(entry, wanted) {
            continue;
        }
        for deviation in entry.deviations {
            writeln!(
                out,
                "{}: {} ({})",
                entry.name, deviation.case, deviation.impact
            )?;
            let claim = cases::all().find(|case| case.id == deviation.case);
            let claim = claim.map_or("no such case", |case| case.spec);
            writeln!(out, "  claim:    {claim}")?;
            writeln!(out, "  observed: {}", deviation.observed)?;
            writeln!(out, "  where:    {}", scope(&deviation.scope))?;
            writeln!(out, "  because:  {}", deviation.because)?;
            writeln!(out, "  see:      {}", deviation.see.join("; "))?;
        }
    }
    Ok(())
}

fn scope(scope: &cowlab_driver::Scope) -> String {
    let mut parts = Vec::new();
    if !scope.variants.is_empty() {
        parts.push(format!("variants {}", scope.variants.join(", ")));
    }
    if !scope.except_variants.is_empty() {
        parts.push(format!(
            "all variants but {}",
            scope.except_variants.join(", ")
        ));
    }
    if !scope.backings.is_empty() {
        parts.push(format!("on {}", scope.backings.join(", ")));
    }
    if parts.is_empty() {
        return "everywhere".to_owned();
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_an_id_or_a_group() {
        let names = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            cases(&names).map(|cases| cases.len())
        };
        assert_eq!(names(&["rename/directory-of-the-parent"]).unwrap(), 1);
        assert!(names(&["rename"]).unwrap() > 1);
        assert_eq!(names(&[]).unwrap(), cases::all().count());
        let error = names(&["rename/directory-of-the-parrot"]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`rename/directory-of-the-parent`")
        );
    }

    #[test]
    fn every_deviation_names_a_case() {
        for entry in cowlab_drivers::all() {
            for deviation in entry.deviations {
                let known = cases::all().any(|case| case.id == deviation.case);
                assert!(known, "{} of {} names no case", deviation.case, entry.name);
            }
        }
    }
}
