//! The setup: says which system packages are missing and why, and installs them when asked.
//!
//! What is needed is data (`packages`), whether it is there is found out by trying (`probe`), and
//! apt-get is the only thing that changes the machine (`apt`). Everything else here decides.

mod apt;
mod packages;
mod probe;

use cowlab_sys::process;

use crate::exit::{self, Refusal};
use crate::flags;
use crate::terminal;

use self::packages::{COMPONENTS, Component, Necessity, PACKAGES, Package};

pub(crate) use self::packages::Purpose;

/// Whether missing packages may be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    /// Told so: `--yes` or `CI=true`.
    Given,
    /// Nobody said, but somebody can be asked.
    Ask,
    /// Nobody said and nobody is there.
    Refused,
}

impl Consent {
    /// From the flag, the environment and the terminal, in this order.
    pub(crate) fn from_flag(yes: bool) -> Self {
        let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        match (yes || in_ci, terminal::is_interactive()) {
            (true, _) => Self::Given,
            (false, true) => Self::Ask,
            (false, false) => Self::Refused,
        }
    }
}

/// What can be done about missing packages here.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Install,
    Ask,
    /// Print the command; it needs sudo if we are not root.
    Print {
        sudo: bool,
    },
    /// Not a Debian: say what the packages provide.
    Describe,
}

/// `cargo xtask setup`.
pub(crate) fn run(flags: &flags::Setup) -> anyhow::Result<u8> {
    let mut purposes = Purpose::ALL.to_vec();
    if flags.judges {
        purposes.push(Purpose::Judge);
    }
    if flags.dry_run {
        dry_run(&purposes);
        return Ok(0);
    }
    provide(&purposes, Consent::from_flag(flags.yes))?;
    let message = match missing_packages(&purposes).as_slice() {
        [] => "nothing is missing",
        _ => "nothing required is missing",
    };
    terminal::result(message);
    Ok(0)
}

/// Makes sure that everything for `purposes` is there; quiet when it is.
///
/// Fails with [`exit::MISSING`] and the exact command where something required stays missing. Soft
/// needs are installed with consent and else only mentioned: no task stops to ask for them.
pub(crate) fn ensure(purposes: &[Purpose], consent: Consent) -> anyhow::Result<()> {
    let consent = match consent {
        Consent::Ask if !any_required(&missing_packages(purposes)) => Consent::Refused,
        consent => consent,
    };
    provide(purposes, consent)
}

fn provide(purposes: &[Purpose], consent: Consent) -> anyhow::Result<()> {
    check_components(purposes)?;
    let missing = missing_packages(purposes);
    if missing.is_empty() {
        return Ok(());
    }
    describe(&missing);
    let sudo = match decide(consent, process::is_root(), apt::is_there()) {
        Step::Install => return install(&missing, purposes),
        Step::Ask if terminal::ask("Install them now?")? => return install(&missing, purposes),
        Step::Ask => false,
        Step::Print { sudo } => sudo,
        Step::Describe => {
            let advice = "this system has no apt-get: install what is named above by its own means";
            return refuse_if(any_required(&missing), advice);
        }
    };
    let command = apt::command_line(&missing, sudo);
    refuse_if(
        any_required(&missing),
        &format!("install them with: {command}"),
    )
}

/// What to do, from what is allowed and possible.
fn decide(consent: Consent, root: bool, apt: bool) -> Step {
    match consent {
        _ if !apt => Step::Describe,
        _ if !root => Step::Print { sudo: true },
        Consent::Given => Step::Install,
        Consent::Ask => Step::Ask,
        Consent::Refused => Step::Print { sudo: false },
    }
}

/// Installs the required packages, then the others: where one of those is not to be had, that costs
/// what its table row says and no more.
fn install(missing: &[&'static Package], purposes: &[Purpose]) -> anyhow::Result<()> {
    let (required, useful): (Vec<_>, Vec<_>) = missing
        .iter()
        .partition(|package| package.necessity == Necessity::Required);
    let installed = apt::install(&required);
    let left = missing_packages(purposes);
    if any_required(&left) {
        let names: Vec<_> = left.iter().map(|package| package.name).collect();
        let reason = installed.err().map_or_else(
            || "apt-get reported success, but they are still not found".to_owned(),
            |error| format!("{error:#}"),
        );
        let message = format!("failed to install `{}`: {reason}", names.join(" "));
        return Err(Refusal::new(exit::MISSING, message).into());
    }
    // One by one, so that one that cannot be had does not cost the others.
    for package in useful {
        if let Err(error) = apt::install(&[package]) {
            terminal::warning(&format!("{error:#}"));
        }
    }
    Ok(())
}

fn any_required(packages: &[&Package]) -> bool {
    packages
        .iter()
        .any(|package| package.necessity == Necessity::Required)
}

/// Ends the task with `message` if it cannot go on, else only says it.
fn refuse_if(required: bool, message: &str) -> anyhow::Result<()> {
    if required {
        return Err(Refusal::new(exit::MISSING, message).into());
    }
    terminal::note(message);
    Ok(())
}

fn describe(missing: &[&'static Package]) {
    terminal::note("missing system packages:");
    for package in missing {
        terminal::note(format_args!("  {:24} {}", package.name, package.why));
        if let Necessity::Useful { without } = package.necessity {
            terminal::note(format_args!("  {:24} without it: {without}", ""));
        }
    }
}

fn dry_run(purposes: &[Purpose]) {
    let mut missing = Vec::new();
    let wanted = PACKAGES.iter().filter(|it| purposes.contains(&it.purpose));
    for package in wanted {
        let lacking = package.proofs.iter().find(|proof| !probe::holds(proof));
        let state =
            lacking.map_or_else(|| "present".to_owned(), |proof| format!("missing: {proof}"));
        let purpose = package.purpose.name();
        terminal::result(format_args!("{:24} {purpose:8} {state}", package.name));
        terminal::result(format_args!("{:24} {:8} {}", "", "", package.why));
        if lacking.is_some()
            && missing
                .iter()
                .all(|known: &&Package| known.name != package.name)
        {
            missing.push(package);
        }
    }
    for component in COMPONENTS {
        let state = if probe::has_component(component) {
            "present"
        } else {
            "missing"
        };
        let purpose = Purpose::Lint.name();
        terminal::result(format_args!(
            "{:24} {purpose:8} {state} (toolchain component)",
            component.name
        ));
    }
    if missing.is_empty() {
        terminal::result("would install nothing");
        return;
    }
    let command = apt::command_line(&missing, !process::is_root());
    terminal::result(format_args!("would run: {command}"));
}

/// What is missing for `purposes`, each package once: its first row in the table is the strictest.
fn missing_packages(purposes: &[Purpose]) -> Vec<&'static Package> {
    let mut missing: Vec<&Package> = Vec::new();
    let wanted = PACKAGES.iter().filter(|it| purposes.contains(&it.purpose));
    for package in wanted.filter(|it| !it.proofs.iter().all(probe::holds)) {
        if missing.iter().all(|known| known.name != package.name) {
            missing.push(package);
        }
    }
    missing
}

fn check_components(purposes: &[Purpose]) -> anyhow::Result<()> {
    if !purposes.contains(&Purpose::Lint) {
        return Ok(());
    }
    let missing: Vec<&Component> = COMPONENTS
        .iter()
        .filter(|component| !probe::has_component(component))
        .collect();
    let [first, ..] = missing.as_slice() else {
        return Ok(());
    };
    let names: Vec<_> = missing.iter().map(|component| component.name).collect();
    let names = names.join(" ");
    Err(Refusal::new(
        exit::MISSING,
        format!(
            "the toolchain lacks `{names}` ({}): add with `rustup component add {names}`, or install \
             the package of your distribution",
            first.why
        ),
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_consent_installs() {
        assert_eq!(decide(Consent::Given, true, true), Step::Install);
        assert_eq!(decide(Consent::Ask, true, true), Step::Ask);
        assert_eq!(
            decide(Consent::Refused, true, true),
            Step::Print { sudo: false }
        );
    }

    #[test]
    fn an_ordinary_user_gets_the_command_with_sudo() {
        for consent in [Consent::Given, Consent::Ask, Consent::Refused] {
            assert_eq!(decide(consent, false, true), Step::Print { sudo: true });
        }
    }

    #[test]
    fn another_distribution_gets_a_description() {
        for consent in [Consent::Given, Consent::Ask, Consent::Refused] {
            assert_eq!(decide(consent, true, false), Step::Describe);
        }
    }
}
