//! A registry of one's own: docker's, on a free port of loopback, with its storage where the case says.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cowlab_sys::cmd::{Cmd, Running};

use crate::context::Result;
use crate::difference::Difference;

/// How long a registry may take to answer; emulated machines are slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// A registry that runs. It ends with this.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    storage: PathBuf,
    running: Running,
}

impl Registry {
    /// Starts one without TLS, open to everybody here, that keeps everything in a new directory.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn start(dir: &Path) -> Result<Self> {
        Self::start_with(dir, &[])
    }

    /// Starts one that keeps everything in a new directory, with these variables in its environment: `REGISTRY_AUTH` stands for
    /// the member `auth` of its configuration, `REGISTRY_HTTP_TLS_KEY` for `http.tls.key`.
    pub fn start_with(dir: &Path, variables: &[(&str, String)]) -> Result<Self> {
        fs::create_dir(dir)?;
        // Somebody else may take the port before the registry does; then it ends, and the case tells.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let storage = dir.join("storage");
        let configuration = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: 127.0.0.1:{port}}}\n",
            storage.display(),
        );
        let file = dir.join("registry.yml");
        fs::write(&file, configuration)?;
        let serve = Cmd::new("docker-registry").arg("serve").arg(&file);
        let serve = variables
            .iter()
            .fold(serve, |serve, (name, value)| serve.env(name, value));
        let running = serve.attach(File::create(dir.join("log"))?)?;
        let mut registry = Self {
            port,
            storage,
            running,
        };
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if !registry.running.is_alive()? || Instant::now() > end {
                let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
                return Err(Difference::new(
                    "docker-registry",
                    "start",
                    "it answers",
                    log,
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }

    /// Its host, with its port.
    #[must_use]
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The name of an image in it.
    #[must_use]
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.host())
    }

    /// The file in which it keeps what has this digest.
    #[must_use]
    pub fn file(&self, digest: &str) -> PathBuf {
        let digits = digest.trim_start_matches("sha256:");
        let start = digits.get(..2).unwrap_or(digits);
        let blobs = self.storage.join("docker/registry/v2/blobs/sha256");
        blobs.join(start).join(digits).join("data")
    }

    /// Ends it, and lets nobody answer at its place.
    pub fn stop(mut self) -> Result<()> {
        Ok(self.running.kill()?)
    }
}
