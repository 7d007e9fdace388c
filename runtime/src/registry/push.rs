//! Pushing: blobs that the registry lacks, a few at a time, then the manifest as it came.

use std::fs::File;
use std::io::Read;

use futures_util::{StreamExt, TryStreamExt, stream};
use oci_client::RegistryOperation;
use oci_client::errors::OciDistributionError;

use cowlab_snapshots::Digest;

use super::{PARALLEL, RegistryOptions, Session, client_thread, stoppable};
use crate::blobs::Stored;
use crate::image::{Name, Packed};
use crate::{Error, Result, Root};

/// How much is read at a time, in bytes.
const PIECE: usize = 256 << 10;

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
        let operation = RegistryOperation::Push;
        let session = client.block_on(stoppable(Session::open(self, name, options, operation)))?;
        client.block_on(stoppable(session.push(self, &packed, progress)))?;
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
    async fn push(
        &self,
        root: &Root,
        packed: &Packed,
        progress: &(dyn Fn(&Digest, PushStep) + Sync),
    ) -> Result<()> {
        stream::iter(packed.blobs())
            .map(|(digest, size)| self.push_blob(root, digest, size, progress))
            .buffer_unordered(PARALLEL)
            .try_collect::<Vec<()>>()
            .await?;
        let content_type = packed.media_type.parse().ok();
        let content_type = content_type.ok_or_else(|| Error::BadImage {
            name: self.name.clone(),
            reason: format!("`{}` is no media type", packed.media_type),
        })?;
        self.client
            .push_manifest_raw(&self.reference, packed.manifest.clone(), content_type)
            .await
            .map_err(|error| self.failed(error))?;
        Ok(())
    }

    async fn push_blob(
        &self,
        root: &Root,
        digest: Digest,
        size: u64,
        progress: &(dyn Fn(&Digest, PushStep) + Sync),
    ) -> Result<()> {
        let text = digest.to_string();
        let failed = |error| self.failed(error);
        let there = self.client.blob_exists(&self.reference, &text).await;
        if there.map_err(failed)? {
            progress(&digest, PushStep::Exists);
            return Ok(());
        }
        progress(&digest, PushStep::Sending);
        let pieces = stream::try_unfold(root.blobs().file(&digest)?, |file| async move {
            piece(file).map_err(OciDistributionError::IoError)
        });
        self.client
            .push_blob_stream(&self.reference, pieces, &text, Some(size))
            .await
            .map_err(failed)?;
        progress(&digest, PushStep::Sent);
        Ok(())
    }
}

/// The next piece of a file, or `None` at its end.
fn piece(mut file: File) -> std::io::Result<Option<(bytes::Bytes, File)>> {
    let mut buffer = vec![0; PIECE];
    loop {
        match file.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) => return Ok(None),
            Ok(count) => {
                buffer.truncate(count);
                return Ok(Some((buffer.into(), file)));
            }
            Err(error) => return Err(error),
        }
    }
}
