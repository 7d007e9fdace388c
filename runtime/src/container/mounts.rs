//! What is mounted into a container beside its root: volumes, bind mounts and tmpfs, and how they are asked for.
//!
//! The spellings are docker's: `-v [SOURCE:]TARGET[:OPTIONS]`, `--mount type=...,...` and `--tmpfs TARGET[:OPTIONS]`.

use std::path::{Component, Path, PathBuf};

use cowlab_driver::Bytes;
use serde::{Deserialize, Serialize};

use super::{Error, Result, names};

/// A mount that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountRequest {
    /// A volume; without a name an anonymous one is made.
    Volume {
        /// The volume's name.
        name: Option<String>,
        /// Where it is in the container.
        target: PathBuf,
        /// Whether the container cannot write to it.
        read_only: bool,
        /// Whether an empty volume gets the image's content.
        copy: bool,
        /// Whether it was made, or is to be made, for a container that named none.
        anonymous: bool,
    },
    /// A directory or a file of the host.
    Bind {
        /// On the host.
        source: PathBuf,
        /// In the container.
        target: PathBuf,
        /// Whether the container cannot write to it.
        read_only: bool,
        /// Whether a missing source is made, a directory (`-v` does, `--mount` does not).
        create: bool,
    },
    /// Memory.
    Tmpfs {
        /// In the container.
        target: PathBuf,
        /// Its options, as mount(8) has them.
        options: Vec<String>,
    },
}

impl MountRequest {
    /// Where it is in the container.
    #[must_use]
    pub fn target(&self) -> &Path {
        match self {
            Self::Volume { target, .. }
            | Self::Bind { target, .. }
            | Self::Tmpfs { target, .. } => target,
        }
    }
}

/// A mount that a container has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Attached {
    /// A volume.
    Volume {
        /// The volume.
        name: String,
        /// In the container.
        target: PathBuf,
        /// Whether the container cannot write to it.
        read_only: bool,
        /// Whether it gets the image's content where it is empty.
        copy: bool,
        /// Whether it was made for this container and goes with `rm -v`.
        anonymous: bool,
    },
    /// A directory or a file of the host.
    Bind {
        /// On the host.
        source: PathBuf,
        /// In the container.
        target: PathBuf,
        /// Whether the container cannot write to it.
        read_only: bool,
    },
    /// Memory.
    Tmpfs {
        /// In the container.
        target: PathBuf,
        /// Its options.
        options: Vec<String>,
    },
}

impl Attached {
    /// Where it is in the container.
    #[must_use]
    pub fn target(&self) -> &Path {
        match self {
            Self::Volume { target, .. }
            | Self::Bind { target, .. }
            | Self::Tmpfs { target, .. } => target,
        }
    }

    /// The volume's name, if it is one.
    #[must_use]
    pub fn volume(&self) -> Option<&str> {
        match self {
            Self::Volume { name, .. } => Some(name),
            _ => None,
        }
    }
}

const PROPAGATION: &str = "mounts are private to the container: what is mounted later on one side is not seen on the other";

fn is_private(propagation: &str) -> bool {
    ["private", "rprivate"].contains(&propagation)
}

/// A path of the host, from where the command runs, without `.` and `..` as docker writes it (Go's `filepath.Abs`).
fn host_path(text: &str) -> Result<PathBuf> {
    let whole = std::path::absolute(text);
    Ok(cleaned(&cowlab_sys::io("getcwd", text, whole)?))
}

/// A path without `.` and `..`, by its text alone.
pub(super) fn cleaned(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

/// Whether the options of a volume have it read-only, and filled.
fn access(options: &str) -> Result<(bool, bool), String> {
    let (mut read_only, mut copy) = (false, true);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "rro" => read_only = true,
            "rw" => read_only = false,
            "nocopy" => copy = false,
            // Labels of SELinux are left alone, and hints for virtual machines that share files mean nothing here.
            "z" | "Z" | "cached" | "delegated" | "consistent" | "default" => {}
            _ if is_private(option) => {}
            "shared" | "rshared" | "slave" | "rslave" => {
                return Err(format!("{PROPAGATION} (`{option}`)"));
            }
            "U" => return Err("`U` is not supported: change the owner with chown".to_owned()),
            _ => {
                return Err(format!(
                    "there is no option `{option}`; there are ro, rw, nocopy, z, Z, cached, delegated, consistent and rprivate"
                ));
            }
        }
    }
    Ok((read_only, copy))
}

/// Reads `-v [SOURCE:]TARGET[:OPTIONS]`: a source that starts with `/` or `.` is a path of the host, another is a volume's name.
///
/// # Errors
///
/// [`Error::Invalid`].
pub fn parse_volume(text: &str) -> Result<MountRequest> {
    let bad = |reason: &str| Error::invalid("volume option", text, reason);
    let parts: Vec<_> = text.split(':').collect();
    let (source, place, options) = match parts[..] {
        [place] => (None, place, ""),
        [source, place] => (Some(source), place, ""),
        [source, place, options] => (Some(source), place, options),
        _ => return Err(bad("write [SOURCE:]TARGET[:OPTIONS]")),
    };
    let target = target(place)?;
    let (read_only, copy) = access(options).map_err(|reason| bad(&reason))?;
    match source {
        Some("") => Err(bad("the source is empty")),
        Some(path) if path.starts_with(['/', '.']) => Ok(MountRequest::Bind {
            source: host_path(path)?,
            target,
            read_only,
            create: true,
        }),
        Some(name) if name.contains('/') => Err(bad(
            "a path of the host starts with `/` or `.`, and a volume's name has no `/`",
        )),
        Some(name) => {
            names::check_name("volume name", name)?;
            let name = Some(name.to_owned());
            Ok(MountRequest::Volume {
                name,
                target,
                read_only,
                copy,
                anonymous: false,
            })
        }
        None => Ok(MountRequest::Volume {
            name: None,
            target,
            read_only,
            copy,
            anonymous: true,
        }),
    }
}

/// What `--mount` was told.
#[derive(Debug, Default)]
struct Parts {
    kind: Option<String>,
    source: Option<String>,
    target: Option<PathBuf>,
    read_only: bool,
    no_copy: bool,
    tmpfs: Vec<String>,
}

/// Reads `--mount type=volume|bind|tmpfs,source=...,target=...[,readonly]...`.
///
/// # Errors
///
/// [`Error::Invalid`], which names a key that is not supported.
pub fn parse_mount(text: &str) -> Result<MountRequest> {
    let bad = |reason: &str| Error::invalid("mount option", text, reason);
    let mut parts = Parts::default();
    for field in fields(text).map_err(bad)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        let key = key.as_str();
        let flag = match value {
            None | Some("true" | "1") => true,
            Some("false" | "0") => false,
            Some(_) if ["readonly", "ro", "volume-nocopy"].contains(&key) => {
                return Err(bad(&format!("`{key}` is true or false")));
            }
            Some(_) => false,
        };
        let given = || {
            value
                .filter(|v| !v.is_empty())
                .ok_or_else(|| bad(&format!("`{key}` wants a value")))
        };
        match key {
            "type" => parts.kind = Some(given()?.to_owned()),
            "source" | "src" => parts.source = Some(given()?.to_owned()),
            "target" | "dst" | "destination" => parts.target = Some(target(given()?)?),
            "readonly" | "ro" => parts.read_only = flag,
            "consistency" => {}
            "bind-propagation" if is_private(given()?) => {}
            "bind-propagation" => return Err(bad(PROPAGATION)),
            "bind-recursive" if ["enabled", "readonly"].contains(&given()?) => {}
            "bind-recursive" => {
                return Err(bad(
                    "what is mounted below the source comes along, read-only with it: `bind-recursive` is `enabled`",
                ));
            }
            "volume-nocopy" => parts.no_copy = flag,
            "tmpfs-size" => {
                let size: Bytes = given()?
                    .parse()
                    .map_err(|_error| bad("`tmpfs-size` is a size, as 64M"))?;
                parts.tmpfs.push(format!("size={}", size.0));
            }
            "tmpfs-mode" => {
                let mode = given()?;
                if u32::from_str_radix(mode, 8).is_err() {
                    return Err(bad("`tmpfs-mode` is octal, as 1770"));
                }
                parts.tmpfs.push(format!("mode={mode}"));
            }
            other => return Err(bad(&format!("the key `{other}` is not supported"))),
        }
    }
    mount_request(parts).map_err(|reason| bad(&reason))
}

/// The fields of a line of CSV: one that holds a comma stands in quotes, in which two quotes are one (RFC 4180).
fn fields(text: &str) -> Result<Vec<String>, &'static str> {
    let (mut fields, mut field) = (Vec::new(), String::new());
    let (mut quoted, mut closed) = (false, false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => (quoted, closed) = (false, true),
            '"' if field.is_empty() && !closed => quoted = true,
            '"' => return Err("a quote stands in the middle of a field: quote the whole field"),
            ',' if !quoted => {
                fields.push(std::mem::take(&mut field));
                closed = false;
            }
            _ if closed => return Err("a field goes on after its closing quote"),
            letter => field.push(letter),
        }
    }
    if quoted {
        return Err("a quote is not closed");
    }
    fields.push(field);
    Ok(fields)
}

fn mount_request(parts: Parts) -> Result<MountRequest, String> {
    let target = parts.target.ok_or("it has no `target`")?;
    let read_only = parts.read_only;
    let kind = parts.kind.as_deref().unwrap_or("volume");
    if kind != "tmpfs" && !parts.tmpfs.is_empty() {
        return Err(format!(
            "`tmpfs-size` and `tmpfs-mode` are not for type `{kind}`"
        ));
    }
    if kind != "volume" && parts.no_copy {
        return Err(format!("`volume-nocopy` is not for type `{kind}`"));
    }
    match kind {
        "volume" => {
            if let Some(name) = &parts.source {
                names::check_name("volume name", name).map_err(|error| error.to_string())?;
            }
            let (name, copy) = (parts.source, !parts.no_copy);
            Ok(MountRequest::Volume {
                anonymous: name.is_none(),
                name,
                target,
                read_only,
                copy,
            })
        }
        "bind" => {
            let source = parts.source.ok_or("a bind mount has a `source`")?;
            if !source.starts_with(['/', '.']) {
                return Err("the `source` of a bind mount starts with `/` or `.`".to_owned());
            }
            let source = host_path(&source).map_err(|error| error.to_string())?;
            Ok(MountRequest::Bind {
                source,
                target,
                read_only,
                create: false,
            })
        }
        "tmpfs" => {
            if parts.source.is_some() {
                return Err("a tmpfs has no `source`".to_owned());
            }
            let mut options = parts.tmpfs;
            if read_only {
                options.push("ro".to_owned());
            }
            Ok(MountRequest::Tmpfs { target, options })
        }
        other => Err(format!(
            "the type `{other}` is not supported; volume, bind and tmpfs are"
        )),
    }
}

/// Reads `--tmpfs TARGET[:OPTIONS]`.
///
/// # Errors
///
/// [`Error::Invalid`].
pub fn parse_tmpfs(text: &str) -> Result<MountRequest> {
    let (place, options) = text.split_once(':').unwrap_or((text, ""));
    let target = target(place)?;
    let options: Vec<_> = options
        .split(',')
        .filter(|option| !option.is_empty())
        .map(str::to_owned)
        .collect();
    let known = |option: &str| {
        let (name, _) = option.split_once('=').unwrap_or((option, ""));
        ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks"].contains(&name)
            || [
                "ro", "rw", "noexec", "exec", "nosuid", "suid", "nodev", "dev", "noatime",
            ]
            .contains(&option)
    };
    match options.iter().find(|option| !known(option)) {
        Some(option) => {
            let reason = format!("the option `{option}` is not supported");
            Err(Error::invalid("tmpfs option", text, reason))
        }
        None => Ok(MountRequest::Tmpfs { target, options }),
    }
}

/// A place in a container: absolute, cleaned, not the root.
fn target(text: &str) -> Result<PathBuf> {
    let path = Path::new(text);
    let bad = |reason| Err(Error::invalid("mount point", text, reason));
    if !path.is_absolute() {
        return bad("it has to be absolute");
    }
    let clean = cleaned(path);
    match clean.parent() {
        None => bad("the root of a container is its image"),
        Some(_) if text.contains('\0') => bad("it holds a NUL"),
        Some(_) => Ok(clean),
    }
}

/// Adds the volumes that the image declares where nothing else was asked for, and brings all in the order in which they
/// are mounted. One mount point is mounted once.
///
/// # Errors
///
/// [`Error::Invalid`] for a mount point that was asked for twice, or that the image declares and that cannot be.
pub(super) fn complete(
    mount_requests: Vec<MountRequest>,
    declared: &[String],
) -> Result<Vec<MountRequest>> {
    let mut all = mount_requests;
    for (index, mount_request) in all.iter().enumerate() {
        if all[..index]
            .iter()
            .any(|other| other.target() == mount_request.target())
        {
            let text = mount_request.target().display().to_string();
            return Err(Error::invalid(
                "mount point",
                &text,
                "it was asked for twice",
            ));
        }
    }
    for text in declared {
        let target = target(text)?;
        if !all
            .iter()
            .any(|mount_request| mount_request.target() == target)
        {
            let (name, read_only, copy) = (None, false, true);
            all.push(MountRequest::Volume {
                name,
                target,
                read_only,
                copy,
                anonymous: true,
            });
        }
    }
    // What is mounted below another comes after it.
    all.sort_by(|one, other| one.target().cmp(other.target()));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: Option<&str>, target: &str) -> MountRequest {
        MountRequest::Volume {
            name: name.map(str::to_owned),
            target: target.into(),
            read_only: false,
            copy: true,
            anonymous: name.is_none(),
        }
    }

    #[test]
    fn short_forms() {
        assert_eq!(parse_volume("/data").unwrap(), volume(None, "/data"));
        assert_eq!(
            parse_volume("vol:/data/").unwrap(),
            volume(Some("vol"), "/data")
        );
        assert_eq!(
            parse_volume("vol:/d:ro,nocopy").unwrap(),
            MountRequest::Volume {
                name: Some("vol".into()),
                target: "/d".into(),
                read_only: true,
                copy: false,
                anonymous: false
            }
        );
        assert_eq!(
            parse_volume("/host:/d:ro").unwrap(),
            MountRequest::Bind {
                source: "/host".into(),
                target: "/d".into(),
                read_only: true,
                create: true
            }
        );
        let here = std::env::current_dir().unwrap();
        for taken in [
            "./x/../y:/d",
            "./y:/d:z,cached",
            "./y:/e/../d:rprivate,delegated",
        ] {
            assert_eq!(
                parse_volume(taken).unwrap(),
                MountRequest::Bind {
                    source: here.join("y"),
                    target: "/d".into(),
                    read_only: false,
                    create: true
                }
            );
        }
        for bad in [
            "",
            "data",
            "vol:data",
            "a/b:/d",
            "vol:/",
            "vol:/a/..",
            "vol:/d:shared",
            "vol:/d:x",
            ":/d",
            "a:b:c:d",
        ] {
            assert!(parse_volume(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn long_forms() {
        assert_eq!(
            parse_mount("type=volume,source=vol,target=/d").unwrap(),
            volume(Some("vol"), "/d")
        );
        assert_eq!(parse_mount("dst=/d").unwrap(), volume(None, "/d"));
        assert_eq!(
            parse_mount("type=bind,src=/h,dst=/d,readonly").unwrap(),
            MountRequest::Bind {
                source: "/h".into(),
                target: "/d".into(),
                read_only: true,
                create: false
            }
        );
        assert_eq!(
            parse_mount("type=tmpfs,dst=/d,tmpfs-size=1k,tmpfs-mode=700").unwrap(),
            MountRequest::Tmpfs {
                target: "/d".into(),
                options: vec!["size=1024".into(), "mode=700".into()]
            }
        );
        let error = parse_mount("type=bind,src=/h,dst=/d,bind-propagation=shared").unwrap_err();
        assert!(error.to_string().contains("private"), "{error}");
        assert_eq!(
            parse_mount("TYPE=bind,\"src=/a,b\"\"c\",dst=/x/../d,bind-propagation=rprivate")
                .unwrap(),
            MountRequest::Bind {
                source: "/a,b\"c".into(),
                target: "/d".into(),
                read_only: false,
                create: false
            }
        );
        assert_eq!(fields("a,,\"b\"").unwrap(), ["a", "", "b"]);
        for bad in [
            "",
            "type=volume",
            "type=npipe,dst=/d",
            "type=bind,dst=/d",
            "type=tmpfs,src=x,dst=/d",
            "dst=/d,tmpfs-size=1k",
            "dst=/d,ro=maybe",
            "dst=/d,\"src=v",
            "dst=\"/d\"",
            "\"dst=/d\"x",
        ] {
            assert!(parse_mount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tmpfs_options_are_checked() {
        assert!(parse_tmpfs("/t:size=1m,mode=700,noexec").is_ok());
        assert!(parse_tmpfs("/t:bind").is_err());
        assert!(parse_tmpfs("t").is_err());
    }

    #[test]
    fn a_wish_replaces_what_the_image_declares() {
        let mount_requests = vec![volume(Some("vol"), "/b/c")];
        let declared = ["/b".to_owned(), "/b/c".to_owned()];
        let all = complete(mount_requests, &declared).unwrap();
        assert_eq!(all, [volume(None, "/b"), volume(Some("vol"), "/b/c")]);
        let twice = vec![volume(None, "/b"), volume(Some("v1"), "/b")];
        assert!(complete(twice, &[]).is_err());
    }
}
