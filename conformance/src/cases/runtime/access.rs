//! Registries that want to know who one is, and registries that do not prove who they are.

use std::fs;
use std::path::Path;

use cowlab_sys::cmd::Cmd;
use serde_json::json;

use crate::context::Result;
use crate::prelude::*;
use crate::product::Product;
use crate::product::registry::{Access, Registry};
use crate::support::program::{CREDENTIALS, INSECURE, PASSWORDS, load_two};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/a-registry-that-asks-who-one-is",
        spec: "A registry with passwords is open to who has one, by the command line or docker's configuration, and to nobody else.",
        see: &[
            "docs.docker.com, docker login, Credential stores",
            "RFC 7617",
        ],
        catalogue: &["S09"],
        impact: Impact::Isolation,
        needs: &[Need::Program("docker-registry")],
        run: Some(a_registry_that_asks),
        ..super::BASE
    },
    Case {
        id: "runtime/a-registry-without-proof-only-when-asked",
        spec: "A registry whose certificate nobody vouches for is believed only when the command or the configuration says so.",
        see: &["docs.docker.com, dockerd, Insecure registries"],
        catalogue: &["S09"],
        impact: Impact::Isolation,
        needs: &[Need::Program("docker-registry"), Need::Program("openssl")],
        run: Some(a_registry_without_proof),
        ..super::BASE
    },
];

fn a_registry_that_asks(context: &mut Context) -> Result<()> {
    let dir = context.dir().join("access");
    fs::create_dir(&dir)?;
    let passwords = dir.join("htpasswd");
    fs::write(&passwords, PASSWORDS)?;
    let access = Access {
        passwords: Some(&passwords),
        ..Access::default()
    };
    let registry = Registry::start_for(&dir.join("registry"), &access)?;
    let product = Product::empty(context)?;
    load_two(&product)?;
    let there = registry.name("one:1");
    product.ok(&["tag", "one:1", &there])?;
    let home = dir.display().to_string();
    // Of nobody's home, so that no credentials of this host's are used.
    let docker = [("DOCKER_CONFIG", home.as_str()), ("HOME", "/nonexistent")];
    let push = ["push", INSECURE, &there];
    product.run_among(&docker, &push)?.refused(77, "--creds")?;
    let wrong = ["push", INSECURE, "--creds", "user:wrong", &there];
    product.run_among(&docker, &wrong)?.refused(77, "refuses")?;
    let right = ["push", INSECURE, "--creds", "user:secret", &there];
    product.run_among(&docker, &right)?.ok()?;
    let pull = ["pull", INSECURE, &there];
    product.run_among(&docker, &pull)?.refused(77, "--creds")?;
    let host = there.split('/').next().unwrap_or_default();
    let configuration = dir.join("config.json");
    let logged_in = json!({"auths": {host: {"auth": CREDENTIALS}}});
    fs::write(&configuration, logged_in.to_string())?;
    product.run_among(&docker, &pull)?.ok()?;
    fs::write(&configuration, "{\"auths\": 5}")?;
    product
        .run_among(&docker, &pull)?
        .refused(2, "config.json")?;
    registry.stop()
}

/// A certificate for `localhost` that has signed itself, and its key.
fn sign(certificate: &Path, key: &Path) -> Result<()> {
    let words = [
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
    ];
    let names = ["-subj", "/CN=localhost", "-addext"];
    let made = Cmd::new("openssl")
        .args(words)
        .args(names)
        .args(["subjectAltName=DNS:localhost", "-addext"])
        .arg("basicConstraints=critical,CA:FALSE")
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(certificate);
    Ok(made.run()?)
}

fn a_registry_without_proof(context: &mut Context) -> Result<()> {
    let dir = context.dir().join("proof");
    fs::create_dir(&dir)?;
    let (certificate, key) = (dir.join("certificate.pem"), dir.join("key.pem"));
    sign(&certificate, &key)?;
    let access = Access {
        certificate: Some((&certificate, &key)),
        ..Access::default()
    };
    let registry = Registry::start_for(&dir.join("registry"), &access)?;
    let product = Product::empty(context)?;
    load_two(&product)?;
    let there = registry.name("one:1");
    product.ok(&["tag", "one:1", &there])?;
    product.run(&["push", &there])?.refused(69, INSECURE)?;
    product.ok(&["push", INSECURE, &there])?;
    product.run(&["pull", &there])?.refused(69, INSECURE)?;
    let host = there.split('/').next().unwrap_or_default();
    let configuration = dir.join("config.json");
    fs::write(
        &configuration,
        json!({"insecure-registries": [host]}).to_string(),
    )?;
    let path = configuration.display().to_string();
    let told = [("COWLAB_CONFIG", path.as_str())];
    product.run_among(&told, &["pull", &there])?.ok()?;
    // Who is vouched for needs no such word.
    let own = certificate.display().to_string();
    let vouched = [("SSL_CERT_FILE", own.as_str())];
    product.run_among(&vouched, &["pull", &there])?.ok()?;
    fs::write(
        &configuration,
        json!({"insecure-registers": [host]}).to_string(),
    )?;
    let unknown = product.run_among(&told, &["images"])?;
    unknown.refused(2, "insecure-registers")?;
    registry.stop()
}
