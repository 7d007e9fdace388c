//! `cowlab guest build`.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use cowlab_guest::{Cache, Progress, Release};
use indicatif::{ProgressBar, ProgressStyle};

use super::list::say;

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

/// Builds an image and starts it once, and prints what became of it.
pub(super) fn run(args: &BuildArgs) -> anyhow::Result<u8> {
    let cache = Cache::open()?;
    // An image that cannot be used, of an older format perhaps, is as good as none.
    if args.if_missing
        && let Ok(Some(image)) = cache.find(args.release)
    {
        return say(&image, "in the cache already");
    }
    cowlab_sys::interrupt::watch()?;
    let mut steps = Steps::new();
    let provided =
        cache.provide(
            args.release,
            args.mirror.as_deref(),
            &mut |progress| match progress {
                Progress::Step(text) => steps.step(text),
                Progress::Failed(error) => {
                    steps.end();
                    print(&format!("cowlab: {error}; the next older release is tried"));
                }
            },
        );
    steps.end();
    let provided = provided?;
    for name in &provided.removed {
        print(&format!("removed the older {name}"));
    }
    let word = match provided.is_new {
        true => "built",
        false => "in the cache already",
    };
    let took = steps.elapsed().as_secs();
    say(&provided.image, &format!("{word}, {took} s"))
}

/// Prints one line of progress.
fn print(line: &str) {
    if writeln!(std::io::stderr(), "{line}").is_err() {
        tracing::debug!(line, "nobody reads the progress");
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
            print(&format!("{:>4} s  {text}", self.elapsed().as_secs()));
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
