//! Builds an image: chooses the packages, has mmdebstrap unpack them into a builder, and runs the recipe in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cowlab_sys::{Cmd, interrupt, io, process};

use crate::apt::{Apt, complaints};
use crate::image::PARTS;
use crate::mirror::{self, Mirror};
use crate::temporary::Temporary;
use crate::{Cache, Error, FORMAT, Image, Manifest, Release, Result};
use crate::{digest, enclosed, owners, recipe, space, version};

/// What the unpacked packages and the compiled modules take, in bytes, with a quarter to spare.
const SCRATCH_BYTES: u64 = 2 << 30;
/// What an image takes in the cache while it is made, in bytes.
const CACHE_BYTES: u64 = 512 << 20;

/// An order to build an image.
#[derive(Clone, Debug)]
pub struct Build {
    /// The release to build.
    pub release: Release,
    /// The mirror of Debian; that of this host where none is named.
    pub mirror: Option<String>,
}

/// What became of a [`Build`].
#[derive(Clone, Debug)]
pub enum Built {
    /// The image was built.
    New(Image),
    /// The cache has what the same recipe made of the same packages.
    Cached(Image),
}

/// The packages that were chosen.
#[derive(Debug)]
struct Choice {
    kernel: String,
    zfs: String,
    packages: BTreeMap<String, String>,
}

impl Build {
    /// Builds the image unless the cache has it. `progress` is told each step.
    ///
    /// # Errors
    ///
    /// One of [`Error`]'s for what is missing on the host, the mirror, or the build itself. Nothing is left behind but the
    /// log of a failed build.
    pub fn run(&self, cache: &Cache, progress: &mut dyn FnMut(&str)) -> Result<Built> {
        check_host()?;
        let mirror = Mirror::choose(self.mirror.as_deref())?;
        let options = mirror::host_options()?;
        let mut temporary = cache.temporary()?;
        progress(&format!(
            "read the package lists of {} from {}",
            self.release, mirror.uri
        ));
        space::check(temporary.path(), CACHE_BYTES, "XDG_CACHE_HOME")?;
        let choice = self.choose(&temporary.path().join("apt"), &mirror, &options)?;
        let name = format!("{}-{}", self.release, recipe::key(&choice.packages));
        if let Some(image) = cache.image(&name)? {
            temporary.close()?;
            return Ok(Built::Cached(image));
        }
        owners::check()?;
        let _making = cache.lock_making(&name, || {
            progress("wait for another process that builds the same");
        })?;
        if let Some(image) = cache.image(&name)? {
            temporary.close()?;
            return Ok(Built::Cached(image));
        }
        let parts = self.make(&mut temporary, cache, &mirror, &options, &choice, progress)?;
        progress("put it into the cache");
        let manifest = self.manifest(&parts, choice)?;
        let image = cache.adopt(&parts, &manifest)?;
        temporary.close()?;
        Ok(Built::New(image))
    }

    fn choose(&self, dir: &Path, mirror: &Mirror, options: &str) -> Result<Choice> {
        let apt = Apt::at(dir, mirror, self.release, options)?;
        apt.update()?;
        let kernel = apt.newest_kernel()?;
        let packages = apt.closure(&recipe::packages(&kernel))?;
        let zfs = packages.get("zfs-dkms").map_or("", String::as_str);
        Ok(Choice {
            zfs: version::upstream(zfs).to_owned(),
            kernel,
            packages,
        })
    }

    /// Runs mmdebstrap and returns the directory with the image's parts.
    fn make(
        &self,
        temporary: &mut Temporary,
        cache: &Cache,
        mirror: &Mirror,
        options: &str,
        choice: &Choice,
        progress: &mut dyn FnMut(&str),
    ) -> Result<PathBuf> {
        let base =
            std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        space::check(&base, SCRATCH_BYTES, "TMPDIR")?;
        let scratch = temporary.scratch(&base)?;
        let place = temporary.path();
        write_recipe(&place.join("cowlab"), choice)?;
        write(&place.join("apt.conf"), options)?;
        let command = self
            .mmdebstrap(mirror, &choice.packages)
            .current_dir(place)
            .env("TMPDIR", &scratch);
        progress(&format!(
            "download and unpack {} packages",
            choice.packages.len()
        ));
        let log = place.join("log");
        let status = enclosed::run(&command, &log, progress)?;
        let parts = place.join("out");
        if status == 0 && PARTS.iter().all(|part| parts.join(part).exists()) {
            return Ok(parts);
        }
        // Ctrl-C reaches mmdebstrap too, which may have been faster than we.
        if interrupt::requested() {
            return Err(Error::Interrupted);
        }
        let kept = cache.root().join(format!("{}.log", self.release));
        io("rename", &kept, std::fs::rename(&log, &kept))?;
        let text = String::from_utf8_lossy(&io("read", &kept, std::fs::read(&kept))?).into_owned();
        Err(self.failure(mirror, &text, kept))
    }

    fn mmdebstrap(&self, mirror: &Mirror, packages: &BTreeMap<String, String>) -> Cmd {
        let include: Vec<String> = packages
            .iter()
            .map(|(name, version)| format!("{name}={version}"))
            .collect();
        let mode = if process::is_root() {
            "root"
        } else {
            "unshare"
        };
        // Debian 12's base-files leaves the links of merged /usr to the installer.
        let merge = r#"for d in bin sbin lib lib64; do mkdir -p "$1/usr/$d"; ln -sfn "usr/$d" "$1/$d"; done"#;
        enclosed::command("mmdebstrap")
            // Unpacked and not configured: nothing in it needs to run but the compiler, and it takes a third of the time.
            .args([
                "--variant=extract",
                "--format=null",
                "--architectures=amd64",
            ])
            .arg(format!("--mode={mode}"))
            .arg("--aptopt=apt.conf")
            .arg(format!("--include={}", include.join(",")))
            .arg(format!("--setup-hook={merge}"))
            .arg("--extract-hook=copy-in cowlab /")
            .arg(r#"--extract-hook=chroot "$1" /bin/sh /cowlab/build.sh"#)
            .arg("--extract-hook=copy-out /cowlab/out .")
            .args([self.release.suites()[0], "/dev/null"])
            .args(mirror.sources(self.release))
    }

    fn failure(&self, mirror: &Mirror, log: &str, kept: PathBuf) -> Error {
        let reason = complaints(log);
        // apt's words when the mirror stops answering, answers something else or lacks a file.
        let fetching = [
            "Failed to fetch",
            "Unable to fetch",
            "Hash Sum mismatch",
            "Unable to connect",
        ];
        if fetching.iter().any(|words| log.contains(words)) {
            let first = log.lines().find_map(|line| {
                fetching
                    .iter()
                    .any(|words| line.contains(words))
                    .then(|| line.trim_start_matches("E: ").trim().to_owned())
            });
            return Error::Mirror {
                mirror: mirror.uri.clone(),
                release: self.release,
                reason: first.unwrap_or(reason),
            };
        }
        Error::Build {
            release: self.release,
            reason: own_words(log).unwrap_or(reason),
            log: kept,
        }
    }

    fn manifest(&self, parts: &Path, choice: Choice) -> Result<Manifest> {
        let mut digests = BTreeMap::new();
        let mut bytes = 0;
        for part in PARTS {
            let sum = digest::of(&parts.join(part))?;
            bytes += sum.bytes;
            digests.insert(part.to_owned(), sum.sha256);
        }
        let created = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Ok(Manifest {
            format: FORMAT,
            release: self.release,
            kernel: choice.kernel,
            zfs: choice.zfs,
            key: recipe::key(&choice.packages),
            created,
            bytes,
            packages: choice.packages,
            digests,
        })
    }
}

/// Finds the reason of a failed build in its log, where it is another than that mmdebstrap's hook failed.
fn own_words(log: &str) -> Option<String> {
    if log.contains("No space left on device") {
        let words = "the disk is full; free some, or name another directory in TMPDIR";
        return Some(words.to_owned());
    }
    let said = log.lines().find_map(|line| line.strip_prefix("failed: "))?;
    Some(format!("{said}; take another release (`--release`)"))
}

/// Refuses where no image can be built.
fn check_host() -> Result<()> {
    let machine = process::machine();
    if machine != "x86_64" {
        return Err(Error::Machine { machine });
    }
    for program in ["mmdebstrap", "apt-get"] {
        if Cmd::find(program).is_none() {
            let package = Cmd::package_of(program);
            let program = program.to_owned();
            return Err(cowlab_sys::Error::MissingProgram { program, package }.into());
        }
    }
    Ok(())
}

/// Writes what the builder is given.
fn write_recipe(dir: &Path, choice: &Choice) -> Result<()> {
    io("mkdir", dir, std::fs::create_dir(dir))?;
    let Choice { kernel, zfs, .. } = choice;
    write(
        &dir.join("settings"),
        &format!("KERNEL={kernel}\nZFS={zfs}\n"),
    )?;
    write(&dir.join("runtime"), &(recipe::RUNTIME.join("\n") + "\n"))?;
    write(&dir.join("build.sh"), recipe::SCRIPT)
}

fn write(path: &Path, text: &str) -> Result<()> {
    Ok(io("write", path, std::fs::write(path, text))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> (Build, Mirror) {
        let build = Build {
            release: Release::BookwormBackports,
            mirror: None,
        };
        (build, Mirror::of("http://m/debian"))
    }

    #[test]
    fn exactly_the_chosen_versions_are_asked_for() {
        let (build, mirror) = order();
        let packages =
            BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".into(), "2~x".into())]);
        let line = build.mmdebstrap(&mirror, &packages).to_string();
        assert!(line.contains("'--include=a=1,b=2~x' "), "{line}");
        assert!(line.contains(" bookworm /dev/null "), "{line}");
        assert!(
            line.contains(" http://m/debian bookworm-backports main contrib'"),
            "{line}"
        );
    }

    #[test]
    fn a_failing_mirror_is_told_from_a_failing_build() {
        let (build, mirror) = order();
        let log =
            "E: Failed to fetch http://m/debian/x.deb  404  Not Found\nE: apt-get update failed\n";
        let text = build.failure(&mirror, log, "/log".into()).to_string();
        assert!(
            text.contains("from `http://m/debian`") && text.contains("404"),
            "{text}"
        );
        for (log, reason) in [
            (
                "E: dpkg: No space left on device\nE: run_chroot failed\n",
                "TMPDIR",
            ),
            (
                "step: compile\nfailed: ZFS 2 does not fit\nE: run_chroot failed\n",
                "ZFS 2 does not fit; take another release",
            ),
        ] {
            let text = build.failure(&mirror, log, "/log".into()).to_string();
            assert!(text.contains(reason), "{text}");
        }
        let log = "checking\nconfigure: error: no\nE: run_chroot failed\n";
        let text = build.failure(&mirror, log, "/log".into()).to_string();
        assert!(
            text.contains("/log") && text.contains("run_chroot failed"),
            "{text}"
        );
    }
}
