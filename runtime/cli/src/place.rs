//! Which root a command works on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cowlab_driver::{Entry, Settings};
use cowlab_snapshots::{Store, StoreOptions};

use crate::exit::{self, Stop};

/// Where everything is kept, and by which driver.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// The directory that everything is kept in; made where it is missing.
    #[arg(long, value_name = "DIR", env = "COWLAB_ROOT", global = true)]
    root: Option<PathBuf>,
    /// The storage driver, and its variant if it is not the default; a root keeps the one it was made with.
    #[arg(
        long,
        value_name = "NAME[/VARIANT]",
        env = "COWLAB_DRIVER",
        global = true
    )]
    driver: Option<String>,
    /// What the driver is told about its place, such as `pool=NAME`; recorded when the root is made.
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value, global = true)]
    driver_opt: Vec<(String, String)>,
}

impl Place {
    /// The root's directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.root.clone().unwrap_or_else(|| DEFAULT_ROOT.into())
    }

    /// The arguments that have `cowlab` be the monitor of one of the root's containers.
    pub(crate) fn monitor(&self) -> anyhow::Result<Vec<OsString>> {
        let dir = self.dir();
        let dir = cowlab_sys::io("realpath", &dir, dir.canonicalize())?;
        Ok(vec!["monitor".into(), "--root".into(), dir.into()])
    }

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// [`Stop`] for an unknown driver, or none that runs there; what the store refused.
    pub(crate) fn open(&self) -> anyhow::Result<Store> {
        exit::need_root("it")?;
        let root = self.dir();
        cowlab_sys::io("mkdir", &root, std::fs::create_dir_all(&root))?;
        let root = cowlab_sys::io("realpath", &root, root.canonicalize())?;
        let place = root.join("snapshots");
        let settings: Settings = self.driver_opt.iter().cloned().collect();
        let entry = self.entry(&root, &place, &settings)?;
        let options = StoreOptions {
            variant: self
                .asked()
                .and_then(|(_, variant)| variant.map(str::to_owned)),
            driver_root: Some(root.join(entry.name)),
            settings,
            ..StoreOptions::default()
        };
        Store::open(&place, entry, &options)
            .with_context(|| format!("open the root `{}`", root.display()))
    }

    fn asked(&self) -> Option<(&str, Option<&str>)> {
        let text = self.driver.as_deref()?;
        Some(match text.split_once('/') {
            Some((name, variant)) => (name, Some(variant)),
            None => (text, None),
        })
    }

    /// The driver that was asked for, else the one that the store was made with, else the first that runs there.
    fn entry(
        &self,
        root: &Path,
        place: &Path,
        settings: &Settings,
    ) -> anyhow::Result<&'static Entry> {
        if let Some((name, _)) = self.asked() {
            return known(name);
        }
        if let Some(identity) = Store::identity_at(place)? {
            return known(&identity.driver);
        }
        let runs = |entry: &&&Entry| match (entry.probe)(root, entry.default_variant(), settings) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(driver = entry.name, %error, "does not run here");
                false
            }
        };
        let found = cowlab_drivers::all().iter().find(runs);
        found.copied().ok_or_else(|| {
            let root = root.display();
            let message = format!(
                "no driver runs on `{root}`: name one with --driver, and it says what is missing"
            );
            let code = exit::UNAVAILABLE;
            Stop { code, message }.into()
        })
    }
}

/// Where everything is when nothing else is said.
const DEFAULT_ROOT: &str = "/var/lib/cowlab";

fn known(name: &str) -> anyhow::Result<&'static Entry> {
    cowlab_drivers::find(name).ok_or_else(|| {
        let names: Vec<_> = cowlab_drivers::all().iter().map(|one| one.name).collect();
        let message = format!(
            "there is no driver `{name}`: there are {}",
            names.join(", ")
        );
        let code = exit::USAGE;
        Stop { code, message }.into()
    })
}

/// Reads NAME=VALUE; without `=` the value is empty.
pub(crate) fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    match name {
        "" => Err("write NAME=VALUE".to_owned()),
        name => Ok((name.to_owned(), value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_names() {
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(name_and_value("a=b=c"), pair("a", "b=c"));
        assert_eq!(name_and_value("a"), pair("a", ""));
        assert!(name_and_value("=b").is_err());
    }
}
