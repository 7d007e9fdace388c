//! What this workspace needs from the system, as data: the packages, what proves their presence, and
//! why they are needed.

use std::fmt;

/// What a package is needed for; tasks name the purposes they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Compiling the workspace.
    Build,
    /// Formatting and linting it.
    Lint,
    /// Running conformance, bench and everything else on loop devices.
    Run,
    /// Making the real input of `report`.
    Report,
    /// Running the guest.
    GuestRun,
    /// Building its image.
    GuestBuild,
    /// Judging what the suite makes by other people's programs.
    Judge,
}

impl Purpose {
    /// Every purpose but the judges', who are asked for by name.
    pub(crate) const ALL: [Self; 6] = [
        Self::Build,
        Self::Lint,
        Self::Run,
        Self::Report,
        Self::GuestRun,
        Self::GuestBuild,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Lint => "lint",
            Self::Run => "run",
            Self::Report => "report",
            Self::Judge => "judge",
            Self::GuestRun | Self::GuestBuild => "guest",
        }
    }
}

/// Something that shows by its presence that a package is usable.
#[derive(Debug, Clone, Copy)]
pub(super) enum Proof {
    /// A program in `PATH` or in the sbin folders.
    Program(&'static str),
    /// A header that the C compiler finds.
    Header(&'static str),
    /// A library that the linker finds, as its file name.
    Library(&'static str),
    /// Any file that matches one of these paths; `*` stands for a part of one name.
    File(&'static [&'static str]),
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(name) => write!(f, "no program `{name}`"),
            Self::Header(name) => write!(f, "no header `{name}`"),
            Self::Library(name) => write!(f, "no library `{name}`"),
            Self::File(patterns) => write!(f, "no file `{}`", patterns.join("` or `")),
        }
    }
}

/// What happens without a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Necessity {
    /// Nothing works.
    Required,
    /// The task goes on and loses this.
    Useful { without: &'static str },
}

/// A Debian package.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: &'static str,
    /// All of them must hold.
    pub(super) proofs: &'static [Proof],
    pub(super) why: &'static str,
    pub(super) purpose: Purpose,
    pub(super) necessity: Necessity,
}

/// A component of the Rust toolchain, which is not ours to install.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) name: &'static str,
    /// The cargo subcommand that it provides.
    pub(super) subcommand: &'static str,
    pub(super) why: &'static str,
}

/// Where libclang lies in Debian and its relatives, Fedora and Arch.
const LIBCLANG: Proof = Proof::File(&[
    "/usr/lib/llvm-*/lib/libclang*.so*",
    "/usr/lib/*-linux-gnu/libclang*.so*",
    "/usr/lib64/libclang.so*",
    "/usr/lib/libclang.so*",
]);

/// libclang reads the compiler's own headers (`stddef.h`) from a package that it does not depend on.
const CLANG_HEADERS: Proof = Proof::File(&[
    "/usr/lib/llvm-*/lib/clang/*/include/stddef.h",
    "/usr/lib/clang/*/include/stddef.h",
    "/usr/lib64/clang/*/include/stddef.h",
]);

/// Every system package, in the order in which they are installed.
pub(super) const PACKAGES: &[Package] = &[
    Package {
        name: "gcc",
        proofs: &[Proof::Program("cc")],
        why: "links the programs and compiles SQLite and zstd",
        purpose: Purpose::Build,
        necessity: Necessity::Required,
    },
    Package {
        name: "libc6-dev",
        proofs: &[Proof::Header("stdio.h")],
        why: "the C headers that SQLite and zstd are compiled with",
        purpose: Purpose::Build,
        necessity: Necessity::Required,
    },
    Package {
        name: "libclang-dev",
        proofs: &[LIBCLANG, CLANG_HEADERS],
        why: "bindgen reads the header of libbtrfsutil with it",
        purpose: Purpose::Build,
        necessity: Necessity::Required,
    },
    Package {
        name: "libbtrfsutil-dev",
        proofs: &[Proof::Library("libbtrfsutil.so")],
        why: "the btrfs driver makes, snapshots and deletes subvolumes with it",
        purpose: Purpose::Build,
        necessity: Necessity::Required,
    },
    Package {
        name: "pkg-config",
        proofs: &[Proof::Program("pkg-config")],
        why: "the package zfs-core asks it for libzfs_core, in whose place it finds nothing to link",
        purpose: Purpose::Build,
        necessity: Necessity::Required,
    },
    Package {
        name: "btrfs-progs",
        proofs: &[Proof::Program("mkfs.btrfs"), Proof::Program("btrfs")],
        why: "makes the btrfs backing file systems",
        purpose: Purpose::Run,
        necessity: Necessity::Required,
    },
    Package {
        name: "fuse-overlayfs",
        proofs: &[Proof::Program("fuse-overlayfs")],
        why: "serves the unions of the driver of its name",
        purpose: Purpose::Run,
        necessity: Necessity::Required,
    },
    Package {
        name: "e2fsprogs",
        proofs: &[Proof::Program("mkfs.ext4")],
        why: "makes the ext4 backing file systems",
        purpose: Purpose::Run,
        necessity: Necessity::Required,
    },
    Package {
        name: "xfsprogs",
        proofs: &[Proof::Program("mkfs.xfs")],
        why: "makes the xfs backing file systems",
        purpose: Purpose::Run,
        necessity: Necessity::Required,
    },
    Package {
        name: "git",
        proofs: &[Proof::Program("git")],
        why: "tells the commit that results belong to",
        purpose: Purpose::Run,
        necessity: Necessity::Useful {
            without: "results do not name the commit",
        },
    },
    Package {
        name: "qemu-system-x86",
        proofs: &[Proof::Program("qemu-system-x86_64")],
        why: "runs the guest, in which the drivers work that this kernel lacks",
        purpose: Purpose::GuestRun,
        necessity: Necessity::Required,
    },
    Package {
        name: "mmdebstrap",
        proofs: &[Proof::Program("mmdebstrap")],
        why: "unpacks the Debian packages that the guest is made of",
        purpose: Purpose::GuestBuild,
        necessity: Necessity::Required,
    },
    Package {
        name: "debian-archive-keyring",
        proofs: &[Proof::File(&[
            "/usr/share/keyrings/debian-archive-keyring.gpg",
            "/usr/share/keyrings/debian-archive-keyring.pgp",
        ])],
        why: "the keys that the guest's packages are checked with",
        purpose: Purpose::GuestBuild,
        necessity: Necessity::Required,
    },
    Package {
        name: "uidmap",
        proofs: &[Proof::Program("newuidmap"), Proof::Program("newgidmap")],
        why: "lets an ordinary user own the files of a Debian root file system",
        purpose: Purpose::GuestBuild,
        necessity: Necessity::Useful {
            without: "only root builds a guest",
        },
    },
    Package {
        name: "mmdebstrap",
        proofs: &[Proof::Program("mmdebstrap")],
        why: "makes the Debian root file system that `report` measures with",
        purpose: Purpose::Report,
        necessity: Necessity::Useful {
            without: "`report` measures with a generated tree",
        },
    },
    Package {
        name: "skopeo",
        proofs: &[Proof::Program("skopeo")],
        why: "copies images, and tells their digests, to compare with cowlab's",
        purpose: Purpose::Judge,
        necessity: Necessity::Required,
    },
    Package {
        name: "umoci",
        proofs: &[Proof::Program("umoci")],
        why: "unpacks images, to compare with cowlab's trees",
        purpose: Purpose::Judge,
        necessity: Necessity::Required,
    },
    Package {
        name: "buildah",
        proofs: &[Proof::Program("buildah")],
        why: "builds images, to compare with cowlab's",
        purpose: Purpose::Judge,
        necessity: Necessity::Required,
    },
    Package {
        name: "docker.io",
        proofs: &[Proof::Program("dockerd")],
        why: "builds images, to compare with cowlab's (Debian starts it as well: `systemctl disable --now docker`)",
        purpose: Purpose::Judge,
        necessity: Necessity::Required,
    },
    Package {
        name: "podman",
        proofs: &[Proof::Program("podman")],
        why: "loads and saves images, to compare with cowlab's",
        purpose: Purpose::Judge,
        necessity: Necessity::Required,
    },
    Package {
        name: "docker-registry",
        proofs: &[Proof::Program("docker-registry")],
        why: "the registry that cases start on loopback (Debian starts one as well: `systemctl disable --now docker-registry`)",
        purpose: Purpose::Judge,
        necessity: Necessity::Required,
    },
    Package {
        name: "openssl",
        proofs: &[Proof::Program("openssl")],
        why: "makes the certificate of a registry that nobody vouches for",
        purpose: Purpose::Judge,
        necessity: Necessity::Required,
    },
    Package {
        name: "ca-certificates",
        proofs: &[Proof::File(&["/etc/ssl/certs/ca-certificates.crt"])],
        why: "whom to believe: no registry can be asked without, not even one without TLS",
        purpose: Purpose::Judge,
        necessity: Necessity::Required,
    },
];

/// The toolchain components beyond the minimal profile.
pub(super) const COMPONENTS: &[Component] = &[
    Component {
        name: "rustfmt",
        subcommand: "fmt",
        why: "`cargo xtask ci` checks the format",
    },
    Component {
        name: "clippy",
        subcommand: "clippy",
        why: "`cargo xtask ci` runs the lints",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_a_proof_a_reason_and_its_own_row() {
        for (index, package) in PACKAGES.iter().enumerate() {
            assert!(!package.proofs.is_empty(), "{}", package.name);
            assert!(!package.why.is_empty(), "{}", package.name);
            assert!(
                PACKAGES
                    .iter()
                    .skip(index + 1)
                    .all(|other| other.name != package.name || other.purpose != package.purpose)
            );
        }
    }

    #[test]
    fn a_proof_says_what_is_not_there() {
        assert_eq!(
            Proof::Program("mkfs.xfs").to_string(),
            "no program `mkfs.xfs`"
        );
        assert_eq!(
            Proof::File(&["/a", "/b"]).to_string(),
            "no file `/a` or `/b`"
        );
    }
}
