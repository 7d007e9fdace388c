//! `cowlab guest build`.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use cowlab_guest::{Build, Built, Cache, Error, Image, Release};
use indicatif::{ProgressBar, ProgressStyle};

use super::list::say;
use crate::exit;

pub(super) const EXAMPLES: &str = "\
Examples:
  cowlab guest build
  cowlab guest build --release sid --mirror http://deb.debian.org/debian

Packages are unpacked in TMPDIR (default /var/tmp), which needs 2 GiB; the image takes 150 MB of
$XDG_CACHE_HOME/cowlab/guest (default ~/.cache). Needs root, or subordinate user ids (`man subuid`).";

#[derive(Debug, clap::Args)]
pub(super) struct BuildArgs {
    /// The Debian release, which picks kernel and ZFS together; without it the newest that can be built and starts, and never sid.
    #[arg(long, value_name = "RELEASE")]
    release: Option<Release>,
    /// The mirror of Debian to take packages from. Without it the mirror of this host, which must then be a Debian.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Do nothing where the cache has an image already, however old; without it the mirror is asked for newer packages.
    #[arg(long)]
    if_missing: bool,
}

/// Builds an image and starts it once; where nobody named a release, the next older one follows one that fails.
pub(super) fn run(args: &BuildArgs) -> anyhow::Result<u8> {
    let cache = Cache::open()?;
    // An image that cannot be used, of an older format perhaps, is as good as none.
    if args.if_missing
        && let Ok(Some(image)) = cache.find(args.release)
    {
        return say(&image, "in the cache already");
    }
    cowlab_sys::interrupt::watch()?;
    let candidates = args
        .release
        .map_or_else(|| Release::CANDIDATES.to_vec(), |release| vec![release]);
    let mut steps = Steps::new();
    for (index, release) in candidates.iter().enumerate() {
        let order = Build {
            release: *release,
            mirror: args.mirror.clone(),
        };
        let made = make(&order, &cache, &mut steps);
        steps.end();
        match made {
            Ok((image, word)) => {
                for name in cache.prune()? {
                    writeln!(std::io::stderr(), "removed the older {name}")?;
                }
                let took = steps.elapsed().as_secs();
                return say(&image, &format!("{word}, {took} s"));
            }
            Err(error) if another_may_do(&error) && index + 1 < candidates.len() => {
                writeln!(
                    std::io::stderr(),
                    "cowlab: {error}; the next older release is tried"
                )?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(exit::FINDING)
}

/// Builds one release's image and sees it start.
fn make(order: &Build, cache: &Cache, steps: &mut Steps) -> Result<(Image, &'static str), Error> {
    let (image, word) = match order.run(cache, &mut |step| steps.step(step))? {
        Built::New(image) => (image, "built"),
        Built::Cached(image) => (image, "in the cache already"),
    };
    if cache.preferred()?.is_some_and(|it| it.dir == image.dir) {
        return Ok((image, word));
    }
    steps.step("start it once");
    match image.try_out() {
        Ok(_) => cache.prefer(&image)?,
        // An image may be built where none is run.
        Err(Error::Sys(cowlab_sys::Error::MissingProgram { .. })) => {}
        Err(error) => return Err(error),
    }
    Ok((image, word))
}

/// Whether an older release may do where one failed like this: its packages fit together, its ZFS compiles with its kernel,
/// its kernel boots here.
const fn another_may_do(error: &Error) -> bool {
    match error {
        Error::NotInstallable { .. } | Error::Build { .. } | Error::Damaged { .. } => true,
        Error::Lost(lost) => !matches!(lost.cause, cowlab_guest::Cause::Interrupted),
        _ => false,
    }
}

/// What a build does at the moment: a line that turns on a terminal, a line a step elsewhere.
struct Steps {
    begun: Instant,
    bar: Option<ProgressBar>,
}

impl Steps {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            bar: None,
        }
    }

    fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    fn step(&mut self, text: &str) {
        if !std::io::stderr().is_terminal() {
            let line = format!("{:>4} s  {text}", self.elapsed().as_secs());
            if writeln!(std::io::stderr(), "{line}").is_err() {
                tracing::debug!(text, "nobody reads the progress");
            }
            return;
        }
        self.bar
            .get_or_insert_with(turning)
            .set_message(text.to_owned());
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn turning() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_release_follows_what_is_the_fault_of_a_release() {
        let build = Error::Build {
            release: Release::Trixie,
            reason: "no".into(),
            log: "/log".into(),
        };
        assert!(another_may_do(&build));
        assert!(!another_may_do(&Error::NoMirror));
        assert!(!another_may_do(&Error::Interrupted));
    }
}
