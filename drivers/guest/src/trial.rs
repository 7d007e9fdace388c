//! Whether an image starts on this machine, found out by starting it, and which one runs when nobody names a release.

use std::time::Duration;

use cowlab_sys::io;

use crate::{Cache, Error, Exit, Image, Machine, Release, Result};

/// A guest that has not run a command by then never will, even where everything is emulated on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);
/// The file in the cache.
const MEMORY: &str = "default";

impl Image {
    /// Starts the image with a command that does nothing, which says how long a start takes here.
    ///
    /// # Errors
    ///
    /// Those of [`Machine::run`]; [`Error::Damaged`] where not even `true` runs in it.
    pub fn try_out(&self) -> Result<Exit> {
        let machine = Machine {
            command: vec!["true".into()],
            memory_mib: 768,
            scratch_bytes: 0,
            time_limit: LIMIT,
            ..Machine::new(self.clone())
        };
        let exit = machine.run(&mut std::io::sink(), &mut std::io::sink())?;
        if exit.code == 0 {
            return Ok(exit);
        }
        Err(Error::Damaged {
            path: self.dir.clone(),
            reason: format!("`true` ends with {} in it", exit.code),
        })
    }
}

impl Cache {
    /// Remembers `image`, which was seen to start, as the one to run when no release is named. An image of a newer release
    /// that was seen to start stays the one, and unstable becomes it never.
    pub fn prefer(&self, image: &Image) -> Result<()> {
        let release = image.manifest.release;
        if release == Release::Sid
            || self
                .preferred()?
                .is_some_and(|it| it.manifest.release > release)
        {
            return Ok(());
        }
        let path = self.root().join(MEMORY);
        // Two at a time write two files; the later one stays.
        let new = self
            .root()
            .join(format!("tmp/{MEMORY}.{}", std::process::id()));
        io(
            "write",
            &new,
            std::fs::write(&new, image.manifest.name() + "\n"),
        )?;
        Ok(io("rename", &path, std::fs::rename(&new, &path))?)
    }

    /// Returns the image to run when no release is named, if one was seen to start and is still there.
    ///
    /// # Errors
    ///
    /// [`Error::Sys`], and those of an image that cannot be used.
    pub fn preferred(&self) -> Result<Option<Image>> {
        let text = std::fs::read_to_string(self.root().join(MEMORY)).unwrap_or_default();
        let name = text.trim();
        // A name and no path: the file may hold anything.
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Ok(None);
        }
        self.image(name)
    }
}
