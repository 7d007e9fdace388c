//! Runs cases in one column: one backing file system, one driver, one variant.
//!
//! Order: make the backing file system, ask the driver whether it runs there, try the needs of the cases, run the
//! cases, run what failed again and alone, take the file system down, look for leaks and a tainted kernel.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cowlab_driver::{Error as DriverError, Settings};
use cowlab_engine::guest;
use cowlab_engine::results::now;
use cowlab_engine::subject::Subject;
use cowlab_reports::result::{Place, Status};
use cowlab_sys::{interrupt, kernel_log, mountinfo, process};
use cowlab_testbed::{BackingFs, Error as TestbedError, Run};

use crate::args::Options;
use crate::batch::{Batch, Findings, by_shape};
use crate::case::{Case, Risk};
use crate::case_result::{CaseResult, on_backing};
use crate::context::Context;
use crate::difference::Difference;
use crate::file_systems::FileSystems;
use crate::needs::{MissingRequirement, SkipReason};

/// Is told of each result of a case as soon as it is known.
pub(crate) type News<'a> = &'a (dyn Fn(&CaseResult) + Sync);

/// What a column found out.
#[derive(Debug, Default)]
pub(crate) struct ColumnResult {
    /// How each case ended.
    pub(crate) cases: Vec<CaseResult>,
    /// Whether no case could run at all; each says why.
    pub(crate) barred: bool,
    /// What the column left behind or upset: leaks, a tainted kernel.
    pub(crate) trouble: Vec<String>,
    /// What was kept, for looking at.
    pub(crate) kept: Vec<PathBuf>,
    /// The file systems that hold what was kept.
    pub(crate) held: Vec<BackingFs>,
}

/// Why a case did not run: a skip, or in strict mode a failure.
#[derive(Debug, Clone)]
struct NotRun {
    status: Status,
    reason: String,
}

impl NotRun {
    fn skip(reason: impl Into<String>) -> Self {
        let (status, reason) = (Status::Skip, reason.into());
        Self { status, reason }
    }

    fn fail(reason: impl Into<String>) -> Self {
        let (status, reason) = (Status::Fail, reason.into());
        Self { status, reason }
    }

    fn result(&self, case: &'static Case) -> CaseResult {
        CaseResult::without_run(case, self.status, &self.reason)
    }
}

/// Runs cases in a column, with a mount namespace of its own: a namespace that another column's case or another
/// program makes meanwhile would hold copies of the mounts, and the store would find snapshots in use. What is kept for
/// looking at has to be mounted where people are.
#[must_use]
pub(crate) fn run(
    run: &Run,
    subject: &Subject,
    cases: &[&'static Case],
    options: &Options,
    news: News<'_>,
) -> ColumnResult {
    let result = if interrupt::requested() {
        barred(cases, &NotRun::skip("interrupted"))
    } else if options.keep {
        run_here(run, subject, cases, options, news)
    } else {
        let column = || {
            run.unmount_foreign();
            run_here(run, subject, cases, options, news)
        };
        process::with_private_mounts(column)
            .unwrap_or_else(|error| barred(cases, &NotRun::fail(error.to_string())))
    };
    if result.barred {
        result.cases.iter().for_each(news);
    }
    result
}

/// The result of a column in which no case can run.
fn barred(cases: &[&'static Case], why: &NotRun) -> ColumnResult {
    ColumnResult {
        cases: cases.iter().map(|case| why.result(case)).collect(),
        barred: true,
        ..ColumnResult::default()
    }
}

fn run_here(
    run: &Run,
    subject: &Subject,
    cases: &[&'static Case],
    options: &Options,
    news: News<'_>,
) -> ColumnResult {
    let file_systems = match FileSystems::make(run, subject.backing) {
        Ok(file_systems) => file_systems,
        Err(TestbedError::Missing { what, remedy }) => {
            let reason = format!("{what} is missing: {remedy}");
            return barred(cases, &without_backing(run, subject, options, reason));
        }
        Err(error) => return barred(cases, &NotRun::fail(error.to_string())),
    };
    let backing = file_systems.usual();
    let settings = match backing.places().fresh() {
        Ok(settings) => settings,
        Err(error) => return barred(cases, &NotRun::fail(error.to_string())),
    };
    match (subject.entry.probe)(backing.mount_point(), subject.variant, &settings) {
        Ok(()) => {}
        Err(DriverError::Unavailable(missing)) => {
            let reason = on_backing(&missing.to_string(), backing.mount_point());
            return barred(cases, &strict_skip(subject, options, reason));
        }
        Err(error) => return barred(cases, &NotRun::fail(error.to_string())),
    }
    let mut column = Column {
        subject,
        options,
        news,
        file_systems,
        made: 0,
        result: ColumnResult::default(),
    };
    let taint = process::kernel_taint().ok();
    column.run_all(cases);
    column.close(taint)
}

/// A skip for something that could be here; in strict mode a failure.
fn strict_skip(subject: &Subject, options: &Options, reason: String) -> NotRun {
    let reason = match &options.no_guest {
        Some(what) => format!("{reason}; it would run in the guest, but {what}"),
        None => reason,
    };
    if cowlab_drivers::is_named(subject.entry, &options.strict) {
        NotRun::fail(format!("skipped, which --strict forbids: {reason}"))
    } else {
        NotRun::skip(reason)
    }
}

/// Why no case of a column runs whose file system cannot be made. Where the driver itself is here, and Linux has not
/// got the file system, it is the kernel that lacks something.
fn without_backing(run: &Run, subject: &Subject, options: &Options, reason: String) -> NotRun {
    let probed = (subject.entry.probe)(run.directory(), subject.variant, &Settings::new());
    if subject.backing.is_out_of_tree() && probed.is_ok() {
        let skip_reason = Some(SkipReason::Kernel);
        return without(
            subject,
            options,
            MissingRequirement {
                reason,
                skip_reason,
            },
        );
    }
    strict_skip(subject, options, reason)
}

/// Why a case does not run that lacks something.
fn without(subject: &Subject, options: &Options, missing: MissingRequirement) -> NotRun {
    let is_host = guest::here() == Place::Host;
    match missing.skip_reason {
        Some(SkipReason::FileSystem) => NotRun::skip(missing.reason),
        Some(SkipReason::NotInstalled) if options.strict_judges => NotRun::fail(format!(
            "skipped, which --strict-judges forbids: {}",
            missing.reason
        )),
        Some(SkipReason::NotInstalled) => NotRun::skip(missing.reason),
        Some(SkipReason::Kernel) if is_host && !subject.entry.runs_in_guest => NotRun::skip(
            format!("{}; the guest has not got the driver", missing.reason),
        ),
        // Who asks for this kernel alone gets what it has.
        Some(SkipReason::Kernel) if is_host && options.no_guest.is_none() => NotRun::skip(format!(
            "{}; without `--where host` it runs in the guest",
            missing.reason
        )),
        _ => strict_skip(subject, options, missing.reason),
    }
}

struct Column<'a> {
    subject: &'a Subject,
    options: &'a Options,
    news: News<'a>,
    file_systems: FileSystems<'a>,
    /// How many contexts there were.
    made: usize,
    result: ColumnResult,
}

impl Column<'_> {
    fn run_all(&mut self, cases: &[&'static Case]) {
        let mut cases = self.leave_out_what_cannot_run(cases);
        if let Some(seed) = self.options.seed {
            shuffle(&mut cases, seed);
        }
        let isolate = self.options.isolate;
        let (alone, shared): (Vec<_>, Vec<_>) = cases
            .into_iter()
            .partition(|case| isolate || case.is_alone() || self.file_systems.is_apart(case));
        for cases in by_shape(&shared) {
            if self.interrupted(&cases) {
                continue;
            }
            let began = now();
            let done = self.run_batch(&cases);
            let share = now().since(began) / u32::try_from(cases.len()).unwrap_or(u32::MAX).max(1);
            match done {
                Ok(findings) => {
                    for (case, found) in findings {
                        self.judge(case, found.as_ref(), share);
                    }
                }
                Err(difference) => {
                    // Nobody's in particular: each case is judged by a run of its own.
                    tracing::debug!(%difference, "a batch ended early");
                    for case in cases {
                        self.judge_again(case, Some(&difference), share);
                    }
                }
            }
        }
        for case in alone {
            if self.interrupted(&[case]) {
                continue;
            }
            let began = now();
            let found = self.run_alone(case, false);
            self.judge(case, found.as_ref(), now().since(began));
        }
    }

    /// Whether a signal asked the run to stop: then these cases do not run, so that what is mounted is taken back soon.
    fn interrupted(&mut self, cases: &[&'static Case]) -> bool {
        if !interrupt::requested() {
            return false;
        }
        for case in cases {
            self.end(NotRun::skip("interrupted").result(case));
        }
        true
    }

    /// Notes the result of a case, and tells it.
    fn end(&mut self, result: CaseResult) {
        if result.status == Status::Fail {
            tracing::debug!(case = result.case.id, reason = result.reason, "failed");
        }
        (self.news)(&result);
        self.result.cases.push(result);
    }

    /// Tries every need once; a case whose needs are not met ends as skipped.
    fn leave_out_what_cannot_run(&mut self, cases: &[&'static Case]) -> Vec<&'static Case> {
        let mut able = Vec::new();
        for case in cases {
            let missing = if case.risk == Risk::Kernel && !self.options.risk_kernel {
                let reason = "the case may upset the kernel".to_owned();
                let skip_reason = Some(SkipReason::Kernel);
                Some(MissingRequirement {
                    reason,
                    skip_reason,
                })
            } else {
                case.needs
                    .iter()
                    .find_map(|need| self.file_systems.missing(*need))
            };
            match missing {
                Some(missing) => {
                    let why = without(self.subject, self.options, missing);
                    self.end(why.result(case));
                }
                None => able.push(*case),
            }
        }
        able
    }

    /// Judges what was found in a batch; a failure is confirmed first. What deviates runs alone as well where it is to be
    /// kept.
    fn judge(&mut self, case: &'static Case, found: Option<&Difference>, took: Duration) {
        let result = self.result_of(case, found);
        let wanted = self.options.keep && result.status == Status::Deviates;
        if wanted || result.status.is_failure() && !self.options.unconfirmed {
            self.judge_again(case, found, took);
        } else {
            self.end(result.after(took));
        }
    }

    /// Runs a case alone to confirm what was found.
    fn judge_again(&mut self, case: &'static Case, found: Option<&Difference>, took: Duration) {
        let began = now();
        let first = self.result_of(case, found);
        let alone = self.run_alone(case, self.options.keep);
        let alone = self.result_of(case, alone.as_ref());
        let took = took + now().since(began);
        self.end(first.confirmed_by(alone).after(took));
    }

    fn result_of(&self, case: &'static Case, found: Option<&Difference>) -> CaseResult {
        let (variant, backing) = (self.subject.variant.name, self.subject.backing.name());
        let mut declared = self.subject.entry.deviations_on(variant, backing);
        let declared = declared.find(|deviation| deviation.case == case.id);
        let result = CaseResult::of(case, found, declared);
        result.in_place_of(self.file_systems.of(case).mount_point())
    }

    fn run_batch(&mut self, cases: &[&'static Case]) -> Result<Findings, Difference> {
        let mut context = self.context(None)?;
        let done = Batch::shared(cases).run(&mut context);
        self.look_for_leftovers(&context, done.is_ok());
        done
    }

    fn run_alone(&mut self, case: &'static Case, keep: bool) -> Option<Difference> {
        let mut context = match self.context(Some(case)) {
            Ok(context) => context,
            Err(difference) => return Some(difference),
        };
        context.keep(keep);
        // A case that panics must not take the others with it.
        let done = catch_unwind(AssertUnwindSafe(|| match case.run {
            Some(function) => function(&mut context),
            None => {
                let findings = Batch::alone(case).run(&mut context)?;
                findings
                    .into_iter()
                    .find_map(|(_, found)| found)
                    .map_or(Ok(()), Err)
            }
        }));
        let found = match done {
            Ok(result) => result.err(),
            Err(_) => Some(Difference::new(case.id, "end", "a result", "a panic")),
        };
        if keep {
            self.result.kept.push(context.dir().to_owned());
        } else {
            self.look_for_leftovers(&context, found.is_none() && case.run.is_none());
        }
        found
    }

    /// Makes a place to run a case in, or a batch of cases that ask for nothing extra.
    fn context(&mut self, case: Option<&Case>) -> Result<Context, Difference> {
        self.made += 1;
        let backing = case.map_or(self.file_systems.usual(), |case| self.file_systems.of(case));
        let dir = backing.mount_point().join(format!("run-{}", self.made));
        Context::new(
            &dir,
            self.subject.entry,
            self.subject.variant,
            backing.places(),
            self.options.fault,
        )
    }

    /// Unmounts what a case left mounted, and reports it. After a batch of cases that are data the driver must have
    /// nothing left on disk either.
    fn look_for_leftovers(&mut self, context: &Context, is_clean: bool) {
        for mount in mounts_below(context.dir()) {
            self.result
                .trouble
                .push(format!("`{}` is still mounted", mount.display()));
            if let Err(error) = cowlab_sys::mount::unmount(&mount) {
                self.result.trouble.push(error.to_string());
            }
        }
        if is_clean {
            match context.store().driver().inventory() {
                Ok(ids) if ids.is_empty() => {}
                Ok(ids) => {
                    let shown: Vec<_> = ids.iter().map(ToString::to_string).collect();
                    let left = format!("removed snapshots are still on disk: {}", shown.join(" "));
                    self.result.trouble.push(left);
                }
                Err(error) => self.result.trouble.push(error.to_string()),
            }
        }
    }

    fn close(mut self, taint: Option<u64>) -> ColumnResult {
        if self.options.keep && !self.result.kept.is_empty() {
            self.result.held = self.file_systems.into_all();
        } else {
            self.result.trouble.extend(self.file_systems.close());
        }
        match (taint, process::kernel_taint().ok()) {
            (Some(before), Some(after)) if before != after => {
                let mut text = format!("the kernel was tainted: {before} before, {after} after");
                if let Ok(Some(complaint)) = kernel_log::last_complaint() {
                    text += "\n";
                    text += &complaint;
                }
                self.result.trouble.push(text);
            }
            _ => {}
        }
        self.result
    }
}

fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(mounts) = mountinfo::read_self() else {
        return Vec::new();
    };
    let below = mountinfo::at_or_below(&mounts, dir);
    below
        .iter()
        .rev()
        .map(|mount| mount.mount_point.clone())
        .collect()
}

/// Puts cases in the order of a seed (Fisher and Yates).
fn shuffle(cases: &mut [&'static Case], seed: u64) {
    let mut numbers = cowlab_random::Random::new(seed);
    for end in (1..cases.len()).rev() {
        let bound = u64::try_from(end).unwrap_or(u64::MAX).saturating_add(1);
        let chosen = usize::try_from(numbers.number() % bound).unwrap_or(end);
        cases.swap(end, chosen);
    }
}
