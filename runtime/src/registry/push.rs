//! Pushing: blobs that the registry lacks, a few at a time, then the manifest as it came.

use futures_util::{StreamExt, TryStreamExt, stream};
use oci_spec::distribution::Reference;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Response, StatusCode, Url};

use cowlab_layer::Digest;

use super::transport::piece;
use super::{PARALLEL, RegistryOptions, Session, client_thread, stoppable};
use crate::blobs::Stored;
use crate::image::{Name, Packed};
use crate::{Error, Result, Root};

/// What happens to a blob, for people who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushStep {
    /// The registry has it.
    Exists,
    /// It is being sent.
    Sending,
    /// It was sent.
    Sent,
}

/// An image that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest's size in bytes.
    pub size: u64,
    /// Whether the manifest is not one that the image came with, so that the digest is a new one.
    pub repacked: bool,
}

impl Root {
    /// Pushes the image of that name, with the blobs and the manifest that it came with.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NoBlob`], [`Error::Lost`], [`Error::Unreachable`], [`Error::Denied`], [`Error::Registry`].
    pub fn push(
        &self,
        name: &Name,
        options: &RegistryOptions,
        progress: &(dyn Fn(&Digest, PushStep) + Sync),
    ) -> Result<Pushed> {
        let adding = self.adding()?;
        let mut made = Vec::new();
        let pushed = self.push_packed(name, options, progress, &mut made);
        drop(adding);
        self.give_back(&made)?;
        pushed
    }

    fn push_packed(
        &self,
        name: &Name,
        options: &RegistryOptions,
        progress: &(dyn Fn(&Digest, PushStep) + Sync),
        made: &mut Vec<Stored>,
    ) -> Result<Pushed> {
        let image = self.image(&name.to_string())?;
        let packed = self.packed(&image, name.tagged().as_deref(), made)?;
        let client = client_thread()?;
        let session = Session::open(self.configuration(), name, options, "pull,push");
        let session = client.block_on(stoppable(session))?;
        client.block_on(stoppable(session.push(self, name, &packed, progress)))?;
        self.graph().add_repository_digest(
            &name.repository(),
            &packed.digest.to_string(),
            &image.id.to_string(),
        )?;
        Ok(Pushed {
            digest: packed.digest,
            size: packed.manifest.len() as u64,
            repacked: packed.fresh,
        })
    }
}

impl Session {
    pub(super) async fn push(
        &self,
        root: &Root,
        name: &Name,
        packed: &Packed,
        progress: &(dyn Fn(&Digest, PushStep) + Sync),
    ) -> Result<()> {
        let reference = name.reference();
        stream::iter(packed.blobs())
            .map(|(digest, size)| self.push_blob(root, reference, digest, size, progress))
            .buffer_unordered(PARALLEL)
            .try_collect::<Vec<()>>()
            .await?;
        let wanted = name.tag().or_else(|| name.digest()).unwrap_or("latest");
        let url = self.url(reference, &format!("manifests/{wanted}"));
        let build = || {
            let request = self.client.put(&url);
            let request = request.header(CONTENT_TYPE, &packed.media_type);
            Ok(request.body(packed.manifest.clone()))
        };
        self.accepted(self.send(build).await?).await.map(drop)
    }

    async fn push_blob(
        &self,
        root: &Root,
        reference: &Reference,
        digest: Digest,
        size: u64,
        progress: &(dyn Fn(&Digest, PushStep) + Sync),
    ) -> Result<()> {
        let url = self.url(reference, &format!("blobs/{digest}"));
        let there = self.send(|| Ok(self.client.head(&url))).await?;
        if there.status() != StatusCode::NOT_FOUND {
            self.accepted(there).await?;
            progress(&digest, PushStep::Exists);
            return Ok(());
        }
        progress(&digest, PushStep::Sending);
        // In one piece (distribution specification, "Pushing a blob monolithically").
        let url = self.url(reference, "blobs/uploads/");
        let begin = || Ok(self.client.post(&url).header(CONTENT_LENGTH, 0));
        let begun = self.accepted(self.send(begin).await?).await?;
        let mut place = self.location(&begun)?;
        place
            .query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        let put = || {
            let file = root.blobs().file(&digest)?;
            let pieces = stream::try_unfold(file, |file| async move { piece(file) });
            let request = self.client.put(place.clone());
            let request = request.header(CONTENT_TYPE, "application/octet-stream");
            let request = request.header(CONTENT_LENGTH, size);
            Ok(request.body(Body::wrap_stream(pieces)))
        };
        self.accepted(self.send(put).await?).await?;
        progress(&digest, PushStep::Sent);
        Ok(())
    }

    /// Where the upload goes that an answer begins, which may be written short (RFC 9110, 10.2.2).
    fn location(&self, begun: &Response) -> Result<Url> {
        let location = begun.headers().get(LOCATION);
        let location = location.and_then(|value| value.to_str().ok());
        let place = location.and_then(|location| begun.url().join(location).ok());
        place.ok_or_else(|| Error::Registry {
            registry: self.registry.clone(),
            reason: "it takes an upload and does not say where".to_owned(),
        })
    }
}
