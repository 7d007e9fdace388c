//! What registries of other makers ask, and where people keep the answers.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Value, json};

use crate::context::Result;
use crate::prelude::*;
use crate::product::front::{Answer, Front, Request};
use crate::product::layered::Layered;
use crate::product::registry::Registry;
use crate::product::{Product, Ran};
use crate::support::program::{CREDENTIALS, INSECURE, PASSWORDS};
use cowlab_tarball::Entry;

const REGISTRY: &[Need] = &[Need::Program("docker-registry")];

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/challenges-are-read-as-http-has-them",
        spec: "A registry may ask in several headers, by several schemes in one, in capitals and by schemes that nobody knows.",
        see: &[
            "RFC 9110, 11.6.1, WWW-Authenticate",
            "RFC 9110, 11.1, Authentication Scheme",
        ],
        catalogue: &["S09"],
        impact: Impact::AppVisible,
        needs: REGISTRY,
        run: Some(challenges_are_read),
        ..super::BASE
    },
    Case {
        id: "runtime/a-busy-registry-is-asked-again",
        spec: "Whatever a registry answers with 429 or 503 is asked again after the time it names, and a time too long is told.",
        see: &[
            "RFC 9110, 10.2.3, Retry-After",
            "RFC 6585, 4, Too Many Requests",
        ],
        catalogue: &["S09"],
        impact: Impact::AppVisible,
        needs: REGISTRY,
        run: Some(a_busy_registry),
        ..super::BASE
    },
    Case {
        id: "runtime/identity-tokens-become-tokens",
        spec: "An identity token, of docker's file or of a helper, gets a token from the authority, again when that one has expired.",
        see: &[
            "distribution, docs/spec/auth/oauth.md",
            "docker-credential-helpers, README",
        ],
        catalogue: &["S09"],
        impact: Impact::AppVisible,
        needs: REGISTRY,
        run: Some(identity_tokens),
        ..super::BASE
    },
    Case {
        id: "runtime/keys-of-a-registry-as-docker-writes-them",
        spec: "Credentials are found under a host, an address with a scheme and a path, and a part of the registry; a broken helper hides none.",
        see: &[
            "docker/cli, cli/config/credentials/file_store.go",
            "containers-auth.json(5)",
        ],
        catalogue: &["S09"],
        impact: Impact::AppVisible,
        needs: REGISTRY,
        run: Some(keys_of_a_registry),
        ..super::BASE
    },
    Case {
        id: "runtime/login-and-logout-write-docker-s-file",
        spec: "A login proves the password and keeps it in docker's file or with its helper, beside all that is there; a logout removes it.",
        see: &[
            "docs.docker.com, docker login",
            "docs.docker.com, docker logout",
        ],
        catalogue: &["S09"],
        impact: Impact::Isolation,
        needs: REGISTRY,
        run: Some(login_and_logout),
        ..super::BASE
    },
    Case {
        id: "runtime/login-asks-at-a-terminal",
        spec: "A login at a terminal asks for user and password and does not show the password; without a terminal it says which flags do.",
        see: &["docs.docker.com, docker login", "termios(3), ECHO"],
        catalogue: &["S09"],
        impact: Impact::Isolation,
        needs: &[Need::Program("docker-registry"), Need::Program("script")],
        run: Some(login_asks),
        ..super::BASE
    },
    Case {
        id: "runtime/a-registry-at-an-ipv6-address",
        spec: "An image is pushed to and pulled from a registry whose name is an IPv6 address in brackets.",
        see: &["RFC 3986, 3.2.2, Host", "distribution/reference, regexp.go"],
        catalogue: &["S09"],
        impact: Impact::AppVisible,
        needs: REGISTRY,
        run: Some(a_registry_at_an_ipv6_address),
        ..super::BASE
    },
];

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A registry, a root with an image, and a home of nobody's.
struct Fixture {
    registry: Registry,
    product: Product,
    home: PathBuf,
}

impl Fixture {
    fn new(context: &mut Context, variables: &[(&str, String)]) -> Result<Self> {
        let registry = Registry::start_with(&context.dir().join("registry"), variables)?;
        let product = Product::empty(context)?;
        let layers = [vec![Entry::file("a", "a")]];
        let image = Layered {
            name: "one:1",
            layers: &layers,
        };
        product.load_images(&[image])?;
        let home = context.dir().join("home");
        fs::create_dir(&home)?;
        Ok(Self {
            registry,
            product,
            home,
        })
    }

    /// Starts a front of the registry.
    fn front(
        &self,
        answer: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static,
    ) -> Result<Front> {
        Front::start(LOOPBACK, &self.registry.name("x"), answer)
    }

    /// Runs a command with the home, in which programs are found as well.
    fn run(&self, words: &[&str]) -> Result<Ran> {
        let home = self.home.display().to_string();
        let path = format!("{home}:{}", std::env::var("PATH").unwrap_or_default());
        let variables = [
            ("HOME", home.as_str()),
            ("DOCKER_CONFIG", &home),
            ("PATH", &path),
            ("XDG_RUNTIME_DIR", ""),
            ("REGISTRY_AUTH_FILE", "/nonexistent"),
        ];
        self.product.run_among(&variables, words)
    }

    /// Pushes the image to a host and pulls it back.
    fn push_and_pull(&self, host: &str) -> Result<()> {
        let there = format!("{host}/team/one:1");
        self.product.ok(&["tag", "one:1", &there])?;
        self.run(&["push", INSECURE, &there])?.ok()?;
        self.product.ok(&["rmi", &there])?;
        self.run(&["pull", INSECURE, &there])?.ok()?;
        self.product.ok(&["rmi", &there]).map(drop)
    }

    fn configure(&self, document: &Value) -> Result<()> {
        Ok(fs::write(
            self.home.join("config.json"),
            document.to_string(),
        )?)
    }

    fn configured(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(
            self.home.join("config.json"),
        )?)?)
    }

    /// Makes a helper program of this name from a script.
    fn helper(&self, name: &str, script: &str) -> Result<()> {
        let path = self.home.join(format!("docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
        Ok(fs::set_permissions(
            &path,
            fs::Permissions::from_mode(0o755),
        )?)
    }
}

fn answer(status: u16, headers: Vec<String>, body: &Value) -> Option<Answer> {
    Some(Answer {
        status,
        headers,
        body: body.to_string(),
    })
}

fn challenges_are_read(context: &mut Context) -> Result<()> {
    let fixture = Fixture::new(context, &[])?;
    let password = format!("Basic {CREDENTIALS}");
    let asked: [&[&str]; 4] = [
        &["BASIC realm=\"Repository Manager\""],
        &["Negotiate", "basic realm=x"],
        &["Digest realm=\"a, b\", nonce=\"\\\"\", Basic realm=\"x\""],
        &["Basic realm=\"x\", bearer Realm=\"http://HOST/token\", SERVICE=\"s\""],
    ];
    for lines in asked {
        let (lines, password) = (lines.join("\n"), password.clone());
        let takes_token = lines.contains("/token");
        let front = fixture.front(move |request| {
            let authorization = request.header("authorization").unwrap_or_default();
            let is_known = match takes_token && !request.asked.ends_with("/token") {
                true => authorization == "Bearer good",
                false => authorization == password,
            };
            match (is_known, request.asked.ends_with("/token")) {
                (true, true) => answer(200, vec![], &json!({"token": "", "access_token": "good"})),
                (true, false) => None,
                _ => {
                    let host = request.header("host").unwrap_or_default();
                    let lines = lines.replace("HOST", host);
                    let headers = lines
                        .lines()
                        .map(|line| format!("www-authenticate: {line}"));
                    answer(401, headers.collect(), &json!({"errors": []}))
                }
            }
        })?;
        let host = front.host();
        fixture.configure(&json!({"auths": {&host: {"auth": CREDENTIALS}}}))?;
        fixture.push_and_pull(&host)?;
    }
    fixture.registry.stop()
}

fn a_busy_registry(context: &mut Context) -> Result<()> {
    let fixture = Fixture::new(context, &[])?;
    for (status, header) in [(429, "Retry-After: 1"), (503, "X-Nothing: 1")] {
        let seen = Mutex::new(BTreeSet::new());
        let front = fixture.front(move |request| {
            // Digests and the ids of uploads differ; the kind of a request does not.
            let kind: String = request.asked.chars().take(30).collect();
            let is_new = seen.lock().is_ok_and(|mut seen| seen.insert(kind));
            is_new.then(|| answer(status, vec![header.to_owned()], &json!({})))?
        })?;
        fixture.push_and_pull(&front.host())?;
    }
    let front = fixture.front(|_| {
        let errors = json!({"errors": [{"code": "TOOMANYREQUESTS", "message": "come back later"}]});
        answer(429, vec!["Retry-After: 3600".to_owned()], &errors)
    })?;
    let there = format!("{}/team/one:1", front.host());
    let begun = Instant::now();
    let ran = fixture.run(&["pull", INSECURE, &there])?;
    ran.clone().refused(65, "TOOMANYREQUESTS come back later")?;
    ran.refused(65, "3600 s")?;
    expect("pull", "ends soon", true, begun.elapsed().as_secs() < 60)?;
    fixture.registry.stop()
}

fn identity_tokens(context: &mut Context) -> Result<()> {
    let fixture = Fixture::new(context, &[])?;
    let front = || {
        // Each token is good for five requests, whatever others were given since.
        let given = Mutex::new(BTreeMap::<String, u32>::new());
        fixture.front(move |request| {
            let mut given = given.lock().ok()?;
            if request.asked == "POST /token" {
                let form = String::from_utf8_lossy(&request.body);
                let has = |pair: &str| form.split('&').any(|one| one == pair);
                if !has("grant_type=refresh_token")
                    || !has("refresh_token=refresh%2Bme")
                    || !has("service=s")
                {
                    return answer(401, vec![], &json!({}));
                }
                let token = format!("token{}", given.len());
                given.insert(format!("Bearer {token}"), 5);
                return answer(200, vec![], &json!({"access_token": token}));
            }
            let known = request.header("authorization");
            if let Some(left @ 1..) = known.and_then(|known| given.get_mut(known)) {
                *left -= 1;
                return None;
            }
            let host = request.header("host").unwrap_or_default();
            let asked =
                format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"s\"");
            answer(401, vec![asked], &json!({"errors": []}))
        })
    };
    let one = front()?;
    let entry = json!({"auth": "MDAwMDo=", "identitytoken": "refresh+me"});
    fixture.configure(&json!({"auths": {one.host(): entry}}))?;
    fixture.push_and_pull(&one.host())?;
    let two = front()?;
    let kept = r#"{"ServerURL":"x","Username":"<token>","Secret":"refresh+me"}"#;
    fixture.helper("case", &format!("cat > /dev/null; echo '{kept}'"))?;
    fixture.configure(&json!({"credHelpers": {two.host(): "case"}}))?;
    fixture.push_and_pull(&two.host())?;
    fixture.configure(&json!({}))?;
    let there = format!("{}/team/one:1", two.host());
    let ran = fixture.run(&["pull", INSECURE, &there])?;
    ran.refused(77, "cowlab login")?;
    fixture.registry.stop()
}

/// A registry with a password.
fn guarded(context: &mut Context) -> Result<Fixture> {
    let passwords = context.dir().join("htpasswd");
    fs::write(&passwords, PASSWORDS)?;
    let variables = [
        ("REGISTRY_AUTH", "htpasswd".to_owned()),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "cowlab".to_owned()),
        (
            "REGISTRY_AUTH_HTPASSWD_PATH",
            passwords.display().to_string(),
        ),
    ];
    Fixture::new(context, &variables)
}

fn keys_of_a_registry(context: &mut Context) -> Result<()> {
    let fixture = guarded(context)?;
    let name = fixture.registry.name("x");
    let host = name.split('/').next().unwrap_or_default();
    let keys = [
        host.to_owned(),
        format!("https://{host}"),
        format!("http://{host}/"),
        format!("https://{host}/v1/"),
        format!("{host}/v2/"),
        format!("{host}/team"),
        format!("{host}/team/one"),
    ];
    for key in &keys {
        fixture.configure(&json!({"auths": {key: {"auth": CREDENTIALS}}}))?;
        fixture.push_and_pull(host)?;
    }
    let plain = json!({"username": "user", "password": "secret"});
    fixture.configure(&json!({"auths": {host: plain}}))?;
    fixture.push_and_pull(host)?;
    let own = json!({"auth": CREDENTIALS});
    fixture.configure(&json!({"credsStore": "absent", "auths": {host: own}}))?;
    fixture.push_and_pull(host)?;
    let other = format!("{host}/other");
    fixture.configure(&json!({"auths": {other: own}}))?;
    let there = format!("{host}/team/one:1");
    fixture
        .run(&["pull", INSECURE, &there])?
        .refused(77, "--creds")?;
    fixture.registry.stop()
}

fn login_and_logout(context: &mut Context) -> Result<()> {
    let fixture = guarded(context)?;
    let name = fixture.registry.name("x");
    let host = name.split('/').next().unwrap_or_default();
    fixture.configure(&json!({"auths": {"other": {"auth": "eDp5"}}, "psFormat": "x"}))?;
    let words = |password: &'static str| ["login", INSECURE, "-u", "user", "-p", password, host];
    fixture.run(&words("wrong"))?.refused(77, "refuses")?;
    expect("config.json", "entries", 1, entries(&fixture.configured()?))?;
    let said = fixture.run(&words("secret"))?.ok()?;
    expect("login", "output", "Login Succeeded".to_owned(), said)?;
    let file = fixture.configured()?;
    expect(
        "config.json",
        "auth",
        json!(CREDENTIALS),
        file["auths"][host]["auth"].clone(),
    )?;
    expect(
        "config.json",
        "others",
        json!("x"),
        file["psFormat"].clone(),
    )?;
    expect("config.json", "entries", 2, entries(&file))?;
    expect(
        "config.json",
        "mode",
        0o600,
        mode(&fixture.home.join("config.json"))?,
    )?;
    fixture.push_and_pull(host)?;
    fixture
        .run(&["logout", &format!("https://{host}/v2/")])?
        .ok()?;
    expect("config.json", "entries", 1, entries(&fixture.configured()?))?;
    let again = fixture.run(&["logout", host])?.ok()?;
    expect(
        "logout",
        "output",
        format!("Not logged in to {host}"),
        again,
    )?;
    login_with_a_helper(&fixture, host, &words("secret"))?;
    fixture.registry.stop()
}

fn login_asks(context: &mut Context) -> Result<()> {
    let shown = context.dir().join("shown").display().to_string();
    let fixture = guarded(context)?;
    let name = fixture.registry.name("x");
    let host = name.split('/').next().unwrap_or_default();
    fixture
        .run(&["login", INSECURE, host])?
        .refused(2, "--password-stdin")?;
    let home = fixture.home.display();
    // Each answer after its question: what is typed before is shown.
    let script = format!(
        r#": >{shown}; answer() {{ until grep -q "$1" {shown}; do sleep 0.1; done; sleep 1; echo "$2"; }}
        {{ answer Username: user; answer Password: secret; sleep 3; }} |
            DOCKER_CONFIG={home} timeout 60 script -qefc '"$COWLAB" login {INSECURE} {host}; stty -a' /dev/null >{shown}
        cat {shown}"#
    );
    let said = fixture.product.script(&script)?.out;
    for (words, is_there) in [
        ("user", true),
        ("secret", false),
        ("Login Succeeded", true),
        // The terminal is as before.
        ("-echo ", false),
    ] {
        expect("login", words, is_there, said.contains(words))?;
    }
    let file = fixture.configured()?;
    let auth = file["auths"][host]["auth"].clone();
    expect("config.json", "auth", json!(CREDENTIALS), auth)?;
    fixture.registry.stop()
}

/// With a helper the file has no secret.
fn login_with_a_helper(fixture: &Fixture, host: &str, login: &[&str]) -> Result<()> {
    let kept = fixture.home.join("kept");
    let place = kept.display();
    let script =
        format!("case $1 in store) cat > {place};; get) cat {place};; erase) rm {place};; esac");
    fixture.helper("case", &script)?;
    fixture.configure(&json!({"credsStore": "case"}))?;
    fixture.run(login)?.ok()?;
    let file = fixture.configured()?;
    expect(
        "config.json",
        "entry",
        json!({}),
        file["auths"][host].clone(),
    )?;
    let secret: Value = serde_json::from_slice(&fs::read(&kept)?)?;
    expect("helper", "server", json!(host), secret["ServerURL"].clone())?;
    fixture.push_and_pull(host)?;
    fixture.run(&["logout", host])?.ok()?;
    expect("helper", "keeps", false, kept.exists())
}

fn entries(file: &Value) -> usize {
    file["auths"].as_object().map_or(0, serde_json::Map::len)
}

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

fn a_registry_at_an_ipv6_address(context: &mut Context) -> Result<()> {
    let fixture = Fixture::new(context, &[])?;
    let address = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let front = Front::start(address, &fixture.registry.name("x"), |_| None)?;
    expect(
        "host",
        "in brackets",
        true,
        front.host().starts_with("[::1]:"),
    )?;
    fixture.push_and_pull(&front.host())?;
    fixture.registry.stop()
}
