//! Removing the volumes that no container has.

use std::time::Duration;

use super::{Volume, Volumes};
use crate::container::{Containers, Error, Pruned, Result};

/// How long a removal waits for those who make containers.
const PATIENCE: Duration = Duration::from_secs(10);

impl Volumes {
    /// Removes a volume with its content.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::VolumeInUse`] while a container, running or not, has it; [`Error::VolumesInUse`].
    pub fn remove(&self, name: &str, containers: &Containers<'_>) -> Result<()> {
        self.remove_for(None, name, containers)
    }

    /// Removes a volume with a container that is being removed, as [`remove`](Self::remove) does.
    pub(in crate::container) fn remove_for(
        &self,
        container: Option<&str>,
        name: &str,
        containers: &Containers<'_>,
    ) -> Result<()> {
        let alone = self.alone_within(PATIENCE)?;
        self.get(name)?;
        let users = containers.users_of_volume_but(container, name)?;
        if !users.is_empty() {
            return Err(Error::VolumeInUse {
                name: name.to_owned(),
                users: users.join(", "),
            });
        }
        let trash = self.set_aside(name)?;
        drop(alone);
        self.empty(&[trash])
    }

    /// Removes of the wanted volumes those that no container has.
    ///
    /// # Errors
    ///
    /// The first that cannot be removed; [`Error::VolumesInUse`].
    pub fn prune(
        &self,
        containers: &Containers<'_>,
        wanted: impl Fn(&Volume) -> bool,
    ) -> Result<Pruned> {
        let alone = self.alone_within(PATIENCE)?;
        let (mut pruned, mut trash) = (Pruned::default(), Vec::new());
        for volume in self.list()? {
            if wanted(&volume) && containers.users_of_volume(&volume.name)?.is_empty() {
                trash.push(self.set_aside(&volume.name)?);
                pruned.removed.push(volume.name);
            }
        }
        drop(alone);
        for place in &trash {
            let allocated = cowlab_driver::tree::allocation(place);
            pruned.reclaimed += allocated.map_or(0, |allocated| allocated.bytes.0);
        }
        self.empty(&trash)?;
        Ok(pruned)
    }
}
