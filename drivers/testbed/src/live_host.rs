//! Whether container engines run on this host: what could be disturbed.

use cowlab_sys::processes;

use crate::Result;

/// The engines that keep containers running, by the names of their processes.
const ENGINES: [&str; 4] = ["dockerd", "containerd", "crio", "kubelet"];

/// Returns the container engines that run on this host, one `name (process N)` each. Where there
/// are any, loads that disturb neighbors need the user's word.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`] where `/proc` cannot be read.
pub fn live_host() -> Result<Vec<String>> {
    let running = processes::all()?.into_iter().filter_map(|pid| {
        let name = processes::command_name(pid)?;
        ENGINES
            .contains(&name.as_str())
            .then(|| format!("{name} (process {pid})"))
    });
    Ok(running.collect())
}
