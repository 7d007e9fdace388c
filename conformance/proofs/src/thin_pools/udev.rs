//! Devices beside a udev that runs, as on most hosts; in the guest it runs for this proof alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cowlab_snapshots::Store;
use cowlab_sys::cmd::Running;
use cowlab_sys::{Cmd, Guard, stat};
use cowlab_testbed::BackingFs;

use super::pool::Pool;
use super::{Fault, Findings, layer, open};

/// Whoever has this to talk to believes that udev runs, as libdevmapper does.
const SOCKET: &str = "/run/udev/control";
/// What udev knows of a device is written at the end of its rules.
const DATABASE: &str = "/run/udev/data";
/// How long udev may take to start, to end, or to do one device.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a call is watched that must not return.
const WATCHED: Duration = Duration::from_secs(2);

/// Proves that devices are ready when a call returns, that udev is told to leave them alone, and that nobody waits for a udev
/// that has ended.
pub(super) fn prove(
    made: &BackingFs,
    fault: Option<Fault>,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    if Path::new(SOCKET).exists() {
        bail!("udev runs already, and this proof stops it: it is made for the guest");
    }
    let pool = Pool::fresh(made)?;
    let root = made.mount_point().join("udev");
    let target = made.mount_point().join("udev-target");
    fs::create_dir(&target)?;
    let mut udev = (fault != Some(Fault::NoUdev)).then(start).transpose()?;
    let store = open(&root, &pool.settings)?;
    layer(&store, &target, None, "base")?;
    store.prepare("key", Some("base"), &Default::default())?;
    is_ready_at_return(&store, &target, findings)?;
    if udev.is_some() {
        waits_for_rules(&store, &target, findings)?;
    }
    if !semaphores()?.is_empty() {
        findings.add(format_args!("udev: semaphores stay: {:?}", semaphores()?));
    }
    if let Some(mut udev) = udev.take() {
        control("--exit")?;
        until("udev ends", || Ok(!udev.is_alive()?))?;
        // It leaves its socket to a service manager that starts it again, and that whoever has it would wait for.
        fs::remove_file(SOCKET).context("remove udev's socket")?;
    }
    layer(&store, &target, Some("base"), "alone")?;
    Ok(())
}

/// A device that was mounted is in udev's database, which has read nothing of it.
fn is_ready_at_return(store: &Store, target: &Path, findings: &mut Findings) -> anyhow::Result<()> {
    let mut mounted = store.mount("key", target)?;
    let entry = entry_of(target)?;
    match fs::read_to_string(&entry) {
        Ok(known) if known.contains("ID_FS_") => {
            findings.add(format_args!("udev: looked into the device: {known}"));
        }
        Ok(_) => {}
        Err(error) => findings.add(format_args!(
            "udev: the device is mounted before udev knows it: `{}`: {error}",
            entry.display()
        )),
    }
    mounted.close()?;
    if entry.exists() {
        findings.add("udev: the device is removed before udev has forgotten it");
    }
    Ok(())
}

/// A call waits while udev does not come to the device, and ends when it has.
fn waits_for_rules(store: &Store, target: &Path, findings: &mut Findings) -> anyhow::Result<()> {
    control("--stop-exec-queue")?;
    let (early, waited) = thread::scope(|scope| {
        let mount =
            scope.spawn(|| -> anyhow::Result<()> { Ok(store.mount("key", target)?.close()?) });
        thread::sleep(WATCHED);
        let early = mount.is_finished();
        let waited = semaphores();
        control("--start-exec-queue")?;
        match mount.join() {
            Ok(mounted) => mounted?,
            Err(_) => bail!("the mount panicked"),
        }
        Ok((early, waited?))
    })?;
    if early || waited.len() != 1 {
        findings.add(format_args!(
            "udev: a mount did not wait for its rules: it returned: {early}, semaphores: {waited:?}"
        ));
    }
    Ok(())
}

fn start() -> anyhow::Result<Running> {
    let udev = Cmd::new("systemd-udevd")
        .arg("--resolve-names=never")
        // It knows groups and hardware of a whole host.
        .env("SYSTEMD_LOG_LEVEL", "crit")
        .spawn()?;
    until("udev starts", || Ok(Path::new(SOCKET).exists()))?;
    Ok(udev)
}

fn control(order: &str) -> anyhow::Result<()> {
    Ok(Cmd::new("udevadm").args(["control", order]).run()?)
}

fn until(what: &str, mut is_so: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = Instant::now();
    while !is_so()? {
        if began.elapsed() > PATIENCE {
            bail!("waited in vain until {what}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// What udev has written of the device that is mounted there.
fn entry_of(target: &Path) -> anyhow::Result<PathBuf> {
    let device = stat::stat(target)?.dev;
    let (major, minor) = (stat::major(device), stat::minor(device));
    Ok(Path::new(DATABASE).join(format!("b{major}:{minor}")))
}

/// The keys of semaphores by which device-mapper waits for udev (libdm, `DM_COOKIE_MAGIC`), proc_sysvipc(5).
fn semaphores() -> anyhow::Result<Vec<String>> {
    let list = fs::read_to_string("/proc/sysvipc/sem").context("read `/proc/sysvipc/sem`")?;
    let keys = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    Ok(keys
        .filter_map(|key| key.parse::<i32>().ok())
        .map(|key| format!("{key:08x}"))
        .filter(|key| key.starts_with("0d4d"))
        .collect())
}
