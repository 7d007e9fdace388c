//! The language of Dockerfiles, as far as it shows in images.

use crate::context::Result;
use crate::prelude::*;
use crate::product::Product;
use crate::support::build::{Sources, nothing_is_left, prints};
use crate::support::program::{inspect, text, texts};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "build/variables-have-the-values-of-their-place",
        spec: "An instruction sees what ARG and ENV said before it in its stage, ENV wins over ARG, and no ARG is in the image.",
        see: &["docs.docker.com, Dockerfile reference, ARG and Environment replacement"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        run: Some(variables),
        ..super::BASE
    },
    Case {
        id: "build/here-documents-are-scripts-and-files",
        spec: "A here-document of RUN is run by the shell or by the program that it names, and one of COPY is a file with its variables expanded unless it is quoted.",
        see: &["docs.docker.com, Dockerfile reference, Here-Documents"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        run: Some(here_documents),
        ..super::BASE
    },
    Case {
        id: "build/only-the-stages-of-the-target-are-built",
        spec: "A build runs the stages that its target needs and no other, and files come from stages and images.",
        see: &["docs.docker.com, Multi-stage builds"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        run: Some(only_the_stages_of_the_target),
        ..super::BASE
    },
    Case {
        id: "build/triggers-run-in-the-child",
        spec: "ONBUILD keeps an instruction for the builds that are based on the image, where it runs once, before all others.",
        see: &["docs.docker.com, Dockerfile reference, ONBUILD"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        run: Some(triggers),
        ..super::BASE
    },
    Case {
        id: "build/a-dockerfile-from-elsewhere",
        spec: "A Dockerfile is taken from a named file or from stdin, and a build without a context has nothing to copy.",
        see: &["docs.docker.com, docker buildx build, --file"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        run: Some(a_dockerfile_from_elsewhere),
        ..super::BASE
    },
    Case {
        id: "build/a-wrong-line-is-named",
        spec: "What a Dockerfile has that is not known or not whole is refused with file, line and text, before anything runs.",
        see: &["docs.docker.com, Dockerfile reference, Format"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        run: Some(a_wrong_line),
        ..super::BASE
    },
];

fn variables(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[])?;
    let file = "ARG image=base\nARG global=g\nFROM ${image:-none}\nARG global given=default late\n\
        RUN echo \"$global $given $undeclared $late\" >/one\nENV given=env path=$PATH:/x\n\
        RUN echo \"$given ${late:-none}\" >/two\nARG given=again\nRUN echo $given >/three\nWORKDIR /${global}/$given\nRUN echo x >here\n";
    sources.write("Dockerfile", file)?;
    let words = ["--build-arg", "given=said", "--build-arg", "undeclared=u"];
    let built = sources.build(&product, &words)?;
    expect(
        "warning",
        "of an unused argument",
        true,
        built.ran.err.contains("`undeclared`"),
    )?;
    built.id()?;
    prints(
        &product,
        &["cat", "/one", "/two", "/three"],
        "g said  \nenv none\nenv",
    )?;
    prints(&product, &["cat", "/g/env/here"], "x")?;
    let environment = texts(&inspect(&product, "made")?, "/Config/Env")?.join(" ");
    expect("Env", "has ENV", true, environment.contains("given=env"))?;
    expect("Env", "has an ARG", false, environment.contains("global="))?;
    let wrong = [
        ("FROM $missing\n", "FROM has no image"),
        ("FROM base\nUSER ${x:?no user}\n", "no user"),
        ("FROM base\nRUN true\nENV a=\"b\\\n", "has no end"),
    ];
    for (file, words) in wrong {
        sources.made(&product, file)?.refused(65, words)?;
    }
    nothing_is_left(&product)
}

fn here_documents(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[])?;
    let file = "FROM base\nENV V=v\nRUN <<EOF\necho one >/one\necho \"$V\" >>/one\nEOF\n\
        RUN <<-'A' cat >/two && cat >>/two <<B\n\tfirst\n\tA\nsecond\nB\n\
        RUN <<script\n#!/bin/env sh\necho \"$0\" >/three\nscript\n\
        COPY --chmod=640 <<f.txt <<\"g.txt\" /d/\nis $V\nf.txt\nis $V\ng.txt\nCOPY <<x /file\n\nx\n";
    sources.made(&product, file)?.id()?;
    prints(&product, &["cat", "/one", "/two"], "one\nv\nfirst\nsecond")?;
    prints(&product, &["cat", "/three"], "/run/cowlab/script")?;
    prints(&product, &["cat", "/d/f.txt", "/d/g.txt"], "is v\nis $V")?;
    prints(
        &product,
        &["stat", "-c", "%a %u %s", "/d/f.txt", "/file"],
        "640 0 5\n644 0 1",
    )?;
    let again = sources.made(&product, &file.replace("is $V", "was $V"))?;
    expect(
        "COPY",
        "with another content",
        "false",
        &again.is_cached("<<\"g.txt\" /d/")?,
    )?;
    again.id()?;
    let open = sources.made(&product, "RUN <<EOF\ntrue\n")?;
    open.refused(
        65,
        "Dockerfile:2: `RUN <<EOF`: the here-document `EOF` has no end",
    )
}

fn only_the_stages_of_the_target(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[])?;
    let file = "FROM base AS first\nRUN echo 1 >/f\nFROM base AS broken\nRUN false\nFROM first AS second\nRUN echo 2 >>/f\n\
        FROM base\nCOPY --from=second /f /from-name\nCOPY --from=0 /f /from-number\nCOPY --from=other /testfile /from-image\n";
    product.ok(&["tag", "base", "other"])?;
    let built = sources.made(&product, file)?;
    expect(
        "broken",
        "told of",
        false,
        built.ran.err.contains("RUN false"),
    )?;
    built.id()?;
    prints(
        &product,
        &["cat", "/from-name", "/from-number", "/from-image"],
        "1\n2\n1\ntest",
    )?;
    let layers = texts(&inspect(&product, "made")?, "/RootFS/Layers")?;
    expect("layers", "number", 4, layers.len())?;
    sources.build(&product, &["--target", "second"])?.id()?;
    prints(&product, &["cat", "/f"], "1\n2")?;
    sources
        .build(&product, &["--target", "broken"])?
        .refused(1, "Dockerfile:4: `RUN false`")?;
    sources
        .build(&product, &["--target", "none"])?
        .refused(65, "no stage `none`; it has first, broken, second")?;
    let scratch = "FROM scratch\nCOPY --from=base /testfile /\n";
    sources.made(&product, scratch)?.id()?;
    let layers = texts(&inspect(&product, "made")?, "/RootFS/Layers")?;
    expect("layers", "on scratch", 1, layers.len())?;
    let cycle = "FROM base AS a\nCOPY --from=b /x /x\nFROM base AS b\nCOPY --from=a /x /x\n";
    sources
        .made(&product, cycle)?
        .refused(65, "need each other")?;
    nothing_is_left(&product)
}

fn triggers(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[("f", "copied")])?;
    let parent = "FROM base\nONBUILD COPY f /f\nONBUILD RUN echo $V >>/f\nENV V=parent\n";
    sources.made(&product, parent)?.id()?;
    let kept = texts(&inspect(&product, "made")?, "/Config/OnBuild")?;
    expect(
        "OnBuild",
        "kept",
        "COPY f /f; RUN echo $V >>/f",
        &kept.join("; "),
    )?;
    product
        .run(&["run", "--rm", "made", "cat", "/f"])?
        .refused(1, "/f")?;
    product.ok(&["tag", "made", "parent"])?;
    sources
        .made(&product, "FROM parent\nENV V=child\nRUN echo $V >>/f\n")?
        .id()?;
    prints(&product, &["cat", "/f"], "copiedparent\nchild")?;
    let left = inspect(&product, "made")?;
    let left = left
        .pointer("/Config/OnBuild")
        .and_then(serde_json::Value::as_array);
    expect("OnBuild", "of the child", 0, left.map_or(0, Vec::len))?;
    product.ok(&["tag", "made", "child"])?;
    sources.made(&product, "FROM child\nRUN true\n")?.id()?;
    prints(&product, &["cat", "/f"], "copiedparent\nchild")?;
    sources
        .made(&product, "FROM base\nRUN true\nONBUILD FROM base\n")?
        .refused(65, "Dockerfile:3: `ONBUILD FROM base`")?;
    sources.write("other/Dockerfile", "FROM parent\n")?;
    let dir = sources.path("other").display().to_string();
    product.run(&["build", &dir])?.refused(1, "COPY f /f")?;
    nothing_is_left(&product)
}

fn a_dockerfile_from_elsewhere(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(
        context,
        "src",
        &[("f", "1"), ("sub/other", "FROM base\nCOPY f /g\n")],
    )?;
    let dir = sources.dir.display().to_string();
    let named = sources.path("sub/other").display().to_string();
    sources.build(&product, &["-f", &named])?.id()?;
    prints(&product, &["cat", "/g"], "1")?;
    let from_stdin = product.run_with(
        &["build", "-q", "-t", "made", "-f", "-", &dir],
        b"FROM base\nCOPY f /h\n",
    )?;
    let id = from_stdin.ok()?;
    expect(
        "-q",
        "prints",
        &id,
        &text(&inspect(&product, "made")?, "/Id")?,
    )?;
    prints(&product, &["cat", "/h"], "1")?;
    let without = product.run_with(
        &["build", "-t", "made", "-"],
        b"FROM base\nRUN echo 2 >/h\n",
    )?;
    without.ok()?;
    prints(&product, &["cat", "/h"], "2")?;
    let copying = product.run_with(&["build", "-"], b"FROM base\nCOPY f /h\n")?;
    expect("COPY", "without a context", false, copying.code == 0)?;
    sources
        .build(&product, &[])?
        .refused(2, "no `Dockerfile`")?;
    product
        .run(&["build", "/no/such/dir"])?
        .refused(2, "/no/such/dir")?;
    product
        .run(&["build", "https://example.org/x.git"])?
        .refused(2, "directories of this host")?;
    let iid = context.dir().join("iid");
    let file = iid.display().to_string();
    let id = sources
        .build(&product, &["-f", &named, "--iidfile", &file])?
        .id()?;
    expect("--iidfile", "content", id, std::fs::read_to_string(&iid)?)
}

fn a_wrong_line(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[])?;
    for (line, words) in [
        ("FOO bar", "there is no instruction `FOO`"),
        ("RUN --foo=x true", "there is no flag `--foo`"),
        ("RUN --mount=type=ssh true", "ssh are not supported"),
        (
            "RUN --security=insecure true",
            "`--security=insecure` is not supported",
        ),
        ("COPY one", "needs a source and a destination"),
        ("EXPOSE 99999", "is no port"),
        ("ENV a", "has no value"),
        ("SHELL /bin/sh", "JSON array"),
        ("HEALTHCHECK --interval=5 CMD x", "the unit is missing"),
        ("CMD [\"a\", 1]", "which is no string"),
    ] {
        let built = sources.made(&product, &format!("RUN echo ran\n{line}\n"))?;
        let marked = built.ran.err.contains(&format!("   3 | >>> {line}"));
        expect(line, "marked", true, marked)?;
        expect(line, "ran before", false, built.ran.err.contains("#1 "))?;
        expect(line, words, true, built.ran.err.contains(words))?;
        built.refused(65, &format!("Dockerfile:3: `{line}`: "))?;
        product.says(&["images", "-q", "made"], "")?;
    }
    for (file, words) in [
        ("# empty\n", "has no FROM"),
        ("RUN true\nFROM base\n", "before the first FROM"),
        ("# syntax=other/frontend\nFROM base\n", "frontend"),
        ("FROM Base\n", "lower case"),
    ] {
        sources.write("Dockerfile", file)?;
        let built = sources.build(&product, &[])?;
        expect(file, "refused", false, built.ran.code == 0)?;
        expect(file, words, true, built.ran.err.contains(words))?;
    }
    nothing_is_left(&product)
}
