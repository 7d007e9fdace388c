//! Whether a stock kernel really boots with KVM here.
//!
//! That `/dev/kvm` opens says little: inside a virtual machine it may be there and end every boot. So an image is booted
//! with it once, and the cache remembers what came of it on this kernel and processor.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use cowlab_sys::{io, process};

use super::Machine;
use crate::{Accel, Cause, Error, Image, Result};

/// A stock kernel that has not run a command by then would be no faster with KVM.
const PROBE_LIMIT: Duration = Duration::from_secs(8);
/// The file in the cache.
const MEMORY: &str = "kvm.json";
const DEVICE: &str = "/dev/kvm";

/// Returns the fastest that boots `image` here. The first call on a host with `/dev/kvm` takes some seconds.
///
/// # Errors
///
/// [`Error::Lost`] where Ctrl-C ended the trial.
pub(crate) fn fastest(image: &Image) -> Result<Accel> {
    if OpenOptions::new()
        .read(true)
        .write(true)
        .open(DEVICE)
        .is_err()
    {
        return Ok(Accel::Tcg);
    }
    let memory = image.dir.parent().map(|cache| cache.join(MEMORY));
    let key = host_key(image);
    let mut known = memory.as_deref().map(recall).unwrap_or_default();
    if let Some(works) = known.get(&key) {
        return Ok(if *works { Accel::Kvm } else { Accel::Tcg });
    }
    tracing::info!("trying whether the guest boots with KVM");
    let works = boots(image)?;
    known.insert(key, works);
    if let Some(path) = &memory
        && let Err(error) = remember(path, &known)
    {
        tracing::warn!(%error, "whether KVM works will be tried again");
    }
    Ok(if works { Accel::Kvm } else { Accel::Tcg })
}

fn boots(image: &Image) -> Result<bool> {
    let machine = Machine {
        command: vec!["true".into()],
        accel: Some(Accel::Kvm),
        memory_mib: 512,
        scratch_bytes: 0,
        time_limit: PROBE_LIMIT,
        ..Machine::new(image.clone())
    };
    match machine.run(&mut std::io::sink(), &mut std::io::sink()) {
        Ok(exit) => Ok(exit.code == 0),
        Err(Error::Lost(lost)) if lost.cause != Cause::Interrupted => {
            tracing::info!(%lost, "the guest does not boot with KVM");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// What the answer depends on.
fn host_key(image: &Image) -> String {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    format!(
        "{} | {} | {}",
        process::kernel_release(),
        model_of(&processor),
        image.manifest.kernel
    )
}

fn model_of(cpuinfo: &str) -> &str {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':'))
        .map_or("", |(_, model)| model.trim())
}

/// Reads what is remembered; what is missing or damaged is found out again.
fn recall(path: &Path) -> BTreeMap<String, bool> {
    let text = std::fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Writes it whole: another run may read it at the same time.
fn remember(path: &Path, known: &BTreeMap<String, bool>) -> Result<()> {
    let text = serde_json::to_vec_pretty(known).unwrap_or_default();
    let new = path.with_extension(format!("json.{}", std::process::id()));
    let mut file = io("create", &new, std::fs::File::create(&new))?;
    io("write", &new, file.write_all(&text))?;
    Ok(io("rename", path, std::fs::rename(&new, path))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_and_starts_anew_where_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(MEMORY);
        assert!(recall(&path).is_empty());
        let known = BTreeMap::from([("a".to_owned(), true), ("b".to_owned(), false)]);
        remember(&path, &known).unwrap();
        assert_eq!(recall(&path), known);
        std::fs::write(&path, "{").unwrap();
        assert!(recall(&path).is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn finds_the_model() {
        assert_eq!(
            model_of("processor\t: 0\nmodel name\t: A (R) B\n"),
            "A (R) B"
        );
        assert_eq!(model_of(""), "");
    }
}
