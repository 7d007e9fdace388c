//! `RUN --mount`: what is mounted into the container of a step.
//!
//! Everything that has to be mounted for it, is mounted in a mount namespace that the container's monitor shares: it ends with
//! both, so that a build that is killed leaves no mount and no secret behind.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use cowlab_dockerfile::{Document, Ignore, Mount, MountKind, Program, Run, Sharing};
use cowlab_layer::Digest;
use cowlab_runtime::build::cache::{self, CacheDir};
use cowlab_runtime::container::mounts::MountRequest;
use cowlab_runtime::graph::LayerRow;
use cowlab_snapshots::Mounted;
use cowlab_sys::mount::{self, MountAttributes, MountGuard, MountSpec};
use cowlab_sys::{Root, at, io};

use crate::cache::Key;
use crate::copy::{Options, Target};
use crate::options::Secret;
use crate::progress::{Event, Step};
use crate::stage::Stage;
use crate::state::State;
use crate::tree::{Changes, Selected, Tree, cleaned};
use crate::{Error, Result};

/// Where scripts of here-documents are.
pub(crate) const SCRIPTS: &str = "/run/cowlab";

/// Where BuildKit puts a secret that names no target.
const SECRETS: &str = "/run/secrets";

/// What is mounted into a container for a step, and what has to be there meanwhile. Mounts end before what they are of.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    pub(crate) mount_requests: Vec<MountRequest>,
    /// Secrets that are variables.
    pub(crate) env: Vec<String>,
    /// Where secrets and scripts are kept in memory.
    memory: Option<MountGuard>,
    /// Views and snapshots that are mounted, with their keys.
    layers: Vec<(Mounted, String)>,
    caches: BTreeMap<usize, CacheDir>,
}

impl Mounts {
    /// Ends the mounts and removes what they were of.
    pub(crate) fn finish(self, stage: &Stage<'_, '_>) -> Result<()> {
        let Self { memory, layers, .. } = self;
        drop(memory);
        for (mounted, key) in layers {
            drop(mounted);
            stage.builder.build.remove(&key)?;
        }
        Ok(())
    }
}

/// What a step mounts of the context: looked at once, for its key.
#[derive(Debug, Default)]
pub(crate) struct OfContext {
    selected: BTreeMap<usize, Vec<Selected>>,
}

impl OfContext {
    pub(crate) fn is_empty(&self) -> bool {
        self.selected.is_empty()
    }

    fn all(&self) -> Vec<Selected> {
        self.selected.values().flatten().cloned().collect()
    }

    /// What stat(2) tells of the files.
    pub(crate) fn stat_digest(&self, tree: &Tree) -> Digest {
        tree.stat_digest(&self.all())
    }

    /// What they hold.
    pub(crate) fn digest(&self, tree: &Tree) -> Result<Digest> {
        tree.digest(&self.all(), &Changes::default())
    }

    pub(crate) fn is_settled(&self) -> bool {
        crate::files::is_settled(&self.all())
    }
}

impl Stage<'_, '_> {
    /// Adds what the mounts of a step say to its key, but for the content of the context, which is returned.
    pub(crate) fn describe_mounts(&self, key: &mut Key, run: &Run) -> Result<OfContext> {
        let mut of_context = OfContext::default();
        if let Program::Script(document) = &run.program {
            key.add("script").add(&document.text);
        }
        for (number, mount) in run.mounts.iter().enumerate() {
            key.add(format!("{mount:?}"));
            match &mount.kind {
                MountKind::Bind { from: None, source } => {
                    let tree = self.builder.context()?;
                    let selected = tree.select(source, &Ignore::default(), false)?;
                    of_context.selected.insert(number, selected);
                }
                MountKind::Bind {
                    from: Some(from), ..
                } => {
                    let (layers, _) = self.layers_of(from)?;
                    key.add(layers.last().map_or("", |layer| &layer.chain_id));
                }
                // What a cache holds, and what a secret is, changes no key.
                MountKind::Cache { .. } | MountKind::Tmpfs { .. } | MountKind::Secret { .. } => {}
            }
        }
        Ok(of_context)
    }

    /// Makes the mounts of a step, in the mount namespace of this thread.
    pub(crate) fn mounts(
        &self,
        state: &State,
        run: &Run,
        of_context: &OfContext,
        step: &Step,
    ) -> Result<Mounts> {
        let mut mounts = Mounts {
            caches: self.caches(run, step)?,
            ..Mounts::default()
        };
        if let Program::Script(document) = &run.program {
            self.add_script(&mut mounts, document)?;
        }
        for (number, mount) in run.mounts.iter().enumerate() {
            let target = PathBuf::from(state.absolute(mount.target.as_deref().unwrap_or_default()));
            match &mount.kind {
                MountKind::Bind { from, source } => {
                    let source = match from {
                        None => self.bind_context(&mut mounts, number, mount, of_context)?,
                        Some(from) => {
                            self.bind_layers(&mut mounts, number, mount, (from, source))?
                        }
                    };
                    mounts
                        .mount_requests
                        .push(bind(source, target, mount.read_only));
                }
                MountKind::Cache { .. } => {
                    let source = self.cache_source(&mounts, number, mount)?;
                    mounts
                        .mount_requests
                        .push(bind(source, target, mount.read_only));
                }
                MountKind::Tmpfs { size } => mounts.mount_requests.push(MountRequest::Tmpfs {
                    target,
                    options: size
                        .map(|size| format!("size={size}"))
                        .into_iter()
                        .collect(),
                }),
                MountKind::Secret { .. } => self.add_secret(&mut mounts, number, mount, state)?,
            }
        }
        Ok(mounts)
    }

    /// Takes the cache directories, in the order of their ids: two steps that lock two each do not wait for one another.
    fn caches(&self, run: &Run, step: &Step) -> Result<BTreeMap<usize, CacheDir>> {
        let mut wanted = Vec::new();
        for (number, mount) in run.mounts.iter().enumerate() {
            if let MountKind::Cache { id, sharing, .. } = &mount.kind {
                wanted.push((id, number, *sharing));
            }
        }
        wanted.sort_by_key(|(id, number, _)| (*id, *number));
        let mut taken = BTreeMap::new();
        for (id, number, sharing) in wanted {
            let sharing = match sharing {
                Sharing::Shared => cache::Sharing::Shared,
                Sharing::Private => cache::Sharing::Private,
                Sharing::Locked => cache::Sharing::Locked,
            };
            let waiting = || self.builder.tell(Event::Waiting(step));
            taken.insert(number, self.builder.root.cache_dir(id, sharing, waiting)?);
        }
        Ok(taken)
    }

    /// The directory of a cache, filled where it is new.
    fn cache_source(&self, mounts: &Mounts, number: usize, mount: &Mount) -> Result<PathBuf> {
        let MountKind::Cache {
            from,
            source,
            mode,
            uid,
            gid,
            ..
        } = &mount.kind
        else {
            return Err(Error::refused("it is no cache"));
        };
        let Some(cache) = mounts.caches.get(&number) else {
            return Err(Error::refused("its cache was not taken"));
        };
        if !cache.is_new {
            return Ok(cache.data.clone());
        }
        if let Some(from) = from {
            let (layers, what) = self.layers_of(from)?;
            let place = Root::open(&cache.data)?;
            let target = Target {
                root: &place,
                options: &Options::default(),
            };
            self.builder.with_layers(&layers, what, |tree| {
                let selected = tree.select(source, &Ignore::default(), false)?;
                target.copy(tree, &selected, "/")
            })?;
        }
        let dir = cowlab_sys::dir::open(&cache.data)?;
        at::chown(&dir, ".", *uid, *gid)?;
        at::chmod(&dir, ".", *mode)?;
        Ok(cache.data.clone())
    }

    /// Files of the context: the directory itself where nobody writes to it and nothing of it is left out, else a copy.
    fn bind_context(
        &self,
        mounts: &mut Mounts,
        number: usize,
        mount: &Mount,
        of_context: &OfContext,
    ) -> Result<PathBuf> {
        let tree = self.builder.context()?;
        let selected = of_context.selected.get(&number);
        let selected = selected.map(Vec::as_slice).unwrap_or_default();
        if let [one] = selected
            && mount.read_only
            && tree.is_whole()
        {
            return Ok(tree.path().join(&one.node.path));
        }
        let place = self.mount_layer(mounts, number, None, mount.read_only)?;
        let root = Root::open(&place)?;
        let target = Target {
            root: &root,
            options: &Options::default(),
        };
        target.copy(tree, selected, "/source")?;
        Ok(place.join("source"))
    }

    /// Files of a stage or an image.
    fn bind_layers(
        &self,
        mounts: &mut Mounts,
        number: usize,
        mount: &Mount,
        (from, source): (&str, &str),
    ) -> Result<PathBuf> {
        let (layers, what) = self.layers_of(from)?;
        let place = self.mount_layer(mounts, number, layers.last(), mount.read_only)?;
        let root = Root::open(&place)?;
        let found = root.resolve_inside(&Path::new("/").join(cleaned(source)))?;
        let (inside, _) = found
            .ok_or_else(|| Error::refused(format!("there is no `{source}` in {what} to mount")))?;
        Ok(place.join(inside.strip_prefix("/").unwrap_or(&inside)))
    }

    /// Mounts a layer in this thread's namespace: a view of it, or a snapshot that takes what is written.
    fn mount_layer(
        &self,
        mounts: &mut Mounts,
        number: usize,
        layer: Option<&LayerRow>,
        read_only: bool,
    ) -> Result<PathBuf> {
        let build = self.builder.build;
        let key = match layer.filter(|_| read_only) {
            Some(layer) => build.view(layer)?,
            None => build.prepare(layer)?,
        };
        let place = build.place(&number.to_string())?;
        let mounted = build.root().store().mount(&key, &place);
        let mounted = mounted.map_err(cowlab_runtime::Error::from)?;
        mounts.layers.push((mounted, key));
        Ok(place)
    }

    fn add_script(&self, mounts: &mut Mounts, document: &Document) -> Result<()> {
        let file = self.write(mounts, "script", document.text.as_bytes(), (0o755, 0, 0))?;
        let target = Path::new(SCRIPTS).join(&document.name);
        mounts.mount_requests.push(bind(file, target, true));
        Ok(())
    }

    fn add_secret(
        &self,
        mounts: &mut Mounts,
        number: usize,
        mount: &Mount,
        state: &State,
    ) -> Result<()> {
        let MountKind::Secret {
            id,
            env,
            required,
            mode,
            uid,
            gid,
        } = &mount.kind
        else {
            return Ok(());
        };
        let Some(secret) = self.builder.options.secrets.get(id) else {
            return match required {
                true => Err(Error::refused(format!(
                    "there is no secret `{id}`, and it is required: give it with `--secret id={id},src=FILE`"
                ))),
                false => Ok(()),
            };
        };
        let value = secret.read(id)?;
        if let Some(name) = env {
            let text = String::from_utf8(value.clone());
            let text = text.map_err(|_not_text| {
                Error::refused(format!(
                    "secret `{id}` is no text, and a variable is: mount it as a file"
                ))
            })?;
            mounts.env.push(format!("{name}={text}"));
            if mount.target.is_none() {
                return Ok(());
            }
        }
        let file = self.write(
            mounts,
            &format!("secret-{number}"),
            &value,
            (*mode, *uid, *gid),
        )?;
        let target = match &mount.target {
            Some(target) => PathBuf::from(state.absolute(target)),
            None => Path::new(SECRETS).join(id),
        };
        mounts.mount_requests.push(bind(file, target, true));
        Ok(())
    }

    /// Writes a file that is on no disk.
    fn write(
        &self,
        mounts: &mut Mounts,
        name: &str,
        content: &[u8],
        (mode, uid, gid): (u32, u32, u32),
    ) -> Result<PathBuf> {
        let place = self.builder.build.place("memory")?;
        if mounts.memory.is_none() {
            let memory = MountSpec {
                fstype: "tmpfs".into(),
                source: Some("tmpfs".into()),
                attributes: MountAttributes {
                    nosuid: true,
                    nodev: true,
                    ..MountAttributes::default()
                },
                ..MountSpec::default()
            };
            mounts.memory = Some(mount::mount(&memory, &place)?);
        }
        let path = place.join(name);
        let mut file = io("create", &path, File::create_new(&path))?;
        io("write", &path, file.write_all(content))?;
        let dir = cowlab_sys::dir::open(&place)?;
        at::chown(&dir, name, uid, gid)?;
        at::chmod_descriptor(&file, mode)?;
        Ok(path)
    }
}

impl Secret {
    fn read(&self, id: &str) -> Result<Vec<u8>> {
        match self {
            Self::File(path) => std::fs::read(path).map_err(|error| {
                Error::refused(format!(
                    "read `{}` for secret `{id}`: {error}",
                    path.display()
                ))
            }),
            Self::Variable(name) => match std::env::var_os(name) {
                Some(value) => Ok(value.into_encoded_bytes()),
                None => Err(Error::refused(format!(
                    "secret `{id}` is the variable `{name}`, which is not set"
                ))),
            },
        }
    }
}

fn bind(source: PathBuf, target: PathBuf, read_only: bool) -> MountRequest {
    MountRequest::Bind {
        source,
        target,
        read_only,
        create: false,
    }
}
