//! What the build cache has, and what makes a step run again.

use std::fs;

use crate::context::Result;
use crate::prelude::*;
use crate::product::Product;
use crate::support::build::{Sources, nothing_is_left, prints};
use crate::support::program::{inspect, text};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "build/a-second-build-runs-nothing",
        spec: "A build of what was built before takes every step from the cache and gives the same image, and --no-cache runs every step.",
        see: &["docs.docker.com, Docker build cache"],
        catalogue: &["S14"],
        impact: Impact::Performance,
        program: &[
            file("src/src/f", "1"),
            build(FILE)
                .cached(&[(ONE, false), (COPY, false), (TWO, false)])
                .saves("id"),
            build_with("")
                .cached(&[(ONE, true), (COPY, true), (TWO, true)])
                .prints("{id}"),
            build_with("--no-cache").cached(&[(ONE, false), (COPY, false), (TWO, false)]),
            run("run --rm made cat /one /two").prints("one\n1"),
            nothing_left(),
        ],
        ..super::BASE
    },
    Case {
        id: "build/a-changed-source-is-built-from-there",
        spec: "A source whose content or mode changed is copied again and what follows runs, and one whose times changed is not.",
        see: &["docs.docker.com, Build cache invalidation"],
        catalogue: &["S14", "S15"],
        impact: Impact::DataLoss,
        program: &[
            file("src/src/f", "1"),
            build(FILE).saves("id"),
            script("touch -d @0 {dir}/src/src/f"),
            build_with("").cached(&[(ONE, true), (COPY, true), (TWO, true)]),
            file("src/src/f", "2"),
            build_with("").cached(&[(ONE, true), (COPY, false), (TWO, false)]),
            run("run --rm made cat /two").prints("2"),
            file("src/src/f", "1"),
            build_with("")
                .cached(&[(ONE, true), (COPY, true), (TWO, true)])
                .prints("{id}"),
            script("chmod 640 {dir}/src/src/f"),
            build_with("").cached(&[(ONE, true), (COPY, false), (TWO, false)]),
            run("run --rm made stat -c %a /src/f").prints("640"),
            file("src/src/g", "new"),
            build_with("").cached(&[(ONE, true), (COPY, false), (TWO, false)]),
            script("mv {dir}/src/src/g {dir}/src/src/h"),
            build_with("").cached(&[(ONE, true), (COPY, false), (TWO, false)]),
            // What is not copied is nobody's business.
            file("src/other", "x"),
            build_with("").cached(&[(ONE, true), (COPY, true), (TWO, true)]),
        ],
        ..super::BASE
    },
    Case {
        id: "build/a-changed-instruction-is-built-from-there",
        spec: "An instruction, an argument that it sees or the image below it that changed has the step run, and an argument that it does not see has not.",
        see: &["docs.docker.com, Build cache invalidation"],
        catalogue: &["S14"],
        impact: Impact::DataLoss,
        program: &[
            build("RUN echo one >/one\nARG V=1\nRUN echo $V >/two\nENV X=1\nRUN echo $X >/three\n"),
            build_with("--build-arg V=2").cached(&[(ONE, true), (V, false), (X, false)]),
            run("run --rm made cat /two").prints("2"),
            build("RUN echo one >/one\nARG V=1\nRUN echo $V >/two\nENV X=2\nRUN echo $X >/three\n")
                .cached(&[(ONE, true), (V, true), (X, false)]),
            run("run --rm made cat /three").prints("2"),
            build_with("--build-arg http_proxy=http://127.0.0.1:9").cached(&[
                (ONE, true),
                (V, true),
                (X, true),
            ]),
            build("RUN echo ONE >/one\nARG V=1\nRUN echo $V >/two\nENV X=1\nRUN echo $X >/three\n")
                .cached(&[("RUN echo ONE >/one", false), (V, false), (X, false)]),
            run("run --name con base touch /new"),
            run("commit con base"),
            build("RUN echo one >/one\nARG V=1\nRUN echo $V >/two\nENV X=1\nRUN echo $X >/three\n")
                .cached(&[(ONE, false), (V, false)]),
            run("run --rm made ls /new").prints("/new"),
        ],
        ..super::BASE
    },
    Case {
        id: "build/two-files-share-their-first-steps",
        spec: "Two Dockerfiles whose first three steps are equal share them, and only what follows is built.",
        see: &["docs.docker.com, storage drivers, Sharing promotes smaller images"],
        catalogue: &["S14"],
        impact: Impact::Performance,
        program: &[
            file("src/app.py", "1"),
            file("src/app2.py", "2"),
            file(
                "src/second",
                "FROM base\nRUN echo packages >/packages && echo python >/python\nRUN echo flask >/flask\nCOPY app2.py /opt/source-code\n\
                 ENTRYPOINT FLASK_APP=/opt/source-code/app2.py true\n",
            ),
            build(
                "FROM base\nRUN echo packages >/packages && echo python >/python\nRUN echo flask >/flask\nCOPY . /opt/source-code\n\
                 ENTRYPOINT FLASK_APP=/opt/source-code/app.py true\n",
            )
            .cached(&[(PACKAGES, false), (FLASK, false)]),
            run("image inspect made").keeps(&[
                ("/0/RootFS/Layers/0", "base"),
                ("/0/RootFS/Layers/1", "packages"),
                ("/0/RootFS/Layers/2", "flask"),
                ("/0/RootFS/Layers/3", "first"),
            ]),
            build_with("-f {dir}/src/second").cached(&[
                (PACKAGES, true),
                (FLASK, true),
                ("COPY app2.py /opt/source-code", false),
            ]),
            run("image inspect made")
                .json(&[
                    ("/0/RootFS/Layers/0", "{base}"),
                    ("/0/RootFS/Layers/1", "{packages}"),
                    ("/0/RootFS/Layers/2", "{flask}"),
                ])
                .without(&["{first}"]),
            run("run --rm --entrypoint cat made /opt/source-code").prints("2"),
        ],
        ..super::BASE
    },
    Case {
        id: "build/a-damaged-layer-is-built-again",
        spec: "A step whose layer is damaged is run again, and the image is whole.",
        see: &["docs.docker.com, Docker build cache"],
        catalogue: &["S14"],
        impact: Impact::DataLoss,
        run: Some(a_damaged_layer),
        ..super::BASE
    },
    Case {
        id: "build/two-builds-at-once-share-their-steps",
        spec: "Of two builds of one file at the same time one runs a step and the other waits for it, and both give the same image.",
        see: &["docs.docker.com, Docker build cache"],
        catalogue: &["S14"],
        impact: Impact::Performance,
        run: Some(two_builds_at_once),
        ..super::BASE
    },
    Case {
        id: "build/prune-takes-what-no-image-needs",
        spec: "Builder prune removes what no image needs and tells how much that was, with --all every step, and images stay whole.",
        see: &["docs.docker.com, docker builder prune"],
        catalogue: &["S14"],
        impact: Impact::DataLoss,
        program: &[
            build("RUN echo old >/old\nRUN --mount=type=cache,target=/c echo x >/c/f\n"),
            build("RUN echo new >/new\n"),
            run("system df").with(&["Build Cache"]),
            run("builder prune").fails(1, &["--force"]),
            run("image prune -f"),
            run("builder prune -f")
                .with(&["Total reclaimed space: "])
                .without(&["space: 0 B"]),
            run("run --rm made cat /new").prints("new"),
            build("RUN echo new >/new\n").cached(&[("RUN echo new >/new", true)]),
            run("builder prune -af"),
            run("run --rm made cat /new").prints("new"),
            build("RUN echo new >/new\n").cached(&[("RUN echo new >/new", false)]),
            nothing_left(),
        ],
        ..super::BASE
    },
    Case {
        id: "build/a-cache-goes-to-another-root",
        spec: "Steps that --cache-to wrote to a directory are taken by --cache-from where there are none; what is damaged there is built.",
        see: &["docs.docker.com, Cache storage backends, local"],
        catalogue: &["S14"],
        impact: Impact::DataLoss,
        run: Some(a_cache_goes_to_another_root),
        ..super::BASE
    },
    Case {
        id: "build/a-cache-goes-through-a-registry",
        spec: "Steps that --cache-to pushed to a registry are taken by --cache-from where there are none; a registry without them, or without an answer, is told and built without.",
        see: &["docs.docker.com, Cache storage backends, registry"],
        catalogue: &["S14"],
        impact: Impact::Performance,
        needs: &[Need::Program("docker-registry")],
        program: &[
            registry(&[]),
            file("src/src/f", "1"),
            file("src/Dockerfile", FILE),
            build_with("--tls-verify=false --cache-to type=registry,ref={registry}/cache:1")
                .cached(&[(ONE, false), (COPY, false), (TWO, false)])
                .saves("id"),
            run("rmi made"),
            run("builder prune -af"),
            build_with("--tls-verify=false --cache-from type=registry,ref={registry}/cache:1")
                .cached(&[(ONE, true), (COPY, true), (TWO, true)])
                .prints("{id}"),
            run("run --rm made cat /one /two").prints("one\n1"),
            run("rmi made"),
            run("builder prune -af"),
            build_with("--tls-verify=false --cache-from type=registry,ref={registry}/none:1")
                .cached(&[(ONE, false), (COPY, false), (TWO, false)])
                .tells(&["none:1"]),
            run("rmi made"),
            run("builder prune -af"),
            stop_registry(),
            build_with("--tls-verify=false --cache-from type=registry,ref={registry}/cache:1")
                .cached(&[(ONE, false), (COPY, false), (TWO, false)])
                .tells(&["cache:1"]),
            nothing_left(),
        ],
        ..super::BASE
    },
    Case {
        id: "build/advice-names-the-step-to-move",
        spec: "After a change of a source, --advise names the step below its COPY that does not need it, and no step that does.",
        see: &["docs.docker.com, Optimize cache usage in builds, Order your layers"],
        catalogue: &["S15"],
        impact: Impact::Performance,
        program: &[
            file("src/src/f", "1"),
            build("FROM base\nCOPY src /src\nRUN echo one >/one\nRUN cat /src/f >/two\n"),
            file("src/src/f", "2"),
            build_with("--advise")
                .tells(&["move line 3 above line 2"])
                .without(&["move line 4"]),
        ],
        ..super::BASE
    },
];

const FILE: &str = "FROM base\nRUN echo one >/one\nCOPY src /src\nRUN cat /src/f >/two\n";
/// Steps that two files share.
const PACKAGES: &str = "RUN echo packages >/packages && echo python >/python";
const FLASK: &str = "RUN echo flask >/flask";

const ONE: &str = "RUN echo one >/one";
const COPY: &str = "COPY src /src";
const TWO: &str = "RUN cat /src/f >/two";
const V: &str = "RUN echo $V >/two";
const X: &str = "RUN echo $X >/three";

fn a_damaged_layer(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[("Dockerfile", FILE), ("src/f", "1")])?;
    let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1000000000"];
    let first = sources.build(&product, &epoch)?.id()?;
    let copied = text(&inspect(&product, "made")?, "/Layers/2/blob")?;
    let file = product.root().join("blobs").join(copied.replace(':', "/"));
    cowlab_sys::io("unlink", &file, fs::remove_file(&file))?;
    product.ok(&["rmi", "-f", "made"])?;
    let again = sources.build(&product, &epoch)?.id()?;
    expect("id", "after a lost blob", &first, &again)?;
    nothing_is_left(&product)?;
    let top = text(&inspect(&product, "made")?, "/Layers/3/chain_id")?;
    let layer = product.json(&["layer", "show", &top])?;
    // A layer on a device or a data set of its own has no directory here, in which a file could be lost.
    let dir = ["/data/LowerDirs/0", "/data/Directory"]
        .iter()
        .find_map(|at| layer.pointer(at)?.as_str());
    let Some(dir) = dir else { return Ok(()) };
    let file = std::path::Path::new(dir).join("two");
    match fs::remove_file(&file) {
        // What the driver keeps read-only nobody damages in this way.
        Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => return Ok(()),
        removed => cowlab_sys::io("unlink", &file, removed)?,
    }
    product.ok(&["rmi", "-f", "made"])?;
    product.run(&["system", "check", "--repair"])?;
    let again = sources.build(&product, &epoch)?.id()?;
    expect("id", "after a lost file", &first, &again)?;
    prints(&product, &["cat", "/src/f", "/two"], "11")?;
    nothing_is_left(&product)
}

fn two_builds_at_once(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let file = "FROM base\nRUN sleep 2; echo one >/one\nRUN echo two >/two\n";
    let sources = Sources::new(context, "src", &[("Dockerfile", file)])?;
    let script = format!(
        r#"build() {{ "$COWLAB" build --progress plain "{}" 2>"$1.err" >"$1.out"; }}
           cd "{}"; build a & first=$!; build b; second=$?; wait $first && exit $second"#,
        sources.dir.display(),
        context.dir().display()
    );
    product.script(&script)?.ok()?;
    let read = |name: &str| -> Result<String> { Ok(fs::read_to_string(context.dir().join(name))?) };
    expect("id", "of both", read("a.out")?, read("b.out")?)?;
    let told = format!("{}{}", read("a.err")?, read("b.err")?);
    let count = |word: &str| told.lines().filter(|line| line.ends_with(word)).count();
    expect("steps", "from the cache", 2, count(" CACHED"))?;
    nothing_is_left(&product)
}

fn a_cache_goes_to_another_root(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[("Dockerfile", FILE), ("src/f", "1")])?;
    let dir = context.dir().join("cache");
    let (to, from) = (
        format!("type=local,dest={}", dir.display()),
        format!("type=local,src={}", dir.display()),
    );
    let all = |is_cached| [(ONE, is_cached), (COPY, is_cached), (TWO, is_cached)];
    let forget = || forget(&product);
    let first = sources
        .build(&product, &["--cache-to", &to])?
        .steps(&all(false))?;
    forget()?;
    let second = sources
        .build(&product, &["--cache-from", &from])?
        .steps(&all(true))?;
    expect("id", "of the build from the cache", first, second)?;
    prints(&product, &["cat", "/one", "/two"], "one\n1")?;
    forget()?;
    for entry in fs::read_dir(dir.join("blobs/sha256"))? {
        let blob = entry?;
        // The documents are text.
        if fs::read(blob.path())?.starts_with(b"\x1f\x8b") {
            fs::write(blob.path(), "damaged")?;
        }
    }
    let damaged = sources.build(&product, &["--cache-from", &from])?;
    let told = damaged.ran.err.matches("is not used for a step").count();
    // The steps after it are other ones, on what is built anew.
    expect("the first damaged step", "told of", 1, told)?;
    damaged.steps(&all(false))?;
    prints(&product, &["cat", "/one", "/two"], "one\n1")?;
    sources
        .build(&product, &["--cache-from", "type=s3,bucket=x"])?
        .refused(2, "bucket")?;
    nothing_is_left(&product)
}

/// Removes the image and every step that was built.
fn forget(product: &Product) -> Result<()> {
    product.run(&["rmi", "made"])?.ok()?;
    product.run(&["builder", "prune", "-af"])?.ok().map(drop)
}
