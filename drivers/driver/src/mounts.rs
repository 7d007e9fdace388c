//! Mount data: what a driver says and a caller does.

use std::ffi::{OsStr, OsString};
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use cowlab_sys::mount::{MountAttributes, MountGuard, MountOption, MountSpec};

use crate::Result;

/// How a snapshot is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing can be changed through the mount.
    ReadOnly,
    /// The snapshot's own layer takes the changes.
    ReadWrite,
}

/// How to mount a snapshot: data, mounted by the caller.
#[derive(Debug, Clone)]
pub enum Mounts {
    /// A mount of its own.
    FileSystem(MountSpec),
    /// A bind mount of a directory.
    Bind {
        /// The directory that shows the snapshot.
        source: PathBuf,
        /// The mount's attributes.
        attributes: MountAttributes,
    },
}

impl Mounts {
    /// Mounts the snapshot at `target`, an existing directory.
    ///
    /// # Errors
    ///
    /// What the kernel refused, with the messages of its mount context.
    pub fn mount_at(&self, target: &Path) -> Result<MountGuard> {
        Ok(match self {
            Self::FileSystem(spec) => cowlab_sys::mount::mount(spec, target)?,
            Self::Bind { source, attributes } => {
                cowlab_sys::mount::bind(source, target, *attributes)?
            }
        })
    }

    /// Writes the mount as data that other programs can use.
    ///
    /// Every attribute of the mount is an option, lower layers that are named one by one become one `lowerdir`, and
    /// what mount(2) and mount(8) would take for a separator is escaped.
    #[must_use]
    pub fn data(&self) -> MountData {
        match self {
            Self::FileSystem(spec) => MountData {
                fstype: spec.fstype.clone(),
                source: match &spec.source {
                    Some(source) => source.clone().into(),
                    None => spec.fstype.clone().into(),
                },
                options: options(spec),
            },
            Self::Bind { source, attributes } => MountData {
                fstype: BIND.to_owned(),
                source: source.clone().into(),
                options: [BIND]
                    .into_iter()
                    .chain(attribute_words(*attributes))
                    .map(OsString::from)
                    .collect(),
            },
        }
    }
}

/// The type of a bind mount, and its option.
const BIND: &str = "bind";

/// A snapshot that can be mounted: what the mount needs stays for as long as this lives, and then for as long as the mount does.
#[derive(Debug)]
pub struct Activation {
    mounts: Mounts,
    _device: Option<OwnedFd>,
}

impl Activation {
    /// The activation of a snapshot on a device that nobody can remove while it is open.
    #[must_use]
    pub fn on_device(mounts: Mounts, device: OwnedFd) -> Self {
        Self {
            mounts,
            _device: Some(device),
        }
    }

    /// Says how to mount the snapshot, and lets somebody else remove what the mount needs.
    #[must_use]
    pub fn into_mounts(self) -> Mounts {
        self.mounts
    }
}

impl From<Mounts> for Activation {
    fn from(mounts: Mounts) -> Self {
        Self {
            mounts,
            _device: None,
        }
    }
}

impl Deref for Activation {
    type Target = Mounts;

    fn deref(&self) -> &Mounts {
        &self.mounts
    }
}

/// A mount as other programs take it: `mount.Mount` of containerd. The options are those of mount(8) and mount(2).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MountData {
    /// The type of the file system; `bind` for a bind mount.
    #[serde(rename = "type")]
    pub fstype: String,
    /// The device or the directory; for an overlay only a name.
    #[serde(serialize_with = "text")]
    pub source: OsString,
    /// The options, of the mount and of its file system.
    #[serde(serialize_with = "texts")]
    pub options: Vec<OsString>,
}

impl MountData {
    /// Writes the arguments of the mount(8) command that makes the mount.
    #[must_use]
    pub fn command_line(&self, target: &Path) -> Vec<OsString> {
        let mut line: Vec<OsString> = vec!["mount".into()];
        if self.fstype != BIND {
            line.extend(["-t".into(), self.fstype.clone().into()]);
        }
        if !self.options.is_empty() {
            line.extend(["-o".into(), self.options.join(OsStr::new(","))]);
        }
        line.extend([self.source.clone(), target.into()]);
        line
    }

    /// Whether an option is longer than fsconfig(2) takes, so that mount(8) since version 2.39 has to be told to use mount(2):
    /// `LIBMOUNT_FORCE_MOUNT2=always` in its environment.
    #[must_use]
    pub fn needs_mount2(&self) -> bool {
        /// The longest value (fs/fsopen.c: 256 with the NUL).
        const LONGEST: usize = 255;
        self.options.iter().any(|option| option.len() > LONGEST)
    }

    /// Shortens options that do not fit the page that mount(2) has for them: lower layers are named from the directory
    /// that they all lie in, which is returned and has to be the working directory of the mount.
    pub fn shorten(&mut self) -> Option<PathBuf> {
        /// The bytes of a page, less the NUL at its end.
        const PAGE: usize = 4095;
        if self.options.join(OsStr::new(",")).len() <= PAGE {
            return None;
        }
        let lowers = self
            .options
            .iter_mut()
            .find(|option| option.as_bytes().starts_with(LOWERDIR))?;
        let layers = layer_paths(
            OsStr::from_bytes(&lowers.as_bytes()[LOWERDIR.len()..]),
            Some(b':'),
        );
        let dir = layers
            .iter()
            .skip(1)
            .fold(layers.first()?.parent()?.to_owned(), |dir, layer| {
                common(&dir, layer)
            });
        let short = layers.iter().map(|layer| layer.strip_prefix(&dir));
        *lowers = lowerdir(short.collect::<std::result::Result<_, _>>().ok()?);
        Some(dir)
    }
}

/// The directory that two paths have in common.
fn common(left: &Path, right: &Path) -> PathBuf {
    let pairs = left.components().zip(right.components());
    pairs
        .take_while(|(left, right)| left == right)
        .map(|(left, _)| left)
        .collect()
}

fn text<S: serde::Serializer>(text: &OsStr, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&text.display())
}

fn texts<S: serde::Serializer>(
    texts: &[OsString],
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(texts.iter().map(|text| text.to_string_lossy()))
}

/// The attributes of a mount as mount(8) has them.
fn attribute_words(attributes: MountAttributes) -> impl Iterator<Item = &'static str> {
    let MountAttributes {
        read_only,
        nosuid,
        nodev,
        noexec,
        noatime,
    } = attributes;
    [
        ("ro", read_only),
        ("nosuid", nosuid),
        ("nodev", nodev),
        ("noexec", noexec),
        ("noatime", noatime),
    ]
    .into_iter()
    .filter_map(|(word, is_set)| is_set.then_some(word))
}

fn options(spec: &MountSpec) -> Vec<OsString> {
    let mut all: Vec<OsString> = attribute_words(spec.attributes)
        .map(OsString::from)
        .collect();
    let each: Vec<&Path> = spec.options.iter().filter_map(lower).collect();
    if !each.is_empty() {
        all.push(lowerdir(each));
    }
    for option in spec.options.iter().filter(|option| lower(option).is_none()) {
        let text = match option {
            MountOption::Flag(name) => name.into(),
            MountOption::Text(name, value) => [OsStr::new(name), value].join(OsStr::new("=")),
        };
        // A driver may have an attribute of the mount among its file system's options as well.
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}

/// The lower layer of an overlay that an option names by itself (overlayfs.rst, "multiple lower layers").
fn lower(option: &MountOption) -> Option<&Path> {
    match option {
        MountOption::Text(name, value) if name == "lowerdir+" => Some(Path::new(value)),
        _ => None,
    }
}

const LOWERDIR: &[u8] = b"lowerdir=";

/// Writes the option that names all lower layers: colons separate, a backslash escapes (overlayfs.rst, "mount options").
fn lowerdir(layers: Vec<&Path>) -> OsString {
    let mut option = LOWERDIR.to_vec();
    option.extend(join_layers(layers).into_vec());
    OsString::from_vec(option)
}

/// Writes a list of lower layers as the option `lowerdir` has it.
#[must_use]
pub fn join_layers<P: AsRef<Path>>(layers: impl IntoIterator<Item = P>) -> OsString {
    let escaped: Vec<Vec<u8>> = layers
        .into_iter()
        .map(|layer| escape(layer.as_ref().as_os_str().as_bytes(), b"\\:,"))
        .collect();
    OsString::from_vec(escaped.join(&b':'))
}

/// Puts a backslash before each of the `special` bytes.
#[must_use]
pub fn escape(bytes: &[u8], special: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(bytes.len());
    for byte in bytes {
        if special.contains(byte) {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    escaped
}

/// Where the files of a layer are written.
#[derive(Debug)]
pub enum Staging {
    /// A mount that shows the parent's content: a whiteout becomes a deletion.
    Union(Mounts),
    /// The directory of the layer alone, in the kernel's own format: a whiteout becomes a character
    /// device 0:0, an opaque directory an xattr. The kernel refuses `mknod c 0 0` through overlay.
    Upper {
        /// The layer's directory.
        dir: PathBuf,
        /// The parent, read-only, for what a layer may refer to: a hard link's target, the attributes of
        /// a directory that the layer does not carry.
        parent: Option<Mounts>,
        /// The xattr that marks an opaque directory.
        opaque: &'static str,
    },
}

/// Reads the value of `upperdir` or `workdir`, and with `:` as the separator of `lowerdir`: backslashes
/// are undone (overlayfs.rst, "mount options"). The value of `lowerdir+` is a path as it stands.
#[must_use]
pub fn layer_paths(value: &OsStr, separator: Option<u8>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let mut path = Vec::new();
    let mut bytes = value.as_bytes().iter().copied();
    while let Some(byte) = bytes.next() {
        if Some(byte) == separator {
            paths.push(std::mem::take(&mut path));
        } else if byte == b'\\' {
            path.extend(bytes.next());
        } else {
            path.push(byte);
        }
    }
    paths.push(path);
    paths
        .into_iter()
        .filter(|path| !path.is_empty())
        .map(|path| PathBuf::from(OsString::from_vec(path)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(options: Vec<MountOption>, attributes: MountAttributes) -> MountData {
        Mounts::FileSystem(MountSpec {
            fstype: "overlay".into(),
            source: Some("overlay".into()),
            options,
            attributes,
            ..MountSpec::default()
        })
        .data()
    }

    #[test]
    fn lower_layers_become_one_escaped_option() {
        let options = vec![
            MountOption::text("lowerdir+", "/a,b/2"),
            MountOption::text("lowerdir+", "/a:b\\/1"),
            MountOption::text("upperdir", "/u"),
            MountOption::flag("userxattr"),
        ];
        let data = overlay(options, MountAttributes::default());
        let expected = ["lowerdir=/a\\,b/2:/a\\:b\\\\/1", "upperdir=/u", "userxattr"];
        assert_eq!(data.options, expected);
    }

    #[test]
    fn every_attribute_is_an_option_once() {
        let attributes = MountAttributes {
            read_only: true,
            nosuid: true,
            nodev: true,
            noexec: true,
            noatime: true,
        };
        let words = ["ro", "nosuid", "nodev", "noexec", "noatime"];
        let data = overlay(vec![MountOption::flag("ro")], attributes);
        assert_eq!(data.options, words);
        let source = PathBuf::from("/s");
        let bind = Mounts::Bind { source, attributes }.data();
        assert_eq!(bind.options, [&["bind"], &words[..]].concat());
        let line = [
            "mount",
            "-o",
            "bind,ro,nosuid,nodev,noexec,noatime",
            "/s",
            "/t",
        ];
        assert_eq!(bind.command_line(Path::new("/t")), line);
    }

    #[test]
    fn options_of_more_than_a_page_are_shortened() {
        let layer = |number: usize| MountOption::text("lowerdir+", format!("/a/b c/l/{number}"));
        let mut short = overlay((0..10).map(layer).collect(), MountAttributes::default());
        assert_eq!(short.shorten(), None);
        assert!(!short.needs_mount2());
        let mut options: Vec<_> = (0..400).map(layer).collect();
        options.push(MountOption::text("lowerdir+", "/a/b c/empty"));
        let mut long = overlay(options, MountAttributes::default());
        assert!(long.needs_mount2());
        assert_eq!(long.shorten(), Some("/a/b c".into()));
        let lowers = long.options[0].to_str().unwrap();
        assert!(lowers.starts_with("lowerdir=l/0:l/1:"), "{lowers}");
        assert!(lowers.ends_with(":l/399:empty"), "{lowers}");
    }

    #[test]
    fn data_is_what_containerd_reads() {
        let data = overlay(
            vec![MountOption::text("lowerdir+", "/l")],
            MountAttributes::default(),
        );
        assert_eq!(
            serde_json::to_string(&data).unwrap(),
            r#"{"type":"overlay","source":"overlay","options":["lowerdir=/l"]}"#
        );
    }
}
