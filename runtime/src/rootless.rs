//! Rootless users: a user namespace in which one is root, so that everything else need not know the difference.
//!
//! All processes that work on a root share one, or none could send another's container a signal or look into it. It lives
//! as long as one of them does, a container's monitor for example; the next one makes a new one with the same ids. Who
//! belongs to it is told by `locks/members` in the root.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use cowlab_driver::Missing;
use cowlab_sys::members::Members;
use cowlab_sys::user_namespace;
use cowlab_sys::{Cmd, io, process};

use crate::container::first_processes;
use crate::root::{Configuration, RootOptions, default_dir};
use crate::{Error, Result};

/// How many ids an image may take for granted: those of Debian's `nobody` and below.
const NEEDED: u32 = 65_536;

/// The tables, with what of a user they have, and the flag of usermod(8) that adds to each.
const TABLES: [(&str, &str); 2] = [
    ("/etc/subuid", "--add-subuids"),
    ("/etc/subgid", "--add-subgids"),
];

/// The switches of distributions and the kernel, with the value that switches user namespaces off.
const SWITCHES: [(&str, &str, &str); 3] = [
    (
        "user/max_user_namespaces",
        "0",
        "user.max_user_namespaces=15000",
    ),
    (
        "kernel/unprivileged_userns_clone",
        "0",
        "kernel.unprivileged_userns_clone=1",
    ),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ),
];

/// Makes this process root of the user namespace of a root's other processes, or of a new one, before it opens that root.
/// The host's root goes on as it is. `options` gets the directory that they mean, for a name means another one inside.
///
/// A process does this once, as long as it has one thread.
///
/// # Errors
///
/// [`Error::Rootless`] names what the host lacks; [`Error::Root`], [`Error::Configuration`].
pub fn enter(options: &mut RootOptions) -> Result<()> {
    static MEMBERS: OnceLock<Members> = OnceLock::new();
    if user_namespace::is_host_root() || MEMBERS.get().is_some() {
        return Ok(());
    }
    let dir = match options.dir.clone().or(Configuration::read()?.root) {
        Some(dir) => dir,
        None => default_dir()?,
    };
    let locks = dir.join("locks");
    io("mkdir", &locks, fs::create_dir_all(&locks))?;
    options.dir = Some(io("realpath", &dir, dir.canonicalize())?);
    let members = Members::open(&locks.join("members"))?;
    if process::is_root() {
        // Started by one who is inside, a monitor for example.
        members.join()?;
    } else {
        members.one_at_a_time(|| {
            // A container whose monitor was killed is no member, and is still where its commands have to go.
            if !join_one(members.others()?) && !join_one(first_processes(&dir)) {
                make()?;
            }
            Ok::<_, Error>(members.join()?)
        })?;
    }
    // Kept open: the lock ends with the descriptor.
    MEMBERS.get_or_init(|| members);
    Ok(())
}

/// Enters the namespace of one of these processes; `false` where there is none.
fn join_one(pids: Vec<u32>) -> bool {
    pids.into_iter().any(|pid| {
        let entered = user_namespace::enter(pid);
        if let Err(error) = &entered {
            // It may have ended meanwhile, or made itself invisible to become a container.
            tracing::debug!(pid, %error, "not joined");
        }
        entered.is_ok()
    })
}

fn make() -> Result<()> {
    let user = Cmd::new("id").arg("-un").read()?;
    let refused = |what: String, remedy: String| Error::Rootless {
        user: user.clone(),
        missing: Missing { what, remedy },
    };
    for program in ["newuidmap", "newgidmap"] {
        if Cmd::find(program).is_none() {
            let package = Cmd::package_of(program);
            let remedy = format!("run `sudo apt-get install {package}`");
            return Err(refused(format!("the program `{program}`"), remedy));
        }
    }
    let tables = TABLES.map(|(path, _)| fs::read_to_string(path).unwrap_or_default());
    let [uids, gids] = tables
        .each_ref()
        .map(|table| user_namespace::ranges_of(table, &user, process::effective_uid()));
    let mut lacking = Vec::new();
    let mut command = "sudo usermod".to_owned();
    for (((path, flag), table), ranges) in TABLES.iter().zip(&tables).zip([&uids, &gids]) {
        if ranges.iter().all(|range| range.count < NEEDED) {
            let first = user_namespace::first_free(table);
            let last = first.saturating_add(NEEDED - 1);
            lacking.push(format!("`{path}`"));
            command = format!("{command} {flag} {first}-{last}");
        }
    }
    if !lacking.is_empty() {
        let what = format!("a range of {NEEDED} ids in {}", lacking.join(" and in "));
        return Err(refused(what, format!("run `{command} {user}`")));
    }
    user_namespace::make_and_enter(&uids, &gids).map_err(|error| {
        let (what, remedy) = diagnose(&error, Path::new("/proc/sys"));
        refused(what, remedy)
    })
}

/// What keeps the kernel from making a user namespace for an ordinary user.
fn diagnose(error: &cowlab_sys::Error, settings: &Path) -> (String, String) {
    for (file, off, command) in SWITCHES {
        let value = fs::read_to_string(settings.join(file)).unwrap_or_default();
        if value.trim() == off {
            let what = format!("permission to make user namespaces ({error})");
            return (what, format!("run `sudo sysctl --write {command}`"));
        }
    }
    (
        format!("a user namespace ({error})"),
        "run as root, or outside a container that forbids it".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_that_is_off_is_named_with_the_command() {
        let place = tempfile::tempdir().unwrap();
        let error = Cmd::new("false").run().unwrap_err();
        let (_, remedy) = diagnose(&error, place.path());
        assert!(remedy.contains("as root"), "{remedy}");
        fs::create_dir(place.path().join("kernel")).unwrap();
        let switch = place.path().join("kernel/unprivileged_userns_clone");
        fs::write(switch, "0\n").unwrap();
        let (what, remedy) = diagnose(&error, place.path());
        assert!(what.contains("user namespaces"), "{what}");
        assert!(remedy.contains("unprivileged_userns_clone=1"), "{remedy}");
    }
}
