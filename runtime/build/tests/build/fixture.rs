//! A root with a base image, a context, and what a build told.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cowlab_build::{BuildOptions, Built, Error, Event, Progress, build};
use cowlab_dockerfile::{Dockerfile, Ignore};
use cowlab_layer::Digest;
use cowlab_runtime::container::{Containers, monitor as monitors};
use cowlab_runtime::image::Image;
use cowlab_runtime::{Root, RootOptions};
use tempfile::TempDir;

/// A program without libraries, which Debian's `busybox-static` has.
pub(crate) const BUSYBOX: &str = "/usr/bin/busybox";

/// Is a monitor: `--root DIR [--flags] ID`.
pub(crate) fn monitor(words: &[OsString]) {
    let root = Root::open(&RootOptions {
        dir: Some(PathBuf::from(&words[1])),
        ..RootOptions::default()
    })
    .unwrap();
    let containers = Containers::open(&root).unwrap();
    let line = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let id = words.last().unwrap().to_str().unwrap();
    monitors::run(&containers, id, line, false, false).unwrap();
}

/// A root with the image `base`, whose only program is busybox.
pub(crate) struct Fixture {
    pub(crate) root: Root,
    pub(crate) dir: TempDir,
}

/// What a build told: `CACHED`, `DONE` or `FAILED` of each step by its text, and what programs wrote.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) steps: Mutex<BTreeMap<String, &'static str>>,
    pub(crate) output: Mutex<String>,
    pub(crate) warnings: Mutex<Vec<String>>,
}

impl Progress for Told {
    fn event(&self, event: Event<'_>) {
        let (step, what) = match event {
            Event::Cached(step) => (step, "CACHED"),
            Event::Done { step, .. } => (step, "DONE"),
            Event::Failed { step, .. } => (step, "FAILED"),
            Event::Output { bytes, .. } => {
                let text = String::from_utf8_lossy(bytes);
                self.output.lock().unwrap().push_str(&text);
                return;
            }
            Event::Warning(text) => {
                self.warnings.lock().unwrap().push(text.to_owned());
                return;
            }
            Event::Started(_) | Event::Waiting(_) => return,
        };
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.insert(step.text.clone(), what);
    }
}

impl Told {
    /// What became of the steps whose text begins so.
    pub(crate) fn of(&self, begin: &str) -> Vec<&'static str> {
        let steps = self.steps.lock().unwrap();
        let found = steps.iter().filter(|(text, _)| text.starts_with(begin));
        found.map(|(_, what)| *what).collect()
    }

    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }
}

impl Fixture {
    pub(crate) fn new(driver: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("cowlab-build-")
            .tempdir()
            .unwrap();
        let root = Root::open(&RootOptions {
            dir: Some(dir.path().join("root")),
            driver: Some(driver.to_owned()),
            ..RootOptions::default()
        })
        .unwrap();
        std::fs::create_dir(dir.path().join("context")).unwrap();
        let fixture = Self { root, dir };
        fixture.make_base();
        fixture
    }

    fn make_base(&self) {
        let place = self.path("base");
        for dir in ["bin", "etc", "tmp"] {
            std::fs::create_dir_all(place.join(dir)).unwrap();
        }
        std::fs::copy(BUSYBOX, place.join("bin/busybox")).unwrap();
        for name in [
            "sh", "echo", "cat", "ls", "mkdir", "rm", "touch", "sleep", "stat", "id", "mv", "test",
            "cp", "ln", "wc",
        ] {
            std::os::unix::fs::symlink("busybox", place.join("bin").join(name)).unwrap();
        }
        std::fs::write(
            place.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(place.join("etc/group"), "root:x:0:\nweb:x:34:\n").unwrap();
        let tar = self.path("base.tar");
        if tar.exists() {
            return self.import_base();
        }
        cowlab_sys::Cmd::new("tar")
            .arg("-C")
            .arg(&place)
            .arg("-cf")
            .arg(&tar)
            .arg(".")
            .run()
            .unwrap();
        self.import_base();
    }

    fn import_base(&self) {
        let mut file = std::fs::File::open(self.path("base.tar")).unwrap();
        let name = "base".parse().unwrap();
        self.root
            .import(&mut file, "base", Some(&name), "")
            .unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the context.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path("context").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn options(&self, dockerfile: &str) -> BuildOptions {
        let ignore =
            std::fs::read_to_string(self.path("context/.dockerignore")).unwrap_or_default();
        BuildOptions {
            context: Some(self.path("context")),
            ignore: Ignore::parse(".dockerignore", &ignore).unwrap(),
            monitor: vec!["monitor".into(), "--root".into(), self.root.dir().into()],
            ..BuildOptions::new(Dockerfile::parse("Dockerfile", dockerfile).unwrap())
        }
    }

    pub(crate) fn try_build(&self, options: &BuildOptions) -> (Result<Built, Error>, Told) {
        let told = Told::default();
        let built = build(&self.root, options, &told);
        (built, told)
    }

    /// Builds, and returns the image.
    pub(crate) fn build(&self, dockerfile: &str) -> (Image, Told) {
        self.build_with(&self.options(dockerfile))
    }

    pub(crate) fn build_with(&self, options: &BuildOptions) -> (Image, Told) {
        let (built, told) = self.try_build(options);
        let id: Digest = built
            .unwrap_or_else(|error| panic!("{error}\n{}", told.output()))
            .id;
        (self.root.image(&id.to_string()).unwrap(), told)
    }

    /// Builds what must fail, and returns the error's text.
    pub(crate) fn fail(&self, dockerfile: &str) -> String {
        let (built, _) = self.try_build(&self.options(dockerfile));
        built.unwrap_err().to_string()
    }

    /// Gives `work` the tree of an image.
    pub(crate) fn tree<T>(&self, image: &Image, work: impl FnOnce(&Path) -> T) -> T {
        let snapshot = image.snapshot().unwrap();
        self.root.store().with_content(snapshot, work).unwrap()
    }

    pub(crate) fn read(&self, image: &Image, path: &str) -> String {
        self.tree(image, |root| {
            let path = root.join(path.trim_start_matches('/'));
            std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        })
    }

    /// Asserts that layers are what their blobs say, and that nothing of a build is left.
    pub(crate) fn assert_sound(&self) {
        let health = self.root.check(false).unwrap();
        assert!(health.is_sound(), "{health:?}");
        let left = self.root.store().list(&cowlab_snapshots::Filter {
            prefix: Some("build/".to_owned()),
            ..cowlab_snapshots::Filter::default()
        });
        assert!(left.unwrap().is_empty());
        let containers = Containers::open(&self.root).unwrap();
        assert!(containers.list().unwrap().is_empty());
    }
}

/// Builds in a process that can be killed: root, context, Dockerfile.
pub(crate) fn build_in_child(words: &[OsString]) {
    let root = Root::open(&RootOptions {
        dir: Some(PathBuf::from(&words[0])),
        ..RootOptions::default()
    })
    .unwrap();
    let text = words[1].to_str().unwrap();
    let options = BuildOptions {
        monitor: vec!["monitor".into(), "--root".into(), root.dir().into()],
        ..BuildOptions::new(Dockerfile::parse("Dockerfile", text).unwrap())
    };
    build(&root, &options, &Told::default()).unwrap();
}

/// Asserts that every driver gives the same for a test.
pub(crate) fn same_on_every_driver(test: &'static str, given: &str) {
    static GIVEN: Mutex<BTreeMap<&str, String>> = Mutex::new(BTreeMap::new());
    let mut all = GIVEN.lock().unwrap();
    let first = all.entry(test).or_insert_with(|| given.to_owned());
    assert_eq!(first, given);
}

impl Fixture {
    /// Another root with the same base, whose context is this one's.
    pub(crate) fn elsewhere(&self) -> Self {
        let other = Self::new(&self.root.store().identity().driver);
        for name in ["base.tar", "context"] {
            let to = other.path(name);
            std::fs::rename(&to, other.path("unused")).unwrap();
            match name {
                "context" => std::os::unix::fs::symlink(self.path(name), to).unwrap(),
                _ => drop(std::fs::copy(self.path(name), to).unwrap()),
            }
            cowlab_sys::dir::remove_tree(other.path("unused")).unwrap();
        }
        other.import_base();
        other
    }

    /// Starts a build in another process.
    #[expect(
        clippy::disallowed_methods,
        reason = "the child is killed, which `Cmd` has no way to do"
    )]
    pub(crate) fn in_child(&self, dockerfile: &str) -> std::process::Child {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command
            .arg("build")
            .arg(self.root.dir())
            .arg(dockerfile)
            .spawn()
            .unwrap()
    }

    /// Where the driver keeps what a layer has of its own.
    pub(crate) fn own_part(&self, image: &Image, layer: usize) -> PathBuf {
        let store = self.root.store();
        let id = store
            .stat(&image.layers[layer].cache_id)
            .unwrap()
            .id
            .to_string();
        let own = store.driver().root().join(id);
        let parts = ["diff", "fs"].map(|name| own.join(name));
        parts.into_iter().find(|part| part.is_dir()).unwrap()
    }

    /// How many containers there are.
    pub(crate) fn containers(&self) -> usize {
        Containers::open(&self.root).unwrap().list().unwrap().len()
    }
}
