//! Images as people see them: pulled, looked into, found.

use std::collections::BTreeSet;
use std::fs;

use crate::context::Result;
use crate::prelude::*;
use crate::product::Product;
use crate::product::layered::Layered;
use crate::support::program::{ONE, TWO, inspect, over, text, texts};

const REGISTRY: &[Need] = &[Need::Program("docker-registry")];

/// What people are told about images.
pub(in crate::cases) const SEED: &[Case] = &[
    Case {
        id: "seed/09-images-are-pulled-by-tag-and-by-digest",
        spec: "A pull by tag or digest tells of each layer whether it came or was there, and ends with the digest and a status.",
        see: &["docs.docker.com, docker image pull"],
        catalogue: &["S09"],
        impact: Impact::AppVisible,
        needs: REGISTRY,
        program: &[
            registry(&[]),
            layered("one:1", ONE),
            layered("two:1", TWO),
            run("image inspect one:1").keeps(&[
                ("/0/Id", "id"),
                ("/0/Manifests/0", "digest"),
                ("/0/Layers/0/blob", "shared"),
            ]),
            run("image inspect two:1").keeps(&[("/0/Layers/1/blob", "own")]),
            script("echo {shared} | cut -c 8-19").saves("base"),
            script("echo {own} | cut -c 8-19").saves("two"),
            run("tag one:1 {registry}/one:1"),
            run("tag two:1 {registry}/two:1"),
            run("push --tls-verify=false {registry}/one:1").with(&["{digest}"]),
            run("push --tls-verify=false {registry}/two:1"),
            run("rmi one:1 two:1 {registry}/one:1 {registry}/two:1"),
            run("pull --tls-verify=false {registry}/one:1")
                .tells(&["{base}: Downloading; ", "{base}: Pull complete"])
                .prints("Digest: {digest}\nStatus: Downloaded newer image for {registry}/one:1"),
            run("pull --tls-verify=false {registry}/two:1")
                .tells(&["{base}: Already exists", "{two}: Pull complete"])
                .without(&["{base}: Downloading"]),
            run("pull --tls-verify=false {registry}/one:1")
                .prints("Digest: {digest}\nStatus: Image is up to date for {registry}/one:1"),
            run("rmi {registry}/one:1"),
            run("pull --tls-verify=false {registry}/one@{digest}"),
            run("image inspect -f {{.Id}} {registry}/one@{digest}").prints("{id}"),
        ],
        ..super::BASE
    },
    Case {
        id: "seed/10-images-of-one-base-begin-with-the-same-id",
        spec: "The layers that an inspection shows are the digests of their contents, and images of one base begin with the same.",
        see: &["OCI image-spec, config.md, Layer DiffID"],
        catalogue: &["S10"],
        impact: Impact::AppVisible,
        program: &[
            layered("one:1", ONE).keeps(&[("/0", "base"), ("/1", "one")]),
            layered("two:1", TWO).json(&[("/0", "{base}")]).keeps(&[("/1", "two")]),
            run("image inspect one:1").json(&[("/0/RootFS/Layers", r#"["{base}","{one}"]"#)]),
            run("image inspect two:1").json(&[("/0/RootFS/Layers", r#"["{base}","{two}"]"#)]),
        ],
        ..super::BASE
    },
    Case {
        id: "seed/11-the-layer-database-leads-to-the-content",
        spec: "Each layer has a directory named by its chain id, with its content's id, its parent, and where it lies.",
        see: &["OCI image-spec, config.md, Layer ChainID"],
        catalogue: &["S11"],
        impact: Impact::AppVisible,
        program: &[
            layered("one:1", ONE).keeps(&[("/0", "base"), ("/1", "one")]),
            run("image inspect -f {{.Id}} one:1").saves("id"),
            script(r#"cat "$COWLAB_ROOT/images/$(echo {id} | cut -d : -f 2).json""#)
                .json(&[("/rootfs/diff_ids", r#"["{base}","{one}"]"#)]),
            // The chain id of the base is its diff id.
            script(r#"echo "$COWLAB_ROOT/layers/$(echo {base} | cut -d : -f 2)""#).saves("below"),
            script("cat {below}/diff").prints("{base}"),
            script("test -e {below}/parent").exits(1),
            script("cat {below}/cache-id").saves("lower"),
            run("layer show {base}").json(&[("/cache_id", "{lower}")]),
            run("snapshot diff --json {lower}").with(&["etc/base"]),
            script("printf '%s %s' {base} {one} | sha256sum | cut -d ' ' -f 1").saves("chain"),
            script(r#"echo "$COWLAB_ROOT/layers/{chain}""#).saves("above"),
            script("cat {above}/diff").prints("{one}"),
            script("cat {above}/parent").prints("{base}"),
            script("cat {above}/cache-id").saves("upper"),
            run("layer show sha256:{chain}").json(&[("/cache_id", "{upper}")]),
            run("snapshot diff --json {upper}").with(&["one"]),
        ],
        ..super::BASE
    },
    Case {
        id: "seed/12-the-graph-finds-by-the-beginning-of-an-id",
        spec: "A database knows whose parent a layer is and which images have it, finds an image by the beginning of its id, and the names of a repository.",
        see: &["docs.docker.com, docker image ls"],
        catalogue: &["S12"],
        impact: Impact::AppVisible,
        run: Some(the_graph_finds),
        ..super::BASE
    },
    Case {
        id: "seed/13-a-root-one-can-look-into",
        spec: "A root has images, layers, containers, volumes, blobs and the driver's directory, and its files are what they are named.",
        see: &["docs.docker.com, storage drivers, Images and layers"],
        catalogue: &["S13"],
        impact: Impact::Cosmetic,
        program: &[
            run("rmi base"),
            layered("one:1", ONE),
            layered("two:1", TWO),
            script(r#"cd "$COWLAB_ROOT" && for name in images layers containers volumes blobs/sha256 {driver}; do [ -d $name ] || echo $name; done"#)
                .prints(""),
            // Two images; their configurations, their manifests and three layers: each file is named by its digest.
            script(
                r#"cd "$COWLAB_ROOT" && for file in images/* blobs/sha256/*; do name=${file##*/}; echo "${name%.json}  $file"; done >{dir}/sums
                sha256sum -c {dir}/sums >{dir}/checked && wc -l <{dir}/sums"#,
            )
            .prints("9"),
            script(r#"ls "$COWLAB_ROOT/layers" | wc -l"#).prints("3"),
        ],
        ..super::BASE
    },
];

fn short(digest: &str) -> &str {
    digest
        .trim_start_matches("sha256:")
        .get(..12)
        .unwrap_or_default()
}

fn the_graph_finds(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let layers = [over("shared")];
    // Of seventeen ids, two begin with the same of sixteen digits.
    let names: Vec<String> = (0..17).map(|number| format!("image-{number}:1")).collect();
    let images: Vec<_> = names
        .iter()
        .map(|name| Layered {
            name,
            layers: &layers,
        })
        .collect();
    product.load_images(&images)?;
    let start = fs::read(product.root().join("graph.db"))?;
    expect(
        "graph.db",
        "an SQLite file",
        true,
        start.starts_with(b"SQLite format 3\0"),
    )?;
    let mut firsts = BTreeSet::new();
    let mut twice = None;
    for name in &names {
        let id = text(&inspect(&product, name)?, "/Id")?;
        let found = inspect(&product, short(&id))?;
        expect(
            name,
            "found by twelve digits",
            id.clone(),
            text(&found, "/Id")?,
        )?;
        let first = short(&id).get(..1).unwrap_or_default().to_owned();
        if !firsts.insert(first.clone()) {
            twice = Some(first);
        }
    }
    let twice = twice.unwrap_or_default();
    product
        .run(&["image", "inspect", &twice])?
        .refused(2, "give more digits")?;
    let found = product.json(&["layer", "ls", "--json"])?;
    expect(
        "layers",
        "images of the one layer",
        17,
        texts(&found, "/0/images")?.len(),
    )?;
    names_are_listed(&product)?;
    product.ok(&["rmi", &names[0]])?;
    let found = product.json(&["layer", "ls", "--json"])?;
    expect(
        "layers",
        "images after one is removed",
        16,
        texts(&found, "/0/images")?.len(),
    )
}

/// `images` lists all names of a repository, or one; other names, whatever they begin with, are not listed.
fn names_are_listed(product: &Product) -> Result<()> {
    product.ok(&["tag", "image-1:1", "image-1:2"])?;
    let id = text(&inspect(product, "image-1:1")?, "/Id")?;
    for (wanted, names) in [
        ("image-1", "image-1:1 image-1:2"),
        ("image-1:2", "image-1:2"),
        ("docker.io/library/image-1:1", "image-1:1"),
    ] {
        let listed = product.json(&["images", "--json", wanted])?;
        expect(wanted, "ids", 1, listed.as_array().map_or(0, Vec::len))?;
        let got = texts(&listed, "/0/RepoTags")?.join(" ");
        expect(wanted, "names", names.to_owned(), got)?;
        product.says(&["images", "-q", wanted], short(&id))?;
        let lines = product.ok(&["images", wanted])?.lines().count();
        expect(wanted, "lines", 1 + names.split(' ').count(), lines)?;
    }
    for unknown in ["image", "image-1:3", "none"] {
        product.says(&["images", "-q", unknown], "")?;
        product.says(&["images", "--json", unknown], "[]")?;
    }
    product.ok(&["rmi", "image-1:2"]).map(drop)
}
