//! Who to be at a registry: what docker's and podman's configurations say.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use cowlab_sys::Cmd;
use oci_client::secrets::RegistryAuth;

use crate::{Error, Result};

/// The key that docker keeps its own registry under.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

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
}

/// What a helper program answers (docker-credential-helpers, "get").
#[derive(Debug, serde::Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// Finds the credentials for a registry: the first file that has some counts, then nobody is anybody.
pub(super) fn find(registry: &str) -> Result<RegistryAuth> {
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
        if let Some((user, password)) = file.credentials(registry).map_err(bad)? {
            return Ok(RegistryAuth::Basic(user, password));
        }
    }
    Ok(RegistryAuth::Anonymous)
}

/// The files in the order in which they count: podman's of this login, docker's.
fn files() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let podman = variable("REGISTRY_AUTH_FILE")
        .or_else(|| Some(variable("XDG_RUNTIME_DIR")?.join("containers/auth.json")));
    let docker = variable("DOCKER_CONFIG")
        .or_else(|| Some(variable("HOME")?.join(".docker")))
        .map(|dir| dir.join("config.json"));
    podman.into_iter().chain(docker).collect()
}

impl File {
    fn credentials(&self, registry: &str) -> std::result::Result<Option<(String, String)>, String> {
        let key = match registry {
            "docker.io" => DOCKER_HUB,
            other => other,
        };
        let helper = self.helpers.get(key).or(self.store.as_ref());
        if let Some(helper) = helper
            && let Some(found) = ask(helper, key)?
        {
            return Ok(Some(found));
        }
        let urls = [format!("https://{key}"), format!("http://{key}")];
        let keys = [key, registry, &urls[0], &urls[1]];
        let entry = keys.iter().find_map(|key| self.auths.get(*key));
        let Some(auth) = entry.and_then(|entry| entry.auth.as_ref()) else {
            return Ok(None);
        };
        decode(auth)
            .map(Some)
            .ok_or_else(|| format!("the credentials for `{key}` are not `user:password` in base64"))
    }
}

fn decode(auth: &str) -> Option<(String, String)> {
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(auth)
        .ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.trim_end_matches('\0').split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Asks a helper program. One that knows nothing of the registry fails, by its protocol.
fn ask(helper: &str, key: &str) -> std::result::Result<Option<(String, String)>, String> {
    if !helper
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    {
        return Err(format!(
            "`{}` names no helper program",
            helper.escape_debug()
        ));
    }
    let program = format!("docker-credential-{helper}");
    let output = Cmd::new(&program).arg("get").stdin(key).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status != Some(0) {
        return Ok(None);
    }
    // The answer holds a secret, so no message shows any of it, not even the parser's.
    let answer = serde_json::from_slice::<Answer>(&output.stdout).ok();
    let answer = answer.ok_or_else(|| format!("`{program}` gave no answer in its protocol"))?;
    Ok(Some((answer.user, answer.secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_s_own_entry_counts() {
        let text = r#"{"auths": {
            "localhost:5000": {"auth": "dXNlcjpwYTpzcw=="},
            "https://index.docker.io/v1/": {"auth": "aHViOmh1Yg=="},
            "empty": {}, "bad": {"auth": "%"}}}"#;
        let file: File = serde_json::from_str(text).unwrap();
        let found = |registry| file.credentials(registry);
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(found("localhost:5000").unwrap(), pair("user", "pa:ss"));
        assert_eq!(found("docker.io").unwrap(), pair("hub", "hub"));
        assert_eq!(found("empty").unwrap(), None);
        assert_eq!(found("other").unwrap(), None);
        assert!(found("bad").is_err());
    }
}
