//! Images as other makers write them: indexes with more than images, configurations with less than the specification asks
//! for, archives in any packing.

use std::fs;

use cowlab_layer::Digest;
use cowlab_sys::cmd::Cmd;
use serde_json::{Value, json};

use crate::context::Result;
use crate::prelude::*;
use crate::product::Product;
use crate::product::layered::architecture;
use crate::support::program::{inspect, text};
use cowlab_tarball::{Entry, archive};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/an-index-leads-past-what-is-no-image",
        spec: "In an index artifacts, attestations, odd platforms and indexes come before and around the image for this machine, which is found.",
        see: &[
            "OCI image-spec, image-index.md",
            "docs.docker.com, Attestation storage",
        ],
        catalogue: &["S09"],
        impact: Impact::AppVisible,
        run: Some(an_index_leads_past),
        ..super::BASE
    },
    Case {
        id: "runtime/an-index-offers-variants-of-the-processor",
        spec: "Of several variants of this machine's architecture, one that the processor does not know is not taken, and the plain one is.",
        see: &[
            "OCI image-spec, image-index.md, platform",
            "containerd, platforms, compare.go",
        ],
        catalogue: &["S09"],
        impact: Impact::AppVisible,
        run: Some(an_index_offers_variants),
        ..super::BASE
    },
    Case {
        id: "runtime/an-artifact-is-no-image",
        spec: "A signature in a layout does not keep the images beside it from being loaded, and by itself it is refused with the member that tells.",
        see: &["OCI image-spec, manifest.md, Guidelines for Artifact Usage"],
        catalogue: &["S09"],
        impact: Impact::AppVisible,
        run: Some(an_artifact_is_no_image),
        ..super::BASE
    },
    Case {
        id: "runtime/configurations-of-other-makers-load",
        spec: "Configurations with null for what is empty, without platform, with one text as a command, load and are inspected.",
        see: &[
            "encoding/json, null into a slice or map",
            "moby, api/types/strslice",
        ],
        catalogue: &["S09"],
        impact: Impact::AppVisible,
        run: Some(configurations_of_other_makers),
        ..super::BASE
    },
    Case {
        id: "runtime/a-refused-document-names-the-member",
        spec: "A manifest or a configuration that is refused is named by its digest, with the member that is wrong.",
        see: &["OCI image-spec, config.md, Properties"],
        catalogue: &["S09"],
        impact: Impact::AppVisible,
        run: Some(a_refused_document),
        ..super::BASE
    },
    Case {
        id: "runtime/archives-of-any-packing",
        spec: "Archives and the layers in archives of docker's are taken packed with xz, bzip2, gzip and zstd, and cut off ones are refused.",
        see: &["docs.docker.com, docker image import", "docker image load"],
        catalogue: &["S09"],
        impact: Impact::AppVisible,
        needs: &[
            Need::Program("xz"),
            Need::Program("bzip2"),
            Need::Program("gzip"),
            Need::Program("zstd"),
        ],
        run: Some(archives_of_any_packing),
        ..super::BASE
    },
    Case {
        id: "runtime/layers-of-an-archive-are-links",
        spec: "A layer in an archive of docker's is found through symbolic and hard links, one after the other, and never outside of the archive.",
        see: &["moby, image/tarexport/load.go", "tar(5), hard link"],
        catalogue: &["S09"],
        impact: Impact::AppVisible,
        run: Some(layers_are_links),
        ..super::BASE
    },
    Case {
        id: "runtime/commit-keeps-what-the-image-says",
        spec: "An image that is committed says all that its image says, known to cowlab or not, but for what the container changed.",
        see: &["docs.docker.com, docker container commit"],
        catalogue: &["S08"],
        impact: Impact::AppVisible,
        run: Some(commit_keeps),
        ..super::BASE
    },
];

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An OCI image layout that is being written.
struct Layout {
    entries: Vec<Entry>,
}

impl Layout {
    fn new() -> Self {
        let marker = r#"{"imageLayoutVersion":"1.0.0"}"#;
        Self {
            entries: vec![Entry::file("oci-layout", marker)],
        }
    }

    /// Adds a blob and returns its descriptor.
    fn blob(&mut self, kind: &str, bytes: impl AsRef<[u8]>) -> Value {
        let bytes = bytes.as_ref();
        let digest = Digest::of(bytes).to_string();
        let path = format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"));
        self.entries.push(Entry::file(path, bytes));
        json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
    }

    /// Adds an image with one file of this name and returns its descriptor.
    fn image(&mut self, name: &str) -> Value {
        let layer = archive(&[Entry::file(name, name)]);
        let config = json!({
            "architecture": architecture(), "os": "linux", "config": {"Labels": {"is": name}},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]},
        });
        self.manifest(&config, &layer)
    }

    /// Adds an image of this configuration and this layer.
    fn manifest(&mut self, config: &Value, layer: &[u8]) -> Value {
        let config = self.blob(CONFIG, config.to_string());
        let layers = [self.blob(LAYER, layer)];
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.blob(MANIFEST, manifest.to_string())
    }

    /// Adds the manifest of an artifact.
    fn artifact(&mut self) -> Value {
        let config = self.blob("application/vnd.oci.empty.v1+json", "{}");
        let layers = [self.blob("application/vnd.example.sbom+json", "not a tar")];
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        self.blob(MANIFEST, manifest.to_string())
    }

    /// Adds an index.
    fn index(&mut self, manifests: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        self.blob(INDEX, index.to_string())
    }

    /// The archive of the layout, which offers these.
    fn archive(mut self, manifests: &[Value]) -> Vec<u8> {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        self.entries
            .push(Entry::file("index.json", index.to_string()));
        archive(&self.entries)
    }
}

/// A descriptor with one member more.
fn with(mut descriptor: Value, member: &str, value: Value) -> Value {
    descriptor[member] = value;
    descriptor
}

fn named(descriptor: Value, name: &str) -> Value {
    let annotations = json!({"io.containerd.image.name": name});
    with(descriptor, "annotations", annotations)
}

fn for_platform(descriptor: Value, os: &str, architecture: &str, variant: &str) -> Value {
    let platform = json!({"os": os, "architecture": architecture, "variant": variant});
    with(descriptor, "platform", platform)
}

/// The label that tells which image was taken.
fn taken(product: &Product, name: &str) -> Result<String> {
    text(&inspect(product, name)?, "/Config/Labels/is")
}

fn an_index_leads_past(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let mut layout = Layout::new();
    let here = architecture();
    let other = layout.image("other");
    let ours = layout.image("ours");
    let ours = for_platform(ours, "linux", here, "");
    let attestation = for_platform(layout.artifact(), "unknown", "unknown", "");
    let nested = layout.index(&[attestation.clone(), ours.clone()]);
    let elsewhere = layout.index(&[for_platform(other.clone(), "linux", "mips64le", "")]);
    let odd = [
        with(other.clone(), "platform", json!({})),
        with(other.clone(), "platform", Value::Null),
        for_platform(other.clone(), "plan9", "", ""),
        with(other.clone(), "digest", json!("sha512:00")),
        json!({"mediaType": MANIFEST, "digest": Digest::of(b"absent").to_string(), "size": 1,
               "platform": {"os": "windows", "architecture": here, "os.version": "1", "features": ["x"]}}),
    ];
    let artifact = layout.artifact();
    let indexes = [
        vec![artifact.clone(), ours.clone()],
        vec![
            artifact,
            elsewhere.clone(),
            for_platform(nested.clone(), "linux", here, ""),
        ],
        vec![attestation.clone(), elsewhere, nested],
        odd.into_iter().chain([ours]).collect(),
    ];
    let mut offered = Vec::new();
    for (number, entries) in indexes.iter().enumerate() {
        let index = layout.index(entries);
        offered.push(named(index, &format!("docker.io/library/it:{number}")));
    }
    let archive = layout.archive(&offered);
    product.run_with(&["load"], &archive)?.ok()?;
    for number in 0..indexes.len() {
        let name = format!("it:{number}");
        expect(&name, "image", "ours".to_owned(), taken(&product, &name)?)?;
    }
    Ok(())
}

fn an_index_offers_variants(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let mut layout = Layout::new();
    let here = architecture();
    let future = layout.image("future");
    let future = for_platform(future, "linux", here, "v99");
    let plain = for_platform(layout.image("plain"), "linux", here, "");
    let both = layout.index(&[future.clone(), plain]);
    let alone = layout.index(&[future]);
    let both = layout.archive(&[named(both, "docker.io/library/both:1")]);
    product.run_with(&["load"], &both)?.ok()?;
    expect(
        "both:1",
        "image",
        "plain".to_owned(),
        taken(&product, "both:1")?,
    )?;
    let mut layout = Layout::new();
    layout.image("future");
    layout.blob(
        INDEX,
        json!({"schemaVersion": 2, "manifests": []}).to_string(),
    );
    let future = for_platform(layout.image("future"), "linux", here, "v99");
    let index = layout.index(&[future]);
    expect(
        "index",
        "digest",
        alone["digest"].clone(),
        index["digest"].clone(),
    )?;
    let refused = product.run_with(&["load"], &layout.archive(&[index]))?;
    refused.refused(65, &format!("it has linux/{here}/v99"))
}

fn an_artifact_is_no_image(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let mut layout = Layout::new();
    let (signature, image) = (layout.artifact(), layout.image("image"));
    let image = named(image, "docker.io/library/signed:1");
    let archive = layout.archive(&[signature, image]);
    product.run_with(&["load"], &archive)?.ok()?;
    expect(
        "signed:1",
        "image",
        "image".to_owned(),
        taken(&product, "signed:1")?,
    )?;
    let mut layout = Layout::new();
    let signature = layout.artifact();
    let alone = product.run_with(&["load"], &layout.archive(&[signature]))?;
    alone.refused(
        65,
        "`config.mediaType` is `application/vnd.oci.empty.v1+json`",
    )
}

fn configurations_of_other_makers(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let layer = archive(&[Entry::file("a", "a")]);
    let rootfs = json!({"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]});
    let bare = json!({"rootfs": rootfs, "config": null, "history": null});
    let sparse = json!({
        "architecture": "", "os": null, "rootfs": {"diff_ids": rootfs["diff_ids"]},
        "config": {"Cmd": "one", "Entrypoint": null, "Env": null, "ExposedPorts": {"80/tcp": null},
                   "Volumes": {"/data": null}, "Labels": {"is": null}},
    });
    let mut layout = Layout::new();
    let images = [
        layout.manifest(&bare, &layer),
        layout.manifest(&sparse, &layer),
    ];
    let empty = json!({"rootfs": {"type": "layers", "diff_ids": null}, "config": {}});
    let empty = layout.blob(CONFIG, empty.to_string());
    let none = json!({"schemaVersion": 2, "config": empty, "layers": null, "annotations": null});
    let none = layout.blob(MANIFEST, none.to_string());
    let offered = [
        named(images[0].clone(), "docker.io/library/bare:1"),
        named(images[1].clone(), "docker.io/library/sparse:1"),
        named(none, "docker.io/library/none:1"),
    ];
    product
        .run_with(&["load"], &layout.archive(&offered))?
        .ok()?;
    for name in ["bare:1", "sparse:1", "none:1"] {
        let got = text(&inspect(&product, name)?, "/Architecture")?;
        expect(name, "architecture", architecture().to_owned(), got)?;
    }
    let sparse = inspect(&product, "sparse:1")?;
    expect(
        "sparse:1",
        "command",
        "one".to_owned(),
        text(&sparse, "/Config/Cmd/0")?,
    )?;
    expect(
        "sparse:1",
        "label",
        String::new(),
        taken(&product, "sparse:1")?,
    )
}

fn a_refused_document(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let layer = archive(&[Entry::file("a", "a")]);
    let rootfs = json!({"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]});
    let config = json!({"rootfs": rootfs, "config": {"Env": ["A=1", 5]}});
    let mut layout = Layout::new();
    let wrong = layout.manifest(&config, &layer);
    let digest = Digest::of(config.to_string().as_bytes());
    let ran = product.run_with(&["load"], &layout.archive(&[wrong]))?;
    ran.refused(65, &format!("configuration `{digest}`: `config.Env[1]`"))?;
    let mut layout = Layout::new();
    let config = layout.blob(CONFIG, json!({"rootfs": rootfs}).to_string());
    let layers = json!([{"mediaType": LAYER, "digest": "sha256:12", "size": 1}]);
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string();
    let wrong = layout.blob(MANIFEST, &manifest);
    let ran = product.run_with(&["load"], &layout.archive(&[wrong]))?;
    let digest = Digest::of(manifest.as_bytes());
    ran.refused(65, &format!("manifest `{digest}`: `layers[0].digest`"))
}

/// An archive of docker's with these members beside the configuration, which names the diff ids, and the layers in this order.
fn docker_archive(members: Vec<Entry>, layers: &[&str], diff_ids: &[Digest]) -> Vec<u8> {
    let diff_ids: Vec<_> = diff_ids.iter().map(ToString::to_string).collect();
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": {"Labels": {"is": "docker's"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let manifest = json!([{"Config": "./config.json", "RepoTags": ["it:1"], "Layers": layers}]);
    let mut entries = members;
    entries.push(Entry::file("config.json", config.to_string()));
    entries.push(Entry::file("manifest.json", manifest.to_string()));
    archive(&entries)
}

fn packed(program: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    Ok(Cmd::new(program).arg("-c").stdin(bytes).output()?.stdout)
}

fn archives_of_any_packing(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    for program in ["xz", "bzip2", "gzip", "zstd"] {
        let layer = archive(&[Entry::file(program, program)]);
        let inner = packed(program, &layer)?;
        let whole = docker_archive(
            vec![Entry::file("layer.tar", &inner)],
            &["layer.tar"],
            &[Digest::of(&layer)],
        );
        let outer = packed(program, &whole)?;
        product.run_with(&["load"], &outer)?.ok()?;
        expect(
            program,
            "loaded",
            "docker's".to_owned(),
            taken(&product, "it:1")?,
        )?;
        let name = format!("imported:{program}");
        product.run_with(&["import", "-", &name], &inner)?.ok()?;
        // What was packed anew is what goes out.
        let saved = context.dir().join(program).display().to_string();
        product.ok(&["save", "-o", &saved, "it:1", &name])?;
        product.ok(&["rmi", "it:1", &name])?;
        product.ok(&["load", "-i", &saved])?;
        product.ok(&["rmi", "it:1", &name])?;
        let cut = &outer[..outer.len() / 2];
        product.run_with(&["load"], cut)?.refused(65, "archive")?;
        let cut = &inner[..inner.len() / 2];
        let ran = product.run_with(&["import", "-", "cut:1"], cut)?;
        ran.refused(65, "")?;
        product.ok(&["system", "check"])?;
    }
    Ok(())
}

fn layers_are_links(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let layer = archive(&[Entry::file("a", "a")]);
    let id = Digest::of(&layer);
    let members = || {
        vec![
            Entry::dir("one"),
            Entry::file("one/layer.tar", &layer),
            Entry::link("two/layer.tar", "one/layer.tar"),
            Entry::symlink("three/layer.tar", "../two/layer.tar"),
            Entry::symlink("four.tar", "three/layer.tar"),
            Entry::symlink("outside.tar", "../../etc/passwd"),
            Entry::symlink("round.tar", "round.tar"),
        ]
    };
    let layers = ["./one/layer.tar", "two/layer.tar", "three/../four.tar"];
    let archive = docker_archive(members(), &layers, &[id; 3]);
    product.run_with(&["load"], &archive)?.ok()?;
    expect(
        "it:1",
        "loaded",
        "docker's".to_owned(),
        taken(&product, "it:1")?,
    )?;
    for name in [
        "outside.tar",
        "round.tar",
        "../one/layer.tar",
        "/etc/passwd",
    ] {
        let archive = docker_archive(members(), &[name], &[id]);
        product.run_with(&["load"], &archive)?.refused(65, name)?;
    }
    Ok(())
}

fn commit_keeps(context: &mut Context) -> Result<()> {
    let product = Product::empty(context)?;
    let layer = archive(&[Entry::file("a", "a")]);
    let says = json!({
        "Cmd": ["sh"], "Healthcheck": {"Test": ["CMD", "true"]}, "Shell": ["/bin/sh", "-ec"], "OnBuild": ["RUN x"],
        "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT", "Volumes": {"/data": {}}, "User": "1000",
        "WorkingDir": "/tmp", "ArgsEscaped": true, "com.example": {"a": [1, null]},
    });
    let step = json!({"created_by": "somebody", "x": 1});
    let config = json!({
        "architecture": architecture(), "os": "linux", "author": "somebody", "variant": "v2", "os.version": "1",
        "com.example": 5, "config": says, "history": [step],
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]},
    });
    let mut layout = Layout::new();
    let image = named(layout.manifest(&config, &layer), "docker.io/library/one:1");
    product
        .run_with(&["load"], &layout.archive(&[image]))?
        .ok()?;
    product.ok(&["create", "--name", "box", "one:1"])?;
    product.ok(&["commit", "box", "two:1"])?;
    product.ok(&["tag", "two:1", "three:1"])?;
    let dir = context.dir().join("saved");
    let place = dir.display().to_string();
    product.ok(&["save", "--format", "oci-dir", "-o", &place, "three:1"])?;
    let id = text(&inspect(&product, "three:1")?, "/Id")?;
    let digits = id.trim_start_matches("sha256:");
    let saved: Value = serde_json::from_slice(&fs::read(dir.join("blobs/sha256").join(digits))?)?;
    for (name, value) in says.as_object().into_iter().flatten() {
        let got = saved["config"][name].clone();
        expect(format!("config.{name}"), "value", value.clone(), got)?;
    }
    for name in ["author", "variant", "os.version", "com.example"] {
        expect(name, "value", config[name].clone(), saved[name].clone())?;
    }
    expect("history", "first step", step, saved["history"][0].clone())
}
