//! The machine behind a result, without anything that tells whose machine it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Place;

/// What is known about the machine. Contains no host name, address, serial number or user name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Environment {
    /// Kernel release, as `uname -r` prints it.
    pub kernel_release: String,
    /// Kernel version, as `uname -v` prints it.
    pub kernel_version: String,
    /// Machine architecture, as `uname -m` prints it.
    pub architecture: String,
    /// Processor model.
    pub cpu_model: String,
    /// Processors that can be scheduled on.
    pub cores: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// `PRETTY_NAME` of os-release(5).
    pub distribution: String,
    /// Version of cowlab.
    pub cowlab: String,
    /// The machine.
    pub place: Place,
    /// Version line of each external program in use, by program.
    #[serde(default)]
    pub tools: BTreeMap<String, String>,
    /// The directory containers would be kept in on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Container engines that were running, by daemon name.
    #[serde(default)]
    pub engines: Vec<String>,
    /// Other facts, by name, such as the CPU frequency governor.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
}

/// The file system below the directory that would hold the containers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Storage {
    /// The directory, such as `/var/lib`.
    pub directory: String,
    /// Backing name of its file system in the words of a column (`xfs` means with reflinks); the kernel's name for
    /// one that is never a column.
    pub backing: String,
    /// Mount options.
    pub mount_options: String,
    /// Size of the file system in bytes.
    pub bytes: u64,
}

impl Environment {
    /// Identifies the environment: equal environments have equal ids, in every version of cowlab.
    #[must_use]
    pub fn id(&self) -> String {
        let canonical =
            serde_json::to_string(self).expect("a struct of strings and numbers serializes");
        format!("{:016x}", cowlab_random::fnv1a(canonical.as_bytes()))
    }

    /// The reference that introduces this environment.
    #[must_use]
    pub fn introduce(&self) -> EnvironmentRef {
        EnvironmentRef {
            id: self.id(),
            facts: Some(Box::new(self.clone())),
        }
    }
}

/// The `environment` field of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentRef {
    /// [`Environment::id`].
    pub id: String,
    /// The facts, on the line of kind `environment` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Box<Environment>>,
}
