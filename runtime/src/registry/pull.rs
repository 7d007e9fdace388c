//! Pulling: the manifest, then what is missing of its blobs, a few at a time, while a second thread unpacks what has come.
//!
//! A layer is unpacked over the one below it, with every driver: layers of one image unpack one after the other, those of
//! images that are pulled by different processes at once.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use cowlab_layer::Digest;
use cowlab_sys::interrupt;
use futures_util::{StreamExt, TryStreamExt, stream};
use oci_spec::distribution::Reference;
use reqwest::StatusCode;
use reqwest::header::RANGE;

use super::{PARALLEL, RegistryOptions, Session, client_thread, stoppable, with_causes};
use crate::blobs::{Expected, Incoming};
use crate::image::plan::{DOCUMENT_LIMIT, Plan};
use crate::image::{Name, PlannedLayer, Progress, Search, Step};
use crate::{Error, Result, Root};

/// How often a download is tried in vain.
const ATTEMPTS: u32 = 5;
/// How long to wait before that; longer each time.
const PAUSE: Duration = Duration::from_millis(500);

/// An image that was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Its id.
    pub id: Digest,
    /// The digest that the registry knows it by: the manifest's, or that of the list it stands in.
    pub digest: Digest,
    /// Whether the name stood for this image before and nothing was fetched.
    pub up_to_date: bool,
}

impl Root {
    /// Pulls an image: by tag, or by digest.
    ///
    /// Layers that are here are neither fetched nor unpacked. A download that breaks off is taken up where it broke off, by
    /// a later call as well. Of a list of manifests, the one for this machine is taken.
    ///
    /// # Errors
    ///
    /// [`Error::Unreachable`], [`Error::Denied`], [`Error::NotInRegistry`], [`Error::Registry`]; [`Error::BadBlob`] when the
    /// registry does not give what its manifest says; [`Error::BadImage`], [`Error::Unpack`], [`Error::Interrupted`].
    pub fn pull(
        &self,
        name: &Name,
        options: &RegistryOptions,
        progress: Progress<'_>,
    ) -> Result<Pulled> {
        let adding = self.adding()?;
        let pulled = self.pull_whole(name, options, progress);
        drop(adding);
        self.discard_blobs()?;
        pulled
    }

    fn pull_whole(
        &self,
        name: &Name,
        options: &RegistryOptions,
        progress: Progress<'_>,
    ) -> Result<Pulled> {
        let client = client_thread()?;
        let session = Session::open(self.configuration(), name, options, "pull");
        let session = client.block_on(stoppable(session))?;
        let reference = name.reference();
        let (digest, plan) = client.block_on(stoppable(session.plan(self, reference)))?;
        self.refuse_too_deep(&plan)?;
        let mut missing = Vec::new();
        for layer in &plan.layers {
            match self.has_layer(layer)? {
                true => progress(layer, Step::Exists),
                false => missing.push(layer),
            }
        }
        // Layers are downloaded on this thread and unpacked on another.
        let (fetched, arrivals) = channel();
        std::thread::scope(|scope| {
            let (plan, missing) = (&plan, missing.as_slice());
            let unpacker = scope.spawn(move || unpack(self, plan, missing, &arrivals, progress));
            let downloaded = client.block_on(stoppable(
                session.download_all(self, reference, missing, fetched, progress),
            ));
            let unpacked = unpacker.join().unwrap_or(Ok(Unpacked::Stopped))?;
            downloaded?;
            match unpacked {
                Unpacked::All => Ok(()),
                Unpacked::Stopped if interrupt::requested() => Err(Error::Interrupted),
                Unpacked::Stopped => Err(Error::Registry {
                    registry: session.registry.clone(),
                    reason: "the pull stopped before the last layer: try again".to_owned(),
                }),
            }
        })?;
        let moved = self.record_pulled(name, digest, &plan)?;
        Ok(Pulled {
            id: plan.id,
            digest,
            up_to_date: missing.is_empty() && !moved,
        })
    }

    /// Records a pulled image with its names; tells whether the tag is new or moved.
    fn record_pulled(&self, name: &Name, digest: Digest, plan: &Plan) -> Result<bool> {
        self.record(plan)?;
        let id = plan.id.to_string();
        for digest in BTreeSet::from([digest, plan.manifest]) {
            self.graph()
                .add_repository_digest(&name.repository(), &digest.to_string(), &id)?;
        }
        let Some(tagged) = name.tagged().filter(|_| name.digest().is_none()) else {
            return Ok(false);
        };
        let known = self.graph().tag(&tagged)?;
        self.name_image(&tagged, plan)?;
        Ok(known.is_none_or(|known| known.image != id))
    }
}

impl Session {
    /// Fetches the manifest and the configuration, and returns the digest that the registry knows the image by.
    async fn plan(&self, root: &Root, reference: &Reference) -> Result<(Digest, Plan)> {
        let (digest, mut bytes) = self.manifest(reference).await?;
        let mut search = Search::new(&self.name);
        let manifest = loop {
            if let Some(manifest) = search.take(&bytes, None)? {
                break manifest;
            }
            let wanted = search.next()?.digest.to_string();
            let wanted = reference.clone_with_digest(wanted);
            (_, bytes) = self.manifest(&wanted).await?;
        };
        let (config, size) = manifest.config()?;
        root.blobs().keep_bytes(&bytes)?;
        let expected = Expected {
            digest: config,
            size,
        };
        self.download(root, reference, expected, &|_| {}).await?;
        let plan = manifest.plan(&root.blobs().document(&config, DOCUMENT_LIMIT)?)?;
        Ok((digest, plan))
    }

    /// Downloads layers, base first, a few at a time, and sends the digest of each that is there.
    async fn download_all(
        &self,
        root: &Root,
        reference: &Reference,
        missing: &[&PlannedLayer],
        fetched: Sender<Digest>,
        progress: Progress<'_>,
    ) -> Result<()> {
        let mut blobs = BTreeSet::new();
        let wanted = missing.iter().filter(|layer| blobs.insert(layer.blob));
        let wanted: Vec<&PlannedLayer> = wanted.copied().collect();
        let fetched = &fetched;
        stream::iter(wanted)
            .map(|layer| async move {
                let expected = Expected {
                    digest: layer.blob,
                    size: layer.size,
                };
                progress(layer, Step::Fetching);
                let resumed = |bytes| progress(layer, Step::Resumed(bytes));
                self.download(root, reference, expected, &resumed).await?;
                progress(layer, Step::Fetched);
                // Nobody listens when unpacking failed, and what failed there is what is told.
                if fetched.send(layer.blob).is_err() {
                    tracing::debug!(blob = %layer.blob, "fetched for nobody");
                }
                Ok::<(), Error>(())
            })
            .buffer_unordered(PARALLEL)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }

    /// Downloads a blob unless it is there, going on with what an earlier try left.
    pub(super) async fn download(
        &self,
        root: &Root,
        reference: &Reference,
        expected: Expected,
        resumed: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let mut incoming = loop {
            if root.blobs().size(&expected.digest)? == Some(expected.size) {
                return Ok(());
            }
            // Another process may be at it. A wait for its lock would stop all downloads of this thread, and two such
            // waits could wait for each other.
            match root.blobs().try_resume(&expected)? {
                Some(incoming) => break incoming,
                None => tokio::time::sleep(PAUSE).await,
            }
        };
        let is_resumed = incoming.size() > 0;
        if is_resumed {
            resumed(incoming.size());
        }
        let mut attempt = 0;
        while incoming.size() < expected.size {
            let before = incoming.size();
            let broken = match self.stream(reference, &mut incoming, &expected).await {
                Ok(()) => break,
                Err(Broken::Here(error)) => return Err(error),
                Err(Broken::There(reason)) => reason,
            };
            // Only tries that bring nothing count: a way that often breaks off is a way.
            attempt = match incoming.size() > before {
                true => 1,
                false => attempt + 1,
            };
            if attempt == ATTEMPTS && incoming.size() < expected.size {
                return Err(broken);
            }
            tracing::debug!(blob = %expected.digest, attempt, error = %broken, "a download broke off");
            tokio::time::sleep(PAUSE * attempt).await;
        }
        match incoming.finish(Some(expected), &format!("registry `{}`", self.registry)) {
            // What an earlier try left may have suffered from a power cut, for it was not flushed: from the start, then.
            Err(Error::BadBlob { .. }) if is_resumed => {
                Box::pin(self.download(root, reference, expected, resumed)).await
            }
            finished => finished.map(drop),
        }
    }

    /// Takes what one request gives.
    async fn stream(
        &self,
        reference: &Reference,
        incoming: &mut Incoming<'_>,
        expected: &Expected,
    ) -> std::result::Result<(), Broken> {
        let digest = expected.digest.to_string();
        let offset = incoming.size();
        let url = self.url(reference, &format!("blobs/{digest}"));
        let build = || {
            let request = self.client.get(&url);
            Ok(match offset {
                0 => request,
                _ => request.header(RANGE, format!("bytes={offset}-")),
            })
        };
        let answer = self.send(build).await.map_err(Broken::There)?;
        let answer = self.accepted(answer).await.map_err(Broken::There)?;
        // Whoever does not know ranges sends all (RFC 9110, 14.2).
        if offset > 0 && answer.status() != StatusCode::PARTIAL_CONTENT {
            incoming.restart().map_err(Broken::Here)?;
        }
        let mut stream = answer.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| {
                Broken::There(Error::Registry {
                    registry: self.registry.clone(),
                    reason: format!(
                        "the download of blob `{digest}` broke off after {} of {} bytes: {}",
                        incoming.size(),
                        expected.size,
                        with_causes(&error)
                    ),
                })
            })?;
            incoming.take(&chunk).map_err(Broken::Here)?;
            if incoming.size() > expected.size {
                // Finishing says what is wrong, and removes it.
                return Ok(());
            }
        }
        match incoming.size() == expected.size {
            true => Ok(()),
            false => Err(Broken::There(Error::BadBlob {
                from: format!("registry `{}`", self.registry),
                expected: digest,
                found: format!("{} of {} bytes", incoming.size(), expected.size),
            })),
        }
    }
}

/// Why a download stopped.
enum Broken {
    /// The disk is full, for example: no use in trying again.
    Here(Error),
    /// The registry or the way to it.
    There(Error),
}

/// How far unpacking went.
enum Unpacked {
    All,
    /// A layer never came.
    Stopped,
}

/// Unpacks layers in order, base first, each as soon as its blob is there.
fn unpack(
    root: &Root,
    plan: &Plan,
    missing: &[&PlannedLayer],
    arrivals: &Receiver<Digest>,
    progress: Progress<'_>,
) -> Result<Unpacked> {
    let mut here = BTreeSet::new();
    for layer in missing {
        while !here.contains(&layer.blob) {
            match arrivals.recv() {
                Ok(blob) => drop(here.insert(blob)),
                Err(_) => return Ok(Unpacked::Stopped),
            }
        }
        if interrupt::requested() {
            return Ok(Unpacked::Stopped);
        }
        progress(layer, Step::Unpacking);
        root.unpack_layer(&plan.name, layer)?;
        progress(layer, Step::Complete);
    }
    Ok(Unpacked::All)
}
