//! Where the arms work: one throw-away file system with the images that all of them are given.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use cowlab_driver::Missing;
use cowlab_runtime::layout::Layout;
use cowlab_runtime::sample::{self, Thin};
use cowlab_snapshots::{Store, StoreOptions};
use cowlab_sys::cmd::Running;
use cowlab_sys::{Cmd, Guard, IdSource, MountSpec, mount, mountinfo};
use cowlab_testbed::{Backing, BackingFs, BackingOptions, Run};

use crate::Terminal;

/// Room, and inodes above all, for every tool's copy of both images; only what is written is taken.
const BYTES: u64 = 8 << 30;

/// The driver that cowlab works with: the one that the peers have too.
const DRIVER: &str = "overlay2";

/// The environment variable that names the program to measure.
const PROGRAM: &str = "COWLAB_PROGRAM";

/// The sample image: a Debian root file system and ten thin layers.
pub(super) const SAMPLE: &str = "sample";
/// The sample image with a history, without which buildah does not build on it.
pub(super) const BASE: &str = "base";
/// The sample image with a layer of 100,000 small files.
pub(super) const MANY: &str = "many";

/// Makes 100,000 files in 1,000 directories.
const MAKE_MANY: &str = "set -e; mkdir /many; cd /many; d=0; while [ $d -lt 1000 ]; do mkdir $d; f=0; \
     while [ $f -lt 100 ]; do echo $d/$f > $d/$f; f=$((f+1)); done; d=$((d+1)); done";

/// Makes ten changes among them: writes, removals, new files.
pub(super) const CHANGE: &str = "set -e; cd /many; for d in 1 100 300 500; do echo changed >> $d/7; done; \
     rm 2/8 600/9 999/99; echo new > 3/new; echo new > 700/new; mkdir added";

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The file system and what is on it.
#[derive(Debug)]
pub(super) struct Place {
    // Before the file system that they work on.
    containerd: RefCell<Option<Running>>,
    dockerd: RefCell<Option<Running>>,
    fs: BackingFs,
    run: Run,
    program: PathBuf,
}

impl Place {
    /// Makes the file system and the images.
    pub(super) fn make(terminal: &Terminal) -> anyhow::Result<Self> {
        let program = program()?;
        terminal.line(&format!("measuring `{}`", program.display()));
        // What a peer leaves mounted ends with this process.
        let run = Run::start_with_private_mounts(None, IdSource::Kernel)?;
        hide_run()?;
        let options = BackingOptions {
            bytes: BYTES,
            ..BackingOptions::default()
        };
        let place = Self {
            containerd: RefCell::default(),
            dockerd: RefCell::default(),
            fs: run.backing(Backing::Ext4, &options)?,
            run,
            program,
        };
        place.make_images(terminal)?;
        Ok(place)
    }

    fn make_images(&self, terminal: &Terminal) -> anyhow::Result<()> {
        let workshop = self.fresh("workshop")?;
        let entry = cowlab_drivers::find(DRIVER).context("the registry has no overlay2")?;
        let store = Store::open(&workshop.join("store"), entry, &StoreOptions::default())?;
        let layout = workshop.join("layout");
        let made = sample::make(&store, &layout, Thin::Gzip, &mut |line| {
            terminal.line(line);
        })?;
        drop(store);
        terminal.line(&format!("the sample image is {:?}", made.origin));
        let cowlab = || self.cowlab("workshop/root");
        let save = |name: &str| -> anyhow::Result<()> {
            let (dir, archive) = (self.layout(name), self.archive(name));
            let save = |format, path: &Path| {
                let command = cowlab().args(["save", "--format", format, "--output"]);
                command.arg(path).arg(reference(name)).run()
            };
            save("oci-dir", &dir)?;
            Ok(save("docker-archive", &archive)?)
        };
        fs::create_dir(self.dir("images"))?;
        cowlab().args(["load", "--input"]).arg(&layout).run()?;
        // Its name in the layout is a tag without a repository: it is known by its id alone.
        let id = cowlab().args(["images", "--quiet"]).read()?;
        cowlab().args(["tag", &id, &reference(SAMPLE)]).run()?;
        save(SAMPLE)?;
        let context = self.fresh("workshop/context")?;
        let file = format!("FROM {}\nLABEL made=here\n", reference(SAMPLE));
        std::fs::write(context.join("Dockerfile"), file)?;
        let build = cowlab().args(["build", "--quiet", "--tag", &reference(BASE)]);
        build.arg(&context).run()?;
        save(BASE)?;
        terminal.line("making 100,000 files");
        let run = ["run", "--name", MANY, SAMPLE, "sh", "-c", MAKE_MANY];
        cowlab().args(run).run()?;
        cowlab().args(["commit", MANY, &reference(MANY)]).run()?;
        save(MANY)?;
        self.clear(&workshop)
    }

    /// A directory on the file system.
    pub(super) fn dir(&self, name: &str) -> PathBuf {
        self.fs.mount_point().join(name)
    }

    /// A new directory on the file system.
    pub(super) fn fresh(&self, name: &str) -> anyhow::Result<PathBuf> {
        let dir = self.dir(name);
        fs::create_dir_all(&dir).with_context(|| format!("failed to make `{}`", dir.display()))?;
        Ok(dir)
    }

    /// Removes a directory with all that is in it or mounted there.
    #[expect(clippy::unused_self, reason = "only what is in the place is removed")]
    pub(super) fn clear(&self, dir: &Path) -> anyhow::Result<()> {
        unmount_below(dir)?;
        match dir.exists() {
            true => Ok(cowlab_sys::dir::remove_tree(dir)?),
            false => Ok(()),
        }
    }

    /// An image as an OCI layout.
    pub(super) fn layout(&self, image: &str) -> PathBuf {
        self.dir("images").join(image)
    }

    /// An image as an archive of its layout, with what docker asks for beside it.
    pub(super) fn archive(&self, image: &str) -> PathBuf {
        self.dir("images").join(format!("{image}.tar"))
    }

    /// The compressed layers of an image, base first.
    pub(super) fn layers(&self, image: &str) -> anyhow::Result<Vec<PathBuf>> {
        let layout = Layout::open(&self.layout(image))?;
        let blobs = layout.dir().join("blobs/sha256");
        let layers = layout.image(None)?.layers;
        let path = |digest: String| blobs.join(digest.trim_start_matches("sha256:"));
        let paths = layers
            .iter()
            .map(|layer| path(layer.blob.digest().to_string()));
        Ok(paths.collect())
    }

    /// cowlab on a root of its own.
    pub(super) fn cowlab(&self, root: &str) -> Cmd {
        Cmd::new(&self.program)
            .env("COWLAB_ROOT", self.dir(root))
            .env("COWLAB_DRIVER", DRIVER)
    }

    /// podman on storage of its own, with the driver and the runtime that the others have.
    pub(super) fn podman(&self, root: &str) -> Cmd {
        // It refuses a longer path than 50 bytes for this one.
        let run = Path::new("/run").join(root);
        // What it downloads to would stay in `/var/tmp` when it is killed.
        let mut command = Cmd::new("podman")
            .env("TMPDIR", self.fs.mount_point())
            .arg("--root")
            .arg(self.dir(root).join("storage"))
            .arg("--runroot")
            .arg(run)
            .args(["--storage-driver=overlay", "--cgroup-manager=cgroupfs"]);
        if Cmd::find("runc").is_some() {
            command = command.arg("--runtime=runc");
        }
        command
    }

    /// buildah on storage of its own, as podman's.
    pub(super) fn buildah(&self, root: &str) -> Cmd {
        Cmd::new("buildah")
            .env("TMPDIR", self.fs.mount_point())
            .arg("--root")
            .arg(self.dir(root).join("storage"))
            .arg("--runroot")
            .arg(Path::new("/run").join(root))
            .arg("--storage-driver=overlay")
    }

    /// The client of a containerd of this run, started when it is asked for first.
    pub(super) fn ctr(&self) -> anyhow::Result<Cmd> {
        let dir = self.fresh("containerd")?;
        let socket = dir.join("socket");
        let ctr = || Cmd::new("ctr").arg("--address").arg(&socket);
        if self.containerd.borrow().is_none() {
            let config = dir.join("config.toml");
            let text = format!(
                "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
                 [grpc]\naddress = {socket:?}\n",
                dir.join("root"),
                dir.join("state"),
            );
            fs::write(&config, text)?;
            let command = Cmd::new("containerd").arg("--config").arg(&config);
            let answers = ctr().arg("version");
            *self.containerd.borrow_mut() = Some(start(&command, &dir, &answers)?);
        }
        Ok(ctr())
    }

    /// The client of a dockerd of this run, started when it is asked for first. It has no network, as nothing here has.
    pub(super) fn docker(&self) -> anyhow::Result<Cmd> {
        let dir = self.fresh("docker")?;
        let host = format!("unix://{}", dir.join("socket").display());
        let docker = || Cmd::new("docker").args(["--host", &host]);
        if self.dockerd.borrow().is_none() {
            let command = Cmd::new("dockerd")
                .args(["--host", &host, "--storage-driver", DRIVER])
                .args(["--iptables=false", "--bridge=none", "--data-root"])
                .arg(dir.join("root"))
                .arg("--exec-root")
                .arg(dir.join("exec"))
                .arg("--pidfile")
                .arg(dir.join("pid"));
            *self.dockerd.borrow_mut() = Some(start(&command, &dir, &docker().arg("version"))?);
        }
        Ok(docker())
    }

    /// Ends the daemons and removes everything.
    pub(super) fn close(self) -> anyhow::Result<()> {
        for daemon in [&self.containerd, &self.dockerd] {
            if let Some(mut running) = daemon.take() {
                running.kill()?;
            }
        }
        unmount_below(&self.dir(""))?;
        let mut fs = self.fs;
        Guard::close(&mut fs)?;
        Ok(self.run.close()?)
    }
}

/// The name by which cowlab, containerd and podman know an image.
pub(super) fn reference(image: &str) -> String {
    format!("docker.io/library/{image}:latest")
}

/// Starts a daemon whose log goes to `dir`, and waits until a client gets an answer.
fn start(daemon: &Cmd, dir: &Path, answers: &Cmd) -> anyhow::Result<Running> {
    let running = daemon.attach(File::create(dir.join("log"))?)?;
    let start = Instant::now();
    while let Err(error) = answers.run() {
        if start.elapsed() > PATIENCE {
            return Err(error).with_context(|| format!("no answer from `{daemon}`"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(running)
}

fn unmount_below(dir: &Path) -> anyhow::Result<()> {
    let table = mountinfo::read_self()?;
    // The innermost last; the place itself is not taken down here.
    let below = mountinfo::at_or_below(&table, dir);
    for found in below.iter().rev() {
        if found.mount_point != dir.components().as_path() {
            mount::unmount(&found.mount_point)?;
        }
    }
    Ok(())
}

/// Gives this process a `/run` of its own, in its own mount namespace: the peers keep locks, sockets and records there.
fn hide_run() -> anyhow::Result<()> {
    let spec = MountSpec {
        fstype: "tmpfs".to_owned(),
        source: Some("tmpfs".into()),
        ..MountSpec::default()
    };
    mount::mount(&spec, Path::new("/run"))?.keep();
    Ok(())
}

/// The program to measure: the one that is named, else the one that was built with this benchmark.
fn program() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(PROGRAM) {
        return Ok(named.into());
    }
    let own = std::env::current_exe()?;
    // `target/release/deps/peers-...`
    let beside = own.ancestors().nth(2).map(|dir| dir.join("cowlab"));
    let found = beside.filter(|path| path.exists());
    Ok(found.ok_or_else(|| Missing {
        what: "the program `cowlab`, built as this benchmark is,".to_owned(),
        remedy: format!("run `cargo build --release -p cowlab`, or name one in {PROGRAM}"),
    })?)
}

/// Loads an image into a root.
pub(super) fn cowlab_load(place: &Place, root: &str, image: &str) -> Cmd {
    let load = place.cowlab(root).args(["load", "--input"]);
    load.arg(place.layout(image))
}

/// The name that podman gives to what it pulls from a layout.
pub(super) fn local(image: &str) -> String {
    format!("localhost/{image}")
}
