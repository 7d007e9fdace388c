//! What `COPY` and `ADD` take, and from where.

use std::os::unix::net::UnixListener;

use crate::context::Result;
use crate::prelude::*;
use crate::product::Product;
use crate::support::build::{Sources, nothing_is_left, printed, prints};
use cowlab_tarball::{Entry, archive};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "build/copies-are-as-docker-makes-them",
        spec: "Copied files keep their modes and get the owner and the mode that flags say, directories are copied by their content, and patterns find what they match.",
        see: &["docs.docker.com, Dockerfile reference, COPY"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        program: &[
            file("src/a.txt", "a"),
            file("src/b.txt", "b"),
            file("src/c.md", "c"),
            file("src/d/e/f", "f"),
            file("src/d/g/", ""),
            script("cd {dir}/src; chmod 4751 a.txt; chmod 700 d/e; ln -s f d/e/link"),
            build(
                "FROM base\nWORKDIR /w\nCOPY a.txt new\nCOPY *.txt c.md /texts/\nCOPY d /dir\nCOPY d/ rel/\n\
    COPY --chown=somebody:8 --chmod=600 b.txt /owned\nCOPY --chown=12 d /owned-dir\nCOPY --chmod=u=rwX,go= d /moded\n\
    COPY --exclude=*.txt --exclude=d . /without\nCOPY --parents d/e/f /parents/\nCOPY ?.[tm]* /matched/\n",
            ),
            run("run --rm made stat -c '%a %u %g %F' /w/new").prints("4751 0 0 regular file"),
            run("run --rm made ls /texts").prints("a.txt\nb.txt\nc.md"),
            run("run --rm made stat -c '%a %u %g %F' /dir/e /dir/e/link /dir/g")
                .prints("700 0 0 directory\n777 0 0 symbolic link\n755 0 0 directory"),
            run("run --rm made cat /w/rel/e/f /dir/e/link").prints("ff"),
            run("run --rm made stat -c '%a %u %g %F' /owned").prints("600 1000 8 regular file"),
            run("run --rm made stat -c '%a %u %g %F' /owned-dir /owned-dir/e/f")
                .prints("755 12 12 directory\n644 12 12 regular file"),
            run("run --rm made stat -c '%a %u %g %F' /moded/e /moded/e/f")
                .prints("700 0 0 directory\n600 0 0 regular file"),
            run("run --rm made ls /without").prints("Dockerfile\nc.md"),
            run("run --rm made cat /parents/d/e/f").prints("f"),
            run("run --rm made ls /matched").prints("a.txt\nb.txt\nc.md"),
            build(
                "COPY d /x\nCOPY a.txt /x/e/f\nRUN ln -s /elsewhere /y\nCOPY --link a.txt /y/z\nCOPY b.txt /testfile\n",
            ),
            run("run --rm made cat /x/e/f /testfile").prints("ab"),
            nothing_left(),
        ],
        ..super::BASE
    },
    Case {
        id: "build/what-is-left-out-is-not-there",
        spec: "What .dockerignore matches is neither copied nor found nor part of what a step depends on, and what it takes back is.",
        see: &["docs.docker.com, Build context, .dockerignore files"],
        catalogue: &["S14"],
        impact: Impact::Isolation,
        program: &[
            file(
                "src/.dockerignore",
                "# comment\n*.md\n!keep.md\nsecret\n**/tmp\nDockerfile\n",
            ),
            file("src/a.md", "1"),
            file("src/keep.md", "1"),
            file("src/secret/f", "1"),
            file("src/x/y/tmp/f", "1"),
            file("src/x/y/f", "1"),
            build("COPY . /all/\n"),
            run("run --rm made ls -A /all /all/x/y")
                .prints("/all:\n.dockerignore\nkeep.md\nx\n\n/all/x/y:\nf"),
            file("src/secret/f", "2"),
            file("src/a.md", "2"),
            build_with("").cached(&[("COPY . /all/", true)]),
            build("COPY a.md /x\n").fails(1, &["Dockerfile:2: `COPY a.md /x`", ".dockerignore"]),
            build("COPY secret/f /x\n")
                .fails(1, &["Dockerfile:2: `COPY secret/f /x`", ".dockerignore"]),
            build("COPY secret /x\n")
                .fails(1, &["Dockerfile:2: `COPY secret /x`", ".dockerignore"]),
            file("src/other.file", "FROM base\nCOPY . /all/\n"),
            file("src/other.file.dockerignore", "*\n!a.md\n"),
            build_with("-f {dir}/src/other.file"),
            run("run --rm made ls -A /all").prints("a.md"),
            file("src/.dockerignore", "a\n[\n"),
            build("COPY . /all/\n").fails(65, &[".dockerignore:2: `[`"]),
            nothing_left(),
        ],
        ..super::BASE
    },
    Case {
        id: "build/links-do-not-lead-out-of-a-context",
        spec: "A symbolic link of a context or of an image leads nowhere outside of it, neither for reading nor for writing.",
        see: &[
            "docs.docker.com, Build context",
            "openat2(2), RESOLVE_IN_ROOT",
        ],
        catalogue: &["S14"],
        impact: Impact::Isolation,
        program: &[
            file("src/dir/f", "inside"),
            file("outside/f", "outside"),
            script("cd {dir}/src; ln -s {dir}/outside absolute; ln -s ../outside up; ln -s dir within; ln -s loop loop"),
            build("COPY absolute/f /x\n").exits(1),
            build("COPY up/f /x\n").exits(1),
            build("COPY ../outside/f /x\n").exits(1),
            build("COPY loop/f /x\n").exits(1),
            build("COPY {dir}/outside/f /x\n").exits(1),
            build("COPY within/f /x\nCOPY . /all/\n"),
            run("run --rm made cat /x").prints("inside"),
            run("run --rm made readlink /all/up").prints("../outside"),
            run("run --rm made readlink /all/absolute").prints("{dir}/outside"),
            // The image's own links are followed within the image.
            build(
                "RUN mkdir -p {dir}/outside && ln -s {dir}/outside /out && ln -s ../../../../../..{dir}/outside /up && ln -s /srv /in\n\
                 COPY dir /out/\nCOPY dir/f /up/g\nCOPY dir/f /in/h\nADD dir/f /out/i\n",
            ),
            script("ls {dir}/outside; cat {dir}/outside/f").prints("f\noutside"),
            run("run --rm made cat /srv/h").prints("inside"),
            build("RUN --mount=target=/ctx cat /ctx/absolute/f || echo none >/r\nRUN --mount=target=/c,source=up cat /c/f\n")
                .fails(1, &["source=up"]),
            nothing_left(),
        ],
        ..super::BASE
    },
    Case {
        id: "build/archives-are-unpacked-by-add",
        spec: "ADD unpacks archives of the context and nothing of them outside of the destination, and COPY copies them as they are.",
        see: &["docs.docker.com, Dockerfile reference, ADD"],
        catalogue: &["S14"],
        impact: Impact::Isolation,
        run: Some(archives),
        ..super::BASE
    },
    Case {
        id: "build/what-is-not-there-is-named",
        spec: "A source that is not in the context, a destination that cannot hold several and a socket are named with the line.",
        see: &["docs.docker.com, Dockerfile reference, COPY"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        run: Some(what_is_not_there),
        ..super::BASE
    },
];

fn archives(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[("plain", "no archive")])?;
    let entries = [
        Entry::dir("d").mode(0o750),
        Entry::file("d/f", "1").mode(0o640).owner(12, 13),
        Entry::symlink("d/l", "f"),
        Entry::link("d/h", "d/f"),
    ];
    let tar = archive(&entries);
    sources.write("a.tar", &tar)?;
    sources.write("a.tar.gz", crate::product::layered::gzip(&tar)?)?;
    let file = "ADD a.tar /one/\nADD a.tar.gz plain /two/\nCOPY a.tar /three/\nADD --unpack=false a.tar /four/\nADD --chown=5:6 a.tar /five/\n";
    sources.made(&product, file)?.id()?;
    prints(
        &product,
        &["cat", "/one/d/l", "/two/d/h", "/two/plain"],
        "11no archive",
    )?;
    prints(
        &product,
        &["stat", "-c", "%a %u %g", "/one/d/f", "/one/d"],
        "640 12 13\n750 0 0",
    )?;
    prints(
        &product,
        &["ls", "/three", "/four"],
        "/four:\na.tar\n\n/three:\na.tar",
    )?;
    let outside = context.dir().join("outside");
    let hostile = [
        Entry::file("../../../../../../../../outside", "x"),
        Entry::symlink("out", context.dir().as_os_str().as_encoded_bytes()),
        Entry::file("out/outside", "x"),
    ];
    sources.write("bad.tar", archive(&hostile))?;
    // Refused or kept within the image, as the archive's entries allow.
    sources.made(&product, "ADD bad.tar /x/\n")?;
    expect("outside", "written", false, outside.exists())?;
    let mut cut = tar.clone();
    cut.truncate(tar.len() / 3);
    sources.write("cut.tar", cut)?;
    let built = sources.made(&product, "ADD cut.tar /x/\n")?;
    built.refused(1, "Dockerfile:2: `ADD cut.tar /x/`")?;
    for (line, words) in [
        ("ADD https://127.0.0.1:9/x /x", "127.0.0.1"),
        ("ADD git@example.org:x.git /x", "git"),
    ] {
        sources
            .made(&product, &format!("{line}\n"))?
            .refused(1, words)?;
    }
    nothing_is_left(&product)
}

fn what_is_not_there(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[("a", "1"), ("b", "2"), ("d/x", "3")])?;
    for (line, words) in [
        ("COPY none /x", "none"),
        ("COPY d/none /x", "d/none"),
        ("COPY a b /x", "/"),
        ("COPY [ /x/", "["),
        ("COPY --chown=nobody-here a /x", "nobody-here"),
        ("COPY --chmod=99 a /x", "99"),
        ("COPY --from=no-such-image:1 /a /x", "no-such-image"),
        ("COPY a /testfile/x", "testfile"),
    ] {
        let built = sources.made(&product, &format!("RUN true\n{line}\n"))?;
        expect(line, words, true, built.ran.err.contains(words))?;
        expect(line, "refused", false, built.ran.code == 0)?;
        let told = format!("Dockerfile:3: `{line}`");
        expect(line, "named", true, built.ran.err.contains(&told))?;
    }
    let _socket = UnixListener::bind(sources.path("socket"))?;
    let built = sources.made(&product, "COPY . /all/\n")?;
    // docker leaves sockets out of what it sends, podman refuses them; one that is named is refused.
    if built.ran.code == 0 {
        let listed = printed(&product, &["ls", "/all"])?;
        expect("socket", "copied", false, listed.contains("socket"))?;
    }
    sources
        .made(&product, "COPY socket /all\n")?
        .refused(1, "socket")?;
    nothing_is_left(&product)
}
