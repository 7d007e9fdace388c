//! Images as people see them: pulled, looked into, found.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use cowlab_layer::Digest;

use crate::context::Result;
use crate::prelude::*;
use crate::product::layered::Layered;
use crate::product::registry::Registry;
use crate::product::{Product, Ran};
use crate::support::program::{INSECURE, blob, inspect, load_two, over, push, text, texts};

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
        run: Some(images_are_pulled),
        ..super::BASE
    },
    Case {
        id: "seed/10-images-of-one-base-begin-with-the-same-id",
        spec: "The layers that an inspection shows are the digests of their contents, and images of one base begin with the same.",
        see: &["OCI image-spec, config.md, Layer DiffID"],
        catalogue: &["S10"],
        impact: Impact::AppVisible,
        run: Some(images_of_one_base),
        ..super::BASE
    },
    Case {
        id: "seed/11-the-layer-database-leads-to-the-content",
        spec: "Each layer has a directory named by its chain id, with its content's id, its parent, and where it lies.",
        see: &["OCI image-spec, config.md, Layer ChainID"],
        catalogue: &["S11"],
        impact: Impact::AppVisible,
        run: Some(the_layer_database_leads_on),
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
        run: Some(a_root_one_can_look_into),
        ..super::BASE
    },
];

fn short(digest: &str) -> &str {
    digest
        .trim_start_matches("sha256:")
        .get(..12)
        .unwrap_or_default()
}

/// A pull must have a line for each of these layers that says this of it.
fn tells(pulled: &Ran, lines: &[(&String, &str)]) -> Result<()> {
    for (digest, word) in lines {
        let line = format!("{}: {word}", short(digest));
        let is_told = pulled.err.lines().any(|said| said == line);
        expect(&pulled.command, &line, true, is_told)?;
    }
    Ok(())
}

fn images_are_pulled(context: &mut Context) -> Result<()> {
    let registry = Registry::start(&context.dir().join("registry"))?;
    let product = Product::empty(context)?;
    load_two(&product)?;
    let (one, two) = (registry.name("one:1"), registry.name("two:1"));
    let digest = push(&product, "one:1", &one)?;
    push(&product, "two:1", &two)?;
    let shared = blob(&product, "one:1", 0)?;
    let own = blob(&product, "two:1", 1)?;
    let id = text(&inspect(&product, "one:1")?, "/Id")?;
    product.ok(&["rmi", "one:1", "two:1", &one, &two])?;
    let pulled = product.run(&["pull", INSECURE, &one])?;
    tells(
        &pulled,
        &[(&shared, "Downloading"), (&shared, "Pull complete")],
    )?;
    let status = format!("Digest: {digest}\nStatus: Downloaded newer image for {one}");
    expect("first pull", "output", status, pulled.ok()?)?;
    let pulled = product.run(&["pull", INSECURE, &two])?;
    tells(
        &pulled,
        &[(&shared, "Already exists"), (&own, "Pull complete")],
    )?;
    let fetched = format!("{}: Downloading", short(&shared));
    expect(
        "second pull",
        &fetched,
        false,
        pulled.err.contains(&fetched),
    )?;
    pulled.ok()?;
    let again = product.ok(&["pull", INSECURE, &one])?;
    let status = format!("Digest: {digest}\nStatus: Image is up to date for {one}");
    expect("third pull", "output", status, again)?;
    product.ok(&["rmi", &one])?;
    let by_digest = format!("{}@{digest}", registry.name("one"));
    product.ok(&["pull", INSECURE, &by_digest])?;
    let got = text(&inspect(&product, &by_digest)?, "/Id")?;
    expect("pull by digest", "id", id, got)?;
    registry.stop()
}

fn images_of_one_base(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let expected = load_two(&product)?;
    let mut first = BTreeSet::new();
    for (image, diff_ids) in ["one:1", "two:1"].into_iter().zip(expected) {
        let got = texts(&inspect(&product, image)?, "/RootFS/Layers")?;
        expect(image, "RootFS.Layers", diff_ids.join(" "), got.join(" "))?;
        first.extend(got.into_iter().next());
    }
    expect("both images", "first ids", 1, first.len())
}

/// What a file of the root says.
fn read(product: &Product, path: &str) -> Result<String> {
    let path = product.root().join(path);
    Ok(fs::read_to_string(path)?.trim_end().to_owned())
}

fn the_layer_database_leads_on(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let [diff_ids, _] = load_two(&product)?;
    let id = text(&inspect(&product, "one:1")?, "/Id")?;
    let digits = |id: &str| id.trim_start_matches("sha256:").to_owned();
    let config = read(&product, &format!("images/{}.json", digits(&id)))?;
    let config: Value = serde_json::from_str(&config)?;
    let listed = texts(&config, "/rootfs/diff_ids")?;
    expect("images", "diff ids", diff_ids.join(" "), listed.join(" "))?;
    let mut below: Option<String> = None;
    for (diff_id, file) in diff_ids.iter().zip(["etc/base", "one"]) {
        let chain_id = match &below {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()).to_string(),
        };
        let place = format!("layers/{}", digits(&chain_id));
        expect(
            file,
            "diff",
            diff_id.clone(),
            read(&product, &format!("{place}/diff"))?,
        )?;
        let parent = product.root().join(&place).join("parent");
        let parent = parent
            .exists()
            .then(|| fs::read_to_string(parent))
            .transpose()?;
        expect(
            file,
            "parent",
            below.unwrap_or_default(),
            parent.unwrap_or_default(),
        )?;
        let cache_id = read(&product, &format!("{place}/cache-id"))?;
        let shown = product.json(&["layer", "show", &chain_id])?;
        expect(
            file,
            "cache id",
            cache_id.clone(),
            text(&shown, "/cache_id")?,
        )?;
        let layer = product.ok(&["snapshot", "diff", "--json", &cache_id])?;
        expect(file, "is in its layer", true, layer.contains(file))?;
        below = Some(chain_id);
    }
    Ok(())
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

fn a_root_one_can_look_into(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    load_two(&product)?;
    let driver = context.entry().name;
    for name in [
        "images",
        "layers",
        "containers",
        "volumes",
        "blobs/sha256",
        driver,
    ] {
        expect(
            name,
            "a directory",
            true,
            product.root().join(name).is_dir(),
        )?;
    }
    let mut named = 0;
    for place in ["images", "blobs/sha256"] {
        for entry in fs::read_dir(product.root().join(place))? {
            let path = entry?.path();
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let digest = Digest::of(&fs::read(&path)?).to_string();
            expect(
                place,
                "the name of a file is its digest",
                format!("sha256:{name}"),
                digest,
            )?;
            named += 1;
        }
    }
    // Two images; their configurations, their manifests and three layers.
    expect("root", "files named by their digests", 9, named)?;
    let layers = fs::read_dir(product.root().join("layers"))?.count();
    expect("layers", "directories", 3, layers)
}
