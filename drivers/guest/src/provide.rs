//! An image that is known to start: built where the cache lacks it, started once, and from then on the one that runs.

use crate::{Build, Built, Cache, Cause, Error, Image, Release, Result};

/// What [`Cache::provide`] tells its caller meanwhile.
#[derive(Debug)]
pub enum Progress<'a> {
    /// What it does from now on.
    Step(&'a str),
    /// Why a release has no image; the next older one is tried.
    Failed(&'a Error),
}

/// What [`Cache::provide`] provides.
#[derive(Debug)]
pub struct Provided {
    /// The image.
    pub image: Image,
    /// Whether the cache did not have it before.
    pub is_new: bool,
    /// The images that it replaces, by name.
    pub removed: Vec<String>,
}

impl Cache {
    /// Provides the newest image of `release`, made of the packages that the mirror has now; where no release is named, of
    /// the newest one that can be built and starts. Images that it replaces are removed when nobody uses them.
    ///
    /// # Errors
    ///
    /// Those of [`Build::run`] and of [`Image::try_out`].
    pub fn provide(
        &self,
        release: Option<Release>,
        mirror: Option<&str>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Provided> {
        let (image, is_new) = self.first_that_starts(release, mirror, progress)?;
        let removed = self.prune()?;
        Ok(Provided {
            image,
            is_new,
            removed,
        })
    }

    fn first_that_starts(
        &self,
        release: Option<Release>,
        mirror: Option<&str>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(Image, bool)> {
        let order = |release| Build {
            release,
            mirror: mirror.map(str::to_owned),
        };
        if let Some(release) = release {
            return self.build_and_start(&order(release), progress);
        }
        let [newer @ .., oldest] = Release::CANDIDATES;
        for release in newer {
            match self.build_and_start(&order(release), progress) {
                Err(error) if another_may_do(&error) => progress(Progress::Failed(&error)),
                other => return other,
            }
        }
        self.build_and_start(&order(oldest), progress)
    }

    fn build_and_start(
        &self,
        order: &Build,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(Image, bool)> {
        let built = order.run(self, &mut |step| progress(Progress::Step(step)))?;
        let (image, is_new) = match built {
            Built::New(image) => (image, true),
            Built::Cached(image) => (image, false),
        };
        if self.preferred()?.is_some_and(|it| it.dir == image.dir) {
            return Ok((image, is_new));
        }
        progress(Progress::Step("start it once"));
        match image.try_out() {
            Ok(_) => self.prefer(&image)?,
            // An image may be built where none is run.
            Err(Error::Sys(cowlab_sys::Error::MissingProgram { .. })) => {}
            Err(error) => return Err(error),
        }
        Ok((image, is_new))
    }
}

/// Whether an older release may do where one failed like this: its packages fit together, its ZFS compiles with its kernel,
/// its kernel boots here.
fn another_may_do(error: &Error) -> bool {
    match error {
        Error::NotInstallable { .. } | Error::Build { .. } | Error::Damaged { .. } => true,
        Error::Lost(lost) => !matches!(lost.cause, Cause::Interrupted),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_release_follows_what_is_the_fault_of_a_release() {
        let build = Error::Build {
            release: Release::Trixie,
            reason: "no".into(),
            log: "/log".into(),
        };
        assert!(another_may_do(&build));
        assert!(!another_may_do(&Error::NoMirror));
        assert!(!another_may_do(&Error::Interrupted));
    }
}
