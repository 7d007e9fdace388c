//! Builds that are interrupted, and hosts that are in the way.

use std::fs;

use super::{Sources, nothing_is_left, prints};
use crate::context::Result;
use crate::prelude::*;
use crate::product::{Product, until};

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
    let product = Product::narrow(context)?;
    let sources = Sources::new(context, "src", &[])?;
    let fill = "RUN echo one >/one\nRUN dd if=/dev/zero of=/big bs=1M count=4000\n";
    let full = sources.made(&product, fill)?;
    expect("build", "with no room", false, full.ran.code == 0)?;
    sources
        .made(&product, "RUN echo one >/one\nRUN echo two >/two\n")?
        .steps(&[("RUN echo one >/one", true)])?;
    prints(&product, &["cat", "/one", "/two"], "one\ntwo")?;
    // What could not be removed without room is removed by the next prune.
    until("nothing of the failed build is left", || {
        product.ok(&["system", "prune"])?;
        Ok(nothing_is_left(&product).is_ok())
    })?;
    nothing_is_left(&product)
}
