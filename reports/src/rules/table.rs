//! The rules themselves, in the order of their numbers.
//!
//! Only rules that the facts of a report can decide are here. The numbers leave gaps for those that need facts which
//! no result carries yet, such as the release of an installed engine, thin pools and SELinux.

use super::{Applies, Finding, Rule, Weight};
use crate::facts::{Candidate, Facts};
use crate::statistics::Summary;
use crate::units;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// Every rule.
pub const RULES: &[Rule] = &[
    Rule {
        id: 15,
        says: "overlay2 is documented on ext4 and on xfs with ftype=1.",
        source: "https://docs.docker.com/engine/storage/drivers/select-storage-driver/",
        applies: Applies::Candidate(documented_backing),
    },
    Rule {
        id: 17,
        says: "overlayfs can not serve as the upper layer of overlayfs.",
        source: "https://docs.kernel.org/filesystems/overlayfs.html",
        applies: Applies::Host(storage_on_overlay),
    },
    Rule {
        id: 18,
        says: "An upper layer on NFS lacks the extended attributes and d_type that overlayfs needs.",
        source: "https://docs.kernel.org/filesystems/overlayfs.html",
        applies: Applies::Host(storage_on_network),
    },
    Rule {
        id: 19,
        says: "ZFS is not in the documented table for overlay2.",
        source: "https://docs.docker.com/engine/storage/drivers/select-storage-driver/",
        applies: Applies::Host(storage_on_zfs),
    },
    Rule {
        id: 20,
        says: "On a btrfs root overlay2 is still preferred; the btrfs driver is opt-in.",
        source: "https://docs.docker.com/engine/storage/drivers/btrfs-driver/",
        applies: Applies::Candidate(btrfs_is_opt_in),
    },
    Rule {
        id: 41,
        says: "metacopy must not be used with layers that are not trusted.",
        source: "https://docs.kernel.org/filesystems/overlayfs.html",
        applies: Applies::Candidate(metacopy_trust),
    },
    Rule {
        id: 44,
        says: "A volatile mount never syncs; after a crash its upper layer has to be thrown away.",
        source: "https://docs.kernel.org/filesystems/overlayfs.html",
        applies: Applies::Candidate(volatile_loses),
    },
    Rule {
        id: 45,
        says: "Since Linux 6.12 copying up metadata alone syncs the file too.",
        source: "https://github.com/ctrliq/kernel-src-tree/commit/45d986d",
        applies: Applies::Candidate(metadata_syncs),
    },
    Rule {
        id: 46,
        says: "Docker refuses images of more than 125 layers on overlay2.",
        source: "https://github.com/moby/moby/issues/26380",
        applies: Applies::Host(many_layers),
    },
    Rule {
        id: 48,
        says: "The number of inodes of ext4 is fixed when it is made.",
        source: "https://github.com/moby/moby/issues/37077",
        applies: Applies::Candidate(fixed_inodes),
    },
    Rule {
        id: 49,
        says: "A size limit per container needs xfs with pquota under overlay2, and qgroups on btrfs.",
        source: "https://docs.docker.com/engine/storage/drivers/overlayfs-driver/",
        applies: Applies::Candidate(size_limits),
    },
    Rule {
        id: 52,
        says: "File-level drivers copy the whole file for a small change unless the backing shares extents.",
        source: "https://docs.docker.com/engine/storage/drivers/overlayfs-driver/",
        applies: Applies::Candidate(whole_file_copies),
    },
    Rule {
        id: 53,
        says: "Many small writes fill btrfs with half-used chunks; it needs free space and balancing.",
        source: "https://docs.docker.com/engine/storage/drivers/btrfs-driver/",
        applies: Applies::Candidate(btrfs_balance),
    },
    Rule {
        id: 54,
        says: "Containers of one image share page cache on overlay2, and do not on btrfs.",
        source: "https://docs.docker.com/engine/storage/drivers/btrfs-driver/",
        applies: Applies::Candidate(page_cache),
    },
    Rule {
        id: 56,
        says: "vfs keeps a full copy of the tree per layer and container.",
        source: "https://docs.docker.com/engine/storage/drivers/vfs-driver/",
        applies: Applies::Candidate(full_copies),
    },
    Rule {
        id: 57,
        says: "Without redirect_dir a directory of the image can not be renamed (EXDEV).",
        source: "https://docs.kernel.org/filesystems/overlayfs.html",
        applies: Applies::Candidate(directory_renames),
    },
    Rule {
        id: 58,
        says: "With the index off a change splits the hard links of a file of the image.",
        source: "https://docs.kernel.org/filesystems/overlayfs.html",
        applies: Applies::Candidate(split_links),
    },
    Rule {
        id: 61,
        says: "Unmounting overlay flushes the whole upper file system, so other writers delay container stops.",
        source: "https://github.com/moby/moby/issues/47630",
        applies: Applies::Candidate(shared_dirty_pages),
    },
];

fn documented_backing(_: &Facts<'_>, candidate: &Candidate) -> Option<Finding> {
    if candidate.column.driver != "overlay2" {
        return None;
    }
    let backing = candidate.column.backing.as_str();
    Some(match backing {
        "ext4" | "xfs" | "xfs-noreflink" => Finding::new(
            Weight::For,
            format!("`{backing}` is a documented backing of overlay2"),
        ),
        "tmpfs" => Finding::new(
            Weight::LastResort,
            "tmpfs keeps everything in memory: it is gone after a reboot",
        ),
        _ => Finding::new(
            Weight::Note,
            format!("`{backing}` is not in the documented table for overlay2"),
        ),
    })
}

fn storage_on_overlay(facts: &Facts<'_>) -> Option<Finding> {
    matches!(facts.storage()?, "overlay" | "aufs" | "ecryptfs").then(|| {
        Finding::new(
            Weight::Note,
            "the storage directory lies on a stacked file system, where overlay2 does not work: give containers a file system of their own",
        )
    })
}

fn storage_on_network(facts: &Facts<'_>) -> Option<Finding> {
    matches!(facts.storage()?, "nfs" | "nfs4" | "cifs" | "smb3").then(|| {
        Finding::new(
            Weight::Note,
            "the storage directory lies on a network file system, which can not hold an upper layer: give containers a local one",
        )
    })
}

fn storage_on_zfs(facts: &Facts<'_>) -> Option<Finding> {
    (facts.storage()? == "zfs").then(|| {
        Finding::new(
            Weight::Note,
            "the storage directory lies on ZFS, which is not a documented backing of overlay2: expect slow unmounts",
        )
    })
}

fn btrfs_is_opt_in(facts: &Facts<'_>, candidate: &Candidate) -> Option<Finding> {
    let weight = match candidate.column.driver.as_str() {
        "overlay2" if facts.storage()? == "btrfs" && candidate.column.backing == "btrfs" => {
            return Some(Finding::new(
                Weight::For,
                "Docker keeps overlay2 as its choice on a btrfs root",
            ));
        }
        "btrfs" => Weight::Against,
        _ => return None,
    };
    Some(Finding::new(
        weight,
        "the btrfs driver is opt-in and meant for a device of its own",
    ))
}

fn metacopy_trust(_: &Facts<'_>, candidate: &Candidate) -> Option<Finding> {
    (candidate.column.driver == "overlay2" && candidate.column.variant.contains("metacopy")).then(
        || {
            Finding::new(
                Weight::Against,
                "metacopy follows redirects that a layer brings along: only for layers that are trusted",
            )
        },
    )
}

fn volatile_loses(_: &Facts<'_>, candidate: &Candidate) -> Option<Finding> {
    (candidate.column.driver == "overlay2" && candidate.column.variant.contains("volatile")).then(
        || {
            Finding::new(
                Weight::LastResort,
                "volatile never syncs: after a crash the container's changes have to be thrown away",
            )
        },
    )
}

fn metadata_syncs(facts: &Facts<'_>, candidate: &Candidate) -> Option<Finding> {
    let release = &facts.environment?.kernel_release;
    (candidate.column.driver == "overlay2" && kernel(release)? >= (6, 12)).then(|| {
        Finding::new(
            Weight::Note,
            format!("kernel {release} syncs the file on chmod and chown of image files too"),
        )
    })
}

fn many_layers(facts: &Facts<'_>) -> Option<Finding> {
    let layers = facts.image_layers?;
    (layers > 125).then(|| {
        Finding::new(
            Weight::Note,
            format!("the image has {layers} layers; Docker refuses more than 125"),
        )
    })
}

fn fixed_inodes(_: &Facts<'_>, candidate: &Candidate) -> Option<Finding> {
    (candidate.column.backing == "ext4").then(|| {
        Finding::new(
            Weight::Note,
            "ext4 can run out of inodes while space is left: watch `df -i`",
        )
    })
}

fn size_limits(_: &Facts<'_>, candidate: &Candidate) -> Option<Finding> {
    let text = match (
        candidate.column.driver.as_str(),
        candidate.column.backing.as_str(),
    ) {
        ("overlay2", "xfs" | "xfs-noreflink") => {
            "size limits per container need the mount option pquota"
        }
        ("overlay2", _) => "no size limit per container: that needs xfs with pquota",
        ("btrfs", _) => "size limits per container need qgroups, which slow every extent operation",
        _ => return None,
    };
    Some(Finding::new(Weight::Note, text))
}

/// A median with its interval, or with the range of all samples where they are too few for one: a factor of [`FLAT`]
/// between ranges that do not overlap is no accident.
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

fn spread(summary: Summary) -> Spread {
    let interval = summary.median.interval;
    Spread {
        median: summary.median.value,
        low: interval
            .map_or(summary.min, |interval| interval.low)
            .max(1.0),
        high: interval
            .map_or(summary.max, |interval| interval.high)
            .max(1.0),
    }
}

/// A copy that grows less than this many times from 4 KiB to the largest file does not copy the data.
const FLAT: f64 = 4.0;

fn whole_file_copies(facts: &Facts<'_>, candidate: &Candidate) -> Option<Finding> {
    let small = spread(facts.copy_up(candidate, 4 * KIB)?);
    let (size, large) = [128 * MIB, 16 * MIB]
        .into_iter()
        .find_map(|size| Some((size, spread(facts.copy_up(candidate, size)?))))?;
    let least = large.low / small.high;
    let most = large.high / small.low;
    let numbers = format!(
        "the first byte written costs {} in a file of 4 KiB and {} in one of {}",
        units::duration(small.median),
        units::duration(large.median),
        units::bytes(size as f64),
    );
    if least > FLAT {
        Some(Finding::new(
            Weight::Against,
            format!("copies whole files: {numbers}"),
        ))
    } else if most < FLAT {
        Some(Finding::new(
            Weight::For,
            format!("does not copy file data: {numbers}"),
        ))
    } else {
        None
    }
}

fn btrfs_balance(_: &Facts<'_>, candidate: &Candidate) -> Option<Finding> {
    (candidate.column.backing == "btrfs").then(|| {
        Finding::new(
            Weight::Note,
            "btrfs under many small writes needs free space and regular balancing",
        )
    })
}

fn page_cache(facts: &Facts<'_>, candidate: &Candidate) -> Option<Finding> {
    match candidate.column.driver.as_str() {
        "overlay2" => Some(Finding::new(
            Weight::For,
            "containers of one image share its pages in memory",
        )),
        "btrfs" => {
            let memory = facts
                .environment
                .map(|environment| environment.memory_bytes);
            let scarce = memory
                .filter(|bytes| *bytes < 4 * GIB)
                .map(|bytes| format!(", and this host has only {}", units::bytes(bytes as f64)));
            Some(Finding::new(
                Weight::Against,
                format!(
                    "each container caches its own copy of the image's files{}",
                    scarce.unwrap_or_default()
                ),
            ))
        }
        _ => None,
    }
}

fn full_copies(_: &Facts<'_>, candidate: &Candidate) -> Option<Finding> {
    (candidate.column.driver == "vfs").then(|| {
        Finding::new(
            Weight::LastResort,
            "every layer and container is a full copy of the tree",
        )
    })
}

/// Variants that switch `redirect_dir` on; metacopy needs it.
fn redirects(candidate: &Candidate) -> bool {
    let variant = candidate.column.variant.as_str();
    variant.contains("redirect_dir") || variant.contains("metacopy")
}

fn directory_renames(_: &Facts<'_>, candidate: &Candidate) -> Option<Finding> {
    (candidate.column.driver == "overlay2" && !redirects(candidate)).then(|| {
        Finding::new(
            Weight::Note,
            "programs that rename a directory of the image get EXDEV and have to copy it",
        )
    })
}

fn split_links(_: &Facts<'_>, candidate: &Candidate) -> Option<Finding> {
    (candidate.column.driver == "overlay2" && !candidate.column.variant.contains("index")).then(
        || {
            Finding::new(
                Weight::Note,
                "the first change of a file of the image splits its hard links",
            )
        },
    )
}

fn shared_dirty_pages(_: &Facts<'_>, candidate: &Candidate) -> Option<Finding> {
    (candidate.column.driver == "overlay2" && !candidate.column.variant.contains("volatile")).then(
        || {
            Finding::new(
                Weight::Note,
                "stopping a container flushes the whole file system below: keep other heavy writers off it",
            )
        },
    )
}

/// Major and minor number of a kernel release.
fn kernel(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::kernel;

    #[test]
    fn releases_are_read_as_numbers() {
        assert_eq!(kernel("6.12.3-amd64"), Some((6, 12)));
        assert_eq!(kernel("6.9"), Some((6, 9)));
        assert_eq!(kernel("6.18-rc1"), Some((6, 18)));
        assert_eq!(kernel("next"), None);
        assert_eq!(kernel("6"), None);
    }
}
