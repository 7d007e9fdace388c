//! The stages of `cargo xtask ci`: a name, a claim, what it needs and the command that decides it.

use std::time::Duration;

use crate::setup::Purpose;
use crate::stage::{Job, Stage};

/// The stages, cheap ones first.
pub(super) const STAGES: &[Stage] = &[
    Stage {
        name: "fmt",
        claim: "Every file has the format of rustfmt.",
        needs: &[Purpose::Lint],
        job: Job::Cargo {
            arguments: &["fmt", "--all", "--check"],
            environment: &[],
        },
        budget: seconds(5),
    },
    Stage {
        name: "tidy",
        claim: "The house rules hold.",
        needs: &[],
        job: Job::Tidy,
        budget: seconds(5),
    },
    Stage {
        name: "clippy",
        claim: "No lint fires in any target.",
        needs: &[Purpose::Lint, Purpose::Build],
        job: Job::Cargo {
            arguments: &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
            environment: &[],
        },
        budget: seconds(120),
    },
    Stage {
        name: "tests",
        claim: "The unit tests pass.",
        needs: &[Purpose::Build],
        job: Job::Cargo {
            arguments: &["test", "--workspace", "--lib", "--bins", "--tests"],
            environment: &[],
        },
        budget: seconds(200),
    },
    Stage {
        name: "ordinary-user",
        claim: "The unit tests pass for a user without privileges.",
        needs: &[Purpose::Build],
        job: Job::OrdinaryUser,
        budget: seconds(60),
    },
    Stage {
        name: "doctests",
        claim: "The examples in the documentation compile and pass.",
        needs: &[Purpose::Build],
        job: Job::Cargo {
            arguments: &["test", "--workspace", "--doc"],
            environment: &[],
        },
        budget: seconds(30),
    },
    Stage {
        name: "docs",
        claim: "The documentation builds without a warning.",
        needs: &[Purpose::Build],
        job: Job::Cargo {
            arguments: &["doc", "--workspace", "--no-deps"],
            environment: &[("RUSTDOCFLAGS", "-D warnings")],
        },
        budget: seconds(60),
    },
    Stage {
        name: "build",
        claim: "The program and its proofs build in release.",
        needs: &[Purpose::Build],
        job: Job::Cargo {
            arguments: &[
                "build",
                "--release",
                "--bins",
                "--package",
                "cowlab",
                "--package",
                "cowlab-proofs",
            ],
            environment: &[],
        },
        budget: seconds(140),
    },
    Stage {
        name: "faults",
        claim: "The conformance suite catches every planted fault.",
        needs: PROGRAM,
        job: Job::Cowlab(&["conformance", "faults"]),
        budget: seconds(120),
    },
    Stage {
        name: "power-cuts",
        claim: "Forty power cuts in the life of snapshots lose nothing that was acknowledged, on each driver and file system of the host.",
        needs: PROGRAM,
        job: Job::Cowlab(&[
            "prove",
            "power-cuts",
            "--cuts",
            "40",
            "--life",
            "snapshots",
            "--columns",
            "overlay2/ext4,overlay2/xfs,btrfs/btrfs,vfs/ext4,vfs/xfs",
        ]),
        budget: seconds(60),
    },
    Stage {
        name: "bench-smoke",
        claim: "Every workload runs once on every driver.",
        needs: PROGRAM,
        job: Job::Cowlab(&["bench", "run", "--smoke", "--where", "host"]),
        budget: seconds(60),
    },
    Stage {
        name: "guest",
        claim: "There is a guest that starts.",
        needs: &[Purpose::Build, Purpose::GuestRun, Purpose::GuestBuild],
        job: Job::Cowlab(&["guest", "build", "--if-missing"]),
        budget: seconds(30),
    },
    Stage {
        name: "conformance",
        claim: "Every driver, in the guest where this kernel lacks it, keeps every claim or declares the deviation; no skip is undeclared.",
        needs: GUEST,
        job: Job::Cowlab(&[
            "conformance",
            "--strict",
            "all",
            "--junit",
            "target/cowlab/junit.xml",
        ]),
        budget: seconds(900),
    },
];

const fn seconds(number: u64) -> Option<Duration> {
    Some(Duration::from_secs(number))
}

/// What the program needs to run its work in the guest.
const GUEST: &[Purpose] = &[Purpose::Build, Purpose::Run, Purpose::GuestRun];

/// What the program needs to run.
const PROGRAM: &[Purpose] = &[Purpose::Build, Purpose::Run];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_claims_are_sentences() {
        for (index, stage) in STAGES.iter().enumerate() {
            assert!(
                STAGES
                    .iter()
                    .skip(index + 1)
                    .all(|other| other.name != stage.name)
            );
            assert!(stage.claim.ends_with('.'), "{}", stage.claim);
        }
    }

    #[test]
    fn all_of_it_takes_half_an_hour_at_most() {
        let total: Duration = STAGES
            .iter()
            .map(|stage| stage.budget.expect("every stage has a budget"))
            .sum();
        assert!(total <= Duration::from_secs(30 * 60), "{total:?}");
    }
}
