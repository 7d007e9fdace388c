//! What happens to a container's mounted root before its program starts: mount points, the user, the
//! program, `/etc/hosts` and its like.

use std::path::{Path, PathBuf};

use cowlab_sys::process::with_private_mounts;
use cowlab_sys::{FileKind, Root, io};

use super::config::Network;
use super::mounts::Attached;
use super::place::Containers;
use super::record::Record;
use super::spec::{self, SpecMount};
use super::user::{self, User};
use super::{Error, Result, files};

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
    let user = user::resolve(&root, &record.user)?;
    let mut scaffold = Vec::new();
    for place in ["/proc", "/dev", "/sys"] {
        scaffold.extend(root.make_dirs_inside(Path::new(place))?);
    }
    let mut mounts = etc(containers, record, &root, &mut scaffold)?;
    for attached in &record.mounts {
        mounts.push(mount(containers, &root, attached, &mut scaffold)?);
    }
    working_directory(&root, &record.cwd, &user, record)?;
    let Record {
        args,
        cwd,
        env,
        mounts: inside,
        name,
        ..
    } = record;
    find_program(&root, args, cwd, env, inside, name)?;
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

/// Makes the mount point of a mount, and follows links of the image to it.
fn mount(
    containers: &Containers<'_>,
    root: &Root,
    attached: &Attached,
    scaffold: &mut Vec<PathBuf>,
) -> Result<SpecMount> {
    let (source, read_only) = match attached {
        Attached::Tmpfs { target, options } => {
            let target = mount_point(root, target, FileKind::Directory, scaffold)?;
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
    let kind = cowlab_sys::stat::stat(&source)?.kind();
    let target = mount_point(root, attached.target(), kind, scaffold)?;
    Ok(SpecMount::bind(&source, &target, read_only))
}

fn mount_point(
    root: &Root,
    target: &Path,
    kind: FileKind,
    scaffold: &mut Vec<PathBuf>,
) -> Result<PathBuf> {
    if root.resolve_inside(target)?.is_none() {
        scaffold.extend(match kind {
            FileKind::Directory => root.make_dirs_inside(target)?,
            _ => root.make_file_inside(target)?,
        });
    }
    let Some((inside, found)) = root.resolve_inside(target)? else {
        let reason = "it cannot be made: a dangling link of the image is in its place";
        return Err(Error::invalid(
            "mount point",
            &target.display().to_string(),
            reason,
        ));
    };
    if (found.kind() == FileKind::Directory) != (kind == FileKind::Directory) {
        let reason = "a directory is mounted over a directory, and a file over a file; the image has the other there";
        return Err(Error::invalid(
            "mount point",
            &target.display().to_string(),
            reason,
        ));
    }
    Ok(inside)
}

/// `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`, kept beside the container and bound into it, as docker does.
fn etc(
    containers: &Containers<'_>,
    record: &Record,
    root: &Root,
    scaffold: &mut Vec<PathBuf>,
) -> Result<Vec<SpecMount>> {
    let dir = containers.dir_of(&record.id);
    let name = match record.hostname.as_str() {
        "" => record.short_id(),
        name => name,
    };
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
        if record
            .mounts
            .iter()
            .any(|mount| mount.target() == target || mount.target() == Path::new("/etc"))
        {
            continue;
        }
        files::replace(&source, content.as_bytes(), files::Lasting::Boot)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        io("chmod", &source, std::fs::set_permissions(&source, mode))?;
        match mount_point(root, &target, FileKind::Regular, scaffold) {
            Ok(target) => mounts.push(SpecMount::bind(&source, &target, false)),
            // An image may have anything there; it is left alone.
            Err(error) => tracing::debug!(%error, "not mounted"),
        }
    }
    Ok(mounts)
}

/// Makes the working directory where the image lacks it, as docker does.
fn working_directory(root: &Root, cwd: &str, user: &User, record: &Record) -> Result<()> {
    let path = Path::new(cwd);
    if record
        .mounts
        .iter()
        .any(|mount| path.starts_with(mount.target()))
    {
        return Ok(());
    }
    for made in root.make_dirs_inside(path)? {
        let (dir, name) = root.parent_inside(&made)?;
        cowlab_sys::at::chown(&dir, &name, user.uid, user.gid)?;
    }
    Ok(())
}

/// Finds the program, so that one that is not there is named before anything starts.
pub(super) fn find_program(
    root: &Root,
    args: &[String],
    cwd: &str,
    env: &[String],
    mounts: &[Attached],
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
        // What a mount brings is not there yet: the start itself will tell.
        if mounts
            .iter()
            .any(|mount| candidate.starts_with(mount.target()))
        {
            return Ok(());
        }
        match root.resolve_inside(candidate) {
            Ok(Some((_, found)))
                if found.kind() == FileKind::Regular && found.permissions() & 0o111 != 0 =>
            {
                return Ok(());
            }
            Ok(Some(_)) => unusable = Some(candidate),
            Ok(None) | Err(_) => {}
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
