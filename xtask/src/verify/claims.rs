//! The claims of `cargo xtask verify`: a name, a sentence, the command that decides it and, for some, a limit of time.

use std::time::Duration;

use crate::setup::Purpose;
use crate::stage::{Job, Stage};

/// A stage that may also have to be quick.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) stage: Stage,
    /// The claim fails if it takes longer; the build is not counted.
    pub(super) within: Option<Duration>,
}

/// What the machine must have for them.
pub(super) const NEEDS: &[Purpose] = &[
    Purpose::Build,
    Purpose::Run,
    Purpose::Report,
    Purpose::GuestRun,
    Purpose::GuestProgram,
];
const MINUTE: Duration = Duration::from_secs(60);

/// The claims, in the order in which they run.
pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        stage: Stage {
            name: "strict-conformance-in-a-minute",
            claim: "Strict conformance of overlay2, btrfs and vfs passes in under a minute.",
            needs: NEEDS,
            job: Job::Cowlab(&[
                "conformance",
                "--where",
                "host",
                "--strict",
                "overlay2,btrfs,vfs",
            ]),
            budget: None,
        },
        within: Some(MINUTE),
    },
    Claim {
        stage: Stage {
            name: "two-seeds-agree",
            claim: "Two shuffled orders of the cases give the same verdicts.",
            needs: NEEDS,
            job: Job::Cowlab(&[
                "conformance",
                "--strict",
                "overlay2,btrfs,vfs",
                "--where",
                "host",
                "--seeds",
                "2",
            ]),
            budget: None,
        },
        within: None,
    },
    Claim {
        stage: Stage {
            name: "guest-conformance-in-twelve-minutes",
            claim: "Strict conformance of zfs and devicemapper-thin, in the guest where this kernel lacks them, passes in under twelve minutes.",
            needs: NEEDS,
            job: Job::Cowlab(&[
                "conformance",
                "--driver",
                "zfs,devicemapper-thin",
                "--strict",
                "zfs,devicemapper-thin",
            ]),
            budget: None,
        },
        within: Some(MINUTE.saturating_mul(12)),
    },
    Claim {
        stage: Stage {
            name: "kill-nine-overlay2",
            claim: "A store with overlay2 on ext4 survives 200 kills of its four processes; a store beside it is unharmed.",
            needs: NEEDS,
            job: Job::Cowlab(&[
                "prove",
                "kill-nine",
                "--driver",
                "overlay2",
                "--kills",
                "200",
            ]),
            budget: None,
        },
        within: None,
    },
    Claim {
        stage: Stage {
            name: "kill-nine-btrfs",
            claim: "A store with btrfs on btrfs survives 200 kills of its four processes; a store beside it is unharmed.",
            needs: NEEDS,
            job: Job::Cowlab(&["prove", "kill-nine", "--driver", "btrfs", "--kills", "200"]),
            budget: None,
        },
        within: None,
    },
    Claim {
        stage: Stage {
            name: "kill-nine-vfs",
            claim: "A store with vfs on ext4 survives 200 kills of its four processes; a store beside it is unharmed.",
            needs: NEEDS,
            job: Job::Cowlab(&["prove", "kill-nine", "--driver", "vfs", "--kills", "200"]),
            budget: None,
        },
        within: None,
    },
    Claim {
        stage: Stage {
            name: "kill-nine-zfs",
            claim: "In the guest, a store with zfs survives 200 kills of its four processes; a store beside it is unharmed.",
            needs: NEEDS,
            job: Job::Cowlab(&[
                "prove",
                "kill-nine",
                "--driver",
                "zfs",
                "--kills",
                "200",
                "--in-guest",
            ]),
            budget: None,
        },
        within: None,
    },
    Claim {
        stage: Stage {
            name: "kill-nine-devicemapper-thin",
            claim: "In the guest, a store with devicemapper-thin survives 200 kills of its four processes; a store beside it is unharmed.",
            needs: NEEDS,
            job: Job::Cowlab(&[
                "prove",
                "kill-nine",
                "--driver",
                "devicemapper-thin",
                "--kills",
                "200",
                "--in-guest",
            ]),
            budget: None,
        },
        within: None,
    },
    Claim {
        stage: Stage {
            name: "thin-pools",
            claim: "In the guest, thin pools of others are not written to, and full ones are named and cost nothing that was committed.",
            needs: NEEDS,
            job: Job::Cowlab(&["prove", "thin-pools", "--in-guest"]),
            budget: None,
        },
        within: None,
    },
    Claim {
        stage: Stage {
            name: "memory",
            claim: "Applying a layer of 1 GiB stays under 64 MiB of resident memory, plain and gzip, with every driver.",
            needs: NEEDS,
            job: Job::Cowlab(&["prove", "memory"]),
            budget: None,
        },
        within: None,
    },
    Claim {
        stage: Stage {
            name: "sweep-beside-live",
            claim: "A sweep removes what killed runs left and nothing of a live run or a live store.",
            needs: NEEDS,
            job: Job::Cowlab(&["prove", "sweep-beside-live"]),
            budget: None,
        },
        within: None,
    },
    Claim {
        stage: Stage {
            name: "same-image-every-driver",
            claim: "An image is the same tree with every driver, and its layers are exported alike.",
            needs: NEEDS,
            job: Job::Cowlab(&["prove", "same-image-every-driver"]),
            budget: None,
        },
        within: None,
    },
    Claim {
        stage: Stage {
            name: "aa",
            claim: "Two interleaved measurements of the same copy-ups show no relevant change.",
            needs: NEEDS,
            job: Job::Cowlab(&["bench", "aa"]),
            budget: None,
        },
        within: None,
    },
    Claim {
        stage: Stage {
            name: "deterministic",
            claim: "Two runs that count instructions are identical but for when, where and by what build they were made.",
            needs: NEEDS,
            job: Job::Cowlab(&["prove", "deterministic"]),
            budget: None,
        },
        within: None,
    },
    Claim {
        stage: Stage {
            name: "guest-ends",
            claim: "A guest killed at any of 20 moments leaves nothing on the host; a panic, no memory and a time limit are failures with its console.",
            needs: NEEDS,
            job: Job::Cowlab(&["prove", "guest-ends"]),
            budget: None,
        },
        within: None,
    },
    Claim {
        stage: Stage {
            name: "reflink-flat",
            claim: "Copy-up is flat in file size on xfs with reflinks and linear on ext4.",
            needs: NEEDS,
            job: Job::Cowlab(&["bench", "reflink-flat"]),
            budget: None,
        },
        within: None,
    },
    Claim {
        stage: Stage {
            name: "report-in-fifteen-minutes",
            claim: "The first report of a host without a guest takes under fifteen minutes.",
            needs: NEEDS,
            job: Job::Cowlab(&["report", "--where", "host"]),
            budget: None,
        },
        within: Some(MINUTE.saturating_mul(15)),
    },
    Claim {
        stage: Stage {
            name: "report-everywhere",
            claim: "A report judges every driver, in the guest where this kernel lacks it, and has no failure.",
            needs: NEEDS,
            job: Job::Cowlab(&["report"]),
            budget: None,
        },
        within: None,
    },
    Claim {
        stage: Stage {
            name: "second-report-in-five-minutes",
            claim: "Another report of the same host takes under five minutes.",
            needs: NEEDS,
            job: Job::Cowlab(&["report", "--where", "host"]),
            budget: None,
        },
        within: Some(MINUTE.saturating_mul(5)),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_claims_are_sentences() {
        for (index, claim) in CLAIMS.iter().enumerate() {
            assert!(
                CLAIMS
                    .iter()
                    .skip(index + 1)
                    .all(|other| other.stage.name != claim.stage.name)
            );
            assert!(claim.stage.claim.ends_with('.'), "{}", claim.stage.claim);
        }
    }
}
