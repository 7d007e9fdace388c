//! What other builders make of the same files: buildah and docker, as outside judges.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

use cowlab_sys::Cmd;
use cowlab_sys::cmd::Running;
use serde_json::{Map, Value};

use crate::context::Result;
use crate::prelude::*;
use crate::product::layered::gzip;
use crate::product::{Product, until};
use crate::support::build::{Sources, nothing_is_left};
use crate::support::program::inspect;
use cowlab_tarball::{Entry, archive};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "build/buildah-builds-the-same",
        spec: "Buildah makes the same tree and the same configuration of the same Dockerfiles, one for each instruction and its flags.",
        see: &["docs.docker.com, Dockerfile reference", "buildah-build(1)"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        needs: &[Need::Program("buildah"), Need::Program("tar")],
        run: Some(buildah_builds_the_same),
        ..super::BASE
    },
    Case {
        id: "build/docker-builds-the-same",
        spec: "Docker's BuildKit makes the same tree and the same configuration of the same Dockerfiles, one for each instruction and its flags.",
        see: &["docs.docker.com, Dockerfile reference"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        needs: &[
            Need::Program("dockerd"),
            Need::Program("docker"),
            Need::Program("tar"),
        ],
        run: Some(docker_builds_the_same),
        ..super::BASE
    },
];

/// What every builder builds in the same way.
const FILES: &[&str] = &[
    "RUN echo x >/f && mkdir -p /a/b && ln -s /f /a/l && ln /f /a/h && chmod 1777 /a/b",
    "RUN mkdir /q && echo 1 >/q/1\nRUN rm -r /q /testfile && mkdir /q && echo 2 >/q/2",
    "RUN [\"/bin/sh\", \"-c\", \"echo $0 >/f\"]",
    "COPY a.txt /a.txt\nCOPY a.txt b.txt /dir/\nCOPY *.txt /globs/",
    "COPY d /dd\nCOPY d/ /dd2/\nCOPY . /all/",
    "COPY a.txt /bin\nCOPY a.txt /newname\nCOPY [\"a.txt\", \"/sp ace/\"]",
    "COPY --chown=12:13 --chmod=640 a.txt /x\nCOPY --chown=5 d /y\nCOPY --chown=somebody a.txt /z",
    "COPY dl /linked\nCOPY dl/e/f /through\nCOPY d/e/l /l\nCOPY empty /empty",
    "RUN mkdir /tgt && ln -s /tgt /lnk\nCOPY a.txt /lnk/\nCOPY d /lnk",
    "RUN ln -s /new/dir /dl && mkdir /s && ln -s /dl /s/dl2\nCOPY a.txt /dl/\nCOPY b.txt /s/dl2/\nCOPY d /s/dl2/more/",
    "ADD t.tar /one/\nADD t.tar.gz /two/\nADD a.txt /three\nADD d /dirs/",
    "WORKDIR /w\nRUN echo $PWD >p\nWORKDIR x\nCOPY a.txt .\nCOPY b.txt ./n/",
    "WORKDIR /made/by\nUSER 7\nWORKDIR rel\nUSER somebody\nWORKDIR /other",
    "ENV A=1 B=\"two words\" C=$A\nENV D $A and more\nRUN echo \"$A$B$C$D\" >/f",
    "ARG V=1\nARG W\nRUN echo $V$W >/f\nENV V=2\nRUN echo $V >/g\nENV x=${y:-z} w=${x:+q}\nLABEL k=$x",
    "RUN chmod 777 /srv\nUSER somebody\nRUN echo x >/srv/mine\nUSER 12:13\nRUN echo x >/srv/theirs",
    "MAINTAINER me <me@example.org>\nLABEL a=b \"c d\"='e f' g=\"h\\\ni\"",
    "EXPOSE 80 53/udp\nSTOPSIGNAL SIGQUIT",
    "ENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [\"true\"]",
    "ENTRYPOINT exec sh\nCMD x y",
    "CMD echo \"$A\" | cat\nUSER 1",
    "HEALTHCHECK --interval=5s --timeout=3s --start-period=1m --retries=3 CMD true",
    "HEALTHCHECK NONE\nSTOPSIGNAL 9",
    "FROM base AS s\nRUN echo s >/s\nFROM base\nCOPY --from=s /s /t\nCOPY --from=0 /s /u",
    "FROM base AS one\nRUN echo 1 >/one\nFROM one AS two\nRUN echo 2 >/two\nFROM two\nCOPY --from=one /one /from",
    "ARG B=base\nFROM $B\nARG B\nRUN echo \"<$B>\" >/f",
    "# escape=`\nFROM base\n# a comment\nRUN echo one >/f `\n  # another\n  && echo two >>/f",
    "SHELL [\"/bin/sh\", \"-e\", \"-c\"]\nRUN echo $- >/f",
    "LABEL empty= single='$HOME' double=\"$HOME\"\nENV E= F=' a ' G=\\$x",
    "FROM scratch\nCOPY a.txt /\nCMD [\"/a.txt\"]",
];

/// Where docker 20.10 is otherwise than later ones: it leaves the directories on which it mounted.
const BUILDAHS: &[&str] = &[
    "RUN --mount=type=cache,target=/c echo 1 >/c/f\nRUN --mount=type=bind,target=/b cp /b/a.txt /f\nRUN --mount=type=tmpfs,target=/t echo 1 >/t/f",
];

/// Where buildah differs from docker, or older ones do. `ADD --chown` of an archive is in neither list: before BuildKit 0.23
/// its files kept their owners (moby/buildkit 5987).
const DOCKERS: &[&str] = &[
    "# escape=`\nFROM base\nLABEL path=C:\\dir",
    "SHELL [\"/bin/sh\", \"-e\", \"-c\"]\nCMD echo shell\nHEALTHCHECK CMD echo shell\nENTRYPOINT echo entry",
    "EXPOSE 8000-8002 9000-9001/udp",
    "VOLUME /v /w\nRUN echo x >/f",
    "VOLUME [\"/srv\", \"/made\"]",
    "ONBUILD RUN echo x >/f\nONBUILD COPY . /all",
    "COPY --chmod=700 d /y\nCOPY --chmod=0604 a.txt /x\nCOPY closed /shut\nCOPY --chown=5:6 closed /theirs",
    "ADD --chown=7:8 a.txt d /owned/\nADD --chmod=600 a.txt /b",
];

/// Lists a tree with all that a copy of it must have. A place that programs of containers need is filled by each in its way.
const LIST: &str = r#"
    list() { (cd "$1" && find . -mindepth 1 \( -path ./etc -o -path ./dev -o -path ./proc -o -path ./sys -o -path ./run -o -path ./.dockerenv \) -prune \
        -o \( -type d -printf '%P %y %m %U:%G\n' -o -type l -printf '%P %y %U:%G %l\n' -o -type f -printf '%P %y %m %U:%G %n ' -exec sha256sum -z '{}' ';' -printf '\n' \)) \
        | tr -d '\0' | sort; }
    cd "$1"; rm -rf tree; mkdir -p tree tmp
"#;

/// Lists what cowlab built.
const OURS: &str = r#"
    "$COWLAB" create --name same made true >/dev/null || exit 1
    "$COWLAB" export same | tar -x -p --numeric-owner -C tree
    "$COWLAB" rm same >/dev/null; list tree >ours; rm -rf tree
"#;

/// How a judge is asked.
#[derive(Debug, Clone, Copy)]
struct Judge {
    /// Shell that defines how the judge is called; `$1` is a directory of its own, `$2` that of the sources.
    name: &'static str,
    /// Shell that takes `base.tar`.
    load: &'static str,
    /// Shell that builds, and writes the tree to `theirs` and the image's configuration to `theirs.json`.
    build: &'static str,
    /// Where the configuration is in it.
    config: &'static str,
}

const BUILDAH: Judge = Judge {
    name: r#"export TMPDIR="$1/tmp"; b="buildah --root $1/judge --runroot $1/judge-run --storage-driver vfs""#,
    load: r#"$b pull docker-archive:base.tar"#,
    build: r#"
        $b bud --isolation chroot --pull=never --layers=false --format docker -t same -f "$2/Dockerfile" "$2" >log 2>&1 || { cat log >&2; exit 1; }
        work=$($b from --pull=never same) && list "$($b mount "$work")" >theirs
        $b inspect --type image same >theirs.json; $b rm "$work" >/dev/null; $b rmi same >/dev/null
    "#,
    config: "/Docker/config",
};

/// The client of the distribution's package has BuildKit in it, newer ones ask for a plugin.
const DOCKER: Judge = Judge {
    name: r#"export DOCKER_BUILDKIT=1; d=/usr/bin/docker; [ -x $d ] || d=docker; d="$d --host unix://$1/judge.socket""#,
    load: r#"$d load --input base.tar"#,
    build: r#"
        $d build --network none -t same "$2" >log 2>&1 || { cat log >&2; exit 1; }
        $d create --name same same true >/dev/null || exit 1
        $d export same | tar -x -p --numeric-owner -C tree
        list tree >theirs; rm -rf tree; mkdir tree; $d image inspect same >theirs.json
        $d rm same >/dev/null; $d image rm same >/dev/null; $d builder prune --all --force >/dev/null
    "#,
    config: "/0/Config",
};

/// A configuration without what is empty, and without what each builder says of itself.
fn plain(config: Option<&Value>) -> Map<String, Value> {
    let mut config = config
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    if let Some(labels) = config.get_mut("Labels").and_then(Value::as_object_mut) {
        labels.retain(|name, _| !name.starts_with("io.buildah"));
    }
    config.retain(|name, value| {
        let is_empty = match &*value {
            Value::Null | Value::Bool(false) => true,
            // BuildKit says that what is made of nothing works in the root, buildah says nothing.
            Value::String(text) => text.is_empty() || (name == "WorkingDir" && text == "/"),
            Value::Array(list) => list.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        };
        !is_empty && !["Hostname", "Domainname", "Image", "ArgsEscaped"].contains(&name.as_str())
    });
    config
}

fn sources(context: &Context) -> Result<Sources> {
    let files = [
        ("a.txt", "a"),
        ("b.txt", "b"),
        ("d/e/f", "f"),
        ("empty/", ""),
        ("closed/f", "f"),
        ("x.md", "left out"),
        (".dockerignore", "*.md\nDockerfile\n"),
    ];
    let sources = Sources::new(context, "src", &files)?;
    std::os::unix::fs::symlink("f", sources.path("d/e/l"))?;
    std::os::unix::fs::symlink("d", sources.path("dl"))?;
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(sources.path("closed"), closed)?;
    let tar = archive(&[
        Entry::dir("t").mode(0o750),
        Entry::file("t/f", "1").mode(0o640),
        Entry::symlink("t/l", "f"),
    ]);
    sources.write("t.tar", &tar)?;
    sources.write("t.tar.gz", gzip(&tar)?)?;
    Ok(sources)
}

fn buildah_builds_the_same(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    build_the_same(context, &product, BUILDAH, &[FILES, BUILDAHS])
}

fn docker_builds_the_same(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let mut daemon = start_docker(context)?;
    let judged = build_the_same(context, &product, DOCKER, &[FILES, DOCKERS]);
    daemon.kill()?;
    judged
}

/// Starts a dockerd for this case alone, without a network, in a mount namespace with its own `/run`: its sockets need short paths,
/// and its copies of trees would fill the backing file system. Its mounts and its containerd end with it.
fn start_docker(context: &Context) -> Result<Running> {
    const SCRIPT: &str = r#"mount -t tmpfs tmpfs /run && exec dockerd --exec-root /run/docker --pidfile /run/docker.pid \
        --storage-driver vfs --iptables=false --bridge none --data-root /run/data --host "unix://$1/judge.socket""#;
    let log = context.dir().join("judge.log");
    let mut running = Cmd::new("unshare")
        .args(["--mount", "sh", "-c", SCRIPT, "sh"])
        .arg(context.dir())
        .attach(File::create(&log)?)?;
    let host = format!("unix://{}/judge.socket", context.dir().display());
    let version = Cmd::new("docker").args(["--host", &host, "version"]);
    until("dockerd answers", || {
        if !running.is_alive()? {
            let log = fs::read_to_string(&log)?;
            return Err(Difference::new("dockerd", "start", "it answers", log));
        }
        Ok(version.run().is_ok())
    })?;
    Ok(running)
}

fn build_the_same(
    context: &Context,
    product: &Product,
    judge: Judge,
    files: &[&[&str]],
) -> Result<()> {
    let sources = sources(context)?;
    let places = format!("'{}' '{}'", context.dir().display(), sources.dir.display());
    let run =
        |script: &str| product.script(&format!("set -- {places}; {LIST}{}\n{script}", judge.name));
    let load = format!("\"$COWLAB\" save -o base.tar base && {}", judge.load);
    run(&load)?.ok()?;
    for file in files.iter().copied().flatten() {
        sources.made(product, &format!("{file}\n"))?.id()?;
        run(judge.build)?.ok()?;
        run(OURS)?.ok()?;
        compare(context, product, file, judge)?;
        // A driver that copies trees would fill the place.
        product.run(&["rmi", "made"])?.ok()?;
        product.run(&["builder", "prune", "-af"])?.ok()?;
    }
    // What a judge keeps would take the room of later cases.
    run("rm -rf judge judge-run")?.ok()?;
    nothing_is_left(product)
}

/// Compares what a judge made of a file with what cowlab did.
fn compare(context: &Context, product: &Product, file: &str, judge: Judge) -> Result<()> {
    let read = |name: &str| -> Result<String> { Ok(fs::read_to_string(context.dir().join(name))?) };
    let (ours, theirs) = (read("ours")?, read("theirs")?);
    // Two listings that failed would be equal.
    expect(file, "files are listed", true, !ours.is_empty())?;
    let only = |one: &str, other: &str| -> String {
        let lines = one
            .lines()
            .filter(|line| !other.lines().any(|other| other == *line));
        lines.collect::<Vec<_>>().join("; ")
    };
    expect(file, "tree", only(&theirs, &ours), only(&ours, &theirs))?;
    let theirs: Value = serde_json::from_str(&read("theirs.json")?)?;
    let ours = inspect(product, "made")?;
    let theirs = plain(theirs.pointer(judge.config));
    let ours = plain(ours.pointer("/Config"));
    expect(
        file,
        "configuration",
        Value::from(theirs),
        Value::from(ours),
    )
}
