//! The table of cases as commands use it: choosing cases, listing them, and the deviations from them.

use std::io::{self, Write};

use anyhow::{Result, bail};
use cowlab_engine::suggest::nearest;

use crate::case::Case;
use crate::cases::{self, GROUPS};

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
