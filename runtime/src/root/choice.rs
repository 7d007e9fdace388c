//! Where the root is and which driver it has: flags, configuration file, probing.

use std::fs;
use std::path::{Path, PathBuf};

use cowlab_driver::{Entry, Variant};
use cowlab_sys::{process, user_namespace};

use super::RootOptions;
use crate::{Error, Result};

/// The environment variable that names the configuration file.
const NAMED: &str = "COWLAB_CONFIG";

/// What the configuration file says: `/etc/cowlab/config.json` for root, `cowlab/config.json` below `$XDG_CONFIG_HOME` for
/// others, or the one that the environment variable `COWLAB_CONFIG` names. Its keys are those of docker's `daemon.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// The root.
    #[serde(rename = "data-root")]
    pub root: Option<PathBuf>,
    /// The driver of a new root: `name` or `name/variant`.
    #[serde(rename = "storage-driver")]
    pub driver: Option<String>,
    /// Registries, `host` or `host:port`, that are asked without proof of who they are.
    #[serde(rename = "insecure-registries", default)]
    pub insecure: Vec<String>,
    /// Whether the blobs of layers that come in are not kept, but only what makes their archives again.
    #[serde(rename = "discard-blobs", default)]
    pub discard_blobs: bool,
}

impl Configuration {
    /// Reads the file; without one, everything is as by default.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`].
    pub fn read() -> Result<Self> {
        let path = if let Some(named) = std::env::var_os(NAMED) {
            PathBuf::from(named)
        } else if user_namespace::is_host_root() {
            PathBuf::from("/etc/cowlab/config.json")
        } else {
            match xdg("XDG_CONFIG_HOME", ".config") {
                Some(dir) => dir.join("cowlab/config.json"),
                None => return Ok(Self::default()),
            }
        };
        let failed = |reason: String| Error::Configuration {
            path: path.clone(),
            reason,
        };
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Whether a registry need not prove who it is.
    pub(crate) fn permits(&self, registry: &str) -> bool {
        self.insecure.iter().any(|permitted| permitted == registry)
    }
}

/// The root where nobody names one: `/var/lib/cowlab` for root, `cowlab` below `$XDG_DATA_HOME` for others.
///
/// # Errors
///
/// [`Error::Root`] for a user without a home.
pub fn default_dir() -> Result<PathBuf> {
    if user_namespace::is_host_root() {
        return Ok(PathBuf::from("/var/lib/cowlab"));
    }
    let dir = xdg("XDG_DATA_HOME", ".local/share").map(|dir| dir.join("cowlab"));
    dir.ok_or_else(|| Error::Root {
        path: PathBuf::from("~/.local/share/cowlab"),
        reason: "neither XDG_DATA_HOME nor HOME is set: name a directory with `--root DIR`"
            .to_owned(),
    })
}

/// A directory of the XDG base directory specification; what is not absolute counts as not set.
fn xdg(variable: &str, below_home: &str) -> Option<PathBuf> {
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    path(variable)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(path("HOME")?.join(below_home)))
}

/// The driver and the variant to open a root with. No variant means the recorded or the default one.
pub(super) fn choose<'a>(
    dir: &Path,
    recorded: Option<(String, String)>,
    options: &'a RootOptions,
    configured: Option<&'a str>,
) -> Result<(&'static Entry, Option<&'a str>)> {
    if let Some((driver, variant)) = recorded {
        if let Some(asked) = &options.driver {
            let (name, asked_variant) = split(asked);
            find(name)?;
            if name != driver || asked_variant.is_some_and(|asked| asked != variant) {
                return Err(Error::OtherDriver {
                    path: dir.to_owned(),
                    recorded: format!("{driver}/{variant}"),
                    asked: asked.clone(),
                });
            }
        }
        return Ok((find(&driver)?, None));
    }
    if let Some(asked) = options.driver.as_deref().or(configured) {
        let (name, variant) = split(asked);
        let entry = find(name)?;
        if is_rootless() && entry.rootless.is_none() {
            let able = cowlab_drivers::all().iter();
            let able: Vec<_> = able
                .filter(|entry| entry.rootless.is_some())
                .map(|entry| format!("`{}`", entry.name))
                .collect();
            let able = able.join(" or ");
            return Err(Error::NoDriver {
                path: dir.to_owned(),
                tried: format!("{name}: the host's root is missing: run as root, or take {able}"),
            });
        }
        return Ok((entry, variant.or(Some(usual_variant(entry).name))));
    }
    let mut tried = Vec::new();
    for entry in cowlab_drivers::all() {
        let variant = usual_variant(entry);
        match (entry.probe)(dir, variant, &options.settings) {
            Ok(()) => return Ok((entry, Some(variant.name))),
            Err(error) => tried.push(format!("{}: {error}", entry.name)),
        }
    }
    Err(Error::NoDriver {
        path: dir.to_owned(),
        tried: tried.join("; "),
    })
}

/// Whether this process is root of a user namespace.
fn is_rootless() -> bool {
    process::is_root() && !user_namespace::is_host_root()
}

/// The variant of a new root where nobody names one.
fn usual_variant(entry: &Entry) -> &'static Variant {
    match is_rootless() {
        // One without is refused by its probe, which says why.
        true => entry.rootless_variant().unwrap_or(entry.default_variant()),
        false => entry.default_variant(),
    }
}

fn split(driver: &str) -> (&str, Option<&str>) {
    match driver.split_once('/') {
        Some((name, variant)) => (name, Some(variant)),
        None => (driver, None),
    }
}

fn find(name: &str) -> Result<&'static Entry> {
    cowlab_drivers::find(name).ok_or_else(|| {
        let known: Vec<_> = cowlab_drivers::all()
            .iter()
            .map(|entry| format!("`{}`", entry.name))
            .collect();
        Error::UnknownDriver {
            name: name.to_owned(),
            known: known.join(", "),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(recorded: Option<(&str, &str)>, asked: Option<&str>) -> Result<&'static str> {
        let options = RootOptions {
            driver: asked.map(str::to_owned),
            ..RootOptions::default()
        };
        let recorded = recorded.map(|(driver, variant)| (driver.to_owned(), variant.to_owned()));
        let chosen = choose(Path::new("/nowhere"), recorded, &options, Some("btrfs"));
        chosen.map(|(entry, _)| entry.name)
    }

    #[test]
    fn what_is_recorded_is_not_changed() {
        let recorded = Some(("overlay2", "default"));
        assert_eq!(chosen(recorded, None).unwrap(), "overlay2");
        assert_eq!(chosen(recorded, Some("overlay2")).unwrap(), "overlay2");
        assert_eq!(
            chosen(recorded, Some("overlay2/default")).unwrap(),
            "overlay2"
        );
        for asked in ["vfs", "overlay2/containerd"] {
            let refused = chosen(recorded, Some(asked)).unwrap_err();
            assert!(matches!(refused, Error::OtherDriver { .. }), "{refused}");
        }
    }

    #[test]
    fn a_flag_counts_more_than_the_configuration() {
        assert_eq!(chosen(None, Some("vfs")).unwrap(), "vfs");
        assert_eq!(chosen(None, None).unwrap(), "btrfs");
        assert!(matches!(
            chosen(None, Some("aufs")),
            Err(Error::UnknownDriver { .. })
        ));
    }
}
