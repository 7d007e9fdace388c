//! The claims of `cargo xtask verify`: a name, a sentence, the command that decides it and, for some, a limit of time.

use std::time::Duration;

use crate::setup::Purpose;
use crate::stage::{Job, Stage};

/// A stage that may also have to be quick.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) stage: Stage,
    /// The folders whose code it speaks of: a commit below one of them makes the last result stale.
    pub(super) about: &'static [&'static str],
    /// The claim fails if it takes longer; the build is not counted.
    pub(super) within: Option<Duration>,
}

/// What the machine must have for them.
pub(super) const NEEDS: &[Purpose] = &[
    Purpose::Build,
    Purpose::Run,
    Purpose::Report,
    Purpose::GuestRun,
];
const MINUTE: Duration = Duration::from_secs(60);

const fn claim(
    name: &'static str,
    claim: &'static str,
    about: &'static [&'static str],
    arguments: &'static [&'static str],
) -> Claim {
    Claim {
        stage: Stage {
            name,
            claim,
            needs: NEEDS,
            job: Job::Cowlab(arguments),
            budget: None,
        },
        about,
        within: None,
    }
}

impl Claim {
    const fn within(mut self, limit: Duration) -> Self {
        self.within = Some(limit);
        self
    }
}

/// What snapshots, layers and drivers are made of.
const STORE: &[&str] = &["drivers"];
/// The same with images and containers on top.
const ROOT: &[&str] = &["drivers", "runtime"];
/// The cases, and what they judge.
const CASES: &[&str] = &["drivers", "runtime", "conformance"];
/// The workloads, and what they measure.
const WORKLOADS: &[&str] = &["drivers", "runtime", "conformance/engine", "bench"];
/// The virtual machine and what it is handed.
const GUEST: &[&str] = &["drivers/guest", "drivers/sys", "conformance/engine"];
/// What a report is made of.
const REPORT: &[&str] = &["drivers", "runtime", "conformance", "bench", "reports/src"];

/// The claims, in the order in which they run.
pub(super) const CLAIMS: &[Claim] = &[
    claim(
        "strict-conformance-in-fifteen-minutes",
        "Strict conformance of every driver that needs no guest passes in under fifteen minutes.",
        CASES,
        &["conformance", "--where", "host", "--strict", "host"],
    )
    .within(MINUTE.saturating_mul(15)),
    claim(
        "two-seeds-agree",
        "Two shuffled orders of the cases give the same verdicts.",
        CASES,
        &["conformance", "--strict", "host", "--where", "host", "--seeds", "2"],
    ),
    claim(
        "guest-conformance-in-twelve-minutes",
        "Strict conformance of zfs and devicemapper-thin, in the guest where this kernel lacks them, passes in under twelve minutes.",
        CASES,
        &["conformance", "--driver", "guest", "--strict", "guest"],
    ).within(MINUTE.saturating_mul(12)),
    claim(
        "containers-in-the-guest",
        "Containers on zfs and devicemapper-thin do what they do on the other drivers, in the guest where this kernel lacks these.",
        CASES,
        &[
            "conformance", "--driver", "guest", "--case", "runtime,seed",
        ],
    ),
    claim(
        "builds-in-the-guest",
        "Builds on zfs and devicemapper-thin do what they do on the other drivers, in the guest where this kernel lacks these.",
        CASES,
        &["conformance", "--driver", "guest", "--case", "build"],
    ),
    claim(
        "kill-nine-overlay2",
        "A store with overlay2 on ext4 survives 200 kills of its four processes; a store beside it is unharmed.",
        STORE,
        &["prove", "kill-nine", "--driver", "overlay2", "--kills", "200"],
    ),
    claim(
        "kill-nine-btrfs",
        "A store with btrfs on btrfs survives 200 kills of its four processes; a store beside it is unharmed.",
        STORE,
        &["prove", "kill-nine", "--driver", "btrfs", "--kills", "200"],
    ),
    claim(
        "kill-nine-vfs",
        "A store with vfs on ext4 survives 200 kills of its four processes; a store beside it is unharmed.",
        STORE,
        &["prove", "kill-nine", "--driver", "vfs", "--kills", "200"],
    ),
    claim(
        "kill-nine-zfs",
        "In the guest, a store with zfs survives 200 kills of its four processes; a store beside it is unharmed.",
        STORE,
        &["prove", "kill-nine", "--driver", "zfs", "--kills", "200", "--in-guest"],
    ),
    claim(
        "kill-nine-devicemapper-thin",
        "In the guest, a store with devicemapper-thin survives 200 kills of its four processes; a store beside it is unharmed.",
        STORE,
        &["prove", "kill-nine", "--driver", "devicemapper-thin", "--kills", "200", "--in-guest"],
    ),
    claim(
        "thin-pools",
        "In the guest, thin pools of others are not written to, full ones are named and cost nothing that was committed, and udev is waited for.",
        STORE,
        &["prove", "thin-pools", "--in-guest"],
    ),
    claim(
        "memory",
        "Applying a layer of 1 GiB stays under 64 MiB of resident memory, plain and gzip, with every driver.",
        STORE,
        &["prove", "memory"],
    ),
    claim(
        "sweep-beside-live",
        "A sweep removes what killed runs left and nothing of a live run or a live store.",
        STORE,
        &["prove", "sweep-beside-live"],
    ),
    claim(
        "same-image-every-driver",
        "An image is the same tree with every driver, and its layers are exported alike.",
        ROOT,
        &["prove", "same-image-every-driver"],
    ),
    claim(
        "hundred-containers",
        "A hundred containers of one image at once, started and removed by ten processes in parallel, leave no mount, device, cgroup, process or file.",
        ROOT,
        &["prove", "hundred-containers"],
    ),
    claim(
        "killed-commands-overlay2",
        "Of 60 commands on a root with overlay2 on ext4, killed at any moment or with everything else as by a reboot, each happens or does not, and none leaves anything.",
        ROOT,
        &["prove", "killed-commands", "--driver", "overlay2"],
    ),
    claim(
        "killed-commands-btrfs",
        "Of 60 commands on a root with btrfs on btrfs, killed at any moment or with everything else as by a reboot, each happens or does not, and none leaves anything.",
        ROOT,
        &["prove", "killed-commands", "--driver", "btrfs"],
    ),
    claim(
        "killed-commands-vfs",
        "Of 60 commands on a root with vfs on ext4, killed at any moment or with everything else as by a reboot, each happens or does not, and none leaves anything.",
        ROOT,
        &["prove", "killed-commands", "--driver", "vfs"],
    ),
    claim(
        "power-cuts-overlay2-ext4",
        "1,000 power cuts in the life of a root with overlay2 on ext4 lose nothing that was acknowledged and leave nothing half.",
        ROOT,
        &[
            "prove", "power-cuts", "--driver", "overlay2", "--backing", "ext4", "--cuts", "1000", "--life", "whole",
        ],
    ),
    claim(
        "power-cuts-overlay2-xfs",
        "1,000 power cuts in the life of a root with overlay2 on xfs lose nothing that was acknowledged and leave nothing half.",
        ROOT,
        &[
            "prove", "power-cuts", "--driver", "overlay2", "--backing", "xfs", "--cuts", "1000", "--life", "whole",
        ],
    ),
    claim(
        "power-cuts-btrfs",
        "1,000 power cuts in the life of a root with btrfs lose nothing that was acknowledged and leave nothing half.",
        ROOT,
        &[
            "prove", "power-cuts", "--driver", "btrfs", "--backing", "btrfs", "--cuts", "1000", "--life", "whole",
        ],
    ),
    claim(
        "power-cuts-vfs-ext4",
        "1,000 power cuts in the life of a root with vfs on ext4 lose nothing that was acknowledged and leave nothing half.",
        ROOT,
        &[
            "prove", "power-cuts", "--driver", "vfs", "--backing", "ext4", "--cuts", "1000", "--life", "whole",
        ],
    ),
    claim(
        "power-cuts-vfs-xfs",
        "1,000 power cuts in the life of a root with vfs on xfs lose nothing that was acknowledged and leave nothing half.",
        ROOT,
        &[
            "prove", "power-cuts", "--driver", "vfs", "--backing", "xfs", "--cuts", "1000", "--life", "whole",
        ],
    ),
    claim(
        "power-cuts-zfs",
        "In the guest, 200 power cuts in the life of a root with zfs lose nothing that was acknowledged and leave nothing half.",
        ROOT,
        &[
            "prove", "power-cuts", "--driver", "zfs", "--backing", "zfs", "--cuts", "200", "--life", "whole", "--in-guest",
        ],
    ),
    claim(
        "power-cuts-devicemapper-thin-ext4",
        "In the guest, 200 power cuts in the life of a root with devicemapper-thin on ext4 lose nothing that was acknowledged and leave nothing half.",
        ROOT,
        &[
            "prove", "power-cuts", "--driver", "devicemapper-thin", "--backing", "thin+ext4", "--cuts", "200", "--life", "whole", "--in-guest",
        ],
    ),
    claim(
        "power-cuts-devicemapper-thin-xfs",
        "In the guest, 200 power cuts in the life of a root with devicemapper-thin on xfs lose nothing that was acknowledged and leave nothing half.",
        ROOT,
        &[
            "prove", "power-cuts", "--driver", "devicemapper-thin", "--backing", "thin+xfs", "--cuts", "200", "--life", "whole", "--in-guest",
        ],
    ),
    claim(
        "failing-writes-eio",
        "Each write of a short life fails in its turn with EIO: the command says so, nothing is lost, and later ones work.",
        ROOT,
        &[
            "prove", "power-cuts", "--failing", "eio", "--life", "short", "--cuts", "10000",
            "--columns", "overlay2/ext4,overlay2/xfs,btrfs/btrfs,vfs/ext4",
        ],
    ),
    claim(
        "failing-writes-enospc",
        "Each write of a short life fails in its turn with ENOSPC: the command says so, nothing is lost, and later ones work.",
        ROOT,
        &[
            "prove", "power-cuts", "--failing", "enospc", "--life", "short", "--cuts", "10000",
            "--columns", "overlay2/ext4,overlay2/xfs,btrfs/btrfs,vfs/ext4",
        ],
    ),
    Claim {
        stage: Stage {
            name: "power-cuts-faults",
            claim: "The power cuts find each planted fault: no syncfs, no fsync, an intent before the flush, a row before the freeze.",
            needs: NEEDS,
            job: Job::ProofWithFaults(&[
                "power-cuts", "--life", "snapshots", "--cuts", "100", "--columns", "btrfs/btrfs,vfs/ext4,overlay2/ext4",
                "--plant", "no-syncfs,no-fsync,intent-before-flush,row-before-freeze",
            ]),
            budget: None,
        },
        about: STORE,
        within: None,
    },
    Claim {
        stage: Stage {
            name: "power-cuts-faults-in-the-guest",
            claim: "In the guest, the power cuts find a thin pool whose metadata no flush reaches.",
            needs: NEEDS,
            job: Job::ProofWithFaults(&[
                "power-cuts", "--driver", "devicemapper-thin", "--backing", "thin+ext4", "--life", "snapshots", "--cuts", "100",
                "--plant", "no-pool-flush", "--in-guest",
            ]),
            budget: None,
        },
        about: STORE,
        within: None,
    },
    claim(
        "aa",
        "Two interleaved measurements of the same copy-ups show no relevant change.",
        WORKLOADS,
        &["bench", "aa"],
    ),
    claim(
        "deterministic",
        "Two runs that count instructions are identical but for when, where and by what build they were made.",
        WORKLOADS,
        &["prove", "deterministic"],
    ),
    claim(
        "guest-ends",
        "A guest killed at any of 20 moments leaves nothing on the host; a panic, no memory and a time limit are failures with its console.",
        GUEST,
        &["prove", "guest-ends"],
    ),
    claim(
        "reflink-flat",
        "Copy-up is flat in file size on xfs with reflinks and linear on ext4.",
        WORKLOADS,
        &["bench", "reflink-flat"],
    ),
    claim(
        "report-in-fifteen-minutes",
        "The first report of a host without a guest takes under fifteen minutes.",
        REPORT,
        &["report", "--where", "host"],
    ).within(MINUTE.saturating_mul(15)),
    claim(
        "report-everywhere",
        "A report judges every driver, in the guest where this kernel lacks it, and has no failure.",
        REPORT,
        &["report"],
    ),
    claim(
        "second-report-in-five-minutes",
        "Another report of the same host takes under five minutes.",
        REPORT,
        &["report", "--where", "host"],
    ).within(MINUTE.saturating_mul(5)),
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
