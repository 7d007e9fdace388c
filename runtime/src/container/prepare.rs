//! What happens to a container's mounted root before its program starts: mount points, the user, the
//! program, `/etc/hosts` and its like.

use std::path::{Path, PathBuf};

use cowlab_sys::process::with_private_mounts;
use cowlab_sys::{Errno, FileKind, Root, io};

use super::mounts::Attached;
use super::place::Containers;
use super::record::{Network, Record};
use super::spec::{self, SpecMount};
use super::user::{self, User};
use super::view::{self, Content, View};
use super::{Error, Result, files};

/// Files of `/proc` that others may be mounted over, as runc has them (libcontainer/rootfs_linux.go, `checkProcMount`).
const SHADOWED: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "net/dev",
    "slabinfo",
    "stat",
    "swaps",
    "sys/kernel/ns_last_pid",
    "uptime",
];

/// What was found and made.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The OCI runtime specification.
    pub(super) spec: serde_json::Value,
    /// Mount points that the image lacks and that were made.
    pub(super) scaffold: Vec<PathBuf>,
}

/// Prepares the tree at `rootfs`.
pub(super) fn prepare(
    containers: &Containers<'_>,
    record: &Record,
    rootfs: &Path,
) -> Result<Prepared> {
    let root = Root::open(rootfs)?;
    let mut scaffold = Vec::new();
    for place in ["/proc", "/dev", "/sys"] {
        scaffold.extend(root.make_dirs_inside(Path::new(place))?);
    }
    let mut view = View::new(&root);
    let mut asked = etc(containers, record, &view)?;
    asked.extend(record.mounts.iter().map(|one| (one.clone(), Need::Wanted)));
    let asked = view::ordered(&view, asked, |(one, _)| one.target())?;
    for place in spec::system_places() {
        view.add(&place, Content::Kernel, false);
    }
    let mut mounts = Vec::new();
    for (attached, need) in &asked {
        match (mount(containers, &mut view, attached, &mut scaffold), need) {
            (Ok(made), _) => mounts.push(made),
            (Err(error), Need::Wanted) => return Err(error),
            // An image may have anything there; it is left alone.
            (Err(error), Need::Offered) => tracing::debug!(%error, "not mounted"),
        }
    }
    let user = user::resolve(&view, &record.user)?;
    working_directory(&view, &record.cwd, &user)?;
    find_program(&view, &record.args, &record.cwd, &record.env, &record.name)?;
    Ok(Prepared {
        spec: spec::spec(record, &user, rootfs, &mounts),
        scaffold,
    })
}

/// Gives the volumes of a container that is being made what its image has at their places, unless they were filled before.
pub(super) fn fill_volumes(containers: &Containers<'_>, record: &Record) -> Result<()> {
    let mut wanted = Vec::new();
    for attached in &record.mounts {
        if let Attached::Volume {
            name,
            target,
            copy: true,
            ..
        } = attached
            && !containers.volumes().get(name)?.filled
        {
            wanted.push((name, target));
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let rootfs = containers.dir_of(&record.id).join("rootfs");
    files::make_dir(&rootfs)?;
    with_private_mounts(|| {
        let mounted = containers.store().mount(&record.snapshot, &rootfs)?;
        let root = Root::open(mounted.target())?;
        for (name, target) in wanted {
            let found = root.resolve_inside(target)?;
            let from = found.and_then(|(inside, found)| {
                let inside = inside.strip_prefix("/").unwrap_or(&inside);
                let is_dir = found.kind() == FileKind::Directory;
                is_dir.then(|| mounted.target().join(inside))
            });
            containers.volumes().fill(name, from.as_deref())?;
        }
        Ok(())
    })?
}

/// Whether a container can do without a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Somebody asked for it.
    Wanted,
    /// It is there for convenience.
    Offered,
}

/// Makes the mount point of a mount and adds it to what the program will see.
fn mount(
    containers: &Containers<'_>,
    view: &mut View<'_>,
    attached: &Attached,
    scaffold: &mut Vec<PathBuf>,
) -> Result<SpecMount> {
    let (source, read_only) = match attached {
        Attached::Tmpfs { target, options } => {
            let target = mount_point(view, target, FileKind::Directory, scaffold)?;
            let is_read_only = options.iter().any(|option| option == "ro");
            view.add(&target, Content::Memory, is_read_only);
            let mut all = ["nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
            all.extend(options.iter().cloned());
            return Ok(SpecMount {
                target,
                kind: "tmpfs",
                source: PathBuf::from("tmpfs"),
                options: all,
            });
        }
        Attached::Bind {
            source, read_only, ..
        } => (source.clone(), *read_only),
        Attached::Volume {
            name, read_only, ..
        } => (containers.volumes().get(name)?.mountpoint, *read_only),
    };
    let content = Content::of(&source)?;
    let target = mount_point(view, attached.target(), content.kind(), scaffold)?;
    view.add(&target, content, read_only);
    Ok(SpecMount::bind(&source, &target, read_only))
}

/// Finds the mount point, by links to where they lead, and makes it where nothing is.
fn mount_point(
    view: &View<'_>,
    target: &Path,
    kind: FileKind,
    scaffold: &mut Vec<PathBuf>,
) -> Result<PathBuf> {
    let bad = |reason: &str| Error::invalid("mount point", &target.display().to_string(), reason);
    let place = view.find(target)?;
    if place.path.parent().is_none() {
        return Err(bad("a link of the image leads from it to the image's root"));
    }
    let in_proc = place.path.strip_prefix("/proc").ok();
    if in_proc.is_some_and(|name| {
        !name.as_os_str().is_empty() && !SHADOWED.iter().any(|one| name == Path::new(one))
    }) {
        return Err(bad(
            "it is inside /proc, which is the kernel's: mount it elsewhere, and have a link lead there",
        ));
    }
    match place.entry {
        Some(found) if (found.kind == FileKind::Directory) != (kind == FileKind::Directory) => {
            return Err(bad(
                "a directory is mounted over a directory, and a file over a file; the image has the other there",
            ));
        }
        Some(_) => {}
        None => match view.make(&place.path, kind) {
            Ok(made) => scaffold.extend(made),
            Err(Error::Sys(error)) if error.errno() == Some(Errno::ROFS) => {
                return Err(bad(
                    "it is not there, and cannot be made on a mount that is read-only: make it in the source of that mount",
                ));
            }
            Err(error) => return Err(error),
        },
    }
    Ok(place.path)
}

/// `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`, kept beside the container and bound into it, as docker does.
fn etc(
    containers: &Containers<'_>,
    record: &Record,
    view: &View<'_>,
) -> Result<Vec<(Attached, Need)>> {
    let dir = containers.dir_of(&record.id);
    let name = record.host_name();
    let hosts = match record.network {
        Network::Host => std::fs::read_to_string("/etc/hosts").unwrap_or_default(),
        Network::None => {
            format!("127.0.0.1\tlocalhost {name}\n::1\tlocalhost ip6-localhost ip6-loopback\n")
        }
    };
    let resolv = match record.network {
        Network::Host => std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        Network::None => String::new(),
    };
    let mut mounts = Vec::new();
    for (file, content) in [
        ("hosts", hosts),
        ("hostname", format!("{name}\n")),
        ("resolv.conf", resolv),
    ] {
        let (source, target) = (dir.join(file), Path::new("/etc").join(file));
        let is_own = |mount: &Attached| {
            let place = view.find(mount.target()).map(|found| found.path);
            let places = [Some(mount.target().to_owned()), place.ok()];
            places
                .iter()
                .flatten()
                .any(|one| *one == target || one == Path::new("/etc"))
        };
        if record.mounts.iter().any(is_own) {
            continue;
        }
        files::replace(&source, content.as_bytes(), files::FileDurability::Boot)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        io("chmod", &source, std::fs::set_permissions(&source, mode))?;
        let bind = Attached::Bind {
            source,
            target,
            read_only: false,
        };
        mounts.push((bind, Need::Offered));
    }
    Ok(mounts)
}

/// Makes the working directory where it lacks, by links to where they lead, as docker does.
fn working_directory(view: &View<'_>, cwd: &str, user: &User) -> Result<()> {
    let place = view.find(Path::new(cwd))?;
    if place.entry.is_some() {
        return Ok(());
    }
    for made in view.make(&place.path, FileKind::Directory)? {
        if let Some((dir, name)) = view.parent(&made)? {
            cowlab_sys::at::chown(&dir, &name, user.uid, user.gid)?;
        }
    }
    Ok(())
}

/// Finds the program, so that one that is not there is named before anything starts.
pub(super) fn find_program(
    view: &View<'_>,
    args: &[String],
    cwd: &str,
    env: &[String],
    container: &str,
) -> Result<()> {
    let program = args.first().map_or("", String::as_str);
    let failed = |reason: String, status| Error::Start {
        name: container.to_owned(),
        reason,
        status,
    };
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![Path::new(cwd).join(program)]
    } else {
        let path = env.iter().rev().find_map(|one| one.strip_prefix("PATH="));
        let dirs = path
            .unwrap_or_default()
            .split(':')
            .filter(|dir| !dir.is_empty());
        dirs.map(|dir| Path::new("/").join(dir).join(program))
            .collect()
    };
    let mut unusable = None;
    for candidate in &candidates {
        let Ok(place) = view.find(candidate) else {
            continue;
        };
        match place.entry {
            Some(found) if found.kind == FileKind::Regular && found.mode & 0o111 != 0 => {
                return Ok(());
            }
            Some(_) => unusable = Some(candidate),
            // The start itself will tell.
            None if view.is_kernels(&place.path) => return Ok(()),
            None => {}
        }
    }
    match unusable {
        Some(path) => Err(failed(
            format!("`{}` is no executable file", path.display()),
            126,
        )),
        None if program.contains('/') => Err(failed(
            format!("there is no program `{program}` in it"),
            127,
        )),
        None => Err(failed(
            format!("there is no program `{program}` in its PATH"),
            127,
        )),
    }
}
