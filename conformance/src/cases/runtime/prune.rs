//! What `prune` of containers, images and volumes removes, and what it asks and tells.

use crate::prelude::*;

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/container-prune-removes-what-does-not-run",
        spec: "Pruning containers removes those that were never started or have ended, neither one that runs or is paused nor a volume, and tells which and how much.",
        see: &["docs.docker.com, docker container prune"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        program: &[
            run("run --name ended --label a=1 -v /data base sh -c 'echo x >/f; echo x >/data/f'"),
            run("create --name new base true"),
            run("run -d --name running base sleep 1000"),
            run("run -d --name paused base sleep 1000"),
            run("pause paused"),
            run("container prune -f --filter label=a=2"),
            run("container prune -f --filter until=1h"),
            state("ended", "exited"),
            run("ps -aq --no-trunc --filter label=a=1").saves("ids"),
            run("container prune -f --filter label=a=1")
                .with(&["Deleted Containers:\n{ids}\n\nTotal reclaimed space: "])
                .without(&["space: 0 B"]),
            run("container prune -f"),
            state("new", "none"),
            state("running", "running"),
            state("paused", "paused"),
            run("volume ls -q").saves("volume"),
            run("volume prune -f")
                .with(&["Deleted Volumes:\n{volume}\n\nTotal reclaimed space: "])
                .without(&["space: 0 B"]),
            run("container prune -f").prints("Total reclaimed space: 0 B"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/image-prune-removes-what-nobody-names",
        spec: "Pruning images removes those without a name that no container uses, with --all those with a name too, and tells how much that was.",
        see: &["docs.docker.com, docker image prune"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        program: &[
            run("run --name con base sh -c 'echo x >/f'"),
            run("commit con made").saves("first"),
            run("commit con made"),
            script(r#""$COWLAB" images -q | wc -l"#).prints("3"),
            run("image prune -f")
                .with(&["{first}", "Total reclaimed space: "])
                .without(&["space: 0 B"]),
            script(r#""$COWLAB" images -q | wc -l"#).prints("2"),
            run("image prune -af --filter until=1h"),
            run("image prune -af"),
            // A container uses it.
            run("images --format {{.Repository}}").prints("base"),
            run("rm con"),
            run("image prune --all --force")
                .with(&["Total reclaimed space: "])
                .without(&["space: 0 B"]),
            run("images -q").prints(""),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/prune-asks-before-it-removes",
        spec: "A prune at a terminal asks and removes after a yes alone, and without a terminal it removes nothing unless it is forced.",
        see: &["docs.docker.com, docker volume prune, --force"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        needs: &[Need::Program("script")],
        program: &[
            run("create --name con base true"),
            run("volume create vol"),
            run("container prune").fails(1, &["--force"]),
            run("image prune -a").fails(1, &["--force"]),
            run("volume prune -a").fails(1, &["--force"]),
            script(r#"echo n | timeout 60 script -qec '"$COWLAB" container prune' /dev/null"#)
                .exits(1)
                .with(&["WARNING! This will remove all stopped containers."]),
            state("con", "created"),
            script(r#"echo y | timeout 60 script -qec '"$COWLAB" container prune' /dev/null"#),
            state("con", "none"),
        ],
        ..super::BASE
    },
];
