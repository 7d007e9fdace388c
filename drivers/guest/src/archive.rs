//! An image as one file, for machines without a network: a tar of its directory, the manifest first.

use std::path::Path;

use cowlab_sys::{Cmd, io};

use crate::image::{MANIFEST, PARTS};
use crate::{Cache, Error, Image, Manifest, Result, digest, space};

impl Image {
    /// Writes the image to `file`, which is there whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] and [`Error::Sys`].
    pub fn export(&self, file: &Path) -> Result<()> {
        let directory = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        space::check(
            directory,
            self.manifest.bytes + (64 << 20),
            "the command line",
        )?;
        let mut part = file.as_os_str().to_os_string();
        part.push(".part");
        let part = Path::new(&part);
        let tar = Cmd::new("tar")
            .args([
                "--create",
                "--format=posix",
                "--sort=name",
                "--numeric-owner",
            ])
            .args([
                "--owner=0",
                "--group=0",
                "--mode=u+w,go-w",
                "--pax-option=delete=atime,delete=ctime",
            ])
            .arg("--directory")
            .arg(&self.dir)
            .arg("--file")
            .arg(std::path::absolute(part).unwrap_or_else(|_| part.to_path_buf()))
            .arg(MANIFEST)
            .args(PARTS);
        let result = tar.run().map_err(Error::from).and_then(|()| {
            cowlab_sys::durability::fsync(part)?;
            Ok(io("rename", file, std::fs::rename(part, file))?)
        });
        if result.is_err() && part.exists() {
            io("unlink", part, std::fs::remove_file(part))?;
        }
        result
    }
}

impl Cache {
    /// Takes in the image that [`Image::export`] wrote to `file`. One that the cache has already is only checked.
    ///
    /// # Errors
    ///
    /// [`Error::BadExport`] for a file that is none or not whole, [`Error::Format`] for one of another version,
    /// [`Error::NoSpace`] and [`Error::Sys`].
    pub fn import(&self, file: &Path) -> Result<Image> {
        let bad = |reason: String| Error::BadExport {
            path: file.to_path_buf(),
            reason,
        };
        let file_path = file
            .canonicalize()
            .map_err(|error| bad(format!("it cannot be opened ({error})")))?;
        let manifest = read_manifest(&file_path, &bad)?;
        space::check(self.root(), manifest.bytes + (64 << 20), "XDG_CACHE_HOME")?;
        let temporary = self.temporary()?;
        let parts = temporary.path().join("out");
        io("mkdir", &parts, std::fs::create_dir(&parts))?;
        let unpacked = Cmd::new("tar")
            .args([
                "--extract",
                "--no-same-owner",
                "--no-same-permissions",
                "--file",
            ])
            .arg(&file_path)
            .arg("--directory")
            .arg(&parts)
            .args(PARTS)
            .output()?;
        if unpacked.status != Some(0) {
            let words = String::from_utf8_lossy(&unpacked.stderr);
            return Err(bad(words
                .lines()
                .next()
                .unwrap_or("tar cannot read it")
                .to_owned()));
        }
        for part in PARTS {
            let sum = digest::of(&parts.join(part))?;
            if manifest.digests.get(part) != Some(&sum.sha256) {
                return Err(bad(format!(
                    "the checksum of its `{part}` differs from the manifest's"
                )));
            }
        }
        let name = manifest.name();
        let _making = self.lock_making(&name, || {})?;
        let image = match self.image(&name) {
            Ok(Some(image)) => image,
            // One that cannot be read makes room for this one.
            Ok(None) | Err(_) => self.adopt(&parts, &manifest)?,
        };
        temporary.close()?;
        Ok(image)
    }
}

fn read_manifest(file: &Path, bad: &dyn Fn(String) -> Error) -> Result<Manifest> {
    let found = Cmd::new("tar")
        .args(["--extract", "--to-stdout", "--occurrence=1", "--file"])
        .arg(file)
        .arg(MANIFEST)
        .output()?;
    if found.status != Some(0) {
        return Err(bad(format!(
            "it is no exported image: no {MANIFEST} is in it"
        )));
    }
    let manifest = Manifest::parse(file, &found.stdout).map_err(|error| match error {
        Error::Damaged { reason, .. } => bad(reason),
        error => error,
    })?;
    // The key becomes a name in the cache.
    let plain = |c: char| c.is_ascii_alphanumeric();
    if manifest.key.is_empty() || manifest.key.len() > 64 || !manifest.key.chars().all(plain) {
        return Err(bad(format!("its key `{}` is none", manifest.key)));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{FORMAT, Release};

    fn image(cache: &Cache) -> Image {
        let temporary = cache.temporary().unwrap();
        let parts = temporary.path().join("out");
        std::fs::create_dir(&parts).unwrap();
        for part in PARTS {
            std::fs::write(parts.join(part), part).unwrap();
        }
        let digests = PARTS.map(|part| {
            (
                part.to_owned(),
                digest::of(&parts.join(part)).unwrap().sha256,
            )
        });
        let manifest = Manifest {
            format: FORMAT,
            release: Release::Trixie,
            kernel: "6.12".into(),
            zfs: "2.3".into(),
            key: "abc".into(),
            created: 1,
            bytes: 15,
            packages: BTreeMap::new(),
            digests: BTreeMap::from(digests),
        };
        let image = cache.adopt(&parts, &manifest).unwrap();
        temporary.close().unwrap();
        image
    }

    #[test]
    fn an_image_comes_back_as_it_went() {
        let place = tempfile::tempdir().unwrap();
        let one = Cache::at(&place.path().join("one")).unwrap();
        let two = Cache::at(&place.path().join("two")).unwrap();
        let file = place.path().join("image.tar");
        let exported = image(&one);
        exported.export(&file).unwrap();
        let imported = two.import(&file).unwrap();
        assert_eq!(imported.manifest, exported.manifest);
        assert_eq!(two.import(&file).unwrap().dir, imported.dir);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_is_no_whole_image_is_refused_and_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let one = Cache::at(&place.path().join("one")).unwrap();
        let two = Cache::at(&place.path().join("two")).unwrap();
        let file = place.path().join("image.tar");
        let exported = image(&one);
        let refusal = |what: &str| {
            let text = two.import(&file).unwrap_err().to_string();
            assert!(text.contains(what), "{text}");
            assert!(two.images().unwrap().is_empty());
            assert_eq!(
                std::fs::read_dir(two.root().join("tmp")).unwrap().count(),
                0
            );
        };
        refusal("No such file");
        std::fs::write(&file, "no tar at all").unwrap();
        refusal("no exported image");
        std::fs::write(exported.kernel(), "changed").unwrap();
        exported.export(&file).unwrap();
        refusal("checksum of its `vmlinux`");
        std::fs::write(exported.dir.join(MANIFEST), "{\"format\": 7}").unwrap();
        exported.export(&file).unwrap();
        refusal("format 7");
    }
}
