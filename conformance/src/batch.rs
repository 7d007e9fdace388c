//! Runs cases that are data: layer by layer, on the driver and in the plain directory.
//!
//! The cases of a batch have the same number of layers and the same access for their steps. Layer k of every
//! case goes into one snapshot, each below a directory of its own, unless the batch is one case that has the
//! snapshot's root for itself.

use std::fs;
use std::path::{Path, PathBuf};

use cowlab_snapshots::{CommitOptions, PrepareOptions};
use cowlab_sys::mount::{MountAttributes, bind};
use cowlab_sys::{Guard, MountGuard};

use crate::case::{Access, Case};
use crate::context::{Context, Result};
use crate::difference::Difference;
use crate::executor::Executor;
use crate::judge::{self, Given};
use crate::manifest::Manifest;
use crate::op::Op;
use crate::step;
use crate::tree::Tree;

/// What a batch found out: each case with its first difference.
pub(crate) type Findings = Vec<(&'static Case, Option<Difference>)>;

/// Cases that run together.
#[derive(Debug)]
pub(crate) struct Batch {
    parts: Vec<Part>,
    depth: usize,
    access: Access,
}

/// One case of a batch.
#[derive(Debug)]
struct Part {
    case: &'static Case,
    /// Its directory below the snapshot's root; empty for the root itself.
    dir: PathBuf,
    found: Option<Difference>,
    /// What the operations of the stage gave in the plain directory.
    given: Vec<Given>,
    plain: Manifest,
    committed: Option<Manifest>,
}

/// A layer, or the steps.
#[derive(Debug)]
struct Stage {
    /// Counts from 1.
    number: usize,
    label: String,
    is_steps: bool,
}

impl Batch {
    /// Cases of one shape that share snapshots.
    #[must_use]
    pub(crate) fn shared(cases: &[&'static Case]) -> Self {
        let dir = |case: &Case| PathBuf::from(case.id.replace('/', "."));
        Self::of(cases, dir)
    }

    /// A case with the snapshots for itself: below a directory like in a shared batch, or at the root where the case
    /// asks for it.
    #[must_use]
    pub(crate) fn alone(case: &'static Case) -> Self {
        if case.is_alone() {
            Self::of(&[case], |_| PathBuf::new())
        } else {
            Self::shared(&[case])
        }
    }

    fn of(cases: &[&'static Case], dir: impl Fn(&Case) -> PathBuf) -> Self {
        let parts: Vec<_> = cases
            .iter()
            .map(|case| Part::new(case, dir(case)))
            .collect();
        Self {
            depth: cases
                .iter()
                .map(|case| case.layers.len())
                .max()
                .unwrap_or(0),
            access: cases.first().map_or(Access::Active, |case| case.access),
            parts,
        }
    }

    /// Runs the batch in a context of which it is the only user, and removes its snapshots again.
    ///
    /// # Errors
    ///
    /// What concerns no single case: a snapshot that cannot be made, mounted, committed or removed.
    pub(crate) fn run(mut self, context: &mut Context) -> Result<Findings> {
        if let [Part { case, .. }] = self.parts[..]
            && !case.is_of_trees()
        {
            step::run(context, case)?;
            return Ok(vec![(case, None)]);
        }
        fs::create_dir_all(context.plain())?;
        let mut committed: Vec<String> = Vec::new();
        for number in 1..=self.depth {
            let stage = Stage {
                number,
                label: format!("layer {number}"),
                is_steps: false,
            };
            let name = self.stage(context, &stage, committed.last())?;
            committed.push(name);
        }
        if self.parts.iter().any(|part| !part.case.steps.is_empty()) {
            let stage = Stage {
                number: self.depth + 1,
                label: "the steps".to_owned(),
                is_steps: true,
            };
            match self.access {
                Access::Active => committed.push(self.stage(context, &stage, committed.last())?),
                Access::View => self.view_stage(context, &stage, committed.last())?,
            }
        }
        if context.keeps() {
            leave_mounted(context, committed.last())?;
        } else {
            for name in committed.iter().rev() {
                context.store().remove(name)?;
            }
        }
        let findings = self.parts.into_iter().map(|part| (part.case, part.found));
        Ok(findings.collect())
    }

    /// Performs a stage in a new active snapshot, commits it and returns its name.
    fn stage(
        &mut self,
        context: &mut Context,
        stage: &Stage,
        parent: Option<&String>,
    ) -> Result<String> {
        self.perform_plain(context, stage, &context.plain())?;
        let name = format!("stage-{}", stage.number);
        let key = format!("{name}-active");
        context.timestamps().1.open(&stage.label);
        let parent = parent.map(String::as_str);
        context
            .store()
            .prepare(&key, parent, &PrepareOptions::default())?;
        let mut mounted = context.store().mount(&key, &context.mount_point())?;
        self.perform(stage, mounted.target())?;
        context.timestamps().1.close();
        let seen = self.look(context, stage, mounted.target());
        mounted.close()?;
        let seen = seen?;
        context
            .store()
            .commit(&key, &name, &CommitOptions::default())?;
        self.look_at_committed(context, stage, &name, &seen)?;
        Ok(name)
    }

    /// Performs the steps through a view, and in the plain directory through a read-only mount.
    fn view_stage(
        &mut self,
        context: &mut Context,
        stage: &Stage,
        parent: Option<&String>,
    ) -> Result<()> {
        let attributes = MountAttributes {
            read_only: true,
            ..MountAttributes::default()
        };
        let target = context.dir().join("plain-mount");
        let mut plain: MountGuard = bind(&context.plain(), &target, attributes)?;
        let performed = self.perform_plain(context, stage, plain.target());
        plain.close()?;
        performed?;
        let (key, parent) = ("stage-view", parent.map_or("", String::as_str));
        context.timestamps().1.open(&stage.label);
        context.store().view(key, parent)?;
        let mut mounted = context.store().mount(key, &context.mount_point())?;
        self.perform(stage, mounted.target())?;
        context.timestamps().1.close();
        let seen = self.look(context, stage, mounted.target());
        mounted.close()?;
        seen?;
        Ok(context.store().remove(key)?)
    }

    fn perform_plain(&mut self, context: &mut Context, stage: &Stage, root: &Path) -> Result<()> {
        context.timestamps().0.open(&stage.label);
        for part in self.parts.iter_mut().filter(|part| part.is_open()) {
            part.perform_plain(stage, root)?;
        }
        context.timestamps().0.close();
        settle(root)?;
        for part in self.parts.iter_mut().filter(|part| part.is_open()) {
            part.plain = Manifest::capture(&root.join(&part.dir))?;
        }
        Ok(())
    }

    fn perform(&mut self, stage: &Stage, root: &Path) -> Result<()> {
        for part in self.parts.iter_mut().filter(|part| part.is_open()) {
            part.perform(stage, root)?;
        }
        Ok(())
    }

    /// Compares the active snapshot with the plain directory and returns what was seen of each case.
    fn look(&mut self, context: &Context, stage: &Stage, root: &Path) -> Result<Vec<Manifest>> {
        settle(root)?;
        let mut seen = Vec::new();
        for part in &mut self.parts {
            let mut manifest = Manifest::default();
            if part.is_open() {
                manifest = Manifest::capture(&root.join(&part.dir))?;
                let found = context.same_tree(&part.plain, &manifest);
                part.note(found, || format!("{}, before the commit", stage.label));
            }
            seen.push(manifest);
        }
        Ok(seen)
    }

    /// Looks at the committed snapshot: nothing changed by the commit, nor what the layer did not touch.
    fn look_at_committed(
        &mut self,
        context: &Context,
        stage: &Stage,
        name: &str,
        seen: &[Manifest],
    ) -> Result<()> {
        context.with_view(name, |root| {
            for (part, active) in self.parts.iter_mut().zip(seen) {
                if !part.is_open() {
                    continue;
                }
                let now = Manifest::capture(&root.join(&part.dir))?;
                let place = || format!("{}, committed", stage.label);
                part.note(context.same_tree(&part.plain, &now), place);
                part.note(context.unchanged(active, &now), place);
                if let Some(parent) = &part.committed {
                    part.note(context.kept_from(parent, &now, &stage.label), place);
                }
                part.committed = Some(now);
            }
            Ok(())
        })
    }
}

impl Part {
    fn new(case: &'static Case, dir: PathBuf) -> Self {
        Self {
            case,
            dir,
            found: None,
            given: Vec::new(),
            plain: Manifest::default(),
            committed: None,
        }
    }

    /// Whether nothing was found yet: what comes after the first difference says nothing.
    const fn is_open(&self) -> bool {
        self.found.is_none()
    }

    fn note(&mut self, result: Result<()>, place: impl Fn() -> String) {
        if let Err(difference) = result
            && self.is_open()
        {
            self.found = Some(difference.seen_in(place()));
        }
    }

    fn ops(&self, stage: &Stage) -> &'static [Op] {
        if stage.is_steps {
            return self.case.steps;
        }
        self.case
            .layers
            .get(stage.number - 1)
            .copied()
            .unwrap_or(&[])
    }

    fn executor(&self, stage: &Stage, root: &Path) -> Result<Executor> {
        if stage.number == 1 && !self.dir.as_os_str().is_empty() {
            fs::create_dir(root.join(&self.dir))?;
        }
        let mut executor = Executor::new(Tree::open(&root.join(&self.dir))?);
        executor.note_inodes(self.ops(stage));
        Ok(executor)
    }

    fn perform_plain(&mut self, stage: &Stage, root: &Path) -> Result<()> {
        let mut executor = self.executor(stage, root)?;
        self.given.clear();
        for op in self.ops(stage) {
            let given = executor.perform(op);
            let found = if stage.is_steps {
                judge::plain(op, &given)
            } else {
                judge::plain_layer(op, &given)
            };
            if let Some(difference) = found {
                self.note(Err(difference), || stage.label.clone());
                break;
            }
            self.given.push(given);
        }
        Ok(())
    }

    fn perform(&mut self, stage: &Stage, root: &Path) -> Result<()> {
        let mut executor = self.executor(stage, root)?;
        let given = std::mem::take(&mut self.given);
        for (op, plain) in self.ops(stage).iter().zip(&given) {
            if let Some(difference) = judge::driver(op, plain, &executor.perform(op)) {
                self.note(Err(difference), || stage.label.clone());
                break;
            }
        }
        Ok(())
    }
}

/// Leaves the last snapshot mounted, for looking at.
fn leave_mounted(context: &Context, name: Option<&String>) -> Result<()> {
    if let Some(name) = name {
        context.store().view("kept", name)?;
        let mounted = context.store().mount("kept", &context.mount_point())?;
        tracing::debug!(place = %mounted.keep().display(), "left mounted");
    }
    Ok(())
}

/// Has the file system write what it holds back: until then, what is preallocated and what is data look alike to
/// SEEK_HOLE on xfs.
fn settle(root: &Path) -> Result<()> {
    Ok(cowlab_sys::durability::syncfs(root)?)
}

/// Puts cases of one shape together: the same number of layers, the same access.
#[must_use]
pub(crate) fn by_shape(cases: &[&'static Case]) -> Vec<Vec<&'static Case>> {
    let mut shapes: Vec<((usize, Access), Vec<&'static Case>)> = Vec::new();
    for case in cases {
        let shape = (case.layers.len(), case.access);
        match shapes.iter_mut().find(|(known, _)| *known == shape) {
            Some((_, members)) => members.push(case),
            None => shapes.push((shape, vec![case])),
        }
    }
    shapes.into_iter().map(|(_, members)| members).collect()
}
