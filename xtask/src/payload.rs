//! Builds cowlab for the guest: against the libraries of the guest's release, in a target directory of its own.
//!
//! So what happens to be installed on this host changes neither build: the host's has no feature that needs ZFS, and the guest's takes headers and libraries from the image's sysroot alone.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use cowlab_guest::{Cache, Image, Machine, ready};
use cowlab_sys::Cmd;

use crate::exit::{self, Refusal};
use crate::ordinary;
use crate::program::{self, Programs};
use crate::setup::{self, Consent, Purpose};

/// What the guest runs on. QEMU emulates this processor on every host.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The driver that needs libraries of the release.
const FEATURES: &str = "zfs";
/// The same, and what plants faults: nobody but a test runs this program.
const PROGRAM_FEATURES: &str = "zfs,faults";
/// The packages with these features.
const LINTED: [&str; 2] = ["cowlab-zfs", "cowlab"];
/// Those of them whose unit tests need the features.
const TESTED: [&str; 1] = ["cowlab-zfs"];
/// The longest that unit tests may take in the guest.
const TEST_TIME: Duration = Duration::from_secs(300);

/// Builds programs for the guest that runs when no command names a release, and returns where `cowlab` lies. Without an image
/// there is nothing to build, and whoever needs the guest says how to get one.
pub(crate) fn build(programs: Programs, consent: Consent) -> anyhow::Result<Option<PathBuf>> {
    let Some(image) = Cache::open()?.find(ready::chosen_release()?)? else {
        return Ok(None);
    };
    setup::ensure(&[Purpose::GuestRun, Purpose::GuestProgram], consent)?;
    let target = program::target_directory()?.join("guest");
    let cargo = programs
        .cargo_build()
        .args(["--features", PROGRAM_FEATURES]);
    let cargo = for_guest(cargo, &sysroot(&image, &target)?, &target);
    if cargo.status_inherit()? != 0 {
        let message = format!("failed to build cowlab for the guest: `{cargo}` failed");
        return Err(Refusal::new(exit::FINDING, message).into());
    }
    Ok(Some(target.join(TARGET).join("release/cowlab")))
}

/// Lints the drivers that are not in the host's build, and returns the exit code.
pub(crate) fn lint() -> anyhow::Result<u8> {
    let image = image()?;
    let target = program::target_directory()?.join("guest");
    let cargo = Cmd::new("cargo").args(["clippy", "--all-targets"]);
    let cargo = cargo.args(packages(&LINTED)).args(["--features", FEATURES]);
    let cargo = for_guest(cargo, &sysroot(&image, &target)?, &target);
    let cargo = cargo.args(["--", "-D", "warnings"]);
    Ok(match cargo.status_inherit()? {
        0 => 0,
        _ => exit::FINDING,
    })
}

/// Runs the unit tests of these drivers in the guest, whose libraries they are linked with, and returns the exit code.
pub(crate) fn test() -> anyhow::Result<u8> {
    let image = image()?;
    let target = program::target_directory()?.join("guest");
    let cargo = Cmd::new("cargo").args(["test", "--lib", "--no-run", "--quiet"]);
    let cargo = cargo.arg("--message-format=json").args(packages(&TESTED));
    let cargo = cargo.args(["--features", FEATURES]);
    let cargo = for_guest(cargo, &sysroot(&image, &target)?, &target);
    let programs = ordinary::test_programs(&cargo.read()?)?;
    let mut machine = Machine::new(image);
    machine.time_limit = TEST_TIME;
    let script = r#"for test; do "$test" || failed=1; done; exit "${failed:-0}""#;
    machine.command = ["sh", "-c", script, "sh"].map(Into::into).into();
    for program in programs {
        let name = program.executable.file_name().unwrap_or_default();
        let place = Path::new("/usr/local/bin").join(name);
        machine.command.push(place.clone().into());
        machine.payload.push((program.executable, place));
    }
    let ended = machine.run(&mut std::io::stdout(), &mut std::io::stderr())?;
    Ok(match ended.code {
        0 => 0,
        _ => exit::FINDING,
    })
}

fn image() -> anyhow::Result<Image> {
    let image = Cache::open()?.find(ready::chosen_release()?)?;
    let message = "there is no image to build against: make one with `cargo xtask guest build`";
    Ok(image.ok_or_else(|| Refusal::new(exit::MISSING, message))?)
}

fn packages<'a>(names: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    names.iter().flat_map(|package| ["--package", *package])
}

/// Gives the image's sysroot a name that outlives the image: to cargo another path is another build of everything, but
/// the libraries of one Debian release stay compatible.
fn sysroot(image: &Image, target: &Path) -> anyhow::Result<PathBuf> {
    let link = target.join(format!("sysroot-{}", image.manifest.release));
    let aim = image.sysroot();
    if fs::read_link(&link).is_ok_and(|known| known == aim) {
        return Ok(link);
    }
    fs::create_dir_all(target)?;
    let new = link.with_extension(format!("{}.new", std::process::id()));
    symlink(&aim, &new)
        .and_then(|()| fs::rename(&new, &link))
        .with_context(|| format!("failed to make the link `{}`", link.display()))?;
    Ok(link)
}

/// Tells `program` where the build for the guest lies.
pub(crate) fn name_to(program: Cmd, payload: Option<&Path>) -> Cmd {
    match payload {
        Some(path) => program.env(ready::PAYLOAD_VARIABLE, path),
        None => program,
    }
}

/// Has cargo build for the guest.
fn for_guest(cargo: Cmd, sysroot: &Path, target: &Path) -> Cmd {
    let root = sysroot.display();
    let option = format!("--sysroot={root}");
    let libraries = format!("{root}/usr/lib/x86_64-linux-gnu/pkgconfig:{root}/usr/share/pkgconfig");
    cargo
        .args(["--target", TARGET, "--target-dir"])
        .arg(target)
        // With --target these do not reach build scripts, which run on the host.
        .env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            format!("-Clink-arg={option}"),
        )
        .env("CFLAGS_x86_64_unknown_linux_gnu", &option)
        .env("BINDGEN_EXTRA_CLANG_ARGS", &option)
        .env("PKG_CONFIG_ALLOW_CROSS", "1")
        .env("PKG_CONFIG_SYSROOT_DIR", sysroot.as_os_str())
        .env("PKG_CONFIG_LIBDIR", libraries)
}
