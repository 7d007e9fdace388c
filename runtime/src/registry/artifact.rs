//! What is no image: a manifest with blobs of another kind, sent and fetched as they are.

use tokio::runtime::Runtime;

use super::{RegistryOptions, Session, client_thread, stoppable};
use crate::blobs::Expected;
use crate::image::{Name, Packed};
use crate::{Result, Root};

/// Sends a manifest and its blobs, which are here.
pub(crate) fn push_packed(
    root: &Root,
    name: &Name,
    options: &RegistryOptions,
    packed: &Packed,
) -> Result<()> {
    let (client, session) = open(root, name, options, "pull,push")?;
    client.block_on(stoppable(session.push(root, name, packed, &|_, _| {})))
}

/// Fetches a manifest.
pub(crate) fn fetch_manifest(
    root: &Root,
    name: &Name,
    options: &RegistryOptions,
) -> Result<Vec<u8>> {
    let (client, session) = open(root, name, options, "pull")?;
    let fetched = client.block_on(stoppable(session.manifest(name.reference())))?;
    Ok(fetched.1)
}

/// Fetches a blob, unless it is here.
pub(crate) fn fetch_blob(
    root: &Root,
    name: &Name,
    options: &RegistryOptions,
    expected: Expected,
) -> Result<()> {
    let (client, session) = open(root, name, options, "pull")?;
    let download = session.download(root, name.reference(), expected, &|_| {});
    client.block_on(stoppable(download))
}

/// A session with the registry of a name, and what runs it.
fn open(
    root: &Root,
    name: &Name,
    options: &RegistryOptions,
    rights: &str,
) -> Result<(Runtime, Session)> {
    let client = client_thread()?;
    let session = Session::open(root.configuration(), name, options, rights);
    let session = client.block_on(stoppable(session))?;
    Ok((client, session))
}
