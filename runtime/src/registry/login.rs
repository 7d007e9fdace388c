//! Logging in and out: docker's file, or the program that it names to keep secrets.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use reqwest::StatusCode;
use serde_json::{Map, Value, json};

use cowlab_sys::io;

use super::credentials::{Credentials, docker_file, encode, key_of, registry_of, run_helper};
use super::{RegistryOptions, Session, client_thread, stoppable};
use crate::root::Configuration;
use crate::{Error, Result};

/// Proves user and password of `options` to a registry, named as docker login has it, and keeps them where docker does.
/// Returns the registry's name.
///
/// # Errors
///
/// [`Error::Denied`], [`Error::Unreachable`], [`Error::Registry`]; [`Error::Configuration`] for a file that cannot be used.
pub fn login(registry: &str, options: &RegistryOptions) -> Result<String> {
    let registry = whole_registry(registry)?;
    let (user, password) = options.credentials.clone().unwrap_or_default();
    let credentials = Credentials::Password(user.clone(), password.clone());
    let insecure = options.insecure || Configuration::read()?.permits(registry);
    let mut session = Session::new(registry, registry, credentials, insecure)?;
    client_thread()?.block_on(stoppable(async {
        session.connect(insecure).await?;
        let answer = session
            .send(|| Ok(session.client.get(&session.base)))
            .await?;
        match answer.status() {
            // A registry of pulls alone need not have an interface to ask.
            StatusCode::NOT_FOUND => Ok(()),
            _ => session.accepted(answer).await.map(drop),
        }
    }))?;
    let mut file = DockerFile::read()?;
    let key = key_of(registry);
    let entry = match file.helper(registry) {
        Some(helper) => {
            let secret = json!({"ServerURL": key, "Username": user, "Secret": password});
            let kept = run_helper(&helper, "store", &secret.to_string());
            kept.map_err(|reason| file.bad(reason))?;
            json!({})
        }
        None => json!({"auth": encode(&user, &password)}),
    };
    file.auths()?.insert(key.to_owned(), entry);
    file.write()?;
    Ok(registry.to_owned())
}

/// Removes what docker's file has for a registry, and what the program that it names keeps. Tells whether there was
/// something, with the registry's name.
///
/// # Errors
///
/// [`Error::Configuration`] for a file that cannot be used.
pub fn logout(registry: &str) -> Result<(String, bool)> {
    let registry = whole_registry(registry)?;
    let mut file = DockerFile::read()?;
    let helper = file.helper(registry);
    let auths = file.auths()?;
    let before = auths.len();
    auths.retain(|key, _| registry_of(key) != Some(registry));
    let was_there = auths.len() < before;
    if was_there {
        file.write()?;
    }
    let mut was_kept = false;
    if let Some(helper) = helper {
        // A helper that has nothing fails, by its protocol.
        was_kept = run_helper(&helper, "erase", key_of(registry)).is_ok();
    }
    Ok((registry.to_owned(), was_there || was_kept))
}

/// The registry that a person means, who may write an address.
fn whole_registry(text: &str) -> Result<&str> {
    let registry = registry_of(text).filter(|registry| !registry.is_empty());
    registry.ok_or_else(|| Error::InvalidName {
        name: text.to_owned(),
        reason: "name a registry, `HOST[:PORT]`".to_owned(),
    })
}

/// Docker's file, with all that it has.
struct DockerFile {
    path: PathBuf,
    document: Value,
}

impl DockerFile {
    fn read() -> Result<Self> {
        let path = docker_file().ok_or_else(|| Error::Configuration {
            path: PathBuf::from("~/.docker/config.json"),
            reason: "neither DOCKER_CONFIG nor HOME is set".to_owned(),
        })?;
        // A link to a file elsewhere stays one.
        let path = path.canonicalize().unwrap_or(path);
        let mut file = Self {
            path,
            document: json!({}),
        };
        match fs::read(&file.path) {
            Ok(bytes) => {
                let read = serde_json::from_slice(&bytes);
                file.document = read.map_err(|error| file.bad(error.to_string()))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(file.bad(error.to_string())),
        }
        Ok(file)
    }

    fn bad(&self, reason: String) -> Error {
        Error::Configuration {
            path: self.path.clone(),
            reason,
        }
    }

    /// The program that keeps a registry's secret, if one does.
    fn helper(&self, registry: &str) -> Option<String> {
        let helpers = self.document["credHelpers"].as_object();
        let own = helpers
            .into_iter()
            .flatten()
            .find(|(key, _)| registry_of(key) == Some(registry));
        let named = own.map_or(&self.document["credsStore"], |(_, helper)| helper);
        named
            .as_str()
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
    }

    fn auths(&mut self) -> Result<&mut Map<String, Value>> {
        let wrong = self.bad("`auths` is no object".to_owned());
        let members = self.document.as_object_mut();
        let auths = members.map(|members| members.entry("auths").or_insert_with(|| json!({})));
        auths.and_then(Value::as_object_mut).ok_or(wrong)
    }

    /// Replaces the file whole: readers find the old or the new one. Nobody else reads it.
    fn write(&self) -> Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir);
        io("mkdir", dir, made)?;
        let fresh = dir.join(format!("config.json.{}", std::process::id()));
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let text = serde_json::to_vec_pretty(&self.document)
            .map_err(|error| self.bad(error.to_string()))?;
        let written = options.open(&fresh).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        io("write", &fresh, written)?;
        Ok(io("rename", &self.path, fs::rename(&fresh, &self.path))?)
    }
}
