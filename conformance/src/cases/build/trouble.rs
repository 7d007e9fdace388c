//! Builds that are interrupted, and hosts that are in the way.

use std::fs;

use crate::context::Result;
use crate::prelude::*;
use crate::product::{Product, until};
use crate::support::build::{Sources, nothing_is_left, prints};
use crate::support::program::closed_device;

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "build/a-killed-build-leaves-nothing",
        spec: "Of a build that was killed in a step nothing is left after a prune, and the next build goes on from the cache.",
        see: &["docs.docker.com, Docker build cache"],
        catalogue: &["S14"],
        impact: Impact::DataLoss,
        run: Some(a_killed_build),
        ..super::BASE
    },
    Case {
        id: "build/an-interrupted-build-ends-its-programs",
        spec: "A build that is interrupted ends the programs of its steps, takes their changes back and tells that it was interrupted.",
        see: &["docs.docker.com, docker buildx build"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        run: Some(an_interrupted_build),
        ..super::BASE
    },
    Case {
        id: "build/an-ordinary-user-builds",
        spec: "An ordinary user builds as root does, with owners that are those of the image, and leaves no mount behind.",
        see: &["user_namespaces(7)", "docs.docker.com, Rootless mode"],
        catalogue: &["S14"],
        impact: Impact::AppVisible,
        needs: &[Need::OrdinaryUsers],
        run: Some(an_ordinary_user_builds),
        ..super::BASE
    },
    Case {
        id: "build/a-full-disk-fails-one-build",
        spec: "A build for which there is no room fails and says so, keeps no half of a layer, and succeeds when there is room.",
        see: &["write(2), ENOSPC"],
        catalogue: &["S14"],
        impact: Impact::DataLoss,
        run: Some(a_full_disk),
        ..super::BASE
    },
];

fn a_killed_build(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let file = "FROM base\nRUN echo one >/one\nRUN echo two >/two; echo begun; sleep 100\n";
    let sources = Sources::new(context, "src", &[("Dockerfile", file)])?;
    let script = format!(
        r#"cd "{}"; "$COWLAB" build --progress plain "{}" >out 2>&1 & build=$!
           until grep -q '^#.* [0-9.]* begun$' out; do sleep 0.1; done
           kill -9 $build; wait $build; true"#,
        context.dir().display(),
        sources.dir.display()
    );
    product.script(&script)?.ok()?;
    sources
        .made(&product, &file.replace("; sleep 100", ""))?
        .steps(&[("RUN echo one >/one", true)])?;
    prints(&product, &["cat", "/one", "/two"], "one\ntwo")?;
    // The monitor ends the program when its build is gone; what the build had is then nobody's.
    until("nothing of the killed build is left", || {
        product.ok(&["system", "prune"])?;
        Ok(nothing_is_left(&product).is_ok())
    })?;
    nothing_is_left(&product)
}

fn an_interrupted_build(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let file = "FROM base\nRUN echo one >/one\nRUN echo two >/two; echo begun; sleep 987654\n";
    let sources = Sources::new(context, "src", &[("Dockerfile", file)])?;
    let script = format!(
        r#"cd "{}"; "$COWLAB" build --progress plain "{}" >out 2>&1 & build=$!
           until grep -q '^#.* [0-9.]* begun$' out; do sleep 0.1; done
           kill -TERM $build; wait $build"#,
        context.dir().display(),
        sources.dir.display()
    );
    product.script(&script)?.refused(130, "")?;
    nothing_is_left(&product)?;
    let is_running = fs::read_dir("/proc")?.filter_map(|entry| {
        let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(line.windows(6).any(|part| part == b"987654") && line.starts_with(b"sleep"))
    });
    expect(
        "sleep",
        "still running",
        false,
        is_running.into_iter().any(|is| is),
    )
}

fn a_full_disk(context: &mut Context) -> Result<()> {
    let product = Product::on_small_disk(context)?;
    let first = "FROM base\nRUN echo one >/one\n";
    let fill = format!("{first}RUN dd if=/dev/zero of=/big bs=1M count=4000\n");
    let fit = format!("{first}RUN echo two >/two\n");
    // Both are written while there is room: a file system may give back later what a failed build had.
    let files = [("fill", fill.as_str()), ("Dockerfile", fit.as_str())];
    let sources = Sources::new(context, "src", &files)?;
    let fill = sources.path("fill").display().to_string();
    let full = sources.build(&product, &["-f", &fill])?;
    expect("build", "with no room", false, full.ran.code == 0)?;
    let mut built = full;
    until("a build for which there is room goes well", || {
        built = sources.build(&product, &[])?;
        Ok(built.ran.code == 0)
    })?;
    built.steps(&[("RUN echo one >/one", true)])?;
    prints(&product, &["cat", "/one", "/two"], "one\ntwo")?;
    // What could not be removed without room is removed by the next prune.
    until("nothing of the failed build is left", || {
        product.ok(&["system", "prune"])?;
        Ok(nothing_is_left(&product).is_ok())
    })?;
    nothing_is_left(&product)
}

fn an_ordinary_user_builds(context: &mut Context) -> Result<()> {
    let before = cowlab_sys::mountinfo::read_self()?.len();
    let product = Product::of_an_ordinary_user(context)?;
    if context.entry().rootless.is_none() {
        return product.run(&["info"])?.refused(69, "is missing");
    }
    product.import_base()?;
    if closed_device(context.entry()).is_some() {
        let built = product.run_with(&["build", "-"], b"FROM base\nRUN true\n")?;
        return expect("build", "refused", false, built.code == 0);
    }
    let file = "FROM base\nENV V=1\nRUN id -u >/one; touch /two; chown 7:8 /two\n\
        RUN --mount=type=cache,target=/c echo $V >/c/f; cp /c/f /three\nUSER somebody\nWORKDIR /w\n\
        COPY --chown=9:10 <<E /four\nx\nE\n";
    let build = ["build", "--progress", "plain", "-t", "made", "-"];
    product.run_with(&build, file.as_bytes())?.ok()?;
    prints(&product, &["cat", "/one", "/three"], "0\n1")?;
    let owners = "7 8\n9 10\n1000 1000";
    prints(
        &product,
        &["stat", "-c", "%u %g", "/two", "/four", "/w"],
        owners,
    )?;
    let again = product.run_with(&build, file.as_bytes())?;
    let count = again.err.matches(" CACHED\n").count();
    again.ok()?;
    expect("steps", "from the cache", 4, count)?;
    product.says(&["ps", "-aq"], "")?;
    product.ok(&["system", "check"])?;
    let after = cowlab_sys::mountinfo::read_self()?.len();
    expect("mounts", "of the host", before, after)
}
