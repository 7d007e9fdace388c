//! Images that are not what they say, registries that lie or are gone, names that nothing has.

use std::fs;

use serde_json::Value;

use crate::context::Result;
use crate::prelude::*;
use crate::product::Product;
use crate::product::layered::{Layered, architecture, docker_archive, oci_archive};
use crate::product::registry::Registry;
use crate::support::program::{
    INSECURE, ONE, base, blob, bytes, inspect, load_two, push, text, texts,
};
use cowlab_tarball::Entry;

const REGISTRY: &[Need] = &[Need::Program("docker-registry")];

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/images-that-share-a-base-keep-it-once",
        spec: "Of two images of one base, the base is kept once: as a layer, as a blob, in the tree of layers, and on disk.",
        see: &["docs.docker.com, storage drivers, Sharing promotes smaller images"],
        catalogue: &["S04"],
        impact: Impact::Performance,
        run: Some(a_base_is_kept_once),
        ..super::BASE
    },
    Case {
        id: "runtime/a-name-that-nothing-has-is-told",
        spec: "An image that is neither here nor in the registry, and a registry that is not there, are told with what to do.",
        see: &["docs.docker.com, docker image pull"],
        catalogue: &["S12"],
        impact: Impact::AppVisible,
        needs: REGISTRY,
        program: &[
            registry(&[]),
            run("tag base {registry}/one:1"),
            run("push --tls-verify=false {registry}/one:1"),
            run("image inspect none:1").fails(2, &["`cowlab images` lists"]),
            run("image rm none:1").fails(2, &["`cowlab images` lists"]),
            run("run --rm none:1").fails(125, &["none:1"]),
            run("pull --tls-verify=false {registry}/none:1")
                .fails(2, &["check its name and its tag"]),
            run("pull --tls-verify=false {registry}/one:2")
                .fails(2, &["check its name and its tag"]),
            // Without TLS it is asked only when that is wanted.
            run("pull {registry}/one:1").fails(69, &["--tls-verify=false"]),
            // A system without a certificate of any authority.
            script(
                r#"SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/dev/null "$COWLAB" pull {registry}/one:1"#,
            )
            .fails(69, &["ca-certificates"]),
            // Nothing is verified, so nothing is needed for it.
            script(
                r#"SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/dev/null "$COWLAB" pull --tls-verify=false {registry}/one:1"#,
            ),
            stop_registry(),
            run("pull --tls-verify=false {registry}/one:1").fails(69, &["cannot be reached"]),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/a-registry-that-lies-is-not-believed",
        spec: "What a registry sends under a digest is kept only if it has it, and nothing of the image is there otherwise.",
        see: &["OCI distribution-spec, Pulling manifests"],
        catalogue: &["S09"],
        impact: Impact::Isolation,
        needs: REGISTRY,
        run: Some(a_registry_that_lies),
        ..super::BASE
    },
    Case {
        id: "runtime/half-a-download-goes-on",
        spec: "A layer of which half came is no layer, and the next pull fetches the other half alone.",
        see: &["OCI distribution-spec, Pulling blobs"],
        catalogue: &["S09"],
        impact: Impact::DataLoss,
        needs: REGISTRY,
        program: &[
            registry(&[]),
            layered("one:1", ONE),
            run("image inspect one:1").keeps(&[("/0/Layers/0/blob", "layer")]),
            run("tag one:1 {registry}/one:1"),
            run("push --tls-verify=false {registry}/one:1"),
            run("rmi base one:1 {registry}/one:1"),
            script("find {dir}/registry -path */$(echo {layer} | cut -d : -f 2)/data")
                .saves("blob"),
            script("cp {blob} {dir}/whole; stat -c %s {blob}").saves("size"),
            script("echo $(({size} / 2))").saves("half"),
            script("truncate -s {half} {blob}"),
            run("pull --tls-verify=false {registry}/one:1").exits(65),
            run("images -q").prints(""),
            script("cp {dir}/whole {blob}"),
            run("pull --tls-verify=false {registry}/one:1")
                .tells(&["Resuming after {half} of {size} bytes"]),
            // A power cut leaves the length of a half, and not its content.
            run("rmi {registry}/one:1"),
            script(
                r#"truncate -s {half} "$COWLAB_ROOT/blobs/incoming/$(echo {layer} | cut -d : -f 2)""#,
            ),
            run("pull --tls-verify=false {registry}/one:1")
                .tells(&["Resuming after {half} of {size} bytes"]),
            run("system check"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/an-image-deeper-than-the-driver-allows",
        spec: "An image of more layers than the driver mounts is refused whole, and any other shows its lowest and its topmost file.",
        see: &["overlayfs.rst, Multiple lower layers"],
        catalogue: &["S02"],
        impact: Impact::AppVisible,
        run: Some(a_deep_image),
        ..super::BASE
    },
    Case {
        id: "runtime/a-list-of-manifests-gives-the-platform",
        spec: "Of a list of manifests the one for this machine is taken, and a list without one is refused with what it has.",
        see: &["OCI image-spec, image-index.md"],
        catalogue: &["S09"],
        impact: Impact::AppVisible,
        run: Some(a_list_of_manifests),
        ..super::BASE
    },
    Case {
        id: "runtime/layers-without-blobs-are-made-again",
        spec: "A layer kept without its blob is saved with the same content, and a change to it is found and not saved.",
        see: &["OCI image-spec, config.md, Layer DiffID"],
        catalogue: &["S08", "M30"],
        impact: Impact::DataLoss,
        program: &[
            layered("one:1", ONE),
            run("save -o {dir}/archive one:1"),
            run("rmi base one:1"),
            run("load --discard-blobs -i {dir}/archive"),
            run("system df --json").json(&[("/blobs/total", "2"), ("/recipes/total", "2")]),
            run("system check"),
            run("image inspect -f {{.Id}} one:1").saves("id"),
            run("save -o {dir}/saved one:1"),
            run("rmi one:1"),
            run("load -i {dir}/saved"),
            run("image inspect -f {{.Id}} one:1").prints("{id}"),
            run("system check"),
            // Loaded with blobs.
            run("system df --json").json(&[("/recipes/total", "0")]),
        ],
        ..super::BASE
    },
];

fn a_base_is_kept_once(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let [diff_ids, _] = load_two(&product)?;
    context.settle()?;
    let layers = product.json(&["layer", "ls", "--json"])?;
    let count = layers.as_array().map_or(0, Vec::len);
    expect("layer ls", "layers of two images", 3, count)?;
    let base = &diff_ids[0];
    let users = texts(&layers, "/0/images")?.len();
    expect("layer ls", "images of the base", 2, users)?;
    let shown = base.trim_start_matches("sha256:");
    let tree = product.ok(&["layer", "tree"])?;
    let drawn = tree.matches(shown.get(..12).unwrap_or(shown)).count();
    expect("layer tree", "times that the base is drawn", 1, drawn)?;
    for image in ["one:1", "two:1"] {
        let top = format!("<= {image}");
        expect("layer tree", image, 1, tree.matches(&top).count())?;
    }
    let used = product.json(&["system", "df", "--json"])?;
    // Two images, two manifests, three layers.
    expect("system df", "blobs", 7, bytes(&used, "/blobs/total")?)?;
    let (one, two) = (inspect(&product, "one:1")?, inspect(&product, "two:1")?);
    let shared = |image: &Value| bytes(image, "/SharedSize/bytes");
    let own = |image: &Value| bytes(image, "/OwnSize/bytes");
    expect(
        "image inspect",
        "the shared bytes of both",
        shared(&one)?,
        shared(&two)?,
    )?;
    expect(
        "image inspect",
        "shares most of its bytes",
        true,
        shared(&one)? > 1 << 20,
    )?;
    let sum = shared(&one)? + own(&one)? + own(&two)?;
    expect(
        "system df",
        "bytes of both images",
        sum,
        bytes(&used, "/images/size/bytes")?,
    )
}

/// No image, no layer and no blob is there, and the root is sound.
fn expect_empty(product: &Product) -> Result<()> {
    expect(
        "images",
        "images",
        String::new(),
        product.ok(&["images", "-q"])?,
    )?;
    product.ok(&["system", "prune"])?;
    let used = product.json(&["system", "df", "--json"])?;
    for what in ["/images/total", "/blobs/total"] {
        expect("system df", what, 0, bytes(&used, what)?)?;
    }
    product.ok(&["system", "check"]).map(drop)
}

fn a_registry_that_lies(context: &mut Context) -> Result<()> {
    let registry = Registry::start(&context.dir().join("registry"))?;
    let product = Product::empty(context)?;
    load_two(&product)?;
    let there = registry.name("one:1");
    let manifest = push(&product, "one:1", &there)?;
    let layer = blob(&product, "one:1", 1)?;
    let config = text(&inspect(&product, "one:1")?, "/Id")?;
    product.ok(&["rmi", "one:1", "two:1", &there])?;
    let by_digest = format!("{}@{manifest}", registry.name("one"));
    for digest in [&manifest, &config, &layer] {
        let file = registry.file(digest);
        let honest = fs::read(&file)?;
        let mut lie = honest.clone();
        // As long as before, and as well formed: in JSON it is a digit of a digest or a letter of a word.
        let place = lie.len() / 2;
        lie[place] ^= 1;
        fs::write(&file, &lie)?;
        let ran = product.run(&["pull", INSECURE, &by_digest])?;
        ran.refused(65, "nothing of it is kept")?;
        expect_empty(&product)?;
        fs::write(&file, &honest)?;
    }
    product.ok(&["pull", INSECURE, &by_digest])?;
    registry.stop()
}

fn a_deep_image(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let limit = product.json(&["info", "--json"])?["depth_limit"].as_u64();
    // Where nothing limits it, a depth that people have.
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let depth = limit.map_or(24, |limit| limit + 1);
    let layers: Vec<_> = (0..depth)
        .map(|number| vec![Entry::file(format!("file-{number}"), "content")])
        .collect();
    let deep = Layered {
        name: "deep:1",
        layers: &layers,
    };
    let ran = product.run_with(&["load"], &docker_archive(&[deep])?)?;
    if let Some(limit) = limit {
        ran.refused(65, &format!("mounts {limit} at most"))?;
        return expect_empty(&product);
    }
    ran.ok()?;
    let inspected = inspect(&product, "deep:1")?;
    expect(
        "deep:1",
        "layers",
        depth,
        texts(&inspected, "/RootFS/Layers")?.len(),
    )?;
    let layers = product.json(&["layer", "ls", "--json"])?;
    let last = format!("/{}/cache_id", depth - 1);
    product.ok(&["snapshot", "view", "look", &text(&layers, &last)?])?;
    let target = context.mount_point();
    let place = target.display().to_string();
    product.ok(&["snapshot", "mount", "look", &place])?;
    let found = [0, depth - 1].map(|number| target.join(format!("file-{number}")).exists());
    product.ok(&["snapshot", "unmount", "look", &place])?;
    product.ok(&["snapshot", "rm", "look"])?;
    expect(
        "deep:1",
        "its lowest and topmost file",
        "[true, true]".to_owned(),
        format!("{found:?}"),
    )
}

fn a_list_of_manifests(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let layers = [base()];
    let image = Layered {
        name: "many:1",
        layers: &layers,
    };
    let here = architecture();
    let elsewhere = ["mips64le", "riscv64"];
    let refused = product.run_with(&["load"], &oci_archive(&image, &elsewhere)?)?;
    refused.refused(65, "it has linux/mips64le, linux/riscv64")?;
    expect_empty(&product)?;
    let offered = [elsewhere[0], here, elsewhere[1]];
    product
        .run_with(&["load"], &oci_archive(&image, &offered)?)?
        .ok()?;
    let inspected = inspect(&product, "many:1")?;
    expect(
        "many:1",
        "architecture",
        here.to_owned(),
        text(&inspected, "/Architecture")?,
    )?;
    // Of what was not taken nothing is kept.
    let used = product.json(&["system", "df", "--json"])?;
    expect("system df", "blobs", 3, bytes(&used, "/blobs/total")?)
}
