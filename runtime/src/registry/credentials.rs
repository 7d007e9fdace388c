//! Who to be at a registry: what docker's and podman's configurations say, and their programs that keep secrets.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use cowlab_sys::Cmd;

use crate::{Error, Result};

/// The key that docker keeps its own registry under.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The user by which a helper says that the secret is an identity token (docker-credential-helpers, README).
const TOKEN_USER: &str = "<token>";

/// What proves who one is.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Credentials {
    Anonymous,
    /// User and password.
    Password(String, String),
    /// What gets a token from the registry's authority (distribution, `docs/spec/auth/oauth.md`).
    Identity(String),
    /// A token.
    Token(String),
}

/// The parts of docker's `config.json`, and of podman's `auth.json`, that name credentials.
#[derive(Debug, Default, serde::Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// What a helper program answers (docker-credential-helpers, "get").
#[derive(Debug, serde::Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// Finds the credentials for a repository: the first file that has some counts, then nobody is anybody.
pub(super) fn find(repository: &str) -> Result<Credentials> {
    for path in files() {
        let bad = |reason: String| Error::Configuration {
            path: path.clone(),
            reason,
        };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(bad(error.to_string())),
        };
        let file: File = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        let found = file.credentials(repository).map_err(bad)?;
        if found != Credentials::Anonymous {
            return Ok(found);
        }
    }
    Ok(Credentials::Anonymous)
}

/// The files in the order in which they count: podman's of this login and of this user, docker's (containers-auth.json(5)).
fn files() -> Vec<PathBuf> {
    let podman = match variable("REGISTRY_AUTH_FILE") {
        Some(named) => vec![named],
        None => [
            variable("XDG_RUNTIME_DIR"),
            variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config"))),
        ]
        .into_iter()
        .flatten()
        .map(|dir| dir.join("containers/auth.json"))
        .collect(),
    };
    podman.into_iter().chain(docker_file()).collect()
}

/// Docker's file.
pub(super) fn docker_file() -> Option<PathBuf> {
    let dir = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
    Some(dir?.join("config.json"))
}

fn variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

/// The key that docker writes a registry's credentials under.
pub(super) fn key_of(registry: &str) -> &str {
    match registry {
        "docker.io" => DOCKER_HUB,
        other => other,
    }
}

/// The registry that a key means. Docker writes the key of a registry with or without a scheme and the path of its
/// interface; a path without a scheme is podman's way to name a part of a registry, and means no whole one.
pub(super) fn registry_of(key: &str) -> Option<&str> {
    let rest = key.split_once("://").map(|(_, rest)| rest);
    let (host, path) = rest
        .unwrap_or(key)
        .split_once('/')
        .unwrap_or((rest.unwrap_or(key), ""));
    let is_whole = rest.is_some() || matches!(path.trim_end_matches('/'), "" | "v1" | "v2");
    is_whole.then_some(match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    })
}

impl File {
    fn credentials(&self, repository: &str) -> std::result::Result<Credentials, String> {
        let registry = repository.split('/').next().unwrap_or(repository);
        let key = key_of(registry);
        let means = |other: &&String| registry_of(other) == Some(registry);
        let named = self.helpers.keys().find(means);
        let helper = named.and_then(|named| self.helpers.get(named));
        let helper = helper
            .or(self.store.as_ref())
            .filter(|name| !name.is_empty());
        if let Some(found) = helper.and_then(|helper| ask(helper, key)) {
            return Ok(found);
        }
        let paths = std::iter::successors(Some(repository), |path| {
            path.rsplit_once('/').map(|(above, _)| above)
        });
        let exact = paths.chain([key]).find_map(|key| self.auths.get(key));
        let entry = exact.or_else(|| self.auths.get(self.auths.keys().find(means)?));
        entry.map_or(Ok(Credentials::Anonymous), |entry| {
            entry.credentials().ok_or_else(|| {
                format!("the credentials for `{key}` are not `user:password` in base64")
            })
        })
    }
}

impl Entry {
    /// `None` for what cannot be read. A token counts more than a password, as in docker.
    fn credentials(&self) -> Option<Credentials> {
        let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = said(&self.identitytoken) {
            return Some(Credentials::Identity(token));
        }
        if let Some(token) = said(&self.registrytoken) {
            return Some(Credentials::Token(token));
        }
        match (said(&self.auth), said(&self.username)) {
            (Some(auth), _) => {
                let (user, password) = decode(&auth)?;
                Some(Credentials::Password(user, password))
            }
            (None, Some(user)) => {
                let password = self.password.clone().unwrap_or_default();
                Some(Credentials::Password(user, password))
            }
            (None, None) => Some(Credentials::Anonymous),
        }
    }
}

fn decode(auth: &str) -> Option<(String, String)> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(auth.trim())
        .ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.trim_end_matches('\0').split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Writes user and password as docker keeps them.
pub(super) fn encode(user: &str, password: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
}

/// Runs a helper program (docker-credential-helpers, "Development") and returns what it printed.
pub(super) fn run_helper(
    helper: &str,
    verb: &str,
    input: &str,
) -> std::result::Result<Vec<u8>, String> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !helper.bytes().all(is_plain) {
        return Err(format!(
            "`{}` names no helper program",
            helper.escape_debug()
        ));
    }
    let program = format!("docker-credential-{helper}");
    let output = Cmd::new(&program).arg(verb).stdin(input).output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status {
        Some(0) => Ok(output.stdout),
        // What it says is on standard output, by its protocol.
        _ => Err(format!(
            "`{program} {verb}` failed: {}",
            String::from_utf8_lossy(&output.stdout).trim()
        )),
    }
}

/// Asks a helper program. One that knows nothing of the registry fails, by its protocol, and one that is broken is no reason
/// not to be anybody: docker goes on as well.
fn ask(helper: &str, key: &str) -> Option<Credentials> {
    let printed = match run_helper(helper, "get", key) {
        Ok(printed) => printed,
        Err(reason) => {
            tracing::warn!(reason, "no credentials from a helper program");
            return None;
        }
    };
    // The answer holds a secret, so no message shows any of it, not even the parser's.
    let Ok(answer) = serde_json::from_slice::<Answer>(&printed) else {
        tracing::warn!(helper, "a helper program gave no answer in its protocol");
        return None;
    };
    Some(match answer.user.as_str() {
        TOKEN_USER => Credentials::Identity(answer.secret),
        _ => Credentials::Password(answer.user, answer.secret),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_s_own_entry_counts() {
        let text = r#"{"auths": {
            "localhost:5000": {"auth": "dXNlcjpwYTpzcw=="}, "localhost:5000/team": {"username": "team"},
            "https://index.docker.io/v1/": {"auth": "aHViOmh1Yg=="},
            "https://a.b/v1/": {"auth": "dXNlcjpwYTpzcw=="}, "[::1]:5000/v2/": {"auth": "dXNlcjpwYTpzcw=="},
            "c.d/part": {"auth": "dXNlcjpwYTpzcw=="}, "token": {"auth": "MDo=", "identitytoken": "t"},
            "empty": {}, "bad": {"auth": "%"}}}"#;
        let file: File = serde_json::from_str(text).unwrap();
        let found = |repository: &str| file.credentials(repository);
        let pair = |user: &str, password: &str| {
            Credentials::Password(user.to_owned(), password.to_owned())
        };
        for registry in ["localhost:5000", "a.b", "[::1]:5000", "c.d/part"] {
            let repository = format!("{registry}/x");
            assert_eq!(
                found(&repository).unwrap(),
                pair("user", "pa:ss"),
                "{registry}"
            );
        }
        assert_eq!(found("localhost:5000/team/x").unwrap(), pair("team", ""));
        assert_eq!(found("docker.io/library/x").unwrap(), pair("hub", "hub"));
        assert_eq!(
            found("token/x").unwrap(),
            Credentials::Identity("t".to_owned())
        );
        for other in ["empty/x", "other/x", "c.d/other"] {
            assert_eq!(found(other).unwrap(), Credentials::Anonymous);
        }
        assert!(found("bad/x").is_err());
    }
}
