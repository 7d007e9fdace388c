//! What other people's programs say about cowlab's images, and cowlab about theirs.

use std::path::Path;

use cowlab_layer::Digest;
use cowlab_sys::cmd::Cmd;
use serde_json::Value;

use crate::context::Result;
use crate::manifest::Manifest;
use crate::prelude::*;
use crate::product::layered::{Layered, architecture, oci_archive};
use crate::product::registry::Registry;
use crate::product::{Product, debian};
use crate::support::program::{INSECURE, ONE, inspect, load_two, text, texts};
use cowlab_tarball::Entry;

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/skopeo-knows-the-digests",
        spec: "Images that cowlab saved or pushed have the same digests and layers for skopeo, and what skopeo copies loads as the same.",
        see: &["OCI image-spec, image-layout.md", "skopeo-copy(1)"],
        catalogue: &["S09"],
        impact: Impact::DataLoss,
        needs: &[Need::Program("skopeo"), Need::Program("docker-registry")],
        program: &[
            registry(&[]),
            layered("one:1", ONE),
            run("image inspect one:1")
                .json(&[("/0/Manifests/1", "none")])
                .keeps(&[("/0/Id", "id"), ("/0/Manifests/0", "manifest")]),
            run("save --format oci-dir -o {dir}/layout one:1"),
            run("tag one:1 {registry}/one:1"),
            run("push --tls-verify=false {registry}/one:1").with(&["{manifest}"]),
            script("skopeo inspect oci:{dir}/layout:1").json(&[("/Digest", "{manifest}")]),
            script("skopeo inspect --tls-verify=false docker://{registry}/one:1")
                .json(&[("/Digest", "{manifest}")]),
            script("skopeo inspect --raw oci:{dir}/layout:1")
                .json(&[("/config/digest", "{id}")])
                .saves("raw"),
            script("skopeo inspect --raw --tls-verify=false docker://{registry}/one:1")
                .prints("{raw}"),
            // And back: from the registry as an archive of docker's, from the layout into the registry.
            run("rmi one:1 {registry}/one:1"),
            script(
                "skopeo copy --src-tls-verify=false docker://{registry}/one:1 docker-archive:{dir}/archive.tar:back:1",
            ),
            run("load -i {dir}/archive.tar"),
            run("image inspect -f {{.Id}} back:1").prints("{id}"),
            script(
                "skopeo copy --dest-tls-verify=false oci:{dir}/layout:1 docker://{registry}/theirs:1",
            ),
            run("pull --tls-verify=false {registry}/theirs:1").with(&["{manifest}"]),
            run("image inspect -f {{.Id}} {registry}/theirs:1").prints("{id}"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/a-list-in-a-registry-gives-the-platform",
        spec: "Of a list of manifests in a registry the one for this machine is pulled, under the digest of the list.",
        see: &[
            "OCI image-spec, image-index.md",
            "OCI distribution-spec, Pulling manifests",
        ],
        catalogue: &["S09"],
        impact: Impact::AppVisible,
        needs: &[Need::Program("skopeo"), Need::Program("docker-registry")],
        run: Some(a_list_in_a_registry),
        ..super::BASE
    },
    Case {
        id: "runtime/podman-knows-the-images",
        spec: "An image that cowlab saved has the same id, digest and layers in podman, and what podman saves loads as the same.",
        see: &["podman-load(1)", "podman-save(1)"],
        catalogue: &["S10"],
        impact: Impact::DataLoss,
        needs: &[Need::Program("podman")],
        run: Some(podman_knows_the_images),
        ..super::BASE
    },
    Case {
        id: "runtime/umoci-unpacks-the-same-tree",
        spec: "The layers over one another show what umoci unpacks: mode, owner, times, extended attributes, links, devices.",
        see: &["OCI image-spec, layer.md", "umoci-unpack(1)"],
        catalogue: &["S02", "N28"],
        impact: Impact::DataLoss,
        needs: &[Need::Program("umoci")],
        run: Some(umoci_unpacks_the_same_tree),
        ..super::BASE
    },
    Case {
        id: "runtime/umoci-unpacks-the-same-debian",
        spec: "A Debian root file system runs and shows what umoci unpacks of it, and umoci's further layer loads and shows its change.",
        see: &["umoci-unpack(1)", "umoci-repack(1)"],
        catalogue: &["S02"],
        impact: Impact::DataLoss,
        needs: &[Need::Program("umoci"), Need::DebianRoot],
        run: Some(umoci_unpacks_the_same_debian),
        ..super::BASE
    },
];

/// Runs a judge's command and returns what it prints.
fn judge(words: &[&str]) -> Result<String> {
    let (program, arguments) = words.split_first().unwrap_or((&"", &[]));
    let text = Cmd::new(program).args(arguments).read()?;
    Ok(text.trim_end().to_owned())
}

fn a_list_in_a_registry(context: &mut Context) -> Result<()> {
    let registry = Registry::start(&context.dir().join("registry"))?;
    let product = Product::empty(context)?;
    let layers = [vec![Entry::file("one", "one")]];
    let image = Layered {
        name: "many:1",
        layers: &layers,
    };
    let archive = context.dir().join("list.tar");
    let source = format!("oci-archive:{}", archive.display());
    let send = |name: &str, offered: &[&str]| -> Result<String> {
        std::fs::write(&archive, oci_archive(&image, offered)?)?;
        let there = registry.name(name);
        let target = format!("docker://{there}");
        let copy = ["skopeo", "copy", "--all", "--dest-tls-verify=false"];
        judge(&[&copy[..], &[&source, &target]].concat())?;
        Ok(there)
    };
    let there = send("many:1", &["mips64le", architecture(), "riscv64"])?;
    let raw = [
        "skopeo",
        "inspect",
        INSECURE,
        "--raw",
        &format!("docker://{there}"),
    ];
    let list: Value = serde_json::from_str(&judge(&raw)?)?;
    let offered = list["manifests"].as_array().map_or(0, Vec::len);
    expect("registry", "manifests in the list", 3, offered)?;
    let theirs = Digest::of(judge(&raw)?.as_bytes()).to_string();
    let pulled = product.ok(&["pull", INSECURE, &there])?;
    let first = pulled.lines().next().unwrap_or_default().to_owned();
    expect("pull", "output", format!("Digest: {theirs}"), first)?;
    let ours = inspect(&product, &there)?;
    let got = text(&ours, "/Architecture")?;
    expect("pull", "architecture", architecture().to_owned(), got)?;
    let elsewhere = send("elsewhere:1", &["mips64le", "riscv64"])?;
    let ran = product.run(&["pull", INSECURE, &elsewhere])?;
    ran.refused(65, "it has linux/mips64le, linux/riscv64")?;
    registry.stop()
}

fn podman_knows_the_images(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    load_two(&product)?;
    // The path of podman's directory for what runs may have fifty characters, for sockets lie there.
    let short = tempfile::tempdir()?;
    let own = |name: &str| short.path().join(name).display().to_string();
    let (root, run, scratch) = (own("root"), own("run"), own("tmp"));
    let podman = |words: &[&str]| {
        let own = ["podman", "--root", &root, "--runroot", &run];
        let plain = ["--tmpdir", &scratch, "--storage-driver", "vfs"];
        judge(&[&own[..], &plain, &["--events-backend", "none"], words].concat())
    };
    for image in ["one:1", "two:1"] {
        podman_knows(&product, context.dir(), &podman, image)?;
    }
    product.ok(&["system", "check"]).map(drop)
}

/// Sends an image to podman and back.
fn podman_knows(
    product: &Product,
    dir: &Path,
    podman: &dyn Fn(&[&str]) -> Result<String>,
    image: &str,
) -> Result<()> {
    let place = |name: &str| {
        dir.join(format!("{}-{name}", &image[..3]))
            .display()
            .to_string()
    };
    let archive = place("ours.tar");
    product.ok(&["save", "-o", &archive, image])?;
    podman(&["load", "-q", "-i", &archive])?;
    let ours = inspect(product, image)?;
    let theirs: Value = serde_json::from_str(&podman(&["image", "inspect", image])?)?;
    let id = text(&ours, "/Id")?;
    let got = format!("sha256:{}", text(&theirs, "/0/Id")?);
    expect(image, "podman's id", id.clone(), got)?;
    let manifest = texts(&ours, "/Manifests")?.join(" ");
    let got = text(&theirs, "/0/Digest")?;
    expect(image, "podman's digest", manifest, got)?;
    let layers = texts(&ours, "/RootFS/Layers")?.join(" ");
    let got = texts(&theirs, "/0/RootFS/Layers")?.join(" ");
    expect(image, "podman's layers", layers, got)?;
    product.ok(&["rmi", image])?;
    for format in ["docker-archive", "oci-archive"] {
        let back = place(format);
        podman(&["save", "-q", "--format", format, "-o", &back, image])?;
        product.ok(&["load", "-i", &back])?;
        let got = text(&inspect(product, &id)?, "/Id")?;
        expect(image, format, id.clone(), got)?;
        product.ok(&["rmi", "-f", &id])?;
    }
    Ok(())
}

/// Compares what an image shows with what umoci unpacks of it, and leaves the bundle.
fn compare_with_umoci(
    context: &Context,
    product: &Product,
    image: &str,
    layout: &Path,
    bundle: &Path,
) -> Result<()> {
    let (layout, bundle) = (layout.display().to_string(), bundle.display().to_string());
    product.ok(&["save", "--format", "oci-dir", "-o", &layout, image])?;
    judge(&[
        "umoci",
        "unpack",
        "--image",
        &format!("{layout}:1"),
        &bundle,
    ])?;
    let theirs = Manifest::capture(&Path::new(&bundle).join("rootfs"))?;
    let ours = shown(context, product, image, |dir| Ok(Manifest::capture(dir)?))?;
    context.unchanged(&theirs, &ours)
}

/// Looks at an image through a view of its topmost layer.
fn shown<T>(
    context: &Context,
    product: &Product,
    image: &str,
    look: impl FnOnce(&Path) -> Result<T>,
) -> Result<T> {
    let layers = inspect(product, image)?;
    let count = layers["Layers"].as_array().map_or(0, Vec::len);
    let top = text(
        &layers,
        &format!("/Layers/{}/cache_id", count.saturating_sub(1)),
    )?;
    let target = context.mount_point();
    let place = target.display().to_string();
    product.ok(&["snapshot", "view", "look", &top])?;
    product.ok(&["snapshot", "mount", "look", &place])?;
    let seen = look(&target);
    product.ok(&["snapshot", "unmount", "look", &place])?;
    product.ok(&["snapshot", "rm", "look"])?;
    seen
}

/// A name for which a header has no room.
const LONG: &str = "a-directory-whose-name-is-longer-than-the-one-hundred-bytes-that-the-header-of-an-entry-in-an-archive-has-for-it";

/// Every kind of entry, with every attribute.
fn kinds() -> Vec<Entry> {
    vec![
        Entry::dir(".")
            .mode(0o711)
            .record("mtime", "1500000000.000000001"),
        Entry::dir("d")
            .mode(0o1777)
            .owner(1, 2)
            .record("mtime", "1234567890.123456789"),
        Entry::file("d/f", "content")
            .mode(0o4755)
            .owner(70_000, 3_000_000)
            .record("mtime", "1600000000.999999999")
            .record("SCHILY.xattr.user.note", "text")
            .record("SCHILY.xattr.trusted.bytes", b"\x00\x01\xff"),
        Entry::link("d/g", "d/f"),
        Entry::symlink("s", "d/../d/f").record("mtime", "1300000000.5"),
        Entry::symlink("dangling", "/nowhere/at all"),
        Entry::special("char", b'3', 5, 1).mode(0o620).owner(0, 5),
        Entry::special("block", b'4', 259, 70_000),
        Entry::special("fifo", b'6', 0, 0).mode(0o606),
        Entry::file("empty", "").mode(0o000).record("mtime", "-1.5"),
        Entry::dir("gone"),
        Entry::file("gone/f", "f"),
        Entry::dir("opaque"),
        Entry::file("opaque/below", "below"),
        Entry::file("file-to-dir", "f"),
        Entry::dir("dir-to-file"),
        Entry::file("dir-to-file/f", "f"),
        Entry::dir(LONG),
        Entry::file(format!("{LONG}/name"), "deep"),
        Entry::file(
            "na\u{ef}ve \u{1f427}\n",
            "a name of letters, a penguin and a line's end",
        ),
    ]
}

fn changes() -> Vec<Entry> {
    vec![
        Entry::file(".wh.gone", ""),
        Entry::dir("opaque").mode(0o700),
        Entry::file("opaque/.wh..wh..opq", ""),
        Entry::file("opaque/above", "above").record("mtime", "1700000000.000000007"),
        Entry::dir("file-to-dir"),
        Entry::file("file-to-dir/f", "f"),
        Entry::file("dir-to-file", "f"),
        Entry::dir("d")
            .mode(0o750)
            .owner(7, 8)
            .record("mtime", "1234567891.5"),
        Entry::file("d/new", "new").record("SCHILY.xattr.security.capability", CAPABILITY),
        // Last, for a removal changes the time of umoci's directory.
        Entry::dir(".")
            .mode(0o711)
            .record("mtime", "1500000001.000000002"),
    ]
}

/// `cap_net_raw+ep`, as the kernel keeps it (linux/capability.h, `vfs_cap_data`, revision 2).
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn umoci_unpacks_the_same_tree(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let layers = [kinds(), changes()];
    let image = Layered {
        name: "kinds:1",
        layers: &layers,
    };
    product.load_images(&[image])?;
    let (layout, bundle) = (context.dir().join("layout"), context.dir().join("bundle"));
    compare_with_umoci(context, &product, "kinds:1", &layout, &bundle)
}

fn umoci_unpacks_the_same_debian(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let tar = debian::tar()?;
    product.run_with(&["import", "-", "debian:1"], &tar)?.ok()?;
    let own = ["run", "--rm", "debian:1", "dpkg", "--status", "base-files"];
    expect(
        "dpkg",
        "knows its own",
        true,
        product.ok(&own)?.contains("Status: install ok"),
    )?;
    let (layout, bundle) = (context.dir().join("layout"), context.dir().join("bundle"));
    compare_with_umoci(context, &product, "debian:1", &layout, &bundle)?;
    let below = texts(&inspect(&product, "debian:1")?, "/RootFS/Layers")?;
    // Umoci's turn: a further layer.
    std::fs::write(bundle.join("rootfs/etc/issue"), "umoci was here\n")?;
    std::fs::remove_file(bundle.join("rootfs/etc/debian_version"))?;
    let (image, place) = (
        format!("{}:2", layout.display()),
        bundle.display().to_string(),
    );
    judge(&["umoci", "repack", "--image", &image, &place])?;
    // Its image has the name of the one that it is made of, which is nameless now.
    product.ok(&["load", "-q", "-i", &layout.display().to_string()])?;
    let id = "debian:1";
    let got = texts(&inspect(&product, id)?, "/RootFS/Layers")?;
    expect("umoci's image", "layers", below.len() + 1, got.len())?;
    expect(
        "umoci's image",
        "begins with ours",
        true,
        got.starts_with(&below),
    )?;
    let issue = shown(context, &product, id, |dir| {
        let version = dir.join("etc/debian_version").exists();
        Ok(format!(
            "{}{version}",
            std::fs::read_to_string(dir.join("etc/issue"))?
        ))
    })?;
    expect(
        "umoci's image",
        "its change",
        "umoci was here\nfalse".to_owned(),
        issue,
    )
}
