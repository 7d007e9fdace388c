//! What an image that was built says of itself.

use crate::context::Result;
use crate::prelude::*;
use crate::product::Product;
use crate::support::build::{Sources, nothing_is_left};
use crate::support::program::{inspect, text};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "build/the-configuration-is-what-the-file-says",
        spec: "Every instruction about the configuration is in the image as docker has it there, and in an image that is based on it.",
        see: &[
            "OCI image-spec, config.md",
            "docs.docker.com, Dockerfile reference",
        ],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        program: &[
            file("src/Dockerfile", FILE),
            build_with("--label given=1"),
            run("image inspect made").json(&[
                ("/0/Config/Labels", r#"{"a b":"c","d":"e f","given":"1"}"#),
                ("/0/Config/ExposedPorts", r#"{"53/udp":{},"80/tcp":{}}"#),
                ("/0/Config/Volumes", r#"{"/data":{},"/more":{}}"#),
                ("/0/Config/WorkingDir", "/work/below"),
                ("/0/Config/User", "somebody:somebody"),
                ("/0/Config/StopSignal", "SIGINT"),
                ("/0/Config/Shell", r#"["/bin/sh","-ec"]"#),
                ("/0/Config/Healthcheck/Test", r#"["CMD-SHELL","true"]"#),
                ("/0/Config/Healthcheck/Interval", "90000000000"),
                ("/0/Config/Healthcheck/Retries", "2"),
                ("/0/Config/Entrypoint", r#"["/bin/env"]"#),
                ("/0/Config/Cmd", r#"["a","b"]"#),
                (
                    "/0/Config/Env",
                    r#"["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","A=one two","B=","C=$A"]"#,
                ),
                ("/0/Author", "somebody"),
            ]),
            run("tag made parent"),
            build("FROM parent\nENTRYPOINT exec sh\nHEALTHCHECK NONE\nVOLUME /third\nENV A=\n"),
            run("image inspect made").json(&[
                // docker takes the base's command away: it was for the base's entry point.
                ("/0/Config/Cmd", "none"),
                ("/0/Config/Entrypoint", r#"["/bin/sh","-ec","exec sh"]"#),
                ("/0/Config/Healthcheck/Test", r#"["NONE"]"#),
                (
                    "/0/Config/Volumes",
                    r#"{"/data":{},"/more":{},"/third":{}}"#,
                ),
                ("/0/Config/User", "somebody:somebody"),
            ]),
            build("STOPSIGNAL SIGNOTHING\n").fails(65, &["Dockerfile:2: `STOPSIGNAL SIGNOTHING`"]),
            nothing_left(),
        ],
        ..super::BASE
    },
    Case {
        id: "build/history-has-a-row-for-each-instruction",
        spec: "The history has a row for each instruction of the last stage and of its bases, and those that changed no file have no layer.",
        see: &["OCI image-spec, config.md, history"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        program: &[
            file("src/f", "1"),
            build(
                "FROM base\nENV A=1\nRUN echo 1 >/one\nLABEL b=c\nCOPY f /f\nRUN true\nCMD [\"sh\"]\n",
            ),
            run("history --json made")
                .json(&[("/7", "none")])
                .keeps(&[("/6/created_by", "first")]),
            run("history --no-trunc --format {{.CreatedBy}} made").with(&[
                "ENV A=1",
                "echo 1 >/one",
                "LABEL b=c",
                "COPY f /f",
                "CMD [\"sh\"]",
            ]),
            // Those of the base, of the first `RUN` and of `COPY`: the second `RUN` changes no file.
            script(r#""$COWLAB" image inspect -f '{{json .RootFS.Layers}}' made | grep -o sha256: | wc -l"#)
                .prints("3"),
            nothing_left(),
        ],
        ..super::BASE
    },
    Case {
        id: "build/one-epoch-gives-one-digest",
        spec: "With SOURCE_DATE_EPOCH the same inputs give the same image in another root, at another time and on another driver, and no file in it is younger.",
        see: &["reproducible-builds.org, SOURCE_DATE_EPOCH"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        program: &[
            file(
                "src/Dockerfile",
                "FROM base\nRUN mkdir /d && echo x >/d/f && ln /d/f /d/g && ln -s f /d/h && chmod 700 /srv && rm /testfile\n\
                 COPY . /src/\nWORKDIR /made/here\nENV A=1\n",
            ),
            file("src/sub/a", "1"),
            file("src/b", "2"),
            build_with("--build-arg SOURCE_DATE_EPOCH=1000000000 --no-cache").saves("id"),
            run("run --rm made stat -c %Y /d/f /src/b /made/here /d")
                .prints("1000000000\n1000000000\n1000000000\n1000000000"),
            run("run --rm made stat -c %h /d/f").prints("2"),
            // At another time.
            script("sleep 1.1"),
            file("src/b", "2"),
            build_with("--build-arg SOURCE_DATE_EPOCH=1000000000 --no-cache").prints("{id}"),
            run("save -o {dir}/base.tar base"),
            script(
                r#"export COWLAB_ROOT={dir}/other COWLAB_DRIVER=vfs SOURCE_DATE_EPOCH=1000000000
                "$COWLAB" load -i {dir}/base.tar >/dev/null && "$COWLAB" build -q {dir}/src"#,
            )
            .prints("{id}"),
            build_with("--build-arg SOURCE_DATE_EPOCH=soon")
                .fails(2, &["SOURCE_DATE_EPOCH is `soon`"]),
            nothing_left(),
        ],
        ..super::BASE
    },
    Case {
        id: "build/an-image-that-was-built-goes-round",
        spec: "An image that was built is saved, loaded elsewhere and run there, with the same id.",
        see: &["docs.docker.com, docker image save"],
        catalogue: &["S14"],
        impact: Impact::DataLoss,
        run: Some(an_image_goes_round),
        ..super::BASE
    },
];

const FILE: &str = r#"FROM base
MAINTAINER somebody
ENV A="one two" B=$A C='$A'
LABEL "a b"=c d="e f"
EXPOSE 80 53/udp
VOLUME ["/data", "/more"]
WORKDIR /work
WORKDIR below
USER somebody:somebody
STOPSIGNAL SIGINT
SHELL ["/bin/sh", "-ec"]
HEALTHCHECK --interval=1m30s --retries=2 CMD true
ENTRYPOINT ["/bin/env"]
CMD ["a", "b"]
"#;

fn an_image_goes_round(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[("f", "1")])?;
    let id = sources
        .made(&product, "COPY f /f\nRUN cat /f >/g\n")?
        .id()?;
    let archive = context.dir().join("made.tar").display().to_string();
    product.ok(&["save", "-o", &archive, "made"])?;
    let other = Product::empty_in(context, "other")?;
    other.ok(&["load", "-i", &archive])?;
    expect(
        "id",
        "elsewhere",
        &id,
        &text(&inspect(&other, "made")?, "/Id")?,
    )?;
    other.says(&["run", "--rm", "made", "cat", "/f", "/g"], "11")?;
    nothing_is_left(&product)
}
