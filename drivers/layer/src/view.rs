//! The tree that a layer is unpacked into, entered one directory at a time.
//!
//! A view shows either one directory with the parent's content in it, or the directory of the layer
//! alone over the parent's read-only root, as overlayfs would show both. It is entered name by name
//! with openat2(2), never through a symbolic link: a link on the way is read and its target entered
//! in turn, with the layer's root as `/`, as a container would see it. So whatever the archive
//! holds, and whoever changes the tree meanwhile, nothing outside is reached.
//!
//! The view keeps the way to the current directory open. A directory gets its times when it is
//! left: those of its entry, or those it had, so that unpacking changes no time but what the layer
//! says. It is entered again as often as the archive comes back to it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::collections::hash_map::{DefaultHasher, RandomState};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use cowlab_sys::{Errno, FileKind, Stat, Time, at, stat, xattr};

use crate::error::{EntryName, LayerError, Result};
use crate::metadata::{Existing, Metadata, passes_acl_on};

/// Where a layer is unpacked.
#[derive(Debug)]
pub struct Target {
    upper: File,
    form: Form,
    /// Whether directories are gone into that something is mounted on.
    across_mounts: bool,
}

#[derive(Debug)]
enum Form {
    /// There is no parent.
    Base,
    /// The directory shows the parent's content.
    Union,
    /// The directory is the layer alone, in overlayfs's own format, over the parent's root.
    Upper {
        parent: File,
        /// The xattr that marks an opaque directory.
        opaque: &'static str,
    },
}

impl Target {
    /// A writable directory that shows the parent's content: a whiteout becomes a deletion.
    pub fn union(root: &Path) -> Result<Self> {
        Ok(Self {
            upper: open_root(root)?,
            form: Form::Union,
            across_mounts: false,
        })
    }

    /// Has entries go onto what is mounted in the directory, for a tree that is no snapshot's.
    #[must_use]
    pub const fn across_mounts(mut self) -> Self {
        self.across_mounts = true;
        self
    }

    /// The directory of the layer alone, empty so far, and the root of the parent, mounted
    /// read-only: a whiteout becomes a character device 0:0, an opaque directory gets the xattr `opaque`.
    ///
    /// # Errors
    ///
    /// When one of them cannot be opened.
    pub fn upper(dir: &Path, parent: Option<&Path>, opaque: &'static str) -> Result<Self> {
        let Some(parent) = parent else {
            return Self::base(dir);
        };
        let form = Form::Upper {
            parent: open_root(parent)?,
            opaque,
        };
        Ok(Self {
            upper: open_root(dir)?,
            form,
            across_mounts: false,
        })
    }

    /// An empty directory for a layer without a parent, whose whiteouts concern nothing.
    pub fn base(dir: &Path) -> Result<Self> {
        Ok(Self {
            upper: open_root(dir)?,
            form: Form::Base,
            across_mounts: false,
        })
    }
}

fn open_root(dir: &Path) -> Result<File> {
    let root = cowlab_sys::io("open", dir, File::open(dir))?;
    match stat::fstat(&root)?.kind() {
        FileKind::Directory => Ok(root),
        _ => Ok(cowlab_sys::sys("open", dir, Err(Errno::NOTDIR))?),
    }
}

/// What happens to an entry whose name the archive had before. A directory may repeat and gets the last attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Duplicates {
    /// The entry replaces what the layer had under the name, a directory with everything in it, and a warning names the
    /// first one: as docker (`pkg/archive`, `UnpackLayer`), containerd (`pkg/archive`, `applyNaive`) and podman have it.
    #[default]
    LastWins,
    /// The layer is refused (image specification, layer.md: layers "MUST NOT include duplicate entries").
    Refused,
}

/// Directories kept open, two descriptors each: well below the usual limit of 1,024.
const OPEN_LEVELS: usize = 200;
/// As many symbolic links as the kernel follows in one path (path_resolution(7)).
const LINKS: usize = 40;

/// What a view shows under a name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found {
    Nothing,
    /// In the directory that is written.
    Here(Stat),
    /// In the parent alone.
    Below(Stat),
}

/// A directory on the way to the current one.
#[derive(Debug)]
pub(crate) struct Level {
    pub(crate) name: OsString,
    path: DefaultHasher,
    state: State,
    /// Whether the directory that is written has it, and not only the parent.
    is_written: bool,
    /// The times to set when the directory is left.
    pub(crate) atime: Time,
    pub(crate) mtime: Time,
    pub(crate) is_touched: bool,
    pub(crate) passes_acl_on: bool,
}

#[derive(Debug)]
enum State {
    Open(Dirs),
    /// Left for lack of descriptors, to be entered again by its name.
    Closed,
}

/// The tree, and the way to the current directory.
#[derive(Debug)]
pub(crate) struct View {
    levels: Vec<Level>,
    is_union: bool,
    owner: (u32, u32),
    /// The numbers of the names that this layer made, which its whiteouts do not concern.
    pub(crate) made: HashSet<u64>,
    duplicates: Duplicates,
    /// How many entries had a name that an entry before them had, and the first such name.
    pub(crate) repeated: u64,
    pub(crate) first_repeated: Option<EntryName>,
}

/// What a step into a name met.
enum Step {
    Entered,
    Link(Vec<u8>),
    Missing,
}

impl View {
    pub(crate) fn open(target: Target, duplicates: Duplicates) -> Result<Self> {
        let stat = stat::fstat(&target.upper)?;
        let (is_union, is_base, lower, opaque) = match target.form {
            Form::Base => (true, true, None, ""),
            Form::Union => (true, false, None, ""),
            Form::Upper { parent, opaque } => (false, false, Some(parent), opaque),
        };
        // The process's own ids stand for root's where an ordinary user unpacks.
        let owner = if cowlab_sys::process::is_root() {
            (0, 0)
        } else {
            (stat.uid, stat.gid)
        };
        let root = Level {
            name: OsString::new(),
            path: RandomState::new().build_hasher(),
            atime: stat.atime,
            mtime: stat.mtime,
            is_touched: false,
            is_written: true,
            passes_acl_on: passes_acl_on(&target.upper)?,
            state: State::Open(Dirs {
                upper: Some(target.upper),
                lower,
                opaque,
                across_mounts: target.across_mounts,
            }),
        };
        let mut view = Self {
            levels: vec![root],
            is_union,
            owner,
            made: HashSet::new(),
            duplicates,
            repeated: 0,
            first_repeated: None,
        };
        // A layer that does not describe the root leaves it as the parent has it.
        if let Some(lower) = &view.dirs().lower {
            let metadata = Metadata::read(lower, &stat::fstat(lower)?)?;
            view.describe(&metadata)?;
        } else if is_base {
            view.describe(&view.implied())?;
        }
        Ok(view)
    }

    /// Whether whiteouts are deletions.
    pub(crate) const fn is_union(&self) -> bool {
        self.is_union
    }

    /// What a directory that the layer implies gets.
    pub(crate) const fn implied(&self) -> Metadata {
        Metadata::implied(self.owner.0, self.owner.1)
    }

    /// Whether the current directory is the root.
    pub(crate) const fn is_at_root(&self) -> bool {
        self.levels.len() == 1
    }

    pub(crate) fn top(&self) -> &Level {
        self.levels.last().expect("the root is never left")
    }

    pub(crate) fn top_mut(&mut self) -> &mut Level {
        self.levels.last_mut().expect("the root is never left")
    }

    /// The directories behind the current directory, which is never closed.
    pub(crate) fn dirs(&self) -> &Dirs {
        match &self.top().state {
            State::Open(dirs) => dirs,
            State::Closed => unreachable!("the current directory is kept open"),
        }
    }

    pub(crate) fn dirs_mut(&mut self) -> &mut Dirs {
        match &mut self.top_mut().state {
            State::Open(dirs) => dirs,
            State::Closed => unreachable!("the current directory is kept open"),
        }
    }

    /// The current directory where it is written; call [`materialize`](Self::materialize) first.
    pub(crate) fn upper(&self) -> &File {
        self.dirs()
            .upper
            .as_ref()
            .expect("the directory was materialized")
    }

    /// The number of a name in the current directory, by its path without links. It is keyed: no
    /// archive can be made whose names collide.
    pub(crate) fn key(&self, name: &OsStr) -> u64 {
        let mut path = self.top().path.clone();
        add_name(&mut path, name);
        path.finish()
    }

    /// The path so far, to number names of directories below the current one.
    pub(crate) fn path(&self, name: &OsStr) -> DefaultHasher {
        let mut path = self.top().path.clone();
        add_name(&mut path, name);
        path
    }

    /// Looks a name up in the current directory.
    pub(crate) fn look_up(&self, name: &OsStr) -> Result<Found> {
        let dirs = self.dirs();
        if let Some(upper) = &dirs.upper
            && let Some(stat) = at::stat_if_present(upper, name)?
        {
            let is_whiteout = !self.is_union && stat.is_whiteout();
            return Ok(if is_whiteout {
                Found::Nothing
            } else {
                Found::Here(stat)
            });
        }
        self.below(name)
    }

    /// Looks a name up in the parent's directory alone.
    pub(crate) fn below(&self, name: &OsStr) -> Result<Found> {
        let stat = match &self.dirs().lower {
            Some(lower) => at::stat_if_present(lower, name)?,
            None => None,
        };
        Ok(stat.map_or(Found::Nothing, Found::Below))
    }

    /// Goes to the directory `parents`, making what is missing with `create`. Without, returns
    /// whether it is there.
    pub(crate) fn go_to(
        &mut self,
        entry: &EntryName,
        parents: &[&[u8]],
        create: bool,
    ) -> Result<bool> {
        let common = self.leave_to_common(parents)?;
        let mut links = 0;
        let mut last_link = EntryName::default();
        let mut ahead: Vec<(Cow<'_, [u8]>, bool)> = parents[common..]
            .iter()
            .rev()
            .map(|name| (Cow::Borrowed(*name), false))
            .collect();
        while let Some((name, is_from_link)) = ahead.pop() {
            match &*name {
                b"" | b"." => continue,
                b".." if self.is_at_root() => {
                    let reason =
                        format!("a symbolic link on its way, {last_link}, climbs too high");
                    return Err(LayerError::escape(entry, reason));
                }
                b".." => {
                    self.leave_to(self.levels.len() - 1)?;
                    continue;
                }
                _ => {}
            }
            match self.step(entry, OsStr::from_bytes(&name), create && !is_from_link)? {
                Step::Entered => {}
                Step::Link(target) => {
                    links += 1;
                    last_link = EntryName::new(&*target);
                    if links > LINKS {
                        let reason = "the symbolic links on its way are a loop, or too many";
                        return Err(LayerError::escape(entry, reason));
                    }
                    if target.starts_with(b"/") {
                        self.leave_to(1)?;
                    }
                    let parts = target.split(|byte| *byte == b'/').rev();
                    ahead.extend(parts.map(|part| (Cow::Owned(part.to_vec()), true)));
                }
                Step::Missing if create => {
                    let reason = format!(
                        "a symbolic link on its way, {last_link}, leads to no directory in it"
                    );
                    return Err(LayerError::escape(entry, reason));
                }
                Step::Missing => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Leaves the directories that are not on the way to `parents`; returns how many are.
    fn leave_to_common(&mut self, parents: &[&[u8]]) -> Result<usize> {
        let names = self.levels.iter().skip(1);
        let names = names.map(|level| level.name.as_bytes());
        let pairs = names.zip(parents);
        let common = pairs.take_while(|(name, parent)| name == *parent).count();
        self.leave_to(common + 1)?;
        Ok(common)
    }

    /// Enters a name of the current directory; with `create`, makes it a directory unless it is one
    /// or a symbolic link.
    fn step(&mut self, entry: &EntryName, name: &OsStr, create: bool) -> Result<Step> {
        if self.enter(name)? {
            return Ok(Step::Entered);
        }
        let link = match self.look_up(name)? {
            Found::Here(stat) if stat.kind() == FileKind::Symlink => &self.dirs().upper,
            Found::Below(stat) if stat.kind() == FileKind::Symlink => &self.dirs().lower,
            Found::Here(_) if create && self.made.contains(&self.key(name)) => {
                return Err(LayerError::malformed(
                    entry,
                    "it lies below a file of the same layer",
                ));
            }
            _ if create => {
                self.make_directory(name)?;
                let implied = self.implied();
                self.describe(&implied)?;
                return Ok(Step::Entered);
            }
            _ => return Ok(Step::Missing),
        };
        let dir = link.as_ref().expect("the link was found there");
        Ok(Step::Link(
            at::read_link(dir, name)?.into_os_string().into_vec(),
        ))
    }

    /// Enters a name of the current directory if the view shows a directory there.
    pub(crate) fn enter(&mut self, name: &OsStr) -> Result<bool> {
        let Some((dirs, stat)) = self.dirs().find(name)? else {
            return Ok(false);
        };
        self.push(name, dirs, &stat)?;
        Ok(true)
    }

    fn push(&mut self, name: &OsStr, dirs: Dirs, stat: &Stat) -> Result<()> {
        let inherits = match &dirs.upper {
            Some(upper) => passes_acl_on(upper)?,
            None => false,
        };
        self.levels.push(Level {
            name: name.to_owned(),
            path: self.path(name),
            is_written: dirs.upper.is_some(),
            state: State::Open(dirs),
            atime: stat.atime,
            mtime: stat.mtime,
            is_touched: false,
            passes_acl_on: inherits,
        });
        self.close_all_but(self.levels.len() - 1)
    }

    /// Makes a directory of this name in the current one, which is written, and enters it. What
    /// else is there goes; the caller has seen to what must not.
    pub(crate) fn make_directory(&mut self, name: &OsStr) -> Result<()> {
        self.materialize()?;
        let was_here = match at::stat_if_present(self.upper(), name)? {
            Some(stat) if stat.kind() == FileKind::Directory => {
                unreachable!("a directory is entered, not made")
            }
            Some(_) => at::unlink(self.upper(), name).map(|()| true)?,
            None => false,
        };
        self.top_mut().is_touched = true;
        at::mkdir(self.upper(), name, 0o700)?;
        if was_here && matches!(self.below(name)?, Found::Below(_)) {
            // What replaced or removed the parent's directory did so with its content.
            let upper = at::enter(self.upper(), name)?;
            xattr::set_fd(&upper, self.dirs().opaque, b"y")?;
        }
        self.enter(name).map(|_entered| ())
    }

    /// Counts an entry whose name this layer made already, or refuses it.
    pub(crate) fn check_duplicate(&mut self, entry: &EntryName, key: u64) -> Result<()> {
        if !self.made.contains(&key) {
            return Ok(());
        }
        if self.duplicates == Duplicates::Refused {
            let reason = "the layer has an entry of the same name";
            return Err(LayerError::malformed(entry, reason));
        }
        self.repeated += 1;
        self.first_repeated.get_or_insert_with(|| entry.clone());
        Ok(())
    }

    /// Gives the current directory these attributes.
    pub(crate) fn describe(&mut self, metadata: &Metadata) -> Result<()> {
        self.materialize()?;
        metadata.put(self.upper(), Existing::Replaced)?;
        let passes_on = passes_acl_on(self.upper())?;
        let level = self.top_mut();
        level.passes_acl_on = passes_on;
        (level.atime, level.mtime) = (metadata.mtime, metadata.mtime);
        level.is_touched = true;
        Ok(())
    }

    /// Makes the current directory one that can be written, with the parent's attributes where only
    /// the parent has it.
    pub(crate) fn materialize(&mut self) -> Result<()> {
        let written = self.levels.iter().rposition(|level| level.is_written);
        for index in written.map_or(0, |at| at + 1)..self.levels.len() {
            self.copy_up(index)?;
        }
        Ok(())
    }

    fn copy_up(&mut self, index: usize) -> Result<()> {
        self.reopen(index - 1)?;
        self.reopen(index)?;
        let (above, rest) = self.levels.split_at_mut(index);
        let (above, level) = (&mut above[index - 1], &mut rest[0]);
        let (State::Open(above_dirs), State::Open(dirs)) = (&above.state, &mut level.state) else {
            unreachable!("both were opened");
        };
        let (Some(parent), Some(lower)) = (&above_dirs.upper, &dirs.lower) else {
            unreachable!("a directory of the view is in one of the two");
        };
        let metadata = Metadata::read(lower, &stat::fstat(lower)?)?;
        at::mkdir(parent, &level.name, 0o700)?;
        above.is_touched = true;
        let upper = File::from(at::enter(parent, &level.name)?);
        metadata.put(&upper, Existing::Replaced)?;
        level.passes_acl_on = passes_acl_on(&upper)?;
        level.is_touched = true;
        level.is_written = true;
        dirs.upper = Some(upper);
        self.close_all_but(index)
    }

    /// Leaves directories until `depth` of them are left, the root included.
    pub(crate) fn leave_to(&mut self, depth: usize) -> Result<()> {
        while self.levels.len() > depth.max(1) {
            self.settle(self.levels.len() - 1)?;
            self.levels.pop();
        }
        self.reopen(self.levels.len() - 1)
    }

    /// Leaves all directories, the root as well.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.leave_to(1)?;
        self.settle(0)
    }

    /// Sets the times of a directory that was changed.
    fn settle(&mut self, index: usize) -> Result<()> {
        let level = &mut self.levels[index];
        if let State::Open(Dirs {
            upper: Some(upper), ..
        }) = &level.state
            && level.is_touched
        {
            at::set_times(upper, "", level.atime, level.mtime)?;
            level.is_touched = false;
        }
        Ok(())
    }

    /// Closes what lies too far above `index` to be kept open, except for the root.
    fn close_all_but(&mut self, index: usize) -> Result<()> {
        match index.checked_sub(OPEN_LEVELS) {
            Some(far) if far > 0 => self.close(far),
            _ => Ok(()),
        }
    }

    fn close(&mut self, index: usize) -> Result<()> {
        self.settle(index)?;
        self.levels[index].state = State::Closed;
        Ok(())
    }

    /// Opens a closed directory again, from the deepest open one above it.
    fn reopen(&mut self, index: usize) -> Result<()> {
        let open = |level: &Level| matches!(level.state, State::Open(_));
        let from = self.levels[..=index].iter().rposition(open).unwrap_or(0);
        for at in from + 1..=index {
            let State::Open(above) = &self.levels[at - 1].state else {
                unreachable!("opened in the step before");
            };
            let name = self.levels[at].name.clone();
            let Some((dirs, _)) = above.find(&name)? else {
                return Ok(cowlab_sys::sys("openat2", &name, Err(Errno::NOENT))?);
            };
            self.levels[at].state = State::Open(dirs);
            if at - 1 > from {
                self.close(at - 1)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn add_name(path: &mut DefaultHasher, name: &OsStr) {
    path.write(name.as_bytes());
    // No name holds a slash, so different paths are different bytes.
    path.write_u8(b'/');
}

/// The two directories behind one directory of the view: the one that is written and the parent's, seen as the one that
/// overlayfs would show.
#[derive(Debug, Default)]
pub(crate) struct Dirs {
    /// `None` while only the parent has it.
    pub(crate) upper: Option<File>,
    /// `None` where the parent has none or it is hidden.
    pub(crate) lower: Option<File>,
    /// The xattr by which overlayfs knows an opaque directory (overlayfs.rst, "whiteouts and opaque
    /// directories"); of no account without `lower`.
    pub(crate) opaque: &'static str,
    /// Whether it goes onto what is mounted in them.
    pub(crate) across_mounts: bool,
}

impl Dirs {
    /// Opens the directories behind `name` in these, unless the view shows something else there.
    fn find(&self, name: &OsStr) -> Result<Option<(Self, Stat)>> {
        let enter = |dir: &File| match self.across_mounts {
            true => at::enter_across(dir, name),
            false => at::enter(dir, name),
        };
        let open = |dir: &Option<File>| match dir.as_ref().map(enter) {
            None => Ok((None, false)),
            Some(Ok(fd)) => Ok((Some(File::from(fd)), true)),
            Some(Err(error)) => match error.errno() {
                Some(Errno::NOENT) => Ok((None, false)),
                Some(Errno::NOTDIR | Errno::LOOP) => Ok((None, true)),
                _ => Err(error),
            },
        };
        let (upper, is_here) = open(&self.upper)?;
        let is_hidden = is_here && upper.as_ref().is_none_or(|dir| self.has_opaque(dir));
        let lower = if is_hidden {
            None
        } else {
            open(&self.lower)?.0
        };
        let Some(shown) = upper.as_ref().or(lower.as_ref()) else {
            return Ok(None);
        };
        let stat = stat::fstat(shown)?;
        let opaque = self.opaque;
        let found = Self {
            upper,
            lower,
            opaque,
            across_mounts: self.across_mounts,
        };
        Ok(Some((found, stat)))
    }

    /// Whether a directory in these hides what the parent has in it.
    fn has_opaque(&self, dir: &File) -> bool {
        self.lower.is_some()
            && xattr::get_fd(dir, self.opaque).is_ok_and(|value| value.as_deref() == Some(b"y"))
    }
}
