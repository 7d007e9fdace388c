//! What another builder makes of the same files: buildah, as an outside judge.

use std::fs;

use serde_json::{Map, Value};

use super::{Sources, nothing_is_left};
use crate::cases::runtime::image::inspect;
use crate::context::Result;
use crate::prelude::*;
use crate::product::Product;
use crate::product::layered::gzip;
use crate::tarball::{Entry, archive};

pub(in crate::cases) const CASES: &[Case] = &[Case {
    id: "build/buildah-builds-the-same",
    spec: "Buildah makes the same tree and the same configuration of the same Dockerfiles, one for each instruction and its flags.",
    see: &["docs.docker.com, Dockerfile reference", "buildah-build(1)"],
    catalogue: &["S14"],
    impact: Impact::AppVisible,
    needs: &[Need::Program("buildah"), Need::Program("tar")],
    run: Some(buildah_builds_the_same),
    ..super::BASE
}];

/// What both build. Left out is where buildah differs from docker: ranges of ports, directories for volumes, `--chmod` of directories,
/// owners of unpacked archives, and here-documents, which older ones do not know.
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
    "FROM scratch\nCOPY a.txt /\nCMD [\"/a.txt\"]",
    "RUN --mount=type=cache,target=/c echo 1 >/c/f\nRUN --mount=type=bind,target=/b cp /b/a.txt /f\nRUN --mount=type=tmpfs,target=/t echo 1 >/t/f",
];

/// Builds with both, and lists both trees and both configurations. A place that programs of containers need is filled by each in its way.
const SCRIPT: &str = r#"
    cd "$1"; rm -rf tree; mkdir -p tree tmp; export TMPDIR="$1/tmp"
    b="buildah --root $1/bh --runroot $1/bhrun --storage-driver vfs"
    list() { (cd "$1" && find . -mindepth 1 \( -path ./etc -o -path ./dev -o -path ./proc -o -path ./sys -o -path ./run \) -prune \
        -o \( -type d -printf '%P %y %m %U:%G\n' -o -type l -printf '%P %y %U:%G %l\n' -o -type f -printf '%P %y %m %U:%G %n ' -exec sha256sum -z '{}' ';' -printf '\n' \)) \
        | tr -d '\0' | sort; }
    $b bud --isolation chroot --pull=never --layers=false --format docker -t same -f "$2/Dockerfile" "$2" >log 2>&1 || { cat log >&2; exit 1; }
    work=$($b from --pull=never same) && list "$($b mount "$work")" >theirs
    $b inspect --type image same >theirs.json; $b rm "$work" >/dev/null; $b rmi same >/dev/null
    "$COWLAB" create --name same made true >/dev/null && "$COWLAB" export same | tar -x -p --numeric-owner -C tree
    "$COWLAB" rm same >/dev/null; list tree >ours; rm -rf tree
"#;

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
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(members) => members.is_empty(),
            _ => false,
        };
        !is_empty && !["Hostname", "Domainname", "Image"].contains(&name.as_str())
    });
    config
}

fn sources(context: &Context) -> Result<Sources> {
    let files = [
        ("a.txt", "a"),
        ("b.txt", "b"),
        ("d/e/f", "f"),
        ("empty/", ""),
        ("x.md", "left out"),
        (".dockerignore", "*.md\nDockerfile\n"),
    ];
    let sources = Sources::new(context, "src", &files)?;
    std::os::unix::fs::symlink("f", sources.path("d/e/l"))?;
    std::os::unix::fs::symlink("d", sources.path("dl"))?;
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
    let sources = sources(context)?;
    let dir = context.dir().display().to_string();
    let run = |script: &str| {
        product.script(&format!(
            "set -- '{dir}' '{}'; {script}",
            sources.dir.display()
        ))
    };
    run(r#""$COWLAB" save -o "$1/base.tar" base && buildah --root "$1/bh" --runroot "$1/bhrun" --storage-driver vfs pull docker-archive:"$1/base.tar""#)?
        .ok()?;
    for file in FILES {
        sources.made(&product, &format!("{file}\n"))?.id()?;
        run(SCRIPT)?.ok()?;
        let read =
            |name: &str| -> Result<String> { Ok(fs::read_to_string(context.dir().join(name))?) };
        let (ours, theirs) = (read("ours")?, read("theirs")?);
        let only = |one: &str, other: &str| -> Vec<String> {
            let lines = one
                .lines()
                .filter(|line| !other.lines().any(|other| other == *line));
            lines.map(str::to_owned).collect()
        };
        expect(
            file,
            "tree",
            only(&theirs, &ours).join("; "),
            only(&ours, &theirs).join("; "),
        )?;
        let theirs: Value = serde_json::from_str(&read("theirs.json")?)?;
        let ours = inspect(&product, "made")?;
        let (ours, theirs) = (
            plain(ours.pointer("/Config")),
            plain(theirs.pointer("/Docker/config")),
        );
        expect(
            file,
            "configuration",
            Value::from(theirs),
            Value::from(ours),
        )?;
        // A driver that copies trees would fill the place.
        product.run(&["rmi", "made"])?.ok()?;
        product.run(&["builder", "prune", "-af"])?.ok()?;
    }
    run(r#"rm -rf "$1/bh" "$1/bhrun""#)?.ok()?;
    nothing_is_left(&product)
}
