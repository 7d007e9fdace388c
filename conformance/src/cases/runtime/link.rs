//! Symbolic links: at, above and below mount points, and where programs, directories and copies lead.

use crate::prelude::*;

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/mounts-at-and-below-links",
        spec: "Of mounts whose paths lead through one another by symbolic links the deeper one is on top, in any order of the flags.",
        see: &["opencontainers/runc, securejoin in libcontainer/rootfs_linux.go"],
        catalogue: &["S18"],
        impact: Impact::AppVisible,
        program: &[
            run("run --name maker base sh -c 'mkdir -p /z/y /run /var; ln -s /z/y /a; ln -s /run /var/run'"),
            run("commit maker linked"),
            run("rm maker"),
            run("run --rm -v i0:/var/run/x/y -v o0:/run linked sh -c 'echo inner >/run/x/y/f'"),
            run("run --rm -v o0:/run -v i0:/var/run/x/y linked cat /run/x/y/f").prints("inner"),
            run("run --rm -v i0:/var/run/x/y -v o0:/run linked cat /run/x/y/f").prints("inner"),
            run("run --rm -v i0:/d linked cat /d/f").prints("inner"),
            run("run --rm -v i1:/a/x -v o1:/z/y linked sh -c 'echo inner >/z/y/x/f'"),
            run("run --rm -v o1:/z/y -v i1:/a/x linked cat /z/y/x/f").prints("inner"),
            run("run --rm -v i1:/a/x -v o1:/z/y linked cat /z/y/x/f").prints("inner"),
            run("run --rm -v i1:/d linked cat /d/f").prints("inner"),
            run("run --rm -v i2:/var/run/x -v o2:/var linked sh -c 'echo inner >/var/run/x/f'"),
            run("run --rm -v o2:/var -v i2:/var/run/x linked cat /var/run/x/f").prints("inner"),
            run("run --rm -v i2:/var/run/x -v o2:/var linked cat /var/run/x/f").prints("inner"),
            run("run --rm -v i2:/d linked cat /d/f").prints("inner"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/a-mount-brings-what-links-lead-to",
        spec: "A program, a working directory and the list of users are found where links of the image lead into a volume.",
        see: &["path_resolution(7)"],
        catalogue: &["S16", "S18"],
        impact: Impact::AppVisible,
        program: &[
            // A program of busybox goes by its name.
            run("run --name maker base sh -c 'ln -s /vol/true /true; ln -s /vol/sub /work; ln -sf /vol/passwd /etc/passwd'"),
            run("commit maker linked"),
            run("rm maker"),
            run("run --rm -v data:/vol base sh -c 'cp -L /bin/true /vol/true; mkdir /vol/sub; echo you:x:77:78::/:/bin/sh >/vol/passwd'"),
            run("run --rm -v data:/vol:ro linked /true"),
            run("run --rm -v data:/vol:ro -e PATH=/ linked true"),
            run("run --rm -v data:/vol:ro -w /work linked sh -c 'pwd -P'").prints("/vol/sub"),
            run("run --rm -v data:/vol:ro -u you linked sh -c 'touch /tmp/f; stat -c %u /tmp/f'").prints("77"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/links-that-dangle-get-their-targets",
        spec: "Mount points, a working directory and /etc/resolv.conf that are links to nothing are made where the links lead, and the links stay.",
        see: &["opencontainers/runc, securejoin in libcontainer/rootfs_linux.go"],
        catalogue: &["S18"],
        impact: Impact::AppVisible,
        program: &[
            run("run --name maker base sh -c 'mkdir -p /run; ln -s /run/none /point; ln -s /run/work /work'"),
            run("commit maker linked"),
            run("rm maker"),
            // While it runs cowlab's own file is mounted there.
            script("ln -s ../run/made/resolv.conf {dir}/resolv.conf"),
            run("create --name maker linked true"),
            run("cp {dir}/resolv.conf maker:/etc/"),
            run("commit maker linked"),
            run("run --rm -v data:/point -w /work linked sh -c 'echo x >/point/f && readlink /point && pwd -P && \
                 test -f /etc/resolv.conf && readlink /etc/resolv.conf'")
                .prints("/run/none\n/run/work\n../run/made/resolv.conf"),
            run("run --rm -v data:/d base cat /d/f").prints("x"),
            // What is mounted there first is what the link leads into.
            run("run --rm --tmpfs /run linked sh -c 'test -f /run/made/resolv.conf'"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/cp-writes-through-links",
        spec: "`cp` to a link writes what the link leads to, in the container and on the host, dangling or not; a link in the directory that receives is replaced.",
        see: &["moby/go-archive, copy.go, CopyInfoDestinationPath"],
        catalogue: &["S18"],
        impact: Impact::DataLoss,
        program: &[
            run("run --name maker base sh -c 'mkdir /real; echo old >/real/file; ln -s /real/file /tofile; ln -s real/new /dangling; ln -s /real /todir; ln -s /etc/none /real/name'"),
            run("commit maker linked"),
            run("rm maker"),
            file("name", "new"),
            run("run -d --name con linked sleep 1000"),
            run("cp {dir}/name con:/tofile"),
            run("cp {dir}/name con:/dangling"),
            run("cp {dir}/name con:/todir"),
            run("exec con sh -c 'for l in /tofile /dangling /todir; do readlink $l; done; cat /real/file /real/new /real/name; test -e /etc/none || echo .none'")
                .prints("/real/file\nreal/new\n/real\nnewnewnew.none"),
            file("there", "before"),
            script("ln -s there {dir}/link"),
            run("cp con:/real/file {dir}/link"),
            script("test -L {dir}/link"),
            content("there").prints("new"),
        ],
        ..super::BASE
    },
];
