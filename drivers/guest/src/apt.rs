//! apt with a configuration of its own: it sees no sources, no packages and no preferences of this host, and changes none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cowlab_sys::{Cmd, io};

use crate::mirror::Mirror;
use crate::{Error, Release, Result, version};

/// The flavor of kernel for machines without hardware.
const FLAVOR: &str = "-cloud-amd64";

/// The package lists of one release.
#[derive(Debug)]
pub(crate) struct Apt {
    config: PathBuf,
    release: Release,
    mirror: String,
}

impl Apt {
    /// Prepares lists of `release` in the directory `dir`, which is made; `options` are lines of apt.conf(5).
    pub(crate) fn at(dir: &Path, mirror: &Mirror, release: Release, options: &str) -> Result<Self> {
        for part in ["lists/partial", "archives/partial", "parts"] {
            let path = dir.join(part);
            io("mkdir", &path, std::fs::create_dir_all(&path))?;
        }
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            io("write", &path, std::fs::write(&path, text))
        };
        write("status", String::new())?;
        write("sources.list", mirror.sources(release).join("\n") + "\n")?;
        let default_release = release.suites().last().copied().unwrap_or_default();
        let dir = dir.display();
        // APT_CONFIG is read first, so that no other file of the host is: apt.conf(5).
        let config = format!(
            "Dir::Etc \"{dir}\";\nDir::Etc::parts \"{dir}/parts\";\nDir::Etc::sourcelist \"{dir}/sources.list\";\n\
             Dir::Etc::sourceparts \"{dir}/parts\";\nDir::Etc::preferencesparts \"{dir}/parts\";\n\
             Dir::State \"{dir}\";\nDir::State::lists \"{dir}/lists\";\nDir::State::status \"{dir}/status\";\n\
             Dir::Cache \"{dir}\";\nDir::Cache::archives \"{dir}/archives\";\nDir::Log \"{dir}\";\n\
             APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\nAPT::Sandbox::User \"\";\n\
             APT::Default-Release \"{default_release}\";\nAPT::Install-Recommends \"false\";\n\
             APT::Update::Error-Mode \"any\";\n{options}"
        );
        write("apt.conf", config)?;
        Ok(Self {
            config: Path::new(&dir.to_string()).join("apt.conf"),
            release,
            mirror: mirror.uri.clone(),
        })
    }

    /// Fetches the package lists.
    pub(crate) fn update(&self) -> Result<()> {
        let output = self.apt("apt-get").args(["update", "--quiet"]).output()?;
        if output.status == Some(0) {
            return Ok(());
        }
        Err(Error::Mirror {
            mirror: self.mirror.clone(),
            release: self.release,
            reason: complaints(&String::from_utf8_lossy(&output.stderr)),
        })
    }

    /// Returns the newest kernel that has headers, without `linux-image-`.
    pub(crate) fn newest_kernel(&self) -> Result<String> {
        let names = self
            .apt("apt-cache")
            .args([
                "search",
                "--names-only",
                "^linux-(image|headers)-.*-cloud-amd64$",
            ])
            .read()?;
        newest_kernel(&names).ok_or_else(|| Error::NotInstallable {
            release: self.release,
            mirror: self.mirror.clone(),
            reason: format!("it has no linux-image-*{FLAVOR} with headers"),
        })
    }

    /// Returns the versions of these packages and of all that they depend on.
    pub(crate) fn closure(&self, packages: &[String]) -> Result<BTreeMap<String, String>> {
        let command = self
            .apt("apt-get")
            .args(["install", "--simulate", "--quiet"])
            .args(packages);
        let output = command.output()?;
        if output.status == Some(0) {
            return Ok(installed(&String::from_utf8_lossy(&output.stdout)));
        }
        Err(Error::NotInstallable {
            release: self.release,
            mirror: self.mirror.clone(),
            reason: complaints(&String::from_utf8_lossy(&output.stderr)),
        })
    }

    fn apt(&self, program: &str) -> Cmd {
        Cmd::new(program).env("APT_CONFIG", &self.config)
    }
}

/// Returns what apt and its relatives complain of, on one line.
pub(crate) fn complaints(text: &str) -> String {
    let mut found: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("E: "))
        .collect();
    found.dedup();
    if found.is_empty() {
        found.extend(text.lines().map(str::trim).rfind(|line| !line.is_empty()));
    }
    found.truncate(3);
    found.join("; ")
}

/// Finds the newest kernel with headers in lines of `NAME - DESCRIPTION`.
fn newest_kernel(names: &str) -> Option<String> {
    let names: Vec<&str> = names
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    names
        .iter()
        .filter_map(|name| name.strip_prefix("linux-image-"))
        .filter(|kernel| kernel.starts_with(|c: char| c.is_ascii_digit()))
        .filter(|kernel| {
            names
                .iter()
                .any(|name| name.strip_prefix("linux-headers-") == Some(*kernel))
        })
        .max_by(|left, right| {
            let bare = |kernel: &'_ str| kernel.strip_suffix(FLAVOR).unwrap_or(kernel).to_owned();
            version::compare(&bare(left), &bare(right))
        })
        .map(str::to_owned)
}

/// Reads `Inst NAME (VERSION ORIGIN [ARCHITECTURE])`.
fn installed(simulation: &str) -> BTreeMap<String, String> {
    simulation
        .lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("Inst ")?.split_whitespace();
            let name = words.next()?.split(':').next()?;
            let version = words.find_map(|word| word.strip_prefix('('))?;
            Some((name.to_owned(), version.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_has_headers() {
        let names = "linux-image-6.12.107+deb13-cloud-amd64 - Linux 6.12 (signed)\n\
                     linux-headers-6.12.94+deb13-cloud-amd64 - Header files\n\
                     linux-image-6.12.94+deb13-cloud-amd64 - Linux 6.12 (signed)\n\
                     linux-headers-6.12.107+deb13-cloud-amd64 - Header files\n\
                     linux-image-6.13.1+deb13-cloud-amd64 - without headers\n\
                     linux-image-cloud-amd64 - meta\nlinux-headers-cloud-amd64 - meta\n";
        let newest = newest_kernel(names).unwrap();
        assert_eq!(newest, "6.12.107+deb13-cloud-amd64");
        assert_eq!(newest_kernel("linux-image-cloud-amd64 - meta\n"), None);
    }

    #[test]
    fn a_simulation_tells_every_version() {
        let text = "Reading package lists...\n\
                    Inst gcc-14-base (14.2.0-19 Debian:13.7/stable [amd64])\n\
                    Inst libc6 [2.36] (2.41-12+deb13u4 Debian:13.7/stable [amd64]) []\n\
                    Conf libc6 (2.41-12+deb13u4 Debian:13.7/stable [amd64])\n";
        let found = installed(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found["libc6"], "2.41-12+deb13u4");
        assert_eq!(found["gcc-14-base"], "14.2.0-19");
    }

    #[test]
    fn complaints_are_told_on_one_line() {
        let text =
            "W: a warning\nE: Unable to locate package x\nE: Unable to locate package x\nE: no\n";
        assert_eq!(complaints(text), "Unable to locate package x; no");
        assert_eq!(complaints("a\nsomething else\n\n"), "something else");
        assert_eq!(complaints(""), "");
    }
}
