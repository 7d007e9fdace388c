//! The life of a snapshot: what prepare, view, commit, remove, stat and list promise.

use cowlab_driver::{CreateOptions, SnapshotId};
use cowlab_snapshots::{CommitOptions, Filter, Kind as Snapshot, Labels, PrepareOptions};

use crate::context::Result;
use crate::prelude::*;
use crate::support::store::{read_text, refused, write_text};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "life/new-snapshot-is-an-empty-directory",
        spec: "A snapshot without a parent is an empty directory of root with mode 0755.",
        see: &["containerd core/snapshots/testsuite, checkRootPermission"],
        catalogue: &["M01"],
        impact: Impact::Isolation,
        store: &[
            store::prepare("key", None),
            store::mounted(
                "key",
                &[
                    stat("/", Field::Mode).gives("0755"),
                    stat("/", Field::Owner).gives("0:0"),
                    entries("/", ""),
                ],
            ),
        ],
        ..Case::BASE
    },
    Case {
        id: "life/commit-names-the-snapshot",
        spec: "After a commit the name stands for the content, with kind and parent, and the key is free.",
        see: &["containerd core/snapshots/snapshotter.go, Commit and Stat"],
        catalogue: &["M02", "M03", "M04", "M05"],
        impact: Impact::DataLoss,
        store: &[
            store::layer("base", None, &[write("/f", "base"), dir("/d", 0o711)]),
            store::layer("middle", Some("base"), &[write("/g", "middle")]),
            store::layer("top", Some("middle"), &[append("/f", "+top")]),
            store::stat("top.active").fails("not found"),
            store::is("base", Snapshot::Committed, None),
            store::is("middle", Snapshot::Committed, Some("base")),
            store::is("top", Snapshot::Committed, Some("middle")),
            store::shows("top", "d/() f=base+top g=middle"),
        ],
        ..Case::BASE
    },
    Case {
        id: "life/children-do-not-see-each-other",
        spec: "Two active snapshots of one parent and the parent itself do not see each other's changes.",
        see: &["containerd core/snapshots/snapshotter.go, Prepare"],
        catalogue: &["M02", "S05"],
        impact: Impact::Isolation,
        store: &[
            store::layer("image", None, &[write("/testfile", "test")]),
            store::prepare("con1", Some("image")),
            store::prepare("con2", Some("image")),
            store::mounted(
                "con1",
                &[write("/testfile", "changed"), write("/only-here", "1")],
            ),
            store::mounted(
                "con1",
                &[
                    reads("/testfile", "changed"),
                    entries("/", "only-here testfile"),
                ],
            ),
            store::mounted(
                "con2",
                &[reads("/testfile", "test"), entries("/", "testfile")],
            ),
            store::viewed(
                "image",
                &[reads("/testfile", "test"), entries("/", "testfile")],
            ),
        ],
        ..Case::BASE
    },
    Case {
        id: "life/removed-key-is-free-again",
        spec: "The key of a removed snapshot can be used again, for another kind too.",
        see: &["containerd core/snapshots/testsuite, checkRemove"],
        catalogue: &["M09"],
        impact: Impact::AppVisible,
        store: &[
            store::layer("base", None, &[write("/f", "base")]),
            store::prepare("key", Some("base")),
            store::remove("key"),
            store::view("key", "base"),
            store::is("key", Snapshot::View, Some("base")),
            store::remove("key"),
            store::prepare("key", None),
            store::commit("key", "name"),
            store::remove("name"),
            store::prepare("name", None),
            store::is("name", Snapshot::Active, None),
        ],
        ..Case::BASE
    },
    Case {
        id: "life/list-shows-every-snapshot-and-filters",
        spec: "A list shows every snapshot once, and a filter on kind, prefix, parent or label only what matches.",
        see: &["containerd core/snapshots/testsuite, checkWalk"],
        catalogue: &["M11", "M25"],
        impact: Impact::AppVisible,
        run: Some(list_and_filters),
        ..Case::BASE
    },
    Case {
        id: "life/labels-change-and-nothing-else",
        spec: "A change of labels changes labels and the time of change, and neither content nor kind nor parent.",
        see: &["containerd core/snapshots/testsuite, checkUpdate"],
        catalogue: &["M13"],
        impact: Impact::AppVisible,
        run: Some(labels_change),
        ..Case::BASE
    },
    Case {
        id: "life/opening-again-changes-nothing",
        spec: "A store that is closed and opened again has the same snapshots with the same content.",
        see: &["moby daemon/internal/layer, StoreRestore"],
        catalogue: &["M19"],
        impact: Impact::DataLoss,
        run: Some(opening_again),
        ..Case::BASE
    },
    Case {
        id: "life/views-at-once-and-read-only",
        spec: "Any number of views of one snapshot can be mounted at once, and none can be written.",
        see: &["containerd core/snapshots/snapshotter.go, View"],
        catalogue: &["M14"],
        impact: Impact::Isolation,
        run: Some(views_at_once),
        ..Case::BASE
    },
    Case {
        id: "life/sound-after-everything",
        spec: "A full check finds nothing missing, unknown or doubtful after snapshots came and went.",
        see: &["containers/storage, check"],
        catalogue: &["M30"],
        impact: Impact::DataLoss,
        store: &[
            store::layer("base", None, &[write("/f", "base")]),
            store::layer("layer-0", Some("base"), &[append("/f", "+")]),
            store::layer("layer-1", Some("base"), &[append("/f", "+")]),
            store::layer("layer-2", Some("base"), &[append("/f", "+")]),
            store::remove("layer-1"),
            store::check(3),
        ],
        ..Case::BASE
    },
    Case {
        id: "life/unknown-snapshot-is-found",
        spec: "A snapshot on disk that no record knows is found by a check, put aside and not deleted, and the others stay.",
        see: &[
            "containers/storage, check",
            "containerd/containerd issue 13416",
        ],
        catalogue: &["M20"],
        impact: Impact::DataLoss,
        run: Some(unknown_snapshot),
        ..Case::BASE
    },
];

fn list_and_filters(context: &mut Context) -> Result<()> {
    context.layer(None, "base", &[write("/f", "base")])?;
    let store = context.store();
    let labelled = PrepareOptions {
        labels: Labels::from([("color".to_owned(), "red".to_owned())]),
        ..PrepareOptions::default()
    };
    store.prepare("active-1", Some("base"), &labelled)?;
    store.prepare("active-2", None, &PrepareOptions::default())?;
    store.view("view", "base")?;
    for (what, filter, expected) in filters() {
        let found: Vec<_> = store
            .list(&filter)?
            .into_iter()
            .map(|info| info.key)
            .collect();
        expect("list", what, expected.to_owned(), found.join(" "))?;
    }
    Ok(())
}

/// What is asked, and which of the snapshots above match.
fn filters() -> Vec<(&'static str, Filter, &'static str)> {
    let some = |text: &str| Some(text.to_owned());
    vec![
        (
            "everything",
            Filter::default(),
            "active-1 active-2 base view",
        ),
        (
            "kind",
            Filter {
                kind: Some(Snapshot::Active),
                ..Filter::default()
            },
            "active-1 active-2",
        ),
        (
            "prefix",
            Filter {
                prefix: some("active-"),
                ..Filter::default()
            },
            "active-1 active-2",
        ),
        (
            "kind and prefix",
            Filter {
                kind: Some(Snapshot::View),
                prefix: some("active-"),
                ..Filter::default()
            },
            "",
        ),
        (
            "parent",
            Filter {
                parent: some("base"),
                ..Filter::default()
            },
            "active-1 view",
        ),
        (
            "label",
            Filter {
                label: Some(("color".to_owned(), None)),
                ..Filter::default()
            },
            "active-1",
        ),
        (
            "value",
            Filter {
                label: Some(("color".to_owned(), some("blue"))),
                ..Filter::default()
            },
            "",
        ),
    ]
}

fn labels_change(context: &mut Context) -> Result<()> {
    context.layer(None, "base", &[write("/f", "base")])?;
    let before = context.manifest("base")?;
    let was = context.store().stat("base")?;
    let labels = Labels::from([("a".to_owned(), "1".to_owned())]);
    context.store().update_labels(
        "base",
        &labels
            .clone()
            .into_iter()
            .map(|(name, value)| (name, Some(value)))
            .collect(),
    )?;
    let now = context.store().stat("base")?;
    expect(
        "base",
        "labels",
        format!("{labels:?}"),
        format!("{:?}", now.labels),
    )?;
    expect("base", "time of creation", was.created, now.created)?;
    expect(
        "base",
        "later time of change",
        true,
        now.updated > was.updated,
    )?;
    expect("base", "kind", was.kind, now.kind)?;
    context.unchanged(&before, &context.manifest("base")?)
}

fn opening_again(context: &mut Context) -> Result<()> {
    context.layer(
        None,
        "base",
        &[write_sized("/f", 100_000, 30), dir("/d", 0o750)],
    )?;
    context.layer(Some("base"), "top", &[append("/f", "+"), remove("/d")])?;
    context
        .store()
        .prepare("key", Some("top"), &PrepareOptions::default())?;
    context.with_mount("key", |dir| write_text(&Tree::open(dir)?, "/new", "n"))?;
    let list = |context: &Context| -> Result<String> {
        Ok(format!("{:?}", context.store().list(&Filter::default())?))
    };
    let (trees, rows) = (
        [context.manifest("base")?, context.manifest("top")?],
        list(context)?,
    );
    context.reopen()?;
    expect("store", "snapshots", rows, list(context)?)?;
    for (name, before) in ["base", "top"].into_iter().zip(&trees) {
        context.unchanged(before, &context.manifest(name)?)?;
    }
    context.with_mount("key", |dir| {
        expect(
            "/new",
            "content",
            "n".to_owned(),
            read_text(&Tree::open(dir)?, "/new")?,
        )
    })
}

fn views_at_once(context: &mut Context) -> Result<()> {
    context.layer(None, "base", &[write("/f", "base")])?;
    let mut mounted = Vec::new();
    for number in 0..3 {
        let key = format!("view-{number}");
        let target = context.dir().join(&key);
        std::fs::create_dir(&target)?;
        context.store().view(&key, "base")?;
        mounted.push(context.store().mount(&key, &target)?);
    }
    for mount in &mounted {
        let tree = Tree::open(mount.target())?;
        expect("/f", "content", "base".to_owned(), read_text(&tree, "/f")?)?;
        let written = tree
            .write("/f", b"x")
            .map_or_else(|code| code.to_string(), |()| "ok".to_owned());
        expect("/f", "write", EROFS.to_string(), written)?;
    }
    for mut mount in mounted {
        cowlab_sys::Guard::close(&mut mount)?;
    }
    refused(
        "commit of a view",
        "wrong kind",
        context
            .store()
            .commit("view-0", "x", &CommitOptions::default()),
    )
}

fn unknown_snapshot(context: &mut Context) -> Result<()> {
    context.layer(None, "base", &[write("/f", "base")])?;
    let id =
        SnapshotId::new(4242).ok_or_else(|| Difference::new("id", "number", "4242", "none"))?;
    let driver = context.store().driver();
    driver.create(id, None, &CreateOptions::default())?;
    let report = context.store().check()?;
    let found: Vec<_> = report
        .quarantined
        .iter()
        .map(|(id, _)| id.number())
        .collect();
    expect(
        "store",
        "put aside",
        "[4242]".to_owned(),
        format!("{found:?}"),
    )?;
    expect("store", "missing", 0, report.missing.len())?;
    let on_disk = context.store().driver().inventory()?.len();
    expect("store", "snapshots on disk", 1, on_disk)?;
    // A data set's place is its name, no path.
    for (_, place) in report
        .quarantined
        .iter()
        .filter(|(_, place)| place.is_absolute())
    {
        expect("the unknown snapshot", "is there", true, place.exists())?;
    }
    expect(
        "store",
        "soundness",
        true,
        context.store().check()?.is_sound(),
    )
}
