//! Builds of real images in roots of their own, as root: containers need the privilege. Elsewhere these tests are skipped.
//!
//! This program is the monitor of its containers as well.

#![expect(
    clippy::unwrap_used,
    reason = "what is not as it should be fails the test"
)]

mod basics;
mod fixture;
mod keeping;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let words: Vec<_> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == "monitor") {
        fixture::monitor(&words[2..]);
        return;
    }
    if words.get(1).is_some_and(|word| word == "build") {
        fixture::build_in_child(&words[2..]);
        return;
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for driver in ["overlay2", "vfs"] {
        for (name, test) in basics::ALL.iter().chain(keeping::ALL) {
            let run = move || {
                test(&fixture::Fixture::new(driver));
                Ok(())
            };
            let can = cowlab_sys::user_namespace::is_host_root()
                && std::path::Path::new(fixture::BUSYBOX).exists();
            trials.push(Trial::test(format!("{driver}::{name}"), run).with_ignored_flag(!can));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
