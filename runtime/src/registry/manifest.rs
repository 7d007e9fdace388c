//! Manifests, lists of them and their digests.

use oci_spec::distribution::Reference;
use reqwest::header::{ACCEPT, HeaderValue};

use cowlab_layer::Digest;

use super::Session;
use crate::image::plan::{INDEX_TYPES, MANIFEST_TYPES};
use crate::{Error, Result};

/// The header in which a registry says what it sends (distribution specification, "Pulling manifests").
const CONTENT_DIGEST: &str = "docker-content-digest";

impl Session {
    /// Fetches a manifest or a list of them, and proves its digest where the reference has one.
    pub(super) async fn manifest(&self, reference: &Reference) -> Result<(Digest, Vec<u8>)> {
        let types = [MANIFEST_TYPES, INDEX_TYPES].concat().join(", ");
        let wanted = reference.digest().or_else(|| reference.tag());
        let url = self.url(
            reference,
            &format!("manifests/{}", wanted.unwrap_or("latest")),
        );
        let build = || Ok(self.client.get(&url).header(ACCEPT, &types));
        let answer = self.accepted(self.send(build).await?).await?;
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
}
