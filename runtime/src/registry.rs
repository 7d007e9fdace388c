//! Registries: pulling and pushing images over the distribution API.
//!
//! The asynchronous client runs on the calling thread and is gone when a call returns. A registry is asked over TLS and has
//! to prove who it is, unless the caller or the configuration says that it need not. Where the program watches for signals
//! ([`cowlab_sys::interrupt`]), the first of them ends a call soon.

mod artifact;
mod authority;
mod credentials;
mod login;
mod manifest;
mod pull;
mod push;
mod transport;

use std::cell::RefCell;
use std::time::Duration;

use cowlab_driver::Missing;
use cowlab_sys::interrupt;
use oci_spec::distribution::Reference;
use reqwest::header::HeaderValue;
use reqwest::{Client, Response, StatusCode};
use tokio::runtime::{Builder, Runtime};

use crate::image::Name;
use crate::root::Configuration;
use crate::{Error, Result};
use credentials::Credentials;

pub(crate) use artifact::{fetch_blob, fetch_manifest, push_packed};
pub use login::{login, logout};
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
    registry: String,
    /// The image, for messages.
    name: String,
    /// Where the registry's interface begins: `https://host/v2/`.
    base: String,
    credentials: Credentials,
    /// What a token has to be good for (distribution, `docs/spec/auth/scope.md`).
    scope: Option<String>,
    /// What the registry asked for, once it did.
    authorization: RefCell<Option<HeaderValue>>,
}

impl Session {
    /// Opens a session for actions (`pull`, `pull,push`) on an image.
    async fn open(
        configuration: &Configuration,
        name: &Name,
        options: &RegistryOptions,
        actions: &str,
    ) -> Result<Self> {
        let credentials = match &options.credentials {
            Some((user, password)) => Credentials::Password(user.clone(), password.clone()),
            None => credentials::find(&name.repository())?,
        };
        let insecure = options.insecure || configuration.permits(name.registry());
        let mut session = Self::new(name.registry(), &name.to_string(), credentials, insecure)?;
        session.scope = Some(format!(
            "repository:{}:{actions}",
            name.reference().repository()
        ));
        session.connect(insecure).await?;
        Ok(session)
    }

    /// A session that has not asked the registry yet.
    fn new(registry: &str, name: &str, credentials: Credentials, insecure: bool) -> Result<Self> {
        // Where another part of the program chose a provider already, that one is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        Ok(Self {
            client: client(registry, insecure)?,
            registry: registry.to_owned(),
            name: name.to_owned(),
            base: String::new(),
            credentials,
            scope: None,
            authorization: RefCell::new(None),
        })
    }

    /// Asks the registry for its interface, and answers what it asks back. With an insecure registry, finds out whether it
    /// speaks TLS.
    async fn connect(&mut self, insecure: bool) -> Result<()> {
        let host = match self.registry.as_str() {
            "docker.io" => "index.docker.io",
            other => other,
        };
        self.base = format!("https://{host}/v2/");
        let asked = match self.ask_version().await {
            Err(Error::Unreachable { .. }) if insecure => {
                self.base = format!("http://{host}/v2/");
                self.ask_version().await
            }
            asked => asked,
        };
        let answer = asked?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.answer_challenges(answer.headers()).await?;
        }
        Ok(())
    }

    /// Asks without credentials: the answer says which are asked for (distribution specification, "Determining Support").
    async fn ask_version(&self) -> Result<Response> {
        let build = || {
            let request = self.client.get(&self.base).build();
            request.map_err(|error| self.broken(&error))
        };
        self.send_patiently(build).await
    }

    /// The address of something of the image's.
    fn url(&self, name: &Reference, rest: &str) -> String {
        format!("{}{}/{rest}", self.base, name.repository())
    }
}

/// Makes the client: it needs a certificate authority to believe, for a registry without TLS as well.
fn client(registry: &str, insecure: bool) -> Result<Client> {
    let builder = Client::builder()
        .danger_accept_invalid_certs(insecure)
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT);
    builder.build().map_err(|error| Error::NoAuthorities {
        registry: registry.to_owned(),
        missing: Missing {
            what: format!(
                "a certificate authority to believe ({})",
                with_causes(&error)
            ),
            remedy: "apt-get install ca-certificates".to_owned(),
        },
    })
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
