//! The way from an index to the manifest for this machine: past artifacts, attestations and images for others, through
//! indexes in indexes.

use std::collections::BTreeSet;

use oci_spec::image::Arch;

use super::document::{self, Descriptor, Platform};
use super::plan::{INDEX_TYPES, MANIFEST_TYPES, Manifest};
use crate::{Error, Result};

/// The most documents that are fetched for one image: a bound for what hostile indexes cost.
const FETCH_LIMIT: usize = 50;

/// buildx marks what it adds about an image so (docs.docker.com, "Attestation storage").
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// The rank of what says nothing of its platform, behind all that do.
const UNSAID: usize = 1000;

/// A search for the manifest for this machine. Whoever searches fetches what [`Search::next`] asks for and gives it to
/// [`Search::take`].
#[derive(Debug)]
pub(crate) struct Search {
    name: String,
    pending: Vec<Descriptor>,
    fetched: usize,
    /// The platforms that others are for.
    present: BTreeSet<String>,
    /// Why something was passed over that might have been the image.
    passed: Vec<String>,
}

impl Search {
    /// Begins a search; the name is for messages.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            pending: Vec::new(),
            fetched: 0,
            present: BTreeSet::new(),
            passed: Vec::new(),
        }
    }

    /// Takes a document whose digest is proved: the manifest, if it is that of an image.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        declared: Option<&str>,
    ) -> Result<Option<Manifest>> {
        self.fetched += 1;
        let bad = |reason| Error::BadImage {
            name: self.name.clone(),
            reason: format!("document `{}`: {reason}", cowlab_layer::Digest::of(bytes)),
        };
        if document::is_index(bytes).map_err(bad)? {
            let entries = document::index(bytes).map_err(bad)?;
            self.rank(entries);
            return Ok(None);
        }
        match Manifest::read(&self.name, bytes, declared) {
            // In an index something else may still be an image.
            Err(Error::Artifact { reason, .. }) if self.fetched > 1 => {
                self.passed.push(reason);
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    /// Puts the entries of an index that may be for this machine before all others, the best of them first.
    fn rank(&mut self, entries: document::Entries) {
        let runs = runnable();
        let mut ranked = Vec::new();
        for entry in entries {
            match entry {
                Err(reason) => self.passed.push(reason),
                Ok(entry) => match rank(&entry, &runs) {
                    Some(rank) => ranked.push((rank, entry)),
                    None => self.present.extend(platform_of(&entry)),
                },
            }
        }
        // The last one is the next, and of equals the first in the index.
        ranked.sort_by_key(|(rank, _)| *rank);
        let ranked = ranked.into_iter().rev().map(|(_, entry)| entry);
        self.pending.extend(ranked);
    }

    /// What is to be fetched next.
    pub(crate) fn next(&mut self) -> Result<Descriptor> {
        if self.fetched < FETCH_LIMIT
            && let Some(next) = self.pending.pop()
        {
            return Ok(next);
        }
        let present: Vec<&str> = self.present.iter().map(String::as_str).collect();
        let present = match present.is_empty() {
            true => "none for a platform".to_owned(),
            false => present.join(", "),
        };
        let mut reason = format!(
            "it has no image for linux/{}: it has {present}",
            Arch::default()
        );
        for passed in &self.passed {
            reason = format!("{reason}; {passed}");
        }
        Err(Error::BadImage {
            name: self.name.clone(),
            reason,
        })
    }
}

/// Searches from a descriptor on, and returns the manifest with its bytes.
pub(crate) fn search(
    name: &str,
    descriptor: &Descriptor,
    fetch: impl Fn(&Descriptor) -> Result<Vec<u8>>,
) -> Result<(Manifest, Vec<u8>)> {
    let mut search = Search::new(name);
    let mut next = descriptor.clone();
    loop {
        let bytes = fetch(&next)?;
        let declared = Some(next.media_type.as_str()).filter(|kind| !kind.is_empty());
        if let Some(manifest) = search.take(&bytes, declared)? {
            return Ok((manifest, bytes));
        }
        next = search.next()?;
    }
}

/// How well an entry suits, the smallest number best; `None` for what cannot be for this machine.
fn rank(entry: &Descriptor, runs: &[(String, String)]) -> Option<usize> {
    let kind = entry.media_type.as_str();
    let is_known = INDEX_TYPES.contains(&kind) || MANIFEST_TYPES.contains(&kind) || kind.is_empty();
    if !is_known || entry.annotations.contains_key(REFERENCE_TYPE) {
        return None;
    }
    let unsaid = UNSAID + usize::from(!entry.artifact_type.is_empty());
    let Some(platform) = &entry.platform else {
        return Some(unsaid);
    };
    let (architecture, variant) = normal(platform);
    match (platform.os.to_lowercase().as_str(), architecture.as_str()) {
        ("", "") => Some(unsaid),
        ("linux", "") => Some(unsaid - 1),
        (os @ ("" | "linux"), _) => {
            let found = runs
                .iter()
                .position(|(known, theirs)| *known == architecture && *theirs == variant)?;
            Some(found + if os.is_empty() { UNSAID / 2 } else { 0 })
        }
        _ => None,
    }
}

/// An entry's platform as people write it.
fn platform_of(entry: &Descriptor) -> Option<String> {
    let platform = entry.platform.as_ref()?;
    let parts = [&platform.os, &platform.architecture, &platform.variant];
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    Some(parts.map(String::as_str).collect::<Vec<_>>().join("/"))
}

/// The architecture and the variant by one name for each (containerd, platforms, `normalizeArch`).
fn normal(platform: &Platform) -> (String, String) {
    let architecture = platform.architecture.to_lowercase();
    let variant = platform.variant.to_lowercase();
    let variant = match variant.strip_prefix('v') {
        Some(number) => number.to_owned(),
        None => variant,
    };
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("x86_64" | "x86-64" | "amd64", "1") => ("amd64", ""),
        ("x86_64" | "x86-64", other) => ("amd64", other),
        ("aarch64" | "arm64", "8") => ("arm64", ""),
        ("aarch64", other) => ("arm64", other),
        ("i386" | "386", _) => ("386", ""),
        ("armhf" | "arm", "") => ("arm", "7"),
        ("armel", _) => ("arm", "6"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_owned(), variant.to_owned())
}

/// The platforms whose programs this machine runs, in the order in which docker takes them (containerd, platforms,
/// `platformVector`): the plain one, what more this processor can, 32-bit programs.
fn runnable() -> Vec<(String, String)> {
    let pair = |architecture: &str, variant: &str| (architecture.to_owned(), variant.to_owned());
    let here = Arch::default().to_string();
    let mut runs = vec![pair(&here, "")];
    match here.as_str() {
        "amd64" => {
            let level = x86_level();
            runs.extend(
                (2..=level)
                    .rev()
                    .map(|level| pair("amd64", &level.to_string())),
            );
            runs.push(pair("386", ""));
        }
        "arm64" => runs.extend(["8", "7", "6", "5"].map(|variant| pair("arm", variant))),
        _ => {}
    }
    runs
}

/// The level of this processor's instructions (x86-64 psABI, "Micro-Architecture Levels").
#[cfg(target_arch = "x86_64")]
fn x86_level() -> u32 {
    use std::arch::is_x86_feature_detected as has;
    if !(has!("cmpxchg16b") && has!("popcnt") && has!("sse4.2") && has!("ssse3")) {
        return 1;
    }
    if !(has!("avx2") && has!("bmi1") && has!("bmi2") && has!("fma") && has!("f16c")) {
        return 2;
    }
    if !(has!("lzcnt") && has!("movbe")) {
        return 2;
    }
    match has!("avx512f")
        && has!("avx512bw")
        && has!("avx512cd")
        && has!("avx512dq")
        && has!("avx512vl")
    {
        true => 4,
        false => 3,
    }
}

#[cfg(not(target_arch = "x86_64"))]
const fn x86_level() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(text: &str) -> Option<usize> {
        let digest = cowlab_layer::Digest::of(b"x");
        let text = format!(r#"{{"manifests":[{{"digest":"{digest}","size":1{text}}}]}}"#);
        let mut entries = document::index(text.as_bytes()).unwrap();
        let runs = ["", "2", "3"].map(|variant| ("amd64".to_owned(), variant.to_owned()));
        rank(&entries.remove(0).unwrap(), &runs)
    }

    #[test]
    fn plain_platform_comes_first() {
        let platform = |text: &str| ranked(&format!(r#","platform":{{{text}}}"#));
        let plain = platform(r#""os":"linux","architecture":"amd64""#);
        assert_eq!(plain, Some(0));
        assert_eq!(
            platform(r#""os":"linux","architecture":"x86_64","variant":"v1""#),
            plain
        );
        assert_eq!(
            platform(r#""os":"linux","architecture":"amd64","variant":"v3""#),
            Some(2)
        );
        assert_eq!(
            platform(r#""os":"linux","architecture":"amd64","variant":"v4""#),
            None
        );
        assert_eq!(platform(r#""os":"unknown","architecture":"unknown""#), None);
        assert_eq!(platform(""), ranked(""));
        assert!(ranked("") < ranked(r#","artifactType":"a/b""#));
        assert_eq!(ranked(r#","mediaType":"application/spdx+json""#), None);
    }
}
