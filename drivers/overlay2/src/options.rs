//! The option sets of overlay2 and how they become mount options.
//!
//! The default refuses what it never writes: `redirect_dir=nofollow`, so that a redirect or metacopy
//! xattr smuggled in by a layer is an error (overlayfs.rst, "permission model") and not a way to
//! other files. xino stays off, as kernels have it: all layers lie on one file system, where the
//! numbers agree without it.

use cowlab_driver::Variant;
use cowlab_driver::upper::OverlayXattrs;
use cowlab_sys::MountOption;

/// The variants. Each sets every option.
pub(crate) const VARIANTS: &[Variant] = &[
    Variant {
        name: "default",
        summary: "no index, redirects neither made nor followed, no metacopy, no xino",
        options: &[
            ("index", "off"),
            ("redirect_dir", "nofollow"),
            ("metacopy", "off"),
            ("xino", "off"),
        ],
    },
    Variant {
        name: "redirect_dir",
        summary: "directories of the parent can be renamed",
        options: &[
            ("index", "off"),
            ("redirect_dir", "on"),
            ("metacopy", "off"),
            ("xino", "off"),
        ],
    },
    Variant {
        name: "metacopy",
        summary: "chmod and chown copy no data; needs redirects",
        options: &[
            ("index", "off"),
            ("redirect_dir", "on"),
            ("metacopy", "on"),
            ("xino", "off"),
        ],
    },
    Variant {
        name: "index",
        summary: "hard links of the parent stay together while mounted; an upper in use is refused",
        options: &[
            ("index", "on"),
            ("redirect_dir", "nofollow"),
            ("metacopy", "off"),
            ("xino", "off"),
        ],
    },
    Variant {
        name: "xino",
        summary: "inode numbers carry the layer's number",
        options: &[
            ("index", "off"),
            ("redirect_dir", "nofollow"),
            ("metacopy", "off"),
            ("xino", "on"),
        ],
    },
    Variant {
        name: "volatile",
        summary: "nothing is flushed while mounted; a crash costs the snapshot",
        options: &[
            ("index", "off"),
            ("redirect_dir", "nofollow"),
            ("metacopy", "off"),
            ("xino", "off"),
            ("volatile", "on"),
        ],
    },
    // The kernel keeps redirects and metacopy out of it (fs/overlayfs/params.c, `ovl_fs_params_verify`).
    Variant {
        name: "userxattr",
        summary: "notes in `user.` xattrs: the one that works in a user namespace",
        options: &[
            ("index", "off"),
            ("redirect_dir", "nofollow"),
            ("metacopy", "off"),
            ("xino", "off"),
            ("userxattr", "on"),
        ],
    },
    // moby and containerd set index=off and leave the rest to the kernel; the rest is written out here
    // as Debian, Ubuntu, Fedora and RHEL kernels preset it.
    Variant {
        name: "as-docker",
        summary: "docker's overlay2 on a stock kernel: index=off, redirects followed and not made",
        options: &[
            ("index", "off"),
            ("redirect_dir", "off"),
            ("metacopy", "off"),
            ("xino", "off"),
        ],
    },
    Variant {
        name: "as-containerd",
        summary: "containerd's overlayfs on a stock kernel: index=off, redirects followed and not made",
        options: &[
            ("index", "off"),
            ("redirect_dir", "off"),
            ("metacopy", "off"),
            ("xino", "off"),
        ],
    },
    // metacopy=on turns redirect_dir on in the kernel; storage.conf has no more than the first two.
    Variant {
        name: "as-podman",
        summary: "podman's overlay as packaged: `mountopt = \"nodev,metacopy=on\"`",
        options: &[
            ("nodev", "on"),
            ("metacopy", "on"),
            ("redirect_dir", "on"),
            ("index", "off"),
            ("xino", "off"),
        ],
    },
];

/// The xattrs of overlayfs that only the host's root can write.
const TRUSTED: OverlayXattrs = OverlayXattrs {
    opaque: "trusted.overlay.opaque",
    origin: "trusted.overlay.origin",
    redirect: Some("trusted.overlay.redirect"),
    metacopy: Some("trusted.overlay.metacopy"),
    whiteout_files: false,
};

/// Those that the owner of a file can write: `userxattr` (overlayfs.rst, "User xattr").
const USER: OverlayXattrs = OverlayXattrs {
    opaque: "user.overlay.opaque",
    origin: "user.overlay.origin",
    redirect: Some("user.overlay.redirect"),
    metacopy: Some("user.overlay.metacopy"),
    whiteout_files: false,
};

/// The options of a variant, as the driver uses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    index: &'static str,
    redirect_dir: &'static str,
    metacopy: &'static str,
    xino: &'static str,
    /// Whether read-write mounts skip every flush.
    pub(crate) volatile: bool,
    /// Whether device files in a snapshot stay closed.
    pub(crate) nodev: bool,
    /// Whether overlayfs keeps its notes in xattrs that need no privilege.
    userxattr: bool,
}

impl From<&'static Variant> for Options {
    fn from(variant: &'static Variant) -> Self {
        let or_off = |name| variant.option(name).unwrap_or("off");
        Self {
            index: or_off("index"),
            redirect_dir: variant.option("redirect_dir").unwrap_or("nofollow"),
            metacopy: or_off("metacopy"),
            xino: or_off("xino"),
            volatile: or_off("volatile") == "on",
            nodev: or_off("nodev") == "on",
            userxattr: or_off("userxattr") == "on",
        }
    }
}

impl Options {
    /// The options of a read-write mount.
    pub(crate) fn read_write(self) -> Vec<MountOption> {
        let mut options = self.common();
        options.push(MountOption::text("index", self.index));
        if self.volatile {
            options.push(MountOption::flag("volatile"));
        }
        options
    }

    /// The options of a mount without an upper. There is no index without one, and `redirect_dir=on`
    /// would mean the same as `follow`.
    pub(crate) fn read_only(self) -> Vec<MountOption> {
        let mut options = self.common();
        options.push(MountOption::text("index", "off"));
        options
    }

    /// Where overlayfs keeps its notes.
    pub(crate) const fn xattrs(self) -> OverlayXattrs {
        match self.userxattr {
            true => USER,
            false => TRUSTED,
        }
    }

    fn common(self) -> Vec<MountOption> {
        let mut options = vec![
            MountOption::text("redirect_dir", self.redirect_dir),
            MountOption::text("metacopy", self.metacopy),
            MountOption::text("xino", self.xino),
        ];
        if self.userxattr {
            options.push(MountOption::flag("userxattr"));
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_sets_every_kernel_default() {
        for variant in VARIANTS {
            for option in ["index", "redirect_dir", "metacopy", "xino"] {
                assert!(
                    variant.option(option).is_some(),
                    "{} {option}",
                    variant.name
                );
            }
        }
    }

    #[test]
    fn metacopy_comes_with_redirects() {
        // The kernel refuses the one without the other (overlayfs.rst, "metadata only copy up").
        for variant in VARIANTS {
            if variant.option("metacopy") == Some("on") {
                assert_eq!(
                    variant.option("redirect_dir"),
                    Some("on"),
                    "{}",
                    variant.name
                );
            }
        }
    }

    #[test]
    fn a_view_is_never_volatile_and_has_no_index() {
        for variant in VARIANTS {
            let options = Options::from(variant).read_only();
            assert!(!options.contains(&MountOption::flag("volatile")));
            assert!(options.contains(&MountOption::text("index", "off")));
        }
    }
}
