//! What `RUN` runs, and what it sees.

use crate::context::Result;
use crate::prelude::*;
use crate::product::Product;
use crate::support::build::{Sources, nothing_is_left, printed, prints};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "build/steps-run-as-the-file-says",
        spec: "A step runs in the shell or as it is, as the user, in the directory and with the environment that the file says by then.",
        see: &["docs.docker.com, Dockerfile reference, RUN"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        run: Some(steps_run_as_the_file_says),
        ..super::BASE
    },
    Case {
        id: "build/a-failed-step-is-told-and-not-kept",
        spec: "A step whose program fails ends the build with its line, status and output, its changes are gone, and those before it are not run again.",
        see: &["docs.docker.com, Dockerfile reference, RUN"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        run: Some(a_failed_step),
        ..super::BASE
    },
    Case {
        id: "build/caches-outlive-builds",
        spec: "What a step writes to a cache mount the next build finds there, it is in no image, and a locked one is used by one step at a time.",
        see: &["docs.docker.com, Dockerfile reference, RUN --mount=type=cache"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        run: Some(caches_outlive_builds),
        ..super::BASE
    },
    Case {
        id: "build/bind-mounts-are-only-there-for-the-step",
        spec: "A bind mount of the context, a stage or an image is read-only or forgets what is written, and leaves nothing in the image.",
        see: &["docs.docker.com, Dockerfile reference, RUN --mount=type=bind"],
        catalogue: &["S14"],
        impact: Impact::Isolation,
        run: Some(bind_mounts),
        ..super::BASE
    },
    Case {
        id: "build/secrets-stay-nowhere",
        spec: "A secret is in the step that asks for it, as a file or a variable, and neither in a layer, the history nor the cache.",
        see: &["docs.docker.com, Build secrets"],
        catalogue: &["S14"],
        impact: Impact::Isolation,
        run: Some(secrets_stay_nowhere),
        ..super::BASE
    },
    Case {
        id: "build/the-network-is-the-hosts-or-none",
        spec: "A step has the host's network and name resolution unless the command line or its flag says none.",
        see: &["docs.docker.com, Dockerfile reference, RUN --network"],
        catalogue: &["S14"],
        impact: Impact::Isolation,
        run: Some(the_network),
        ..super::BASE
    },
];

fn steps_run_as_the_file_says(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[])?;
    let file = r#"FROM base
RUN ["/bin/sh", "-c", "echo $0 >/exec", "$HOME"]
ENV A=1
WORKDIR /w/x
RUN pwd >out; echo "$A" >>out; id -u >>out
SHELL ["/bin/sh", "-e", "-c"]
RUN chmod 777 /w/x; false || true
USER somebody
RUN id -u >/w/x/user; id -g >>/w/x/user; stat -c %u /w/x/user >>/w/x/user
USER 1234:8
RUN id -u >/w/x/number; id -g >>/w/x/number
WORKDIR /made/here
"#;
    sources.made(&product, file)?.id()?;
    prints(&product, &["cat", "/exec"], "$HOME")?;
    prints(
        &product,
        &["cat", "/w/x/out", "/w/x/user", "/w/x/number"],
        "/w/x\n1\n0\n1000\n1000\n1000\n1234\n8",
    )?;
    prints(
        &product,
        &["stat", "-c", "%u %g", "/made", "/made/here", "/w"],
        "1234 8\n1234 8\n0 0",
    )?;
    sources
        .made(
            &product,
            "SHELL [\"/bin/sh\", \"-e\", \"-c\"]\nRUN false; true\n",
        )?
        .refused(1, "Dockerfile:3: `RUN false; true`")?;
    sources
        .made(&product, "USER nobody-here\nRUN true\n")?
        .refused(1, "nobody-here")?;
    sources
        .made(&product, "RUN [\"/no/such/program\"]\n")?
        .refused(1, "/no/such/program")?;
    nothing_is_left(&product)
}

fn a_failed_step(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[])?;
    let file = "FROM base\nRUN echo kept >/kept\nRUN echo lost >/lost; echo to stdout; echo to stderr >&2; exit 7\nRUN true\n";
    let failed = sources.made(&product, file)?;
    for words in [
        "to stdout",
        "to stderr",
        "   3 | >>> RUN echo lost",
        "exit status 7",
    ] {
        expect(words, "told", true, failed.ran.err.contains(words))?;
    }
    failed.refused(1, "Dockerfile:3: `RUN echo lost")?;
    product.says(&["images", "-q", "made"], "")?;
    nothing_is_left(&product)?;
    sources
        .made(
            &product,
            &file
                .replace("exit 7", "true")
                .replace("echo lost >/lost; ", ""),
        )?
        .steps(&[("RUN echo kept >/kept", true)])?;
    product
        .run(&["run", "--rm", "made", "cat", "/lost"])?
        .refused(1, "/lost")?;
    let quiet = product.run(&[
        "build",
        "-q",
        "--no-cache",
        &sources.dir.display().to_string(),
    ])?;
    expect("-q", "tells nothing", "", &quiet.err)?;
    sources.made(&product, file)?.refused(1, "")?;
    let quiet = product.run(&["build", "-q", &sources.dir.display().to_string()])?;
    expect("-q", "of a failure", true, quiet.err.contains("to stderr"))?;
    let killed = sources.made(&product, "RUN sh -c 'kill -9 $$'; exit $?\n")?;
    killed.refused(1, "137")
}

fn caches_outlive_builds(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[])?;
    let file = |number: &str| {
        format!(
            "RUN --mount=type=cache,target=/c,id=shared,mode=0711 echo {number} >>/c/f; cp /c/f /seen; stat -c %a /c >/mode\n"
        )
    };
    sources.made(&product, &file("1"))?.id()?;
    sources.made(&product, &file("2"))?.id()?;
    prints(&product, &["cat", "/seen", "/mode"], "1\n2\n711")?;
    prints(
        &product,
        &["sh", "-c", "ls -d /c 2>&- || echo none"],
        "none",
    )?;
    // Its content is no part of what a step depends on.
    let again = sources.made(&product, &file("1"))?;
    again.id()?;
    prints(&product, &["cat", "/seen"], "1")?;
    let locked = "FROM base AS a\nRUN --mount=type=cache,target=/l,sharing=locked mkdir /l/x && sleep 1 && rm -r /l/x; echo a >/a\n\
        FROM base AS b\nRUN --mount=type=cache,target=/l,sharing=locked mkdir /l/x && sleep 1 && rm -r /l/x; echo b >/b\n\
        FROM base\nCOPY --from=a /a /\nCOPY --from=b /b /\n";
    let built = sources.made(&product, locked)?;
    expect(
        "mkdir",
        "beside another",
        false,
        built.ran.err.contains("exists"),
    )?;
    built.id()?;
    let read_only = "RUN --mount=type=cache,target=/c,id=shared,ro touch /c/new\n";
    sources.made(&product, read_only)?.refused(1, "touch")?;
    sources
        .made(
            &product,
            "RUN --mount=type=cache,target=/c,sharing=never true\n",
        )?
        .refused(65, "shared, private or locked")?;
    nothing_is_left(&product)
}

fn bind_mounts(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(
        context,
        "src",
        &[("sub/f", "1"), (".dockerignore", "hidden"), ("hidden", "x")],
    )?;
    let file = "FROM base AS other\nRUN echo stage >/stage\nFROM base\n\
        RUN --mount=target=/ctx cp /ctx/sub/f /one && ls /ctx >/listed\n\
        RUN --mount=target=/ctx,source=sub,rw echo 2 >/ctx/f && cp /ctx/f /two\n\
        RUN --mount=from=other,source=/stage,target=/s cp /s /three\n\
        RUN --mount=type=tmpfs,target=/t,size=64k cp /one /t/f && dd if=/dev/zero of=/t/g bs=1k count=100 || echo full >/four\n";
    sources.made(&product, file)?.id()?;
    prints(
        &product,
        &["cat", "/one", "/two", "/three", "/four"],
        "12\nstage\nfull",
    )?;
    let listed = printed(&product, &["cat", "/listed"])?;
    expect(
        "context",
        "what is left out",
        false,
        listed.contains("hidden"),
    )?;
    prints(
        &product,
        &["sh", "-c", "ls -d /t /ctx 2>&- || echo none"],
        "none",
    )?;
    expect(
        "context",
        "stays",
        "1",
        &std::fs::read_to_string(sources.path("sub/f"))?,
    )?;
    sources
        .made(&product, "RUN --mount=target=/ctx touch /ctx/new\n")?
        .refused(1, "touch /ctx/new")?;
    expect("context", "written", false, sources.path("new").exists())?;
    sources.write("sub/f", "changed")?;
    let copy = "RUN --mount=target=/ctx cp /ctx/sub/f /one && ls /ctx >/listed";
    let again = sources.made(&product, file)?;
    expect(copy, "cached", "false", &again.is_cached(copy)?)?;
    again.id()?;
    prints(&product, &["cat", "/one"], "changed")?;
    sources
        .made(&product, "RUN --mount=target=/ctx,source=none true\n")?
        .refused(1, "none")?;
    nothing_is_left(&product)
}

fn secrets_stay_nowhere(context: &mut Context) -> Result<()> {
    const SECRET: &str = "s3cr3t-words";
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[])?;
    let file = "FROM base\nRUN --mount=type=secret,id=key wc -c </run/secrets/key >/one && stat -c '%a %u' /run/secrets/key >>/one\n\
        RUN --mount=type=secret,id=key,env=KEY --mount=type=secret,id=none,target=/n sh -c 'echo ${#KEY} >/two; ls /n || echo none >>/two'\n\
        RUN ls /run/secrets || echo gone >/three\n";
    sources.write("Dockerfile", file)?;
    let key = context.dir().join("key");
    std::fs::write(&key, SECRET)?;
    let flag = format!("--secret=id=key,src={}", key.display());
    sources.build(&product, &[&flag])?.id()?;
    prints(
        &product,
        &["cat", "/one", "/two", "/three"],
        "12\n400 0\n12\nnone\ngone",
    )?;
    let script = format!(
        r#"grep -r "{SECRET}" "$COWLAB_ROOT"; "$COWLAB" history --no-trunc made; "$COWLAB" inspect made"#
    );
    let told = product.script(&script)?;
    expect(
        "root",
        "has the secret",
        false,
        format!("{}{}", told.out, told.err).contains(SECRET),
    )?;
    let variable = product.run_among(
        &[("KEY", SECRET)],
        &[
            "build",
            "--no-cache",
            "--secret",
            "id=key,env=KEY",
            "-t",
            "made",
            &sources.dir.display().to_string(),
        ],
    )?;
    variable.ok()?;
    prints(&product, &["cat", "/two"], "12\nnone")?;
    sources
        .made(&product, "RUN --mount=type=secret,id=other,required true\n")?
        .refused(1, "other")?;
    sources
        .build(&product, &["--secret", "src=/f"])?
        .refused(2, "id=ID")?;
    sources
        .build(&product, &["--secret", "id=other,src=/no/such/file"])?
        .refused(1, "/no/such/file")?;
    nothing_is_left(&product)
}

fn the_network(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[])?;
    let file = "FROM base\nRUN ls /sys/class/net >/host; wc -l </etc/resolv.conf >/lines; readlink /proc/self/ns/net >/ns\n\
        RUN --network=none readlink /proc/self/ns/net >/none\n";
    sources.made(&product, file)?.id()?;
    let own = std::fs::read_link("/proc/self/ns/net")?
        .display()
        .to_string();
    prints(&product, &["cat", "/ns"], &own)?;
    let none = printed(&product, &["cat", "/none"])?;
    expect("none", "the host's", false, none == own)?;
    // What was put there for the step is not in the image.
    let kept = product.run(&["run", "--rm", "made", "stat", "-c", "%s", "/etc/hostname"])?;
    expect(
        "/etc/hostname",
        "found",
        true,
        kept.code == 0 || kept.err.contains("No such"),
    )?;
    let diff = product.ok(&["layer", "ls", "--json"])?;
    expect("layers", "listed", true, diff.starts_with('['))?;
    let ns = "RUN readlink /proc/self/ns/net >/ns\n";
    sources.write("Dockerfile", format!("FROM base\n{ns}"))?;
    sources.build(&product, &["--network", "none"])?.id()?;
    let none = printed(&product, &["cat", "/ns"])?;
    expect("--network none", "the host's", false, none == own)?;
    sources
        .build(&product, &["--network", "bridge"])?
        .refused(2, "bridge")?;
    nothing_is_left(&product)
}
