//! What an image is made of, as data: the packages and the script that turns them into its parts.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::FORMAT;

/// Runs inside the builder; its text is part of an image's key.
pub(crate) const SCRIPT: &str = include_str!("../recipe/build.sh");

/// Whose files make up the guest's root, with the libraries that they load. Every release has them by these names.
pub(crate) const RUNTIME: &[&str] = &[
    "acl",
    "attr",
    "bash",
    "btrfs-progs",
    "busybox-static",
    "ca-certificates",
    "dash",
    "dmsetup",
    "docker-registry",
    "e2fsprogs",
    "fsverity",
    "golang-github-containers-common",
    "kmod",
    "mount",
    "quota",
    "skopeo",
    "tar",
    "thin-provisioning-tools",
    "udev",
    "umoci",
    "util-linux",
    "xfsprogs",
    "zfsutils-linux",
];

/// What compiles ZFS and packs the results, and what brings libbtrfsutil, whose own package has another name in each release.
const BUILDER: &[&str] = &[
    "base-files",
    "binutils",
    "coreutils",
    "cpio",
    "diffutils",
    "dpkg",
    "findutils",
    "gcc",
    "grep",
    "gzip",
    "libbtrfsutil-dev",
    "libc-bin",
    "libc6-dev",
    "lz4",
    "make",
    "mawk",
    "sed",
    "squashfs-tools",
    "xz-utils",
    "zfs-dkms",
    "zstd",
];

/// Returns the packages to ask apt for, besides what they depend on.
pub(crate) fn packages(kernel: &str) -> Vec<String> {
    let fixed = [RUNTIME, BUILDER].concat();
    fixed
        .into_iter()
        .map(str::to_owned)
        .chain(["image", "headers"].map(|part| format!("linux-{part}-{kernel}")))
        .collect()
}

/// Returns the key of what is made of these packages by this version's recipe.
pub(crate) fn key(packages: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    hash.update(FORMAT.to_le_bytes());
    hash.update(SCRIPT);
    for name in RUNTIME {
        hash.update(name);
        hash.update("\n");
    }
    for (name, version) in packages {
        hash.update(format!("{name}={version}\n"));
    }
    crate::digest::hex(&hash.finalize()[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_follows_every_version() {
        let mut packages = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let first = key(&packages);
        assert_eq!(first.len(), 12);
        assert_eq!(first, key(&packages));
        packages.insert("b".into(), "1".into());
        let second = key(&packages);
        assert_ne!(first, second);
        packages.insert("b".into(), "2".into());
        assert_ne!(second, key(&packages));
    }
}
