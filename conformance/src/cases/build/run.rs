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
        program: &[
            build(STEPS),
            run("run --rm made cat /exec").prints("$HOME"),
            run("run --rm made cat /w/x/out /w/x/user /w/x/number").prints("/w/x\n1\n0\n1000\n1000\n1000\n1234\n8"),
            run("run --rm made stat -c '%u %g' /made /made/here /w").prints("1234 8\n1234 8\n0 0"),
            build("SHELL [\"/bin/sh\", \"-e\", \"-c\"]\nRUN false; true\n").fails(1, &["Dockerfile:3: `RUN false; true`"]),
            build("USER nobody-here\nRUN true\n").fails(1, &["nobody-here"]),
            build("RUN [\"/no/such/program\"]\n").fails(1, &["/no/such/program"]),
            nothing_left(),
        ],
        ..super::BASE
    },
    Case {
        id: "build/a-failed-step-is-told-and-not-kept",
        spec: "A step whose program fails ends the build with its line, status and output, its changes are gone, and those before it are not run again.",
        see: &["docs.docker.com, Dockerfile reference, RUN"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        program: &[
            build("FROM base\nRUN echo kept >/kept\nRUN echo lost >/lost; echo to stdout; echo to stderr >&2; exit 7\nRUN true\n").fails(1, &[
                "to stdout",
                "to stderr",
                "   3 | >>> RUN echo lost",
                "exit status 7",
                "Dockerfile:3: `RUN echo lost",
            ]),
            run("images -q made").prints(""),
            nothing_left(),
            build("FROM base\nRUN echo kept >/kept\nRUN echo to stdout; echo to stderr >&2; true\nRUN true\n")
                .cached(&[("RUN echo kept >/kept", true)]),
            run("run --rm made cat /lost").fails(1, &["/lost"]),
            script(r#""$COWLAB" build -q --no-cache {dir}/src 2>&1 >{dir}/id"#).prints(""),
            build("RUN echo to stderr >&2; exit 7\n").exits(1),
            script(r#""$COWLAB" build -q {dir}/src"#).fails(1, &["to stderr"]),
            build("RUN sh -c 'kill -9 $$'; exit $?\n").fails(1, &["137"]),
        ],
        ..super::BASE
    },
    Case {
        id: "build/caches-outlive-builds",
        spec: "What a step writes to a cache mount the next build finds there, it is in no image, and a locked one is used by one step at a time.",
        see: &["docs.docker.com, Dockerfile reference, RUN --mount=type=cache"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        program: &[
            build("RUN --mount=type=cache,target=/c,id=shared,mode=0711 echo 1 >>/c/f; cp /c/f /seen; stat -c %a /c >/mode\n"),
            build("RUN --mount=type=cache,target=/c,id=shared,mode=0711 echo 2 >>/c/f; cp /c/f /seen; stat -c %a /c >/mode\n"),
            run("run --rm made cat /seen /mode").prints("1\n2\n711"),
            run("run --rm made sh -c 'ls -d /c 2>&- || echo none'").prints("none"),
            // Its content is no part of what a step depends on.
            build("RUN --mount=type=cache,target=/c,id=shared,mode=0711 echo 1 >>/c/f; cp /c/f /seen; stat -c %a /c >/mode\n"),
            run("run --rm made cat /seen").prints("1"),
            build("FROM base AS a\nRUN --mount=type=cache,target=/l,sharing=locked mkdir /l/x && sleep 1 && rm -r /l/x; echo a >/a\n\
                FROM base AS b\nRUN --mount=type=cache,target=/l,sharing=locked mkdir /l/x && sleep 1 && rm -r /l/x; echo b >/b\n\
                FROM base\nCOPY --from=a /a /\nCOPY --from=b /b /\n")
                .without(&["exists"]),
            build("RUN --mount=type=cache,target=/c,id=shared,ro touch /c/new\n").fails(1, &["touch"]),
            build("RUN --mount=type=cache,target=/c,sharing=never true\n").fails(65, &["shared, private or locked"]),
            nothing_left(),
        ],
        ..super::BASE
    },
    Case {
        id: "build/bind-mounts-are-only-there-for-the-step",
        spec: "A bind mount of the context, a stage or an image is read-only or forgets what is written, and leaves nothing in the image.",
        see: &["docs.docker.com, Dockerfile reference, RUN --mount=type=bind"],
        catalogue: &["S14"],
        impact: Impact::Isolation,
        program: &[
            file("src/sub/f", "1"),
            file("src/.dockerignore", "hidden"),
            file("src/hidden", "x"),
            build(BIND_MOUNTS),
            run("run --rm made cat /one /two /three /four").prints("12\nstage\nfull"),
            run("run --rm made cat /listed").without(&["hidden"]),
            run("run --rm made sh -c 'ls -d /t /ctx 2>&- || echo none'").prints("none"),
            content("src/sub/f").prints("1"),
            build("RUN --mount=target=/ctx touch /ctx/new\n").fails(1, &["touch /ctx/new"]),
            script("test -e {dir}/src/new").exits(1),
            file("src/sub/f", "changed"),
            build(BIND_MOUNTS).cached(&[("RUN --mount=target=/ctx cp /ctx/sub/f /one && ls /ctx >/listed", false)]),
            run("run --rm made cat /one").prints("changed"),
            build("RUN --mount=target=/ctx,source=none true\n").fails(1, &["none"]),
            nothing_left(),
        ],
        ..super::BASE
    },
    Case {
        id: "build/secrets-stay-nowhere",
        spec: "A secret is in the step that asks for it, as a file or a variable, and neither in a layer, the history nor the cache.",
        see: &["docs.docker.com, Build secrets"],
        catalogue: &["S14"],
        impact: Impact::Isolation,
        program: &[
            file("key", "s3cr3t-words"),
            file("src/Dockerfile", "FROM base\nRUN --mount=type=secret,id=key wc -c </run/secrets/key >/one && stat -c '%a %u' /run/secrets/key >>/one\n\
                 RUN --mount=type=secret,id=key,env=KEY --mount=type=secret,id=none,target=/n sh -c 'echo ${#KEY} >/two; ls /n || echo none >>/two'\n\
                 RUN ls /run/secrets || echo gone >/three\n"),
            build_with("--secret=id=key,src={dir}/key"),
            run("run --rm made cat /one /two /three").prints("12\n400 0\n12\nnone\ngone"),
            script(r#"grep -r s3cr3t-words "$COWLAB_ROOT"; "$COWLAB" history --no-trunc made; "$COWLAB" inspect made"#)
                .without(&["s3cr3t-words"]),
            script(r#"KEY=s3cr3t-words "$COWLAB" build --no-cache --secret id=key,env=KEY -t made {dir}/src"#),
            run("run --rm made cat /two").prints("12\nnone"),
            build("RUN --mount=type=secret,id=other,required true\n").fails(1, &["other"]),
            build_with("--secret src=/f").fails(2, &["id=ID"]),
            build_with("--secret id=other,src=/no/such/file").fails(1, &["/no/such/file"]),
            nothing_left(),
        ],
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

const STEPS: &str = r#"FROM base
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

const BIND_MOUNTS: &str = "FROM base AS other\nRUN echo stage >/stage\nFROM base\n\
    RUN --mount=target=/ctx cp /ctx/sub/f /one && ls /ctx >/listed\n\
    RUN --mount=target=/ctx,source=sub,rw echo 2 >/ctx/f && cp /ctx/f /two\n\
    RUN --mount=from=other,source=/stage,target=/s cp /s /three\n\
    RUN --mount=type=tmpfs,target=/t,size=64k cp /one /t/f && dd if=/dev/zero of=/t/g bs=1k count=100 || echo full >/four\n";

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
