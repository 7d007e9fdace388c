//! What people are told about layered storage, statement by statement, as far as it needs no process.

use std::io::Write;
use std::path::{Path, PathBuf};

use cowlab_driver::Mounts;
use cowlab_snapshots::{Filter, PrepareOptions};
use cowlab_sys::MountOption;

use crate::context::Result;
use crate::prelude::*;
use crate::support::store::{names, read_text, write_text};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "seed/01-changes-go-to-the-writable-layer",
        spec: "What is created, changed and removed in a container is in its writable layer only, and the layers of the image stay.",
        see: &["docs.docker.com, storage drivers, Container and layers"],
        catalogue: &["S01"],
        impact: Impact::Isolation,
        run: Some(changes_go_to_the_writable_layer),
        ..Case::BASE
    },
    Case {
        id: "seed/02-the-upper-layer-wins",
        spec: "The layers look like one file system, in which the upper layer's file wins.",
        see: &[
            "docs.docker.com, overlayfs-driver",
            "overlayfs.rst, Upper and Lower",
        ],
        catalogue: &["S02", "A03"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                write("/f", "lower"),
                write("/g", "lower"),
                dir("/d", 0o755),
                write("/d/1", "lower"),
            ],
            &[write("/f", "middle"), write("/d/2", "middle")],
            &[write("/f", "upper"), write("/d/1", "upper")],
        ],
        steps: &[
            reads("/f", "upper"),
            reads("/g", "lower"),
            entries("/d", "1 2"),
            reads("/d/1", "upper"),
        ],
        ..Case::BASE
    },
    Case {
        id: "seed/03-copied-changed-and-the-original-stays",
        spec: "A file of the image changed in a container is whole there with the change, and the original is as it was.",
        see: &["docs.docker.com, storage drivers, The copy-on-write strategy"],
        catalogue: &["S03", "D01"],
        impact: Impact::DataLoss,
        run: Some(copied_and_changed),
        ..Case::BASE
    },
    Case {
        id: "seed/04-the-image-is-stored-once",
        spec: "Ten containers of one image store the image's data once.",
        see: &["docs.docker.com, storage drivers, Container size on disk"],
        catalogue: &["S04"],
        impact: Impact::Performance,
        run: Some(image_is_stored_once),
        ..Case::BASE
    },
    Case {
        id: "seed/05-containers-start-equal-and-are-isolated",
        spec: "Two containers of one image start equal, and what one changes neither the other nor the image sees.",
        see: &["docs.docker.com, storage drivers, Sharing promotes smaller images"],
        catalogue: &["S05"],
        impact: Impact::Isolation,
        run: Some(containers_are_isolated),
        ..Case::BASE
    },
    Case {
        id: "seed/06-a-file-put-into-a-base-layer-shows-everywhere",
        spec: "A file put from the host into a base layer's directory shows in the containers made before and after.",
        see: &["overlayfs.rst, Changes to underlying filesystems"],
        catalogue: &["S06"],
        impact: Impact::Cosmetic,
        run: Some(file_put_into_a_base_layer),
        ..Case::BASE
    },
    Case {
        id: "seed/07-stopping-keeps-removing-loses-commit-keeps",
        spec: "A writable layer outlives unmounting, is lost with its removal and is kept by a commit as a new layer.",
        see: &[
            "docs.docker.com, storage, Persist data",
            "docs.docker.com, docker container commit",
        ],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        store: &[
            store::layer("image", None, &[write("/app", "app")]),
            store::prepare("container", Some("image")),
            store::mounted("container", &[write("/new", "kept")]),
            store::mounted("container", &[reads("/new", "kept")]),
            store::commit("container", "image2"),
            store::viewed("image2", &[reads("/new", "kept")]),
            store::prepare("second", Some("image")),
            store::mounted("second", &[write("/new", "lost")]),
            store::remove("second"),
            store::stat("second").fails("not found"),
            store::prepare("second", Some("image")),
            store::mounted("second", &[entries("/", "app")]),
        ],
        ..Case::BASE
    },
    Case {
        id: "seed/08-image-layers-are-immutable",
        spec: "Nothing that is done with containers of an image changes one of its layers, to the nanosecond.",
        see: &["docs.docker.com, storage drivers, Images and layers"],
        catalogue: &["S08"],
        impact: Impact::Isolation,
        run: Some(image_layers_are_immutable),
        ..Case::BASE
    },
];

/// An image of three layers; `top` is its last.
fn image(context: &Context) -> Result<()> {
    context.layer(
        None,
        "base",
        &[
            dir("/lib", 0o755),
            write_sized("/lib/data", 300_000, 40),
            write("/testfile", "test"),
        ],
    )?;
    context.layer(
        Some("base"),
        "packages",
        &[
            write_sized("/lib/more", 50_000, 41),
            chmod("/testfile", 0o600),
        ],
    )?;
    context.layer(
        Some("packages"),
        "top",
        &[write("/app", "app"), link("/app", "/app2")],
    )
}

fn start(context: &Context, key: &str) -> Result<()> {
    context
        .store()
        .prepare(key, Some("top"), &PrepareOptions::default())?;
    Ok(())
}

fn listing(dir: &Path) -> Result<String> {
    Ok(names(&Tree::open(dir)?, "/")?.join(" "))
}

fn changes_go_to_the_writable_layer(context: &mut Context) -> Result<()> {
    image(context)?;
    let layers = ["base", "packages", "top"];
    let before = layers
        .iter()
        .map(|name| context.manifest(name))
        .collect::<Result<Vec<_>>>()?;
    start(context, "container")?;
    context.with_mount("container", |dir| {
        let tree = Tree::open(dir)?;
        write_text(&tree, "/created", "c")?;
        write_text(&tree, "/testfile", "changed")?;
        tree.unlink("/app")
            .map_err(|code| Difference::new("/app", "unlink", "ok", code))
    })?;
    expect(
        "/",
        "container",
        "app2 created lib testfile".to_owned(),
        context.with_mount("container", listing)?,
    )?;
    for (name, before) in layers.iter().zip(&before) {
        context.unchanged(before, &context.manifest(name)?)?;
    }
    Ok(())
}

fn copied_and_changed(context: &mut Context) -> Result<()> {
    image(context)?;
    let whole = |dir: &Path| -> Result<Vec<u8>> {
        Tree::open(dir)?
            .read("/lib/data")
            .map_err(|code| Difference::new("/lib/data", "read", "ok", code))
    };
    let mut expected = context.with_view("top", whole)?;
    start(context, "container")?;
    context.with_mount("container", |dir| {
        // Appended, not written anew: the driver has to bring the rest along.
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(dir.join("lib/data"))?;
        Ok(file.write_all(b"!")?)
    })?;
    let original = context.with_view("top", whole)?;
    expect("/lib/data", "original", true, original == expected)?;
    expected.push(b'!');
    let changed = context.with_mount("container", whole)?;
    expect("/lib/data", "change", true, changed == expected)?;
    let own = context.store().usage("container")?.exclusive.bytes.0;
    expect("container", "own bytes", true, own > 0)
}

/// The size of the image whose copies are counted, in bytes.
const IMAGE: u64 = 8 << 20;

fn image_is_stored_once(context: &mut Context) -> Result<()> {
    context.layer(None, "top", &[write_sized("/data", IMAGE, 42)])?;
    let before = context.used()?;
    for number in 0..10 {
        start(context, &format!("container-{number}"))?;
    }
    let grown = context.used()?.saturating_sub(before);
    // Rounded: each container has directories of its own, far below half an image.
    let copies = 1 + (grown + IMAGE / 2) / IMAGE;
    expect("image", "times stored", 1, copies)
}

fn containers_are_isolated(context: &mut Context) -> Result<()> {
    image(context)?;
    start(context, "con1")?;
    start(context, "con2")?;
    let capture = |dir: &Path| Ok(crate::manifest::Manifest::capture(dir)?);
    let (first, second) = (
        context.with_mount("con1", capture)?,
        context.with_mount("con2", capture)?,
    );
    context.unchanged(&first, &second)?;
    context.with_mount("con1", |dir| {
        write_text(&Tree::open(dir)?, "/testfile", "changed")
    })?;
    let text = |dir: &Path| read_text(&Tree::open(dir)?, "/testfile");
    expect(
        "con1",
        "testfile",
        "changed".to_owned(),
        context.with_mount("con1", text)?,
    )?;
    expect(
        "con2",
        "testfile",
        "test".to_owned(),
        context.with_mount("con2", text)?,
    )?;
    expect(
        "image",
        "testfile",
        "test".to_owned(),
        context.with_view("top", text)?,
    )
}

/// The directory on disk of a snapshot's own layer, where a driver has one: that of its child `key`, which the mount
/// data names, with the parent's number in place of the child's.
fn layer_directory(context: &Context, key: &str, parent: &str) -> Result<PathBuf> {
    let store = context.store();
    let (child, parent) = (
        store.stat(key)?.id.to_string(),
        store.stat(parent)?.id.to_string(),
    );
    let own = match store.mounts(key)? {
        Mounts::Bind { source, .. } => Some(source),
        Mounts::FileSystem(spec) => spec.options.iter().find_map(|option| match option {
            MountOption::Text(name, value) if name == "upperdir" => Some(PathBuf::from(value)),
            _ => None,
        }),
    };
    let own = own.ok_or_else(|| Difference::new(key, "directory", "in the mount data", "none"))?;
    let renumber = |part: std::path::Component<'_>| -> PathBuf {
        let part = part.as_os_str();
        if *part == *child {
            parent.as_str().into()
        } else {
            part.into()
        }
    };
    Ok(own.components().map(renumber).collect())
}

fn file_put_into_a_base_layer(context: &mut Context) -> Result<()> {
    context.layer(None, "top", &[write("/f", "f")])?;
    start(context, "before")?;
    let layer = layer_directory(context, "before", "top")?;
    if let Err(error) = std::fs::write(layer.join("put"), "put") {
        let code = Code::from_raw(error.raw_os_error().unwrap_or_default());
        return Err(Difference::new("base", "put a file", "ok", code));
    }
    start(context, "after")?;
    for key in ["before", "after"] {
        expect(
            key,
            "names",
            "f put".to_owned(),
            context.with_mount(key, listing)?,
        )?;
    }
    Ok(())
}

fn image_layers_are_immutable(context: &mut Context) -> Result<()> {
    image(context)?;
    let layers = ["base", "packages", "top"];
    let before = layers
        .iter()
        .map(|name| context.manifest(name))
        .collect::<Result<Vec<_>>>()?;
    let ops = [
        chown("/lib/data", 7, 7),
        append("/lib/more", "+"),
        remove("/testfile"),
        rename("/app2", "/app3"),
        remove_tree("/lib"),
    ];
    context.layer(Some("top"), "child", &ops)?;
    start(context, "container")?;
    context.with_mount("container", |dir| {
        write_text(&Tree::open(dir)?, "/app", "overwritten")
    })?;
    context.store().remove("container")?;
    context.store().remove("child")?;
    for (name, before) in layers.iter().zip(&before) {
        context.unchanged(before, &context.manifest(name)?)?;
    }
    expect(
        "store",
        "snapshots",
        3,
        context.store().list(&Filter::default())?.len(),
    )
}
