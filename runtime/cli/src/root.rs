//! The flags that name a root and its driver, for every command that works on one.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context;
use cowlab_layer::Duplicates;
use cowlab_runtime::{Root, RootOptions, rootless};

// Flags of every command that works on a root. This and every other flattened struct has no doc comment: clap would print it as
// the description of each command that has the flags.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct RootArgs {
    /// Where images, containers and volumes are kept [default: /var/lib/cowlab, an ordinary user's own below
    /// $XDG_DATA_HOME].
    #[arg(
        long,
        value_name = "DIR",
        env = "COWLAB_ROOT",
        global = true,
        help_heading = "Root"
    )]
    root: Option<PathBuf>,
    /// The storage driver of a new root: `overlay2`, `vfs`, ... or `overlay2/VARIANT` [default: the first that a probe
    /// finds to run of overlay2, btrfs, zfs, devicemapper-thin, vfs].
    #[arg(
        long,
        value_name = "DRIVER",
        env = "COWLAB_DRIVER",
        global = true,
        help_heading = "Root"
    )]
    driver: Option<String>,
    /// A setting of the driver, the name of a pool for example; recorded in the root.
    #[arg(long = "driver-opt", value_name = "NAME=VALUE", value_parser = setting, global = true,
          help_heading = "Root")]
    settings: Vec<(String, String)>,
}

impl RootArgs {
    /// The same, but without a driver where it names this one, which is none of storage.
    pub(crate) fn without_driver(&self, name: &str) -> Self {
        let mut args = self.clone();
        args.driver = args.driver.filter(|driver| driver != name);
        args
    }

    /// Opens the root; an ordinary user's, in a user namespace.
    ///
    /// # Errors
    ///
    /// As [`rootless::enter`] and [`Root::open`].
    pub(crate) fn open(&self) -> anyhow::Result<Root> {
        self.open_for(&BlobArgs::default())
    }

    /// Opens the root for a command that brings layers in.
    ///
    /// # Errors
    ///
    /// As [`rootless::enter`] and [`Root::open`].
    pub(crate) fn open_for(&self, blobs: &BlobArgs) -> anyhow::Result<Root> {
        let mut options = self.enter()?;
        options.discard_blobs = blobs.discard_blobs;
        if blobs.strict {
            options.duplicates = Duplicates::Refused;
        }
        cowlab_sys::process::set_umask();
        Root::open(&options).context("failed to open the root")
    }

    /// Has an ordinary user be root of a user namespace, and says which root is meant.
    pub(crate) fn enter(&self) -> anyhow::Result<RootOptions> {
        let mut options = RootOptions {
            dir: self.root.clone(),
            driver: self.driver.clone(),
            settings: self.settings.iter().cloned().collect(),
            ..RootOptions::default()
        };
        rootless::enter(&mut options)?;
        Ok(options)
    }
}

// Flags of every command that brings layers in.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct BlobArgs {
    /// Keep of new layers only what makes their archives again: `save` and `push` compress them anew, under new digests
    /// [configuration: `discard-blobs`].
    #[arg(long)]
    discard_blobs: bool,
    /// Refuse layers with a name twice, as the image specification has it, instead of taking the last entry.
    #[arg(long)]
    strict: bool,
}

/// The arguments that have `cowlab` be the monitor of one of a root's containers.
pub(crate) fn monitor_arguments(root: &Root) -> Vec<OsString> {
    vec!["monitor".into(), "--root".into(), root.dir().into()]
}

/// Reads NAME=VALUE; without `=` the value is empty.
pub(crate) fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    match name {
        "" => Err("write NAME=VALUE".to_owned()),
        name => Ok((name.to_owned(), value.to_owned())),
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "write it as NAME=VALUE".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_of_volumes_is_none_of_storage() {
        let args = |driver: &str| RootArgs {
            driver: Some(driver.to_owned()),
            ..RootArgs::default()
        };
        let left = |driver: &str| args(driver).without_driver("local").driver;
        assert_eq!(left("local"), None);
        assert_eq!(left("vfs").as_deref(), Some("vfs"));
    }

    #[test]
    fn labels_have_names() {
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(name_and_value("a=b=c"), pair("a", "b=c"));
        assert_eq!(name_and_value("a"), pair("a", ""));
        assert!(name_and_value("=b").is_err());
    }
}
