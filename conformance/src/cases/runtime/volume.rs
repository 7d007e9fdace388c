//! What lives apart from containers: volumes, bind mounts, memory.

use crate::prelude::*;

/// What people are told about volumes and mounts.
pub(in crate::cases) const SEED: &[Case] = &[
    Case {
        id: "seed/16-volumes-outlive-containers",
        spec: "A named volume survives the containers that use it, begins with what the image has there, and a write to it copies nothing up.",
        see: &["docs.docker.com, storage, Volumes"],
        catalogue: &["S16", "P01"],
        impact: Impact::DataLoss,
        program: &[
            run("volume create data"),
            // Empty, it takes what the image has, with owner and mode. A directory's list would begin with blocks, of which ZFS
            // knows after a while.
            run("run --rm base sh -c 'ls -dln /srv/*'").saves("list"),
            run("run --name first -v data:/srv base sh -c 'ls -dln /srv/*; echo first >/srv/mine'").prints("{list}"),
            run("diff first").prints(""),
            run("volume rm data").fails(1, &["data"]),
            run("rm -v first"),
            run("run --name second -v data:/d base sh -c 'cat /d/mine; rm /d/mine; echo second >/d/mine'").prints("first"),
            // What the image has does not come again.
            run("run --name third -v data:/srv base sh -c 'ls /srv; cat /srv/mine'").prints("data\nmine\nsecond"),
            run("volume ls -q").prints("data"),
            run("rm second third"),
            run("volume rm data"),
            run("volume ls -q").prints(""),
        ],
        ..super::BASE
    },
    Case {
        id: "seed/17-anonymous-volumes-and-those-of-another",
        spec: "A VOLUME of an image makes a volume with a random name that can be used by it, unless a volume is named for its path, and a container can have the volumes of another.",
        see: &[
            "docs.docker.com, Dockerfile reference, VOLUME",
            "docs.docker.com, docker container run, --volumes-from",
        ],
        catalogue: &["S17", "P04"],
        impact: Impact::DataLoss,
        program: &[
            load("db", r#"{"Volumes": {"/data": {}}}"#),
            run("run --name t1 db sh -c 'echo kept >/data/f'"),
            run("volume ls -q").saves("volume"),
            script("printf %s {volume} | wc -c").prints("64"),
            run("run --rm --volumes-from t1 base cat /data/f").prints("kept"),
            run("rm t1"),
            run("run --rm -v {volume}:/data db cat /data/f").prints("kept"),
            run("volume ls -q").prints("{volume}"),
            // A named one takes the place of the anonymous one.
            run("run --name t2 -v named:/data db sh -c 'echo kept >/data/f'"),
            run("volume ls -q").prints("{volume}\nnamed"),
            // Removed with its container, or when nobody has it.
            run("run --rm db sh -c 'echo kept >/data/f'"),
            run("volume ls -q").prints("{volume}\nnamed"),
            run("volume prune -f"),
            run("volume ls -q").prints("named"),
        ],
        ..super::BASE
    },
    Case {
        id: "seed/18-bind-mounts-show-both-ways",
        spec: "A bind mount hides what the image has there, shows changes both ways, may be one file, and may be read-only.",
        see: &["docs.docker.com, storage, Bind mounts"],
        catalogue: &["S18"],
        impact: Impact::Isolation,
        program: &[
            file("host/f", "host"),
            run("run -d --name con -v {dir}/host:/etc -v {dir}/host/f:/testfile:ro base sleep 1000"),
            run("exec con sh -c 'ls /etc; cat /etc/f /testfile'").prints("f\nhosthost"),
            run("exec con sh -c 'echo container >/etc/g'"),
            content("host/g").prints("container"),
            file("host/f", "again"),
            run("exec con cat /etc/f /testfile").prints("againagain"),
            run("exec con sh -c 'echo x >/testfile'").fails(2, &["ead-only"]),
            run("diff con").prints(""),
            // Made for whoever writes `-v`, as docker does it; `--mount` names what is not there.
            run("run --rm --mount type=bind,source={dir}/host/missing,target=/d base true").fails(125, &["missing"]),
        ],
        ..super::BASE
    },
    Case {
        id: "seed/19-tmpfs-leaves-nothing",
        spec: "What is written to a tmpfs mount is gone when the container ends, and never was in its writable layer.",
        see: &["docs.docker.com, storage, tmpfs mounts"],
        catalogue: &["S19"],
        impact: Impact::Isolation,
        program: &[
            run("run -d --name con --tmpfs /scratch --mount type=tmpfs,target=/etc base sleep 1000"),
            run("exec con sh -c 'ls /etc; echo x >/scratch/f; cat /scratch/f'").prints("x"),
            run("diff con").prints(""),
            run("stop -t 0 con"),
            run("start con"),
            run("exec con ls /scratch").prints(""),
        ],
        ..super::BASE
    },
];

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/an-empty-volume-is-shared",
        spec: "Two containers that have a volume see what the other writes, though the volume is empty and whatever their images have there.",
        see: &["docs.docker.com, storage, Volumes"],
        catalogue: &["S16"],
        impact: Impact::DataLoss,
        program: &[
            // Empty in the image, not in the image, and with content in the second container's image alone.
            run("run -d --name one -v one:/tmp base sleep 1000"),
            run("run --rm -v one:/tmp base touch /tmp/news"),
            run("exec one ls /tmp").prints("news"),
            run("run -d --name two -v two:/nowhere base sleep 1000"),
            run("run --rm -v two:/nowhere base touch /nowhere/news"),
            run("exec two ls /nowhere").prints("news"),
            run("run -d --name three -v three:/nowhere base sleep 1000"),
            run("run --rm -v three:/etc base touch /etc/news"),
            run("exec three ls /nowhere").prints("news"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/a-volume-stays-as-it-was-left",
        spec: "A volume that a container emptied, or gave another owner and mode, is so at its next start.",
        see: &["docs.docker.com, storage, Volumes, Populate a volume using a container"],
        catalogue: &["S16"],
        impact: Impact::DataLoss,
        program: &[
            run(
                "create --name own -v own:/tmp base sh -c 'stat -c \"%u %a\" /tmp; chown 1000 /tmp; chmod 700 /tmp'",
            ),
            run("start own"),
            run("wait own").prints("0"),
            run("start own"),
            run("wait own").prints("0"),
            run("logs own").prints("0 1777\n1000 700"),
            run("create --name out -v out:/srv base sh -c 'echo .; ls -A /srv; rm -rf /srv/*'"),
            run("start out"),
            run("wait out").prints("0"),
            run("start out"),
            run("wait out").prints("0"),
            run("logs out").prints(".\ndata\n."),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/a-volume-is-filled-when-its-container-is-made",
        spec: "A volume has the first content of its first container once that was made, and another container that starts before does not see it come.",
        see: &["docs.docker.com, docker container create"],
        catalogue: &["S16"],
        impact: Impact::DataLoss,
        program: &[
            run("create --name first -v data:/srv base true"),
            run("run --rm -v data:/d base stat -c '%u %g %a' /d /d/data")
                .prints("1000 1000 750\n1000 8 640"),
            run("run --rm -v data:/d base rm /d/data"),
            run("start first"),
            run("wait first").prints("0"),
            run("run --rm -v data:/d base ls /d").prints(""),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/anonymous-volumes-go-with-their-last-container",
        spec: "An anonymous volume that two containers have goes with the one that is removed last, also where that got it by --volumes-from; a named one stays.",
        see: &["docs.docker.com, docker container rm, -v"],
        catalogue: &["S17"],
        impact: Impact::AppVisible,
        program: &[
            run("create --name one -v /a -v named:/b base true"),
            run("create --name two --volumes-from one base true"),
            run("rm -v one"),
            script(r#""$COWLAB" volume ls -q | wc -l"#).prints("2"),
            run("rm -v two"),
            run("volume ls -q").prints("named"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/a-failed-start-with-rm-leaves-no-volume",
        spec: "A container with --rm whose program does not start is removed with its anonymous volumes, by run and by start.",
        see: &["docs.docker.com, docker container run, --rm"],
        catalogue: &["S17"],
        impact: Impact::AppVisible,
        program: &[
            run("run --rm --name con -v /a base no-such-program").fails(127, &["no-such-program"]),
            run("volume ls -q").prints(""),
            run("create --rm --name con -v /a base no-such-program"),
            run("start con").fails(127, &["no-such-program"]),
            run("ps -aq").prints(""),
            run("volume ls -q").prints(""),
        ],
        ..super::BASE
    },
];
