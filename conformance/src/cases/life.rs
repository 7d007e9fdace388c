//! The life of a snapshot: what prepare, view, commit, remove, stat and list promise.

use cowlab_snapshots::{CommitOptions, Filter, Kind as Snapshot, Labels, PrepareOptions};

use crate::context::Result;
use crate::prelude::*;
use crate::support::store::{names, read_text, refused, write_text};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "life/new-snapshot-is-an-empty-directory",
        spec: "A snapshot without a parent is an empty directory of root with mode 0755.",
        see: &["containerd core/snapshots/testsuite, checkRootPermission"],
        catalogue: &["M01"],
        impact: Impact::Isolation,
        run: Some(new_snapshot_is_empty),
        ..Case::BASE
    },
    Case {
        id: "life/commit-names-the-snapshot",
        spec: "After a commit the name stands for the content, with kind and parent, and the key is free.",
        see: &["containerd core/snapshots/snapshotter.go, Commit and Stat"],
        catalogue: &["M02", "M03", "M04", "M05"],
        impact: Impact::DataLoss,
        run: Some(commit_names_the_snapshot),
        ..Case::BASE
    },
    Case {
        id: "life/children-do-not-see-each-other",
        spec: "Two active snapshots of one parent and the parent itself do not see each other's changes.",
        see: &["containerd core/snapshots/snapshotter.go, Prepare"],
        catalogue: &["M02", "S05"],
        impact: Impact::Isolation,
        run: Some(children_are_apart),
        ..Case::BASE
    },
    Case {
        id: "life/removed-key-is-free-again",
        spec: "The key of a removed snapshot can be used again, for another kind too.",
        see: &["containerd core/snapshots/testsuite, checkRemove"],
        catalogue: &["M09"],
        impact: Impact::AppVisible,
        run: Some(removed_key_is_free),
        ..Case::BASE
    },
    Case {
        id: "life/list-shows-every-snapshot-and-filters",
        spec: "A list shows every snapshot once, and a filter on kind, prefix, parent or label only what matches.",
        see: &["containerd core/snapshots/testsuite, checkWalk"],
        catalogue: &["M11", "M12"],
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
        catalogue: &["M19", "M15"],
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
        catalogue: &["M20", "M30"],
        impact: Impact::DataLoss,
        run: Some(sound_after_everything),
        ..Case::BASE
    },
];

fn new_snapshot_is_empty(context: &mut Context) -> Result<()> {
    context
        .store()
        .prepare("key", None, &PrepareOptions::default())?;
    context.with_mount("key", |dir| {
        let tree = Tree::open(dir)?;
        let stat = cowlab_sys::stat::lstat(dir)?;
        expect(
            "/",
            "mode",
            "0755".to_owned(),
            format!("{:04o}", stat.permissions()),
        )?;
        expect(
            "/",
            "owner",
            "0:0".to_owned(),
            format!("{}:{}", stat.uid, stat.gid),
        )?;
        expect("/", "entries", 0, names(&tree, "/")?.len())
    })
}

fn commit_names_the_snapshot(context: &mut Context) -> Result<()> {
    context.layer(None, "base", &[write("/f", "base"), dir("/d", 0o711)])?;
    context.layer(Some("base"), "middle", &[write("/g", "middle")])?;
    context.layer(Some("middle"), "top", &[append("/f", "+top")])?;
    refused(
        "stat of the key",
        "not found",
        context.store().stat("top.active"),
    )?;
    for (name, parent) in [
        ("base", None),
        ("middle", Some("base")),
        ("top", Some("middle")),
    ] {
        let info = context.store().stat(name)?;
        expect(name, "kind", Snapshot::Committed, info.kind)?;
        expect(
            name,
            "parent",
            format!("{parent:?}"),
            format!("{:?}", info.parent.as_deref()),
        )?;
    }
    let plain = context.plain_layer(
        "expected",
        &[
            write("/f", "base+top"),
            write("/g", "middle"),
            dir("/d", 0o711),
        ],
    )?;
    let content = |dir: &std::path::Path| -> Result<String> {
        let tree = Tree::open(dir)?;
        let mut text = names(&tree, "/")?.join(" ");
        for file in ["/f", "/g"] {
            text.push(' ');
            text.push_str(&read_text(&tree, file)?);
        }
        Ok(text)
    };
    expect(
        "/",
        "content",
        content(&plain)?,
        context.with_view("top", content)?,
    )
}

fn children_are_apart(context: &mut Context) -> Result<()> {
    context.layer(None, "image", &[write("/testfile", "test")])?;
    for key in ["con1", "con2"] {
        context
            .store()
            .prepare(key, Some("image"), &PrepareOptions::default())?;
    }
    context.with_mount("con1", |dir| {
        let tree = Tree::open(dir)?;
        write_text(&tree, "/testfile", "changed")?;
        write_text(&tree, "/only-here", "1")
    })?;
    let seen = |dir: &std::path::Path| -> Result<String> {
        let tree = Tree::open(dir)?;
        Ok(format!(
            "{} in {}",
            read_text(&tree, "/testfile")?,
            names(&tree, "/")?.join(" ")
        ))
    };
    expect(
        "con1",
        "content",
        "changed in only-here testfile".to_owned(),
        context.with_mount("con1", seen)?,
    )?;
    expect(
        "con2",
        "content",
        "test in testfile".to_owned(),
        context.with_mount("con2", seen)?,
    )?;
    expect(
        "image",
        "content",
        "test in testfile".to_owned(),
        context.with_view("image", seen)?,
    )
}

fn removed_key_is_free(context: &mut Context) -> Result<()> {
    context.layer(None, "base", &[write("/f", "base")])?;
    let store = context.store();
    store.prepare("key", Some("base"), &PrepareOptions::default())?;
    store.remove("key")?;
    store.view("key", "base")?;
    expect("key", "kind", Snapshot::View, store.stat("key")?.kind)?;
    store.remove("key")?;
    store.prepare("key", None, &PrepareOptions::default())?;
    store.commit("key", "name", &CommitOptions::default())?;
    store.remove("name")?;
    store.prepare("name", None, &PrepareOptions::default())?;
    expect("name", "parent", true, store.stat("name")?.parent.is_none())
}

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

fn sound_after_everything(context: &mut Context) -> Result<()> {
    context.layer(None, "base", &[write("/f", "base")])?;
    for number in 0..3 {
        let name = format!("layer-{number}");
        context.layer(Some("base"), &name, &[append("/f", "+")])?;
    }
    context.store().remove("layer-1")?;
    let report = context.store().check()?;
    expect("store", "soundness", true, report.is_sound())?;
    expect("store", "snapshots", 3, report.snapshots)?;
    expect(
        "store",
        "snapshots on disk",
        3,
        context.store().driver().inventory()?.len(),
    )
}
