//! The mount itself: its root, its depth, its statfs, its place on disk.

use std::fs;

use cowlab_snapshots::{CommitOptions, PrepareOptions, Store};
use cowlab_sys::Guard;

use crate::context::Result;
use crate::prelude::*;
use crate::support::store::{apply_entries, names, read_text, write_text};
use cowlab_tarball::Entry;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "mount/root-directory-has-its-attributes",
        spec: "Mode, owner, time and attributes of the root directory are kept like those of any other.",
        see: &["containerd core/snapshots/testsuite, checkRootPermission"],
        catalogue: &["M01", "D17"],
        impact: Impact::Isolation,
        placement: Placement::Own,
        layers: &[
            &[
                chmod("/", 0o1777),
                chown("/", 11, 12),
                set_xattr("/", "user.note", b"root"),
                write("/f", "f"),
                mtime("/", 1_000_000_000, 7),
            ],
            &[append("/f", "+")],
            &[chmod("/", 0o711)],
        ],
        steps: &[
            stat("/", Field::Mode).gives("0711"),
            stat("/", Field::Owner).gives("11:12"),
            stat("/", Field::ModifyTime).gives("1000000000.000000007"),
            get_xattr("/", "user.note").gives("root"),
        ],
        ..Case::BASE
    },
    Case {
        id: "mount/eighty-layers",
        spec: "A chain of eighty layers shows the file of each, and of files that many have the newest version, far below the newest layer too.",
        see: &[
            "moby/moby issue 26380",
            "overlayfs.rst, Multiple lower layers",
        ],
        catalogue: &["L08", "A05"],
        impact: Impact::DataLoss,
        run: Some(eighty_layers),
        ..Case::BASE
    },
    Case {
        id: "mount/statfs-is-the-backings",
        spec: "The statfs of a mount shows the longest name and the free space of the backing file system.",
        see: &["statfs(2)", "containers/fuse-overlayfs tests, NAME_MAX"],
        catalogue: &["L12", "A22"],
        impact: Impact::AppVisible,
        run: Some(statfs_is_the_backings),
        ..Case::BASE
    },
    Case {
        id: "mount/store-in-a-directory-with-an-odd-name",
        spec: "A store works in a directory whose name has a colon, a comma, a backslash, a space and a newline.",
        see: &[
            "overlayfs.rst, Multiple lower layers",
            "xfstests overlay/083",
        ],
        catalogue: &["A24", "L09", "L14"],
        impact: Impact::AppVisible,
        run: Some(odd_directory),
        ..Case::BASE
    },
    Case {
        id: "mount/in-use-stays",
        spec: "A mount with an open file refuses to be unmounted and works on, and is unmounted when the file is closed.",
        see: &["umount2(2), EBUSY"],
        catalogue: &["L10"],
        impact: Impact::DataLoss,
        run: Some(in_use_stays),
        ..Case::BASE
    },
    Case {
        id: "mount/viewing-writes-nothing",
        spec: "Making, reading and removing a view of a committed snapshot writes no block of its content.",
        see: &["ext4(5), noload", "xfs(5), norecovery"],
        catalogue: &["M14"],
        impact: Impact::Isolation,
        run: Some(viewing_writes_nothing),
        ..Case::BASE
    },
    Case {
        id: "mount/wide-and-deep",
        spec: "A directory of 5000 entries and a tree of 150 levels come through a commit and a change whole.",
        see: &["containers/fuse-overlayfs tests, stress 3 and 4"],
        catalogue: &["A21"],
        impact: Impact::DataLoss,
        run: Some(wide_and_deep),
        ..Case::BASE
    },
    Case {
        id: "mount/mounted-again-and-again",
        spec: "An active snapshot mounted, written and unmounted five times has everything that was written.",
        see: &["containers/storage graphtest, Get and Put"],
        catalogue: &["M33"],
        impact: Impact::DataLoss,
        store: &[
            store::layer("base", None, &[write("/f", "base")]),
            store::prepare("key", Some("base")),
            store::mounted("key", &[write("/0", "x")]),
            store::mounted("key", &[write("/1", "x")]),
            store::mounted("key", &[write("/2", "x")]),
            store::mounted("key", &[write("/3", "x")]),
            store::mounted("key", &[write("/4", "x")]),
            store::mounted("key", &[entries("/", "0 1 2 3 4 f")]),
        ],
        ..Case::BASE
    },
];

fn eighty_layers(context: &mut Context) -> Result<()> {
    let mut parent: Option<String> = None;
    for number in 0..80_u32 {
        let name = format!("layer-{number}");
        // What the order of the newest layers decides, and that of layers far below them.
        let shared = if number < 40 { "deep" } else { "newest" };
        let entries = [
            Entry::file(format!("f{number}"), "x"),
            Entry::file(shared, number.to_string()),
        ];
        apply_entries(context, &name, parent.as_deref(), &entries)?;
        parent = Some(name);
    }
    context
        .store()
        .prepare("key", parent.as_deref(), &PrepareOptions::default())?;
    context.with_mount("key", |dir| {
        let tree = Tree::open(dir)?;
        expect("/", "names", 82, names(&tree, "/")?.len())?;
        for (name, newest) in [("/newest", "79"), ("/deep", "39")] {
            let content = read_text(&tree, name)?;
            expect(name, "content", newest.to_owned(), content)?;
        }
        write_text(&tree, "/f0", "changed")
    })?;
    context
        .store()
        .commit("key", "top", &CommitOptions::default())?;
    context.with_view("top", |dir| {
        expect(
            "/f0",
            "content",
            "changed".to_owned(),
            read_text(&Tree::open(dir)?, "/f0")?,
        )
    })
}

/// How far two readings of the free space may be apart, in bytes: other columns do not write here, the store does.
const SLACK: u64 = 8 << 20;

fn statfs_is_the_backings(context: &mut Context) -> Result<()> {
    context
        .store()
        .prepare("key", None, &PrepareOptions::default())?;
    context.with_mount("key", |dir| {
        let (mount, backing) = (
            cowlab_sys::stat::statfs(dir)?,
            cowlab_sys::stat::statfs(context.dir())?,
        );
        expect("/", "longest name", backing.name_max, mount.name_max)?;
        let apart = mount.available_bytes().abs_diff(backing.available_bytes());
        expect("/", "free space is the backing's", true, apart < SLACK)
    })
}

fn odd_directory(context: &mut Context) -> Result<()> {
    let root = context.dir().join("odd: a,b\\c\nd=e");
    let options = context.options_of_another_store()?;
    let store = Store::open(&root, context.entry(), &options)?;
    let target = context.mount_point();
    for (key, parent) in [("base", None), ("top", Some("base.committed"))] {
        store.prepare(key, parent, &PrepareOptions::default())?;
        let mut mounted = store.mount(key, &target)?;
        let written = Tree::open(&target)
            .map_err(Difference::from)
            .and_then(|tree| write_text(&tree, &format!("/{key}"), key));
        mounted.close()?;
        written?;
        store.commit(key, &format!("{key}.committed"), &CommitOptions::default())?;
    }
    store.view("view", "top.committed")?;
    let mut mounted = store.mount("view", &target)?;
    let seen = Tree::open(&target)
        .map_err(Difference::from)
        .and_then(|tree| names(&tree, "/"));
    mounted.close()?;
    expect("/", "names", "base top".to_owned(), seen?.join(" "))
}

fn in_use_stays(context: &mut Context) -> Result<()> {
    context
        .store()
        .prepare("key", None, &PrepareOptions::default())?;
    let mut mounted = context.store().mount("key", &context.mount_point())?;
    let file = fs::File::create(context.mount_point().join("open"))?;
    let refused = mounted.close().is_err();
    let works = write_text(&Tree::open(&context.mount_point())?, "/more", "m");
    drop(file);
    mounted.close()?;
    expect(
        "/",
        "unmount while a file is open is refused",
        true,
        refused,
    )?;
    works?;
    context.with_mount("key", |dir| {
        expect(
            "/",
            "names",
            "more open".to_owned(),
            names(&Tree::open(dir)?, "/")?.join(" "),
        )
    })
}

fn wide_and_deep(context: &mut Context) -> Result<()> {
    let mut entries: Vec<_> = (0..5000)
        .map(|number| Entry::file(format!("wide/{number}"), ""))
        .collect();
    let deep = "d/".repeat(150);
    entries.push(Entry::file(format!("{deep}bottom"), "reached"));
    apply_entries(context, "base", None, &entries)?;
    context.layer(
        Some("base"),
        "top",
        &[remove("/wide/17"), write("/wide/new", "n")],
    )?;
    context.with_view("top", |dir| {
        let tree = Tree::open(dir)?;
        expect("/wide", "entries", 5000, names(&tree, "/wide")?.len())?;
        let bottom = format!("/{deep}bottom");
        expect(
            "the bottom",
            "content",
            "reached".to_owned(),
            read_text(&tree, &bottom)?,
        )
    })
}

fn viewing_writes_nothing(context: &mut Context) -> Result<()> {
    context.layer(
        None,
        "base",
        &[
            write_sized("/f", 1 << 20, 61),
            dir("/d", 0o755),
            write("/d/g", "g"),
        ],
    )?;
    context.layer(Some("base"), "top", &[append("/f", "+")])?;
    let occupied = |context: &Context| -> Result<String> {
        context.settle()?;
        let usage = |name| context.store().usage(name);
        Ok(format!("{:?} {:?}", usage("base")?, usage("top")?))
    };
    let before = (occupied(context)?, context.written()?);
    // Twice: the second finds whatever the first may have left.
    for _ in 0..2 {
        context.manifest("top")?;
        context.manifest("base")?;
    }
    expect("snapshots", "usage", before.0, occupied(context)?)?;
    match (before.1, context.written()?) {
        (Some(before), Some(after)) => expect("devices", "bytes written", before, after),
        _ => Ok(()),
    }
}
