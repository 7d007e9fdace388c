//! The language of Dockerfiles, as far as it shows in images.

use crate::context::Result;
use crate::prelude::*;
use crate::product::Product;
use crate::support::build::{Sources, nothing_is_left};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "build/variables-have-the-values-of-their-place",
        spec: "An instruction sees what ARG and ENV said before it in its stage, ENV wins over ARG, and no ARG is in the image.",
        see: &["docs.docker.com, Dockerfile reference, ARG and Environment replacement"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        program: &[
            file("src/Dockerfile", "ARG image=base\nARG global=g\nFROM ${image:-none}\nARG global given=default late\n\
                 RUN echo \"$global $given $undeclared $late\" >/one\nENV given=env path=$PATH:/x\n\
                 RUN echo \"$given ${late:-none}\" >/two\nARG given=again\nRUN echo $given >/three\nWORKDIR /${global}/$given\nRUN echo x >here\n"),
            build_with("--build-arg given=said --build-arg undeclared=u").tells(&["`undeclared`"]),
            run("run --rm made cat /one /two /three").prints("g said  \nenv none\nenv"),
            run("run --rm made cat /g/env/here").prints("x"),
            run("image inspect -f '{{json .Config.Env}}' made").with(&["given=env"]).without(&["global="]),
            build("FROM $missing\n").fails(65, &["FROM has no image"]),
            build("FROM base\nUSER ${x:?no user}\n").fails(65, &["no user"]),
            build("FROM base\nRUN true\nENV a=\"b\\\n").fails(65, &["has no end"]),
            nothing_left(),
        ],
        ..super::BASE
    },
    Case {
        id: "build/here-documents-are-scripts-and-files",
        spec: "A here-document of RUN is run by the shell or by the program that it names, and one of COPY is a file with its variables expanded unless it is quoted.",
        see: &["docs.docker.com, Dockerfile reference, Here-Documents"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        program: &[
            build(HERE_DOCUMENTS),
            run("run --rm made cat /one /two").prints("one\nv\nfirst\nsecond"),
            run("run --rm made cat /three").prints("/run/cowlab/script"),
            run("run --rm made cat /d/f.txt /d/g.txt").prints("is v\nis $V"),
            run("run --rm made stat -c '%a %u %s' /d/f.txt /file").prints("640 0 5\n644 0 1"),
            script("sed -i 's/is \\$V/was $V/' {dir}/src/Dockerfile"),
            build_with("").cached(&[("<<\"g.txt\" /d/", false)]),
            build("RUN <<EOF\ntrue\n").fails(65, &["Dockerfile:2: `RUN <<EOF`: the here-document `EOF` has no end"]),
        ],
        ..super::BASE
    },
    Case {
        id: "build/only-the-stages-of-the-target-are-built",
        spec: "A build runs the stages that its target needs and no other, and files come from stages and images.",
        see: &["docs.docker.com, Multi-stage builds"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        program: &[
            run("tag base other"),
            build("FROM base AS first\nRUN echo 1 >/f\nFROM base AS broken\nRUN false\nFROM first AS second\nRUN echo 2 >>/f\n\
                FROM base\nCOPY --from=second /f /from-name\nCOPY --from=0 /f /from-number\nCOPY --from=other /testfile /from-image\n")
                .without(&["RUN false"]),
            run("run --rm made cat /from-name /from-number /from-image").prints("1\n2\n1\ntest"),
            script(LAYERS).prints("4"),
            build_with("--target second"),
            run("run --rm made cat /f").prints("1\n2"),
            build_with("--target broken").fails(1, &["Dockerfile:4: `RUN false`"]),
            build_with("--target none").fails(65, &["no stage `none`; it has first, broken, second"]),
            build("FROM scratch\nCOPY --from=base /testfile /\n"),
            script(LAYERS).prints("1"),
            build("FROM base AS a\nCOPY --from=b /x /x\nFROM base AS b\nCOPY --from=a /x /x\n").fails(65, &["need each other"]),
            nothing_left(),
        ],
        ..super::BASE
    },
    Case {
        id: "build/triggers-run-in-the-child",
        spec: "ONBUILD keeps an instruction for the builds that are based on the image, where it runs once, before all others.",
        see: &["docs.docker.com, Dockerfile reference, ONBUILD"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        program: &[
            file("src/f", "copied"),
            build("FROM base\nONBUILD COPY f /f\nONBUILD RUN echo $V >>/f\nENV V=parent\n"),
            run("image inspect -f '{{json .Config.OnBuild}}' made").prints(r#"["COPY f /f","RUN echo $V >>/f"]"#),
            run("run --rm made cat /f").fails(1, &["/f"]),
            run("tag made parent"),
            build("FROM parent\nENV V=child\nRUN echo $V >>/f\n"),
            run("run --rm made cat /f").prints("copiedparent\nchild"),
            run("image inspect made").without(&["ONBUILD", "\"COPY f /f\""]),
            run("tag made child"),
            build("FROM child\nRUN true\n"),
            run("run --rm made cat /f").prints("copiedparent\nchild"),
            build("FROM base\nRUN true\nONBUILD FROM base\n").fails(65, &["Dockerfile:3: `ONBUILD FROM base`"]),
            file("src/other/Dockerfile", "FROM parent\n"),
            run("build {dir}/src/other").fails(1, &["COPY f /f"]),
            nothing_left(),
        ],
        ..super::BASE
    },
    Case {
        id: "build/a-dockerfile-from-elsewhere",
        spec: "A Dockerfile is taken from a named file or from stdin, and a build without a context has nothing to copy.",
        see: &["docs.docker.com, docker buildx build, --file"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        program: &[
            file("src/f", "1"),
            file("src/sub/other", "FROM base\nCOPY f /g\n"),
            build_with("-f {dir}/src/sub/other"),
            run("run --rm made cat /g").prints("1"),
            run("build -q -t made -f - {dir}/src").reads("FROM base\nCOPY f /h\n").saves("id"),
            run("image inspect -f {{.Id}} made").prints("{id}"),
            run("run --rm made cat /h").prints("1"),
            run("build -t made -").reads("FROM base\nRUN echo 2 >/h\n"),
            run("run --rm made cat /h").prints("2"),
            run("build -").reads("FROM base\nCOPY f /h\n").exits(1),
            build_with("").fails(2, &["no `Dockerfile`"]),
            run("build /no/such/dir").fails(2, &["/no/such/dir"]),
            run("build https://example.org/x.git").fails(2, &["directories of this host"]),
            build_with("-f {dir}/src/sub/other --iidfile {dir}/iid").saves("id2"),
            content("iid").prints("{id2}"),
        ],
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

const HERE_DOCUMENTS: &str = "FROM base\nENV V=v\nRUN <<EOF\necho one >/one\necho \"$V\" >>/one\nEOF\n\
    RUN <<-'A' cat >/two && cat >>/two <<B\n\tfirst\n\tA\nsecond\nB\n\
    RUN <<script\n#!/bin/env sh\necho \"$0\" >/three\nscript\n\
    COPY --chmod=640 <<f.txt <<\"g.txt\" /d/\nis $V\nf.txt\nis $V\ng.txt\nCOPY <<x /file\n\nx\n";

/// Counts the layers of `made`.
const LAYERS: &str =
    r#""$COWLAB" image inspect -f '{{json .RootFS.Layers}}' made | grep -o sha256: | wc -l"#;

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
