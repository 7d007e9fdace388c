//! Manifests: asked for by a request of this program's own, because the client reads a whole answer into memory, however
//! long it is.

use oci_client::Reference;
use oci_client::secrets::RegistryAuth;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Response, StatusCode};

use cowlab_snapshots::Digest;

use super::{CONNECT_TIMEOUT, READ_TIMEOUT, Session, USER_AGENT, with_causes};
use crate::image::plan::{DOCUMENT_LIMIT, INDEX_TYPES, MANIFEST_TYPES};
use crate::{Error, Result};

/// The header in which a registry says what it sends (distribution specification, "Pulling manifests").
const CONTENT_DIGEST: &str = "docker-content-digest";

impl Session {
    /// Fetches a manifest or a list of them, and proves its digest where the reference has one.
    pub(super) async fn manifest(&self, reference: &Reference) -> Result<(Digest, Vec<u8>)> {
        let types = [MANIFEST_TYPES, INDEX_TYPES].concat().join(", ");
        let answer = self.ask(reference, &types).await?;
        let declared = answer.headers().get(CONTENT_DIGEST).cloned();
        let bytes = self.body(answer).await?;
        let digest = Digest::of(&bytes);
        let declared = declared.as_ref().map(HeaderValue::to_str);
        let declared = declared.and_then(std::result::Result::ok);
        // A declared digest of another algorithm says nothing that can be proved here.
        let declared = declared.filter(|digest| digest.starts_with("sha256:"));
        for wanted in [reference.digest(), declared].into_iter().flatten() {
            if wanted != digest.to_string() {
                return Err(Error::BadBlob {
                    from: format!("registry `{}`", self.registry),
                    expected: wanted.to_owned(),
                    found: format!("the digest `{digest}`"),
                });
            }
        }
        Ok((digest, bytes))
    }

    /// Sends the request, once more with user and password where the registry asks for them.
    async fn ask(&self, reference: &Reference, types: &str) -> Result<Response> {
        let url = format!(
            "{}://{}/v2/{}/manifests/{}",
            self.scheme,
            reference.resolve_registry(),
            reference.repository(),
            reference
                .digest()
                .or_else(|| reference.tag())
                .unwrap_or("latest")
        );
        let builder = reqwest::Client::builder()
            .danger_accept_invalid_certs(self.insecure)
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT);
        let client = builder.build().map_err(|error| self.broken(&error))?;
        let mut request = client.get(&url).header(ACCEPT, types);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let again = request.try_clone();
        let answer = request.send().await.map_err(|error| self.broken(&error))?;
        let asks = answer.headers().get(WWW_AUTHENTICATE);
        let asks = asks.is_some_and(|value| value.as_bytes().starts_with(b"Basic"));
        match (&self.auth, again) {
            (RegistryAuth::Basic(user, password), Some(again))
                if asks && answer.status() == StatusCode::UNAUTHORIZED =>
            {
                let again = again.basic_auth(user, Some(password)).send().await;
                again.map_err(|error| self.broken(&error))
            }
            _ => Ok(answer),
        }
    }

    /// Reads an answer of reasonable length.
    async fn body(&self, mut answer: Response) -> Result<Vec<u8>> {
        let (registry, name) = (self.registry.clone(), self.name.clone());
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(Error::NotInRegistry { registry, name }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(Error::Denied { registry, name });
            }
            status => {
                let reason = format!("it answers `{status}` for the manifest of `{name}`");
                return Err(Error::Registry { registry, reason });
            }
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.broken(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > DOCUMENT_LIMIT {
                return Err(Error::BadImage {
                    name,
                    reason: format!(
                        "registry `{registry}` sends a manifest of more than {DOCUMENT_LIMIT} bytes, the limit"
                    ),
                });
            }
        }
        Ok(bytes)
    }

    fn broken(&self, error: &reqwest::Error) -> Error {
        let registry = self.registry.clone();
        let reason = with_causes(error);
        match error.is_connect() {
            true => Error::Unreachable { registry, reason },
            false => Error::Registry { registry, reason },
        }
    }
}
