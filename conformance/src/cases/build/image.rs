//! What an image that was built says of itself.

use serde_json::Value;

use crate::context::Result;
use crate::prelude::*;
use crate::product::Product;
use crate::support::build::{Sources, nothing_is_left, prints};
use crate::support::program::{inspect, text, texts};

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
        run: Some(the_configuration),
        ..super::BASE
    },
    Case {
        id: "build/history-has-a-row-for-each-instruction",
        spec: "The history has a row for each instruction of the last stage and of its bases, and those that changed no file have no layer.",
        see: &["OCI image-spec, config.md, history"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        run: Some(the_history),
        ..super::BASE
    },
    Case {
        id: "build/one-epoch-gives-one-digest",
        spec: "With SOURCE_DATE_EPOCH the same inputs give the same image in another root, at another time and on another driver, and no file in it is younger.",
        see: &["reproducible-builds.org, SOURCE_DATE_EPOCH"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        run: Some(one_epoch),
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

/// A member of the configuration must be this, as JSON.
fn has(config: &Value, member: &str, expected: &str) -> Result<()> {
    let got = config.pointer(&format!("/Config/{member}"));
    let got = got.map_or_else(|| "null".to_owned(), ToString::to_string);
    expect(member, "value", expected, &got)
}

fn the_configuration(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[("Dockerfile", FILE)])?;
    sources.build(&product, &["--label", "given=1"])?.id()?;
    let made = inspect(&product, "made")?;
    let environment = texts(&made, "/Config/Env")?;
    let ours = environment.iter().filter(|one| !one.starts_with("PATH="));
    let ours: Vec<_> = ours.map(String::as_str).collect();
    expect("Env", "values", "A=one two; B=; C=$A", &ours.join("; "))?;
    has(&made, "Labels", r#"{"a b":"c","d":"e f","given":"1"}"#)?;
    has(&made, "ExposedPorts", r#"{"53/udp":{},"80/tcp":{}}"#)?;
    has(&made, "Volumes", r#"{"/data":{},"/more":{}}"#)?;
    has(&made, "WorkingDir", r#""/work/below""#)?;
    has(&made, "User", r#""somebody:somebody""#)?;
    has(&made, "StopSignal", r#""SIGINT""#)?;
    has(&made, "Shell", r#"["/bin/sh","-ec"]"#)?;
    has(&made, "Healthcheck/Test", r#"["CMD-SHELL","true"]"#)?;
    has(&made, "Healthcheck/Interval", "90000000000")?;
    has(&made, "Healthcheck/Retries", "2")?;
    has(&made, "Entrypoint", r#"["/bin/env"]"#)?;
    has(&made, "Cmd", r#"["a","b"]"#)?;
    expect(
        "author",
        "of the image",
        "somebody",
        &text(&made, "/Author")?,
    )?;
    product.ok(&["tag", "made", "parent"])?;
    sources
        .made(
            &product,
            "FROM parent\nENTRYPOINT exec sh\nHEALTHCHECK NONE\nVOLUME /third\nENV A=\n",
        )?
        .id()?;
    let child = inspect(&product, "made")?;
    // docker takes the base's command away: it was for the base's entry point.
    has(&child, "Cmd", "null")?;
    has(&child, "Entrypoint", r#"["/bin/sh","-ec","exec sh"]"#)?;
    has(&child, "Healthcheck/Test", r#"["NONE"]"#)?;
    has(&child, "Volumes", r#"{"/data":{},"/more":{},"/third":{}}"#)?;
    has(&child, "User", r#""somebody:somebody""#)?;
    sources
        .made(&product, "STOPSIGNAL SIGNOTHING\n")?
        .refused(65, "Dockerfile:2: `STOPSIGNAL SIGNOTHING`")?;
    nothing_is_left(&product)
}

fn the_history(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[("f", "1")])?;
    let file =
        "FROM base\nENV A=1\nRUN echo 1 >/one\nLABEL b=c\nCOPY f /f\nRUN true\nCMD [\"sh\"]\n";
    sources.made(&product, file)?.id()?;
    let layers = texts(&inspect(&product, "made")?, "/RootFS/Layers")?;
    let rows = product.json(&["history", "--json", "made"])?;
    let rows = rows.as_array().cloned().unwrap_or_default();
    expect("history", "rows", 7, rows.len())?;
    let listed = product.ok(&[
        "history",
        "--no-trunc",
        "--format",
        "{{.CreatedBy}}",
        "made",
    ])?;
    for words in [
        "ENV A=1",
        "echo 1 >/one",
        "LABEL b=c",
        "COPY f /f",
        "CMD [\"sh\"]",
    ] {
        expect(words, "in the history", true, listed.contains(words))?;
    }
    // Those of the base, of the first `RUN` and of `COPY`: the second `RUN` changes no file.
    expect("layers", "number", 3, layers.len())?;
    nothing_is_left(&product)
}

fn one_epoch(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let file = "FROM base\nRUN mkdir /d && echo x >/d/f && ln /d/f /d/g && ln -s f /d/h && chmod 700 /srv && rm /testfile\nCOPY . /src/\n\
        WORKDIR /made/here\nENV A=1\n";
    let sources = Sources::new(
        context,
        "src",
        &[("Dockerfile", file), ("sub/a", "1"), ("b", "2")],
    )?;
    let words = ["--build-arg", "SOURCE_DATE_EPOCH=1000000000", "--no-cache"];
    let first = sources.build(&product, &words)?.id()?;
    prints(
        &product,
        &["stat", "-c", "%Y", "/d/f", "/src/b", "/made/here", "/d"],
        "1000000000\n1000000000\n1000000000\n1000000000",
    )?;
    prints(&product, &["stat", "-c", "%h", "/d/f"], "2")?;
    std::thread::sleep(std::time::Duration::from_millis(1100));
    sources.write("b", "2")?;
    let again = sources.build(&product, &words)?.id()?;
    expect("id", "at another time", &first, &again)?;
    let base = context.dir().join("base.tar").display().to_string();
    product.ok(&["save", "-o", &base, "base"])?;
    let other = context.dir().join("other").display().to_string();
    let script = format!(
        r#"export COWLAB_ROOT="{other}" COWLAB_DRIVER=vfs SOURCE_DATE_EPOCH=1000000000
           "$COWLAB" load -i "{base}" >/dev/null && "$COWLAB" build -q "{}""#,
        sources.dir.display()
    );
    let vfs = product.script(&script)?.ok()?;
    expect("id", "on vfs", &first, &vfs)?;
    sources
        .build(&product, &["--build-arg", "SOURCE_DATE_EPOCH=soon"])?
        .refused(2, "SOURCE_DATE_EPOCH is `soon`")?;
    nothing_is_left(&product)
}

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
