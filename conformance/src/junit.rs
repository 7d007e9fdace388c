//! The JUnit report: a suite per column, a test case per case.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use cowlab_reports::result::{Place, Status};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::case_result::CaseResult;
use crate::case_result::LEFTOVERS;
use crate::column_run::ColumnRun;

/// Makes sure that the report can be written, and makes its directory: nobody wants to learn that after the run.
pub(crate) fn check(path: &Path) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("failed to make `{}`", dir.display()))?;
    }
    // A report that is there stays until there is another.
    let opened = File::options().append(true).create(true).open(path);
    opened.with_context(|| format!("failed to make `{}`", path.display()))?;
    Ok(())
}

/// Writes the report.
pub(crate) fn write(path: &Path, column_runs: &[Arc<ColumnRun>]) -> Result<()> {
    let mut report = Report::new("cowlab conformance");
    for column_run in column_runs {
        let mut suite = TestSuite::new(column_run.subject.to_string());
        for result in &column_run.results() {
            suite.add_test_case(test_case(column_run, result));
        }
        for trouble in &column_run.trouble() {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(trouble.as_str());
            suite.add_test_case(TestCase::new(LEFTOVERS, status));
        }
        report.add_test_suite(suite);
    }
    let file =
        File::create(path).with_context(|| format!("failed to make `{}`", path.display()))?;
    report
        .serialize(file)
        .with_context(|| format!("failed to write `{}`", path.display()))
}

fn test_case(column_run: &ColumnRun, result: &CaseResult) -> TestCase {
    let reason = result.reason.clone().unwrap_or_default();
    let status = match result.status {
        Status::Pass | Status::Deviates => TestCaseStatus::success(),
        Status::Skip => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(reason.as_str());
            status
        }
        Status::Fail | Status::OrderDependent | Status::UnexpectedPass => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(result.status.name());
            status.set_message(reason.as_str());
            status.set_description(result.explain(&column_run.subject));
            status
        }
    };
    let mut case = TestCase::new(result.case.id, status);
    case.set_classname(column_run.subject.to_string());
    case.set_time(result.finished.since(result.started));
    if result.place == Place::Guest {
        case.add_property(("place", Place::Guest.name()));
    }
    if result.status == Status::Deviates {
        case.set_system_out(format!("deviates as declared: {reason}"));
    }
    case
}
