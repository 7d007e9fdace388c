//! What a build reads before it begins: the Dockerfile, and what the context leaves out.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cowlab_dockerfile::{Dockerfile, Ignore, Lines};
use cowlab_sys::Errno;
use cowlab_sys::at::OFlags;

use crate::exit::{self, Stop};

/// The most bytes of a Dockerfile: what is larger is something else.
const SIZE_MAX: u64 = 16 << 20;

/// How many lines an excerpt shows before and after those that it is about, as docker's does.
const AROUND: usize = 2;

/// What a build reads.
#[derive(Debug)]
pub(super) struct Input {
    /// The directory that files are copied from.
    pub(super) context: Option<PathBuf>,
    /// The Dockerfile's name for messages, and its text.
    name: String,
    text: String,
    /// What is left out: the file's name and its text.
    ignore: Option<(String, String)>,
}

impl Input {
    /// Reads the Dockerfile that the command line names, and its `.dockerignore`: `NAME.dockerignore` beside it, else that of the context.
    ///
    /// # Errors
    ///
    /// [`Stop`] for what is not there, or is no file of text.
    pub(super) fn read(context: &Path, file: Option<&Path>) -> anyhow::Result<Self> {
        let is_stdin = |path: &Path| path == Path::new("-");
        if is_stdin(context) {
            if file.is_some_and(|file| !is_stdin(file)) {
                return Err(stop("an archive on stdin is no context here: unpack it to a directory, and name that").into());
            }
            return Ok(Self::without_context(stdin()?));
        }
        refuse_address(context)?;
        let root = cowlab_sys::Root::open(context).map_err(|error| {
            stop(format!(
                "build context `{}`: {error}; it is a directory, or `-` for none",
                context.display()
            ))
        })?;
        let beside = |name: &Path| {
            let mut ignore = name.as_os_str().to_owned();
            ignore.push(".dockerignore");
            PathBuf::from(ignore)
        };
        let mut ignore = None;
        let (name, text) = match file {
            Some(file) if is_stdin(file) => ("Dockerfile".to_owned(), stdin()?),
            Some(file) => {
                let text = named(file)?;
                let path = beside(file);
                if path.exists() {
                    ignore = Some((path.display().to_string(), named(&path)?));
                }
                (file.display().to_string(), text)
            }
            None => {
                let path = Path::new("Dockerfile");
                let text = within(&root, path)?.ok_or_else(|| {
                    stop(format!(
                        "there is no `Dockerfile` in `{}`: `-f FILE` names one",
                        context.display()
                    ))
                })?;
                let path = beside(path);
                ignore = within(&root, &path)?.map(|text| (path.display().to_string(), text));
                ("Dockerfile".to_owned(), text)
            }
        };
        if ignore.is_none() {
            let path = Path::new(".dockerignore");
            ignore = within(&root, path)?.map(|text| (path.display().to_string(), text));
        }
        Ok(Self {
            context: Some(context.to_owned()),
            name,
            text,
            ignore,
        })
    }

    fn without_context(text: String) -> Self {
        Self {
            context: None,
            name: "Dockerfile".to_owned(),
            text,
            ignore: None,
        }
    }

    /// Reads what the files say.
    ///
    /// # Errors
    ///
    /// At the first instruction or pattern that cannot be used.
    pub(super) fn parse(&self) -> cowlab_dockerfile::Result<(Dockerfile, Ignore)> {
        let ignore = match &self.ignore {
            Some((name, text)) => Ignore::parse(name, text)?,
            None => Ignore::default(),
        };
        Ok((Dockerfile::parse(&self.name, &self.text)?, ignore))
    }

    /// These lines with those around them, if they are of one of the files that were read.
    pub(super) fn excerpt(&self, file: &str, lines: Lines) -> Option<String> {
        let ignore = self.ignore.as_ref();
        let text = match ignore.filter(|(name, _)| name == file) {
            Some((_, text)) => text,
            None if self.name == file => &self.text,
            None => return None,
        };
        let rule = "-".repeat(20);
        let first = lines.first.saturating_sub(AROUND).max(1);
        let shown = text.lines().enumerate().skip(first - 1);
        let shown = shown.take(lines.last + AROUND + 1 - first);
        let shown: String = shown
            .map(|(index, line)| {
                let number = index + 1;
                let mark = match (lines.first..=lines.last).contains(&number) {
                    true => ">>>",
                    false => "   ",
                };
                format!("{number:4} | {mark} {line}\n")
            })
            .collect();
        Some(format!("{file}:{}\n{rule}\n{shown}{rule}\n", lines.first))
    }
}

fn stop(message: impl Into<String>) -> Stop {
    Stop {
        code: exit::USAGE,
        message: message.into(),
    }
}

fn refuse_address(context: &Path) -> Result<(), Stop> {
    let text = context.to_string_lossy();
    let is_address = [
        "http://",
        "https://",
        "git://",
        "git@",
        "github.com/",
        "ssh://",
    ]
    .iter()
    .any(|prefix| text.starts_with(prefix));
    if is_address && !context.exists() {
        return Err(stop(format!(
            "build context `{text}`: contexts are directories of this host; fetch it first, with `git clone` for example"
        )));
    }
    Ok(())
}

fn stdin() -> anyhow::Result<String> {
    text("Dockerfile of stdin", std::io::stdin().lock())
}

/// A file that the user names: it is where the name leads.
fn named(path: &Path) -> anyhow::Result<String> {
    let name = path.display();
    let file =
        File::open(path).map_err(|error| stop(format!("failed to open `{name}`: {error}")))?;
    text(&format!("`{name}`"), file)
}

/// A file of the context, which may be anybody's: no link leads out of it, and nothing but a regular file is opened.
fn within(root: &cowlab_sys::Root, path: &Path) -> anyhow::Result<Option<String>> {
    let name = root.path().join(path);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let file = match root.open_inside(path, flags, 0) {
        Ok(file) => File::from(file),
        Err(error) if error.errno() == Some(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(stop(format!("`{}` is no regular file", name.display())).into());
    }
    text(&format!("`{}`", name.display()), file).map(Some)
}

fn text(name: &str, from: impl Read) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    from.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len())? > SIZE_MAX {
        return Err(stop(format!("{name} has more than 16 MiB and is no text")).into());
    }
    String::from_utf8(bytes)
        .map_err(|_source| stop(format!("{name} is no text: it is not UTF-8")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(files: &[(&str, &str)], file: Option<&str>) -> anyhow::Result<Input> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let file = file.map(|file| dir.path().join(file));
        Input::read(dir.path(), file.as_deref())
    }

    #[test]
    fn the_nearest_dockerignore_counts() {
        let files = [
            ("Dockerfile", "FROM a"),
            ("other", "FROM b"),
            (".dockerignore", "x"),
            ("other.dockerignore", "y"),
        ];
        let read = input(&files, None).unwrap();
        assert_eq!(
            (read.text.as_str(), read.ignore.unwrap().1.as_str()),
            ("FROM a", "x")
        );
        let read = input(&files, Some("other")).unwrap();
        assert_eq!(
            (read.text.as_str(), read.ignore.unwrap().1.as_str()),
            ("FROM b", "y")
        );
        assert!(input(&files[..1], None).unwrap().ignore.is_none());
        assert!(input(&[], None).is_err() && input(&[], Some("other")).is_err());
    }

    #[test]
    fn a_context_is_not_left() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("Dockerfile")).unwrap();
        assert!(Input::read(dir.path(), None).is_err());
        std::fs::remove_file(dir.path().join("Dockerfile")).unwrap();
        std::fs::create_dir(dir.path().join("Dockerfile")).unwrap();
        assert!(Input::read(dir.path(), None).is_err());
        assert!(Input::read(Path::new("https://example.org/x.git"), None).is_err());
    }

    #[test]
    fn excerpts_mark_the_lines() {
        let read = input(
            &[("Dockerfile", "FROM a\n\nRUN x \\\n y\nRUN z\n\nRUN w\n")],
            None,
        )
        .unwrap();
        let lines = Lines { first: 3, last: 4 };
        let expected = "Dockerfile:3\n--------------------\n   1 |     FROM a\n   2 |     \n   3 | >>> RUN x \\\n   4 | >>>  y\n   \
                        5 |     RUN z\n   6 |     \n--------------------\n";
        assert_eq!(read.excerpt("Dockerfile", lines).unwrap(), expected);
        assert_eq!(read.excerpt("image", lines), None);
        assert!(
            read.excerpt(
                "Dockerfile",
                Lines {
                    first: 99,
                    last: 99
                }
            )
            .is_some()
        );
    }
}
