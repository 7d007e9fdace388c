//! What cases about builds have in common: a directory to build from, and what a build told.

use std::fs;
use std::path::PathBuf;

use crate::context::{Context, Result, expect};
use crate::difference::Difference;
use crate::product::{Product, Ran};

/// A directory that an image is built from.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The directory.
    pub(crate) dir: PathBuf,
}

impl Sources {
    /// Makes a directory of this name with these files; a name that ends with `/` is that of an empty directory.
    pub(crate) fn new(context: &Context, name: &str, files: &[(&str, &str)]) -> Result<Self> {
        let sources = Self {
            dir: context.dir().join(name),
        };
        fs::create_dir(&sources.dir)?;
        for (name, text) in files {
            sources.write(name, text)?;
        }
        Ok(sources)
    }

    /// Where a file of it is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a file, or makes a directory where the name ends with `/`.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path(name);
        if name.ends_with('/') {
            return Ok(fs::create_dir_all(path)?);
        }
        fs::create_dir_all(path.parent().unwrap_or(&self.dir))?;
        Ok(fs::write(path, text)?)
    }

    /// Builds the image `made` of it, with further arguments.
    pub(crate) fn build(&self, product: &Product, words: &[&str]) -> Result<Build> {
        let dir = self.dir.display().to_string();
        let fixed = ["build", "--progress", "plain", "-t", "made"];
        let ran = product.run(&[&fixed, words, &[dir.as_str()]].concat())?;
        Ok(Build { ran })
    }

    /// Builds the image `made` of a Dockerfile, which begins with `FROM base` if it has no `FROM`.
    pub(crate) fn made(&self, product: &Product, text: &str) -> Result<Build> {
        let text = match text.contains("FROM ") {
            true => text.to_owned(),
            false => format!("FROM base\n{text}"),
        };
        self.write("Dockerfile", text)?;
        self.build(product, &[])
    }
}

/// A build that has ended.
#[derive(Debug)]
pub(crate) struct Build {
    /// The command.
    pub(crate) ran: Ran,
}

impl Build {
    /// The image's id, of a build that went well.
    pub(crate) fn id(self) -> Result<String> {
        self.ran.ok()
    }

    /// A build that must have gone well, and in which the steps with these texts came from the cache, or did not.
    pub(crate) fn steps(self, expected: &[(&str, bool)]) -> Result<String> {
        for (text, is_cached) in expected {
            expect(
                format!("step `{text}`"),
                "cached",
                is_cached.to_string(),
                self.is_cached(text)?,
            )?;
        }
        self.id()
    }

    /// Whether the step with this text came from the cache: `#5 [2/3] RUN x` and `#5 CACHED`.
    pub(crate) fn is_cached(&self, text: &str) -> Result<String> {
        let missing = || Difference::new(&self.ran.command, "a step", text, &self.ran.err);
        let lines = || self.ran.err.lines();
        let label = lines().find(|line| line.starts_with('#') && line.ends_with(text));
        let number = label
            .and_then(|line| line.split(' ').next())
            .ok_or_else(missing)?;
        let cached = format!("{number} CACHED");
        Ok(lines().any(|line| line == cached).to_string())
    }

    /// A build that must have failed with this status and these words.
    pub(crate) fn refused(self, code: i32, words: &str) -> Result<()> {
        self.ran.refused(code, words)
    }
}

/// What a program in a container of `made` prints.
pub(crate) fn printed(product: &Product, words: &[&str]) -> Result<String> {
    product.ok(&[&["run", "--rm", "made"], words].concat())
}

/// What a program in a container of `made` must print.
pub(crate) fn prints(product: &Product, words: &[&str], expected: &str) -> Result<()> {
    let got = printed(product, words)?;
    expect(words.join(" "), "output", expected, &got)
}

/// The root must be whole, and have neither a container nor a snapshot that a build works in.
pub(crate) fn nothing_is_left(product: &Product) -> Result<()> {
    product.says(&["ps", "-aq"], "")?;
    let active = product.ok(&["snapshot", "ls", "--filter", "kind==active"])?;
    expect("snapshots", "of a build", false, active.contains("build/"))?;
    product.ok(&["system", "check"]).map(drop)
}
