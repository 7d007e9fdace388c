//! Where Debian's packages come from: the mirror that this host uses, or the one that is named.

use std::path::{Path, PathBuf};

use cowlab_sys::Cmd;

use crate::{Error, Release, Result};

/// Debian's keys, in the package `debian-archive-keyring`.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// A mirror of Debian with the keys that its packages are checked by.
#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    pub(crate) uri: String,
    keyring: &'static str,
}

impl Mirror {
    /// Takes the named mirror, else that of this host.
    pub(crate) fn choose(named: Option<&str>) -> Result<Self> {
        let uri = match named {
            Some(uri) => checked(uri)?,
            None => of_host(Path::new("/"))?,
        };
        let keyring = KEYRINGS
            .into_iter()
            .find(|path| Path::new(path).is_file())
            .ok_or(Error::NoKeyring)?;
        Ok(Self { uri, keyring })
    }

    /// The mirror at `uri`, unchecked.
    #[cfg(test)]
    pub(crate) fn of(uri: &str) -> Self {
        Self {
            uri: uri.to_owned(),
            keyring: KEYRINGS[0],
        }
    }

    /// Returns the lines of a sources.list with what `release` takes.
    pub(crate) fn sources(&self, release: Release) -> Vec<String> {
        release
            .suites()
            .iter()
            .map(|suite| {
                let Self { uri, keyring } = self;
                format!("deb [signed-by={keyring}] {uri} {suite} main contrib")
            })
            .collect()
    }
}

/// Returns the options that this host's apt fetches with: proxies, certificates, checks of dates.
pub(crate) fn host_options() -> Result<String> {
    Ok(fetch_options(&Cmd::new("apt-config").arg("dump").read()?))
}

fn fetch_options(dump: &str) -> String {
    let ours = |line: &&str| {
        line.starts_with("Acquire::")
            && !line.starts_with("Acquire::cdrom")
            && !line.starts_with("Acquire::Languages")
            // An index by its own name is what the mirror surely has.
            && !line.starts_with("Acquire::IndexTargets")
            && !line.ends_with(" \"\";")
    };
    // A mirror that stumbles gets a second and third chance; the host's own number stands behind and wins.
    std::iter::once("Acquire::Retries \"3\";")
        .chain(dump.lines().filter(ours))
        .chain(["Acquire::Languages \"none\";"])
        .fold(String::new(), |text, line| text + line + "\n")
}

fn checked(uri: &str) -> Result<String> {
    let known = ["http://", "https://", "file:/", "ftp://", "mirror"];
    if known.iter().any(|scheme| uri.starts_with(scheme)) && !uri.contains(char::is_whitespace) {
        return Ok(uri.trim_end_matches('/').to_owned());
    }
    Err(Error::BadMirror {
        uri: uri.to_owned(),
    })
}

/// Finds the mirror in the package sources below `root`.
fn of_host(root: &Path) -> Result<String> {
    let release = std::fs::read_to_string(root.join("etc/os-release")).unwrap_or_default();
    let debian = release.lines().any(|line| line == "ID=debian");
    if !debian {
        return Err(Error::NoMirror);
    }
    let mut found: Vec<String> = source_files(root)
        .iter()
        .filter_map(|path| Some((path, std::fs::read_to_string(path).ok()?)))
        .flat_map(|(path, text)| {
            if path.extension().is_some_and(|e| e == "sources") {
                paragraphs(&text)
            } else {
                one_lines(&text)
            }
        })
        .collect();
    // Others publish suites by Debian's names too; Debian's own archive is called that.
    let own = found
        .iter()
        .position(|uri| uri.trim_end_matches('/').ends_with("/debian"));
    match own.or((!found.is_empty()).then_some(0)) {
        Some(index) => checked(&found.swap_remove(index)),
        None => Err(Error::NoMirror),
    }
}

fn source_files(root: &Path) -> Vec<PathBuf> {
    let parts = root.join("etc/apt/sources.list.d");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&parts)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|e| e == "sources" || e == "list")
        })
        .collect();
    files.sort_unstable();
    files.insert(0, root.join("etc/apt/sources.list"));
    files
}

/// The suites of a Debian host that its mirror is known by.
fn is_debian<'a>(suites: impl IntoIterator<Item = &'a str>) -> bool {
    const NAMES: [&str; 11] = [
        "oldoldstable",
        "oldstable",
        "stable",
        "testing",
        "unstable",
        "sid",
        "buster",
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
    ];
    suites.into_iter().any(|suite| NAMES.contains(&suite))
}

/// The URIs in a file of one-line entries (sources.list(5)).
fn one_lines(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let rest = line.trim().strip_prefix("deb")?;
            let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
            let rest = match rest.strip_prefix('[') {
                Some(options) => options.split_once(']')?.1,
                None => rest,
            };
            let mut words = rest.split_whitespace();
            let (uri, suite) = (words.next()?, words.next()?);
            (is_debian([suite]) && words.any(|word| word == "main")).then(|| uri.to_owned())
        })
        .collect()
}

/// The URIs in a file of paragraphs (deb822-style entries of sources.list(5)).
fn paragraphs(text: &str) -> Vec<String> {
    let plain: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    plain
        .split(|line| line.trim().is_empty())
        .filter_map(|lines| {
            let field = |name: &str| {
                let value = lines.iter().find_map(|line| {
                    let (key, value) = line.split_once(':')?;
                    key.eq_ignore_ascii_case(name).then_some(value)
                })?;
                Some(value.split_whitespace().collect::<Vec<_>>())
            };
            let usable = field("Types")?.contains(&"deb")
                && is_debian(field("Suites")?)
                && field("Components")?.contains(&"main")
                && field("Enabled").is_none_or(|value| value != ["no"]);
            usable.then(|| field("URIs")?.first().map(|uri| (*uri).to_owned()))?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_sources_are_read() {
        let text = "# deb http://old/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/k] http://a/debian/ bookworm main contrib\n\
                    deb http://b/debian bookworm-security main\n\
                    deb-src http://c/debian bookworm main\n\
                    deb https://d/linux/debian bookworm stable\n";
        assert_eq!(one_lines(text), ["http://a/debian/"]);
        let text = "Types: deb\n# a note\nURIs: http://a/debian http://b/debian\nSuites: trixie trixie-updates\n\
                    Components: main\n\nTypes: deb\nURIs: http://c/debian-security\nSuites: trixie-security\n\
                    Components: main\n\nEnabled: no\nTypes: deb\nURIs: http://d\nSuites: sid\nComponents: main\n";
        assert_eq!(paragraphs(text), ["http://a/debian"]);
    }

    #[test]
    fn the_own_archive_comes_before_those_of_others() {
        let place = tempfile::tempdir().unwrap();
        let parts = place.path().join("etc/apt/sources.list.d");
        std::fs::create_dir_all(&parts).unwrap();
        let error = of_host(place.path()).unwrap_err();
        assert!(error.to_string().contains("--mirror"), "{error}");
        std::fs::write(place.path().join("etc/os-release"), "NAME=x\nID=debian\n").unwrap();
        std::fs::write(parts.join("a.list"), "deb http://o/prod bookworm main\n").unwrap();
        assert_eq!(of_host(place.path()).unwrap(), "http://o/prod");
        std::fs::write(parts.join("b.list"), "deb http://m/debian/ bookworm main\n").unwrap();
        assert_eq!(of_host(place.path()).unwrap(), "http://m/debian");
    }

    #[test]
    fn only_what_concerns_fetching_is_taken_over() {
        let dump = "APT \"\";\nAcquire \"\";\nAcquire::Check-Valid-Until \"false\";\nAcquire::Languages:: \"de\";\n\
                    Acquire::http \"\";\nAcquire::http::Proxy \"http://p:1/\";\nDPkg::Pre-Invoke \"\";\n";
        let options = fetch_options(dump);
        let lines: Vec<_> = options.lines().collect();
        assert_eq!(
            lines,
            [
                "Acquire::Retries \"3\";",
                "Acquire::Check-Valid-Until \"false\";",
                "Acquire::http::Proxy \"http://p:1/\";",
                "Acquire::Languages \"none\";"
            ]
        );
    }

    #[test]
    fn a_mirror_is_a_uri() {
        assert_eq!(checked("http://m/debian/").unwrap(), "http://m/debian");
        for uri in ["m/debian", "http://m/ x", ""] {
            assert!(checked(uri).is_err(), "{uri}");
        }
    }
}
