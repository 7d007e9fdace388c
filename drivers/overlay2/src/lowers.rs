//! The layers of a mount as mount options.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use cowlab_driver::{Error, Result, SnapshotId, join_layers};
use cowlab_sys::{MountAttributes, MountOption, MountSpec};

/// The most lower layers of one mount (`OVL_MAX_STACK`, fs/overlayfs/params.h).
pub(crate) const MAX_STACK: usize = 500;

/// How lower layers are told to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// One by one, as raw paths: `lowerdir+` (overlayfs.rst, "multiple lower layers").
    Each,
    /// In one escaped list, as every kernel takes them.
    Joined,
}

impl Style {
    /// The options that name these lower directories, topmost first.
    pub(crate) fn lowers(self, lowers: &[PathBuf]) -> Vec<MountOption> {
        match self {
            Self::Each => lowers
                .iter()
                .map(|lower| MountOption::text("lowerdir+", lower))
                .collect(),
            Self::Joined => vec![MountOption::text("lowerdir", join_layers(lowers))],
        }
    }
}

/// The places in a driver's directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a>(pub(crate) &'a Path);

impl Places<'_> {
    pub(crate) fn diff(self, id: SnapshotId) -> PathBuf {
        self.0.join(id.to_string()).join("diff")
    }

    pub(crate) fn work(self, id: SnapshotId) -> PathBuf {
        self.0.join(id.to_string()).join("work")
    }

    pub(crate) fn empty(self) -> PathBuf {
        self.0.join("empty")
    }

    pub(crate) fn links(self) -> PathBuf {
        self.0.join("l")
    }

    pub(crate) fn link(self, id: SnapshotId) -> PathBuf {
        self.links().join(id.to_string())
    }

    pub(crate) fn probe(self) -> PathBuf {
        self.0.join("probe")
    }
}

/// Finds out, by trying, how this kernel takes lower layers.
pub(crate) fn style(places: Places<'_>) -> Style {
    let lowers = [places.empty(), places.links()];
    let options = lowers.map(|lower| MountOption::text("lowerdir+", lower));
    match cowlab_sys::mount::probe(&overlay(options.into(), MountAttributes::default())) {
        Ok(()) => Style::Each,
        Err(error) => {
            tracing::debug!(%error, "no `lowerdir+`: lower layers go into one list");
            Style::Joined
        }
    }
}

/// An overlay mount with these options.
pub(crate) fn overlay(options: Vec<MountOption>, attributes: MountAttributes) -> MountSpec {
    MountSpec {
        fstype: "overlay".to_owned(),
        source: Some(PathBuf::from("overlay")),
        options,
        attributes,
        ..MountSpec::default()
    }
}

/// The options that name the layers: `lowers`, newest first, then the empty one, below `upper`.
///
/// # Errors
///
/// [`Error::Limit`] when there are more than the kernel stacks.
pub(crate) fn layers(
    places: Places<'_>,
    style: Style,
    lowers: &[SnapshotId],
    upper: Option<SnapshotId>,
) -> Result<Vec<MountOption>> {
    if lowers.len() > MAX_STACK {
        return Err(Error::Limit {
            what: "the number of lower layers",
            value: lowers.len(),
            limit: MAX_STACK,
            because: "the kernel stacks no more (OVL_MAX_STACK)",
        });
    }
    // A full stack needs no filling up, and has no room for it.
    let empty = (lowers.len() < MAX_STACK).then(|| places.empty());
    let place = |id: &SnapshotId| match style {
        Style::Each => places.diff(*id),
        Style::Joined => places.link(*id),
    };
    let lowers: Vec<PathBuf> = lowers.iter().map(place).chain(empty).collect();
    let mut options = style.lowers(&lowers);
    if let Some(id) = upper {
        let escape = match style {
            Style::Each => escape,
            Style::Joined => escape_always,
        };
        options.push(MountOption::text("upperdir", escape(&places.diff(id))));
        options.push(MountOption::text("workdir", escape(&places.work(id))));
    }
    Ok(options)
}

/// Writes a path as `upperdir` and `workdir` take it: the kernel removes backslashes from a text
/// (fs/overlayfs/params.c, `ovl_unescape`), and not from what is too long for one and goes by descriptor.
pub(crate) fn escape(path: &Path) -> OsString {
    /// The longest text of an option.
    const LONGEST_TEXT: usize = 255;
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() > LONGEST_TEXT {
        return path.into();
    }
    escape_always(path)
}

/// Writes a path as `upperdir` and `workdir` of mount(2) take it.
fn escape_always(path: &Path) -> OsString {
    OsString::from_vec(cowlab_driver::escape(path.as_os_str().as_bytes(), b"\\,"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: u32) -> Vec<SnapshotId> {
        (1..=count).rev().filter_map(SnapshotId::new).collect()
    }

    #[test]
    fn the_empty_layer_is_last_and_yields_to_a_full_stack() {
        let places = Places(Path::new("/r"));
        let options = layers(places, Style::Each, &ids(2), None).unwrap();
        let expected = ["/r/2/diff", "/r/1/diff", "/r/empty"];
        assert_eq!(
            options,
            expected.map(|lower| MountOption::text("lowerdir+", lower))
        );
        let full = layers(places, Style::Each, &ids(500), None).unwrap();
        assert_eq!(full.len(), 500);
        let refused = layers(places, Style::Each, &ids(501), None).unwrap_err();
        assert!(refused.to_string().contains("501"), "{refused}");
    }

    #[test]
    fn an_upper_is_escaped_and_a_lower_is_not() {
        let root = PathBuf::from("/a\\b:c,d e");
        let head = SnapshotId::new(2);
        let options = layers(Places(&root), Style::Each, &ids(1), head).unwrap();
        assert!(options.contains(&MountOption::text("lowerdir+", root.join("1/diff"))));
        assert!(options.contains(&MountOption::text("upperdir", "/a\\\\b:c\\,d e/2/diff")));
    }

    #[test]
    fn a_long_upper_is_escaped_for_mount2() {
        let root = PathBuf::from(format!("/{},", "x".repeat(250)));
        let upper = |style| {
            let options = layers(Places(&root), style, &[], SnapshotId::new(2)).unwrap();
            let upper = |option| match option {
                MountOption::Text(name, value) if name == "upperdir" => Some(value),
                _ => None,
            };
            options.into_iter().find_map(upper).unwrap()
        };
        assert_eq!(upper(Style::Each), root.join("2/diff"));
        assert_eq!(upper(Style::Joined), escape_always(&root.join("2/diff")));
    }

    #[test]
    fn a_list_is_limited_by_its_page() {
        let places = Places(Path::new("/var/lib/cowlab/overlay2"));
        let options = layers(places, Style::Joined, &ids(100), SnapshotId::new(101)).unwrap();
        assert_eq!(options.len(), 3);
        crate::classic::check_length(&options).unwrap();
        let long = layers(places, Style::Joined, &ids(200), None).unwrap();
        let refused = crate::classic::check_length(&long).unwrap_err();
        assert!(refused.to_string().contains("4095"), "{refused}");
    }
}
