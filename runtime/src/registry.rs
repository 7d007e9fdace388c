//! Registries: pulling and pushing images over the distribution API.
//!
//! The asynchronous client runs on the calling thread and is gone when a call returns. A registry is asked over TLS and has
//! to prove who it is, unless the caller or the configuration says that it need not. Where the program watches for signals
//! ([`cowlab_sys::interrupt`]), the first of them ends a call soon.

mod credentials;
mod manifest;
mod pull;
mod push;

use std::time::Duration;

use cowlab_driver::Missing;
use cowlab_sys::interrupt;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use tokio::runtime::{Builder, Runtime};

use crate::image::Name;
use crate::{Error, Result, Root};

pub use pull::Pulled;
pub use push::{PushStep, Pushed};

const USER_AGENT: &str = concat!("cowlab/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How often to look whether to stop.
const LOOK_UP: Duration = Duration::from_millis(100);

/// How many blobs travel at once: docker's number.
const PARALLEL: usize = 3;

/// How a registry is asked.
#[derive(Debug, Clone, Default)]
pub struct RegistryOptions {
    /// User and password; `None` means those that docker's or podman's configuration has for the registry, if any.
    pub credentials: Option<(String, String)>,
    /// Whether the registry need not prove who it is: TLS without proof, and where there is no TLS, none.
    pub insecure: bool,
}

/// A registry, for one image.
pub(crate) struct Session {
    client: Client,
    reference: Reference,
    registry: String,
    name: String,
    scheme: &'static str,
    insecure: bool,
    auth: RegistryAuth,
    /// What the registry's own authority vouches for us with.
    token: Option<String>,
}

impl Session {
    /// Opens a session for `operation` on an image. With an insecure registry, finds out whether it speaks TLS.
    async fn open(
        root: &Root,
        name: &Name,
        options: &RegistryOptions,
        operation: RegistryOperation,
    ) -> Result<Self> {
        // Where another part of the program chose a provider already, that one is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let registry = name.registry().to_owned();
        believe(&registry)?;
        let configured = &root.configuration().insecure;
        let insecure = options.insecure || configured.contains(&registry);
        let auth = match &options.credentials {
            Some((user, password)) => RegistryAuth::Basic(user.clone(), password.clone()),
            None => credentials::find(&registry)?,
        };
        let session = |protocol, scheme| Self {
            client: Client::new(ClientConfig {
                protocol,
                accept_invalid_certificates: insecure,
                use_monolithic_push: true,
                user_agent: USER_AGENT,
                connect_timeout: Some(CONNECT_TIMEOUT),
                read_timeout: Some(READ_TIMEOUT),
                ..ClientConfig::default()
            }),
            reference: name.reference().clone(),
            registry: registry.clone(),
            name: name.to_string(),
            scheme,
            insecure,
            auth: auth.clone(),
            token: None,
        };
        let mut secure = session(ClientProtocol::Https, "https");
        let host = secure.reference.resolve_registry();
        secure.client.store_auth_if_needed(host, &auth).await;
        match secure
            .client
            .auth(&secure.reference, &auth, operation)
            .await
        {
            Ok(token) => {
                secure.token = token;
                Ok(secure)
            }
            Err(OciDistributionError::RequestError(error)) if insecure && error.is_connect() => {
                let mut plain = session(ClientProtocol::Http, "http");
                plain.client.store_auth_if_needed(host, &auth).await;
                let asked = plain.client.auth(&plain.reference, &auth, operation).await;
                plain.token = asked.map_err(|error| plain.failed(error))?;
                Ok(plain)
            }
            Err(error) => Err(secure.failed(error)),
        }
    }

    /// Says what the registry's error means.
    fn failed(&self, error: OciDistributionError) -> Error {
        let registry = self.registry.clone();
        let name = self.name.clone();
        match error {
            OciDistributionError::RequestError(error) if error.is_connect() => Error::Unreachable {
                registry,
                reason: with_causes(&error),
            },
            OciDistributionError::RequestError(error)
                if matches!(error.status().map(|code| code.as_u16()), Some(401 | 403)) =>
            {
                Error::Denied { registry, name }
            }
            OciDistributionError::AuthenticationFailure(_)
            | OciDistributionError::UnauthorizedError { .. } => Error::Denied { registry, name },
            OciDistributionError::ImageManifestNotFoundError(_) => {
                Error::NotInRegistry { registry, name }
            }
            OciDistributionError::RegistryError { ref envelope, .. } => {
                let has = |wanted: &[OciErrorCode]| {
                    envelope.errors.iter().any(|error| {
                        wanted.iter().any(|code| {
                            std::mem::discriminant(code) == std::mem::discriminant(&error.code)
                        })
                    })
                };
                if has(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                    return Error::Denied { registry, name };
                }
                let absent = [
                    OciErrorCode::ManifestUnknown,
                    OciErrorCode::NameUnknown,
                    OciErrorCode::NotFound,
                ];
                if has(&absent) {
                    return Error::NotInRegistry { registry, name };
                }
                Error::Registry {
                    registry,
                    reason: error.to_string(),
                }
            }
            OciDistributionError::ServerError { code: 404, .. } => {
                Error::NotInRegistry { registry, name }
            }
            OciDistributionError::ServerError {
                code: 401 | 403, ..
            } => Error::Denied { registry, name },
            OciDistributionError::DigestError(error) => Error::BadBlob {
                from: format!("registry `{registry}`"),
                expected: name,
                found: format!("a manifest that is not the one ({error})"),
            },
            error => Error::Registry {
                registry,
                reason: with_causes(&error),
            },
        }
    }
}

/// Makes sure that a client can be made: oci-client ends the program where the system has no authority's certificate,
/// for a registry without TLS as well.
fn believe(registry: &str) -> Result<()> {
    match reqwest::Client::builder().build() {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::NoAuthorities {
            registry: registry.to_owned(),
            missing: Missing {
                what: format!(
                    "a certificate authority to believe ({})",
                    with_causes(&error)
                ),
                remedy: "apt-get install ca-certificates".to_owned(),
            },
        }),
    }
}

/// An error with its causes: reqwest's own words say nothing but that a request failed.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// Does some work of the client's until it is done or a signal asks to stop.
async fn stoppable<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(LOOK_UP, &mut work).await {
            Ok(done) => return done,
            Err(_) if interrupt::requested() => return Err(Error::Interrupted),
            Err(_) => {}
        }
    }
}

/// The client's share of this thread.
fn client_thread() -> Result<Runtime> {
    let runtime = Builder::new_current_thread().enable_all().build();
    Ok(cowlab_sys::io("epoll_create", "", runtime)?)
}
