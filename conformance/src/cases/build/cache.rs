//! What the build cache has, and what makes a step run again.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::context::Result;
use crate::prelude::*;
use crate::product::Product;
use crate::product::registry::Registry;
use crate::support::build::{Sources, nothing_is_left, prints};
use crate::support::program::{INSECURE, inspect, text, texts};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "build/a-second-build-runs-nothing",
        spec: "A build of what was built before takes every step from the cache and gives the same image, and --no-cache runs every step.",
        see: &["docs.docker.com, Docker build cache"],
        catalogue: &["S14"],
        impact: Impact::Performance,
        run: Some(a_second_build_runs_nothing),
        ..super::BASE
    },
    Case {
        id: "build/a-changed-source-is-built-from-there",
        spec: "A source whose content or mode changed is copied again and what follows runs, and one whose times changed is not.",
        see: &["docs.docker.com, Build cache invalidation"],
        catalogue: &["S14", "S15"],
        impact: Impact::DataLoss,
        run: Some(a_changed_source),
        ..super::BASE
    },
    Case {
        id: "build/a-changed-instruction-is-built-from-there",
        spec: "An instruction, an argument that it sees or the image below it that changed has the step run, and an argument that it does not see has not.",
        see: &["docs.docker.com, Build cache invalidation"],
        catalogue: &["S14"],
        impact: Impact::DataLoss,
        run: Some(a_changed_instruction),
        ..super::BASE
    },
    Case {
        id: "build/two-files-share-their-first-steps",
        spec: "Two Dockerfiles whose first three steps are equal share them, and only what follows is built.",
        see: &["docs.docker.com, storage drivers, Sharing promotes smaller images"],
        catalogue: &["S14"],
        impact: Impact::Performance,
        run: Some(two_files_share),
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
        run: Some(prune_takes_what_no_image_needs),
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
        run: Some(a_cache_goes_through_a_registry),
        ..super::BASE
    },
    Case {
        id: "build/advice-names-the-step-to-move",
        spec: "After a change of a source, --advise names the step below its COPY that does not need it, and no step that does.",
        see: &["docs.docker.com, Optimize cache usage in builds, Order your layers"],
        catalogue: &["S15"],
        impact: Impact::Performance,
        run: Some(advice_names_the_step_to_move),
        ..super::BASE
    },
];

const FILE: &str = "FROM base\nRUN echo one >/one\nCOPY src /src\nRUN cat /src/f >/two\n";
const ONE: &str = "RUN echo one >/one";
const COPY: &str = "COPY src /src";
const TWO: &str = "RUN cat /src/f >/two";

fn a_second_build_runs_nothing(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[("Dockerfile", FILE), ("src/f", "1")])?;
    let all = |is_cached| [(ONE, is_cached), (COPY, is_cached), (TWO, is_cached)];
    let first = sources.build(&product, &[])?.steps(&all(false))?;
    let second = sources.build(&product, &[])?.steps(&all(true))?;
    expect("id", "of the second build", &first, &second)?;
    sources
        .build(&product, &["--no-cache"])?
        .steps(&all(false))?;
    prints(&product, &["cat", "/one", "/two"], "one\n1")?;
    nothing_is_left(&product)
}

fn a_changed_source(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[("Dockerfile", FILE), ("src/f", "1")])?;
    let from_copy = |is_cached| [(ONE, true), (COPY, is_cached), (TWO, is_cached)];
    let first = sources.build(&product, &[])?.id()?;
    let file = sources.path("src/f");
    cowlab_sys::io(
        "utimensat",
        &file,
        fs::File::open(&file)?.set_modified(std::time::UNIX_EPOCH),
    )?;
    sources.build(&product, &[])?.steps(&from_copy(true))?;
    sources.write("src/f", "2")?;
    sources.build(&product, &[])?.steps(&from_copy(false))?;
    prints(&product, &["cat", "/two"], "2")?;
    sources.write("src/f", "1")?;
    let again = sources.build(&product, &[])?.steps(&from_copy(true))?;
    expect("id", "with the old content", &first, &again)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640))?;
    sources.build(&product, &[])?.steps(&from_copy(false))?;
    prints(&product, &["stat", "-c", "%a", "/src/f"], "640")?;
    sources.write("src/g", "new")?;
    sources.build(&product, &[])?.steps(&from_copy(false))?;
    fs::rename(sources.path("src/g"), sources.path("src/h"))?;
    sources.build(&product, &[])?.steps(&from_copy(false))?;
    // What is not copied is nobody's business.
    sources.write("other", "x")?;
    sources
        .build(&product, &[])?
        .steps(&from_copy(true))
        .map(drop)
}

fn a_changed_instruction(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[])?;
    let file = "RUN echo one >/one\nARG V=1\nRUN echo $V >/two\nENV X=1\nRUN echo $X >/three\n";
    sources.made(&product, file)?.id()?;
    let (one, two, three) = (ONE, "RUN echo $V >/two", "RUN echo $X >/three");
    sources.build(&product, &["--build-arg", "V=2"])?.steps(&[
        (one, true),
        (two, false),
        (three, false),
    ])?;
    prints(&product, &["cat", "/two"], "2")?;
    sources
        .made(&product, &file.replace("X=1", "X=2"))?
        .steps(&[(one, true), (two, true), (three, false)])?;
    prints(&product, &["cat", "/three"], "2")?;
    sources
        .build(&product, &["--build-arg", "http_proxy=http://127.0.0.1:9"])?
        .steps(&[(one, true), (two, true), (three, true)])?;
    let changed = file.replace("echo one", "echo ONE");
    sources.made(&product, &changed)?.steps(&[
        ("RUN echo ONE >/one", false),
        (two, false),
        (three, false),
    ])?;
    product.ok(&["run", "--name", "con", "base", "touch", "/new"])?;
    product.ok(&["commit", "con", "base"])?;
    sources
        .made(&product, file)?
        .steps(&[(one, false), (two, false)])?;
    prints(&product, &["ls", "/new"], "/new")
}

/// The two files of the texts that the project began with, for a base without a network.
fn two_files_share(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let file = |copy: &str, app: &str| {
        format!(
            "FROM base\nRUN echo packages >/packages && echo python >/python\nRUN echo flask >/flask\n{copy}\nENTRYPOINT FLASK_APP={app} true\n"
        )
    };
    let sources = Sources::new(context, "src", &[("app.py", "1"), ("app2.py", "2")])?;
    sources.write(
        "Dockerfile",
        file("COPY . /opt/source-code", "/opt/source-code/app.py"),
    )?;
    sources.write(
        "second",
        file("COPY app2.py /opt/source-code", "/opt/source-code/app2.py"),
    )?;
    let shared = [
        "RUN echo packages >/packages && echo python >/python",
        "RUN echo flask >/flask",
    ];
    let steps = |is_cached| [(shared[0], is_cached), (shared[1], is_cached)];
    sources.build(&product, &[])?.steps(&steps(false))?;
    let first = texts(&inspect(&product, "made")?, "/RootFS/Layers")?;
    let path = sources.path("second").display().to_string();
    let second = sources.build(&product, &["-f", &path])?;
    expect(
        "COPY",
        "cached",
        "false",
        &second.is_cached("COPY app2.py /opt/source-code")?,
    )?;
    second.steps(&steps(true))?;
    let second = texts(&inspect(&product, "made")?, "/RootFS/Layers")?;
    expect(
        "layers",
        "shared",
        first[..3].join(" "),
        second[..3].join(" "),
    )?;
    expect("layers", "of their own", false, first[3] == second[3])?;
    let file = product.ok(&[
        "run",
        "--rm",
        "--entrypoint",
        "cat",
        "made",
        "/opt/source-code",
    ])?;
    expect("/opt/source-code", "content", "2", &file)
}

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

fn prune_takes_what_no_image_needs(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[])?;
    let mount = "RUN --mount=type=cache,target=/c echo x >/c/f";
    sources
        .made(&product, &format!("RUN echo old >/old\n{mount}\n"))?
        .id()?;
    sources.made(&product, "RUN echo new >/new\n")?.id()?;
    let listed = product.ok(&["system", "df"])?;
    expect("system df", "a row", true, listed.contains("Build Cache"))?;
    product.run(&["builder", "prune"])?.refused(1, "--force")?;
    product.ok(&["image", "prune", "-f"])?;
    let told = product.ok(&["builder", "prune", "-f"])?;
    let last = told.lines().last().unwrap_or_default();
    expect(
        "prune",
        "the last line",
        true,
        last.starts_with("Total reclaimed space: "),
    )?;
    expect("prune", "reclaimed", false, last.ends_with(": 0 B"))?;
    prints(&product, &["cat", "/new"], "new")?;
    sources
        .made(&product, "RUN echo new >/new\n")?
        .steps(&[("RUN echo new >/new", true)])?;
    product.ok(&["builder", "prune", "-af"])?;
    prints(&product, &["cat", "/new"], "new")?;
    sources
        .made(&product, "RUN echo new >/new\n")?
        .steps(&[("RUN echo new >/new", false)])?;
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

fn a_cache_goes_through_a_registry(context: &mut Context) -> Result<()> {
    let registry = Registry::start(&context.dir().join("registry"))?;
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[("Dockerfile", FILE), ("src/f", "1")])?;
    let cache = |name: &str| format!("type=registry,ref={}", registry.name(name));
    let (kept, none) = (cache("cache:1"), cache("none:1"));
    let all = |is_cached| [(ONE, is_cached), (COPY, is_cached), (TWO, is_cached)];
    let first = sources
        .build(&product, &[INSECURE, "--cache-to", &kept])?
        .steps(&all(false))?;
    forget(&product)?;
    let second = sources
        .build(&product, &[INSECURE, "--cache-from", &kept])?
        .steps(&all(true))?;
    expect("id", "of the build from the cache", first, second)?;
    prints(&product, &["cat", "/one", "/two"], "one\n1")?;
    forget(&product)?;
    let without = sources.build(&product, &[INSECURE, "--cache-from", &none])?;
    expect("none:1", "told", true, without.ran.err.contains("none:1"))?;
    without.steps(&all(false))?;
    forget(&product)?;
    registry.stop()?;
    let silent = sources.build(&product, &[INSECURE, "--cache-from", &kept])?;
    expect("cache:1", "told", true, silent.ran.err.contains("cache:1"))?;
    silent.steps(&all(false))?;
    nothing_is_left(&product)
}

fn advice_names_the_step_to_move(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let sources = Sources::new(context, "src", &[("Dockerfile", FILE), ("src/f", "1")])?;
    let moved = format!("FROM base\n{COPY}\n{ONE}\n{TWO}\n");
    sources.write("Dockerfile", &moved)?;
    sources.build(&product, &[])?.id()?;
    sources.write("src/f", "2")?;
    let build = sources.build(&product, &["--advise"])?;
    let told = |text: &str| build.ran.err.contains(text).to_string();
    expect(
        "line 3",
        "is to move",
        "true".to_owned(),
        told("move line 3 above line 2"),
    )?;
    expect(
        "line 4",
        "is to move",
        "false".to_owned(),
        told("move line 4"),
    )?;
    build.id().map(drop)
}
