//! The cgroup of a container, without libcontainer's record of it: that record is written anew at every pause, and a full
//! disk leaves half of it.

use libcgroups::common::{
    AnyCgroupManager, CgroupConfig, CgroupManager, FreezerState, create_cgroup_manager,
};

/// The path of a container's cgroup, below the place where cgroups are.
pub(super) fn path(id: &str) -> String {
    format!("/cowlab/{id}")
}

/// Has all processes of a container stand still, or go on. Says why that cannot be.
pub(super) fn freeze(id: &str, still: bool) -> Result<(), String> {
    let state = match still {
        true => FreezerState::Frozen,
        false => FreezerState::Thawed,
    };
    with(id, |manager| {
        manager.freeze(state).map_err(|error| error.to_string())
    })
}

/// Kills what is left in the cgroup of a container and removes it. Says why that cannot be.
pub(super) fn remove(id: &str) -> Result<(), String> {
    with(id, |manager| {
        manager.remove().map_err(|error| error.to_string())
    })
}

fn with(
    id: &str,
    work: impl FnOnce(&AnyCgroupManager) -> Result<(), String>,
) -> Result<(), String> {
    let manager = create_cgroup_manager(CgroupConfig {
        cgroup_path: path(id).into(),
        systemd_cgroup: false,
        container_name: id.to_owned(),
    });
    work(&manager.map_err(|error| error.to_string())?)
}
