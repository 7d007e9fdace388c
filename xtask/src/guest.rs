//! The guest of a first report: QEMU by the ordinary set-up, the image while the program compiles.

use std::ffi::OsString;
use std::time::Instant;

use cowlab_guest::{Cache, Error, Progress, ready};
use cowlab_sys::interrupt;

use crate::exit::Refusal;
use crate::setup::{self, Consent, Purpose};
use crate::terminal;

/// What a run in the guest and a new image need.
const NEEDS: &[Purpose] = &[Purpose::GuestRun, Purpose::GuestBuild];

/// Whether a command may bring the guest along: a report that does not leave it out, where packages may be installed without
/// a question. Which drivers this kernel lacks is not asked: only the program knows, and what may harm a kernel runs in the
/// guest anyway.
pub(crate) fn comes_along(verb: &str, arguments: &[OsString], consent: Consent) -> bool {
    verb == "report"
        && consent == Consent::Given
        && cfg!(target_arch = "x86_64")
        && !leaves_it_out(arguments)
}

fn leaves_it_out(arguments: &[OsString]) -> bool {
    let is = |word: &OsString, text: &str| word == text;
    let words = ["--no-guest", "--where=host", "--help", "-h", "--probes"];
    let mut pairs = arguments.windows(2);
    arguments
        .iter()
        .any(|word| words.iter().any(|text| is(word, text)))
        || pairs.any(|pair| is(&pair[0], "--where") && is(&pair[1], "host"))
}

/// Does `work` and makes an image meanwhile, where the cache has none. Without an image the work is worth as much.
pub(crate) fn meanwhile<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    if let Err(error) = setup::ensure(NEEDS, Consent::Given) {
        terminal::warning(&format!("it goes on without the guest: {error:#}"));
        return work();
    }
    if has_image() {
        return work();
    }
    // A build of an image ends with this process, but clears what it unpacked only if it is told.
    interrupt::watch()?;
    let done = std::thread::scope(|scope| {
        let image = scope.spawn(make_image);
        let done = work();
        if done.is_err() && !image.is_finished() {
            terminal::note("the image of the guest is finished first; Ctrl-C stops it");
        }
        done
    });
    if interrupt::requested() {
        return Err(Refusal::new(interrupt::EXIT_CODE, "interrupted").into());
    }
    done
}

/// Whether the cache has an image that runs; one of an older format is as good as none.
fn has_image() -> bool {
    ready::image(None).is_ok()
}

fn make_image() {
    let begun = Instant::now();
    let say = |text: &str| {
        let seconds = begun.elapsed().as_secs();
        terminal::note_over_bar(format_args!("{seconds:>4} s  guest: {text}"));
    };
    let made = ready::chosen_release().and_then(|release| {
        Cache::open()?.provide(release, None, &mut |progress| match progress {
            Progress::Step(text) => say(text),
            Progress::Failed(error) => say(&format!("{error}; the next older release is tried")),
        })
    });
    match made {
        Ok(provided) => say(&format!("{} is ready", provided.image.manifest.release)),
        // That it was interrupted is said by the task.
        Err(Error::Interrupted) => {}
        Err(error) => terminal::warning(&format!("it goes on without the guest: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_comes_with_a_report_that_may_install() {
        let asked = |line: &str, consent| {
            let arguments: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            comes_along("report", &arguments, consent)
        };
        assert_eq!(
            asked("--full --where auto", Consent::Given),
            cfg!(target_arch = "x86_64")
        );
        for line in ["--no-guest", "--where host", "--full --where=host", "-h"] {
            assert!(!asked(line, Consent::Given), "{line}");
        }
        assert!(!asked("", Consent::Ask) && !asked("", Consent::Refused));
        assert!(!comes_along("conformance", &[], Consent::Given));
    }
}
