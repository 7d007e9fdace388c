//! Faults in the archives that the store takes (apply) and gives (diff): what becomes of their members.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use super::stream::{Filter, Member, StreamFault};
use super::{Fault, Plant};

const FILE: u8 = b'0';
const HARD_LINK: u8 = b'1';
const SYMLINK: u8 = b'2';
const CHAR_DEVICE: u8 = b'3';
const DIR: u8 = b'5';
const FIFO: u8 = b'6';

/// How attributes are called in records.
const XATTR: &str = "SCHILY.xattr.";

pub(super) const FAULTS: &[Fault] = &[
    // Whiteouts and opaque directories.
    applied(
        "devices-are-no-whiteouts",
        "B06",
        "A character device 0:0 of a layer is left out.",
        |members| {
            without(members, |member| {
                member.kind() == CHAR_DEVICE && member.device() == (0, 0)
            })
        },
    ),
    applied(
        "opaque-whiteouts-ignored",
        "C02",
        "An opaque whiteout of a layer is left out.",
        |members| without(members, Member::is_opaque),
    ),
    applied(
        "opaque-hides-its-own-layer",
        "C06",
        "An opaque whiteout hides what its own layer has before it.",
        |members| {
            let hidden: Vec<_> = members
                .iter()
                .enumerate()
                .filter(|(_, member)| member.is_opaque())
                .map(|(at, member)| (at, member.directory()))
                .collect();
            keep_by_place(members, |at, member| {
                member.is_whiteout()
                    || !hidden
                        .iter()
                        .any(|(until, dir)| at < *until && *dir == member.directory())
            })
        },
    ),
    made(
        "diff-forgets-opaque",
        "C08",
        "An archive lacks the whiteouts of directories that hide what was there.",
        |members| {
            let dirs: BTreeSet<_> = members
                .iter()
                .filter(|member| member.kind() == DIR)
                .map(|member| trim(&member.name()))
                .collect();
            without(members, |member| {
                member.is_whiteout() && dirs.contains(&trim(&member.directory()))
            })
        },
    ),
    applied(
        "whiteouts-hide-their-own-layer",
        "N04",
        "A whiteout removes what its own layer has.",
        |members| {
            let gone: BTreeSet<_> = members
                .iter()
                .filter(|member| member.is_whiteout())
                .map(hidden_name)
                .collect();
            without(members, |member| {
                !member.is_whiteout() && gone.contains(&trim(&member.name()))
            })
        },
    ),
    applied(
        "opaque-whiteouts-of-one-level",
        "N03",
        "An opaque whiteout of a layer is left out.",
        |members| without(members, Member::is_opaque),
    ),
    made(
        "whiteouts-lost",
        "N01",
        "An archive lacks its whiteouts.",
        |members| without(members, Member::is_whiteout),
    ),
    made(
        "first-file-lost",
        "N01",
        "An archive lacks its first file.",
        |mut members| {
            if let Some(at) = members
                .iter()
                .position(|member| member.kind() == FILE && !member.is_whiteout())
            {
                members.remove(at);
            }
            members
        },
    ),
    made(
        "whiteouts-last",
        "N24",
        "An archive has its whiteouts at the end.",
        |members| {
            let (mut whiteouts, mut rest): (Vec<_>, Vec<_>) =
                members.into_iter().partition(Member::is_whiteout);
            rest.append(&mut whiteouts);
            rest
        },
    ),
    made(
        "needless-whiteouts",
        "B16",
        "An archive has a whiteout in each directory.",
        |members| {
            let dirs: Vec<_> = members
                .iter()
                .filter(|member| member.kind() == DIR)
                .cloned()
                .collect();
            let model = members.iter().find(|member| member.kind() == FILE).cloned();
            let whiteouts = dirs.iter().zip(model.iter().cycle()).map(|(dir, model)| {
                let mut whiteout = model.clone();
                whiteout.set_content(Vec::new());
                whiteout.set_name(&[trim(&dir.name()), b"/.wh.nothing".to_vec()].concat());
                whiteout
            });
            let whiteouts: Vec<_> = whiteouts.collect();
            members.into_iter().chain(whiteouts).collect()
        },
    ),
    applied(
        "prefixes-ignored",
        "N11",
        "The prefix of a name in a ustar header is not read.",
        |members| each(members, Member::lose_prefix),
    ),
    applied(
        "global-headers-end-the-layer",
        "N11",
        "Nothing is read of a layer after a global header.",
        |mut members| {
            let end = members.iter().position(|member| member.kind() == b'g');
            members.truncate(end.unwrap_or(members.len()));
            members
        },
    ),
    // Names and links.
    applied(
        "absolute-names-taken",
        "N02",
        "Names of a layer that begin with a slash are taken without it.",
        |members| {
            each(members, |member| {
                let name = member.name();
                if let Some(short) = name.strip_prefix(b"/") {
                    member.set_name(short);
                }
            })
        },
    ),
    applied(
        "upward-names-taken",
        "N02",
        "Names of a layer that go upward lose what leads there.",
        |members| {
            each(members, |member| {
                let name = String::from_utf8_lossy(&member.name()).replace("../", "");
                if name.as_bytes() != member.name() && !name.is_empty() {
                    member.set_name(name.as_bytes());
                }
            })
        },
    ),
    applied(
        "types-not-replaced",
        "N05",
        "A directory of a layer that takes the place of a file is left out.",
        |members| {
            let below: BTreeSet<_> = members
                .iter()
                .map(|member| trim(&member.directory()))
                .collect();
            without(members, |member| {
                member.kind() == DIR && below.contains(&trim(&member.name()))
            })
        },
    ),
    applied(
        "links-to-lower-layers-lost",
        "N08",
        "A hard link of a layer to a file that it has not itself is left out.",
        |members| {
            let own: BTreeSet<_> = members.iter().map(|member| trim(&member.name())).collect();
            without(members, |member| {
                member.kind() == HARD_LINK && !own.contains(&trim(&member.link()))
            })
        },
    ),
    made(
        "links-across-directories-split",
        "E07",
        "An archive has a file of its own for each hard link in another directory.",
        |members| {
            split_links(members, |link, target| {
                link.directory() != target.directory()
            })
        },
    ),
    applied(
        "applied-links-split",
        "E07",
        "A hard link of a layer becomes a file of its own.",
        |members| split_links(members, |_, _| true),
    ),
    applied(
        "long-names-cut",
        "N11",
        "Names of a layer are cut after a hundred bytes.",
        |members| {
            each(members, |member| {
                let name = member.name();
                if name.len() > 100 {
                    member.set_name(&name[..100]);
                }
            })
        },
    ),
    made(
        "odd-names-replaced",
        "N23",
        "An archive has question marks for bytes that are no ASCII.",
        |members| each(members, replace_odd_bytes),
    ),
    applied(
        "applied-odd-names-replaced",
        "N23",
        "A name of a layer has question marks for bytes that are no ASCII.",
        |members| each(members, replace_odd_bytes),
    ),
    applied(
        "first-of-a-name-wins",
        "N19",
        "Of a name that a layer has twice the first entry counts.",
        |members| {
            let mut seen = BTreeSet::new();
            keep(members, |member| seen.insert(trim(&member.name())))
        },
    ),
    // Metadata.
    applied(
        "capabilities-not-applied",
        "N13",
        "A file capability of a layer is left out.",
        |members| lose_xattrs(members, |name, _| name == "security.capability"),
    ),
    made(
        "capabilities-not-written",
        "N13",
        "An archive lacks file capabilities.",
        |members| lose_xattrs(members, |name, _| name == "security.capability"),
    ),
    applied(
        "large-xattrs-not-applied",
        "D06",
        "Extended attributes of a layer of more than 1 KiB are left out.",
        |members| lose_xattrs(members, |_, value| value.len() > 1024),
    ),
    made(
        "large-xattrs-not-written",
        "N01",
        "An archive lacks extended attributes of more than 1 KiB.",
        |members| lose_xattrs(members, |_, value| value.len() > 1024),
    ),
    made(
        "default-acls-not-written",
        "N01",
        "An archive lacks default ACLs.",
        |members| lose_xattrs(members, |name, _| name == "system.posix_acl_default"),
    ),
    made(
        "setuid-not-written",
        "N01",
        "An archive lacks setuid, setgid and sticky bits.",
        |members| each(members, |member| member.set_mode(member.mode() & 0o777)),
    ),
    made(
        "owners-not-written",
        "N01",
        "An archive gives everything to root.",
        |members| each(members, |member| member.set_owner(0, 0)),
    ),
    made(
        "times-in-whole-seconds",
        "N17",
        "An archive has times in whole seconds.",
        |members| {
            each(members, |member| {
                member.change_record("mtime", whole_seconds);
            })
        },
    ),
    applied(
        "times-applied-in-whole-seconds",
        "N17",
        "Times of a layer are applied in whole seconds.",
        |members| {
            each(members, |member| {
                member.change_record("mtime", whole_seconds);
            })
        },
    ),
    applied(
        "times-before-1970-lost",
        "N17",
        "Times of a layer before 1970 are taken as 1970.",
        |members| {
            each(members, |member| {
                if member
                    .record("mtime")
                    .is_some_and(|value| value.starts_with(b"-"))
                {
                    member.set_mtime(0);
                }
            })
        },
    ),
    applied(
        "directory-entries-ignored",
        "N09",
        "Entries of a layer for directories are left out.",
        |members| without(members, |member| member.kind() == DIR),
    ),
    applied(
        "parents-get-defaults",
        "N10",
        "A directory for which a layer has no entry gets the usual mode and owner.",
        |members| {
            let named: BTreeSet<_> = members.iter().map(|member| trim(&member.name())).collect();
            let mut missing: Vec<_> = members
                .iter()
                .map(|member| trim(&member.directory()))
                .collect();
            missing.retain(|dir| !dir.is_empty() && !named.contains(dir));
            missing.dedup();
            let Some(model) = members.iter().find(|member| member.kind() == FILE).cloned() else {
                return members;
            };
            let made = missing.into_iter().map(|dir| {
                let mut entry = model.clone();
                entry.set_kind(DIR);
                entry.set_mode(0o755);
                entry.set_owner(0, 0);
                entry.set_content(Vec::new());
                entry.set_name(&dir);
                entry
            });
            made.chain(members.clone()).collect()
        },
    ),
    // Types and contents.
    applied(
        "sparse-maps-ignored",
        "N14",
        "The map of a sparse file of a layer is taken for its content.",
        |members| {
            each(members, |member| {
                member.lose_records(|key, _| key.starts_with("GNU.sparse."));
            })
        },
    ),
    made(
        "sparse-maps-not-written",
        "N14",
        "An archive lacks the maps of sparse files.",
        |members| {
            each(members, |member| {
                member.lose_records(|key, _| key.starts_with("GNU.sparse."));
            })
        },
    ),
    applied(
        "device-numbers-zero",
        "N15",
        "Devices of a layer get the numbers of /dev/null.",
        |members| {
            each(members, |member| {
                if matches!(member.kind(), CHAR_DEVICE | b'4') {
                    member.set_device(1, 3);
                }
            })
        },
    ),
    applied(
        "fifos-not-applied",
        "N15",
        "FIFOs of a layer are left out.",
        |members| without(members, |member| member.kind() == FIFO),
    ),
    made(
        "sockets-written",
        "N16",
        "An archive has an entry for a socket.",
        |mut members| {
            if let Some(mut entry) = members.iter().find(|member| member.kind() == FILE).cloned() {
                entry.set_name(b"socket");
                entry.set_kind(b's');
                entry.set_content(Vec::new());
                members.push(entry);
            }
            members
        },
    ),
    made(
        "symlinks-not-written",
        "N01",
        "An archive lacks symbolic links.",
        |members| without(members, |member| member.kind() == SYMLINK),
    ),
    made(
        "links-name-nothing",
        "N01",
        "A hard link in an archive names what is not there.",
        |members| {
            each(members, |member| {
                if member.kind() == HARD_LINK {
                    member.set_link(b"not-there");
                }
            })
        },
    ),
    // The archive as a whole.
    made(
        "unstable-bytes",
        "N22",
        "The archive of one snapshot differs from one time to the next.",
        |mut members| {
            static COUNT: AtomicU64 = AtomicU64::new(0);
            if let Some(member) = members.first_mut() {
                member.set_mtime(COUNT.fetch_add(1, Ordering::Relaxed));
            }
            members
        },
    ),
    made(
        "order-reversed",
        "N24",
        "An archive has its entries in the wrong order.",
        |mut members| {
            members.reverse();
            members
        },
    ),
    made(
        "diff-differs-from-the-mount",
        "N26",
        "An archive has another mode of files than the mount.",
        |members| {
            each(members, |member| {
                if member.kind() == FILE {
                    member.set_mode(member.mode() ^ 0o001);
                }
            })
        },
    ),
];

const fn applied(
    id: &'static str,
    check: &'static str,
    what: &'static str,
    filter: Filter,
) -> Fault {
    Fault::new(id, check, what, Plant::Stream(StreamFault::Applied(filter)))
}

const fn made(id: &'static str, check: &'static str, what: &'static str, filter: Filter) -> Fault {
    Fault::new(id, check, what, Plant::Stream(StreamFault::Made(filter)))
}

fn each(mut members: Vec<Member>, mut change: impl FnMut(&mut Member)) -> Vec<Member> {
    members.iter_mut().for_each(&mut change);
    members
}

fn keep(mut members: Vec<Member>, kept: impl FnMut(&Member) -> bool) -> Vec<Member> {
    members.retain(kept);
    members
}

fn without(members: Vec<Member>, lost: impl Fn(&Member) -> bool) -> Vec<Member> {
    keep(members, |member| !lost(member))
}

fn keep_by_place(members: Vec<Member>, kept: impl Fn(usize, &Member) -> bool) -> Vec<Member> {
    let numbered = members.into_iter().enumerate();
    numbered
        .filter(|(at, member)| kept(*at, member))
        .map(|(_, member)| member)
        .collect()
}

fn lose_xattrs(members: Vec<Member>, lost: impl Fn(&str, &[u8]) -> bool) -> Vec<Member> {
    each(members, |member| {
        member.lose_records(|key, value| {
            key.strip_prefix(XATTR)
                .is_some_and(|name| lost(name, value))
        });
    })
}

/// A name without slashes at its end.
fn trim(name: &[u8]) -> Vec<u8> {
    let end = name.iter().rposition(|byte| *byte != b'/');
    name[..end.map_or(0, |end| end + 1)].to_vec()
}

/// The name that a whiteout removes.
fn hidden_name(whiteout: &Member) -> Vec<u8> {
    let name = whiteout.last_name();
    [
        whiteout.directory(),
        name.strip_prefix(b".wh.").unwrap_or_default().to_vec(),
    ]
    .concat()
}

/// Makes files of hard links to members.
fn split_links(members: Vec<Member>, wanted: impl Fn(&Member, &Member) -> bool) -> Vec<Member> {
    let files = members.clone();
    each(members, |member| {
        let target = trim(&member.link());
        let target = files
            .iter()
            .find(|file| trim(&file.name()) == target && file.kind() == FILE);
        if let Some(target) =
            target.filter(|target| member.kind() == HARD_LINK && wanted(member, target))
        {
            let name = member.name();
            *member = target.clone();
            member.set_name(&name);
        }
    })
}

fn replace_odd_bytes(member: &mut Member) {
    let name = member.name();
    let plain: Vec<_> = name
        .iter()
        .map(|byte| if byte.is_ascii() { *byte } else { b'?' })
        .collect();
    if plain != name {
        member.set_name(&plain);
    }
}

fn whole_seconds(time: &[u8]) -> Vec<u8> {
    time.split(|byte| *byte == b'.')
        .next()
        .unwrap_or_default()
        .to_vec()
}
